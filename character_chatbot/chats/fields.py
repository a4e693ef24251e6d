"""What all readers of chat files share: JSON with a place in the file for every fault, and fields of the right type."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from utils.errors import DataError, UsageError

LARGEST_FILE_BYTES = 20_000_000
MOST_LINES = 100_000
LATEST_SECONDS = 32_503_680_000.0  # the year 3000


class Fields:
    """The fields of one JSON object. ``where``: file and place, for errors; each method raises DataError."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise DataError(f"{where}: {_shown(content)} is no object.")
        self.content: dict[str, Any] = content
        self.where = where

    def text(self, key: str, default: str | None = None) -> str:
        """A text; without a default it has to be there."""
        return str(self._typed(key, (str,), "a text", default))

    def seconds(self, key: str, default: float) -> float:
        """Seconds since 1970."""
        value = float(self._typed(key, (int, float), "a number", default))
        if not (math.isfinite(value) and 0 <= value <= LATEST_SECONDS):
            self.fail(key, "no time in seconds since 1970")
        return value

    def integer(self, key: str) -> int | None:
        value = self._typed(key, (int,), "a whole number", None, optional=True)
        return None if value is None else int(value)

    def place(self, key: str, below: int) -> int | None:
        """A place in a list of which ``below`` entries are there; None: none is named."""
        value = self.integer(key)
        if value is not None and not 0 <= value < below:
            self.fail(key, f"no place below {below}")
        return value

    def list(self, key: str) -> Any:
        return self._typed(key, (list,), "a list", [])

    def object(self, key: str) -> Any:
        return self._typed(key, (dict,), "an object", {})

    def fail(self, key: str, why: str) -> NoReturn:
        raise DataError(f"{self.where}: '{key}' is {_shown(self.content.get(key))}, which is {why}.")

    def _typed(self, key: str, types: tuple[type, ...], name: str, default: Any, optional: bool = False) -> Any:
        value = self.content.get(key)
        if value is None:
            value = default
        if value is None and optional:
            return None
        if not isinstance(value, types) or isinstance(value, bool):
            self.fail(key, f"not {name}")
        return value


@contextlib.contextmanager
def at(where: str) -> Iterator[None]:
    """Say where in the file something is that cannot be kept. Raises DataError."""
    try:
        yield
    except UsageError as error:
        raise DataError(f"{where}: {error.what}", instead=error.instead) from None


def parse_json(text: str, where: str, line: int = 1) -> Any:
    """A JSON value.

    Raises:
        DataError: no JSON; names the line, ``line`` being the first of ``text``.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}, line {line + error.lineno - 1}: no valid JSON: {error.msg}.") from None
    except (ValueError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else str(error)[:80]
        raise DataError(f"{where}, line {line}: no valid JSON: {why}.") from None


def decode(content: bytes, name: str) -> str:
    """The text of a file. Raises DataError: too large, empty, or not UTF-8."""
    if len(content) > LARGEST_FILE_BYTES:
        raise DataError(f"{name} has {len(content) / 1e6:.1f} MB; at most {LARGEST_FILE_BYTES // 1_000_000} are read.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: byte {error.start} is not UTF-8.", instead="Save it as UTF-8.") from None
    if not text.strip():
        raise DataError(f"{name} is empty.")
    return text


def iso_time(seconds: float) -> str:
    """``2026-11-21T14:25:16.120Z``, as JavaScript writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without(content: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """All but these keys."""
    return {key: value for key, value in content.items() if key not in keys}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= 40 else text[:40] + "…"
