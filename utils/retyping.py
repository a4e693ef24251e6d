"""The command that was typed, with other flags: the whole next command, for whoever cannot use a flag alone.

program = program_of(main)                                         # "python -m theme_classifier"
retype(program, ["--data", "my show", "--model", "x"], ["--model", "lexical"])
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from config import SuiteError
from utils.next_command import carry_places

FLAG = "--"


def program_of(main: Callable[..., Any]) -> str:
    """How the program is started whose entry is ``main``; empty where that is not known."""
    code = getattr(main, "__code__", None)
    if code is None:
        return ""
    file = Path(code.co_filename)
    return f"python -m {file.parent.name}" if file.name == "__main__.py" else f"python {file.name}"


def retype(program: str, given: Sequence[str], flags: Sequence[str]) -> str:
    """The command to type: ``given`` with ``flags`` (each followed by its values), which replace those of that name."""
    kept = list(given)
    for at, flag in enumerate(flags):
        if flag.startswith(FLAG):
            kept = _without(kept, flag, _count_values(flags[at + 1 :]))
    return " ".join(part for part in (program, shlex.join([*kept, *flags])) if part)


def complete_remedies(error: SuiteError, program: str, given: Sequence[str]) -> None:
    """Make whole commands of the remedies of an error: of flags alone, and of commands for the series at hand."""
    if program:
        error.remedies = [(label, _complete(command, program, given)) for label, command in error.remedies]


def _complete(command: str, program: str, given: Sequence[str]) -> str:
    try:
        parts = shlex.split(command) if command.startswith(FLAG) else []
    except ValueError:  # a quote without its end: no flags
        parts = []
    return retype(program, given, parts) if parts else carry_places(command, given)


def _without(given: Sequence[str], flag: str, values: int) -> list[str]:
    """The words without a flag and at most so many values behind it."""
    kept, gone = [], 0
    for word in given:
        if word == flag or word.startswith(f"{flag}="):
            gone = values if word == flag else 0
        elif gone and not word.startswith(FLAG):
            gone -= 1
        else:
            kept.append(word)
            gone = 0
    return kept


def _count_values(words: Sequence[str]) -> int:
    return next((at for at, word in enumerate(words) if word.startswith(FLAG)), len(words))
