"""The cast as the files have it now: characters.jsonl, everybody who speaks, and the imported cards.

A source keeps the cast that it was opened with; after somebody has edited a character or imported a card,

    now = with_current_cast(source, corpus, settings.paths.data)
    now.source       # the same engine, the cast of now, and its cards

A trained version keeps the personas that it was trained with: it has learnt to answer to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from character_chatbot.cards.card import Card
from character_chatbot.cards.casting import with_cards
from character_chatbot.cards.shelf import FOLDER, CardShelf
from utils.character_file import FILE
from utils.characters import Cast, Character, load_cast

if TYPE_CHECKING:
    from character_chatbot.corpus import Corpus
    from character_chatbot.sources import Source


@dataclass(frozen=True)
class CurrentCast:
    """``cards``: by the name that its character has in the cast."""

    source: Source
    cards: Mapping[str, Card]


def with_current_cast(source: Source, corpus: Corpus | None, folder: Path) -> CurrentCast:
    """A source whose untrained characters are those of now, imported cards among them.

    Who has a persona can be talked to without a line in the transcripts, but not by quotes. Which names the lines
    belong to stays as it was when the series was read.

    Raises:
        DataError: characters.jsonl is not valid.
    """
    described = load_cast(folder / FILE)
    series = described.with_speakers(corpus.spoken["speaker"].value_counts()) if corpus else described
    kept = [each for each in source.cast if each.name in source.trained]
    cast, cards = _join(kept, series), dict[str, Card]()
    if source.rung != "quotes":  # an imported character has said nothing that could be quoted
        cast, cards = with_cards(cast, CardShelf(folder / FOLDER))
    names = [name for name in source.characters if name in cast.names]
    if source.rung != "quotes":
        ready = [each.name for each in cast if each.persona and each.name in (*described.names, *cards)]
        names += [name for name in ready if name not in names]
    return CurrentCast(replace(source, cast=cast, characters=tuple(names), cards=cards), cards)


def _join(kept: list[Character], series: Cast) -> Cast:
    """The cast of the series after the characters that stay as they were trained; a taken name is left to those."""
    trained = Cast(kept)
    others = [each for each in series if each.name not in trained]
    free = [replace(each, aliases=tuple(name for name in each.aliases if name not in trained)) for each in others]
    return Cast([*kept, *free])
