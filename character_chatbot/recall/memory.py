"""Scene memory: the scenes of the series that a character remembers at a message.

memory = SceneMemory(corpus.spoken, corpus.cast)
for scene in memory.find("Kit", "What happened to the lamp?", count=2):
    print(scene.place, *scene.lines)                 # S01E02, line 34 …

At serving every episode is searched, held-out ones too: nothing is measured there. What measures (benchmarks/recall.py)
gives the training episodes alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pandas as pd

from character_chatbot.dialogues import SpokenTurn, build_turns
from character_chatbot.prompts import Turn
from character_chatbot.recall.words import WordIndex, content_words
from utils.characters import Cast

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = 2  # turns before and after the fitting one: measured in docs/recall.md
# Enough that a memory stands around the line that fits rather than beside it.
LINE_WEIGHT = 0.25
# What was said before in the conversation tells what "it" is; it counts less than the message itself.
EARLIER_WEIGHT = 0.3


@dataclass(frozen=True)
class Memory:
    """Turns of one scene in a row, around the one that fits.

    ``positions``: of their first lines, counted from 0 in the file. ``fitting``: which of ``lines`` fits best.
    ``score``: the higher the better; only scores of one search compare.
    """

    season: int
    episode: int
    positions: tuple[int, ...]
    lines: tuple[Turn, ...]
    score: float
    fitting: int = 0

    @property
    def position(self) -> int:
        """Of the first line, counted from 0 in its file."""
        return self.positions[0]

    @property
    def place(self) -> str:
        """For people: ``S01E02, line 34`` (lines counted from 1)."""
        return f"S{self.season:02d}E{self.episode:02d}, line {self.position + 1}"


class Index(Protocol):
    """Scores of texts for a query."""

    def score(self, text: str) -> np.ndarray:
        """The higher the better, shape (texts,); not above 0 where nothing fits."""


@dataclass(frozen=True)
class _PassageIndex:
    """Passages by their words, a little more by those of the line in the middle."""

    passages: WordIndex
    lines: WordIndex

    def score(self, text: str) -> np.ndarray:
        return self.passages.score(text) + LINE_WEIGHT * self.lines.score(text)


@dataclass(frozen=True)
class _Spot:
    """A turn in its scene: the middle of a memory."""

    scene: int
    at: int


class SceneMemory:
    """Searches the turns of a series, each with its neighbours.

    A turn is found by its own words and by those around it, with the names of who speaks; a character remembers it when
    it is its own, or said within ``neighbours`` turns of its own: what is far from it in a scene it may not have heard.
    """

    def __init__(self, spoken: pd.DataFrame, cast: Cast, neighbours: int = NEIGHBOURS) -> None:
        self._cast, self._neighbours = cast, neighbours
        self._scenes: list[list[SpokenTurn]] = [scene for scene in build_turns(spoken, cast) if scene]
        self._spots = [_Spot(number, at) for number, scene in enumerate(self._scenes) for at in range(len(scene))]
        self._heard: defaultdict[str, list[int]] = defaultdict(list)
        for number, spot in enumerate(self._spots):
            for name in {each.turn.speaker for each in self._around(spot, neighbours)}:
                self._heard[name].append(number)
        self.passages = [self._text(spot) for spot in self._spots]  # each turn with its neighbours
        self._words = [frozenset(content_words(text)) for text in self.passages]
        self._by_words = True
        self._index: Index | None = None
        if self._spots:
            lines = [self._scenes[spot.scene][spot.at].turn.text for spot in self._spots]
            self._index = _PassageIndex(WordIndex(self.passages), WordIndex(lines))

    def search_with(self, index: Index, by_words: bool = False) -> None:
        """Search with another index of :attr:`passages` from now on.

        ``by_words``: it finds texts by words, so a passage has to share more than stop words with the message.
        """
        self._index, self._by_words = index, by_words

    def find(self, character: str, message: str, earlier: str = "", count: int = 2) -> tuple[Memory, ...]:
        """At most ``count`` scenes that fit, best first; no two of them overlap or say the same.

        Args:
            character: a name or alias.
            message: what was just said to the character.
            earlier: what was said before that; counts less.
            count: how many; 0: none.
        """
        found: list[tuple[_Spot, Memory]] = []
        for number, score in self._ranked(self._cast.resolve(character), message, earlier) if count > 0 else ():
            spot = self._spots[number]
            memory = self._remember(spot, score)
            if not any(self._overlap(spot, other) or memory.lines == known.lines for other, known in found):
                found.append((spot, memory))
            if len(found) == count:
                break
        return tuple(memory for _, memory in found)

    def _ranked(self, name: str, message: str, earlier: str) -> Iterator[tuple[int, float]]:
        """Spots with something of the message in them, best first."""
        import numpy as np

        heard = np.asarray(self._heard.get(name, ()), dtype=int)
        asked = frozenset(content_words(message)) or frozenset(content_words(earlier))
        if not heard.size or not asked or self._index is None:
            return
        scores = self._index.score(message)[heard]
        if earlier:
            scores = scores + EARLIER_WEIGHT * self._index.score(earlier)[heard]
        for place in np.argsort(-scores, kind="stable"):
            number = int(heard[place])
            if scores[place] > 0 and (asked & self._words[number] or not self._by_words):
                yield number, float(scores[place])

    def _around(self, spot: _Spot, neighbours: int) -> Sequence[SpokenTurn]:
        return self._scenes[spot.scene][max(0, spot.at - neighbours) : spot.at + neighbours + 1]

    def _text(self, spot: _Spot) -> str:
        around = self._around(spot, self._neighbours)
        return " ".join(f"{each.turn.speaker} {each.turn.text}" for each in around)

    def _overlap(self, one: _Spot, other: _Spot) -> bool:
        return one.scene == other.scene and abs(one.at - other.at) <= 2 * self._neighbours

    def _remember(self, spot: _Spot, score: float) -> Memory:
        around = self._around(spot, self._neighbours)
        lines, positions = tuple(each.turn for each in around), tuple(each.position for each in around)
        fitting = min(spot.at, self._neighbours)
        return Memory(around[0].season, around[0].episode, positions, lines, score, fitting)
