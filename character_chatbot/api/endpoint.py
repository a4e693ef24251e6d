"""Requests of OpenAI's API in the terms of a service; a model is a character: ``family:version:character``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from character_chatbot.api.errors import NOT_FOUND, SERVER, ApiError
from character_chatbot.api.schema import MOST_TOKENS, ChatRequest, CompletionRequest, Message
from character_chatbot.engines.base import Sampling, build_sampling
from character_chatbot.prompts import Turn
from character_chatbot.replies.conversation import GO_ON, one_line
from character_chatbot.service import DEFAULT_NAME, LONGEST_NAME_CHARACTERS, Reply, Service
from character_chatbot.sources import Source
from utils.errors import SuiteError, UnknownCharacter

LOADING_SECONDS = 5  # when to ask again while the model is being loaded
LATEST = "latest"


@dataclass(frozen=True)
class Asked:
    """A request as the service takes it. ``note``: what the client's own system messages say."""

    character: str
    turns: tuple[Turn, ...]
    sampling: Sampling
    note: str = ""
    stops: tuple[str, ...] = ()


class Endpoint:
    """Answers requests with the replies of a service.

    Args:
        service: need not be loaded yet.
        family: part of the models' names.
    """

    def __init__(self, service: Service, family: str) -> None:
        self.service, self._family = service, family

    def models(self) -> list[str]:
        """Names of the models, a character each. Raises ApiError: none yet, or none at all."""
        source = self._source()
        return [f"{self._family}:{source.version or source.rung}:{name}" for name in source.characters]

    def character(self, model: str) -> str:
        """The character of a model's name; ``latest`` is any version, and a character's name alone will do.

        Raises:
            ApiError: there is no such model.
        """
        source = self._source()
        parts = model.split(":", 2)
        name = parts[-1].strip()
        right = len(parts) == 1 or (
            len(parts) == 3 and parts[0] == self._family and parts[1] in (source.version or source.rung, LATEST)
        )
        known = source.cast.resolve(name)
        if not name or not right or known not in source.characters:
            there = self.models()
            more = f" and {len(there) - 3} more (GET /v1/models)" if len(there) > 3 else ""
            raise ApiError(
                404,
                f"there is no model '{model}'. There are: {', '.join(there[:3])}{more}.",
                NOT_FOUND,
                "model_not_found",
                param="model",
            )
        return known

    def read_chat(self, request: ChatRequest) -> Asked:
        """A chat request as turns. Raises ApiError: no such model, or nothing to reply to."""
        character = self.character(request.model)
        note = "\n".join(each.content.strip() for each in request.messages if each.role in ("system", "developer"))
        turns = [_read_turn(each, character, request.user) for each in request.messages]
        return self._asked(request, character, [turn for turn in turns if turn and turn.text], note)

    def read_completion(self, request: CompletionRequest) -> Asked:
        """A text as turns: lines ``Name: what is said``; the last one may open the reply, as in ``Kit:``."""
        character = self.character(request.model)
        turns: list[Turn] = []
        for line in request.prompt.splitlines():
            speaker, colon, said = line.partition(":")
            if colon and 0 < len(speaker.strip()) <= LONGEST_NAME_CHARACTERS:
                resolved = self.service.source.cast.resolve(speaker.strip())
                turns.append(Turn(resolved, one_line(said)))
            elif line.strip():
                turns.append(Turn(request.user or DEFAULT_NAME, one_line(line)))
        return self._asked(request, character, [turn for turn in turns if turn.text], "")

    def begin(self, asked: Asked) -> Reply:
        """The reply on its way. Raises ApiError."""
        try:
            return self.service.begin_answer(asked.character, asked.turns, asked.sampling, note=asked.note)
        except UnknownCharacter as error:
            raise ApiError(404, str(error), NOT_FOUND, "model_not_found", param="model") from None
        except SuiteError as error:
            raise ApiError(400, str(error)) from None

    def _asked(
        self, request: ChatRequest | CompletionRequest, character: str, turns: Sequence[Turn], note: str
    ) -> Asked:
        if not turns:
            raise ApiError(400, f"there is no message to {character}: end with a user's message.", param="messages")
        if turns[-1].speaker == character:  # a client that wants the last reply to go on, or has begun the next one
            other = next((turn.speaker for turn in reversed(turns) if turn.speaker != character), DEFAULT_NAME)
            turns = [*turns, Turn(other, GO_ON)]
        begun = " ".join(turn.text for turn in itertools.takewhile(lambda turn: turn.speaker == character, turns))
        if begun:  # a greeting: a prompt begins with what is said to the character
            note = f"{note}\n{character} has begun with: {begun}".strip()
        return Asked(character, tuple(turns), self._sampling(request), note, tuple(request.stop))

    def _sampling(self, request: ChatRequest | CompletionRequest) -> Sampling:
        given = {
            "max_new_tokens": min(request.most_tokens, MOST_TOKENS) if request.most_tokens else None,
            "temperature": request.temperature,
            "top_p": max(request.top_p, 0.01) if request.top_p is not None else None,
            "repetition_penalty": request.repetition_penalty,
            "seed": request.seed % 2**32 if request.seed is not None and request.seed >= 0 else None,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(build_sampling(self.service.settings.chat), **changes)

    def _source(self) -> Source:
        if self.service.loading:
            raise ApiError(503, "the model is being loaded.", SERVER, "loading", wait_seconds=LOADING_SECONDS)
        try:
            return self.service.source
        except SuiteError as error:
            raise ApiError(503, str(error), SERVER, "no_model") from None


def _read_turn(message: Message, character: str, user: str) -> Turn | None:
    """A message as a turn; None for what is no turn."""
    if message.role in ("system", "developer"):
        return None
    named = one_line(message.name.replace(":", " ").replace("_", " "))[:LONGEST_NAME_CHARACTERS]
    other = named or one_line(user.replace(":", " "))[:LONGEST_NAME_CHARACTERS] or DEFAULT_NAME
    speaker = character if message.role == "assistant" else other
    return Turn(
        speaker if speaker != character or message.role == "assistant" else DEFAULT_NAME, one_line(message.content)
    )
