"""Zero-shot themes by an NLI model: does the text entail "This text is about hope."?

scorer = EntailmentScorer(place, settings.themes, cache_file)
scorer.logits(texts, ["Hope", "Despair"])     # shape (texts, themes, 2): entailment, contradiction

A text longer than the model is split at sentence ends; its logits are the mean of its windows', weighted by tokens.
Each batch is in the cache when the next one starts: what was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config import ThemeSettings
from theme_classifier.batching import Pair, PairTemplate, collate, encode_texts, find_template, plan_batches
from theme_classifier.models import ModelPlace, entailment_labels, load_model
from theme_classifier.score_cache import Logits, ScoreCache, text_sum
from theme_classifier.windows import split_text
from utils.token_limits import longest_input

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

AUTO, FLOAT32, INT8 = "auto", "float32", "int8"
WORTH_CHECKING = 4  # times the sample; fewer texts are done before a check would have paid
SAMPLE_THEMES = 8
LEAST_TEXT_TOKENS = 8  # that a hypothesis has to leave for the text

Progress = Callable[[int, int], None]  # pairs done, pairs in all


class EntailmentModel:
    """A loaded model: pairs in, logits out."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, settings: ThemeSettings, device: str = "cpu"
    ) -> None:
        self.tokenizer, self.device = tokenizer, device
        self.model = model.to(device)  # type: ignore[arg-type] # its wrapper hides what a module takes
        self._layout: PairTemplate = find_template(tokenizer)
        self._labels = list(entailment_labels(model.config.label2id or {}))
        self._room = longest_input(tokenizer, model) - self._layout.added
        self._template, self._batch_tokens = settings.hypothesis_template, settings.batch_tokens
        self._needs_no_cache = model.config.is_encoder_decoder

    def pairs(self, jobs: Sequence[tuple[str, str]]) -> list[Pair]:
        """Pairs of each text with each theme; ``owner``: (number of the job, window of its text).

        Raises:
            ValueError: a hypothesis leaves no room for a text.
        """
        themes, texts = list(dict.fromkeys(job[1] for job in jobs)), list(dict.fromkeys(job[0] for job in jobs))
        hypotheses = encode_texts(self.tokenizer, [self._template.format(theme) for theme in themes])
        room = self._room - max(map(len, hypotheses), default=0)
        if room < LEAST_TEXT_TOKENS:
            raise ValueError(f"a theme of {max(map(len, hypotheses))} tokens leaves no room for a text")
        by_theme = dict(zip(themes, hypotheses, strict=True))
        windows = dict(zip(texts, self._windows(texts, room), strict=True))
        return [
            Pair((number, at), window, by_theme[theme])
            for number, (text, theme) in enumerate(jobs)
            for at, window in enumerate(windows[text])
        ]

    def _windows(self, texts: Sequence[str], room: int) -> Iterator[list[list[int]]]:
        """The ids of each text, in parts of at most ``room`` tokens."""

        def fits(part: str) -> bool:
            return len(encode_texts(self.tokenizer, [part])[0]) <= room

        for text, ids in zip(texts, encode_texts(self.tokenizer, texts), strict=True):
            whole = len(ids) <= room
            yield [ids] if whole else encode_texts(self.tokenizer, split_text(text, fits))

    def batches(
        self, pairs: Sequence[Pair], model: PreTrainedModel | None = None
    ) -> Iterator[list[tuple[Pair, Logits]]]:
        """Batches of pairs with their logits of entailment and contradiction."""
        import torch

        used, pad = model or self.model, self.tokenizer.pad_token_id or 0
        options = {"use_cache": False} if self._needs_no_cache else {}
        for batch in plan_batches([len(pair) + self._layout.added for pair in pairs], self._batch_tokens):
            chosen = [pairs[at] for at in batch]
            with torch.inference_mode():
                logits = used(**collate(chosen, self._layout, pad, self.device), **options).logits
            rows = logits[:, self._labels].float().cpu().numpy().astype(float)
            yield [(pair, (row[0], row[1])) for pair, row in zip(chosen, rows, strict=True)]

    def score(self, jobs: Sequence[tuple[str, str]], model: PreTrainedModel | None = None) -> NDArray[np.float64]:
        """Entailment minus contradiction of each job."""
        return self.score_pairs(self.pairs(jobs), model)

    def score_pairs(self, pairs: Sequence[Pair], model: PreTrainedModel | None = None) -> NDArray[np.float64]:
        """Entailment minus contradiction of each job that the pairs were made of."""
        merger = WindowMerger(pairs)
        merged = dict(whole for batch in self.batches(pairs, model) for whole in merger.add(batch))
        return np.array([merged[at][0] - merged[at][1] for at in range(len(merged))])


class WindowMerger:
    """Puts the windows of a text together: the mean of their logits, weighted by tokens of the text."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._missing = Counter(pair.owner[0] for pair in pairs)
        self._seen: defaultdict[int, list[tuple[int, Logits]]] = defaultdict(list)

    def add(self, batch: Sequence[tuple[Pair, Logits]]) -> Iterator[tuple[int, Logits]]:
        """The jobs that are whole now, with their logits."""
        for pair, logits in batch:
            job = pair.owner[0]
            self._seen[job].append((len(pair.text) or 1, logits))
            self._missing[job] -= 1
            if not self._missing[job]:
                weights, found = zip(*self._seen.pop(job), strict=True)
                mean = np.average(found, axis=0, weights=weights)
                yield job, (float(mean[0]), float(mean[1]))


class EntailmentScorer:
    """Scores texts, each distinct one once; loads the model only for what the cache does not know."""

    def __init__(self, place: ModelPlace, settings: ThemeSettings, cache_file: Path) -> None:
        self._place, self._settings, self._cache_file = place, settings, cache_file
        self.precision = settings.precision
        self.reason = ""  # for the precision, where it was measured
        self._converted: dict[str, PreTrainedModel] = {}

    @property
    def method(self) -> str:
        """For people and for the files."""
        return f"{self._place.name}, {self.precision}"

    def logits(
        self, texts: Sequence[str], themes: Sequence[str], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Logits of shape (texts, themes, 2).

        Args:
            progress: told after each batch; what it raises stops the work, and what is done stays done.

        Raises:
            BaseModelError: the model cannot be loaded. StoreError: the cache cannot be used.
        """
        distinct = list(dict.fromkeys(texts))
        with ScoreCache(self._cache_file) as cache:
            self._settle_precision(distinct, themes, cache)
            key = cache.scorer(self._place.identity, self._settings.hypothesis_template, self.precision)
            known = {theme: cache.get(key, distinct, theme) for theme in themes}
            jobs = [(text, theme) for theme in themes for text in distinct if text not in known[theme]]
            if jobs:
                self._compute(jobs, known, cache, key, progress)
        return np.array([[known[theme][text] for theme in themes] for text in texts]).reshape(-1, len(themes), 2)

    @cached_property
    def _loaded(self) -> EntailmentModel:
        import torch

        # 8 bits are multiplied by the CPU alone.
        on_gpu = torch.cuda.is_available() and self._settings.precision != INT8
        tokenizer, model = load_model(self._place)
        return EntailmentModel(tokenizer, model, self._settings, "cuda" if on_gpu else "cpu")

    def _settle_precision(self, texts: Sequence[str], themes: Sequence[str], cache: ScoreCache) -> None:
        """Decide on the precision once for a model and these lines, so that another run finds the same scores."""
        self.reason = ""
        if self._settings.precision != AUTO:
            self.precision = self._settings.precision
            return
        if len(texts) < WORTH_CHECKING * self._settings.sample_lines:
            self.precision = FLOAT32
            return
        # By their sums: spread over the series, and nearly the same ones when a few lines have come to it.
        sample = sorted(texts, key=text_sum)[: self._settings.sample_lines]
        parts = [
            self._place.identity,
            self._settings.hypothesis_template,
            str(self._settings.least_correlation),
            *sample,
        ]
        key = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
        found = cache.precision(key)
        if not found:
            found = self._measure_precision(sample, list(themes)[:SAMPLE_THEMES])
            cache.put_precision(key, *found)
        self.precision, self.reason = found
        logger.info("%s", self.reason)

    def _measure_precision(self, sample: Sequence[str], themes: Sequence[str]) -> tuple[str, str]:
        """The precision to use, and why."""
        from theme_classifier.precision import available, choose_precision

        loaded = self._loaded
        pairs = loaded.pairs([(text, theme) for text in sample for theme in themes])
        loaded.score_pairs(pairs[:1])  # the first call of all sets up
        chosen = choose_precision(
            loaded.model,
            lambda model: loaded.score_pairs(pairs, model).reshape(len(sample), -1),
            available(loaded.device),
            self._settings.least_correlation,
        )
        self._converted[chosen.precision] = chosen.model
        return chosen.precision, chosen.reason

    def _model(self) -> PreTrainedModel:
        """The model in the precision to use; converted once."""
        from theme_classifier.precision import convert

        if self.precision not in self._converted:
            self._converted[self.precision] = convert(self._loaded.model, self.precision)
        return self._converted[self.precision]

    def _compute(
        self,
        jobs: Sequence[tuple[str, str]],
        known: dict[str, dict[str, Logits]],
        cache: ScoreCache,
        key: int,
        progress: Progress | None,
    ) -> None:
        from tqdm import tqdm

        loaded, model = self._loaded, self._model()
        pairs, done = loaded.pairs(jobs), 0
        merger = WindowMerger(pairs)
        with tqdm(total=len(pairs), desc="themes", unit="pair", disable=None) as bar:
            for batch in loaded.batches(pairs, model):
                fresh = [(*jobs[job], logits) for job, logits in merger.add(batch)]
                cache.put(key, fresh)
                for text, theme, logits in fresh:
                    known[theme][text] = logits
                done += len(batch)
                bar.update(len(batch))
                if progress:
                    progress(done, len(pairs))
