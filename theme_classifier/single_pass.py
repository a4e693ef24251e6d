"""Themes by a model that reads the text and all labels at once (GLiClass): one pass for each text, whatever the labels.

Needs the package ``gliclass``. Each score depends on the labels beside it, so another set of themes is scored anew.
A text longer than the model reads is split at sentence ends; its logit is the mean of its parts', weighted by words.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theme_classifier.models import ModelPlace, cannot_load
from theme_classifier.score_cache import Logits, ScoreCache
from theme_classifier.windows import split_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGE = "gliclass"
TEXTS_AT_ONCE = 16
LONGEST = 1024  # tokens that are read at once, labels included: the default of gliclass
LABEL_TOKENS = 2  # that mark each label
PRECISION = "float32"
CERTAIN = 1e-6  # a score of 0 or 1 has no finite logit


def is_installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


class SinglePassScorer:
    """The same contract as :class:`theme_classifier.entailment.EntailmentScorer`; contradiction is 0 throughout."""

    def __init__(self, place: ModelPlace, cache_file: Path) -> None:
        self._place, self._cache_file = place, cache_file
        self.reason = ""

    @property
    def method(self) -> str:
        return f"{self._place.name}, all themes in one pass"

    def logits(
        self, texts: Sequence[str], themes: Sequence[str], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float64]:
        """Logits of shape (texts, themes, 2). Raises BaseModelError, StoreError."""
        distinct = list(dict.fromkeys(texts))
        with ScoreCache(self._cache_file) as cache:
            key = cache.scorer(self._place.identity, f"labels {json.dumps(list(themes))}", PRECISION)
            known = {theme: cache.get(key, distinct, theme) for theme in themes}
            missing = [text for text in distinct if any(text not in known[theme] for theme in themes)]
            if missing:
                self._compute(missing, known, cache, key, progress)
        return np.array([[known[theme][text] for theme in themes] for text in texts]).reshape(-1, len(themes), 2)

    def _compute(
        self,
        missing: Sequence[str],
        known: dict[str, dict[str, Logits]],
        cache: ScoreCache,
        key: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        from tqdm import tqdm

        score = self._loaded
        with tqdm(total=len(missing), desc="themes", unit="line", disable=None) as bar:
            for start in range(0, len(missing), TEXTS_AT_ONCE):
                part = list(missing[start : start + TEXTS_AT_ONCE])
                rows = score(part, list(known))
                cache.put(key, rows)
                for text, theme, logits in rows:
                    known[theme][text] = logits
                bar.update(len(part))
                if progress:
                    progress(start + len(part), len(missing))

    @cached_property
    def _loaded(self) -> Callable[[list[str], list[str]], list[tuple[str, str, Logits]]]:
        """What gives rows of text, theme and logits."""
        from gliclass import GLiClassModel, ZeroShotClassificationPipeline
        from transformers import AutoTokenizer

        location, options = self._place.location, {"local_files_only": True}
        try:
            model = GLiClassModel.from_pretrained(location, use_safetensors=True, **options).eval()
            tokenizer = AutoTokenizer.from_pretrained(location, **options)
        except Exception as error:  # whatever its parts raise
            raise cannot_load(self._place.name, error) from error

        def score(texts: list[str], themes: list[str]) -> list[tuple[str, str, Logits]]:
            pipeline = ZeroShotClassificationPipeline(
                model,
                tokenizer,
                max_classes=len(themes),
                max_length=LONGEST,
                classification_type="multi-label",
                device="cpu",
                progress_bar=False,
            )
            room = LONGEST - sum(_count(tokenizer, theme) + LABEL_TOKENS for theme in themes)
            parts = [split_text(text, lambda part: _count(tokenizer, part) <= room) for text in texts]
            found = iter(
                pipeline([part for each in parts for part in each], themes, threshold=0.0, batch_size=TEXTS_AT_ONCE)
            )
            return [row for text, each in zip(texts, parts, strict=True) for row in _rows(text, each, themes, found)]

        return score


def _count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])


def _rows(
    text: str, parts: Sequence[str], themes: Sequence[str], found: Iterator[list[dict[str, Any]]]
) -> list[tuple[str, str, Logits]]:
    """The logits of a text, from the labels that were found for each of its parts."""
    weights = [len(part.split()) or 1 for part in parts]
    by_part = [{label["label"]: float(label["score"]) for label in next(found)} for _ in parts]
    logits = [[_logit(scores.get(theme, 0.0)) for theme in themes] for scores in by_part]
    means = np.average(logits, axis=0, weights=weights)
    return [(text, theme, (float(mean), 0.0)) for theme, mean in zip(themes, means, strict=True)]


def _logit(score: float) -> float:
    kept = min(max(score, CERTAIN), 1 - CERTAIN)
    return math.log(kept / (1 - kept))
