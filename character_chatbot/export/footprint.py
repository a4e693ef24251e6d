"""How much memory and disk an export takes, and serving it, before anything is loaded.

Measured on two cores: OpenVINO holds the weights once more in the order in which it multiplies them (the file's own
pages are the kernel's to drop), the cache as it fills, and the process itself.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from character_chatbot.export.architecture import Architecture
from character_chatbot.export.compression import choose_group
from character_chatbot.export.weights import Weights
from utils.errors import BaseModelError

MIB, GIB = 2**20, 2**30
# Measured in the 3B shape (docs/serving.md): 260 MiB beside weights and cache; 1.4 times with an adapter put on.
PROCESS_BYTES = 300 * MIB  # Python, OpenVINO and the activations of a step
CACHE_BYTES_PER_NUMBER = 1.2  # the cache is kept in 8 bits, with a scale and a zero point for each group
ADAPTER_FACTOR = 1.5
LARGEST_COPIES = 4  # float32, and what packing makes of it on the way
SMALLEST_CACHE_TOKENS = 1024


@dataclass(frozen=True)
class Footprint:
    """Bytes: ``weights`` in memory, ``cache_token`` for each token of a conversation, ``program``: all else."""

    weights: int
    cache_token: float
    program: int = PROCESS_BYTES

    def serving_bytes(self, cache_tokens: int) -> int:
        """What the engine's process takes at most."""
        return int(self.weights + self.cache_token * cache_tokens + self.program)

    def least_bytes(self) -> int:
        """With the smallest cache that is worth its while."""
        return self.serving_bytes(SMALLEST_CACHE_TOKENS)

    def with_adapter(self) -> Footprint:
        """With an adapter put on at run time: OpenVINO then keeps some of what it is put on unpacked."""
        return Footprint(int(ADAPTER_FACTOR * self.weights), self.cache_token)

    def fitting_tokens(self, available: int | None, wanted: int) -> int:
        """As many tokens of cache as fit, at most ``wanted``; 0 where not even the weights do."""
        if available is None:
            return wanted
        left = available - self.weights - self.program
        tokens = min(wanted, int(left / self.cache_token)) if left > 0 else 0
        return tokens if tokens >= min(wanted, SMALLEST_CACHE_TOKENS) else 0


def cache_token_bytes(shape: Architecture) -> float:
    return shape.key_value_numbers() * CACHE_BYTES_PER_NUMBER


def packed_bytes(shapes: Sequence[tuple[int, ...]], bits: int) -> int:
    """About how large matrices become; ``shapes``: (rows, columns) each."""
    total = 0.0
    for shape in shapes:
        numbers, group = math.prod(shape), choose_group(shape[-1])
        total += numbers * (0.5 + 2.5 / group) if bits == 4 and group else numbers
    return int(total)


def check_export_fits(weights: Weights, bits: int, folder: Path, available: int | None) -> None:
    """Refuse an export that this machine cannot make. Raises BaseModelError: says what would fit."""
    shapes = [tensor.shape for tensor in weights.tensors.values()]
    packed = packed_bytes(shapes, bits)
    needed = packed + LARGEST_COPIES * 4 * max(math.prod(shape) for shape in shapes) + PROCESS_BYTES
    if available is not None and needed > available:
        raise BaseModelError(
            f"the export takes {needed / GIB:.1f} GiB of memory, and {available / GIB:.1f} GiB are free.",
            instead="It is made where the training ran, or on any other machine, and goes into the registry.",
            remedies=[("A smaller one", "--bits 4")] if bits != 4 else [],
        )
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if free < 2 * packed:
        raise BaseModelError(
            f"the export takes {2 * packed / GIB:.1f} GiB of disk, and {free / GIB:.1f} GiB are free in {existing}.",
            remedies=[("Another place", "--out DIR")],
        )
