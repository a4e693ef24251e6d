"""What clients send, by OpenAI's reference of chat and text completions, and the limits of it.

What the reference has and a small model cannot do (several choices, tools, JSON, sound) is refused by name. What only
shades the drawing (the presence and frequency penalties, ``logit_bias``, ``top_k`` and the like) or comes beside the
reply (``logprobs``, which stay null) is read past, because clients send it unasked; docs/api.md lists it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

MOST_MESSAGES = 5000  # a long chat; the last ones count
LONGEST_CONTENT = 40_000  # characters of one message; a persona with its lorebook may be long
LONGEST_STOP = 200
MOST_STOPS = 64
MOST_TOKENS = 4096  # of a reply; who asks for more gets so many at most


TEXT_ONLY = ({"type": "text"}, ["text"])  # of response_format and modalities
NO_TOOLS = ("none", "auto")  # of tool_choice and function_call, where there are no tools


def _refuse(given: object) -> object:
    if given:
        raise ValueError("cannot be had here")
    return given


def _refuse_all_but_text(given: object) -> object:
    if given is not None and given not in TEXT_ONLY:
        raise ValueError("nothing but text is written here")
    return given


def _refuse_tools(given: object) -> object:
    if given is not None and given not in NO_TOOLS:
        raise ValueError("there are no tools here")
    return given


def _refuse_search(given: object) -> object:
    if given is not None:  # an empty object asks for it as well
        raise ValueError("nothing is looked up in the web here")
    return given


Refused = Annotated[Any, AfterValidator(_refuse)]
TextOnly = Annotated[Any, AfterValidator(_refuse_all_but_text)]
NoTools = Annotated[Any, AfterValidator(_refuse_tools)]
NoSearch = Annotated[Any, AfterValidator(_refuse_search)]


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
    tools: Refused = None
    functions: Refused = None
    suffix: Refused = None
    echo: Refused = None
    tool_choice: NoTools = None
    function_call: NoTools = None
    response_format: TextOnly = None
    modalities: TextOnly = None
    web_search_options: NoSearch = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_or_several(cls, given: object) -> object:
        several = [given] if isinstance(given, str) else given or []
        return [each for each in several if each != ""] if isinstance(several, list) else several

    @field_validator("model", "user", "stream", mode="before")
    @classmethod
    def _null_is_the_default(cls, given: object, info: ValidationInfo) -> object:
        return cls.model_fields[cast(str, info.field_name)].default if given is None else given

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
            return "" if given is None else given
        if not all(_is_text(part) for part in given):
            raise ValueError("a part that is no text cannot be read")
        return "\n".join(part["text"] for part in given)

    @field_validator("name", mode="before")
    @classmethod
    def _no_name(cls, given: object) -> object:
        return "" if given is None else given


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
