"""The loss of a training as a curve: its points on a plane of 0 to 1, and a PNG of it for the version's folder."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

Point = tuple[float, float]  # step and loss, or x and y

MOST_POINTS = 300  # more are no wider than the line
SMOOTHING = 0.9  # how much of the mean so far stays in the next one
SIZE, FRAME = (960, 420), (70, 44, 930, 360)  # of the PNG: width and height; left, top, right and bottom of the axes
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of an axis, where it is told what stands there
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


def draw_png(
    points: Sequence[Point], steps: int, held_out: float | None = None, measured: Sequence[Point] = ()
) -> bytes:
    """The curve as a PNG.

    Args:
        points: step and loss in nats per token; at least one loss is a number.
        steps: of the whole run.
        held_out: loss of what was kept on the replies that are reported; None: not measured.
        measured: step and loss on held-out replies during the training.
    """
    known, shown = thin(points), thin(measured)
    low, high = bounds([loss for _, loss in [*known, *shown]] + ([held_out] if held_out is not None else []))
    along = [f"{share * steps:.0f}" for share in SHARES]
    paper = Paper("Training loss (nats per token) by step", along, low, high)
    paper.line(place(known, steps, low, high), PALE, 1)
    paper.line(place(smooth(known), steps, low, high), LINE, 3)
    paper.line(place(shown, steps, low, high), HELD_OUT, 2)
    paper.dots(place(shown, steps, low, high), HELD_OUT)
    if held_out is not None:
        paper.level(place([(0, held_out)], steps, low, high)[0][1], f"held-out replies: {held_out:.2f}")
    return paper.to_png()


def draw_rates(
    points: Sequence[Point], smoothed: Sequence[Point], suggestion: float, diverges: float | None = None
) -> bytes:
    """The loss by learning rate as a PNG, the rates by their logarithm.

    Args:
        points: learning rate and loss in nats per token.
        smoothed: the same, smoothed.
        suggestion, diverges: rates that are marked.
    """
    first, last = math.log10(smoothed[0][0]), math.log10(smoothed[-1][0])
    low, high = bounds([loss for _, loss in smoothed])

    def lay(line: Sequence[Point]) -> list[Point]:
        logarithms = [(math.log10(rate) - first, min(max(loss, low), high)) for rate, loss in line]
        return [(x / (last - first), (high - loss) / (high - low)) for x, loss in logarithms]

    along = [f"{10 ** (first + share * (last - first)):.0e}" for share in SHARES]
    paper = Paper("Loss (nats per token) by learning rate", along, low, high)
    paper.line(lay([point for point in points if math.isfinite(point[1])]), PALE, 1)
    paper.line(lay(smoothed), LINE, 3)
    for rate, name in ((suggestion, f"{suggestion:.1e}: suggested"), (diverges, "diverges")):
        if rate:
            paper.upright(min(max((math.log10(rate) - first) / (last - first), 0.0), 1.0), name)
    return paper.to_png()


class Paper:
    """Axes and what is drawn between them, in shares of width and height.

    Args:
        title: above the axes.
        along: what stands below the lower axis, one for each of ``SHARES``.
        low, high: of the losses.
    """

    def __init__(self, title: str, along: Sequence[str], low: float, high: float) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self._image = Image.new("RGB", SIZE, PAPER)
        self._draw, self._font = ImageDraw.Draw(self._image), ImageFont.load_default(size=16)
        self._write((0, 0), title, INK, "lb", up=14)
        for share, text in zip(SHARES, along, strict=True):
            self._draw.line([self._at((0, share)), self._at((1, share))], fill="#e7e5e4")
            self._write((0, share), f"{high - share * (high - low):.2f}", INK, "rm", left=8)
            self._write((share, 1), text, INK, "mt", up=-10)

    def line(self, points: Sequence[Point], colour: str, width: int) -> None:
        """A line through the points."""
        self._draw.line([self._at(point) for point in points], fill=colour, width=width, joint="curve")

    def dots(self, points: Sequence[Point], colour: str) -> None:
        """A dot at each point."""
        for x, y in map(self._at, points):
            self._draw.ellipse([(x - 4, y - 4), (x + 4, y + 4)], fill=colour)

    def level(self, y: float, text: str) -> None:
        """A line from left to right, with words on it."""
        self.line([(0, y), (1, y)], HELD_OUT, 2)
        self._write((1, y), text, HELD_OUT, "rb", up=4)

    def upright(self, x: float, text: str) -> None:
        """A line from top to bottom, with words beside it."""
        self.line([(x, 0), (x, 1)], HELD_OUT, 2)
        self._write((x, 0), text, HELD_OUT, "rt", left=6)

    def to_png(self) -> bytes:
        """The picture."""
        content = io.BytesIO()
        self._image.save(content, "PNG", optimize=True)
        return content.getvalue()

    def _at(self, share: Point) -> Point:
        left, top, right, bottom = FRAME
        return left + share[0] * (right - left), top + share[1] * (bottom - top)

    def _write(self, share: Point, text: str, colour: str, anchor: str, *, up: float = 0, left: float = 0) -> None:
        x, y = self._at(share)
        self._draw.text((x - left, y - up), text, fill=colour, font=self._font, anchor=anchor)
