"""The loss of a training as a curve: its points on a plane of 0 to 1, and a PNG of it for the version's folder."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

Point = tuple[float, float]  # step and loss, or x and y

MOST_POINTS = 300  # more are no wider than the line
SMOOTHING = 0.9  # how much of the mean so far stays in the next one
SIZE, FRAME = (960, 420), (70, 44, 930, 360)  # of the PNG: width and height; left, top, right and bottom of the axes
PAPER, INK, LINE, PALE, HELD_OUT = "#ffffff", "#292524", "#0f766e", "#99d5cd", "#b45309"


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most so many points, each the mean of its neighbours; those without a number are left out."""
    known = [(step, loss) for step, loss in points if math.isfinite(loss)]
    share = max(1, math.ceil(len(known) / most))
    groups = [known[at : at + share] for at in range(0, len(known), share)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]


def smooth(points: Sequence[Point]) -> list[Point]:
    """A moving mean that weighs the first points as much as the later ones."""
    found, mean, weight = [], 0.0, 0.0
    for step, loss in points:
        mean, weight = SMOOTHING * mean + (1 - SMOOTHING) * loss, SMOOTHING * weight + (1 - SMOOTHING)
        found.append((step, mean / weight))
    return found


def bounds(losses: Sequence[float]) -> tuple[float, float]:
    """Where the axis of the losses begins and ends: a round number each."""
    low, high = min(losses), max(losses)
    unit = 10.0 ** math.floor(math.log10(max(high - low, 0.01)))
    bottom = math.floor(low / unit) * unit
    return bottom, max(math.ceil(high / unit) * unit, bottom + unit)


def place(points: Sequence[Point], steps: int, low: float, high: float) -> list[Point]:
    """Points as shares of width and height; y grows downwards, as on a screen."""
    return [(step / max(1, steps), (high - loss) / (high - low)) for step, loss in points]


def draw_png(points: Sequence[Point], steps: int, held_out: float | None = None) -> bytes:
    """The curve as a PNG.

    Args:
        points: step and loss in nats per token; at least one loss is a number.
        steps: of the whole run.
        held_out: loss on the held-out replies at the end; None: not measured.
    """
    from PIL import Image, ImageDraw, ImageFont

    known = thin(points)
    low, high = bounds([loss for _, loss in known] + ([held_out] if held_out is not None else []))
    image = Image.new("RGB", SIZE, PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=16)
    left, top, right, bottom = FRAME

    def on_paper(at: Point) -> Point:
        return left + at[0] * (right - left), top + at[1] * (bottom - top)

    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + share * (bottom - top)
        draw.line([(left, y), (right, y)], fill="#e7e5e4")
        draw.text((left - 8, y), f"{high - share * (high - low):.2f}", fill=INK, font=font, anchor="rm")
        draw.text(
            (left + share * (right - left), bottom + 10), f"{share * steps:.0f}", fill=INK, font=font, anchor="mt"
        )
    draw.text((left, 12), "Training loss (nats per token) by step", fill=INK, font=font)
    for colour, width, line in ((PALE, 1, known), (LINE, 3, smooth(known))):
        draw.line([on_paper(at) for at in place(line, steps, low, high)], fill=colour, width=width, joint="curve")
    if held_out is not None:
        y = on_paper(place([(0, held_out)], steps, low, high)[0])[1]
        draw.line([(left, y), (right, y)], fill=HELD_OUT, width=2)
        draw.text((right, y - 4), f"held-out replies: {held_out:.2f}", fill=HELD_OUT, font=font, anchor="rb")
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()
