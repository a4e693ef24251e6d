"""What a training step keeps in memory beside the weights, found without any memory: it is run on fake tensors.

    step_bytes(config, largest_batch(examples, 8, seed), StepOptions(rank=16, dropout=0.05, dtype_name="float32"))

torch's FakeTensorMode (pytorch.org/docs, torch.compiler_fake_tensor) computes shapes only. Forward and backward pass of
the real architecture run on it, with the adapter, and each storage is counted from the moment it is made until it is
freed: what autograd keeps, dropout masks, casts and temporaries are all in it, whatever the architecture. What a step
keeps grows by the same amount with each layer, so two small depths tell of any.
"""

from __future__ import annotations

import copy
import json
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from character_chatbot.training.examples import IGNORED, Example

if TYPE_CHECKING:
    from transformers import PretrainedConfig

DEPTHS = (2, 3)  # layers that are run; the rest is a straight line
DRAWS = 50  # batches among which the largest is looked for


@dataclass(frozen=True)
class Batch:
    """What is in memory at once: packed rows, padding included; ``learnt``: reply tokens in all.

    ``segment``, ``persona``: one tuple for each row, as of :class:`character_chatbot.training.packing.PackingCollator`.
    """

    segment: tuple[tuple[int, ...], ...]
    persona: tuple[tuple[int, ...], ...]
    learnt: int

    @property
    def rows(self) -> int:
        return len(self.segment)

    @property
    def width(self) -> int:
        return len(self.segment[0])

    @property
    def tokens(self) -> int:
        return self.rows * self.width


def largest_batch(examples: Sequence[Example], size: int, seed: int, draws: int = DRAWS) -> Batch:
    """The batch of ``size`` examples that takes the most tokens, of so many drawn as the trainer draws them."""
    from character_chatbot.training.packing import PackingCollator

    collate, random = PackingCollator(), Random(seed)  # noqa: S311 (no secret is drawn)
    size = min(size, len(examples))
    drawn = [random.sample(list(examples), size) for _ in range(min(draws, max(1, len(examples))))]
    if size == 1:
        drawn = [[max(examples, key=lambda each: len(each.input_ids))]]
    laid = [collate([vars(each) for each in batch]) for batch in drawn]
    most = max(laid, key=lambda each: int(each["input_ids"].numel()))
    learnt = max(int((each["labels"] != IGNORED).sum()) for each in laid)
    segment, persona = (tuple(map(tuple, most[name].tolist())) for name in ("segment", "persona"))
    return Batch(segment, persona, learnt)


@dataclass(frozen=True)
class StepOptions:
    """What shapes a step. ``dtype_name``: of the weights; the trainable ones are float32 (mixed precision)."""

    rank: int
    dropout: float
    dtype_name: str
    checkpointing: bool = False
    kind: str = "cpu"  # of the device: on a CPU attention goes by segments


def step_bytes(config: PretrainedConfig, batch: Batch, options: StepOptions) -> int:
    """Most bytes that activations, logits and temporaries of one forward and backward pass take at once.

    Gradients of the adapter are not in it.

    Raises:
        Exception: of any kind: the architecture cannot be run on fake tensors.
    """
    kind: Any = type(config)
    return _step_bytes(config.to_json_string(use_diff=False), kind, batch, options)


@lru_cache(maxsize=64)
def _step_bytes(text: str, kind: Any, batch: Batch, options: StepOptions) -> int:
    config, layers = kind.from_dict(json.loads(text)), int(json.loads(text)["num_hidden_layers"])
    few, more = (_run(_with_layers(config, depth), batch, options) for depth in DEPTHS)
    return max(0, few + (more - few) * (layers - DEPTHS[0]) // (DEPTHS[1] - DEPTHS[0]))


def _with_layers(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    shallow = copy.deepcopy(config)
    shallow.num_hidden_layers = layers
    if getattr(shallow, "layer_types", None):
        shallow.layer_types = shallow.layer_types[:layers]
    return shallow


def meta_model(config: PretrainedConfig, dtype: torch.dtype) -> Any:
    """A model without weights: shapes, number formats and tied layers only."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def with_adapter(model: Any, rank: int, dropout: float) -> Any:
    """The model with LoRA on all linear layers, as training.py builds it."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=rank, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.device("meta"):
        return get_peft_model(model, lora)


def _run(config: PretrainedConfig, batch: Batch, options: StepOptions) -> int:
    dtype: torch.dtype = getattr(torch, options.dtype_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = with_adapter(meta_model(config, dtype), options.rank, options.dropout)
        model.train()
        if options.checkpointing:
            model.base_model.model.activation_checkpointing_enable({"use_reentrant": False})
            model.enable_input_require_grads()
        told = _who_sees_whom(model, batch, options.kind)
        with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cpu"):
            parameters = _make_fake(model)
            with LiveBytes(parameters) as live:
                _forward_and_backward(model, batch, dtype, told)
    gradients: int = sum(each.numel() * 4 for each in parameters if each.requires_grad)
    return int(live.peak - gradients)


def _make_fake(model: Any) -> list[torch.Tensor]:
    """Put fake tensors in place of the meta ones; all of them, tied ones once."""
    made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=torch.float32 if tensor.requires_grad else tensor.dtype)
            parameter = isinstance(tensor, torch.nn.Parameter)
            new = torch.nn.Parameter(empty, requires_grad=tensor.requires_grad) if parameter else empty
            made[id(tensor)] = (new, tensor)
        return made[id(tensor)][0]

    for module in model.modules():
        for kept in (module._parameters, module._buffers):
            kept.update({name: fake(tensor) for name, tensor in kept.items() if tensor is not None})
    return [new for new, _ in made.values()]


def _who_sees_whom(model: Any, batch: Batch, kind: str) -> dict[str, Any]:
    """Adapter layers as :class:`character_chatbot.training.reply_trainer.ReplyTrainer`'s, and attention so large."""
    from character_chatbot.machine.attention_memory import COUNTED
    from character_chatbot.training.attention import NO_MASK, find_pieces
    from character_chatbot.training.lora_linear import fuse_adapters

    fuse_adapters(model)
    config = model.config
    if kind != "cpu" or config._attn_implementation != "sdpa" or getattr(config, "attention_dropout", 0.0):
        return {}
    model.set_attn_implementation(COUNTED)
    segment, persona = torch.tensor(batch.segment), torch.tensor(batch.persona)
    return {"attention_mask": NO_MASK, "packed_pieces": find_pieces(segment, persona)}


def _forward_and_backward(model: Any, batch: Batch, dtype: torch.dtype, told: dict[str, Any]) -> None:
    """As :func:`character_chatbot.training.reply_trainer.reply_nats`, with the labels at the front, not in replies."""
    ids = torch.zeros(batch.rows, batch.width, dtype=torch.long)
    told = told or {"attention_mask": torch.ones(batch.rows, 1, batch.width, batch.width, dtype=torch.bool)}
    learnt = max(1, batch.learnt)

    def front(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        at = torch.zeros(learnt, dtype=torch.long)
        return (given[0].flatten(0, 1).index_select(0, at)[None],)

    model.get_output_embeddings().register_forward_pre_hook(front)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        logits = model(input_ids=ids, position_ids=ids, use_cache=False, **told).logits[0]
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.zeros(learnt, dtype=torch.long), reduction="sum")
    loss.backward()


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that live, but for those of ``known`` tensors; ``peak``: the most of them."""

    def __init__(self, known: Sequence[torch.Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known = {each.untyped_storage()._cdata for each in known}
        self._keep = list(known)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, torch.Tensor):
                self._add(each.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
