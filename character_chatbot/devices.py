"""Where a model runs and in which number format, with the reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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
