"""The interactive network inside the app: the page of character_network in a frame of its own.

    network_board(elem_id="…")     a gr.HTML that shows ``frame_block``; its event ``pick`` tells a pair that is clicked
    frame_block(data, title)       HTML with the data of one network
    add_frame(app)                 the application serves the page around the data, once for all networks

The browser puts the data into the page and shows it with ``srcdoc``, so that the Content-Security-Policy of the app is
that of the frame. The frame is sandboxed: whatever stands in a series, it cannot reach the app around it.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboard.display import YEAR_SECONDS

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI, Request, Response

FOLDER = Path(__file__).parent
HOLE = "THE DATA OF THE NETWORK"
IN_GRADIO = "watch('value', () => showNetwork(element, trigger));\nshowNetwork(element, trigger);\n"


def frame_block(data: dict[str, object], title: str) -> str:
    """The place of a frame, with its data as JSON. ``data``: as ``character_network.page.build_page_data`` gives it."""
    told = escape(f"Network of {title}", quote=True)
    spec = escape(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    return f'<div class="network-frame" data-title="{told}"><pre class="network-data" hidden>{spec}</pre></div>'


def network_board(**options: Any) -> gr.HTML:
    """A gr.HTML for ``frame_block``. Its event ``pick`` tells ``{"pair": [name, name]}``."""
    import gradio as gr

    return gr.HTML("", js_on_load=frame_script() + IN_GRADIO, **options)


@cache
def frame_script() -> str:
    """The script that fills frames; it defines ``showNetwork(root, trigger)``."""
    where = json.dumps({"page": _address(), "hole": json.dumps(HOLE)})
    return (FOLDER / "network_frame.js").read_text(encoding="utf-8").replace("/*FRAME*/ null", where)


@cache
def _page() -> str:
    """The page with a hole where its data belong, and with what makes it a part of another page."""
    from character_network.page import render_page

    style = (FOLDER / "network_inside.css").read_text(encoding="utf-8")
    script = (FOLDER / "network_inside.js").read_text(encoding="utf-8")
    return render_page("", HOLE).replace("</body>", f"<style>{style}</style><script>{script}</script></body>")


@cache
def _page_gzip() -> bytes:
    return gzip.compress(_page().encode("utf-8"), 9, mtime=0)


@cache
def _address() -> str:
    """Another one whenever the page is another, as browsers keep it."""
    import hashlib

    return f"/plots/network-{hashlib.sha256(_page().encode()).hexdigest()[:12]}.txt"


def add_frame(app: FastAPI) -> None:
    """Let the application serve the page without data, to everybody: it holds nothing of a series."""
    from fastapi.responses import Response as Plain

    async def answer(request: Request) -> Response:
        headers = {"cache-control": f"public, max-age={YEAR_SECONDS}", "vary": "accept-encoding"}
        # As text: by itself it is no page.
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Plain(_page_gzip(), media_type="text/plain", headers=headers | {"content-encoding": "gzip"})
        return Plain(_page(), media_type="text/plain", headers=headers)

    app.add_route(_address(), answer, methods=["GET"])
