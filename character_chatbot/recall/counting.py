"""Tokens of texts and prompts: by the tokenizer where there is one, else by the number of characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from character_chatbot.prompts import Message, encode_prompt, encode_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS_PER_TOKEN = 4  # of English text, about
MESSAGE_TOKENS = 6  # what a chat template puts around a message, about


class TokenCounter(Protocol):
    """Counts tokens."""

    def text(self, text: str) -> int:
        """Of a text by itself."""

    def prompt(self, messages: Sequence[Message]) -> int:
        """Of a whole prompt, chat template included."""


@dataclass(frozen=True)
class CharacterCounter:
    """An estimate, for where there is no tokenizer."""

    def text(self, text: str) -> int:
        return -(-len(text) // CHARACTERS_PER_TOKEN)

    def prompt(self, messages: Sequence[Message]) -> int:
        return sum(self.text(message["content"]) + MESSAGE_TOKENS for message in messages) + MESSAGE_TOKENS


class TokenizerCounter:
    """Exact: what the engine will read."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def text(self, text: str) -> int:
        return len(encode_text(self._tokenizer, text))

    def prompt(self, messages: Sequence[Message]) -> int:
        return len(encode_prompt(self._tokenizer, messages))


@dataclass(frozen=True)
class Reader:
    """What reads the prompts of a source. 0: not known (``context_tokens``: no limit; ``parameters``: no model).

    ``slow``: a CPU, which reads some hundred tokens a second: people feel each of them.
    """

    counter: TokenCounter = field(default_factory=CharacterCounter)
    context_tokens: int = 0  # prompt and reply together
    parameters: int = 0
    slow: bool = False


def describe_reader(engine: object) -> Reader:
    """What is known of the model behind an engine.

    An engine may say so itself by a method ``reader()``; the torch engine is looked into.
    """
    from character_chatbot.engines.peft_engine import PeftEngine

    if callable(getattr(engine, "reader", None)):
        found: Reader = engine.reader()  # type: ignore[attr-defined]
        return found
    if not isinstance(engine, PeftEngine):
        return Reader()
    model, tokenizer = engine.load()
    limit = getattr(model.config, "max_position_embeddings", None) or 0
    slow = model.device.type == "cpu"
    return Reader(TokenizerCounter(tokenizer), int(limit), int(model.num_parameters()), slow)
