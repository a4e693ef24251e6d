"""The tree of errors that a user can cause. Entry points print them as sentences, without a traceback.

SuiteError                what failed, what exists instead, the next command to type
├── ConfigError           a setting is unknown, of the wrong type or out of range
├── UsageError            the command line is wrong: exit 2
├── DataError             a series folder or one of its files cannot be used
│   ├── UnknownCharacter  no such character; names the nearest
│   └── CardError         a character card cannot be read, or there is none of this name
├── StoreError            a folder or bucket cannot be read or written
│   └── ConflictError     somebody else wrote first
├── RegistryError         no such version, or one that does not match its manifest
├── BaseModelError        a base model cannot be had: gated, missing, not reachable
└── TrainingError         training cannot start or go on
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from config import ConfigError, SuiteError

__all__ = [
    "BaseModelError",
    "CardError",
    "ConfigError",
    "ConflictError",
    "DataError",
    "RegistryError",
    "StoreError",
    "SuiteError",
    "TrainingError",
    "UnknownCharacter",
    "UsageError",
    "nearest",
    "remedied",
]


class UsageError(SuiteError):
    """The command line is wrong."""


class DataError(SuiteError):
    """A series folder or one of its files cannot be used."""


class UnknownCharacter(DataError):
    """No character of the series has this name or alias."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = list(known)
        near = nearest(name, names)
        super().__init__(
            f"no character '{name}' in this series.",
            instead=(f"Did you mean {near}? " if near else "")
            + f"There are: {', '.join(names[:12])}"
            + (f" and {len(names) - 12} more" if len(names) > 12 else ""),
        )


class CardError(DataError):
    """A character card cannot be read, or there is none of this name."""


class StoreError(SuiteError):
    """A folder or bucket cannot be read or written."""


class ConflictError(StoreError):
    """Somebody else wrote the object first."""


class RegistryError(SuiteError):
    """No such version, or one that does not match its manifest."""


class BaseModelError(SuiteError):
    """A base model cannot be had: gated, missing or not reachable."""


class TrainingError(SuiteError):
    """Training cannot start or go on."""


@contextmanager
def remedied(kind: type[SuiteError], label: str, command: str) -> Iterator[None]:
    """Whoever meets an error of this kind inside is told one more way to go on."""
    try:
        yield
    except kind as error:
        error.remedies.append((label, command))
        raise


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, ignoring case; None where nothing is alike."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.4)
    return by_lower[found[0]] if found else None
