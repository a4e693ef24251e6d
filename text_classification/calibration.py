"""Probabilities that mean what they say: temperature scaling, fitted on held-out episodes only.

    p'  =  softmax(log p / T)        Guo et al. 2017, "On Calibration of Modern Neural Networks"

T over 1 makes a model less sure. It never changes which place comes first. T is the one that makes the true places of
the held-out scenes likeliest, with a standard normal prior on log T: a few scenes that happen to be all right do not
make a model certain. Scenes whose place the held-out model could not know are left out of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from text_classification.contract import TextClassifier, align

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALLEST = 1e-12
SHARPEST, FLATTEST = 0.05, 20.0
LEAST_SCENES = 5  # fewer held-out scenes say nothing about T
BINS = 10


def scale(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Rows of probabilities at a temperature; 0 stays 0."""
    import numpy as np

    logits = np.log(np.maximum(probabilities, SMALLEST)) / temperature
    raised = np.where(probabilities > 0, np.exp(logits - logits.max(axis=1, keepdims=True)), 0.0)
    scaled: NDArray[np.float64] = raised / np.maximum(raised.sum(axis=1, keepdims=True), SMALLEST)
    return scaled


def log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    """Mean negative log probability of the true columns."""
    import numpy as np

    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], SMALLEST)).mean())


def fit_temperature(probabilities: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    """The likeliest temperature under the prior; 1 where there are fewer than five rows."""
    import math

    from scipy.optimize import minimize_scalar

    if len(truth) < LEAST_SCENES:
        return 1.0
    found = minimize_scalar(
        lambda power: len(truth) * log_loss(scale(probabilities, math.exp(power)), truth) + power**2 / 2,
        bounds=(math.log(SHARPEST), math.log(FLATTEST)),
        method="bounded",
    )
    return float(math.exp(found.x))


def expected_calibration_error(sure: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS) -> float:
    """How far confidence is from the share that is right: the mean over bins of equal width, weighted by their scenes.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning". 0 is best, 1 worst.
    """
    import numpy as np

    if not len(sure):
        return 0.0
    at = np.minimum((sure * bins).astype(int), bins - 1)
    parts = [(sure[at == each].mean() - right[at == each].mean(), (at == each).mean()) for each in np.unique(at)]
    return float(sum(abs(gap) * share for gap, share in parts))


def grouped_folds(groups: Sequence[object], folds: int) -> list[NDArray[np.intp]]:
    """Rows of each fold: whole groups, as many folds as groups up to ``folds``, of about the same size."""
    import numpy as np

    rows: dict[object, list[int]] = {}
    for at, group in enumerate(groups):
        rows.setdefault(group, []).append(at)
    held_out: list[list[int]] = [[] for _ in range(min(folds, len(rows)))]
    for members in sorted(rows.values(), key=lambda members: (-len(members), members[0])):
        min(held_out, key=len).extend(members)  # the largest group first, to the smallest fold
    return [np.array(sorted(fold), dtype=np.intp) for fold in held_out]


@dataclass
class Calibrated:
    """A fitted model with its temperature. ``notes``: what was chosen, and on what, in sentences."""

    model: TextClassifier
    temperature: float = 1.0
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return self.model.classes

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (texts, classes)."""
        return scale(self.model.predict_proba(texts), self.temperature)


def fit_calibrated(
    makers: Sequence[Callable[[], TextClassifier]],
    texts: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[object],
    folds: int,
) -> Calibrated:
    """The model that is likeliest on held-out episodes, fitted to everything, with its temperature from there.

    Args:
        makers: each makes an unfitted model; the first one is taken where there is nothing to choose by.
        groups: the episode of each text.
        folds: most folds of episodes.
    """
    best, best_loss, notes = Calibrated(makers[0]()), float("inf"), []
    for make in makers:
        probabilities, truth = held_out(make, texts, labels, groups, folds)
        temperature = fit_temperature(probabilities, truth)
        loss = log_loss(scale(probabilities, temperature), truth) if len(truth) >= LEAST_SCENES else float("inf")
        if loss < best_loss:
            best, best_loss = Calibrated(make(), temperature), loss
            notes = [f"Temperature {temperature:.2f}, fitted on {len(truth)} held-out scenes."]
    best.notes = notes or ["Too few held-out scenes to calibrate: probabilities are as the model gives them."]
    if (strength := getattr(best.model, "strength", None)) is not None and len(makers) > 1 and notes:
        best.notes.append(f"C = {strength:g}, the likeliest on those scenes.")
    best.model.fit(texts, labels, None, groups)
    return best


def held_out(
    make: Callable[[], TextClassifier],
    texts: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[object],
    folds: int,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Probabilities of scenes by models that have not seen their episode, and the column of the true place.

    Scenes whose place was not in the rest are left out, as is a fold whose rest has one place only.
    """
    import numpy as np

    places = sorted(set(labels))
    parts: list[NDArray[np.float64]] = [np.zeros((0, len(places)))]
    truths: list[int] = []
    for fold in grouped_folds(groups, folds):
        rest = np.setdiff1d(np.arange(len(texts)), fold)
        known = {labels[at] for at in rest}
        asked = [int(at) for at in fold if labels[at] in known]
        if len(known) < 2 or not asked:
            continue
        model = make()
        model.fit([texts[at] for at in rest], [labels[at] for at in rest], None, [groups[at] for at in rest])
        columns = sorted({*places, *model.classes})
        found = align(model.predict_proba([texts[at] for at in asked]), model.classes, columns)
        kept = found[:, [columns.index(place) for place in places]]
        parts.append(kept)
        truths += [places.index(labels[at]) for at in asked]
    return np.concatenate(parts), np.array(truths, dtype=np.intp)
