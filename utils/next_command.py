"""The next command to type, for the series and the registry that are in use.

next_command(settings, "train", "llama")       # "python training_pipeline.py train llama --data 'my show'"
Announcements(complete=in_use(settings))       # the same for commands that are remedies
carry_places("python training_pipeline.py models list", ["chat", "--registry", "there"])
carry_account("  Next:  python deploy_aws.py status", ["init", "--region", "eu-west-1"])

Whoever has named a series by a flag has to name it again; what a settings file or the environment says holds anyway.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

from config import Settings

PROGRAM = "python training_pipeline.py"
DATA, REGISTRY, CONFIG = "--data", "--registry", "--config"
CLOUD_COMMAND = re.compile(r"\bpython deploy_aws\.py(?: [\w./:=-]+)+")  # in a text it ends before a bracket or a gap
ACCOUNT = ("--region", "--profile", CONFIG)  # every command of deploy_aws.py takes them
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
    return in_use(settings)(f"{PROGRAM} {shlex.join(words)}")


def in_use(settings: Settings) -> Callable[[str], str]:
    """Completes a command of training_pipeline.py with the places that flags have given to this one."""
    values = {DATA: str(settings.paths.data), REGISTRY: str(settings.paths.registry)}
    keys = {DATA: "paths.data", REGISTRY: "paths.registry"}
    flagged = {flag: value for flag, value in values.items() if settings.origin(keys[flag]) == "flag"}
    return lambda command: _complete(command, lambda flag: flagged.get(flag, ""))


def carry_places(command: str, given: Sequence[str]) -> str:
    """A command of this project with the places, or the account, of the command that was typed.

    Args:
        command: "python training_pipeline.py …", "python deploy_aws.py …"; what it names already stays. Anything else
            is left as it is.
        given: the words of the command that was typed.
    """
    return _complete(carry_account(command, given), lambda flag: _value(given, flag))


def carry_account(text: str, given: Sequence[str]) -> str:
    """The text, in which each command of deploy_aws.py names region, profile and settings of what was typed."""

    def complete(found: re.Match[str]) -> str:
        named = {word.partition("=")[0] for word in found[0].split()}
        more = [(flag, value) for flag in ACCOUNT if flag not in named and (value := _value(given, flag))]
        return " ".join([found[0], *(shlex.join(each) for each in more)])

    return CLOUD_COMMAND.sub(complete, text)


def _complete(command: str, find: Callable[[str], str]) -> str:
    try:
        words = shlex.split(command.removeprefix(PROGRAM))
    except ValueError:  # a quote without its end
        return command
    if not command.startswith(f"{PROGRAM} ") or not words:
        return command
    named = {word.partition("=")[0] for word in words}
    found = ((flag, find(flag)) for flag in (*PLACES.get(words[0], ()), CONFIG) if flag not in named)
    more = [word for flag, value in found if value for word in (flag, value)]
    return f"{command} {shlex.join(more)}" if more else command


def _value(given: Sequence[str], flag: str) -> str:
    """The value of a flag in what was typed; empty where it is not there."""
    for word, following in zip(given, [*given[1:], ""], strict=False):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""
