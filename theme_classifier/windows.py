"""Texts that are longer than the model reads: split at sentence ends, never cut off."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+")


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Parts of the text that each fit: whole sentences in a row, in order; a sentence too long is split between words.

    A single word that does not fit is split in the middle.
    """
    if fits(text):
        return [text]
    for units in (_sentences(text), text.split()):
        if len(units) > 1:
            return [part for group in _pack(units, fits) for part in split_text(group, fits)]
    if len(text) < 2:
        return [text]
    middle = len(text) // 2
    return [*split_text(text[:middle], fits), *split_text(text[middle:], fits)]


def _sentences(text: str) -> list[str]:
    borders = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    parts = [text[start:end].strip() for start, end in itertools.pairwise(borders)]
    return [part for part in parts if part]


def _pack(units: Sequence[str], fits: Callable[[str], bool]) -> list[str]:
    """Units put together while they fit; one that does not fit by itself is a group."""
    groups: list[str] = []
    for unit in units:
        if groups and fits(f"{groups[-1]} {unit}"):
            groups[-1] = f"{groups[-1]} {unit}"
        else:
            groups.append(unit)
    return groups
