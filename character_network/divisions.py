"""All divisions of an episode into scenes, scored: the best one, and how likely each scene is.

    divisions = Divisions(speakers, gap_scores, model)
    divisions.best_cuts()                # lines that begin a scene, in the division of the highest score
    divisions.scene_probabilities()      # of a scene from place a to place b, over all divisions

A semi-Markov model of second order (Sarawagi and Cohen 2004): a scene is scored by its length, its number of speakers,
how often they come again (a Dirichlet compound multinomial, as in Eisenstein and Barzilay 2008, there with words), who
speaks nowhere else, and how often the stage would be empty inside it; two neighbours by how many people they share; a
cut by the score of its gap. Scenes begin and end at ``places``: the likely gaps, the start and the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from character_network.gap_features import presence

Numbers = NDArray[np.float64]

CONCENTRATION = 1.0  # of the Dirichlet prior over a scene's speakers
LINES_A_CANDIDATE, MOST_CANDIDATES = 7, 45  # no more candidates than that: the search takes their cube
SCENE_FEATURES, PAIR_FEATURES = 16, 7
IMPOSSIBLE = -1e9  # a score


@dataclass(frozen=True)
class SceneModel:
    """Weights. ``gap``: of ``gap_features``. ``least``: gap score of a candidate. ``cut``: of the gap score, and of
    a cut. ``scene``, ``pair``: of ``Divisions.scene_features`` and ``Divisions.pair_features``.
    """

    gap: Numbers
    least: float
    cut: tuple[float, float]
    scene: Numbers
    pair: Numbers


class Divisions:
    """All divisions of an episode at the candidates.

    Args:
        speakers: of each line; None for nobody.
        scores: of each gap, that a scene begins there.
        model: only ``least`` is needed for the features.
    """

    def __init__(self, speakers: Sequence[str | None], scores: Numbers, model: SceneModel) -> None:
        likely = np.flatnonzero(scores > model.least) + 1
        most = min(MOST_CANDIDATES, max(1, len(speakers) // LINES_A_CANDIDATE))
        if len(likely) > most:
            likely = np.sort(likely[np.argsort(-scores[likely - 1], kind="stable")[:most]])
        self.places = np.concatenate([[0], likely, [len(speakers)]]).astype(int)
        self.gap_scores = np.concatenate([[0.0], scores[likely - 1], [0.0]])
        self._model = model
        self._speakers = speakers
        spoken = presence(speakers)
        sums = np.vstack([np.zeros(spoken.shape[1]), spoken.cumsum(0)])
        # counts[a, b, person]: lines between the places a and b
        self._counts = np.maximum(sums[self.places][None] - sums[self.places][:, None], 0)
        self._lengths = np.maximum(self.places[None] - self.places[:, None], 1)

    @cached_property
    def present(self) -> Numbers:
        """1 where a person speaks between place a and place b, shape (places, places, people)."""
        return np.asarray(self._counts > 0, dtype=float)

    def best_cuts(self) -> list[int]:
        """Lines that begin a scene, without the first: the division of the highest score (Viterbi)."""
        size = len(self.places)
        best = np.full((size, size), IMPOSSIBLE)  # of all divisions up to b whose last scene is from a to b
        best[0, 1:] = self._scenes[0, 1:]
        before = np.zeros((size, size), int)
        for at in range(1, size - 1):
            options = best[:at, at, None] + self._pairs[at]
            before[at, at + 1 :] = options.argmax(0)
            best[at, at + 1 :] = options.max(0) + self._scenes[at, at + 1 :]
        start, end = int(best[:, -1].argmax()), size - 1
        found: list[int] = []
        while start > 0:
            found.append(int(self.places[start]))
            start, end = int(before[start, end]), start
        return found[::-1]

    def scene_probabilities(self) -> Numbers:
        """How likely the scene from place a to place b is, shape (places, places): forward and backward sums."""
        size = len(self.places)
        forward, backward = np.full((size, size), IMPOSSIBLE), np.full((size, size), IMPOSSIBLE)
        forward[0, 1:], backward[:-1, -1] = self._scenes[0, 1:], 0.0
        for at in range(1, size - 1):
            options = forward[:at, at, None] + self._pairs[at]
            forward[at, at + 1 :] = _log_sum(options, 0) + self._scenes[at, at + 1 :]
        for at in range(size - 2, 0, -1):
            following = self._scenes[at, at + 1 :] + backward[at, at + 1 :]
            backward[:at, at] = _log_sum(self._pairs[at] + following, 1)
        total = _log_sum(forward[:, -1], 0)
        return np.asarray(np.exp(np.minimum(forward + backward - total, 0)))

    @cached_property
    def _scenes(self) -> Numbers:
        """The score of a scene from place a to place b, with that of the cut that opens it."""
        cuts = self.gap_scores * self._model.cut[0] + self._model.cut[1]
        cuts[0] = 0
        return np.asarray(self.scene_features() @ self._model.scene + cuts[:, None])

    @cached_property
    def _pairs(self) -> list[Numbers]:
        """For each place the scores of two neighbours that meet there, [at][a, b - at - 1]."""
        weights = self._model.pair
        return [
            np.asarray(sum(weight * part for weight, part in zip(weights, self._neighbours(at), strict=True)))
            for at in range(len(self.places))
        ]

    def scene_features(self) -> Numbers:
        """Of the scene from place a to place b, shape (places, places, features)."""
        speaks = self._counts > 0
        people = speaks.sum(2)
        only_here = (speaks & (self._counts == self._counts[0, -1])).sum(2)
        length = np.log(self._lengths)
        empty, empty_inside = self._empty_stages()
        columns = (
            self._log_likelihood() / 10, length, length**2, self._lengths / 50.0, people / 5,
            np.log(np.maximum(people, 1)), people <= 1, self._lengths <= 2, self._lengths <= 6, np.log1p(empty),
            np.log1p(empty_inside), empty_inside > 0, people * length / 10, only_here / 5,
            only_here / np.maximum(people, 1), (self._counts > 1).sum(2) / 5,
        )  # fmt: skip
        return np.stack([np.asarray(column, float) for column in columns], -1)

    def pair_features(self) -> Numbers:
        """Of a scene from a to ``at`` and the next from there to b, shape (places, places, places, features)."""
        size = len(self.places)
        found = np.zeros((size, size, size, PAIR_FEATURES))
        for at in range(1, size - 1):
            found[at, :at, at + 1 :] = np.stack(self._neighbours(at), -1)
        return found

    def _neighbours(self, at: int) -> list[Numbers]:
        """The features of all scenes that end at a place with all that begin there, each (at, places after)."""
        earlier, later = self._counts[:at, at], self._counts[at, at + 1 :]
        there, here = self.present[:at, at], self.present[at, at + 1 :].T
        both = there @ here
        left, right = np.maximum(there.sum(1), 1)[:, None], np.maximum(here.sum(0), 1)[None]
        before, after = self._lengths[:at, at][:, None], self._lengths[at, at + 1 :][None]
        apart = (both == 0).astype(float)
        return [
            both / 3, apart, both / np.minimum(left, right), both / np.maximum(left + right - both, 1),
            earlier @ here / before, there @ later.T / after, apart * np.log(np.minimum(before, after)),
        ]  # fmt: skip

    def _log_likelihood(self) -> Numbers:
        """Of the speakers of a scene under a Dirichlet compound multinomial around their shares in the episode."""
        total = self._counts[0, -1]
        shares = CONCENTRATION * (total + 0.5) / (self.places[-1] + 0.5 * len(total))
        table = gammaln(np.arange(int(total.max()) + 1)[:, None] + shares)  # by count and person
        of_people = table[self._counts.astype(int), np.arange(len(total))] - table[0]
        lengths = gammaln(np.arange(self.places[-1] + 1) + CONCENTRATION)
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


def _log_sum(values: Numbers, axis: int) -> Numbers:
    most = values.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(values - most).sum(axis=axis)) + most.squeeze(axis))
