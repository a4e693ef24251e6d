"""One conversation with all its branches, as files have it: messages name each other by their place in the list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from character_chatbot.chats.records import Comparison, Message


@dataclass(frozen=True)
class WholeMessage:
    """A message. Parent and ``last_leaf`` are places in :attr:`WholeConversation.messages`, ``message.id`` is its own.

    ``last_leaf``: where a reader left off below it; None: nowhere.
    """

    message: Message
    last_leaf: int | None = None


@dataclass(frozen=True)
class WholeConversation:
    """All of a conversation but its id and owner.

    Attributes:
        messages: a parent before its children, siblings in their order; ids and parents are places in this tuple.
        leaf: place of the last message shown.
        undone: places of leaves that were taken back, the last one last.
        comparisons: their ``message`` is a place as well.
        departed: characters who have spoken in it and take part no more.
    """

    name: str
    characters: tuple[str, ...]
    speaker: str
    created: float
    updated: float
    messages: tuple[WholeMessage, ...] = ()
    leaf: int | None = None
    undone: tuple[int, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    answered_by: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    departed: tuple[str, ...] = ()

    def shown(self) -> list[Message]:
        """The messages that are shown, first to last."""
        return self.path(self.leaf)

    def path(self, leaf: int | None) -> list[Message]:
        """The way from a first message to the one at the place ``leaf``; empty for None."""
        path: list[Message] = []
        at = leaf
        while at is not None:
            path.append(self.messages[at].message)
            at = path[-1].parent
        return path[::-1]

    def siblings(self, message: Message) -> list[Message]:
        """The message among those with the same parent, in order."""
        return [each.message for each in self.messages if each.message.parent == message.parent]
