"""A page with the tabs of the dashboard alone: ``python dashboard_page.py PORT SERIES``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


def build_app(series: Path) -> Any:
    """The application, with the look and the headers of the real one."""
    import gradio as gr
    from fastapi import FastAPI

    from character_chatbot.page import STYLE_SHEETS, build_theme
    from character_chatbot.web import OwnHostOnly
    from config import load_settings
    from dashboard import page as dashboard

    settings = load_settings(
        env_file=Path("/none"), environment={}, flags={"paths.data": series, "themes.model": "lexical"}
    )
    with gr.Blocks(title="Dashboard", analytics_enabled=False) as page:
        with gr.Tab("Empty"):
            gr.HTML("<p>Nothing.</p>")
        dashboard.lay_out_dashboard(settings)
    page.queue(api_open=False, default_concurrency_limit=None)
    app = FastAPI()
    for add in dashboard.ROUTES:
        add(app)
    gr.mount_gradio_app(
        app, page, path="/", theme=build_theme(), css_paths=[*STYLE_SHEETS, *dashboard.STYLE_SHEETS], footer_links=[],
        run_history=False, ssr_mode=False, show_error=False, max_file_size="10mb",
    )  # fmt: skip
    app.add_middleware(OwnHostOnly)
    return app


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    import uvicorn

    uvicorn.run(build_app(Path(sys.argv[2])), port=int(sys.argv[1]), log_level="critical")
