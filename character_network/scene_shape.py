"""What speaks against a scene as a whole: that its halves have other casts, and that likely gaps lie inside it.

A part of the features of ``divisions``: both compare a scene with the two it could be divided into.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]

LONG_SCENE = 6  # lines, above which the halves of a scene are compared
NO_GAP = -5.0  # the score of the likeliest gap inside a scene that has none


def compare_halves(spoken: NDArray[np.bool_], places: Whole) -> tuple[Numbers, ...]:
    """Of long scenes: who speaks in both halves, as a share; the cosine of the halves; whether nobody does.

    Args:
        spoken: whether a person speaks in a line, shape (people, lines).
        places: where scenes begin and end, lines.

    Returns:
        Three arrays of the shape (places, places), of the scene from place a to place b; 0 for shorter scenes.
    """
    start, end = (places[side] for side in np.triu_indices(len(places), 1))
    long = end - start > LONG_SCENE
    start, end = start[long], end[long]
    sums = np.zeros((spoken.shape[1] + 1, len(spoken)), np.float32)
    spoken.T.cumsum(0, out=sums[1:])
    middle = sums[(start + end) // 2]
    first, second = middle - sums[start], sums[end] - middle
    both = np.count_nonzero(first * second, axis=1)
    people = np.maximum(np.count_nonzero(first + second, axis=1), 1)
    norms = np.einsum("sp,sp->s", first, first) * np.einsum("sp,sp->s", second, second)
    cosine = np.einsum("sp,sp->s", first, second) / np.sqrt(np.maximum(norms, 1e-9))
    rows, columns = (side[long] for side in np.triu_indices(len(places), 1))
    found = np.zeros((3, len(places), len(places)))
    found[:, rows, columns] = both / people, cosine, both == 0
    return tuple(found)


def weigh_gaps_inside(scores: Numbers) -> tuple[Numbers, ...]:
    """The candidates that a scene passes over: the highest score, what it is above 0, the second; the sum of how much
    all ask for a cut, and its logarithm. Five arrays of the shape (places, places).

    Args:
        scores: of the gaps at the places; the first and the last are the ends of the episode.
    """
    size = len(scores)
    # [a, b]: the score of b, if it is inside a scene that begins at a and ends after b.
    inside = np.where(np.arange(size) > np.arange(size)[:, None], scores, NO_GAP)
    inside = np.concatenate([np.full((size, 1), NO_GAP), inside[:, :-1]], 1)  # and now: before b
    highest = np.maximum.accumulate(inside, axis=1)
    earlier = np.concatenate([np.full((size, 1), NO_GAP), highest[:, :-1]], 1)
    second = np.maximum.accumulate(np.minimum(earlier, inside), axis=1)
    asks = np.log1p(np.exp(scores))
    asks[[0, -1]] = 0
    sums = np.concatenate([[0], asks.cumsum()])
    total = np.maximum(sums[:-1][None] - sums[1:][:, None], 0)
    return (highest - NO_GAP) / 5, np.maximum(highest, 0) / 2, (second - NO_GAP) / 5, total / 3, np.log1p(total)
