"""The Status tab: what speaks, which versions there are, how the active one was trained, how the data was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from character_chatbot.monitoring.watching import read_training
from character_chatbot.service import Service
from character_chatbot.status import build_status
from utils.registry import Registry

if TYPE_CHECKING:
    import gradio as gr

REFRESH_SECONDS = 3.0  # while a training runs and somebody has opened the tab


def lay_out_status(tab: gr.Tab, service: Service, registry: Registry, family: str) -> None:
    """Fill the tab; it reads anew when it is opened, and by itself while a training goes on."""
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
    if service.loading:
        now = service.progress.read()
        speaking = markup.loading_block(now.title, now.figures, now.share) + speaking
    elif service.problem:
        speaking = markup.problem_block(str(service.problem)) + speaking
    losses = (status["run"] or {}).get("losses", [])
    curve = gr.update(value=pd.DataFrame(losses, columns=["step", "loss"]) if losses else None, visible=bool(losses))
    return speaking, run, curve, data
