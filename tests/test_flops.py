"""FLOPs of a training step: counted by hand, and by torch as it computes one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from character_chatbot.machine.devices import Device
from character_chatbot.machine.flops import (
    StepShape,
    Utilisation,
    count_attended,
    measure_peak,
    measure_utilisation,
    read_shape,
)
from character_chatbot.monitoring.metrics_file import Measured
from character_chatbot.monitoring.progress import bar_text
from character_chatbot.nano import build_model
from character_chatbot.training.examples import IGNORED, Example
from character_chatbot.training.packing import NOBODY, PackingCollator, block_mask
from character_chatbot.training.reply_trainer import reply_nats
from config import NanoSettings

CPU = Device("cpu", "float32", "")


def example(persona: int, context: int, reply: int) -> Example:
    ids = tuple(range(10, 10 + persona + context + reply))
    return Example(ids, (*[IGNORED] * (persona + context), *ids[persona + context :]), persona)


def batch(*examples: Example) -> dict[str, torch.Tensor]:
    features = [{"input_ids": e.input_ids, "labels": e.labels, "shared": e.shared} for e in examples]
    return PackingCollator(1000)(features)


@pytest.fixture(params=["llama", "qwen"])
def model(request: pytest.FixtureRequest, nano_tokenizers: dict[str, Any]) -> Any:
    settings = NanoSettings(vocabulary=400, hidden_size=32, layers=2, heads=4)
    base = build_model(request.param, nano_tokenizers[request.param], settings).float()
    base.set_attn_implementation("eager")  # its products are those that torch counts
    return get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))


def test_the_shape_of_a_model_is_that_of_its_matrices(model: Any) -> None:
    shape = read_shape(model)
    weights = {name: each for name, each in model.named_parameters() if each.ndim == 2 and "embed" not in name}
    lora = sum(each.numel() for name, each in weights.items() if "lora_" in name)
    assert (shape.adapter_weights, shape.head_weights) == (lora, 400 * 32)
    layers = sum(each.numel() for name, each in weights.items() if "lora_" not in name and "lm_head" not in name)
    assert shape.layer_weights == layers
    assert shape.attention_width == 2 * 4 * 8


def test_flops_are_those_that_torch_counts(model: Any) -> None:
    row = batch(example(5, 40, 20))
    tokens, supervised = row["input_ids"].numel(), int((row["labels"] != IGNORED).sum())
    with FlopCounterMode(display=False) as counter:
        reply_nats(model, model, row)[0].backward()
    # Eager attention computes all pairs, those that the mask hides too. Nothing asks for the gradient of the first
    # layer's input, which is the gradient of three of its matrices for the base, and of their adapters.
    wanted = read_shape(model).training_flops(tokens, supervised, tokens * tokens)
    assert counter.get_total_flops() == pytest.approx(wanted, rel=0.06)
    assert counter.get_total_flops() <= wanted


def test_a_token_attends_to_what_the_mask_shows_it() -> None:
    row = batch(example(3, 2, 2), example(3, 4, 1), example(0, 1, 1))
    shown = int(block_mask(row["segment"], row["persona"]).sum())
    assert count_attended(row, row["segment"] != NOBODY) == shown


def test_padding_is_not_counted() -> None:
    collate = PackingCollator(8)
    row = collate(
        [{"input_ids": e.input_ids, "labels": e.labels, "shared": 0} for e in (example(0, 4, 4), example(0, 1, 1))]
    )
    assert count_attended(row, row["segment"] != NOBODY) == 36 + 3


def test_flops_and_the_share_by_hand() -> None:
    shape = StepShape(layer_weights=100, adapter_weights=10, head_weights=50, attention_width=8)
    flops = 4 * 100 * 6 + 6 * 10 * 6 + 4 * 50 * 2 + 12 * 8 * 21
    assert shape.training_flops(6, 2, 21) == flops
    used = Utilisation(shape, flops * 1.0, processes=2)
    assert used.share(6, 2, 21, seconds=2.0) == 0.25
    assert used.share(6, 2, 21, seconds=0.25) == 1.0  # faster than its peak: that was measured on a busy machine
    assert used.share(6, 2, 21, seconds=0.5) == 0.5


def test_the_peak_is_that_of_this_machine(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert 1e8 < measure_peak(CPU) < 1e14
    with caplog.at_level("INFO"):
        found = measure_utilisation(model, CPU)
    assert "GFLOP/s" in caplog.text
    assert 0 < found.share(1000, 10, 1000, seconds=1.0) < 1


def test_the_bar_shows_the_share_memory_and_pace() -> None:
    measured = Measured(1, 2, loss=2.3, tokens_per_second=812.0, utilisation=0.476, peak_memory_bytes=1_200_000_000)
    assert bar_text(measured) == "loss 2.300, 812 tokens/s (0 supervised), 48% of the machine, peak 1.2 GB"
