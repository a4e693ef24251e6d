"""All divisions of an episode into scenes, scored: the best one, and how likely each scene is.

    divisions = Divisions(speakers, gap_scores, model)
    divisions.best_cuts()                # lines that begin a scene, in the division of the highest score
    divisions.scene_probabilities()      # of a scene from place a to place b, over all divisions

A semi-Markov model of second order (Sarawagi and Cohen 2004): a scene is scored by its length, its number of speakers,
how often they come again (a Dirichlet compound multinomial, as in Eisenstein and Barzilay 2008, there with words), who
speaks nowhere else, how often the stage would be empty inside it, whether its halves have the same cast and how likely
the gaps inside it are (``scene_shape``); two neighbours by how many people they share; a cut by the score of its gap.
Scenes begin and end at ``places``: the likely gaps, the start and the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from character_network.gap_features import nearest_lines, number_people, presence
from character_network.scene_shape import compare_halves, weigh_gaps_inside

Numbers = NDArray[np.float64]

CONCENTRATION = 1.0  # of the Dirichlet prior over a scene's speakers
LINES_A_CANDIDATE, MOST_CANDIDATES = 7, 45  # no more candidates than that: the search takes their cube
SCENE_FEATURES, PAIR_FEATURES = 24, 7
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
        ids, people = number_people(speakers)
        self._spoken = presence(ids, len(people))
        sums = np.zeros((len(self.places), len(self._spoken)))
        np.add.reduceat(self._spoken, self.places[:-1], axis=1, dtype=float).T.cumsum(0, out=sums[1:])
        # counts[a, b, person]: lines between the places a and b
        self._counts = np.maximum(sums[None] - sums[:, None], 0)
        self._lengths = np.maximum(self.places[None] - self.places[:, None], 1)

    @cached_property
    def present(self) -> Numbers:
        """1 where a person speaks between place a and place b, shape (places, places, people)."""
        return np.asarray(self._counts > 0, dtype=float)

    def best_cuts(self) -> list[int]:
        """Lines that begin a scene, without the first: the division of the highest score (Viterbi)."""
        size = len(self.places)
        best = np.full((size, size), IMPOSSIBLE)  # [b, a]: of all divisions up to b whose last scene is from a to b
        best[1:, 0] = self._scenes[0, 1:]
        before = np.zeros((size, size), int)
        for at in range(1, size - 1):
            options = best[at, :at] + self._pairs[at]
            before[at + 1 :, at] = chosen = options.argmax(1)
            best[at + 1 :, at] = options[np.arange(len(chosen)), chosen] + self._scenes[at, at + 1 :]
        start, end = int(best[-1].argmax()), size - 1
        found: list[int] = []
        while start > 0:
            found.append(int(self.places[start]))
            start, end = int(before[end, start]), start
        return found[::-1]

    def scene_probabilities(self) -> Numbers:
        """How likely the scene from place a to place b is, shape (places, places): forward and backward sums."""
        size = len(self.places)
        forward, backward = np.full((size, size), IMPOSSIBLE), np.full((size, size), IMPOSSIBLE)
        forward[0, 1:], backward[:-1, -1] = self._scenes[0, 1:], 0.0
        for at in range(1, size - 1):
            options = forward[:at, at] + self._pairs[at]
            forward[at, at + 1 :] = _log_sum(options, 1) + self._scenes[at, at + 1 :]
        for at in range(size - 2, 0, -1):
            following = self._scenes[at, at + 1 :] + backward[at, at + 1 :]
            backward[:at, at] = _log_sum(self._pairs[at] + following[:, None], 0)
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
        """For each place the scores of two neighbours that meet there, [at][b - at - 1, a].

        The sums of ``pair_features`` with their weights, in fewer steps: what is linear in the people is one product.
        """
        both, apart, of_fewer, of_all, stays, stayed, apart_length = self._model.pair
        share = self._counts / self._lengths[:, :, None]
        ending = np.concatenate([both / 3 * self.present + stays * share, stayed * self.present], 2)
        beginning = np.concatenate([self.present, share], 2)
        # With nobody there is nobody shared, and what it is divided by makes no difference.
        people, logs = np.maximum(self._people, 1), np.log(self._lengths)
        found = []
        for at in range(len(self.places)):
            earlier, later = (slice(at), at), (at, slice(at + 1, None))
            left, right = people[earlier], people[later][:, None]
            shared = self.present[later] @ self.present[earlier].T
            score = beginning[later] @ ending[earlier].T
            score += shared * (of_fewer / np.minimum(left, right) + of_all / (left + right - shared))
            alone = apart + apart_length * np.minimum(logs[earlier], logs[later][:, None])
            found.append(score + (shared == 0) * alone)
        return found

    @cached_property
    def _people(self) -> Numbers:
        """How many speak between place a and place b, shape (places, places)."""
        return np.asarray(self.present @ np.ones(self.present.shape[2]))

    def scene_features(self) -> Numbers:
        """Of the scene from place a to place b, shape (places, places, features)."""
        counts = self._counts.transpose(2, 0, 1).astype(np.int32)  # by person, which sums fastest
        people = self._people
        only_here = ((counts > 0) & (counts == counts[:, :1, -1:])).sum(0, dtype=np.int32)
        again = (counts > 1).sum(0, dtype=np.int32)
        length = np.log(self._lengths)
        empty, empty_inside = self._empty_stages()
        columns = (
            self._log_likelihood(counts) / 10, length, length**2, self._lengths / 50.0, people / 5,
            np.log(np.maximum(people, 1)), people <= 1, self._lengths <= 2, self._lengths <= 6, np.log1p(empty),
            np.log1p(empty_inside), empty_inside > 0, people * length / 10, only_here / 5,
            only_here / np.maximum(people, 1), again / 5, *compare_halves(self._spoken, self.places),
            *weigh_gaps_inside(self.gap_scores),
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

    def _log_likelihood(self, counts: NDArray[np.int32]) -> Numbers:
        """Of the speakers of a scene under a Dirichlet compound multinomial around their shares in the episode.

        ``counts``: lines between two places, shape (people, places, places).
        """
        total = self._counts[0, -1]
        shares = CONCENTRATION * (total + 0.5) / (self.places[-1] + 0.5 * len(total))
        table = gammaln(np.arange(int(total.max()) + 1) + shares[:, None])  # by person and count
        table -= table[:, :1].copy()
        first = np.arange(len(total)) * table.shape[1]  # of each person in the flat table
        of_people = table.ravel().take(counts + first[:, None, None], mode="clip")  # the fastest of the modes
        lengths = gammaln(np.arange(self.places[-1] + 1) + CONCENTRATION)
        return np.asarray(of_people.sum(0) + lengths[0] - lengths[self._lengths])

    def _empty_stages(self) -> tuple[Numbers, Numbers]:
        """Gaps of a scene over which nobody stays, in all and away from the scene's ends, shape (places, places)."""
        count, starts = int(self.places[-1]), self.places[:-1, None]
        ends = self._first_to_stay()
        # The gap is empty in scenes that end after it and not after that line.
        until = np.searchsorted(self.places, np.arange(count + 2), "right")[ends]
        gaps = np.arange(1, count)

        def by_end(first_end: NDArray[np.int64], inside: NDArray[np.bool_]) -> Numbers:
            """For each start and end the number of gaps that are empty from a first end on."""
            size = len(self.places)
            start, gap = np.nonzero(inside & (first_end < until))
            change = np.bincount(start * (size + 1) + first_end[gap], minlength=size * (size + 1))
            change -= np.bincount(start * (size + 1) + until[start, gap], minlength=size * (size + 1))
            return np.asarray(change.reshape(size, size + 1).cumsum(1)[:, :size], float)

        after = np.searchsorted(self.places, gaps, "right")
        well_after = np.searchsorted(self.places, gaps + 2, "right")
        return by_end(after, gaps > starts), by_end(well_after, gaps >= starts + 3)

    def _first_to_stay(self) -> NDArray[np.int32]:
        """The earliest line after each gap by somebody who spoke before it in the scene, shape (starts, gaps).

        Where there is none: more than the number of lines. Gaps before the start have no meaning.
        """
        count = int(self.places[-1])
        _, following = nearest_lines(self._spoken)
        ends = np.full(count - 1, count + 1, np.int32)
        found = np.empty((len(self.places) - 1, count - 1), np.int32)
        for start in range(len(found) - 1, -1, -1):
            # Who speaks between this place and the next stays from the first of these lines on.
            for person in np.flatnonzero(self._counts[start, start + 1]):
                line = self.places[start]
                if not self._spoken[person, line]:
                    line = following[person, line]
                np.minimum(ends[line:], following[person, line:], out=ends[line:])
            found[start] = ends
        return found


def _log_sum(values: Numbers, axis: int) -> Numbers:
    most = values.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(values - most).sum(axis=axis)) + most.squeeze(axis))
