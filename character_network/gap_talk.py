"""Whether those on either side of a gap talk to each other elsewhere: a part of ``gap_features``.

Two people who never exchange a word in an episode hardly stand in one scene: where they follow one another, one has
left or the other has just come.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]
Truths = NDArray[np.bool_]

TALK = (1.0, 0.5, 0.25)  # what two speakers 1, 2, 3 lines apart count as talk between them
TALK_MEAN = 2 * sum(TALK)  # of a line, to both sides
TALK_PRIOR = 0.3  # added to counts before their ratio is taken
STRANGERS = 0.6  # so much talk is none
NEAR = 2  # lines on either side whose speakers are compared
NO_RATIO = -3.0  # of the highest, where nobody is compared


def talk_elsewhere(ids: Whole, people: int) -> Numbers:
    """Talk elsewhere between those within ``NEAR`` lines before and after each gap, shape (gaps, 7).

    Columns: log ratio to chance of the two next to the gap; mean log amount and mean ratio of the pairs; log of the
    most and the highest ratio; the share of strangers; whether there is a pair at all.

    Args:
        ids: the number of the speaker of each line, -1 for nobody.
        people: how many there are.
    """
    ids = np.where(ids < 0, people, ids)  # nobody, and the places beyond both ends, are the person after the last
    talk, lines = _talk(ids, people), np.append(np.bincount(ids, minlength=people + 1)[:people], 0)
    beyond = np.full(NEAR, people)
    sides, gaps = np.concatenate([beyond, ids, beyond]), len(ids) - 1
    before = np.stack([sides[NEAR - at :][:gaps] for at in range(NEAR)])
    after = np.stack([sides[NEAR + 1 + at :][:gaps] for at in range(NEAR)])
    pairs = list(product(range(NEAR), repeat=2))  # the two next to the gap come first
    one, other = before[[a for a, _ in pairs]], after[[b for _, b in pairs]]
    here = np.zeros(one.shape)
    for a, b in pairs:
        same = (before[a] == one) & (after[b] == other) | (before[a] == other) & (after[b] == one)
        here += TALK[a + b] * same
    known = (one != people) & (other != people) & (one != other)
    times = np.where(known, np.maximum(talk[one, other] - here, 0), 0)
    chance = lines[one] * lines[other] / max(1, lines.sum()) * TALK_MEAN
    ratio = np.log((times + TALK_PRIOR) / (chance + TALK_PRIOR))
    return _columns(known, times, np.where(known, ratio, 0))


def _talk(ids: Whole, people: int) -> Numbers:
    """How much each two talk to each other in the episode, shape (people + 1, people + 1)."""
    size = people + 1
    found = np.zeros(size * size)
    for apart, weight in enumerate(TALK, 1):
        found += weight * np.bincount(ids[:-apart] * size + ids[apart:], minlength=size * size)
    table = found.reshape(size, size)
    return np.asarray(table + table.T)


def _columns(known: Truths, times: Numbers, ratio: Numbers) -> Numbers:
    """Sums up the pairs of each gap. All arguments have the shape (pairs, gaps)."""
    count = np.maximum(known.sum(0), 1)
    strangers = (known & (times < STRANGERS)).sum(0) / count
    means = np.log1p(times).sum(0) / count, ratio.sum(0) / count
    highest = np.where(known, ratio, NO_RATIO).max(0)
    return np.column_stack([ratio[0], *means, np.log1p(times.max(0)), highest, strangers, known.any(0)])
