"""Where each person stands in the picture: computed once, seeded, so that page and picture are the same on every run.

Fruchterman and Reingold's forces (1991) over the square root of the weights, then a short push that keeps circles
apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import networkx as nx

Point = tuple[float, float]
STEPS = 150
LARGE = 200  # people from which fewer steps do
ROOM = 25  # times the squares of the radii
WIDE = np.array([1.3, 0.8])  # screens are wider than high
GAP = 1.15  # least distance of two circles, in their own sizes


def build_layout(graph: nx.Graph, radii: dict[str, float], seed: int) -> dict[str, Point]:
    """A place for each person, in units of ``radii``, around (0, 0). Who has no edge stands on a ring outside."""
    linked = [name for name, degree in graph.degree() if degree]
    places = _forces(graph, linked, seed) if linked else np.zeros((0, 2))
    sizes = np.array([radii[name] for name in linked])
    # Room in proportion to what has to stand there.
    places = _keep_apart(places * np.sqrt(ROOM * (sizes**2).sum() + 1) * WIDE, sizes)
    found = {name: (float(x), float(y)) for name, (x, y) in zip(linked, places, strict=True)}
    alone = [name for name, degree in graph.degree() if not degree]
    ring = float(np.abs(places).max(initial=50)) * 1.2 + 40
    for at, name in enumerate(alone):
        angle = 2 * np.pi * at / len(alone)
        found[name] = (float(ring * np.cos(angle)), float(ring * np.sin(angle)))
    return found


def _forces(graph: nx.Graph, names: list[str], seed: int) -> np.ndarray:
    """Places within about -1 to 1, shape (people, 2)."""
    index = {name: at for at, name in enumerate(names)}
    pull = np.zeros((len(names), len(names)))
    for first, second, weight in graph.edges(data="weight"):  # whose ends are all in names
        pull[index[first], index[second]] = pull[index[second], index[first]] = np.sqrt(weight)
    pull /= max(pull.max(), 1e-9)
    np.fill_diagonal(pull, 0)
    pull *= min(1.0, 6 / max(1.0, pull.sum(1).mean()))  # else a dense graph falls into one heap
    places: np.ndarray = np.random.default_rng(seed).uniform(-1, 1, (len(names), 2))
    ideal = 1 / np.sqrt(len(names))
    steps = STEPS if len(names) <= LARGE else STEPS // 3
    for step in range(steps):
        distance = _distances(places)
        force = ideal**2 / distance**2 - pull * distance / ideal
        move = _pushed(places, force) - places * ideal * 2  # the last term keeps parts together
        length = np.sqrt((move**2).sum(1, keepdims=True)) + 1e-9
        places = places + move / length * np.minimum(length, 0.15 * (1 - step / steps) + 0.002)
    return _drawn_in(places - np.median(places, axis=0))


def _drawn_in(places: np.ndarray) -> np.ndarray:
    """The middle spread and the rim drawn in: whoever knows hardly anybody would else shrink all others."""
    radius = np.sqrt((places**2).sum(1, keepdims=True)) + 1e-9
    middle = float(np.median(radius))
    return np.asarray(places / radius * np.tanh((radius / (2 * middle)) ** 0.8))


def _keep_apart(places: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    needed = GAP * (sizes[:, None] + sizes[None]) + 12
    np.fill_diagonal(needed, 0)
    for _ in range(30 if len(sizes) > LARGE else 80):
        distance = _distances(places)
        overlap = np.maximum(needed - distance, 0)
        if not overlap.any():
            break
        places = places + 0.3 * _pushed(places, overlap / distance)
    return places


def _distances(places: np.ndarray) -> np.ndarray:
    squares = (places**2).sum(1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * places @ places.T, 0)) + 1e-6)


def _pushed(places: np.ndarray, force: np.ndarray) -> np.ndarray:
    """The sum of force times the way from every other place, without a table of all ways."""
    return np.asarray(places * force.sum(1, keepdims=True) - force @ places)
