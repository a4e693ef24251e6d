"""How all plots look: one plotly template for a light ground, one for a dark one, made of the project's colours.

A figure names colours of ``utils.palette.LIGHT`` (or none, then they come in order); on a dark ground each is
exchanged for its twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from utils.palette import DARK, DARK_SCALE, DARK_SIDES, LIGHT, LIGHT_SCALE, LIGHT_SIDES

FONT = "'Source Sans Pro', system-ui, 'Segoe UI', Roboto, sans-serif"
FONT_PIXELS = 14


@dataclass(frozen=True)
class Ground:
    """Colours of what is not data. ``soft``: of axes and ticks; ``faint``: of grid lines."""

    paper: str
    ink: str
    soft: str
    faint: str


LIGHT_GROUND = Ground("#ffffff", "#292524", "#57534e", "#e7e5e4")
DARK_GROUND = Ground("#1c1917", "#f5f5f4", "#c4beb8", "#3f3b38")


def build_template(dark: bool = False) -> dict[str, Any]:
    """A plotly template as a plain dict."""
    ground, colours = (DARK_GROUND, DARK) if dark else (LIGHT_GROUND, LIGHT)
    scale = spread(DARK_SCALE if dark else LIGHT_SCALE)
    bar = {"outlinewidth": 0, "ticks": "", "thickness": 14, "tickfont": {"color": ground.soft}}
    heat = {"type": "heatmap", "colorscale": scale, "colorbar": bar, "xgap": 1, "ygap": 1}
    return {
        "data": {"heatmap": [heat], "bar": [{"type": "bar", "marker": {"line": {"width": 0}}}]},
        "layout": {
            "font": {"family": FONT, "size": FONT_PIXELS, "color": ground.ink},
            "colorway": list(colours[:-1]),
            "colorscale": {"sequential": scale, "diverging": spread(DARK_SIDES if dark else LIGHT_SIDES)},
            "coloraxis": {"colorbar": bar},
            "paper_bgcolor": ground.paper,
            "plot_bgcolor": ground.paper,
            "hoverlabel": {"bgcolor": ground.paper, "bordercolor": ground.soft, "align": "left",
                           "font": {"family": FONT, "color": ground.ink}},
            "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
            "xaxis": _axis(ground),
            "yaxis": _axis(ground),
            "polar": {
                "bgcolor": ground.paper,
                "angularaxis": {"gridcolor": ground.faint, "linecolor": ground.faint},
                "radialaxis": {"gridcolor": ground.faint, "linecolor": ground.faint,
                               "tickfont": {"color": ground.soft}},
            },
            "legend": {"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0, "title": {"text": ""}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": ground.soft, "activecolor": colours[0]},
            "annotationdefaults": {"font": {"color": ground.ink}, "arrowcolor": ground.soft},
            "shapedefaults": {"line": {"color": ground.soft}},
        },
    }  # fmt: skip


def _axis(ground: Ground) -> dict[str, Any]:
    return {
        "automargin": True, "autotickangles": [0, -60, -90], "ticks": "outside", "ticklen": 5,
        "tickcolor": "rgba(0,0,0,0)", "gridcolor": ground.faint, "linecolor": ground.faint,
        "zerolinecolor": ground.faint,
        "tickfont": {"color": ground.soft}, "title": {"standoff": 10, "font": {"color": ground.soft}},
    }  # fmt: skip


def spread(colours: tuple[str, ...]) -> list[list[Any]]:
    """A plotly colour scale with these colours at equal distances."""
    return [[at / (len(colours) - 1), colour] for at, colour in enumerate(colours)]


def twins() -> dict[str, str]:
    """On a dark ground, the colour for each one of the light ground."""
    light = (*LIGHT, LIGHT_GROUND.paper, LIGHT_GROUND.ink, LIGHT_GROUND.soft, LIGHT_GROUND.faint)
    return dict(
        zip(light, (*DARK, DARK_GROUND.paper, DARK_GROUND.ink, DARK_GROUND.soft, DARK_GROUND.faint), strict=True)
    )
