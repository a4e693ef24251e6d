"""How much memory and disk making an export takes, and what its cache takes as it serves, before anything is loaded."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from character_chatbot.export.architecture import Architecture
from character_chatbot.export.compression import choose_group
from character_chatbot.export.weights import Weights
from utils.errors import BaseModelError
from utils.exports import GIB, PROCESS_BYTES

CACHE_BYTES_PER_NUMBER = 1.2  # the cache is kept in 8 bits, with a scale and a zero point for each group
LARGEST_COPIES = 4  # float32, and what packing makes of it on the way


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
