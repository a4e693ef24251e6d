"""In which number format a model is trained, and that the reason is said."""

from __future__ import annotations

import pytest
import torch

from character_chatbot.machine.devices import Device, choose_training_device, measure_bfloat16

CPU = Device("cpu", "float32", "no CUDA")


@pytest.mark.parametrize(
    ("ratio", "dtype", "reason"),
    [(2.1, "bfloat16", "2.1 times float32"), (1.2, "bfloat16", "1.2 times"), (1.1, "float32", "1.1 times float32: fl")],
)
def test_bfloat16_on_a_cpu_where_it_is_faster(ratio: float, dtype: str, reason: str) -> None:
    found = choose_training_device(CPU, lambda: ratio)
    assert (found.kind, found.dtype_name) == ("cpu", dtype)
    assert reason in found.reason
    assert " cores: " in found.reason
    assert found.dtype == getattr(torch, dtype)


def test_a_gpu_is_not_measured() -> None:
    device = Device("cuda", "float16", "compute capability 7.5 has no bfloat16")
    assert choose_training_device(device, lambda: 1 / 0) is device


def test_what_is_measured_is_a_ratio() -> None:
    assert 0.01 < measure_bfloat16() < 100
