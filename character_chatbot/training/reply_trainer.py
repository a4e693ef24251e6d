"""TRL's trainer on packed rows, with logits only where something is learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from trl import SFTTrainer

from character_chatbot.training.attention import NO_MASK, SEGMENTS, find_pieces, use_segments
from character_chatbot.training.examples import IGNORED
from character_chatbot.training.lora_linear import fuse_adapters
from character_chatbot.training.packing import NOBODY, block_mask


class ReplyTrainer(SFTTrainer):
    """As :class:`trl.SFTTrainer`, for batches of :class:`character_chatbot.training.packing.PackingCollator`."""

    def __init__(self, *more: Any, **named: Any) -> None:
        super().__init__(*more, **named)
        model = cast("torch.nn.Module", self.model)
        use_segments(model)
        fuse_adapters(model)

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns: Any = ["input_ids", "labels", "shared"]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross entropy in nats over the reply tokens of a step."""
        nats, logits = reply_nats(model, self.accelerator.unwrap_model(model), inputs)
        learnt = (inputs["labels"] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = nats / learnt
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # DDP takes the mean of the gradients
        self._count(inputs, training=model.training)
        return (loss, {"logits": logits}) if return_outputs else loss

    def _count(self, inputs: dict[str, Any], *, training: bool) -> None:
        if training:
            self._total_train_tokens += int((inputs["segment"] != NOBODY).sum())
        self._metrics["train" if training else "eval"]["num_tokens"] = [self._total_train_tokens]


def reply_nats(
    model: Callable[..., Any], inner: Any, inputs: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of cross entropies over the labels of a packed batch, and the logits in front of them.

    Args:
        model: what is called; wrapped for several processes or not.
        inner: the same model without that wrapping.
        inputs: a batch of :class:`character_chatbot.training.packing.PackingCollator`.
    """
    targets = inputs["labels"][:, 1:]
    before = torch.nn.functional.pad(targets != IGNORED, (0, 1))
    with _head_only_at(inner, before):
        logits = model(
            input_ids=inputs["input_ids"],
            position_ids=inputs["position_ids"],
            use_cache=False,
            **_who_sees_whom(inputs["segment"], inputs["persona"], inner),
        ).logits[0]
    nats = torch.nn.functional.cross_entropy(logits.float(), targets[targets != IGNORED], reduction="sum")
    return nats, logits


@contextmanager
def _head_only_at(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """The output layer computes only these positions, as one row: on a CPU TRL would compute all."""

    def choose(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (given[0][positions.to(given[0].device)][None],)

    hook = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        yield
    finally:
        hook.remove()


def _who_sees_whom(segment: torch.Tensor, persona: torch.Tensor, model: Any) -> dict[str, Any]:
    """As the model's attention wants to be told: pieces, a mask, or for eager attention what it adds to its scores."""
    if model.config._attn_implementation == SEGMENTS:
        return {"attention_mask": NO_MASK, "packed_pieces": find_pieces(segment, persona)}
    mask = block_mask(segment, persona)
    if model.config._attn_implementation != "eager":
        return {"attention_mask": mask}
    scores = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device)
    return {"attention_mask": scores.masked_fill(~mask, torch.finfo(model.dtype).min)}
