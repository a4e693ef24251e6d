"""TF-IDF with multinomial logistic regression: trains in a second on a laptop, so it is refitted and never saved.

Three kinds of features, each a TF-IDF of its own with unit length: words and pairs of words, characters (3 to 5 within
words), and who speaks. Classes are weighted by "balanced", n / (k · n_c): a place with few scenes counts as much.

A series has far fewer scenes than features. With the L2 penalty the solution lies in the span of the scenes, so the
regression is fitted to their coordinates there, from the eigenvectors of the Gram matrix: the same answer as on the
features themselves, in a small part of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from text_classification.contract import TFIDF
from text_classification.mentions import PlaceFinder
from text_classification.scene_texts import split_turns
from utils.places import Places

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_FEATURES = 30_000
KEPT_SPANS = 16
NOTHING = ""  # the feature of a text that names no place
SMALLEST = 1e-10  # of the largest eigenvalue: what is below is rounding
STRENGTHS = (1.0, 10.0, 100.0)  # C, the inverse of the penalty: which one is chosen on held-out episodes


def speakers_of(text: str) -> list[str]:
    return split_turns(text)[0]


def lines_of(text: str) -> str:
    return "\n".join(split_turns(text)[1])


class Span:
    """The span of some texts in the space of features. ``scenes``: their coordinates, shape (texts, dimensions)."""

    def __init__(self, union: Any, texts: Sequence[str]) -> None:
        import numpy as np

        self._union = union
        self._features = union.fit_transform(list(texts)).tocsr()
        values, vectors = np.linalg.eigh((self._features @ self._features.T).toarray())
        kept = values > SMALLEST * max(values.max(), SMALLEST)
        self.scenes = vectors[:, kept] * np.sqrt(values[kept])
        self._turn = vectors[:, kept] / np.sqrt(values[kept])

    def project(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Coordinates of other texts: what a linear model of the span can see of them."""
        found: NDArray[np.float64] = (self._union.transform(list(texts)) @ self._features.T).toarray() @ self._turn
        return found


class Features:
    """Spans of the last few sets of texts, for models that differ in their penalty only."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._spans: dict[tuple[str, ...], Span] = {}

    def of(self, texts: Sequence[str]) -> Span:
        key = tuple(texts)
        if key not in self._spans:
            if len(self._spans) >= KEPT_SPANS:
                self._spans.pop(next(iter(self._spans)))
            self._spans[key] = Span(self._build(), texts)
        return self._spans[key]


class TfidfClassifier:
    """Needs labels of two places at least.

    Args:
        strength: C of the logistic regression.
        mentions: also feed how often each place is named.
        speakers: also feed who speaks.
        features: of a model with the same two options, to share what it has computed.
    """

    name = TFIDF

    def __init__(
        self,
        strength: float = STRENGTHS[0],
        mentions: Places | None = None,
        speakers: bool = True,
        features: Features | None = None,
    ) -> None:
        self.strength = strength
        self.classes: list[str] = []
        self._finder = PlaceFinder(mentions) if mentions else None
        self._speakers = speakers
        self._features = Features(self._build_features) if features is None else features
        self._regression: Any = None
        self._span: Any = None

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
        groups: Sequence[object] | None = None,
    ) -> None:
        """Learn. Raises ValueError: fewer than two places."""
        from sklearn.linear_model import LogisticRegression

        self._span = self._features.of(texts)
        self._regression = LogisticRegression(C=self.strength, class_weight="balanced", max_iter=2000)
        scenes, places, shares = self._span.scenes, list(labels), None if weights is None else list(weights)
        if 2 * len(set(places)) > len(places):
            # Many places for few scenes are usual here, and scikit-learn warns of them. Each scene twice with half the
            # weight is the same sum of losses; turning the warning off would do so for all threads.
            scenes, places = scenes.repeat(2, axis=0), [place for place in places for _ in range(2)]
            shares = [share / 2 for share in shares or [1.0] * len(labels) for _ in range(2)]
        self._regression.fit(scenes, places, sample_weight=shares)
        self.classes = [str(name) for name in self._regression.classes_]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (texts, classes)."""
        import numpy as np

        return np.asarray(self._regression.predict_proba(self._span.project(texts)), dtype=np.float64)

    def share(self) -> Features:
        """For a model with the same options and another penalty."""
        return self._features

    def _build_features(self) -> Any:
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import FeatureUnion, make_pipeline
        from sklearn.preprocessing import FunctionTransformer, Normalizer

        common = {"sublinear_tf": True, "max_features": MOST_FEATURES}
        parts: list[tuple[str, Any]] = [
            ("words", TfidfVectorizer(preprocessor=_plain, ngram_range=(1, 2), **common)),
            ("characters", TfidfVectorizer(preprocessor=_plain, analyzer="char_wb", ngram_range=(3, 5), **common)),
        ]
        if self._speakers:
            parts.append(("speakers", TfidfVectorizer(analyzer=_speakers_or_nobody, **common)))
        if self._finder:
            counting = FunctionTransformer(self._count_mentions)
            parts.append(("mentions", make_pipeline(counting, DictVectorizer(), Normalizer())))
        return FeatureUnion(parts)

    def _count_mentions(self, texts: Sequence[str]) -> list[dict[str, int]]:
        finder = self._finder
        found = [dict(finder.count(lines_of(text))) if finder else {} for text in texts]
        return [counts or {NOTHING: 1} for counts in found]  # there must be some feature


def _plain(text: str) -> str:
    return lines_of(text).lower()


def _speakers_or_nobody(text: str) -> list[str]:
    return speakers_of(text) or ["nobody"]  # a vocabulary must not be empty
