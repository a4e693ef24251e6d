"""How much memory a training will take, before anything is loaded, and how it is made to fit.

    plan = plan_training(demand, available_bytes(device.kind))      # raises TrainingError: it cannot fit
    logger.info("%s", plan.estimate)                                # memory: 1.3 of 23.0 GiB: weights 0.5, …

Weights, adapter, gradients and optimizer are counted on a model without weights; activations and logits come from a
step on fake tensors (:mod:`character_chatbot.machine.activations`). ``benchmarks/memory.py`` holds it against
measurements.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from character_chatbot.machine.devices import Device
from character_chatbot.training.examples import Example
from character_chatbot.training.quantisation import INSTALL, is_installed
from config import TrainingSettings
from utils.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

logger = logging.getLogger(__name__)

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# nf4 with double quantisation: 4 bits, and a scale of 8 bits for each 64 numbers, and one of 32 for each 64 * 256
# (Dettmers et al. 2023, "QLoRA", section 3): 4.127 bits.
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
# float32 for each trainable number: itself, its gradient, and Adam's two averages (Kingma and Ba 2015).
ADAPTER_BYTES, GRADIENT_BYTES, OPTIMIZER_BYTES = 4, 4, 8
# Python with torch, transformers, peft and trl while it trains a base of 1.6 million parameters, less what that takes.
PROCESS_BYTES = 565 * 2**20
# What glibc's allocator holds back of freed activations, unless it hands them back at once, as with checkpointing
# (machine_memory.hand_back_freed_memory); what CUDA's holds back. Measured: benchmarks/memory.py, tests/test_gpu.py.
KEPT_SHARE = {"cpu": 0.18, "cuda": 0.1}
WORKSPACE_BYTES = 128 * 2**20
COMFORTABLE = 0.9  # of what is available; the estimate may be off by some percent
HALF = 0.5  # of a GPU: a base that takes more in half precision is quantised
SHORTEST = 64  # tokens: a shorter limit leaves hardly a dialogue


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what they are for; ``available``: what this process can have, None if the system does not say."""

    parts: dict[str, int]
    available: int | None = None

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def share(self) -> float:
        """Of what is available; 0 where that is not known."""
        return self.total / self.available if self.available else 0.0

    def by_part(self) -> str:
        """``weights 0.5, activations 1.4, …``, in GiB."""
        return ", ".join(f"{name} {_gib(size)}" for name, size in self.parts.items())

    def __str__(self) -> str:
        available = _gib(self.available) if self.available else "?"
        return f"memory: about {_gib(self.total)} of {available} GiB: {self.by_part()}"


@dataclass(frozen=True)
class Way:
    """How a training uses memory: sequences at once, activation checkpointing, the base in nf4."""

    batch: int
    checkpointing: bool = False
    quantised: bool = False


@dataclass(frozen=True)
class Plan:
    way: Way
    estimate: MemoryEstimate | None  # None: this architecture cannot be estimated
    reasons: tuple[str, ...] = ()

    def apply(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with what was chosen."""
        return replace(
            settings,
            sequences_per_batch=self.way.batch,
            activation_checkpointing="on" if self.way.checkpointing else "off",
            quantise="nf4" if self.way.quantised else "none",
        )


@dataclass(frozen=True)
class Demand:
    """A training whose memory is asked about. ``batch``: sequences at once, if there is room for them."""

    config: PretrainedConfig
    examples: Sequence[Example] = field(repr=False)
    settings: TrainingSettings
    device: Device
    batch: int

    @cached_property
    def counts(self) -> ParameterCounts:
        return count_parameters(self.config, self.settings.lora_rank)

    def estimate(self, way: Way, available: int | None = None) -> MemoryEstimate:
        """Raises an exception of any kind: the architecture cannot be run on fake tensors."""
        from character_chatbot.machine.activations import StepOptions, largest_batch, step_bytes

        settings, kind, counts = self.settings, self.device.kind, self.counts
        batch = largest_batch(self.examples, way.batch, settings.seed)
        options = StepOptions(
            settings.lora_rank, settings.lora_dropout, self.device.dtype_name, way.checkpointing, kind
        )
        element = BYTES[self.device.dtype_name]
        step = step_bytes(self.config, batch, options)
        logits = min(step, batch.learnt * self.config.get_text_config().vocab_size * (element + 4 + 4))
        unpacked = counts.largest_layer * element if way.quantised else 0
        return MemoryEstimate(
            {
                "weights": counts.weight_bytes(element, way.quantised) + unpacked,
                "adapter": counts.trainable * ADAPTER_BYTES,
                "gradients": counts.trainable * GRADIENT_BYTES,
                "optimizer": counts.trainable * OPTIMIZER_BYTES,
                "activations": step - logits,
                "logits": logits,
                "allocator": 0 if way.checkpointing and kind == "cpu" else int(step * KEPT_SHARE[kind]),
                "program": PROCESS_BYTES if kind == "cpu" else WORKSPACE_BYTES,
            },
            available,
        )


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers in a model. ``quantisable``: in linear layers other than the output layer. ``trainable``: adapter."""

    parameters: int
    quantisable: int
    largest_layer: int
    trainable: int

    def weight_bytes(self, element: int, quantised: bool) -> int:
        """Bytes of the weights, with ``element`` bytes for a number that is not in nf4."""
        packed = self.quantisable if quantised else 0
        return int(packed * NF4_BYTES) + (self.parameters - packed) * element


def count_parameters(config: PretrainedConfig, rank: int) -> ParameterCounts:
    """Exact counts, tied layers once, from a model without weights."""
    import torch

    from character_chatbot.machine.activations import meta_model, with_adapter

    model = meta_model(config, torch.float32)
    output = model.get_output_embeddings()
    linear = [each for each in model.modules() if isinstance(each, torch.nn.Linear) and each is not output]
    sizes, parameters = [each.weight.numel() for each in linear], model.num_parameters()
    adapted = with_adapter(model, rank, 0.0)
    trainable = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    return ParameterCounts(parameters, sum(sizes), max(sizes, default=0), trainable)


def plan_training(demand: Demand, available: int | None) -> Plan:
    """The first way that fits with comfort: as asked, with fewer sequences at once, with checkpointing, in nf4.

    Raises:
        TrainingError: no way fits; it names the changes that would.
    """
    try:
        return _plan(demand, available)
    except TrainingError:
        raise
    except Exception as error:  # the hub has architectures that nobody has run on fake tensors
        logger.debug("no estimate", exc_info=True)
        reason = f"the memory of a {demand.config.model_type} cannot be estimated ({type(error).__name__})"
        wanted = demand.settings
        way = Way(demand.batch, wanted.activation_checkpointing == "on", wanted.quantise == "nf4")
        return Plan(way, None, (reason,))


def _plan(demand: Demand, available: int | None) -> Plan:
    first, quantised_because = _first_way(demand, available)
    ways = list(_ways(demand, first))
    estimates: dict[Way, MemoryEstimate] = {}
    for way in ways:
        estimates[way] = demand.estimate(way, available)
        if estimates[way].share() <= COMFORTABLE:
            return Plan(way, estimates[way], (*quantised_because, *_changes(first, way, estimates[first])))
    least = min(ways, key=lambda way: estimates[way].total)
    if estimates[least].share() <= 1:
        reasons = (*quantised_because, *_changes(first, least, estimates[first]), "it is close: watch the memory")
        return Plan(least, estimates[least], reasons)
    raise _refuse(demand, least, estimates[least])


def _first_way(demand: Demand, available: int | None) -> tuple[Way, tuple[str, ...]]:
    """What is wanted, before it has to fit, and why it is quantised if it is."""
    settings = demand.settings
    way = Way(demand.batch, settings.activation_checkpointing == "on", settings.quantise == "nf4")
    if demand.device.kind != "cuda" or settings.quantise != "auto" or not available:
        return way, ()
    estimate = demand.estimate(way, available)
    if estimate.share() <= HALF:
        return way, (f"{demand.device.dtype_name}, no nf4: the base fits into {estimate.share():.0%} of the GPU",)
    if not is_installed():
        return way, (f"no bitsandbytes: {demand.device.dtype_name}; for a base in 4 bits: {INSTALL}",)
    reason = f"nf4: in {demand.device.dtype_name} this takes {estimate.share():.0%} of the GPU, more than {HALF:.0%}"
    return replace(way, quantised=True), (reason,)


def _ways(demand: Demand, first: Way) -> Iterator[Way]:
    """From the one that is wanted to the one that takes the least; none that the settings rule out."""
    sizes = [size for size in range(first.batch, 0, -1) if first.batch % size == 0]
    if demand.settings.sequences_per_batch:
        sizes = sizes[:1]  # the user's own number stays
    yield from (replace(first, batch=size) for size in sizes)
    if demand.settings.activation_checkpointing == "auto":
        yield from (replace(first, batch=size, checkpointing=True) for size in sizes)


def _changes(wanted: Way, way: Way, estimate: MemoryEstimate) -> Iterator[str]:
    """What was changed to make it fit, for people."""
    because = f"otherwise it takes {_gib(estimate.total)} of {_gib(estimate.available or 0)} GiB"
    if way.checkpointing and not wanted.checkpointing:
        yield f"activation checkpointing is on, about a third slower: {because}"
    if way.batch < wanted.batch:
        yield f"{way.batch} instead of {wanted.batch} sequences at once: {because}"


def _refuse(demand: Demand, least: Way, estimate: MemoryEstimate) -> TrainingError:
    available, remedies = estimate.available or 0, []
    settings = demand.settings
    tried = {
        ("Fewer sequences at once", "training.sequences_per_batch: 1 in aws_config.yaml"): replace(least, batch=1),
        ("Keep less for the way back", "training.activation_checkpointing: on in aws_config.yaml"): replace(
            least, batch=1, checkpointing=True
        ),
    }
    if demand.device.kind == "cuda":
        flag = "--quantise nf4" if is_installed() else f"{INSTALL}, then --quantise nf4"
        tried["A base in 4 bits", flag] = replace(least, batch=1, quantised=True)
    for remedy, way in tried.items():
        if way != least and demand.estimate(way).total <= available:
            remedies.append(remedy)
    limit = _length_that_fits(demand, least, available)
    if limit:
        remedies.append(("Shorter dialogues", f"training.max_length: {limit} in aws_config.yaml"))
    if not remedies:
        remedies = [("A smaller base", "--base HuggingFaceTB/SmolLM2-135M-Instruct, or --base nano")]
    return TrainingError(
        f"this training takes about {_gib(estimate.total)} GiB, and {_gib(available)} can be had.",
        instead=f"With sequences of {settings.max_length} tokens, {least.batch} at once: {estimate.by_part()}.",
        remedies=remedies,
    )


def _length_that_fits(demand: Demand, way: Way, available: int) -> int:
    """The longest of the halved limits with which some dialogues are left and the training fits; 0: none."""
    limit = demand.settings.max_length // 2
    while limit >= SHORTEST:
        short = [each for each in demand.examples if len(each.input_ids) <= limit]
        if short and replace(demand, examples=short).estimate(replace(way, batch=1)).total <= available:
            return limit
        limit //= 2
    return 0


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
