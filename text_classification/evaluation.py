"""How good the answers are, on episodes that the model has not seen, beside the majority class and the base line.

Leave one episode out: each episode is predicted by a model fitted to the others, with everything it chooses chosen
there, too. The 95 % interval of macro F1 resamples whole episodes (percentile bootstrap, Efron and Tibshirani 1993), as
scenes of one episode are alike. Macro F1 is the mean of F1 over all places of the truth, seen elsewhere or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from text_classification.calibration import Calibrated, expected_calibration_error, grouped_folds
from text_classification.contract import align
from text_classification.scene_texts import Scene

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INTERVAL = (2.5, 97.5)
MOST_CONFUSIONS = 10
Fit = Callable[[Sequence[str], Sequence[str], Sequence[object]], Calibrated]  # texts, places, episodes


@dataclass(frozen=True)
class ModelScore:
    """One row of the table. Shares from 0 to 1. ``low``, ``high``: 95 % interval of macro F1.

    ``ece_before``, ``ece_after``: expected calibration error without and with the temperature. ``coverage``: share of
    scenes whose place is over the threshold; ``covered_accuracy``: share of these that are right.
    """

    model: str
    macro_f1: float
    low: float
    high: float
    accuracy: float
    ece_before: float
    ece_after: float
    coverage: float
    covered_accuracy: float


@dataclass(frozen=True)
class PlaceScore:
    place: str
    scenes: int
    predicted: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Confusion:
    place: str
    predicted: str
    scenes: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of each model, best-known first. ``places`` and ``confusions`` are those of the first model.

    ``learnable``: share of scenes whose place some other episode has, too: no trained model can be right more often.
    """

    scenes: int
    episodes: int
    learnable: float
    threshold: float
    models: tuple[ModelScore, ...]
    places: tuple[PlaceScore, ...]
    confusions: tuple[Confusion, ...]

    def to_dict(self) -> dict[str, object]:
        """Everything, ready for JSON."""
        return {"interval": "95 %, episodes resampled", **asdict(self)}

    def table(self) -> str:
        """The models, for people."""
        rows = [("model", "macro F1", "95 %", "accuracy", "ECE raw", "calibrated", "known", "of these right")]
        for each in self.models:
            rows.append(
                (
                    each.model, f"{each.macro_f1:.2f}", f"{each.low:.2f}-{each.high:.2f}", f"{each.accuracy:.2f}",
                    f"{each.ece_before:.2f}", f"{each.ece_after:.2f}", f"{each.coverage:.0%}",
                    f"{each.covered_accuracy:.2f}" if each.coverage else "-",
                )
            )  # fmt: skip
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


@dataclass(frozen=True)
class _HeldOut:
    """Predictions of one model for all scenes; columns are ``places``."""

    raw: NDArray[np.float64]
    calibrated: NDArray[np.float64]


def evaluate(
    fits: dict[str, Fit],
    scenes: Sequence[Scene],
    truth: Sequence[str],
    *,
    threshold: float,
    folds: int,
    resamples: int,
    seed: int,
) -> Evaluation:
    """Scores of every model on the same held-out episodes.

    Args:
        fits: fits and calibrates a model, by its name; the first gets the tables by place.
        scenes: with a known place. truth: that place.
        threshold: least probability for a place to be told.
        folds: most folds; as many as episodes where there are fewer.
        resamples: of the bootstrap.

    Raises:
        ValueError: scenes of fewer than two episodes.
    """
    import numpy as np

    groups = [(scene.season, scene.episode) for scene in scenes]
    if len(set(groups)) < 2:
        raise ValueError("at least two episodes are needed")
    parts = grouped_folds(groups, folds)
    found = {name: _predict(fit, scenes, truth, groups, parts) for name, fit in fits.items()}
    models, first = [], None
    for name, (columns, held) in found.items():
        at = np.array([columns.index(place) for place in truth])
        guess = held.calibrated.argmax(axis=1)
        first = first or (columns, at, guess)
        low, high = interval(at, guess, groups, places=len(columns), resamples=resamples, seed=seed)
        models.append(_score(name, held, truth=at, guess=guess, low=low, high=high, threshold=threshold))
    places, confusions = _by_place(*first) if first else ((), ())
    return Evaluation(
        len(scenes), len(set(groups)), _learnable(truth, parts), threshold, tuple(models), places, confusions
    )


def _predict(
    fit: Fit,
    scenes: Sequence[Scene],
    truth: Sequence[str],
    groups: Sequence[object],
    parts: Sequence[NDArray[np.intp]],
) -> tuple[list[str], _HeldOut]:
    import numpy as np

    texts = [scene.text for scene in scenes]
    made = []
    for fold in parts:
        rest = np.setdiff1d(np.arange(len(texts)), fold)
        fitted = fit([texts[at] for at in rest], [truth[at] for at in rest], [groups[at] for at in rest])
        held = [texts[at] for at in fold]
        made.append((fold, fitted.classes, fitted.model.predict_proba(held), fitted.predict_proba(held)))
    columns = sorted({*truth, *(place for _, classes, _, _ in made for place in classes)})
    raw, calibrated = (np.zeros((len(texts), len(columns))) for _ in range(2))
    for fold, classes, before, after in made:
        raw[fold], calibrated[fold] = align(before, classes, columns), align(after, classes, columns)
    return columns, _HeldOut(raw, calibrated)


def _score(
    name: str,
    held: _HeldOut,
    *,
    truth: NDArray[np.intp],
    guess: NDArray[np.intp],
    low: float,
    high: float,
    threshold: float,
) -> ModelScore:
    right = truth == guess
    known = is_known(held.calibrated, threshold)
    return ModelScore(
        name,
        macro_f1(confusion_matrix(truth, guess, held.raw.shape[1])),
        low,
        high,
        float(right.mean()),
        expected_calibration_error(held.raw.max(axis=1), held.raw.argmax(axis=1) == truth),
        expected_calibration_error(held.calibrated.max(axis=1), right),
        float(known.mean()),
        float(right[known].mean()) if known.any() else 0.0,
    )


def is_known(probabilities: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Whether the first place is over the threshold and ahead of the second; shape (texts,)."""
    import numpy as np

    if probabilities.shape[1] < 2:
        return np.asarray(probabilities.max(axis=1, initial=0.0) >= threshold)
    ordered = np.sort(probabilities, axis=1)
    return np.asarray((ordered[:, -1] >= threshold) & (ordered[:, -1] > ordered[:, -2] + 1e-9))


def confusion_matrix(truth: NDArray[np.intp], guess: NDArray[np.intp], places: int) -> NDArray[np.float64]:
    """Scenes by true place (rows) and predicted place (columns)."""
    import numpy as np

    return np.bincount(truth * places + guess, minlength=places * places).reshape(places, places).astype(np.float64)


def macro_f1(confusion: NDArray[np.float64]) -> float:
    """Mean F1 = 2 tp / (true + predicted) over the places that occur in the truth."""
    occur = confusion.sum(axis=1) > 0
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float((2 * confusion.diagonal()[occur] / both[occur]).mean()) if occur.any() else 0.0


def interval(
    truth: NDArray[np.intp],
    guess: NDArray[np.intp],
    groups: Sequence[object],
    *,
    places: int,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """95 % interval of macro F1, whole groups resampled."""
    import numpy as np

    order = {group: at for at, group in enumerate(dict.fromkeys(groups))}
    member = np.array([order[group] for group in groups])
    matrices = np.stack([confusion_matrix(truth[member == at], guess[member == at], places) for at in order.values()])
    drawn = np.random.default_rng(seed).integers(len(matrices), size=(resamples, len(matrices)))
    scores = [macro_f1(matrices[row].sum(axis=0)) for row in drawn]
    low, high = np.percentile(scores, INTERVAL)
    return float(low), float(high)


def _by_place(
    columns: Sequence[str], truth: NDArray[np.intp], guess: NDArray[np.intp]
) -> tuple[tuple[PlaceScore, ...], tuple[Confusion, ...]]:
    matrix = confusion_matrix(truth, guess, len(columns))
    places = []
    for at, place in enumerate(columns):
        scenes, predicted, hits = matrix[at].sum(), matrix[:, at].sum(), matrix[at, at]
        if scenes:
            f1 = 2 * hits / (scenes + predicted)
            precision = hits / predicted if predicted else 0.0
            places.append(PlaceScore(place, int(scenes), int(predicted), precision, hits / scenes, f1))
    wrong = [
        Confusion(columns[row], columns[column], int(matrix[row, column]))
        for row in range(len(columns))
        for column in range(len(columns))
        if row != column and matrix[row, column]
    ]
    wrong.sort(key=lambda pair: (-pair.scenes, pair.place, pair.predicted))
    return tuple(sorted(places, key=lambda each: (-each.scenes, each.place))), tuple(wrong[:MOST_CONFUSIONS])


def _learnable(truth: Sequence[str], parts: Sequence[NDArray[np.intp]]) -> float:
    held: list[set[str]] = [{truth[at] for at in fold} for fold in parts]
    hits = [
        truth[at] in set().union(*(held[other] for other in range(len(parts)) if other != number))
        for number, fold in enumerate(parts)
        for at in fold
    ]
    return sum(hits) / len(hits)
