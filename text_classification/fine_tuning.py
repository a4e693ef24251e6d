"""A DistilBERT fine-tuned on scenes with a known place, and kept in a folder.

    model = FineTunedClassifier(place, settings.locations)
    model.fit(texts, labels, groups=episodes)
    model.save(folder, temperature=1.3);  load_trained(folder, settings.locations)

A scene longer than the model reads is read in parts that overlap; its logits are their mean. Training ends early on
episodes that are held out for it, and those give the temperature, too.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import LocationSettings
from text_classification.base_models import cannot_load, choose_device, load_classifier, load_tokenizer
from text_classification.calibration import Calibrated, fit_temperature, grouped_folds
from text_classification.contract import DISTILBERT
from utils.files import write_atomic
from utils.token_limits import longest_input

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

DESCRIPTION = "locations.json"  # beside the weights: what the folder answers, and its temperature
HELD_OUT_FOLDS = 5  # one fifth of the episodes ends the training
OVERLAP = 0.125  # of a part, with the next one


class FineTunedClassifier:
    """Args: base: its folder, or that of a model trained before. settings: how it is trained. origin: the base's name.

    ``origin`` is what a kept model says of itself (:func:`base_of`); empty: ``base``.
    """

    name = DISTILBERT

    def __init__(self, base: Path, settings: LocationSettings, origin: str = "") -> None:
        self.classes: list[str] = []
        self.notes: list[str] = []
        self.epochs_done = 0.0
        self._base, self._settings, self._origin = base, settings, origin or str(base)
        self._device, reason = choose_device()
        self.notes.append(f"DistilBERT on {self._device} ({reason}).")
        self._tokenizer: Any = None
        self._model: Any = None
        self._held_out: tuple[NDArray[np.float64], NDArray[np.intp]] | None = None

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
        groups: Sequence[object] | None = None,
    ) -> None:
        """Train from the base. Raises BaseModelError: it cannot be had."""
        import torch

        logger.info("%s", self.notes[0])
        self.classes = sorted(set(labels))
        targets = [self.classes.index(label) for label in labels]
        learn, check = _split(targets, groups)
        self._tokenizer = load_tokenizer(self._base)
        with torch.random.fork_rng(devices=[] if self._device == "cpu" else None):
            torch.manual_seed(self._settings.seed)  # of the new head
            self._model = self._new_model()
            self._train(self._rows(texts, targets, weights, learn), self._rows(texts, targets, weights, check))
        self._model.eval()
        if check:
            found = self.predict_proba([texts[at] for at in check])
            self._held_out = found, _indices(targets[at] for at in check)

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (texts, classes)."""
        import numpy as np
        import torch

        rows = self._rows(texts, [0] * len(texts), None, range(len(texts)))
        owners = [row.pop("text") for row in rows]
        sums, parts = np.zeros((len(texts), len(self.classes))), np.bincount(owners, minlength=len(texts))
        size = self._settings.texts_per_batch
        self._model.to(self._device)
        for start in range(0, len(rows), size):
            batch = self._collate([{**row, "text": 0} for row in rows[start : start + size]])
            inputs = {k: v.to(self._device) for k, v in batch.items() if k not in ("labels", "row_weights")}
            with torch.inference_mode():
                logits = self._model(**inputs).logits.float().cpu().numpy()
            np.add.at(sums, owners[start : start + size], logits)
        raised = np.exp((mean := sums / np.maximum(parts, 1)[:, None]) - mean.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
        return found

    def calibrated(self) -> Calibrated:
        """This model with the temperature of its held-out scenes; call after :meth:`fit`."""
        ended = f"DistilBERT learnt for {self.epochs_done:g} epochs."
        if self._held_out is None:
            return Calibrated(self, 1.0, [*self.notes, ended, "No held-out scenes: probabilities as they are."])
        temperature, scenes = fit_temperature(*self._held_out), len(self._held_out[1])
        return Calibrated(
            self, temperature, [*self.notes, ended, f"Temperature {temperature:.2f}, on {scenes} held-out scenes."]
        )

    def save(self, folder: Path, temperature: float) -> None:
        """Weights (safetensors), tokenizer and what it answers. Raises OSError."""
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        about = {"places": self.classes, "temperature": temperature, "base": self._origin}
        write_atomic(folder / DESCRIPTION, json.dumps(about, ensure_ascii=False, indent=1) + "\n")

    def load(self, classes: list[str]) -> None:
        """Take the weights of the place as they are. Raises BaseModelError."""
        self.classes = classes
        self._tokenizer = load_tokenizer(self._base)
        self._model = load_classifier(self._base).eval()
        if self._model.config.num_labels != len(classes):
            raise cannot_load(str(self._base), ValueError(f"it has no {len(classes)} places"))

    def _new_model(self) -> Any:
        names = dict(enumerate(self.classes))
        swapped = {name: at for at, name in names.items()}
        options = {"num_labels": len(names), "id2label": names, "label2id": swapped, "ignore_mismatched_sizes": True}
        return load_classifier(self._base, **options)

    def _rows(
        self, texts: Sequence[str], targets: Sequence[int], weights: Sequence[float] | None, which: Sequence[int]
    ) -> list[dict[str, Any]]:
        """The parts of the texts ``which``, tokenised; ``text`` is the number of the text."""
        if not which:
            return []
        longest = min(self._settings.longest_tokens, longest_input(self._tokenizer, self._model))
        encoded = self._tokenizer(
            [texts[at] for at in which], truncation=True, max_length=longest, return_overflowing_tokens=True,
            stride=int(longest * OVERLAP),
        )  # fmt: skip
        owners = encoded["overflow_to_sample_mapping"]
        weight = [1.0] * len(texts) if weights is None else weights
        return [
            {"input_ids": ids, "labels": targets[which[at]], "row_weights": weight[which[at]], "text": which[at]}
            for ids, at in zip(encoded["input_ids"], owners, strict=True)
        ]

    def _collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        padded = self._tokenizer.pad([{"input_ids": row["input_ids"]} for row in rows], return_tensors="pt")
        return {
            "input_ids": padded["input_ids"],
            "attention_mask": padded["attention_mask"],
            "labels": torch.tensor([row["labels"] for row in rows]),
            "row_weights": torch.tensor([row["row_weights"] for row in rows], dtype=torch.float32),
        }

    def _train(self, learn: list[dict[str, Any]], check: list[dict[str, Any]]) -> None:
        from transformers import EarlyStoppingCallback, PrinterCallback

        from text_classification.weighted_trainer import TellEpochs, WeightedTrainer, class_weights

        ending = [EarlyStoppingCallback(self._settings.patience), TellEpochs()] if check else []
        with tempfile.TemporaryDirectory() as folder:
            trainer = WeightedTrainer(
                self._model,
                self._arguments(Path(folder), bool(check)),
                weights=class_weights([row["labels"] for row in learn], len(self.classes)),
                train_dataset=learn,
                eval_dataset=check or None,
                data_collator=self._collate,
                callbacks=ending,
            )
            trainer.remove_callback(PrinterCallback)  # it writes to standard output, where results belong
            trainer.train()
            self.epochs_done = float(trainer.state.epoch or 0)

    def _arguments(self, folder: Path, checks: bool) -> Any:
        from transformers import TrainingArguments

        settings = self._settings
        return TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=settings.texts_per_batch,
            per_device_eval_batch_size=settings.texts_per_batch,
            warmup_steps=0.1,
            weight_decay=0.01,
            eval_strategy="epoch" if checks else "no",
            save_strategy="epoch" if checks else "no",
            load_best_model_at_end=checks,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
            save_total_limit=1,
            save_only_model=True,
            prediction_loss_only=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            use_cpu=self._device == "cpu",
            seed=settings.seed,
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )


def load_trained(folder: Path, settings: LocationSettings) -> Calibrated:
    """A model that :meth:`FineTunedClassifier.save` wrote. Raises BaseModelError: the folder does not hold one."""
    try:
        about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        classes, temperature = [str(name) for name in about["places"]], float(about["temperature"])
        if not classes or not 0 < temperature < float("inf"):
            raise ValueError(f"{DESCRIPTION} has no places or no temperature")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise cannot_load(str(folder), error) from None
    model = FineTunedClassifier(folder.resolve(), settings)
    model.load(classes)
    note = f"DistilBERT of {folder}, which answers {len(classes)} places."
    return Calibrated(model, temperature, [*model.notes, note])


def base_of(folder: Path) -> str:
    """The base that a trained model began with: a folder or a repository; empty where that is not known."""
    try:
        return str(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")).get("base", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def is_trained(folder: Path) -> bool:
    return (folder / DESCRIPTION).is_file() and (folder / "config.json").is_file()


def _split(targets: Sequence[int], groups: Sequence[object] | None) -> tuple[list[int], list[int]]:
    """Rows to learn from, and rows of held-out episodes: the fold that has most scenes whose place is in the rest, too.

    A scene of that fold whose place is nowhere else is learnt from: else its place would be lost.
    """
    everything = list(range(len(targets)))
    check: list[int] = []
    for fold in grouped_folds(groups or [0] * len(targets), HELD_OUT_FOLDS):
        known = {targets[at] for at in set(everything) - set(fold.tolist())}
        kept = [int(at) for at in fold if targets[at] in known]
        if len(known) > 1 and len(kept) > len(check):
            check = kept
    return [at for at in everything if at not in set(check)], check


def _indices(values: Any) -> NDArray[np.intp]:
    import numpy as np

    return np.array(list(values), dtype=np.intp)
