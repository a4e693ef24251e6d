"""How well found scenes and found edges agree with true ones.

Edges "together in a scene" carry a weight, in how many scenes. With found weights f and true ones t:
    precision = sum min(f, t) / sum f      recall = sum min(f, t) / sum t      F1 = 2 P R / (P + R)
This is scene-weighted; unweighted takes 1 for every edge. ``p_k`` (Beeferman et al. 1999) and ``window_diff``
(Pevzner and Hearst 2002) say how wrong the borders are, 0 is perfect; their window is half the mean length of a true
scene.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

Pair = tuple[str, str]


def copresence(speakers: Sequence[str | None], scenes: Sequence[int]) -> Counter[Pair]:
    """In how many scenes each two people, in order of their names, both speak. None is nobody."""
    casts: dict[int, set[str]] = {}
    for name, scene in zip(speakers, scenes, strict=True):
        if name is not None:
            casts.setdefault(scene, set()).add(name)
    return Counter(pair for cast in casts.values() for pair in itertools.combinations(sorted(cast), 2))


def edge_f1(found: Mapping[Pair, float], true: Mapping[Pair, float], weighted: bool = True) -> float:
    """F1 of edges: see the module. 1 where there are none to find and none found."""
    if not weighted:
        found, true = dict.fromkeys(found, 1.0), dict.fromkeys(true, 1.0)
    right = sum(min(weight, true.get(pair, 0)) for pair, weight in found.items())
    total = sum(found.values()) + sum(true.values())
    return 2 * right / total if total else 1.0


def p_k(true: Sequence[int], found: Sequence[int]) -> float:
    """Share of places where two lines half a scene apart are wrongly said to be in one scene, or not to be."""
    size = _window(true)
    wrong = [(true[a] == true[a + size]) != (found[a] == found[a + size]) for a in range(len(true) - size)]
    return _mean(wrong)


def window_diff(true: Sequence[int], found: Sequence[int]) -> float:
    """Share of windows of half a scene that hold another number of borders."""
    size = _window(true)
    wrong = [_borders(true, a, size) != _borders(found, a, size) for a in range(len(true) - size)]
    return _mean(wrong)


def _borders(scenes: Sequence[int], at: int, size: int) -> int:
    return sum(scenes[a] != scenes[a + 1] for a in range(at, at + size))


def _window(true: Sequence[int]) -> int:
    return max(1, round(len(true) / len(set(true)) / 2)) if true else 1


def _mean(values: Iterable[bool]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
