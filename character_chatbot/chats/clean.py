"""Text and JSON from outside, made harmless before they are stored: names, messages, fields nobody knows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from character_chatbot.chats.records import MOST_CHARACTERS
from character_chatbot.replies.conversation import CONTROL
from utils.errors import UsageError

LONGEST_TEXT_CHARACTERS = 50_000  # a chapter; replies and messages of the page are far shorter
LONGEST_NAME_CHARACTERS = 80
LONGEST_TITLE_CHARACTERS = 120
MOST_DEPARTED = 100
DEEPEST_JSON = 20
MOST_JSON_VALUES = 20_000  # in the unknown fields of one message
LARGEST_INTEGER = 2**63 - 1  # SQLite's

SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: JSON can spell it, UTF-8 cannot
LINE_END = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def clean_text(text: str, what: str = "the message") -> str:
    """Text without control characters; line breaks stay, as plain newlines.

    Raises:
        UsageError: too long.
    """
    if len(text) > LONGEST_TEXT_CHARACTERS:
        raise UsageError(f"{what} has {len(text):,} characters; at most {LONGEST_TEXT_CHARACTERS:,} are kept.")
    return CONTROL.sub(" ", LINE_END.sub("\n", _whole(text))).strip()


def clean_line(text: str, what: str, longest: int = LONGEST_NAME_CHARACTERS) -> str:
    """Text as one line.

    Raises:
        UsageError: empty or too long.
    """
    line = " ".join(CONTROL.sub(" ", _whole(text)).split())
    if not line:
        raise UsageError(f"{what} is empty.")
    if len(line) > longest:
        raise UsageError(f"{what} has {len(line):,} characters; at most {longest} are kept.", instead=f"{line[:40]}…")
    return line


def clean_cast(characters: Sequence[str], speaker: str) -> tuple[tuple[str, ...], str]:
    """The characters of a conversation and the user's name.

    Raises:
        UsageError: none or too many of them, one twice, or the user is one of them.
    """
    names = tuple(clean_line(name, "the name of a character") for name in characters)
    user = clean_line(speaker, "the name of the user")
    if not 1 <= len(names) <= MOST_CHARACTERS:
        raise UsageError(f"a conversation with {len(names)} characters; 1 to {MOST_CHARACTERS} can take part.")
    if len(set(names)) < len(names):
        raise UsageError(f"a character takes part twice: {', '.join(names)}.")
    if user in names:
        raise UsageError(f"{user} cannot talk to themselves: speak as somebody else.")
    return names, user


def clean_departed(names: Sequence[str], characters: Sequence[str]) -> tuple[str, ...]:
    """Who has spoken in a conversation and takes part no more. Raises UsageError: too many, or no plain name."""
    if len(names) > MOST_DEPARTED:
        raise UsageError(f"{len(names):,} characters have left; at most {MOST_DEPARTED} are kept.")
    cleaned = dict.fromkeys(clean_line(name, "the name of a character") for name in names)
    return tuple(name for name in cleaned if name not in characters)


def clean_json(value: Any) -> Any:
    """A value as JSON has it, with clean texts and keys.

    Raises:
        UsageError: nested too deep, too many values, a number that JSON or SQLite cannot keep.
    """
    return _JsonCleaner().clean(value, 0)


class _JsonCleaner:
    """Counts what it has seen: many small values are as heavy as one large."""

    def __init__(self) -> None:
        self.values = 0

    def clean(self, value: Any, depth: int) -> Any:
        self.values += 1
        if depth > DEEPEST_JSON or self.values > MOST_JSON_VALUES:
            raise UsageError(f"fields nested deeper than {DEEPEST_JSON}, or more than {MOST_JSON_VALUES:,} of them.")
        if isinstance(value, str):
            return _whole(value)
        if isinstance(value, list | tuple):
            return [self.clean(each, depth + 1) for each in value]
        if isinstance(value, dict):
            return {_whole(str(key)): self.clean(each, depth + 1) for key, each in value.items()}
        return _number(value)


def _number(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= LARGEST_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise UsageError(f"{type(value).__name__} {str(value)[:40]} cannot be kept as JSON.")


def _whole(text: str) -> str:
    return SURROGATE.sub("\ufffd", text)
