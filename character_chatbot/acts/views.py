"""What an act shows: names of parts of the page with their new values.

Parts: visit, characters, scene, speaking, banner, transcript, live, notice, box, the buttons of :data:`BUTTONS`, next,
conversations, download. A :class:`Change` changes properties of a part instead of its value.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from character_chatbot import markup
from utils.errors import SuiteError

View = dict[str, Any]
Views = AsyncGenerator[View, None]

BUTTONS = ("send", "stop", "retry", "continue", "undo", "redo", "talk")


class Change(dict[str, Any]):
    """Properties of a part, such as ``interactive`` or ``choices``."""


def lay(*views: View) -> View:
    """Views over each other; what several change of a part is all changed."""
    laid: View = {}
    for view in views:
        for name, new in view.items():
            old = laid.get(name)
            laid[name] = Change({**old, **new}) if isinstance(old, Change) and isinstance(new, Change) else new
    return laid


def problem(error: SuiteError) -> View:
    """An error as the page tells it."""
    return {"notice": markup.problem_block(str(error))}


def word(text: str) -> View:
    """A word about what is going on."""
    return {"notice": markup.hint(text)}


def usable(**buttons: bool) -> View:
    """Which buttons can be pressed."""
    return {name: Change(interactive=on) for name, on in buttons.items()}
