"""Edges of three kinds, counted by episode and kept apart.

    speaks     A -> B    B takes the next turn after A in the same scene; the last turn of a scene goes to the one
    before together   A -- B    both speak in one scene; 1 for each scene
    mentions   A -> B    A names B

``build_ties`` gives a frame ``kind, source, target, season, episode, count``; ``weigh`` makes one weight of the three.
Whoever is not known (Unknown, "All") breaks a row of turns and has no edge.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from character_network.mentions import Mention
from character_network.recognizer import resolve_mentions
from utils.lines import UNKNOWN

SPEAKS, TOGETHER, MENTIONS = "speaks", "together", "mentions"
KINDS = (SPEAKS, TOGETHER, MENTIONS)
DIRECTED = {SPEAKS: True, TOGETHER: False, MENTIONS: True}
TIE_COLUMNS = ("kind", "source", "target", "season", "episode", "count")


@dataclass(frozen=True)
class Scene:
    """One scene: who takes its turns, in order, and who is named in each."""

    season: int
    episode: int
    number: int
    speakers: tuple[str, ...]
    mentions: tuple[tuple[Mention, ...], ...]

    @property
    def present(self) -> frozenset[str]:
        """Who speaks; where nobody is known to speak, as in subtitles, who is named without doubt."""
        speaking = frozenset(self.speakers) - {UNKNOWN}
        return speaking or frozenset(m.candidates[0] for turn in self.mentions for m in turn if len(m.candidates) == 1)


def build_scenes(frame: pd.DataFrame, mentions: Sequence[Sequence[Mention]]) -> list[Scene]:
    """Scenes of a frame with ``season, episode, scene, person``, ordered; ``mentions`` runs parallel to its rows."""
    columns = (frame["season"], frame["episode"], frame["scene"], frame["person"])
    rows = zip(*(column.tolist() for column in columns), map(tuple, mentions), strict=True)
    found = []
    for (season, episode, scene), turns in itertools.groupby(rows, key=lambda row: row[:3]):
        *_, people, named = zip(*turns, strict=True)
        found.append(Scene(season, episode, scene, people, named))
    return found


def build_ties(scenes: Iterable[Scene]) -> pd.DataFrame:
    """All edges of the scenes, counted by kind, pair and episode; undirected ones once, names in order."""
    counts: defaultdict[tuple[str, int, int], Counter[tuple[str, str]]] = defaultdict(Counter)
    for scene in scenes:
        place = (scene.season, scene.episode)
        counts[SPEAKS, *place].update(_speaks(scene.speakers))
        counts[TOGETHER, *place].update(itertools.combinations(sorted(scene.present), 2))
        counts[MENTIONS, *place].update(_mentions(scene))
    rows = sorted(
        (kind, *pair, season, episode, count)
        for (kind, season, episode), pairs in counts.items()
        for pair, count in pairs.items()
    )
    return pd.DataFrame.from_records(rows, columns=list(TIE_COLUMNS))


def _speaks(speakers: Sequence[str]) -> Iterator[tuple[str, str]]:
    turns = [name for name, _ in itertools.groupby(speakers)]
    for speaker, following in itertools.pairwise(turns):
        if speaker != UNKNOWN != following:
            yield speaker, following
    if len(turns) > 1 and UNKNOWN not in turns[-2:]:
        yield turns[-1], turns[-2]


def _mentions(scene: Scene) -> Iterator[tuple[str, str]]:
    present = scene.present
    for speaker, named in zip(scene.speakers, scene.mentions, strict=True):
        if named and speaker != UNKNOWN:
            for mention in resolve_mentions(named, speaker, present):
                if mention.candidates[0] != speaker:
                    yield speaker, mention.candidates[0]


def weigh(ties: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """One row for each undirected pair: ``source, target``, the count of each kind, and ``weight``, their weighted sum.

    Pairs of weight 0 are left out; the strongest come first.
    """
    low = ties["source"].where(ties["source"] <= ties["target"], ties["target"])
    high = ties["target"].where(ties["source"] <= ties["target"], ties["source"])
    pairs = ties.assign(source=low, target=high).pivot_table(
        index=["source", "target"], columns="kind", values="count", aggfunc="sum", fill_value=0
    )
    pairs = pairs.reindex(columns=list(KINDS), fill_value=0)
    pairs["weight"] = sum(pairs[kind] * float(weights.get(kind, 0.0)) for kind in KINDS)
    found = pairs[pairs["weight"] > 0].reset_index().rename_axis(columns=None)
    return found.sort_values(["weight", "source", "target"], ascending=[False, True, True], ignore_index=True)
