"""The names of a series' places, from ``locations.jsonl``: what is no person."""

from __future__ import annotations

from pathlib import Path

from utils.places import load_places


def load_place_names(file: Path) -> tuple[str, ...]:
    """Names and aliases of all places; none where there is no such file.

    Raises:
        DataError: unreadable, bad JSON, or a row without a name.
    """
    return tuple(dict.fromkeys(name for place in load_places(file) for name in place.names))
