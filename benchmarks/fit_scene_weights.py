"""Fits the weights of scene finding: reads series whose scenes are known, writes ``scene_weights.json``.

    python benchmarks/fit_scene_weights.py --data DIR                  # cross-validated figures, nothing written
    python benchmarks/fit_scene_weights.py --data DIR --write          # and the weights of all series, written

1. A ridge logistic regression scores gaps. The scores that step 2 learns from come from five inner folds, so that they
   are as good as those of a series nobody has seen.
2. The weights of ``divisions`` by maximum likelihood of the true divisions (L-BFGS, ridge towards the gap score alone).
3. From there the same weights by the expected weighted F1 of the edges, which is what is measured; a ridge holds them
   near step 2. The edges expected are those of the probabilities of all scenes, which makes them smooth.

DIR has plays. A spoken series (--spoken; the sample series) takes part in steps 1 and 2 with as much weight as it has
lines, 913 gaps, about one play: what tells scenes apart on a stage does not do so everywhere. For step 2 its gaps are
scored by weights of the plays alone.

Cross-validated by play: each fold is measured with weights of the other plays and of the spoken series. Of that series
two episodes at a time are measured, with weights of all plays and its other episodes. Three settings were chosen after
a look at those figures, so they are a little too good: ridge and steps of 3 (of two tried), ``CUT_BIAS`` (of five), and
the steps in which the spoken series takes part (of four).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.network import SAMPLE, Play, Scores, load_marked_series, load_play, print_borders, print_rows, score  # noqa: E402
from benchmarks.scene_lattices import (  # noqa: E402
    LEAST,
    Batch,
    Example,
    build_batches,
    build_lattice,
    cast_of,
    expected_edges,
    log_partition,
    scene_scores,
    truth,
)
from character_network.divisions import PAIR_FEATURES, SCENE_FEATURES, Numbers, SceneModel  # noqa: E402
from character_network.gap_features import gap_features  # noqa: E402
from character_network.scene_finding import WEIGHT_FILE, find_scenes  # noqa: E402

FOLDS, INNER_FOLDS = 10, 5
HELD_EPISODES = 2  # of the spoken series at a time
SPOKEN = -1  # its number among the series
RIDGE_GAPS, RIDGE_SCENES, RIDGE_F1 = 8.0, 1.0, 0.0005
STEPS_GAPS, STEPS_SCENES, STEPS_F1 = 500, 25, 30
CUT_BIAS = 1.0  # added to the score of a cut after the fit: spoken series change scenes more often than plays


def main() -> int:
    arguments = build_parser().parse_args()
    torch.set_num_threads(arguments.threads)
    folders = sorted(folder for folder in arguments.data.iterdir() if (folder / "copresence.csv").exists())
    plays = [load_play(folder) for folder in folders]
    examples = [example for number, play in enumerate(plays) for example in build_examples(number, play)]
    spoken = load_marked_series(arguments.spoken)
    if arguments.folds > 1:
        cross_validate(plays, examples, spoken, arguments.folds)
        cross_validate_spoken(plays, examples, spoken)
    if arguments.write:
        write_model(fit(plays, examples, spoken), arguments.write)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="series with their truth (network.py)")
    parser.add_argument("--spoken", type=Path, default=SAMPLE, metavar="DIR", help="a series that marks its scenes")
    parser.add_argument("--folds", type=int, default=FOLDS, help="of the cross-validation (default: 10; 0: none)")
    parser.add_argument("--write", type=Path, nargs="?", const=WEIGHT_FILE, metavar="FILE", help="write the weights")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    return parser


def build_examples(number: int, play: Play) -> Iterable[Example]:
    for episode in play.episodes:
        begins = np.diff(episode.scenes) != 0
        yield Example(number, episode.speakers, gap_features(episode.speakers, episode.lines), begins)


def cross_validate(plays: Sequence[Play], examples: Sequence[Example], spoken: Play, folds: int) -> None:
    """Print what weights of the other plays do on each."""
    start, rows = time.perf_counter(), list[Scores]()
    for fold in range(folds):
        model = fit(plays, [each for each in examples if each.series % folds != fold], spoken)
        for play in plays[fold::folds]:
            rows.append(score(play, divide(play, model)))
        print_rows(f"folds 1 to {fold + 1} of {folds}", rows)
    print(f"cross-validated on {len(rows)} series in {time.perf_counter() - start:.0f} s")


def cross_validate_spoken(plays: Sequence[Play], examples: Sequence[Example], spoken: Play) -> None:
    """Print what is found in the episodes of the spoken series with weights of the plays and its other episodes."""
    divided = list[list[int]]()
    for at in range(0, len(spoken.episodes), HELD_EPISODES):
        held = replace(spoken, episodes=spoken.episodes[at : at + HELD_EPISODES])
        others = replace(spoken, episodes=spoken.episodes[:at] + spoken.episodes[at + HELD_EPISODES :])
        divided += divide(held, fit(plays, examples, others))
    print_borders(f"{spoken.name}, {HELD_EPISODES} episodes held out", spoken, divided)


def divide(play: Play, model: SceneModel) -> list[list[int]]:
    """The scenes that a model finds in each episode."""
    return [find_scenes(episode.speakers, episode.lines, model=model) for episode in play.episodes]


def fit(plays: Sequence[Play], examples: Sequence[Example], spoken: Play) -> SceneModel:
    """The model of these examples of plays and of a spoken series, which takes part in steps 1 and 2."""
    numbers = sorted({example.series for example in examples})
    others = list(build_examples(SPOKEN, spoken))
    lattices = []
    for inner in range(INNER_FOLDS):
        held = set(numbers[inner::INNER_FOLDS])
        weights = fit_gaps([*others, *(each for each in examples if each.series not in held)])
        lattices += [
            build_lattice(each, weights, cast_of(plays[each.series])) for each in examples if each.series in held
        ]
    weights = fit_gaps(examples)
    batches = build_batches(lattices)
    spoken_batches = build_batches([build_lattice(each, weights, cast_of(spoken)) for each in others])
    start = fit_likelihood([*batches, *spoken_batches])
    theta = fit_f1(batches, start, {number: truth(plays[number]) for number in numbers}).numpy()
    scenes, pairs = theta[2 : 2 + SCENE_FEATURES], theta[2 + SCENE_FEATURES :]
    return SceneModel(
        fit_gaps([*examples, *others]), LEAST, (float(theta[0]), float(theta[1]) + CUT_BIAS), scenes, pairs
    )


def fit_gaps(examples: Sequence[Example]) -> Numbers:
    """Weights of the gap's features, fitted on standardised columns; the first is the constant."""
    from sklearn.linear_model import LogisticRegression

    features = np.concatenate([example.features for example in examples])[:, 1:]
    begins = np.concatenate([example.begins for example in examples])
    mean, spread = features.mean(0), features.std(0) + 1e-9
    fitted = LogisticRegression(C=1 / RIDGE_GAPS, max_iter=STEPS_GAPS).fit((features - mean) / spread, begins)
    weights = fitted.coef_[0] / spread
    return np.concatenate([[fitted.intercept_[0] - weights @ mean], weights])


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
