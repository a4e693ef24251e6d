"""What every model of locations does, so that they can be compared and exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAJORITY, MENTIONS, TFIDF, DISTILBERT, AUTO = "majority", "mentions", "tfidf", "distilbert", "auto"


class TextClassifier(Protocol):
    """Texts are those of :attr:`Scene.text`. ``classes``: the places it can answer, sorted; known after ``fit``."""

    name: str
    classes: list[str]

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
        groups: Sequence[object] | None = None,
    ) -> None:
        """Learn. ``weights``: of each text. ``groups``: its episode, for what is chosen on held-out episodes."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (texts, classes); rows sum to 1."""
        ...


def align(probabilities: NDArray[np.float64], have: Sequence[str], want: Sequence[str]) -> NDArray[np.float64]:
    """Columns for the places ``want``; 0 for those that the model does not know."""
    import numpy as np

    at = {name: column for column, name in enumerate(want)}
    aligned = np.zeros((len(probabilities), len(want)))
    for column, name in enumerate(have):
        aligned[:, at[name]] = probabilities[:, column]
    return aligned
