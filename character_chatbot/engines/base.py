"""The contract of engines, and the echo engine that tests use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from character_chatbot.prompts import Message
from config import ChatSettings


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. ``temperature`` 0: always the most likely token. ``seed`` None: anew each time."""

    max_new_tokens: int = 80
    temperature: float = 0.7
    top_p: float = 0.9
    repetition_penalty: float = 1.1
    seed: int | None = None


def build_sampling(settings: ChatSettings, seed: int | None = None) -> Sampling:
    """Sampling as the settings say."""
    return Sampling(settings.max_new_tokens, settings.temperature, settings.top_p, settings.repetition_penalty, seed)


class Engine(Protocol):
    """Replies to messages, piece by piece."""

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """Pieces of one reply, in order; their concatenation is the reply.

        Closing the iterator ends the work behind it. Several threads may call at once.

        Args:
            messages: as :func:`character_chatbot.prompts.build_messages` makes them; a user message last.
        """


class EchoEngine:
    """Says back what was said last, word by word: for tests."""

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        words = messages[-1]["content"].rpartition(": ")[2].split()[: sampling.max_new_tokens]
        for number, word in enumerate(words):
            yield word if number == 0 else f" {word}"
