"""Memory of the torch engine, estimated before anything is loaded: what fits, what is given up, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from character_chatbot.bases import PATH, Base
from character_chatbot.engines import torch_memory
from character_chatbot.engines.torch_memory import PROGRAM_BYTES, TorchPlan, plan_torch
from character_chatbot.machine.devices import Device
from utils.errors import BaseModelError

CPU = Device("cpu", "float32", "for a test")
MIB = 2**20
# Tied: the embedding is there once. 100 numbers each for 32 layers' caches would be 32 * 2 * 4 * 64.
SHAPE = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 1024,
    "intermediate_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 4,
    "tie_word_embeddings": True,
}  # fmt: skip
NUMBERS = 32000 * 1024 + 16 * (2 * 1024 * 1024 + 2 * 1024 * 256 + 3 * 1024 * 4096 + 2 * 1024) + 1024
KEPT = 2 * 16 * 4 * 64  # numbers for each token


@pytest.fixture
def base(tmp_path: Path) -> Base:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    return Base(PATH, "a base", str(tmp_path))


def plan(base: Base, free: int | None, monkeypatch: pytest.MonkeyPatch, adapter: Path | None = None) -> TorchPlan:
    monkeypatch.setattr(torch_memory, "available_bytes", lambda kind: free)
    return plan_torch(base, CPU, 16_384, adapter)


def test_weights_cache_and_program_are_counted(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(bytes(5000))
    found = plan(base, None, monkeypatch, tmp_path)
    assert found.footprint is not None
    assert found.footprint.weights == 4 * NUMBERS + 5000
    assert found.footprint.serving_bytes(1000) == 4 * NUMBERS + 5000 + 1000 * 4 * KEPT + PROGRAM_BYTES["cpu"]
    assert (found.device, found.cache_tokens) == (CPU, 16_384)


def test_less_is_kept_where_memory_is_short(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(base, 4 * NUMBERS + PROGRAM_BYTES["cpu"] + 2000 * 4 * KEPT, monkeypatch)
    assert (found.device.dtype_name, found.cache_tokens) == ("float32", 2000)


def test_half_the_bytes_where_float32_does_not_fit(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(base, 3 * NUMBERS + PROGRAM_BYTES["cpu"], monkeypatch)
    assert (found.device.dtype_name, found.device.reason) == ("bfloat16", "in float32 it does not fit")
    assert found.cache_tokens >= 1024


def test_what_fits_in_no_way_is_refused_with_what_would(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BaseModelError, match=r"a base takes 1\.\d GiB in float32 or 1\.\d GiB in bfloat16") as caught:
        plan(base, NUMBERS, monkeypatch)
    assert "quarter" in caught.value.instead
    assert "GiB" in caught.value.remedies[0][1]


def test_unknown_architecture_is_not_refused(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: object) -> int:
        raise RuntimeError("nobody knows")

    monkeypatch.setattr(torch_memory, "count_numbers", fail)
    assert plan(base, 1, monkeypatch) == TorchPlan(CPU, 16_384)
