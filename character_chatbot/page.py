"""The page in gradio: its layout and look. What happens on it is in talk.py, its pieces of HTML in markup.py."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from character_chatbot.service import DEFAULT_NAME, LONGEST_NAME_CHARACTERS, Service
from character_chatbot.status import build_status
from character_chatbot.talk import Change, Talk, Views
from character_chatbot.watching import read_training
from config import Settings, SuiteError
from utils.registry import Registry

if TYPE_CHECKING:
    import gradio as gr

REPLIES_AT_ONCE = 40  # conversations that wait or stream; further ones see their place in the queue
REFRESH_SECONDS = 3.0  # while a training runs and somebody has opened the Status tab
STYLE_SHEET = Path(__file__).with_suffix(".css")

Parts = dict[str, Any]  # components by name


def build_page(service: Service, registry: Registry, family: str) -> gr.Blocks:
    """The page with both tabs. ``service`` need not have loaded anything."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    title, logline = read_title(service.settings)
    page: gr.Blocks
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.HTML(markup.title_block(title, logline))
        with gr.Tab("Chat"):
            parts = _lay_out_chat()
        _connect_chat(page, parts, Talk(service))
        with gr.Tab("Status") as tab:
            _lay_out_status(tab, service, registry, family)
    page.queue(api_open=False, default_concurrency_limit=None)
    return page


def read_title(settings: Settings) -> tuple[str, str]:
    """Title and logline of the series folder; a plain title where there is none."""
    from utils.series import open_series

    try:
        series = open_series(settings.paths.data)
    except SuiteError:
        return "Characters", ""
    return series.title, series.logline


def _lay_out_chat() -> Parts:
    """The parts of the chat, by name."""
    import gradio as gr

    parts: Parts = {"histories": gr.State({})}
    with gr.Row(elem_id="talk"):
        with gr.Column(scale=1, min_width=220, elem_id="cast"):
            parts["characters"] = gr.Radio([], label="Talk to", elem_id="characters")
        with gr.Column(scale=3, min_width=280):
            parts["speaking"] = gr.HTML()
            parts["banner"] = gr.HTML()
            parts["chat"] = gr.Chatbot(**_CHAT_OPTIONS, placeholder="Say something to begin.")
            parts["notice"] = gr.HTML()
            parts["box"] = gr.Textbox(
                label="Your message", lines=1, max_lines=4, autofocus=True, elem_id="box", placeholder="Say something…"
            )
            parts |= _lay_out_buttons()
            parts["evidence"] = gr.HTML()
            parts["name"] = gr.Textbox(
                DEFAULT_NAME, label="You speak as", max_length=LONGEST_NAME_CHARACTERS, max_lines=1, elem_id="name"
            )
    return parts


_CHAT_OPTIONS: dict[str, Any] = {
    "elem_id": "chat", "label": "Conversation", "show_label": False, "height": "min(52vh, 30rem)", "layout": "bubble",
    "render_markdown": False, "sanitize_html": True, "latex_delimiters": [], "allow_tags": False, "buttons": [],
    "feedback_options": None, "group_consecutive_messages": False,
}  # fmt: skip


def _lay_out_buttons() -> Parts:
    import gradio as gr

    with gr.Row(elem_id="buttons"):
        parts: Parts = {"send": gr.Button("Send", variant="primary", elem_id="send")}
        for name in ("stop", "retry", "undo", "clear"):
            parts[name] = gr.Button(name.capitalize(), interactive=False, elem_id=name)
    return parts


def _connect_chat(page: gr.Blocks, parts: Parts, talk: Talk) -> None:
    import gradio as gr

    def bind(act: Callable[..., Views]) -> dict[str, Any]:
        outputs = [part for name, part in parts.items() if name != "name"]
        return {
            "fn": _by_part(act, parts),
            "outputs": outputs,
            "show_progress": "hidden",
            "api_visibility": "private",
        }

    queue = {"concurrency_limit": REPLIES_AT_ONCE, "concurrency_id": "replies"}
    who = [parts["characters"], parts["histories"]]
    page.load(inputs=[parts["characters"]], **bind(talk.open))
    gr.on(
        [parts["send"].click, parts["box"].submit],
        inputs=[parts["box"], parts["name"], *who],
        trigger_mode="once",
        **bind(talk.send),
        **queue,
    )
    parts["retry"].click(inputs=who, trigger_mode="once", **bind(talk.retry), **queue)
    parts["characters"].input(inputs=who, **bind(talk.pick))
    parts["stop"].click(inputs=who, **bind(talk.stop))
    parts["undo"].click(inputs=who, **bind(talk.undo))
    parts["clear"].click(inputs=who, **bind(talk.clear))


def _by_part(act: Callable[..., Views], parts: Parts) -> Callable[..., AsyncIterator[Parts]]:
    """An act whose views gradio understands: by component, not by name."""
    import gradio as gr

    async def run(*values: Any) -> AsyncIterator[Any]:
        async with contextlib.aclosing(act(*values)) as views:
            async for view in views:
                yield {parts[name]: gr.update(**new) if isinstance(new, Change) else new for name, new in view.items()}

    return run


def _lay_out_status(tab: gr.Tab, service: Service, registry: Registry, family: str) -> None:
    import gradio as gr

    refresh = gr.Button("Refresh", elem_id="refresh")
    with gr.Column(elem_id="status"):
        speaking, training, run = gr.HTML(), gr.HTML(), gr.HTML()
        curve = gr.LinePlot(
            x="step", y="loss", x_title="step", y_title="training loss", height=260, visible=False, buttons=[],
            label="Training loss of the active version",
        )  # fmt: skip
        data = gr.HTML()
    clock = gr.Timer(REFRESH_SECONDS, active=False)
    parts = [training, clock, speaking, run, curve, data]

    def show() -> tuple[Any, ...]:
        return (*_show_training(service), *_show_status(service, registry, family))

    def watch() -> tuple[Any, ...]:
        block, timer = _show_training(service)
        rest = [gr.skip()] * 4 if timer.active else _show_status(service, registry, family)
        return (block, timer, *rest)

    for event, act, progress in (
        (tab.select, show, "minimal"),
        (refresh.click, show, "minimal"),
        (clock.tick, watch, "hidden"),
    ):
        event(act, outputs=parts, api_visibility="private", show_progress=progress)


def _show_training(service: Service) -> tuple[str, gr.Timer]:
    """The block of a training that goes on or was stopped, and the clock, which ticks while one goes on."""
    import gradio as gr

    training = read_training(service.settings.paths.runs)
    return markup.training_block(training), gr.Timer(active=bool(training and training["running"]))


def _show_status(service: Service, registry: Registry, family: str) -> tuple[Any, ...]:
    """The blocks of the Status tab, and the loss curve where there is one."""
    import gradio as gr
    import pandas as pd

    source = None if service.loading or service.problem else service.source
    status = build_status(
        family, service.settings, registry, service.announcements,
        source=source, corpus=service.corpus, no_corpus=service.no_corpus,
    )  # fmt: skip
    speaking, run, data = markup.status_blocks(status)
    if service.problem:
        speaking = markup.problem_block(str(service.problem)) + speaking
    losses = (status["run"] or {}).get("losses", [])
    curve = gr.update(value=pd.DataFrame(losses, columns=["step", "loss"]) if losses else None, visible=bool(losses))
    return speaking, run, curve, data


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
