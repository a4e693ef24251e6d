"""What a visitor's page says with each act, and whose conversations it may see.

A page that only this machine can reach has one owner, :data:`LOCAL`. On any other each browser keeps a random token of
128 bits, which is all that tells its owner from others.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from character_chatbot.chats.records import MOST_CHARACTERS

LOCAL = "local"
TOKEN = re.compile("[0-9a-f]{32}")
CONVERSATION = re.compile("[0-9a-f]{32}")
SHOWN_MESSAGES = 100  # the last ones; earlier ones on request
LONGEST_SEARCH_CHARACTERS = 200
AUTOMATIC, IN_TURN = "automatic", "in turn"  # who speaks next in a scene; or a character's name


@dataclass(frozen=True)
class Visit:
    """What the page says.

    Attributes:
        token: of the browser; empty where there is one owner only.
        conversation: the one that is shown; empty: one that begins with the first message.
        shown: so many of its last messages.
        character: who is talked to.
        scene: who is in the scene, as chosen; empty: the one who is talked to.
        name: under which the visitor speaks.
        next: :data:`AUTOMATIC`, :data:`IN_TURN`, or a name.
        search: what is looked for in the conversations.
        tab: of the browser, as long as it is open; empty: not known.
    """

    token: str = ""
    conversation: str = ""
    shown: int = SHOWN_MESSAGES
    character: str = ""
    scene: tuple[str, ...] = ()
    name: str = ""
    next: str = AUTOMATIC
    search: str = ""
    tab: str = ""

    @property
    def owner(self) -> str:
        return f"visitor-{self.token}" if self.token else LOCAL

    @property
    def cast(self) -> tuple[str, ...]:
        """Who takes part in a conversation that begins now."""
        return self.scene[:MOST_CHARACTERS] or ((self.character,) if self.character else ())

    def at(self, conversation: str) -> Visit:
        """The same visitor in another conversation."""
        return replace(self, conversation=conversation, shown=SHOWN_MESSAGES)

    def kept(self) -> dict[str, Any]:
        """What the browser keeps."""
        return {"token": self.token, "conversation": self.conversation, "shown": self.shown}


def read_visit(told: Mapping[str, Any], *, one_owner: bool, tab: str = "") -> Visit:
    """The visit as far as what the browser says makes sense; a visitor without a token gets a new one.

    Args:
        told: by name of a part of the page: ``visit`` (what the browser keeps), characters, scene, name, next, search.
        one_owner: all who can reach the page own the same conversations.
        tab: of the browser.
    """
    known, scene = told.get("visit"), told.get("scene")
    known = known if isinstance(known, Mapping) else {}
    token = "" if one_owner else _matching(TOKEN, known.get("token")) or secrets.token_hex(16)
    shown = known.get("shown")
    return Visit(
        token,
        _matching(CONVERSATION, known.get("conversation")),
        shown if type(shown) is int and SHOWN_MESSAGES <= shown <= 1_000_000 else SHOWN_MESSAGES,
        _text(told.get("characters")),
        _names(scene),
        _text(told.get("name")),
        _text(told.get("next")) or AUTOMATIC,
        _text(told.get("search"))[:LONGEST_SEARCH_CHARACTERS],
        tab,
    )


def read_owner(kept: Any, one_owner: bool) -> str:
    """Whose conversations a browser may see, by what it keeps."""
    return read_visit({"visit": kept}, one_owner=one_owner).owner


def _names(value: Any) -> tuple[str, ...]:
    """The names in a list, each once."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(dict.fromkeys(filter(None, map(_text, value)))) if several else ()


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
