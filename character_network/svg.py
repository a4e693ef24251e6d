"""The words of SVG that the pictures are written in."""

from __future__ import annotations

from xml.sax.saxutils import escape

INK, SOFT, LINE, GROUND = "#1c2127", "#5b6570", "#8d97a1", "#ffffff"
FONT = "system-ui, 'Segoe UI', Roboto, sans-serif"


def text(
    x: float,
    y: float,
    words: str,
    size: float,
    *,
    fill: str = INK,
    anchor: str = "start",
    weight: int = 400,
    halo: bool = False,
) -> str:
    """A line of text at a place in pixels. ``halo``: with an outline in the colour of the ground."""
    outline = f' stroke="{GROUND}" stroke-width="3" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}" font-weight="{weight}" fill="{fill}"'
        f' text-anchor="{anchor}"{outline}>{escape(words)}</text>'
    )


def svg(width: int, height: int, parts: list[str]) -> str:
    """A whole picture with a white ground."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    ground = f'<rect width="{width}" height="{height}" fill="{GROUND}"/>'
    return "\n".join([f'{head} font-family="{FONT}">', ground, *parts, "</svg>\n"])
