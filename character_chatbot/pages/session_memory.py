"""Keeps gradio from filling the memory with what tabs have shown, and with tabs that are gone.

Read from gradio 6.31; any other is left as it is, and announced:

- When an event changes a component (other choices, a button off), gradio makes a new component for that tab, with an
  id of its own. At the next event it finds it under the old id and files it once more under the new one, and never
  drops it: about ten components, 130 kB, for each message of a visitor. So the new one gets the id of the old one
  (blocks.py: preprocess_data, postprocess_data).
- For gr.DeepLinkButton it describes all components of each tab, with all that they show: 95 % of the memory of a tab
  and of the time that it takes to open it. This page has no such button, so nothing is described (state_holder.py).
- A closed tab is kept until ``app.tabs_remembered`` others were used, what waits for a tab that leaves in the middle is
  never taken and never dropped (queueing.py), and no login ever ends (routes.py). :func:`forget_gone_tabs` drops what
  nobody will ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from utils.announcements import Announcement, Announcements

if TYPE_CHECKING:
    import gradio as gr
    from gradio.state_holder import SessionState

READ_VERSION = "6.31."
SWEEP_SECONDS = 60.0
MOST_LOGINS = 10_000  # who logged in before so many others has to do it again


def save_memory(announcements: Announcements) -> bool:
    """Let tabs take little memory from now on; whether gradio is the one that this was written for."""
    import gradio

    if not gradio.__version__.startswith(READ_VERSION):
        announcements.add(
            Announcement(
                "the page's memory",
                "tabs that take little of it",
                "gradio's own way, which keeps all that a tab has shown",
                f"gradio is {gradio.__version__}, and what it keeps is known of {READ_VERSION}* only",
                "pip install -r requirements.txt",
            )
        )
        return False
    _keep_component_ids()
    _describe_nothing()
    return True


@functools.cache
def _keep_component_ids() -> None:
    """Let what is put into the state of a tab have the id under which it is put there; once is enough."""
    from gradio.blocks import Block
    from gradio.state_holder import SessionState

    put = SessionState.__setitem__

    def put_under_its_id(self: SessionState, key: int, value: Any) -> None:
        if isinstance(value, Block):
            value._id = key
        put(self, key, value)

    SessionState.__setitem__ = put_under_its_id  # type: ignore[method-assign]


class _Nothing(dict[int, Any]):
    """Takes descriptions, and keeps none."""

    def __setitem__(self, key: int, value: Any) -> None:
        pass


@functools.cache
def _describe_nothing() -> None:
    """Let a tab begin and go on without a description of its components; once is enough."""
    from gradio.state_holder import SessionState

    begin = SessionState.__init__

    def begin_without(self: SessionState, blocks: gr.Blocks) -> None:
        begin(self, SimpleNamespace(default_config=blocks.default_config, blocks=()))  # type: ignore[arg-type]
        self.config_values = _Nothing()

    SessionState.__init__ = begin_without  # type: ignore[method-assign]
    SessionState._update_config = lambda self, key: None  # type: ignore[method-assign]
    SessionState._update_value_in_config = lambda self, key, value: None  # type: ignore[method-assign]


def forget_gone_tabs(page: gr.Blocks) -> None:
    """Drop tabs that are closed and hold nothing, what waits for tabs that are not known any more, and old logins.

    Of a tab that is known, events that have ended and of which nothing waits are dropped.
    """
    queue, holder, tokens = page._queue, page.state_holder, page.app.tokens
    events = queue.event_ids_to_events
    busy = {event.session_hash for event in events.values()}
    asked = {part._id for event in page.fns.values() if event.preprocess for part in event.inputs}
    for tab, state in list(holder.session_data.items()):
        if state.is_closed and tab not in busy and not _holds_something(page, state, asked):
            del holder.session_data[tab]
            holder.time_last_used.pop(tab, None)
    known = holder.session_data.keys() | busy
    for waiting in (queue.pending_event_ids_session, queue.pending_messages_per_session):
        for tab in waiting.keys() - known:
            del waiting[tab]
    for tab, ids in queue.pending_event_ids_session.items():
        messages = queue.pending_messages_per_session.get(tab)
        if messages is None or messages.empty():
            ids.intersection_update(events)  # in place: the stream of the tab looks at the same set
    for token in list(tokens)[: max(0, len(tokens) - MOST_LOGINS)]:
        del tokens[token]


def _holds_something(page: gr.Blocks, state: SessionState, asked: set[int]) -> bool:
    """Whether the tab would miss it, if its browser had only been asleep: a gr.State, or choices that are checked.

    ``asked``: parts whose value gradio checks before an event. The chat checks what the browser says by itself.
    """
    blocks, first = state.blocks_config.blocks, page.default_config.blocks
    return bool(state.state_data) or any(_made_of(blocks.get(each)) != _made_of(first.get(each)) for each in asked)


def _made_of(part: Any) -> dict[str, Any]:
    """What a component was made with, but what it shows: gradio makes each anew at each event, changed or not."""
    given = getattr(part, "constructor_args", {})
    return {name: value for name, value in given.items() if name not in ("value", "render")}


def sweeping(page: gr.Blocks) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """A lifespan of the application, during which gone tabs are forgotten once a minute."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            forget_gone_tabs(page)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return lifespan
