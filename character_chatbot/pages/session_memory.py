"""Keeps gradio from filling the memory with what a tab has shown.

When an event changes a component (other choices, a button off), gradio makes a new component for that tab, with an id
of its own. At the next event it finds it under the old id and files it once more under the new one, and never drops
it: about ten components, 130 kB, for each message of a visitor. So the new one gets the id of the old one.

Read from gradio 6.31, blocks.py (preprocess_data, postprocess_data) and state_holder.py.
"""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def keep_component_ids() -> None:
    """Let what is put into the state of a tab have the id under which it is put there; once is enough."""
    from gradio.blocks import Block
    from gradio.state_holder import SessionState

    put = SessionState.__setitem__

    def put_under_its_id(self: SessionState, key: int, value: Any) -> None:
        if isinstance(value, Block):
            value._id = key
        put(self, key, value)

    SessionState.__setitem__ = put_under_its_id  # type: ignore[method-assign]
