"""Characters: who speaks, under which names, and what they are like. From ``characters.jsonl``, one a row:

{"name": "Jim Hopper", "aliases": ["Hopper", "Chief"], "persona": "...", "example_lines": ["..."]}
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import DataError, UnknownCharacter
from utils.lines import UNKNOWN
from utils.text import clean_text

if TYPE_CHECKING:
    import pandas as pd

TITLE = re.compile(
    "mrs?|ms|miss|mister|dr|doctor|prof|professor|chief|sheriff|officer|deputy|detective|agent|inspector|sergeant|sgt"
    "|captain|capt|lieutenant|lt|colonel|col|major|general|king|queen|prince|princess|lord|lady|sir|madam|dame|duke"
    "|duchess|count|countess|father|brother|sister|aunt|auntie|uncle|coach|principal|mayor|president|judge|nurse"
)
MOST_RESOLVED, LONGEST_RESOLVED = 10_000, 100  # names that are remembered, and their characters
NOBODY = frozenset({"", "unknown", "unidentified"})
ACCENT = re.compile("[\u0300-\u036f]")
POSSESSIVE = re.compile(r"(?<=\w)['’]s?$", re.IGNORECASE)
APOSTROPHE = re.compile("['’‘`]")
NO_WORD = re.compile(r"[\W_]+")


KEYS = ("name", "aliases", "persona", "example_lines")
EXAMPLE = '{"name": "Jim Hopper", "aliases": ["Hopper"], "persona": "..."}'


@dataclass(frozen=True)
class Character:
    """One who speaks."""

    name: str
    aliases: tuple[str, ...] = ()
    persona: str = ""  # how they are, for the system prompt
    example_lines: tuple[str, ...] = ()


class Cast:
    """The characters of a series, found under any of their names.

    Raises:
        DataError: a name or alias belongs to two characters.
    """

    def __init__(self, characters: Iterable[Character] = ()) -> None:
        self._characters: dict[str, Character] = {}
        self._by_key: dict[str, str] = {}
        # A series has hundreds of names and a hundred thousand lines; visitors can think of any number of names.
        self._resolved: dict[str, str] = {}
        for character in characters:
            self._add(character)

    def _add(self, character: Character) -> None:
        if character.name in self._characters:
            raise DataError(f"'{character.name}' is described twice.", instead="A character has one row.")
        for name in (character.name, *character.aliases):
            owner = self._by_key.setdefault(_key(name), character.name)
            if owner != character.name:
                raise DataError(
                    f"'{name}' is a name of both {owner} and {character.name}.",
                    instead="Take it from one of them: a name belongs to one character.",
                )
        self._characters[character.name] = character
        self._resolved.clear()

    @property
    def names(self) -> tuple[str, ...]:
        """The characters' own names, without aliases: those of the file first, then speakers by number of lines."""
        return tuple(self._characters)

    def __iter__(self) -> Iterator[Character]:
        return iter(self._characters.values())

    def __len__(self) -> int:
        return len(self._characters)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.resolve(name) in self._characters

    def resolve(self, name: str) -> str:
        """The character's own name for a name or alias in any case, with or without accents, a title or a final 's.

        A name nobody has comes back stripped; no name at all, "?" and "unidentified" come back as "Unknown".
        """
        found = self._resolved.get(name)
        if found is None:
            found = self._resolve(name)
            if len(self._resolved) < MOST_RESOLVED and len(name) <= LONGEST_RESOLVED:
                self._resolved[name] = found
        return found

    def _resolve(self, name: str) -> str:
        keys = list(_keys(name))
        if keys[0] in NOBODY:
            return UNKNOWN
        return next((self._by_key[key] for key in keys if key in self._by_key), " ".join(name.split()))

    def get(self, name: str) -> Character:
        """The character with this name or alias.

        Raises:
            UnknownCharacter: there is none; the message names the nearest.
        """
        found = self._characters.get(self.resolve(name))
        if found is None:
            raise UnknownCharacter(name, self.names)
        return found

    def with_speakers(self, counts: pd.Series) -> Cast:
        """A cast that also holds everybody who speaks.

        Args:
            counts: number of lines by speaker, as ``lines["speaker"].value_counts()`` gives it. Spellings that differ
                only in case, accents or punctuation become one character, under the one that occurs most often.
        """
        cast = Cast(self._characters.values())
        groups: dict[str, dict[str, int]] = {}
        for name, count in counts.items():
            speaker = " ".join(str(name).split())
            if self.resolve(speaker) != UNKNOWN and speaker not in self:
                spellings = groups.setdefault(_key(speaker), {})
                spellings[speaker] = spellings.get(speaker, 0) + int(count)
        for key, spellings in sorted(groups.items(), key=lambda group: -sum(group[1].values())):
            name = max(spellings, key=lambda spelling: spellings[spelling])
            if key not in cast._by_key:
                cast._add(Character(name))
        return cast


def _key(name: str) -> str:
    """What names that mean the same have in common."""
    plain = ACCENT.sub("", unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold()))
    key = NO_WORD.sub(" ", APOSTROPHE.sub("", plain)).strip()
    if key or all(unicodedata.category(sign)[0] in "PZC" for sign in name):
        return key
    return name.strip()  # a name of symbols


def _keys(name: str) -> Iterator[str]:
    """Keys to look under, the closest first."""
    owned = POSSESSIVE.sub("", name.strip().rstrip(".,:;!?"))
    for spelling in (name, owned):
        yield _key(spelling)
    for spelling in (name, owned):
        words = _key(spelling).split()
        while len(words) > 1 and TITLE.fullmatch(words[0]):
            words = words[1:]
            yield " ".join(words)


def load_cast(file: Path) -> Cast:
    """The cast of a ``characters.jsonl``; an empty one where there is no such file.

    Raises:
        DataError: unreadable, bad JSON, a wrong type, no name, or a name owned by two.
    """
    try:
        # Not splitlines(): JSON allows other line separators inside its strings.
        rows = file.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        return Cast()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
    cast = Cast()
    for number, row in enumerate(rows, start=1):
        if row.strip():
            where = f"{file}, row {number}"
            character = _read_character(row, where)
            try:
                cast._add(character)
            except DataError as error:
                raise DataError(f"{where}: {error.what}", instead=error.instead) from None
    return cast


def _read_character(row: str, where: str) -> Character:
    try:
        content = json.loads(row)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no valid JSON: {error}", instead=f"One character a row, like {EXAMPLE}") from None
    if not isinstance(content, dict):
        raise DataError(f"{where}: {row.strip()[:40]!r} is no object.", instead=f"One character a row, like {EXAMPLE}")
    _check_keys(content, where)
    name = _text(content, "name", where)
    if not _key(name):
        raise DataError(f"{where}: 'name' is missing or empty.", instead=f"A row is like {EXAMPLE}")
    persona = _text(content, "persona", where)
    return Character(name, _texts(content, "aliases", where), persona, _texts(content, "example_lines", where))


def _check_keys(content: dict[str, Any], where: str) -> None:
    """Other keys are welcome, but a slip of the pen would lose a character's aliases silently."""
    for key in content.keys() - set(KEYS):
        near = difflib.get_close_matches(key.casefold(), KEYS, n=1, cutoff=0.7)
        if near and near[0] not in content:
            raise DataError(f"{where}: unknown key '{key}'.", instead=f"The nearest is '{near[0]}'.")


def _text(content: dict[str, Any], key: str, where: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise DataError(f"{where}: '{key}' is {value!r}, which is not a text.")
    return clean_text(value)[0]


def _texts(content: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f"{where}: '{key}' is {value!r}, which is not a list of texts.")
    return tuple(text for item in value if (text := clean_text(item)[0]))
