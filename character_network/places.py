"""The names of a series' places, from ``locations.jsonl``: what is no person.

{"name": "Hopper's Cabin", "aliases": ["the cabin"], "description": "..."}
"""

from __future__ import annotations

import json
from pathlib import Path

from utils.errors import DataError

EXAMPLE = '{"name": "Hopper\'s Cabin", "aliases": ["the cabin"]}'


def load_place_names(file: Path) -> tuple[str, ...]:
    """Names and aliases of all places; none where there is no such file.

    Raises:
        DataError: unreadable, bad JSON, or a row without a name.
    """
    try:
        rows = file.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
    names = [
        name for number, row in enumerate(rows, 1) if row.strip() for name in _read_row(row, f"{file}, row {number}")
    ]
    return tuple(dict.fromkeys(names))


def _read_row(row: str, where: str) -> list[str]:
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
    return [" ".join(name.split()) for name in names]
