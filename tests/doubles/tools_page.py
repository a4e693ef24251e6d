"""A page with the tabs of tools alone, and two sources that need no model: ``python tools_page.py PORT SERIES``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
SAID = "I put it to you that the tide is neither late nor early."


class Sayer:
    """Always says the same, word by word; a hundred times if it is asked slowly."""

    def reply(self, messages: Sequence[Any], sampling: Any) -> Iterator[str]:
        for word in SAID.split() * (100 if "slowly" in messages[-1]["content"] else 1):
            time.sleep(0.01)
            yield f"{word} "


def build_app(series: Path) -> Any:
    """The application: what the chat speaks with is called 'the sayer', quotes are the other source."""
    import gradio as gr
    from fastapi import FastAPI

    from character_chatbot.chats.store import ChatStore
    from character_chatbot.page import STYLE_SHEETS, build_theme
    from character_chatbot.pages.characters_tab import lay_out_characters
    from character_chatbot.pages.compare_tab import lay_out_compare
    from character_chatbot.service import Service
    from character_chatbot.sources import SourceFinder
    from character_chatbot.web import OwnHostOnly
    from config import load_settings
    from utils.registry import Registry
    from utils.stores import FolderStore

    places = {"paths.data": series, "paths.cache": series / "cache"}  # not what this machine has made before
    settings = load_settings(env_file=Path("/none"), environment={}, flags=places)
    registry = Registry(FolderStore(series / "registry"))

    def find(corpus: Any, no_corpus: str, announcements: Any) -> Any:
        found = SourceFinder("llama", settings, registry, announcements, corpus, no_corpus).find("quotes")
        return replace(found, rung="base", label="the sayer", engine=lambda character: Sayer())

    service = Service(settings, find)
    service.load()

    with gr.Blocks(title="Tools", analytics_enabled=False) as page:
        with gr.Tab("Empty"):
            gr.HTML("<p>Nothing.</p>")
        with gr.Tab("Characters"):
            lay_out_characters(service, service.refresh_cast)
        with gr.Tab("Compare"):
            lay_out_compare(service, registry, "llama", ChatStore(None))
    page.queue(api_open=False, default_concurrency_limit=None)
    app = FastAPI()
    gr.mount_gradio_app(
        app, page, path="/", theme=build_theme(), css_paths=list(STYLE_SHEETS), footer_links=[], run_history=False,
        ssr_mode=False, show_error=False, max_file_size="10mb",
    )  # fmt: skip
    app.add_middleware(OwnHostOnly)
    return app


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    import uvicorn

    uvicorn.run(build_app(Path(sys.argv[2])), port=int(sys.argv[1]), log_level="critical")
