"""Themes: their names, and the seed words that point to them where no model can be had.

``themes.json`` of the series folder comes first, then the one of this package. Both may be edited.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import DataError

logger = logging.getLogger(__name__)

FILE = "themes.json"
COMMON = Path(__file__).with_name(FILE)
LIKE = 'It is like {"themes": [{"name": "Hope", "description": "…", "seed_words": ["hope", "rescue"]}]}'
LONGEST_NAME = 100  # characters; it becomes part of a hypothesis


@dataclass(frozen=True)
class Theme:
    """A theme. ``seed_words``: words or phrases, in small letters; may be empty."""

    name: str
    description: str = ""
    seed_words: tuple[str, ...] = ()


def read_themes(file: Path) -> list[Theme]:
    """The themes of a file; none where there is no such file. Raises DataError: it is not valid."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read: {error}", instead=LIKE) from None
    entries = content.get("themes") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{file} holds no list of themes.", instead=LIKE)
    found = [_read_theme(entry, file, at) for at, entry in enumerate(entries, 1)]
    return _check_unique(found, str(file))


def _read_theme(entry: object, file: Path, at: int) -> Theme:
    words = entry.get("seed_words", []) if isinstance(entry, dict) else None
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("name"), str)
        or not isinstance(entry.get("description", ""), str)
        or not isinstance(words, list)
        or not all(isinstance(word, str) for word in words)
    ):
        raise DataError(f"{file}: theme {at} has not the right form.", instead=LIKE)
    seeds = dict.fromkeys(" ".join(word.casefold().split()) for word in words)
    return Theme(
        _check_name(entry["name"], f"{file}: "), entry.get("description", ""), tuple(seed for seed in seeds if seed)
    )


def _check_name(name: str, where: str = "") -> str:
    plain = " ".join(name.split())
    if not plain or len(plain) > LONGEST_NAME or not plain.isprintable():
        raise DataError(
            f"{where}{name[:40]!r} cannot be the name of a theme.", instead=f"It has 1 to {LONGEST_NAME} characters."
        )
    return plain


def _check_unique(themes: list[Theme], where: str) -> list[Theme]:
    seen: set[str] = set()
    for theme in themes:
        if theme.name.casefold() in seen:
            raise DataError(f"{where}: the theme '{theme.name}' is there twice.")
        seen.add(theme.name.casefold())
    return themes


def choose_themes(names: Sequence[str] = (), folder: Path | None = None) -> list[Theme]:
    """Themes by name, in this order; without names those of the series, without a file the package's.

    A name found in neither file is a theme without seed words.

    Raises:
        DataError: a file that is not valid, a name twice, or one that cannot be a theme's.
    """
    own = read_themes(folder / FILE) if folder else []
    common = read_themes(COMMON)
    if not names:
        return own or common
    known = {theme.name.casefold(): theme for theme in [*common, *own]}
    chosen = [known.get(name.casefold(), Theme(name)) for name in (_check_name(each) for each in names)]
    return _check_unique(chosen, "the chosen themes")


def without_seeds(themes: Iterable[Theme]) -> list[str]:
    """Names of the themes that only their own name points to."""
    return [theme.name for theme in themes if not theme.seed_words]
