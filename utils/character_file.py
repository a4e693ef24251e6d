"""Editing ``characters.jsonl``: one row changes, all others stay as they are, byte for byte.

file = CharacterFile(series_folder / "characters.jsonl")
row = file.open("Kit")
file.save(row, replace(row.character, persona="You are Kit, who …"))
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.characters import Cast, Character, load_cast
from utils.errors import DataError, UsageError
from utils.files import disk_errors, write_atomic
from utils.lines import UNKNOWN
from utils.text import clean_text, has_speech

FILE = "characters.jsonl"
BYTE_ORDER_MARK = "\ufeff"
# Far above what a prompt takes (recall/budget.py shortens a persona that is too long for the base).
MAX_NAME_CHARACTERS = 100
MAX_ALIASES = 200
MAX_PERSONA_CHARACTERS = 20_000
MAX_LINES, MAX_LINE_CHARACTERS = 200, 1_000

_saving = threading.Lock()  # two visitors of one page; whoever edits the file by hand is noticed by its sum


@dataclass(frozen=True)
class Row:
    """A character as the file had it. ``seen``: sum of the file then. ``known``: whether it has a row."""

    character: Character
    seen: str
    known: bool = True


class CharacterFile:
    """The rows of a ``characters.jsonl``; it need not exist yet."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def cast(self) -> Cast:
        """All characters of the file. Raises DataError: it cannot be read, or is not valid."""
        return load_cast(self._file)

    def open(self, name: str) -> Row:
        """The row of a character by its own name; an empty one where there is none. Raises DataError."""
        seen = _sum(self._read())
        cast = self.cast()
        if name in cast.names:
            return Row(cast.get(name), seen)
        return Row(Character(name), seen, known=False)

    def save(self, row: Row, character: Character) -> Character:
        """Write a character into its row, or into a new one at the end; unknown keys stay.

        Returns:
            The character as it was written: without control characters and superfluous spaces.

        Raises:
            DataError: a name belongs to somebody else, or the file has changed since the row was opened.
            UsageError: no name, or something too long.
            StoreError: the disk says no.
        """
        tidy = check_character(character)
        with _saving:
            content = self._read()
            if _sum(content) != row.seen:
                raise _changed(self._file)
            others = [each for each in self.cast() if not row.known or each.name != row.character.name]
            Cast([*others, tidy])  # a name or alias belongs to one character
            text = _replace_row(content.decode("utf-8"), row, tidy)
            with disk_errors(self._file, "written"):
                write_atomic(self._file.resolve(), text)
        return tidy

    def _read(self) -> bytes:
        try:
            return self._file.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise DataError(f"{self._file} cannot be read: {error.strerror or error}.") from None


def check_character(character: Character) -> Character:
    """The character with tidy texts. Raises UsageError: no name that can be, or something too long."""
    name = clean_text(character.name)[0]
    if not has_speech(name) or Cast().resolve(name) == UNKNOWN:
        raise UsageError("the character has no name." if not name else f"'{name}' is nobody's name.")
    if ":" in name:
        raise UsageError(f"the name '{name[:40]}' has a colon, which ends a name in a transcript.")
    aliases = tuple(dict.fromkeys(alias for each in character.aliases if (alias := clean_text(each)[0])))
    lines = tuple(line for each in character.example_lines if (line := clean_text(each)[0]))
    persona = clean_text(character.persona)[0]
    for text in (name, *aliases):
        _check_length(text, f"the name '{text[:20]}…'", MAX_NAME_CHARACTERS)
    _check_length(persona, "the persona", MAX_PERSONA_CHARACTERS)
    for line in lines:
        _check_length(line, f"the example line '{line[:20]}…'", MAX_LINE_CHARACTERS)
    _check_count(len(aliases), "aliases", MAX_ALIASES)
    _check_count(len(lines), "example lines", MAX_LINES)
    return Character(name, tuple(alias for alias in aliases if alias != name), persona, lines)


def _check_length(text: str, what: str, most: int) -> None:
    if len(text) > most:
        raise UsageError(f"{what} has {len(text):,} characters; at most {most:,} are kept.")


def _check_count(count: int, what: str, most: int) -> None:
    if count > most:
        raise UsageError(f"there are {count:,} {what}; at most {most:,} are kept.")


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _changed(file: Path) -> DataError:
    return DataError(
        f"{file.name} has changed since you opened this character: somebody else has saved.",
        instead="Nothing was written. Keep a copy of your text, open the character again, and save.",
    )


def _replace_row(text: str, row: Row, character: Character) -> str:
    """The whole file with one row changed. Not splitlines(): JSON allows other line separators in its strings."""
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    rows = text.removeprefix(mark).split("\n")
    if not row.known:
        end = "\r" if rows[0].endswith("\r") else ""
        last = [*rows[:-1]] if not rows[-1].strip() else [*rows[:-1], rows[-1].rstrip("\r") + end]
        return mark + "\n".join([*last, _dump({}, None, character) + end, ""])
    for at, line in enumerate(rows):
        content = json.loads(line) if line.strip() else {}
        if content and clean_text(content["name"])[0] == row.character.name:
            rows[at] = _dump(content, row.character, character) + ("\r" if line.endswith("\r") else "")
    return mark + "\n".join(rows)


def _dump(content: dict[str, Any], old: Character | None, new: Character) -> str:
    """A row as JSON; what did not change is written as it was, in the order in which it stood."""
    before = old or replace(new, name="", aliases=(), persona="", example_lines=())
    for key in ("name", "aliases", "persona", "example_lines"):
        value = getattr(new, key)
        if value != getattr(before, key):
            content[key] = list(value) if isinstance(value, tuple) else value
    return json.dumps(content, ensure_ascii=False)
