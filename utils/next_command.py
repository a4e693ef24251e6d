"""The next command to type, for the series and the registry that are in use.

next_command(settings, "train", "llama")       # "python training_pipeline.py train llama --data 'my show'"
carry_places("python training_pipeline.py models list", ["chat", "--registry", "there"])

Whoever has named a series by a flag has to name it again; what a settings file or the environment says holds anyway.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from config import Settings

PROGRAM = "python training_pipeline.py"
DATA, REGISTRY, CONFIG = "--data", "--registry", "--config"
# What each command can be told (a test holds it against the parser).
PLACES: dict[str, tuple[str, ...]] = {
    "data": (DATA,),
    "train": (DATA, REGISTRY),
    "models": (REGISTRY,),
    "export": (DATA, REGISTRY),
    "chat": (DATA, REGISTRY),
    "cards": (DATA,),
    "chats": (DATA,),
    "report": (DATA,),
    "status": (DATA, REGISTRY),
}


def next_command(settings: Settings, *words: str) -> str:
    """A command of training_pipeline.py, with the places that flags have given to this one."""
    keys = {DATA: "paths.data", REGISTRY: "paths.registry"}
    values = dict(settings.items())

    def flagged(flag: str) -> str:
        return str(values[keys[flag]]) if flag in keys and settings.origin(keys[flag]) == "flag" else ""

    return f"{PROGRAM} {shlex.join(_with_places(words, flagged))}"


def carry_places(command: str, given: Sequence[str]) -> str:
    """A command of training_pipeline.py with the places of the command that was typed; any other as it is.

    Args:
        command: "python training_pipeline.py …"; what it names already stays.
        given: the words of the command that was typed.
    """
    try:
        words = shlex.split(command.removeprefix(PROGRAM))
    except ValueError:  # a quote without its end
        return command
    if not command.startswith(f"{PROGRAM} ") or not words:
        return command
    more = _with_places(words, lambda flag: _value(given, flag))[len(words) :]
    return f"{command} {shlex.join(more)}" if more else command


def _with_places(words: Sequence[str], find: Callable[[str], str]) -> list[str]:
    flags = (*PLACES.get(words[0], ()), CONFIG)
    named = {word.partition("=")[0] for word in words}
    found = ((flag, find(flag)) for flag in flags if flag not in named)
    return [*words, *(word for flag, value in found if value for word in (flag, value))]


def _value(given: Sequence[str], flag: str) -> str:
    """The value of a flag in what was typed; empty where it is not there."""
    for word, following in zip(given, [*given[1:], ""], strict=True):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""
