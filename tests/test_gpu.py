"""What only a CUDA device shows: 4 bits, float16 with its scaler, and a GPU that is full. Run with -m gpu."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from character_chatbot.machine.devices import Device, choose_device
from character_chatbot.training.adapter import TrainingResult
from utils.announcements import Announcements

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture
def trained(series_folder: Callable[..., Path], nano_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """Trains four steps on the GPU."""
    from doubles import killed_training as double

    from character_chatbot.bases import load_model, nano_base
    from character_chatbot.training.adapter import train_adapter

    series, base = series_folder(episodes=4), nano_folder()
    settings = replace(double.SETTINGS, max_steps=4, checkpoint_steps=0, sequences_per_step=8, sequences_per_batch=4)

    def train(device: Device, *, quantised: bool = False, announcements: Any = None, **changes: Any) -> TrainingResult:
        _, tokenizer, examples = double.load(series, base)
        model = load_model(nano_base(base), device, quantised=quantised)
        return train_adapter(
            model, tokenizer, examples, settings=replace(settings, **changes), device=device,
            folder=tmp_path / f"{len(list(tmp_path.iterdir()))}", announcements=announcements,
        )  # fmt: skip

    return train


def check(found: TrainingResult) -> None:
    assert all(math.isfinite(loss) for _, loss in found.losses)
    assert {each.dtype for each in found.model.parameters() if each.requires_grad} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("quantised", [False, True])
def test_all_number_formats_train(trained: Callable[..., Any], dtype: str, quantised: bool) -> None:
    """With trainables in half precision the scaler of float16 raises in the first step."""
    if quantised:
        pytest.importorskip("bitsandbytes")
    if dtype == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("no bfloat16 below compute capability 8.0")
    check(trained(Device("cuda", dtype, "a test"), quantised=quantised))


def test_a_full_gpu_is_trained_on_in_parts(trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own limit makes a real OutOfMemoryError: the first whole batch asks for more than all that is left."""
    from character_chatbot.training import reply_trainer

    device, announcements, real = choose_device(), Announcements(), reply_trainer.reply_nats
    whole = trained(device, lora_dropout=0.0)
    refused: list[int] = []

    def greedy(model: Any, inner: Any, inputs: Any) -> Any:
        if not refused:
            refused.append(1)
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        return real(model, inner, inputs)

    monkeypatch.setattr(reply_trainer, "reply_nats", greedy)
    parts = trained(device, announcements=announcements, lora_dropout=0.0)
    assert [loss for _, loss in parts.losses] == pytest.approx([loss for _, loss in whole.losses], abs=0.01)
    assert [each.feature for each in announcements] == ["sequences in memory at once"]


def test_the_estimate_is_near_the_peak() -> None:
    """On a 135M shape: what torch held at most, against the estimate without CUDA's own workspaces."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from character_chatbot.machine.activations import StepOptions, largest_batch, step_bytes
    from character_chatbot.training.examples import IGNORED, Example
    from character_chatbot.training.packing import PackingCollator
    from character_chatbot.training.reply_trainer import reply_nats

    shape = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    config = LlamaConfig(**shape, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
    device = choose_device()
    ids = tuple(range(240))
    examples = [Example(ids, (*[IGNORED] * 200, *ids[200:]), 50) for _ in range(8)]
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).to(device.dtype)
    lora = LoraConfig(r=16, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    model.train()
    batch = {name: each.to("cuda") for name, each in PackingCollator()([vars(each) for each in examples]).items()}
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", device.dtype):
        nats, _ = reply_nats(model, model, batch)
    nats.backward()
    gradients = sum(each.numel() * 4 for each in model.parameters() if each.requires_grad)
    measured = torch.cuda.max_memory_allocated() - before - gradients
    options = StepOptions(16, 0.05, device.dtype_name, kind="cuda")
    assert step_bytes(config, largest_batch(examples, 8, 7), options) == pytest.approx(measured, rel=0.2)
