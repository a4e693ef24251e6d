"""JSON from strangers: read within limits, and its fields taken by type. All faults are sentences."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from utils.errors import CardError
from utils.text import INVISIBLE

MAX_FILE_BYTES = 10_000_000
MAX_DEPTH = 64
MAX_PARTS = 400_000  # commas and brackets of the JSON: an upper bound of what it becomes in memory
MAX_NAME_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 500_000
MAX_TEXTS = 1_000  # greetings, tags, keys of one entry
SHOWN_CHARACTERS = 40

# Every way to end a line becomes one line break; a JSON text may hold them all.
LINE_END = re.compile("\r\n?|[\v\f\x1c-\x1f\x85\u2028\u2029]")


def read_object(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object in UTF-8 bytes.

    Raises:
        CardError: not UTF-8, not JSON, no object, nested deeper than :data:`MAX_DEPTH`, or too many parts.
    """
    parts = sum(content.count(sign) for sign in (b",", b"[", b"{"))
    if parts > MAX_PARTS:
        raise CardError(f"{where} has {parts:,} parts; a card has at most {MAX_PARTS:,}.")
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise CardError(f"{where} is not UTF-8 text: byte {error.start} cannot be read.") from None
    except RecursionError:
        raise CardError(f"{where} is nested too deeply; a card has at most {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise CardError(f"{where} is not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise CardError(f"{where} holds {describe(found)}, not a card.")
    _check_depth(found, where)
    return found


def write_object(content: dict[str, Any]) -> bytes:
    """Compact JSON in UTF-8; in ASCII where half of a surrogate pair was read, which UTF-8 cannot hold."""
    try:
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(content, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name[:SHOWN_CHARACTERS]} is no number of JSON")


def _finite(text: str) -> float:
    """1e999 is valid JSON, and as a number it would be written as none."""
    number = float(text)
    if not math.isfinite(number):
        _refuse_constant(text)
    return number


def _check_depth(content: object, where: str) -> None:
    level = [content]
    for _ in range(MAX_DEPTH):
        nested: list[object] = []
        for part in level:
            children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
            nested.extend(child for child in children if isinstance(child, dict | list))
        if not nested:
            return
        level = nested
    raise CardError(f"{where} is nested too deeply; a card has at most {MAX_DEPTH} levels.")


def describe(value: object) -> str:
    """A value as a sentence names it: short and printable."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = "true" if value is True else "false" if value is False else "null" if value is None else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def clean_lines(text: str) -> str:
    """The text without control and invisible characters; line breaks and tabs stay. Markup is text like any other."""
    return INVISIBLE.sub("", LINE_END.sub("\n", text)).strip()


def clean_line(text: str) -> str:
    """The text as one line."""
    return " ".join(clean_lines(text).split())


class Fields:
    """The fields of one JSON object, taken by type; absent and null are the default.

    Args:
        content: the object.
        where: how a sentence names it.
    """

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, dict):
            raise CardError(f"{where} is {describe(content)}, which is not an object.")
        self.content, self.where = content, where

    def _wrong(self, key: str, value: object, wanted: str) -> CardError:
        return CardError(f"{self.where}: '{key}' is {describe(value)}, which is not {wanted}.")

    def text(self, key: str, longest: int = MAX_TEXT_CHARACTERS) -> str:
        """A text, cleaned. Raises CardError: another type, or too long."""
        value = self.content.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return self._short(key, value, longest)

    def _short(self, key: str, value: str, longest: int) -> str:
        if len(value) > longest:
            raise CardError(f"{self.where}: '{key}' has {len(value):,} characters; at most {longest:,} are read.")
        return clean_lines(value)

    def texts(self, key: str, longest: int = MAX_TEXT_CHARACTERS) -> tuple[str, ...]:
        """A list of texts, cleaned, empty ones left out. Raises CardError: another type, too many or too long."""
        value = self.content.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, value, "a list of texts")
        if len(value) > MAX_TEXTS:
            raise CardError(f"{self.where}: '{key}' has {len(value):,} texts; at most {MAX_TEXTS:,} are read.")
        return tuple(text for item in value if (text := self._short(key, item, longest)))

    def flag(self, key: str, default: bool | None = False) -> bool | None:
        """True or false. Raises CardError: another type."""
        value = self.content.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        raise self._wrong(key, value, "true or false")

    def number(self, key: str) -> float | None:
        """A finite number. Raises CardError: another type."""
        value = self.content.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, value, "a number")
        if not (isinstance(value, int) or math.isfinite(value)) or abs(value) > 1e15:  # integers know no end here
            raise self._wrong(key, value, "a number of any use")
        return value

    def nested(self, key: str) -> Fields:
        """The fields of an object; none where it is absent. Raises CardError: another type."""
        value = self.content.get(key)
        return Fields({} if value is None else value, f"{self.where}, {key}")
