"""The share of each place among the labels, whatever is said: what every model must beat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from text_classification.contract import MAJORITY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MajorityClassifier:
    """Of two places that are labelled as often, the first by name wins."""

    name = MAJORITY

    def __init__(self) -> None:
        self.classes: list[str] = []
        self._shares: list[float] = []

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
        groups: Sequence[object] | None = None,
    ) -> None:
        """Count the labels."""
        sums: defaultdict[str, float] = defaultdict(float)
        for label, weight in zip(labels, weights or [1.0] * len(labels), strict=True):
            sums[label] += weight
        self.classes = sorted(sums)
        self._shares = [sums[name] / sum(sums.values()) for name in self.classes]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The same for every text."""
        import numpy as np

        return np.tile(np.array(self._shares), (len(texts), 1))
