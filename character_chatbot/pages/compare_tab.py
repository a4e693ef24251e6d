"""The Compare tab: two sources reply to the same words side by side; votes are kept and counted."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from character_chatbot.chats.records import BOTH_BAD, LEFT, RIGHT, TIE
from character_chatbot.chats.store import ChatStore
from character_chatbot.comparing.contenders import Contenders
from character_chatbot.comparing.rounds import Comparing, Question, Round
from character_chatbot.load_progress import Stage
from character_chatbot.pages import tool_blocks
from character_chatbot.pages.downloads import connect_download
from character_chatbot.pages.tab_events import find_tab
from character_chatbot.service import DEFAULT_NAME, LONGEST_NAME_CHARACTERS, Service
from utils.errors import SuiteError
from utils.registry import Registry

if TYPE_CHECKING:
    from gradio.components import Component

LOOK_SECONDS = 0.5  # between two words of how far loading is
REPLIES_AT_ONCE = 8  # comparisons that wait or stream; further ones see their place in the queue
VOTES = {LEFT: "Left is better", RIGHT: "Right is better", TIE: "Equally good", BOTH_BAD: "Both bad"}
FILE_NAME = "preferences.jsonl"

View = dict[str, Any]


class Properties(dict[str, Any]):
    """Properties of a part instead of its value."""


class Compare:
    """What happens on the tab. Each act gives views: values or properties by the name of a part."""

    def __init__(self, comparing: Comparing, contenders: Contenders, service: Service) -> None:
        self._comparing, self._contenders, self._service = comparing, contenders, service

    def look(self, owner: str, first: str | None, second: str | None, character: str | None) -> View:
        """What can be compared now, and the votes so far."""
        keys = self._contenders.choices()
        names = list(self._service.characters)
        one = first if first in keys else next(iter(keys), None)
        other = second if second in keys and second != one else next((key for key in keys if key != one), None)
        choices = [(label, key) for key, label in keys.items()]
        notice = "" if len(keys) != 1 else markup.hint("There is only one source on this machine: train a version.")
        return {
            "first": Properties(choices=choices, value=one),
            "second": Properties(choices=choices, value=other),
            "character": Properties(choices=names, value=character if character in names else next(iter(names), None)),
            "tally": tool_blocks.tally_block(self._comparing.tally(owner)),
            "notice": notice,
        }

    async def follow(
        self, owner: str, first: str | None, second: str | None, character: str | None
    ) -> AsyncGenerator[View, None]:
        """As :meth:`look`; while the chat's model is being loaded how far that is, and then all of it again."""
        was_loading, told = self._service.loading, ""
        yield self.look(owner, first, second, character)
        while self._service.loading:
            now = self._service.progress.read()
            yield _loading(now, told)
            told = now.title
            await asyncio.sleep(LOOK_SECONDS)
        if was_loading:
            yield {"told": ""} | self.look(owner, first, second, character)

    async def ask(self, question: Question, before: Round) -> AsyncGenerator[View, None]:
        """Both replies as they come."""
        told = ""
        async with contextlib.aclosing(self._comparing.ask(question, before)) as views:
            async for view in views:
                stage = view.get("loading")
                if stage:  # its title is told once, its figures are for those who look
                    yield _loading(stage, told)
                    told = stage.title
                    continue
                shown: View = {"notice": markup.problem_block(view["notice"]) if view.get("notice") else ""}
                shown |= {"told": ""} if told else {}
                told = ""
                shown |= {"box": view["box"]} if "box" in view else {}
                yield shown | (self._show(view["round"], view["busy"]) if "round" in view else {})

    def stop(self, now: Round) -> View:
        """End both replies."""
        now.stopped.set()
        return {"notice": markup.hint("Stopping…")}

    def vote(self, owner: str, vote: str, now: Round) -> View:
        """Keep a vote, and say who was who."""
        try:
            voted = self._comparing.vote(vote, now, owner)
        except SuiteError as error:
            return {"notice": markup.problem_block(str(error))}
        return self._show(voted, False) | {"tally": tool_blocks.tally_block(self._comparing.tally(owner)), "notice": ""}

    def begin(self) -> View:
        """Another conversation; the votes stay."""
        return self._show(Round(), False) | {"notice": ""}

    def _show(self, now: Round, busy: bool) -> View:
        votable = Properties(interactive=now.open_to_vote and not busy)
        return {
            "round": now,
            "left": tool_blocks.side_block("Left", now.left, now, LEFT),
            "right": tool_blocks.side_block("Right", now.right, now, RIGHT),
            "said": tool_blocks.said_block(now.turns, now),
            "verdict": tool_blocks.verdict_line(now),
            "ask": Properties(interactive=not busy),
            "stop": Properties(interactive=busy),
            "new": Properties(interactive=not busy and bool(now.message)),
        } | {f"vote-{vote}": votable for vote in VOTES}


def _loading(stage: Stage, told: str) -> View:
    """How far it is; its title goes to screen readers, unless that was ``told`` before."""
    view: View = {"notice": markup.loading_block(stage.title, stage.figures, stage.share)}
    return view if stage.title == told else view | {"told": markup.hint(f"Loading: {stage.title}")}


def lay_out_compare(
    service: Service,
    registry: Registry,
    family: str,
    store: ChatStore,
    *,
    owner: Component | None = None,
    owner_of: Callable[[Any], str] = str,
    contenders: Contenders | None = None,
) -> None:
    """The tab, inside ``with gr.Tab(...)``.

    Args:
        service, registry, family: what can be compared.
        store: where votes are kept.
        owner: a part of the page that says whose votes these are; default: each visit has votes of its own.
        owner_of: the owner, from the value of that part.
        contenders: default: what ``service`` and ``registry`` have.
    """
    import gradio as gr

    found = contenders or Contenders(service, registry, family)
    comparing = Comparing(service, found, store)
    whose = owner if owner is not None else gr.State(lambda: f"visit-{secrets.token_hex(16)}")
    parts = _lay_out()
    _connect(parts, Compare(comparing, found, service), whose, owner_of)
    connect_download(
        parts["download"], parts["notice"], lambda value: (FILE_NAME, comparing.export(owner_of(value))), [whose]
    )


def _lay_out() -> dict[str, Any]:
    import gradio as gr

    parts: dict[str, Any] = {"round": gr.State(None)}
    with gr.Row(elem_classes="tool-bar"):
        for name, label in (("first", "One source"), ("second", "Another source"), ("character", "Character")):
            parts[name] = gr.Dropdown([], label=label, filterable=False, min_width=220, elem_id=f"compare-{name}")
    parts["said"] = gr.HTML()
    with gr.Row(elem_id="sides"):
        parts["left"] = gr.HTML(tool_blocks.side_block("Left", Round().left, Round(), LEFT))
        parts["right"] = gr.HTML(tool_blocks.side_block("Right", Round().right, Round(), RIGHT))
    parts["verdict"] = gr.HTML()
    with gr.Row(elem_id="votes"):
        for vote, label in VOTES.items():
            parts[f"vote-{vote}"] = gr.Button(label, interactive=False, elem_id=f"vote-{vote}", min_width=120)
    parts["notice"] = gr.HTML(elem_id="compare-notice")
    parts["told"] = gr.HTML(elem_id="compare-told")  # for screen readers alone
    with gr.Row(elem_classes="tool-bar"):
        parts["box"] = gr.Textbox(
            label="Your message to both", lines=1, max_lines=4, placeholder="Say something…", elem_id="compare-box"
        )
    with gr.Row(elem_classes="tool-bar"):
        parts["ask"] = gr.Button("Ask both", variant="primary", elem_id="compare-ask", min_width=140)
        parts["stop"] = gr.Button("Stop", interactive=False, elem_id="compare-stop", min_width=90)
        parts["new"] = gr.Button("Begin anew", interactive=False, elem_id="compare-new", min_width=110)
    with gr.Row(elem_classes="tool-bar"):
        parts["name"] = gr.Textbox(
            DEFAULT_NAME, label="You speak as", max_length=LONGEST_NAME_CHARACTERS, max_lines=1, min_width=200
        )
        parts["hidden"] = gr.Checkbox(
            True, label="Hide who is who until I have voted", elem_id="compare-hidden", min_width=200
        )
    parts["tally"] = gr.HTML()
    with gr.Row(elem_classes="tool-bar"):
        parts["download"] = gr.Button("Download preference pairs", elem_id="compare-download")
    return parts


def _connect(parts: dict[str, Any], acts: Compare, whose: Component, owner_of: Callable[[Any], str]) -> None:
    import gradio as gr

    outputs = [part for name, part in parts.items() if name not in ("name", "hidden", "download")]
    common: dict[str, Any] = {"outputs": outputs, "show_progress": "hidden", "api_visibility": "private"}
    choice = [parts["first"], parts["second"], parts["character"]]

    def by_part(view: View) -> dict[Any, Any]:
        return {parts[name]: gr.update(**new) if isinstance(new, Properties) else new for name, new in view.items()}

    async def look(owner: Any, *chosen: Any) -> Any:
        async with contextlib.aclosing(acts.follow(owner_of(owner), *chosen)) as views:
            async for view in views:
                yield by_part(view)

    async def ask(hidden: bool, now: Any, *texts: str | None) -> Any:
        text, name, first, second, character = (value or "" for value in texts)
        question = Question(text, name, first, second, character, hidden)
        async with contextlib.aclosing(acts.ask(question, now or Round())) as views:
            async for view in views:
                yield by_part(view)

    def voter(vote: str) -> Callable[..., Any]:
        def keep(owner: Any, now: Any) -> Any:
            return by_part(acts.vote(owner_of(owner), vote, now or Round()))

        return keep

    tab = find_tab()
    if tab is not None:
        tab.select(look, inputs=[whose, *choice], concurrency_limit=None, **common)
    gr.on(
        [parts["ask"].click, parts["box"].submit], ask,
        inputs=[parts["hidden"], parts["round"], parts["box"], parts["name"], *choice],
        trigger_mode="once", concurrency_limit=REPLIES_AT_ONCE, concurrency_id="comparisons", **common,
    )  # fmt: skip
    parts["stop"].click(lambda now: by_part(acts.stop(now or Round())), inputs=[parts["round"]], **common)
    parts["new"].click(lambda: by_part(acts.begin()), **common)
    for vote in VOTES:
        parts[f"vote-{vote}"].click(voter(vote), inputs=[whose, parts["round"]], trigger_mode="once", **common)
