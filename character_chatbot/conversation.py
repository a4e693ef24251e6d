"""A conversation with one character: what was said so far, and what the engine gets to see of it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from character_chatbot.engines.base import Sampling
from character_chatbot.prompts import Turn, build_messages
from character_chatbot.sources import Source
from utils.errors import UsageError

LONGEST_MESSAGE_CHARACTERS = 4000
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass
class Conversation:
    """What ``speaker`` and ``character`` have said to each other; ``history_turns``: how much of it the engine sees."""

    source: Source
    character: str
    speaker: str
    sampling: Sampling
    history_turns: int
    turns: tuple[Turn, ...] = ()

    def say(self, text: str) -> Iterator[str]:
        """Pieces of the reply to a message; both turns are kept once the reply is over or stopped.

        Raises:
            UsageError: the message is empty or too long.
        """
        said = (*self.turns, Turn(self.speaker, read_message(text)))
        pieces = stream_reply(self.source, self.character, said, self.sampling, self.history_turns)
        reply = ""
        try:
            for piece in pieces:
                reply += piece
                yield piece
        finally:
            pieces.close()
            if reply.strip():
                own_name = self.source.cast.get(self.character).name
                self.turns = (*said, Turn(own_name, reply.strip()))


def stream_reply(
    source: Source, character: str, turns: Sequence[Turn], sampling: Sampling, history_turns: int
) -> Generator[str, None, None]:
    """Pieces of what ``character`` replies to ``turns``.

    Args:
        source: who answers.
        character: a name or alias.
        turns: all turns so far, the last one said to the character.
        sampling: how the reply is drawn.
        history_turns: how many of the last turns the engine sees; older ones are left out whole.

    Raises:
        UnknownCharacter: the source has no such character.
        UsageError: the character would talk to itself.
    """
    spoken_to = source.cast.get(character)
    if turns[-1].speaker == spoken_to.name:
        raise UsageError(f"{spoken_to.name} cannot talk to {spoken_to.name}.", instead="Speak as somebody else.")
    seen = len(turns) if source.rung == "quotes" else history_turns  # quotes never repeat themselves
    messages = build_messages(spoken_to, source.title, turns[-seen:])
    yield from source.engine(spoken_to.name).reply(messages, sampling)


def read_message(text: str) -> str:
    """A user's message as one line without control characters: a second line could look like another speaker.

    Raises:
        UsageError: it is empty or too long.
    """
    message = " ".join(CONTROL.sub(" ", text).split())
    if not message:
        raise UsageError("the message is empty.")
    if len(message) > LONGEST_MESSAGE_CHARACTERS:
        raise UsageError(
            f"the message has {len(message):,} characters; a turn has at most {LONGEST_MESSAGE_CHARACTERS:,}."
        )
    return message
