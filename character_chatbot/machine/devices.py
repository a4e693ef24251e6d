"""Where a model runs and in which number format, with the reason."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Training takes bfloat16 on a CPU from here on; where it is emulated, it is several times slower.
WORTHWHILE = 1.2
# On a CPU like the widest layer of a small base on a row of tokens; five of each take about half a second on two cores.
PRODUCTS = {"cpu": (512, 1536, 1536), "cuda": (4096, 4096, 4096)}  # rows, width in, width out
REPEATS = 5


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

    seconds = measure_products([torch.float32, torch.bfloat16])
    return statistics.median(seconds[torch.float32]) / statistics.median(seconds[torch.bfloat16])


def product_flops(kind: str = "cpu") -> int:
    """FLOPs of the product that :func:`measure_products` measures."""
    rows, width_in, width_out = PRODUCTS[kind]
    return 2 * rows * width_in * width_out


def measure_products(dtypes: Sequence[torch.dtype], kind: str = "cpu") -> dict[torch.dtype, list[float]]:
    """Seconds of some products of two matrices in each number format, measured in turn."""
    import torch

    rows, width_in, width_out = PRODUCTS[kind]
    left, right = torch.rand(rows, width_in, device=kind), torch.rand(width_in, width_out, device=kind)
    formats = {dtype: (left.to(dtype), right.to(dtype)) for dtype in dtypes}
    seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in formats}
    for _ in range(REPEATS + 1):  # the first one of each sets up
        for dtype, (one, other) in formats.items():
            started = time.perf_counter()
            torch.mm(one, other)
            if kind == "cuda":
                torch.cuda.synchronize()
            seconds[dtype].append(time.perf_counter() - started)
    return {dtype: taken[1:] for dtype, taken in seconds.items()}
