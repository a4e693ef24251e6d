"""Which scenes to label next: those whose place the model knows least (uncertainty sampling, Lewis and Gale 1994).

for case in most_uncertain(results, 10): print(case.scene.code, case.guess, case.scene.text)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from text_classification.labels import Label
from text_classification.results import PREDICTED
from text_classification.scene_texts import Scene
from utils.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from text_classification.results import LocationResults

MEASURES = ("entropy", "margin")


@dataclass(frozen=True)
class UncertainScene:
    """A scene to label. ``uncertainty``: 0 (sure) to 1. ``likeliest``: up to five places with their probability."""

    scene: Scene
    uncertainty: float
    likeliest: tuple[tuple[str, float], ...]

    @property
    def guess(self) -> str:
        return self.likeliest[0][0] if self.likeliest else ""

    def label(self, location: str) -> Label:
        """The label that says where it is; for :meth:`LabelStore.add`."""
        return Label(*self.scene.key, self.scene.first_position, location)

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        season, episode, scene = self.scene.key
        return {
            "season": season, "episode": episode, "scene": scene, "first_position": self.scene.first_position,
            "uncertainty": round(self.uncertainty, 6), "likeliest": dict(self.likeliest), "text": self.scene.text,
        }  # fmt: skip


def most_uncertain(results: LocationResults, count: int, measure: str = "entropy") -> list[UncertainScene]:
    """Predicted scenes, the least sure first; those that are as uncertain in order of the episodes.

    Args:
        measure: ``entropy`` of the probabilities, divided by that of even ones; or ``margin``, 1 minus the lead of the
            first place over the second.

    Raises:
        UsageError: no such measure.
    """
    import numpy as np

    if measure not in MEASURES:
        raise UsageError(f"no measure of uncertainty '{measure}'.", instead=f"There are: {', '.join(MEASURES)}")
    shares = results.probabilities.to_numpy()
    scores = measure_uncertainty(shares, measure)
    open_cases = np.flatnonzero((results.frame["source"] == PREDICTED).to_numpy())
    chosen = sorted(open_cases, key=lambda at: (-round(float(scores[at]), 9), at))[:count]
    found = []
    for at in chosen:
        order = np.argsort(-shares[at], kind="stable")[:5]
        likeliest = tuple((results.places[place], round(float(shares[at, place]), 4)) for place in order)
        found.append(UncertainScene(results.scenes[at], float(scores[at]), likeliest))
    return found


def measure_uncertainty(shares: NDArray[np.float64], measure: str) -> NDArray[np.float64]:
    """One number from 0 to 1 for each row of probabilities."""
    import numpy as np

    if shares.shape[1] < 2:
        return np.full(len(shares), 1.0 - shares.shape[1])
    if measure == "margin":
        ordered = np.sort(shares, axis=1)
        return np.asarray(1.0 - (ordered[:, -1] - ordered[:, -2]))
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return np.asarray(-(shares * logs).sum(axis=1) / np.log(shares.shape[1]))
