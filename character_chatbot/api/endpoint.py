"""Requests of OpenAI's API in the terms of a service; a model is a character: ``family:version:character``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from character_chatbot.api.errors import NOT_FOUND, SERVER, ApiError
from character_chatbot.api.groups import Group, read_group
from character_chatbot.api.schema import MOST_TOKENS, ChatRequest, CompletionRequest, Message
from character_chatbot.api.script import read_script
from character_chatbot.engines.base import Sampling, build_sampling
from character_chatbot.prompts import Turn, persona_prompt
from character_chatbot.replies.conversation import one_line, open_with
from character_chatbot.service import DEFAULT_NAME, LONGEST_NAME_CHARACTERS, Reply, Service
from character_chatbot.sources import Source
from utils.characters import Character
from utils.errors import SuiteError, UnknownCharacter

LOADING_SECONDS = 5  # when to ask again while the model is being loaded
LATEST = "latest"
SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class Asked:
    """A request as the service takes it. ``note``: what the client's own system messages say.

    ``beginning``: of the reply, which the client has and wants to go on. ``spaced``: it has the space behind it, too.
    """

    character: str
    turns: tuple[Turn, ...]
    sampling: Sampling
    note: str = ""
    stops: tuple[str, ...] = ()
    beginning: str = ""
    spaced: bool = False


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
        group = read_group(request.messages, self._source().cast.resolve)
        character = self._replier(request.model, group)
        user = self._user(request.user or group.user, character)
        messages = group.named(_without_cue(request.messages), character)
        note = "\n".join(_read_note(each, character, user) for each in messages if each.role in SYSTEM)
        turns = [_read_turn(each, character, user) for each in messages]
        said = [each.content for each in messages if each.role not in SYSTEM and one_line(each.content)]
        return self._asked(request, character, [turn for turn in turns if turn and turn.text], note, said[-1:])

    def _replier(self, model: str, group: Group) -> str:
        """The character of the model; in a group chat the one who is asked to reply, if there is such a character."""
        character, source = self.character(model), self._source()
        asked = source.cast.resolve(group.replier) if group.replier else character
        return asked if asked in source.characters else character

    def read_completion(self, request: CompletionRequest) -> Asked:
        """A text as turns, see :mod:`character_chatbot.api.script`; who opens the last line is the character."""
        character = self.character(request.model)
        user = self._user(request.user, character)
        script = read_script(request.prompt, user, self.service.source.cast.resolve)
        turns = [replace(each, speaker=character) if each.speaker == script.opened else each for each in script.turns]
        spoken = turns and turns[-1].speaker == character and not script.opened
        tail = request.prompt[len(request.prompt.rstrip()) :]
        return self._asked(request, character, turns, script.note, [turns[-1].text + tail] if spoken else [])

    def begin(self, asked: Asked) -> Reply:
        """The reply on its way. Raises ApiError."""
        try:
            return self.service.begin_answer(
                asked.character, asked.turns, asked.sampling, note=asked.note, beginning=asked.beginning
            )
        except UnknownCharacter as error:
            raise ApiError(404, str(error), NOT_FOUND, "model_not_found", param="model") from None
        except SuiteError as error:
            raise ApiError(400, str(error)) from None

    def _asked(
        self,
        request: ChatRequest | CompletionRequest,
        character: str,
        turns: Sequence[Turn],
        note: str,
        last: Sequence[str],
    ) -> Asked:
        """``last``: the last message as it was sent, which may be the beginning of the reply."""
        if not turns:
            raise ApiError(400, f"there is no message to {character}: end with a user's message.", param="messages")
        note = _without_persona(note, self.service.source.cast.get(character))
        begun = last[0] if last and turns[-1].speaker == character else ""
        if begun:  # a client that wants the last reply to go on, or has begun the next one
            turns = open_with(turns[:-1], character, self._user(request.user, character))
        elif turns[-1].speaker == character:
            raise ApiError(400, f"{character} has spoken last: end with what somebody else says.", param="messages")
        greeting = " ".join(turn.text for turn in itertools.takewhile(lambda turn: turn.speaker == character, turns))
        if greeting:  # a prompt begins with what is said to the character
            note = f"{note}\n{character} has begun with: {greeting}".strip()
        sampling, stops = self._sampling(request), tuple(request.stop)
        return Asked(character, tuple(turns), sampling, note, stops, begun.strip(), begun[-1:].isspace())

    def _user(self, given: str, character: str) -> str:
        """The user's name, as one line without a colon; nobody is called as the character is."""
        name = one_line(given.replace(":", " "))[:LONGEST_NAME_CHARACTERS].strip()
        return name if name and self._source().cast.resolve(name) != character else DEFAULT_NAME

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
            now = self.service.progress.read()
            raise ApiError(
                503, f"the model is being loaded: {now.sentence}.", SERVER, "loading", wait_seconds=LOADING_SECONDS
            )
        try:
            return self.service.source
        except SuiteError as error:
            raise ApiError(503, str(error), SERVER, "no_model") from None


def _without_cue(messages: Sequence[Message]) -> Sequence[Message]:
    """Without what a client says in front of which the reply stands that is to go on: "[Continue your last message]".

    The engine goes on without being asked; a prompt with it would be another one than that of the reply.
    """
    last = max((number for number, each in enumerate(messages) if each.role not in SYSTEM), default=-1)
    cue = messages[last + 1 : last + 2]
    is_cue = messages[last].role == "assistant" and cue and "continue" in cue[0].content.casefold()
    return [*messages[: last + 1], *messages[last + 2 :]] if is_cue else messages


def _without_persona(note: str, character: Character) -> str:
    """Without lines of the persona, which is in the prompt anyway: a client sends the card that it got from us."""
    known = {line.strip() for line in persona_prompt(character, "").splitlines()}
    return "\n".join(line for line in note.splitlines() if line.strip() not in known)


def _read_note(message: Message, character: str, user: str) -> str:
    """A system message; lines of an example conversation with the names that their ``name`` stands for."""
    names = {"example_assistant": character, "example_user": user}
    label = names.get(message.name)
    said = one_line(message.content).removeprefix(f"{label}: ")  # in a group chat the name is there already
    return f"{label}: {said}" if label else message.content.strip()


def _read_turn(message: Message, character: str, user: str) -> Turn | None:
    """A message as a turn; None for what is no turn."""
    if message.role in SYSTEM:
        return None
    named = one_line(message.name.replace(":", " ").replace("_", " "))[:LONGEST_NAME_CHARACTERS]
    speaker = named or (character if message.role == "assistant" else user)
    return Turn(
        speaker if speaker != character or message.role == "assistant" else DEFAULT_NAME, one_line(message.content)
    )
