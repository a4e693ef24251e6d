"""The tab that is being laid out, so that a module can fill its parts when somebody opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr


def find_tab() -> gr.Tab | None:
    """The ``gr.Tab`` around what is laid out now; None outside of one."""
    import gradio as gr
    from gradio.context import Context

    block = Context.block
    while block is not None and not isinstance(block, gr.Tab):
        block = block.parent
    return block
