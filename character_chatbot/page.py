"""The page in gradio: its tabs, and its look. The tabs are in pages/, what happens in the chat is in acts/."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from character_chatbot.acts.talk import Talk
from character_chatbot.acts.visit import read_owner
from character_chatbot.chats.store import ChatStore, describe_storage, open_chat_store
from character_chatbot.pages.characters_tab import lay_out_characters
from character_chatbot.pages.chat_tab import lay_out_chat
from character_chatbot.pages.compare_tab import lay_out_compare
from character_chatbot.pages.programs import offer_calls
from character_chatbot.pages.status_tab import lay_out_status
from character_chatbot.service import Service
from config import Settings, SuiteError
from utils.announcements import Announcement
from utils.errors import DataError, StoreError
from utils.registry import Registry

if TYPE_CHECKING:
    import gradio as gr

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
STYLE_SHEETS = (FOLDER / "page.css", FOLDER / "pages" / "chat.css", FOLDER / "pages" / "tools.css")
# Gradio counts nothing for its makers; and for nobody else, which after each event would read the last 10,000 anew.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
}
MEMORY_ONLY = "Your conversations are only in this server's memory, and are gone when it stops or you delete them."


def build_page(
    service: Service, registry: Registry, family: str, more_tabs: Sequence[Callable[[], None]] = ()
) -> gr.Blocks:
    """The page with all tabs. ``service`` need not have loaded anything; ``more_tabs`` lay out further ones."""
    os.environ |= QUIET
    import gradio as gr

    title, logline = read_title(service.settings)
    one_owner = not service.settings.secrets.app_password
    store, storage = open_store(service, one_owner)
    page: gr.Blocks
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.HTML(markup.title_block(title, logline), js_on_load=None)
        with gr.Tab("Chat") as chat:
            visit = lay_out_chat(page, chat, Talk(service, store, storage), one_owner=one_owner)
        with gr.Tab("Characters"):
            lay_out_characters(service, service.refresh_cast)
        with gr.Tab("Compare"):
            lay_out_compare(
                service, registry, family, store, owner=visit, owner_of=lambda kept: read_owner(kept, one_owner)
            )
        for lay_out in more_tabs:
            lay_out()
        with gr.Tab("Status") as tab:
            lay_out_status(tab, service, registry, family)
        offer_calls(service)
    page.queue(api_open=False, default_concurrency_limit=None)
    return page


def open_store(service: Service, one_owner: bool) -> tuple[ChatStore, str]:
    """The store of conversations and a sentence about it; in memory, announced, where the file cannot be had.

    ``one_owner``: without a password nobody but the people of this machine can reach the page.
    """
    settings = service.settings.chats
    try:
        return open_chat_store(settings, one_owner), describe_storage(settings, one_owner)
    except (DataError, StoreError) as error:
        logger.error("%s", error)
        remedy = error.remedies[0][1] if error.remedies else "set chats.file to another place"
        kept = Announcement(
            "conversations", f"kept in {settings.file}", "the server's memory", error.what.rstrip("."), remedy
        )
        service.announcements.add(kept)
        return ChatStore(None, settings), MEMORY_ONLY


def read_title(settings: Settings) -> tuple[str, str]:
    """Title and logline of the series folder; a plain title where there is none."""
    from utils.series import open_series

    try:
        series = open_series(settings.paths.data)
    except SuiteError:
        return "Characters", ""
    return series.title, series.logline


def build_theme() -> Any:
    """Colours and typeface; all of it lies in gradio's own folder."""
    from gradio.themes import Default
    from gradio.themes.utils import colors, sizes
    from gradio.themes.utils.fonts import Font, LocalFont

    # Weights whose files in gradio hold the whole alphabet; its 600 holds a part of it.
    text = (LocalFont("Source Sans Pro", weights=(400, 700)), Font("system-ui"), Font("sans-serif"))
    code = (Font("ui-monospace"), Font("monospace"))
    hues: Any = {"primary_hue": colors.teal, "secondary_hue": colors.teal, "neutral_hue": colors.stone}
    theme = Default(**hues, font=text, font_mono=code, text_size=sizes.text_lg, radius_size=sizes.radius_lg)
    fills = {"button_primary_background_fill": "*primary_700", "button_primary_background_fill_hover": "*primary_800"}
    return theme.set(**fills, **{f"{name}_dark": value for name, value in fills.items()})
