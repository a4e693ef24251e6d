"""Episodes at their candidates as tensors: all divisions of many, summed up for ``fit_scene_weights``.

``log_partition`` sums over the divisions of each episode, ``expected_edges`` over the edges that they make.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.network import Play
from character_network.divisions import (
    IMPOSSIBLE,
    PAIR_FEATURES,
    SCENE_FEATURES,
    Divisions,
    Numbers,
    SceneModel,
)

LEAST = -4.7  # score of a gap that can be a cut: one in a hundred
BATCH = 12  # episodes


@dataclass
class Example:
    """An episode: features of its gaps, and whether a scene begins there."""

    series: int
    speakers: list[str | None]
    features: Numbers
    begins: np.ndarray


@dataclass
class Lattice:
    """An episode at its candidates. ``gold``: the true places. ``people``: numbers of its speakers in the series."""

    series: int
    gaps: Numbers
    scenes: Numbers
    pairs: Numbers
    gold: list[int]
    present: torch.Tensor
    people: torch.Tensor


@dataclass
class Batch:
    """Lattices of about the same size, padded. ``gold``: sum of the features of the true divisions."""

    lattices: list[Lattice]
    gaps: torch.Tensor
    scenes: torch.Tensor
    pairs: torch.Tensor
    ends: torch.Tensor
    gold: torch.Tensor


def build_lattice(example: Example, weights: Numbers, cast: Sequence[str]) -> Lattice:
    """An episode at the candidates that weights of gaps give it. ``cast``: of its series."""
    model = SceneModel(weights, LEAST, (1.0, 0.0), np.zeros(SCENE_FEATURES), np.zeros(PAIR_FEATURES))
    divisions = Divisions(example.speakers, example.features @ weights, model)
    size = len(divisions.places)
    # A true border that is no candidate is left out of the division to learn.
    gold = [at for at in range(1, size - 1) if example.begins[divisions.places[at] - 1]]
    numbers = {name: number for number, name in enumerate(cast)}
    names = dict.fromkeys(name for name in example.speakers if name is not None)
    return Lattice(
        example.series,
        divisions.gap_scores,
        divisions.scene_features(),
        divisions.pair_features(),
        [0, *gold, size - 1],
        torch.tensor(divisions.present.reshape(size * size, -1)),
        torch.tensor([numbers[name] for name in names], dtype=torch.long),
    )


def cast_of(play: Play) -> list[str]:
    return sorted({name for episode in play.episodes for name in episode.speakers if name is not None})


def truth(play: Play) -> torch.Tensor:
    """Scenes that two people share, shape (people, people), above the diagonal. Who never speaks is left out."""
    names = {name: number for number, name in enumerate(cast_of(play))}
    found = torch.zeros(len(names), len(names), dtype=torch.float64)
    for (first, second), count in play.edges.items():
        if first in names and second in names:
            found[names[first], names[second]] = count
    return found


def build_batches(lattices: Sequence[Lattice]) -> list[Batch]:
    ordered = sorted(lattices, key=lambda each: len(each.gaps))
    return [build_batch(ordered[at : at + BATCH]) for at in range(0, len(ordered), BATCH)]


def build_batch(lattices: list[Lattice]) -> Batch:
    size = max(len(each.gaps) for each in lattices)

    def padded(arrays: list[Numbers], places: int) -> torch.Tensor:
        found = np.zeros((len(arrays), *[size] * places, *arrays[0].shape[places:]))
        for row, array in zip(found, arrays, strict=True):
            row[tuple(slice(length) for length in array.shape)] = array
        return torch.tensor(found)

    return Batch(
        lattices,
        padded([each.gaps for each in lattices], 1),
        padded([each.scenes for each in lattices], 2),
        padded([each.pairs for each in lattices], 3),
        torch.tensor([len(each.gaps) - 1 for each in lattices]),
        torch.tensor(sum(gold_features(each) for each in lattices)),
    )


def gold_features(lattice: Lattice) -> Numbers:
    """Sums over the true division, in the order of the weights: gap scores, cuts, scenes, pairs."""
    at = lattice.gold
    scenes = sum((lattice.scenes[a, b] for a, b in itertools.pairwise(at)), np.zeros(SCENE_FEATURES))
    triples = zip(at, at[1:], at[2:], strict=False)
    pairs = sum((lattice.pairs[middle, a, b] for a, middle, b in triples), np.zeros(PAIR_FEATURES))
    return np.concatenate([[lattice.gaps[at[1:-1]].sum(), len(at) - 2], scenes, pairs])


def scene_scores(batch: Batch, theta: torch.Tensor) -> torch.Tensor:
    """Of each scene with the cut that opens it, shape (episodes, places, places)."""
    cuts = batch.gaps * theta[0] + theta[1]
    inner = torch.arange(cuts.shape[1]) > 0
    return batch.scenes @ theta[2 : 2 + SCENE_FEATURES] + (cuts * inner)[:, :, None]


def log_partition(batch: Batch, theta: torch.Tensor, scenes: torch.Tensor) -> torch.Tensor:
    """Log of the sum over all divisions, for each episode: the forward sums of ``Divisions.scene_probabilities``."""
    episodes, size = batch.gaps.shape
    pairs = batch.pairs @ theta[2 + SCENE_FEATURES :]

    def blank(width: int) -> torch.Tensor:
        return torch.full((episodes, width), IMPOSSIBLE, dtype=torch.float64)

    rows = [torch.cat([blank(1), scenes[:, 0, 1:]], 1)]
    for at in range(1, size - 1):
        before = torch.stack([row[:, at] for row in rows], 1)
        after = torch.logsumexp(before[:, :, None] + pairs[:, at, :at, at + 1 :], 1) + scenes[:, at, at + 1 :]
        rows.append(torch.cat([blank(at + 1), after], 1))
    last = torch.stack(rows, 1)[torch.arange(episodes), :, batch.ends]
    return torch.logsumexp(last.masked_fill(torch.arange(size - 1)[None] >= batch.ends[:, None], IMPOSSIBLE), 1)


def expected_edges(
    batches: Sequence[Batch], theta: torch.Tensor, truths: dict[int, torch.Tensor]
) -> dict[int, torch.Tensor]:
    """The expected number of scenes that each two people share, by series, above the diagonal."""
    found = {number: torch.zeros_like(true) for number, true in truths.items()}
    for batch in batches:
        scenes = scene_scores(batch, theta)
        total = log_partition(batch, theta, scenes).sum()
        (likely,) = torch.autograd.grad(total, scenes, create_graph=True)  # the gradient is the probability
        for row, lattice in zip(likely, batch.lattices, strict=True):
            size, people = len(lattice.gaps), lattice.people
            if len(people):
                met = (lattice.present.T * row[:size, :size].reshape(-1)) @ lattice.present
                at = (people[:, None].expand_as(met), people[None].expand_as(met))
                found[lattice.series] = found[lattice.series].index_put(at, met, accumulate=True)
    return {number: torch.triu(met, 1) for number, met in found.items()}
