"""transformers' Trainer with a loss in which every place counts the same, however many scenes it has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

logger = logging.getLogger(__name__)


def class_weights(labels: Sequence[int], classes: int) -> list[float]:
    """ "balanced", as in scikit-learn: n / (k · n_c) for class c with n_c of n labels; 0 for a class without any."""
    counts = [0] * classes
    for label in labels:
        counts[label] += 1
    occurring = sum(count > 0 for count in counts)
    return [len(labels) / (occurring * count) if count else 0.0 for count in counts]


class WeightedTrainer(Trainer):
    """The loss of a batch is the sum of w · cross entropy (nats) over its rows, divided by their number.

    Not by the sum of their weights, as torch does: a batch with one class only would then ignore them.
    ``weights``: one for each class; ``row_weights`` come with the batch, where the texts have weights of their own.
    """

    def __init__(self, *more: Any, weights: Sequence[float], **named: Any) -> None:
        super().__init__(*more, **named)
        self._weights = torch.tensor(weights, dtype=torch.float32)
        self.model_accepts_loss_kwargs = False  # each batch is a mean of its own

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean weighted cross entropy of a batch."""
        labels, rows = inputs["labels"], inputs.get("row_weights")
        outputs = model(**{name: value for name, value in inputs.items() if name not in ("labels", "row_weights")})
        logits = outputs.logits.float()
        nats = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        nats = nats * self._weights.to(logits.device)[labels] * (1.0 if rows is None else rows)
        loss = nats.mean()
        return (loss, {"loss": loss, "logits": outputs.logits}) if return_outputs else loss


class TellEpochs(TrainerCallback):
    """Tells the loss on the held-out scenes after each epoch."""

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        loss = (more.get("metrics") or {}).get("eval_loss")
        if loss is not None:
            logger.info("Epoch %g of %g: held-out loss %.3f", state.epoch or 0, args.num_train_epochs, loss)
