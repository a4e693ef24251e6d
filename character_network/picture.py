"""The network and the timeline of a pair as still pictures: SVG for print, PNG for everywhere else.

write_pictures(network, Path("results/network"))      # network.svg, network.png
(folder / "pair.svg").write_text(timeline_svg(network, "Kit", "Grell"))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from character_network.layout import Point, build_layout
from character_network.page import radii
from character_network.svg import GROUND, INK, LINE, SOFT, svg, text
from utils.palette import colour

if TYPE_CHECKING:
    from character_network.network import Network

WIDTH, HEIGHT, MARGIN, LEGEND = 1400, 1000, 70, 60  # pixels


@dataclass(frozen=True)
class Circle:
    """A person in the picture, in pixels."""

    name: str
    x: float
    y: float
    radius: float
    colour: str


@dataclass(frozen=True)
class Line:
    """A tie in the picture. ``opacity`` from 0 to 1."""

    start: Point
    end: Point
    width: float
    opacity: float


@dataclass(frozen=True)
class Drawing:
    """What is drawn, whichever the format."""

    title: str
    lines: list[Line]
    circles: list[Circle]


def draw(network: Network) -> Drawing:
    """The ``shown_people`` strongest people and the ties among them, fitted into the picture."""
    names = [name for name in network.people["person"][: network.settings.shown_people] if network.graph.degree(name)]
    graph = network.graph.subgraph(names)
    sizes = {name: radius for name, radius in radii(network).items() if name in graph}
    places = _fit(build_layout(graph, sizes, network.settings.seed))
    heaviest = max((weight for _, _, weight in graph.edges(data="weight")), default=1.0)
    ties = sorted(graph.edges(data="weight"), key=lambda tie: (tie[2], tie[0], tie[1]))
    lines = [
        Line(places[a], places[b], 0.5 + 9 * weight / heaviest, 0.18 + 0.6 * (weight / heaviest) ** 0.5)
        for a, b, weight in ties
    ]
    communities = {name: graph.nodes[name]["community"] for name in graph}
    circles = [Circle(name, *places[name], sizes[name], colour(communities[name])) for name in names]
    return Drawing(f"{network.title}: who belongs with whom", lines, circles)


def _fit(places: dict[str, Point]) -> dict[str, Point]:
    if not places:
        return {}
    xs, ys = [x for x, _ in places.values()], [y for _, y in places.values()]
    across, down = max(max(xs) - min(xs), 1), max(max(ys) - min(ys), 1)
    scale = min((WIDTH - 2 * MARGIN) / across, (HEIGHT - 2 * MARGIN - 2 * LEGEND) / down, 3.0)
    left = (WIDTH - across * scale) / 2 - min(xs) * scale
    top = LEGEND + (HEIGHT - LEGEND - down * scale) / 2 - min(ys) * scale - LEGEND / 2
    return {name: (left + x * scale, top + y * scale) for name, (x, y) in places.items()}


def network_svg(drawing: Drawing) -> str:
    """The picture as SVG, with names that can be searched and copied."""
    parts = [text(WIDTH / 2, 36, drawing.title, 22, anchor="middle", weight=600)]
    parts += [
        f'<line x1="{line.start[0]:.1f}" y1="{line.start[1]:.1f}" x2="{line.end[0]:.1f}" y2="{line.end[1]:.1f}"'
        f' stroke="{LINE}" stroke-width="{line.width:.1f}" stroke-opacity="{line.opacity:.2f}"/>'
        for line in drawing.lines
    ]
    parts += [
        f'<circle cx="{each.x:.1f}" cy="{each.y:.1f}" r="{each.radius:.1f}" fill="{each.colour}" stroke="{GROUND}"/>'
        for each in drawing.circles
    ]
    parts += [
        text(
            each.x,
            each.y + each.radius + font_size(each),
            short(each.name),
            font_size(each),
            anchor="middle",
            halo=True,
        )
        for each in drawing.circles
    ]
    parts.append(text(WIDTH / 2, HEIGHT - 18, CAPTION, 14, fill=SOFT, anchor="middle"))
    return svg(WIDTH, HEIGHT, parts)


CAPTION = "Circle: strength. Line: weight. Colour: community."


def short(name: str) -> str:
    """A name as it fits below a circle."""
    return name if len(name) <= 26 else name[:25] + "…"


def font_size(circle: Circle) -> float:
    """Points of a name below its circle."""
    return max(13.0, circle.radius * 0.55)


def write_png(drawing: Drawing, file: Path, scale: int = 2) -> None:
    """The picture as PNG, ``scale`` times as many pixels as its size says."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), GROUND)
    pen = ImageDraw.Draw(image)
    for line in drawing.lines:
        ends = [(x * scale, y * scale) for x, y in (line.start, line.end)]
        pen.line(ends, fill=_mix(LINE, line.opacity), width=max(1, round(line.width * scale)))
    for each in drawing.circles:
        box = [(each.x - each.radius) * scale, (each.y - each.radius) * scale]
        box += [(each.x + each.radius) * scale, (each.y + each.radius) * scale]
        pen.ellipse(box, fill=each.colour, outline=GROUND, width=scale)
    for each in drawing.circles:
        font = ImageFont.load_default(font_size(each) * scale)
        at = (each.x * scale, (each.y + each.radius + 2) * scale)
        pen.text(at, short(each.name), fill=INK, font=font, anchor="ma", stroke_width=2 * scale, stroke_fill=GROUND)
    pen.text(
        (WIDTH * scale / 2, 16 * scale), drawing.title, fill=INK, font=ImageFont.load_default(22 * scale), anchor="ma"
    )
    foot = (WIDTH * scale / 2, (HEIGHT - 32) * scale)
    pen.text(foot, CAPTION, fill=SOFT, font=ImageFont.load_default(14 * scale), anchor="ma")
    image.save(file, optimize=False)


def _mix(colour: str, opacity: float) -> tuple[int, ...]:
    """A colour over white: Pillow draws without transparency."""
    return tuple(round(255 - (255 - int(colour[at : at + 2], 16)) * opacity) for at in (1, 3, 5))


def write_pictures(network: Network, folder: Path) -> list[Path]:
    """``network.svg`` and ``network.png``."""
    drawing = draw(network)
    (folder / "network.svg").write_text(network_svg(drawing), encoding="utf-8")
    write_png(drawing, folder / "network.png")
    return [folder / "network.svg", folder / "network.png"]


__all__ = ["Drawing", "draw", "network_svg", "write_pictures", "write_png"]
