"""A plot on a page, the same in the app and in a file of its own: HTML that dashboard/plot.js draws into.

    plot_block(plot)                 the figure with its words, its buttons (PNG, SVG, CSV, table) and its numbers
    plot_board(elem_id="…")          a gr.HTML that shows blocks; ``.pick`` is its event for clicks (gr.EventData)
    plot_script(), plot_style()      for a page without gradio: then run ``showPlots(document.body)``
    add_plotly(app)                  the application serves plotly.js itself

Plotly comes from its Python package, so nothing is loaded from elsewhere. Measured with gradio 6.31: its own gr.Plot
carries plotly.js 3.3.1 of its own, takes no plotly config, and draws with the colours of the light ground only.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboard.look import build_template, twins
from dashboard.plot import Plot

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI, Request, Response

FOLDER = Path(__file__).parent
STYLE_SHEET = FOLDER / "plot.css"
ADDRESS = "/plots/plotly.js"
BUTTONS = (("png", "PNG"), ("svg", "SVG"), ("csv", "CSV"))
YEAR_SECONDS = 31_536_000
# In gradio: draw now and whenever the HTML is another, and tell what is clicked.
IN_GRADIO = """
element.addEventListener('plot-pick', (event) => trigger('pick', event.detail));
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-pick]');
  if (button) trigger('pick', JSON.parse(button.dataset.pick));
});
watch('value', () => showPlots(element));
showPlots(element);
"""


def plot_block(plot: Plot) -> str:
    """The plot as HTML; every text of it is escaped."""
    name, told, title = (escape(text, quote=True) for text in (plot.name, plot.summary, plot.title))
    buttons = "".join(
        f'<button type="button" data-save="{kind}" aria-label="{label} of {title}">{label}</button>'
        for kind, label in BUTTONS
    )
    note = f'<p class="plot-note">{escape(plot.note)}</p>' if plot.note else ""
    spec = escape(json.dumps(plot.spec(), ensure_ascii=False, separators=(",", ":")))
    return (
        f'<figure class="plot" id="plot-{name}" data-plot="{name}"><figcaption><h3>{title}</h3>'
        f"<p>{told}</p></figcaption>"
        f'<div class="plot-canvas" role="img" aria-label="{told}" style="min-height:{_height(plot)}px"></div>{note}'
        f'<div class="plot-buttons" role="group" aria-label="Save">{buttons}'
        f'<details><summary>Numbers</summary><div class="plot-table"></div></details></div>'
        f'<pre class="plot-spec" hidden>{spec}</pre></figure>'
    )


def _height(plot: Plot) -> int:
    return int(plot.figure.layout.height or 420)


def plot_board(html: str = "", **options: Any) -> gr.HTML:
    """A gr.HTML for blocks of plots and any HTML beside them.

    Its event ``pick`` tells, as ``gr.EventData._data``: ``{"plot": name, "point": customdata}`` of a point that was
    clicked, or the JSON in the ``data-pick`` of a button that was pressed.
    """
    import gradio as gr

    return gr.HTML(html, js_on_load=plot_script() + IN_GRADIO, **options)


@cache
def plot_script() -> str:
    """The script that draws plots, with both grounds; it defines ``showPlots(root)``."""
    look = {"light": build_template(), "dark": build_template(dark=True), "twins": twins(), "plotly": ADDRESS}
    text = (FOLDER / "plot.js").read_text(encoding="utf-8")
    return text.replace("/*LOOK*/ null", json.dumps(look, separators=(",", ":")).replace("</", "<\\/"))


def plot_style() -> str:
    """The style sheet of plots."""
    return STYLE_SHEET.read_text(encoding="utf-8")


@cache
def plotly_gzip() -> bytes:
    """plotly.js, compressed: 1.5 MB instead of 4.8."""
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode("utf-8"), 9, mtime=0)


def add_plotly(app: FastAPI) -> None:
    """Let the application serve plotly.js at ``ADDRESS``, to everybody: it holds nothing of a series."""
    from fastapi.responses import Response as Plain

    async def answer(request: Request) -> Response:
        import asyncio

        content = await asyncio.to_thread(plotly_gzip)
        headers = {"cache-control": f"public, max-age={YEAR_SECONDS}", "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Plain(content, media_type="text/javascript", headers=headers | {"content-encoding": "gzip"})
        return Plain(gzip.decompress(content), media_type="text/javascript", headers=headers)

    app.add_route(ADDRESS, answer, methods=["GET"])
