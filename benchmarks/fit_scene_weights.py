"""Fits the weights of scene finding: reads series whose scenes are known, writes ``scene_weights.json``.

    python benchmarks/fit_scene_weights.py --data DIR                  # cross-validated figures, nothing written
    python benchmarks/fit_scene_weights.py --data DIR --write          # and the weights of all series, written

1. A ridge logistic regression scores gaps. The scores that step 2 learns from come from five inner folds, so that they
   are as good as those of a series nobody has seen.
2. The weights of ``divisions`` by maximum likelihood of the true divisions (L-BFGS, ridge towards the gap score alone).
3. From there the same weights by the expected weighted F1 of the edges, which is what is measured; a ridge holds them
   near step 2. The edges expected are those of the probabilities of all scenes, which makes them smooth.

Cross-validated by series: each fold is measured with weights of the others only. Two settings were chosen after a
look at those figures, so that they are a little too good: ridge and steps of 3 (of two tried), ``CUT_BIAS`` (of five).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.network import Play, load_play, print_rows, score  # noqa: E402
from character_network.divisions import (  # noqa: E402
    IMPOSSIBLE,
    PAIR_FEATURES,
    SCENE_FEATURES,
    Divisions,
    Numbers,
    SceneModel,
)
from character_network.gap_features import gap_features  # noqa: E402
from character_network.scene_finding import WEIGHT_FILE, find_scenes  # noqa: E402

FOLDS, INNER_FOLDS = 10, 5
LEAST = -4.7  # score of a gap that can be a cut: one in a hundred
RIDGE_GAPS, RIDGE_SCENES, RIDGE_F1 = 8.0, 1.0, 0.0005
STEPS_GAPS, STEPS_SCENES, STEPS_F1 = 500, 25, 30
CUT_BIAS = 1.0  # added to the score of a cut after the fit: spoken series change scenes more often than plays
BATCH = 12  # episodes


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


@dataclass
class Example:
    """An episode: features of its gaps, and whether a scene begins there."""

    series: int
    speakers: list[str | None]
    features: Numbers
    begins: np.ndarray


def main() -> int:
    arguments = build_parser().parse_args()
    torch.set_num_threads(arguments.threads)
    folders = sorted(folder for folder in arguments.data.iterdir() if (folder / "copresence.csv").exists())
    plays = [load_play(folder) for folder in folders]
    examples = [example for number, play in enumerate(plays) for example in build_examples(number, play)]
    if arguments.folds > 1:
        cross_validate(plays, examples, arguments.folds)
    if arguments.write:
        write_model(fit(plays, examples), arguments.write)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="series with their truth (network.py)")
    parser.add_argument("--folds", type=int, default=FOLDS, help="of the cross-validation (default: 10; 0: none)")
    parser.add_argument("--write", type=Path, nargs="?", const=WEIGHT_FILE, metavar="FILE", help="write the weights")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    return parser


def build_examples(number: int, play: Play) -> Iterable[Example]:
    for episode in play.episodes:
        begins = np.diff(episode.scenes) != 0
        yield Example(number, episode.speakers, gap_features(episode.speakers, episode.lines), begins)


def cross_validate(plays: Sequence[Play], examples: Sequence[Example], folds: int) -> None:
    """Print what weights of the other series do on each."""
    start, rows = time.perf_counter(), []
    for fold in range(folds):
        model = fit(plays, [each for each in examples if each.series % folds != fold])
        for play in plays[fold::folds]:
            divided = [find_scenes(episode.speakers, episode.lines, model=model) for episode in play.episodes]
            rows.append(score(play, divided))
        print_rows(f"folds 1 to {fold + 1} of {folds}", rows)
    print(f"cross-validated on {len(rows)} series in {time.perf_counter() - start:.0f} s")


def fit(plays: Sequence[Play], examples: Sequence[Example]) -> SceneModel:
    """The model of these examples."""
    numbers = sorted({example.series for example in examples})
    lattices = []
    for inner in range(INNER_FOLDS):
        held = set(numbers[inner::INNER_FOLDS])
        weights = fit_gaps([each for each in examples if each.series not in held])
        lattices += [build_lattice(each, weights, plays[each.series]) for each in examples if each.series in held]
    batches = build_batches(lattices)
    theta = fit_f1(batches, fit_likelihood(batches), {number: truth(plays[number]) for number in numbers})
    values = theta.numpy()
    scenes, pairs = values[2 : 2 + SCENE_FEATURES], values[2 + SCENE_FEATURES :]
    return SceneModel(fit_gaps(examples), LEAST, (float(values[0]), float(values[1]) + CUT_BIAS), scenes, pairs)


def fit_gaps(examples: Sequence[Example]) -> Numbers:
    """Weights of the gap's features, fitted on standardised columns; the first is the constant."""
    from sklearn.linear_model import LogisticRegression

    features = np.concatenate([example.features for example in examples])[:, 1:]
    begins = np.concatenate([example.begins for example in examples])
    mean, spread = features.mean(0), features.std(0) + 1e-9
    fitted = LogisticRegression(C=1 / RIDGE_GAPS, max_iter=STEPS_GAPS).fit((features - mean) / spread, begins)
    weights = fitted.coef_[0] / spread
    return np.concatenate([[fitted.intercept_[0] - weights @ mean], weights])


def build_lattice(example: Example, weights: Numbers, play: Play) -> Lattice:
    model = SceneModel(weights, LEAST, (1.0, 0.0), np.zeros(SCENE_FEATURES), np.zeros(PAIR_FEATURES))
    divisions = Divisions(example.speakers, example.features @ weights, model)
    size = len(divisions.places)
    # A true border that is no candidate is left out of the division to learn.
    gold = [at for at in range(1, size - 1) if example.begins[divisions.places[at] - 1]]
    numbers = {name: number for number, name in enumerate(cast_of(play))}
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


def fit_likelihood(batches: Sequence[Batch]) -> torch.Tensor:
    """Weights under which the true divisions are most likely."""
    prior = torch.zeros(2 + SCENE_FEATURES + PAIR_FEATURES, dtype=torch.float64)
    prior[0] = 1

    def loss(theta: torch.Tensor) -> torch.Tensor:
        sums = [log_partition(each, theta, scene_scores(each, theta)).sum() - theta @ each.gold for each in batches]
        return torch.stack(sums).sum() + RIDGE_SCENES / 2 * ((theta - prior) ** 2).sum()

    return minimise(loss, prior, STEPS_SCENES)


def fit_f1(batches: Sequence[Batch], start: torch.Tensor, truths: dict[int, torch.Tensor]) -> torch.Tensor:
    """Weights near ``start`` with the best expected F1 of the edges, the mean of the series."""

    def loss(theta: torch.Tensor) -> torch.Tensor:
        found = expected_edges(batches, theta, truths)
        f1 = [2 * torch.minimum(found[n], true).sum() / (found[n].sum() + true.sum()) for n, true in truths.items()]
        return -torch.stack(f1).mean() + RIDGE_F1 * ((theta - start) ** 2).sum()

    return minimise(loss, start, STEPS_F1)


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


def minimise(loss: Any, start: torch.Tensor, steps: int) -> torch.Tensor:
    theta = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([theta], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value: torch.Tensor = loss(theta)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)
    return theta.detach()


def write_model(model: SceneModel, file: Path) -> None:
    lists = {key: [round(float(each), 4) for each in getattr(model, key)] for key in ("gap", "scene", "pair")}
    content = {"gap": lists["gap"], "least": model.least, "cut": [round(each, 4) for each in model.cut]}
    content |= {"scene": lists["scene"], "pair": lists["pair"]}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"written: {file}")


if __name__ == "__main__":
    raise SystemExit(main())
