"""How much memory a model takes in torch while it speaks, before anything is loaded; what cannot fit is refused.

    plan = plan_torch(base, choose_device(), cache_tokens=16_384, adapter=folder)
    plan.device                          # bfloat16 where float32 would not fit into a CPU's memory
    plan.cache_tokens                    # so many tokens of conversations are kept read

Numbers are counted on a model without weights, so that a base is refused before gigabytes of it come from the hub.
benchmarks/serving.py holds the estimate against what is taken; docs/serving.md has the table.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.bases import Base, load_config
from character_chatbot.machine.devices import Device
from character_chatbot.machine.machine_memory import available_bytes
from utils.errors import BaseModelError
from utils.exports import GIB, MIB, Footprint

if TYPE_CHECKING:
    from transformers import PretrainedConfig

logger = logging.getLogger(__name__)

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Python with torch, transformers and peft, and the activations of a prompt. Measured beside the weights after prompts
# of up to 1,800 tokens: 570 MiB with 7 million numbers, 610 with half a thousand million in bfloat16.
PROGRAM_BYTES = {"cpu": 700 * MIB, "cuda": 512 * MIB}
ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class TorchPlan:
    """``device``: with the numbers' format. ``footprint`` None: this architecture cannot be estimated."""

    device: Device
    cache_tokens: int
    footprint: Footprint | None = None


def plan_torch(
    base: Base, device: Device, cache_tokens: int, adapter: Path | None = None, token: str = ""
) -> TorchPlan:
    """The first way that fits: as the device says, with less cache, on a CPU in half the bytes a number.

    Raises:
        BaseModelError: the base cannot be had, or fits in no way; it says what would fit.
    """
    config = load_config(base, token)
    available = available_bytes(device.kind)
    tried: list[tuple[Device, Footprint]] = []
    for way in _ways(device):
        footprint = estimate_torch(config, way, adapter)
        if footprint is None:
            return TorchPlan(way, cache_tokens)
        tokens = footprint.fitting_tokens(available, cache_tokens)
        if tokens:
            plan = TorchPlan(way, tokens, footprint)
            _log(plan, device, cache_tokens, available)
            return plan
        tried.append((way, footprint))
    raise _refuse(base, tried, available or 0)


def _ways(device: Device) -> list[Device]:
    half = replace(device, dtype_name="bfloat16", reason="in float32 it does not fit")
    return [device, half] if device.dtype_name == "float32" and device.kind == "cpu" else [device]


def estimate_torch(config: PretrainedConfig, device: Device, adapter: Path | None = None) -> Footprint | None:
    """Bytes of the weights, of the adapter in float32, of each token kept; None: it cannot be counted."""
    element = BYTES[device.dtype_name]
    try:
        weights = count_numbers(config) * element
        kept = _key_value_numbers(config) * element
    except Exception as error:  # the hub has architectures that nobody has built without weights
        logger.debug("no estimate", exc_info=True)
        logger.info("the memory of a %s cannot be estimated (%s)", config.model_type, type(error).__name__)
        return None
    file = adapter / ADAPTER if adapter else None
    extra = file.stat().st_size if file and file.is_file() else 0
    return Footprint(weights + extra, kept, PROGRAM_BYTES[device.kind])


def count_numbers(config: PretrainedConfig) -> int:
    """Numbers of a model, tied layers once."""
    import torch

    from character_chatbot.machine.activations import meta_model

    return int(meta_model(config, torch.float32).num_parameters())


def _key_value_numbers(config: Any) -> int:
    """That the cache keeps for each token."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    return int(2 * text.num_hidden_layers * (getattr(text, "num_key_value_heads", None) or heads) * size)


def _log(plan: TorchPlan, wanted: Device, cache_tokens: int, available: int | None) -> None:
    if plan.footprint is None:
        return
    needed, free = plan.footprint.serving_bytes(plan.cache_tokens), f" of {available / GIB:.1f}" if available else ""
    logger.info("memory: about %.1f%s GiB in %s", needed / GIB, free, plan.device.dtype_name)
    if plan.device != wanted:
        logger.info("%s instead of %s: %s", plan.device.dtype_name, wanted.dtype_name, plan.device.reason)
    if plan.cache_tokens < cache_tokens:
        logger.info("%d tokens are kept read instead of %d: memory is short", plan.cache_tokens, cache_tokens)


def _refuse(base: Base, tried: list[tuple[Device, Footprint]], available: int) -> BaseModelError:
    sizes = [f"{footprint.least_bytes() / GIB:.1f} GiB in {way.dtype_name}" for way, footprint in tried]
    least = min(footprint.least_bytes() for _, footprint in tried)
    place = "on the GPU" if tried[0][0].kind == "cuda" else "of memory"
    return BaseModelError(
        f"{base.name} takes {' or '.join(sizes)}, and {available / GIB:.1f} GiB {place} can be had.",
        instead="Exported in 4 bits (docs/serving.md) it takes about a quarter of the last; quotes fit anywhere.",
        remedies=[("Serve it on", f"a machine with {least / GIB + 0.5:.1f} GiB, or choose a smaller base")],
    )
