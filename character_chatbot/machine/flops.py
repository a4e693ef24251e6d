"""What a training step has to compute, what the machine can, and the share of it that was reached.

FLOPs of LoRA on a frozen base, one multiplication and addition as two (PaLM, arXiv 2204.02311, appendix B; Kaplan et
al., arXiv 2001.08361, section 2.1, count the layers in the same way):

    4 × weights of the layers × tokens       forward 2, gradient of the activations 2; none of frozen weights
    6 × weights of the adapter × tokens      forward 2, both gradients 4
    4 × weights of the head × reply tokens   logits are computed only where something is learnt
    12 × layers × heads × head size × pairs  of a token and one that it attends to, itself among them

What is computed twice (activation checkpointing), for nothing (padding) or besides (norms, softmax) counts nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch

from character_chatbot.machine.devices import Device, measure_products, product_flops

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepShape:
    """What the FLOPs of a step depend on, beside its tokens; numbers of weights in matrices."""

    layer_weights: int
    adapter_weights: int
    head_weights: int
    attention_width: int  # layers × heads × head size

    def training_flops(self, tokens: int, supervised: int, attended: int) -> int:
        """Of a forward and a backward pass.

        Args:
            tokens: without padding.
            supervised: of them, those that the loss is of.
            attended: pairs of a token and one that it attends to; see :func:`count_attended`.
        """
        layers = (4 * self.layer_weights + 6 * self.adapter_weights) * tokens
        return layers + 4 * self.head_weights * supervised + 12 * self.attention_width * attended


def read_shape(model: Any) -> StepShape:
    """Of a causal model of transformers, with or without an adapter of PEFT."""
    head, config = model.get_output_embeddings(), model.config
    layers = adapter = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            weights = module.in_features * module.out_features  # a quantised weight's own shape says less
            adapter, layers = (adapter + weights, layers) if "lora_" in name else (adapter, layers + weights)
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    head_weights = head.in_features * head.out_features
    return StepShape(layers, adapter, head_weights, config.num_hidden_layers * heads * size)


def count_attended(inputs: dict[str, torch.Tensor], counted: torch.Tensor) -> int:
    """Pairs of a token and one that it attends to: as many as its position says, and itself.

    Args:
        inputs: a batch of :class:`character_chatbot.training.packing.PackingCollator`.
        counted: where there is no padding, of shape (rows, tokens).
    """
    return int(((inputs["position_ids"] + 1) * counted).sum())


def measure_peak(device: Device) -> float:
    """FLOP/s of matrix products in the device's number format, the best of a few; a fraction of a second."""
    return product_flops(device.kind) / min(measure_products([device.dtype], device.kind)[device.dtype])


class Utilisation:
    """Model FLOPs utilisation: the share of the peak of so many equal machines that the model's FLOPs make up."""

    def __init__(self, shape: StepShape, peak_flops: float, processes: int = 1) -> None:
        self._shape, self._peak_flops = shape, peak_flops * processes

    def share(self, tokens: int, supervised: int, attended: int, seconds: float) -> float:
        """Of the time that it took to compute so many tokens; 1 is the peak.

        What is faster than the peak shows that it was measured while the machine had more to do: it is the peak then.
        """
        reached = self._shape.training_flops(tokens, supervised, attended) / seconds
        if reached > self._peak_flops:
            told = f"{reached / 1e9:,.0f} instead of {self._peak_flops / 1e9:,.0f}"
            logger.info("the machine is faster than when it was measured: its peak is %s GFLOP/s", told)
            self._peak_flops = reached
        return reached / self._peak_flops


def measure_utilisation(model: Any, device: Device, processes: int = 1) -> Utilisation:
    """Measure the peak of the device at hand, and log it."""
    peak = measure_peak(device)
    logger.info("matrix products in %s: %s GFLOP/s at their peak", device.dtype_name, f"{peak / 1e9:,.0f}")
    return Utilisation(read_shape(model), peak, processes)
