"""What clients send, by OpenAI's reference of chat and text completions, and the limits of it.

What the reference has and a small model cannot do (several choices, tools) is refused by name. What only shades the
drawing (the presence and frequency penalties, ``logit_bias``, ``top_k`` and the like) or comes beside the reply
(``logprobs``, which stay null) is read past, because clients send it unasked; docs/api.md lists it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MOST_MESSAGES = 5000  # a long chat; the last ones count
LONGEST_CONTENT = 40_000  # characters of one message; a persona with its lorebook may be long
LONGEST_STOP = 200
MOST_STOPS = 64
MOST_TOKENS = 4096  # of a reply; who asks for more gets so many at most


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str = Field(default="", max_length=300)
    temperature: float | None = Field(default=None, ge=0, le=5)
    top_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, ge=0.5, le=5)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: list[Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]] = Field(default=[], max_length=MOST_STOPS)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    user: str = Field(default="", max_length=200)
    n: Literal[1] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_or_several(cls, given: object) -> object:
        several = [given] if isinstance(given, str) else given or []
        return [each for each in several if each != ""] if isinstance(several, list) else several

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, given: Any) -> Any:
        for name in ("tools", "functions", "suffix", "echo"):
            if isinstance(given, dict) and given.get(name):
                raise ValueError(f"{name} cannot be had here")
        return given

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a piece that counts the tokens."""
        return bool((self.stream_options or {}).get("include_usage"))


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


class Message(BaseModel):
    """One message; ``content`` as text, or as parts of which the texts count."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=LONGEST_CONTENT)] = ""
    name: str = Field(default="", max_length=64)

    @field_validator("content", mode="before")
    @classmethod
    def _texts_of_parts(cls, given: object) -> object:
        if not isinstance(given, list):
            return given or ""
        if not all(_is_text(part) for part in given):
            raise ValueError("a part that is no text cannot be read")
        return "\n".join(part["text"] for part in given)

    @field_validator("name", mode="before")
    @classmethod
    def _no_name(cls, given: object) -> object:
        return given or ""


class ChatRequest(_Request):
    """Body of ``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_Request):
    """Body of ``POST /v1/completions``: a text of lines ``Name: what is said``, to be gone on with."""

    prompt: Annotated[str, Field(min_length=1, max_length=10 * LONGEST_CONTENT)]

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, given: object) -> object:
        return given[0] if isinstance(given, list) and len(given) == 1 else given

    @property
    def most_tokens(self) -> int | None:
        return self.max_tokens
