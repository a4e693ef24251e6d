"""Acts to gradio's events: a view, by names of parts, becomes updates by component."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from character_chatbot.acts.views import Change, Views
from character_chatbot.acts.visit import Visit, read_visit

if TYPE_CHECKING:
    import gradio as gr

REPLIES_AT_ONCE = 40  # conversations that wait or stream; further ones see their place in the queue
REPLIES = {"concurrency_limit": REPLIES_AT_ONCE, "concurrency_id": "replies"}  # for events that make somebody speak
CHOICES = {"concurrency_limit": None, "concurrency_id": "choices"}  # for events that choose who takes part
ASKED = ("visit", "characters", "scene", "name", "next", "search")  # parts that tell who visits, and what is chosen

Parts = dict[str, Any]  # components by name


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class Wiring:
    """Binds acts to events.

    Args:
        parts: all components that an act may read or change.
        one_owner: all who can reach the page own the same conversations.
    """

    def __init__(self, parts: Parts, *, one_owner: bool) -> None:
        self._parts, self._one_owner = parts, one_owner
        self._outputs = [part for name, part in parts.items() if name not in ("name", "search")]

    def bind(self, event: Callable[..., Any], act: Callable[..., Views], *more: str, **options: Any) -> None:
        """Let ``act(visit, values of more…)`` happen at a gradio event; the values are texts."""
        import gradio as gr

        async def run(request: Any, *values: Any) -> AsyncIterator[Any]:
            views = act(self._visit(request, values), *map(_text, values[len(ASKED) :]))
            async for view in self._by_part(views):
                yield view

        run.__annotations__ = {"request": gr.Request}  # by which gradio knows to give it
        self._listen(event, run, *more, **options)

    def bind_press(self, event: Callable[..., Any], act: Callable[..., Views], **options: Any) -> None:
        """Let ``act(visit, what the browser says)`` happen at an event of the HTML."""
        import gradio as gr

        async def run(pressed: Any, request: Any, *values: Any) -> AsyncIterator[Any]:
            data = pressed._data if isinstance(pressed._data, dict) else {}
            async for view in self._by_part(act(self._visit(request, values), data)):
                yield view

        run.__annotations__ = {"pressed": gr.EventData, "request": gr.Request}
        self._listen(event, run, trigger_mode="multiple", **options)

    def _listen(self, event: Callable[..., Any], run: Callable[..., Any], *more: str, **options: Any) -> None:
        event(
            run,
            inputs=[self._parts[name] for name in (*ASKED, *more)],
            outputs=self._outputs,
            show_progress="hidden",
            api_visibility="private",
            # What the browser says is read by read_visit, whatever it is. Gradio would refuse, with a traceback in the
            # log, a choice that it does not know (yet, or since a restart), and nothing of it would be on the page.
            preprocess=False,
            **options,
        )

    def _visit(self, request: gr.Request, values: tuple[Any, ...]) -> Visit:
        told = dict(zip(ASKED, values, strict=False))
        return read_visit(told, one_owner=self._one_owner, tab=request.session_hash or "")

    async def _by_part(self, act: Views) -> AsyncIterator[Parts]:
        import gradio as gr

        nothing = {self._outputs[0]: gr.skip()}  # of an act that shows nothing gradio would empty the whole page
        async with contextlib.aclosing(act) as views:
            async for view in views:
                nothing = {}
                yield {
                    self._parts[name]: gr.update(**new) if isinstance(new, Change) else new
                    for name, new in view.items()
                }
        if nothing:
            yield nothing
