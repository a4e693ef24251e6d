"""The contract of engines, and the echo engine that tests use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from character_chatbot.prompts import Message, split_beginning
from config import ChatSettings


@dataclass
class Tally:
    """What an engine tells of a reply while it draws it.

    ``tokens``: drawn so far, without the one that ends a reply. ``cut``: they were as many as were allowed.
    """

    tokens: int = 0
    cut: bool = False

    def count(self, tokens: int, most: int) -> None:
        """So many have been drawn of at most so many."""
        self.tokens, self.cut = tokens, tokens >= most


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. ``temperature`` 0: always the most likely token. ``seed`` None: anew each time.

    ``tally``: kept by engines that draw tokens, if somebody wants to know: a text may be spelt in more or fewer.
    """

    max_new_tokens: int = 80
    temperature: float = 0.7
    top_p: float = 0.9
    repetition_penalty: float = 1.1
    seed: int | None = None
    tally: Tally | None = field(default=None, compare=False, repr=False)


def build_sampling(settings: ChatSettings, seed: int | None = None) -> Sampling:
    """Sampling as the settings say."""
    return Sampling(settings.max_new_tokens, settings.temperature, settings.top_p, settings.repetition_penalty, seed)


class Engine(Protocol):
    """Replies to messages, piece by piece."""

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """Pieces of one reply, in order; their concatenation is the reply.

        Closing the iterator ends the work behind it. Several threads may call at once.

        Args:
            messages: as :func:`character_chatbot.prompts.build_messages` makes them; a user message last, or one of
                the assistant: then the pieces are what follows it, the space in front included.
        """


@runtime_checkable
class ReadsAhead(Protocol):
    """An engine that can read the beginning of a prompt before somebody asks for a reply."""

    def read_ahead(self, messages: Sequence[Message]) -> None:
        """Read, as far as nobody wants anything else, how a prompt will begin that goes on from ``messages``.

        Returns at once and never fails: whoever asks for a reply later waits less, or as long as ever.

        Args:
            messages: the system message, and what was said; not what is said next.
        """


class EchoEngine:
    """Says back what was said last, word by word, or the words that an unfinished reply lacks: for tests."""

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        messages, beginning = split_beginning(messages)
        words, begun = messages[-1]["content"].rpartition(": ")[2].split(), len(beginning.split())
        for number, word in enumerate(words[begun : begun + sampling.max_new_tokens], begun):
            if sampling.tally:
                sampling.tally.count(number - begun + 1, sampling.max_new_tokens)
            yield word if number == 0 else f" {word}"
