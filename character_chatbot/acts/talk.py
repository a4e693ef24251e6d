"""All that can happen on the chat page, in one object; and what its buttons in the HTML mean.

talk = Talk(service, store, storage)
async for view in talk.send(visit, "Who are you?"): …        # views: parts of the page and their new values
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from character_chatbot.acts.keeping import Keeping
from character_chatbot.acts.views import Views, problem
from character_chatbot.acts.visit import Visit
from character_chatbot.chats.records import DOWN, UP
from utils.errors import UsageError


class Talk(Keeping):
    """What happens on the page. Each act is a generator of views; closing it stops the engine."""

    def press(self, visit: Visit, pressed: Mapping[str, Any]) -> Views:
        """An act that a button or form in the HTML asks for: ``act`` and what goes with it, as the browser says."""
        acts: dict[str, Callable[[], Views]] = {
            "left": lambda: self.swipe(visit, _number(pressed.get("id")), -1),
            "right": lambda: self.swipe(visit, _number(pressed.get("id")), 1),
            UP: lambda: self.rate(visit, _number(pressed.get("id")), UP),
            DOWN: lambda: self.rate(visit, _number(pressed.get("id")), DOWN),
            "edit": lambda: self.edit(visit, _number(pressed.get("id")), _text(pressed.get("text"))),
            "branch": lambda: self.branch(visit, _number(pressed.get("id"))),
            "earlier": lambda: self.earlier(visit),
            "look": lambda: self.catch_up(visit),
            "open": lambda: self.open_conversation(
                visit, _text(pressed.get("id")), _number(pressed["message"]) if "message" in pressed else None
            ),
            "rename": lambda: self.rename(visit, _text(pressed.get("text"))),
            "delete": lambda: self.delete(visit),
            "delete_all": lambda: self.delete_all(visit),
            "export": lambda: self.export(visit, _text(pressed.get("kind"))),
            "import": lambda: self.read(visit, _text(pressed.get("name")), _text(pressed.get("content"))),
        }
        return acts.get(_text(pressed.get("act")), _unknown)()


async def _unknown() -> Views:
    yield problem(UsageError("the page is not the server's: load it again."))


def _number(value: Any) -> int:
    """An id; -1, which nothing has, for what is none."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
