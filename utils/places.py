"""The places of a series, from ``locations.jsonl``: one a row, under all their names.

    places = load_places(Path("data/locations.jsonl"))
    places.resolve("the lab")        # "Hawkins Lab"

A row is like {"name": "Hopper's Cabin", "aliases": ["the cabin"], "description": "..."}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.errors import DataError, nearest

EXAMPLE = '{"name": "Hopper\'s Cabin", "aliases": ["the cabin"]}'


@dataclass(frozen=True)
class Place:
    """A place and what else it is called."""

    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.name, *self.aliases)))


class Places:
    """Places in the order of the file. A name that two places share belongs to the first."""

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self._places = list(places)
        self._by_name: dict[str, str] = {}
        for place in [*(Place(place.name) for place in self._places), *self._places]:  # names go before aliases
            for name in place.names:
                self._by_name.setdefault(_fold(name), place.name)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def names(self) -> list[str]:
        return [place.name for place in self._places]

    def resolve(self, written: str) -> str:
        """The place that is called so, in upper or lower case; where there is none, the text as it is, tidied."""
        return self._by_name.get(_fold(written), " ".join(written.split()))

    def knows(self, written: str) -> bool:
        return _fold(written) in self._by_name

    def nearest(self, written: str) -> str | None:
        """The place whose name or alias is most like the text; None where nothing is alike."""
        found = nearest(_fold(written), self._by_name)
        return self._by_name[found] if found else None


def load_places(file: Path) -> Places:
    """The places of a file; none where there is no such file.

    Raises:
        DataError: unreadable, bad JSON, or a row without a name; it names the row.
    """
    try:
        rows = file.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        return Places()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
    return Places(_read_row(row, f"{file}, row {number}") for number, row in enumerate(rows, 1) if row.strip())


def _read_row(row: str, where: str) -> Place:
    wrong = DataError(f"{where}: no place.", instead=f"One place a row, like {EXAMPLE}")
    try:
        content = json.loads(row)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(content, dict) or not isinstance(content.get("aliases", []), list):
        raise wrong
    names = [content.get("name"), *content.get("aliases", [])]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise wrong
    name, *aliases = (" ".join(name.split()) for name in names)
    return Place(name, tuple(aliases), str(content.get("description") or ""))


def _fold(name: str) -> str:
    return " ".join(name.replace("’", "'").casefold().split())
