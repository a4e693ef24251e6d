"""What the store of conversations gives: plain values, and the errors that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from character_chatbot.prompts import Turn
from utils.errors import DataError, UsageError

USER, CHARACTER, NOTE = "user", "character", "note"  # a note is shown, and never part of a prompt
ROLES = (USER, CHARACTER, NOTE)
DONE, STOPPED, FAILED = "done", "stopped", "failed"
STATES = (DONE, STOPPED, FAILED)
UP, DOWN, NONE = "up", "down", "none"
RATINGS = (UP, DOWN, NONE)
LEFT, RIGHT, TIE, BOTH_BAD = "left", "right", "tie", "both_bad"
VOTES = (LEFT, RIGHT, TIE, BOTH_BAD)
MOST_CHARACTERS = 4


class UnknownConversation(DataError):
    """The owner has no such conversation; whether somebody else has it is not told."""

    def __init__(self, conversation: str) -> None:
        super().__init__(f"there is no conversation '{conversation[:40]}'.", instead="It may have been deleted.")


class UnknownMessage(DataError):
    """The conversation has no such message."""

    def __init__(self, message: int) -> None:
        super().__init__(f"there is no message {message} in this conversation.", instead="It may have been deleted.")


@dataclass(frozen=True)
class Conversation:
    """What is known of a conversation besides its messages. ``created`` and ``updated``: seconds since 1970.

    Attributes:
        characters: one to four, in the order in which they take turns.
        speaker: the user's name in it.
        answered_by: label of the family and version that answered last.
        leaf: the last message of the path that is shown; None: nothing is shown yet, or all was taken back.
        can_redo: whether something that was taken back can be had again.
        extra: fields of the file it was imported from, which mean nothing here.
        departed: characters who have spoken in it and take part no more.
        last_words: how the last message that is shown begins, as one line.
    """

    id: str
    owner: str
    name: str
    characters: tuple[str, ...]
    speaker: str
    answered_by: str
    created: float
    updated: float
    leaf: int | None
    can_redo: bool = False
    messages: int = 0  # on all branches
    extra: Mapping[str, Any] = field(default_factory=dict)
    departed: tuple[str, ...] = ()
    last_words: str = ""


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        parent: the message before it; None for a first one.
        state: ``done``, ``stopped`` or ``failed``.
        engine: label of what wrote it; empty for the user's own words.
        evidence: scenes and quotes that were shown with it, ready for JSON.
        alternative, alternatives: which of its siblings it is (from 0), and how many there are with it.
    """

    id: int
    parent: int | None
    role: str
    speaker: str
    text: str
    state: str = DONE
    created: float = 0.0
    engine: str = ""
    evidence: tuple[Mapping[str, Any], ...] = ()
    seed: int | None = None
    rating: str = NONE
    extra: Mapping[str, Any] = field(default_factory=dict)
    alternative: int = 0
    alternatives: int = 1


@dataclass(frozen=True)
class Comparison:
    """Two replies of two sources to the same words, and which was better.

    Attributes:
        context: the turns before them, as they were when the vote was given.
        message: the message both reply to; None where it has been deleted from an imported file.
    """

    message: int | None
    speaker: str
    context: tuple[Turn, ...]
    left: str
    left_source: str
    right: str
    right_source: str
    vote: str
    created: float = 0.0


@dataclass(frozen=True)
class Found:
    """Where a search found its words: in a message, or (``message`` None) in the name of the conversation."""

    conversation: str
    name: str
    message: int | None
    excerpt: str


def turns(messages: Sequence[Message]) -> list[Turn]:
    """What a prompt is built from: each message as one line, as a second line could look like another speaker.

    Notes, failed replies and empty ones are left out.
    """
    said = [each for each in messages if each.role != NOTE and each.state != FAILED and each.text.strip()]
    return [Turn(each.speaker, " ".join(each.text.split())) for each in said]


def name_cast(characters: Sequence[str], departed: Sequence[str] = ()) -> str:
    """Who takes part, for people: ``Bo, Cleo (before: Ada)``."""
    before = f" (before: {', '.join(departed)})" if departed else ""
    return f"{', '.join(characters)}{before}"


def one_of(value: str, known: Sequence[str], what: str) -> str:
    """``value``. Raises UsageError: it is none of those known."""
    if value not in known:
        raise UsageError(f"{what} is {value!r}.", instead=f"There are: {', '.join(known)}")
    return value
