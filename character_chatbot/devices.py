"""Where a model runs and in which number format, with the reason."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Training takes bfloat16 on a CPU from here on; where it is emulated, it is several times slower.
WORTHWHILE = 1.2
# Like the widest layer of a small base on a row of tokens; five of each take about half a second on two cores.
ROWS, WIDTH_IN, WIDTH_OUT, REPEATS = 512, 1536, 1536, 5


@dataclass(frozen=True)
class Device:
    kind: str  # "cuda" or "cpu"
    dtype_name: str  # of the base's weights
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        import torch

        found: torch.dtype = getattr(torch, self.dtype_name)
        return found


def choose_device() -> Device:
    """CUDA where there is one, else the CPU in float32.

    bfloat16 needs compute capability 8.0 (NVIDIA's CUDA programming guide); ``torch.cuda.is_bf16_supported`` also
    counts emulation, which is slower than float16.
    """
    import torch

    if not torch.cuda.is_available():
        return Device("cpu", "float32", f"no CUDA: float32 on {len(os.sched_getaffinity(0))} cores")
    name, (major, minor) = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    if (major, minor) >= (8, 0):
        return Device("cuda", "bfloat16", f"{name}, compute capability {major}.{minor}: bfloat16")
    return Device("cuda", "float16", f"{name}, compute capability {major}.{minor} has no bfloat16: float16")


def choose_training_device(device: Device, measure: Callable[[], float] | None = None) -> Device:
    """The device for training: on a CPU bfloat16 where it is measured to be faster, else as it is.

    Args:
        device: from :func:`choose_device`.
        measure: how many times faster bfloat16 is (default: :func:`measure_bfloat16`).
    """
    if device.kind != "cpu":
        return device
    ratio, cores = (measure or measure_bfloat16)(), len(os.sched_getaffinity(0))
    found = f"bfloat16 on {cores} cores: {ratio:.1f} times float32"
    if ratio >= WORTHWHILE:
        return Device("cpu", "bfloat16", found)
    return Device("cpu", "float32", f"{found}: float32")


def measure_bfloat16() -> float:
    """How many times faster matrices are multiplied in bfloat16 than in float32: medians, in turn."""
    import torch

    left, right = torch.rand(ROWS, WIDTH_IN), torch.rand(WIDTH_IN, WIDTH_OUT)
    formats = {dtype: (left.to(dtype), right.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in formats}
    for _ in range(REPEATS + 1):  # the first one of each sets up
        for dtype, (one, other) in formats.items():
            started = time.perf_counter()
            torch.mm(one, other)
            seconds[dtype].append(time.perf_counter() - started)
    medians = {dtype: statistics.median(taken[1:]) for dtype, taken in seconds.items()}
    return medians[torch.float32] / medians[torch.bfloat16]
