"""A conversation with one character: what was said so far, and what the engine gets to see of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from character_chatbot.engines.base import Sampling
from character_chatbot.prompts import Turn, build_messages
from character_chatbot.sources import Source
from utils.errors import UsageError

LONGEST_MESSAGE_CHARACTERS = 4000
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def stream_reply(
    source: Source, character: str, turns: Sequence[Turn], sampling: Sampling, history_turns: int
) -> Iterator[str]:
    """Pieces of what ``character`` replies to ``turns``.

    Args:
        source: who answers.
        character: a name or alias.
        turns: all turns so far, the last one said to the character.
        sampling: how the reply is drawn.
        history_turns: how many of the last turns the engine sees; older ones are left out whole.

    Raises:
        UnknownCharacter: the source has no such character.
    """
    spoken_to = source.cast.get(character)
    messages = build_messages(spoken_to, source.title, turns[-history_turns:])
    return source.engine(spoken_to.name).reply(messages, sampling)


def read_message(text: str) -> str:
    """A user's message without control characters and surrounding space. Raises UsageError: empty or too long."""
    message = CONTROL.sub(" ", text).strip()
    if not message:
        raise UsageError("the message is empty.")
    if len(message) > LONGEST_MESSAGE_CHARACTERS:
        raise UsageError(
            f"the message has {len(message):,} characters; a turn has at most {LONGEST_MESSAGE_CHARACTERS:,}."
        )
    return message
