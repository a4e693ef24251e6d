"""Scenes where a file does not mark them: cast change and text cohesion, weighed over whole scenes.

    scenes = find_scenes(speakers, lines)     # [1, 1, 1, 2, 2, …]

Method. 1. Each gap between two lines is described by who goes and comes, by words that go on and by words of parting
(``gap_features``); a logistic model gives it a score, and gaps that are hardly likely fall away. 2. Among the rest the
best division is found by dynamic programming over pairs of neighbouring scenes (a semi-Markov model of second order,
Sarawagi and Cohen 2004): a scene is scored by its length, its number of speakers, how often they come again (a
Dirichlet compound multinomial, as in Eisenstein and Barzilay 2008, there with words) and how often the stage would
be empty inside it; two neighbours by how many people they share. All weights lie in ``scene_weights.json``;
``benchmarks/network.py`` measures the result, docs/network.md has the figures.

Where hardly anybody is known to speak (subtitles) scenes end at the longest pauses. That is a guess and was not
measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from character_network.gap_features import gap_features, presence
from utils.lines import UNKNOWN

Numbers = NDArray[np.float64]

WEIGHT_FILE = Path(__file__).with_name("scene_weights.json")
CONCENTRATION = 1.0  # of the Dirichlet prior over a scene's speakers
LEAST_KNOWN = 0.2  # share of lines with a known speaker, below which the cast says nothing
LINES_A_CANDIDATE, MOST_CANDIDATES = 7, 45  # no more candidates than that: the search takes their cube
PAUSE_SCENE_LINES = 40  # of a scene that is found by pauses, on average
SHORTEST = 8  # lines of a scene that is found by pauses


@dataclass(frozen=True)
class SceneModel:
    """Weights. ``gap``: of ``gap_features``. ``least``: gap score of a candidate. ``cut``: of the gap score, and of
    a cut.
    """

    gap: Numbers
    least: float
    cut: tuple[float, float]
    scene: Numbers
    pair: Numbers


@cache
def load_scene_model() -> SceneModel:
    """The model that comes with the project."""
    content = json.loads(WEIGHT_FILE.read_text(encoding="utf-8"))
    first, second = content["cut"]
    arrays = {key: np.array(content[key]) for key in ("gap", "scene", "pair")}
    return SceneModel(least=content["least"], cut=(first, second), **arrays)


def add_scenes(frame: pd.DataFrame) -> tuple[pd.DataFrame, frozenset[tuple[int, int]]]:
    """The frame with a scene for every line, and the episodes whose scenes were marked.

    Args:
        frame: lines with ``person`` (who speaks; "Unknown": nobody in particular), every episode once.
    """
    scenes = frame["scene"].astype("Int64").copy()
    marked = set()
    for _, part in frame.groupby(["season", "episode"], sort=False):
        if part["scene"].notna().mean() > 0.5:
            marked.add((int(part["season"].iloc[0]), int(part["episode"].iloc[0])))
            scenes.loc[part.index] = part["scene"].ffill().bfill()
        else:
            speakers = [None if name == UNKNOWN else name for name in part["person"]]
            found = find_scenes(speakers, part["line"].tolist(), part["start_seconds"].tolist())
            scenes.loc[part.index] = pd.array(found, dtype="Int64")
    return frame.assign(scene=scenes.astype("int64")), frozenset(marked)


def find_scenes(
    speakers: Sequence[str | None], lines: Sequence[str], starts: Sequence[float] = (), model: SceneModel | None = None
) -> list[int]:
    """The number of each line's scene, from 1. ``speakers``: None for nobody. ``starts``: seconds, for subtitles."""
    if len(lines) < 2:
        return [1] * len(lines)
    if sum(name is not None for name in speakers) < LEAST_KNOWN * len(lines):
        cuts = _cut_at_pauses(lines, starts)
    else:
        cuts = _Lattice(speakers, lines, model or load_scene_model()).best_cuts()
    starts_scene = np.zeros(len(lines), int)
    starts_scene[cuts] = 1
    return [int(number) for number in starts_scene.cumsum() + 1]


def _cut_at_pauses(lines: Sequence[str], starts: Sequence[float]) -> list[int]:
    """Lines before which the longest pauses are, one in ``PAUSE_SCENE_LINES``; without times every so many lines."""
    count = round(len(lines) / PAUSE_SCENE_LINES)
    if len(starts) != len(lines) or any(math.isnan(start) for start in starts):
        return list(range(PAUSE_SCENE_LINES, len(lines) - SHORTEST, PAUSE_SCENE_LINES))
    cuts: list[int] = []
    for gap in np.argsort(-np.diff(np.array(starts)), kind="stable") + 1:
        if len(cuts) < count - 1 and all(abs(gap - other) >= SHORTEST for other in (0, len(lines), *cuts)):
            cuts.append(int(gap))
    return sorted(cuts)


class _Lattice:
    """All divisions of an episode at the candidates. ``places``: where a scene may begin, with 0 and the end."""

    def __init__(self, speakers: Sequence[str | None], lines: Sequence[str], model: SceneModel) -> None:
        scores = gap_features(speakers, lines) @ model.gap
        likely = np.flatnonzero(scores > model.least) + 1
        most = min(MOST_CANDIDATES, max(1, len(lines) // LINES_A_CANDIDATE))
        if len(likely) > most:
            likely = np.sort(likely[np.argsort(-scores[likely - 1], kind="stable")[:most]])
        self.places = np.concatenate([[0], likely, [len(lines)]]).astype(int)
        self.cuts = np.concatenate([[0.0], scores[likely - 1], [0.0]]) * model.cut[0] + model.cut[1]
        self._model = model
        self._speakers = speakers
        spoken = presence(speakers)
        sums = np.vstack([np.zeros(spoken.shape[1]), spoken.cumsum(0)])
        # counts[a, b, person]: lines between the places a and b
        self._counts = np.maximum(sums[self.places][None] - sums[self.places][:, None], 0)
        self._lengths = np.maximum(self.places[None] - self.places[:, None], 1)

    def best_cuts(self) -> list[int]:
        """Lines that begin a scene, without the first: the division of the highest score."""
        scenes, size = self.scene_features() @ self._model.scene, len(self.places)
        # best[b][a]: of all divisions of the lines before b whose last scene is from a to b
        best: dict[int, Numbers] = {1: scenes[:1, 1]}
        before: dict[int, list[int]] = {1: [0]}
        pairs = [self.pair_features(at) @ self._model.pair for at in range(1, size - 1)]
        for end in range(2, size):
            options = [best[at] + pairs[at - 1][:, end - at - 1] for at in range(1, end)]
            before[end] = [0, *(int(option.argmax()) for option in options)]
            tops = np.array([0.0, *(option.max() for option in options)])
            best[end] = tops + np.concatenate([[0.0], self.cuts[1:end]]) + scenes[:end, end]
        end, start = size - 1, int(best[size - 1].argmax())
        found: list[int] = []
        while start > 0:
            found.append(int(self.places[start]))
            start, end = before[end][start], start
        return found[::-1]

    def scene_features(self) -> Numbers:
        """Of the scene from place a to place b, shape (places, places, features)."""
        people = (self._counts > 0).sum(2)
        length = np.log(self._lengths)
        empty, empty_inside = self._empty_stages()
        columns = (
            self._log_likelihood() / 10, length, length**2, self._lengths / 50.0, people / 5,
            np.log(np.maximum(people, 1)), people <= 1, self._lengths <= 2, self._lengths <= 6, np.log1p(empty),
            np.log1p(empty_inside), empty_inside > 0, people * length / 10,
        )  # fmt: skip
        return np.stack([np.asarray(column, float) for column in columns], -1)

    def _log_likelihood(self) -> Numbers:
        """Of the speakers of a scene under a Dirichlet compound multinomial around their shares in the episode."""
        total = self._counts[0, -1]
        shares = CONCENTRATION * (total + 0.5) / (self.places[-1] + 0.5 * len(total))
        log_gamma = np.vectorize(math.lgamma, otypes=[float])
        table = log_gamma(np.arange(int(total.max()) + 1)[:, None] + shares)  # by count and person
        of_people = table[self._counts.astype(int), np.arange(len(total))] - table[0]
        lengths = log_gamma(np.arange(self.places[-1] + 1) + CONCENTRATION)
        return np.asarray(of_people.sum(2) + lengths[0] - lengths[self._lengths])

    def _empty_stages(self) -> tuple[Numbers, Numbers]:
        """Gaps of a scene over which nobody stays, in all and away from the scene's ends."""
        size, count = len(self.places), int(self.places[-1])
        following = self._next_turns()
        everywhere, inside = np.zeros((size, size)), np.zeros((size, size))
        ends = np.full(count + 1, count + 1)  # the earliest line at which somebody has spoken on both sides of a gap
        line = count - 1
        for start in range(size - 2, -1, -1):
            while line >= self.places[start]:
                until = following[line]
                if until < count:
                    ends[line + 1 : until + 1] = np.minimum(ends[line + 1 : until + 1], until)
                line -= 1
            first, lasts = int(self.places[start]), self.places[start + 1 :, None]
            gaps = np.arange(first + 1, count)
            empty = (ends[first + 1 : count] >= lasts) & (gaps < lasts)
            everywhere[start, start + 1 :] = empty.sum(1)
            inside[start, start + 1 :] = (empty & (gaps >= first + 3) & (gaps < lasts - 2)).sum(1)
        return everywhere, inside

    def _next_turns(self) -> list[int]:
        """For each line the next one by the same person, or the number of lines."""
        count = int(self.places[-1])
        found, coming = [count] * count, dict[str, int]()
        for line in range(count - 1, -1, -1):
            name = self._speakers[line]
            if name is not None:
                found[line] = coming.get(name, count)
                coming[name] = line
        return found

    def pair_features(self, at: int) -> Numbers:
        """Of a scene from a to place ``at`` and the next from there to b, shape (at, places after, features)."""
        earlier, later = self._counts[:at, at], self._counts[at, at + 1 :]
        there, here = (earlier > 0).astype(float), (later > 0).astype(float)
        both = there @ here.T
        left, right = np.maximum(there.sum(1), 1)[:, None], np.maximum(here.sum(1), 1)[None]
        lengths = self._lengths[:at, at][:, None], self._lengths[at, at + 1 :][None]
        apart = both == 0
        columns = (
            both / 3, apart, both / np.minimum(left, right), both / np.maximum(left + right - both, 1),
            (earlier @ here.T) / lengths[0], (there @ later.T) / lengths[1], apart * np.log(np.minimum(*lengths)),
        )  # fmt: skip
        return np.stack([np.asarray(column, float) for column in columns], -1)
