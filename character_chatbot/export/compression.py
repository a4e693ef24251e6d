"""Weights in 4 and 8 bits: rounding to nearest, a scale for each group (4 bits) or row (8 bits).

The layout is the one that OpenVINO multiplies without unpacking (NNCF's INT4_ASYM and INT8_SYM): 4-bit numbers are
packed two to a byte, the first in the lower half, with a scale in float16 and a zero point of 4 bits for each group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The largest group that divides a row is taken: fewer scales to read, slightly larger errors.
GROUPS = (128, 64, 32, 16)
ROWS_AT_ONCE = 4096  # so that a large matrix is never held twice
TINY = 1e-8  # a group of zeros has a scale, too


@dataclass(frozen=True)
class Packed:
    """A matrix of shape (rows, columns). ``numbers``: bytes; ``zeros``: packed zero points, None for 8 bits."""

    rows: int
    columns: int
    group: int
    numbers: NDArray[np.uint8] | NDArray[np.int8]
    scales: NDArray[np.float16]
    zeros: NDArray[np.uint8] | None = None

    @property
    def size_bytes(self) -> int:
        return self.numbers.nbytes + self.scales.nbytes + (self.zeros.nbytes if self.zeros is not None else 0)


def choose_group(columns: int) -> int | None:
    """Columns that share a scale; None where no group divides the row, so that it is kept in 8 bits."""
    return next((group for group in GROUPS if columns % group == 0), None)


def pack_four_bits(weight: NDArray[np.float32], group: int) -> Packed:
    """``weight`` of shape (rows, columns), columns a multiple of ``group``, as 0 … 15 from lowest to highest."""
    import numpy as np

    rows, columns = weight.shape
    parts = [_four_bits(weight[at : at + ROWS_AT_ONCE], group) for at in range(0, rows, ROWS_AT_ONCE)]
    numbers, scales, zeros = (np.concatenate([part[n] for part in parts]) for n in range(3))
    return Packed(rows, columns, group, _pack(numbers), scales, _pack(zeros))


def _four_bits(weight: NDArray[np.float32], group: int) -> tuple[NDArray[np.uint8], ...]:
    import numpy as np

    grouped = weight.reshape(len(weight), -1, group)
    low = np.minimum(grouped.min(-1, keepdims=True), 0)
    high = np.maximum(grouped.max(-1, keepdims=True), 0)
    # Rounded first: what is divided by is what is multiplied with later.
    scales = np.maximum((high - low) / 15, TINY).astype(np.float16)
    steps = np.maximum(scales.astype(np.float32), np.float32(np.finfo(np.float16).smallest_subnormal))
    zeros = np.clip(np.rint(-low / steps), 0, 15)
    numbers = np.clip(np.rint(grouped / steps) + zeros, 0, 15)
    return numbers.astype(np.uint8), scales, zeros.astype(np.uint8)


def pack_eight_bits(weight: NDArray[np.float32]) -> Packed:
    """``weight`` of shape (rows, columns) as -127 … 127, a scale for each row."""
    import numpy as np

    rows, columns = weight.shape
    numbers = np.empty((rows, columns), np.int8)
    scales = np.empty((rows, 1), np.float16)
    for at in range(0, rows, ROWS_AT_ONCE):
        part = weight[at : at + ROWS_AT_ONCE]
        scales[at : at + ROWS_AT_ONCE] = np.maximum(np.abs(part).max(-1, keepdims=True) / 127, TINY)
        steps = np.maximum(scales[at : at + ROWS_AT_ONCE].astype(np.float32), np.float32(6e-8))
        numbers[at : at + ROWS_AT_ONCE] = np.clip(np.rint(part / steps), -127, 127)
    return Packed(rows, columns, columns, numbers, scales)


def unpack(packed: Packed) -> NDArray[np.float32]:
    """The matrix as the packed numbers stand for it."""
    import numpy as np

    scales = packed.scales.astype(np.float32)
    if packed.zeros is None:
        return packed.numbers.astype(np.float32) * scales
    shape = (packed.rows, packed.columns // packed.group, packed.group)
    numbers = _halves(packed.numbers)[: packed.rows * packed.columns].reshape(shape).astype(np.float32)
    zeros = _halves(packed.zeros)[: shape[0] * shape[1]].reshape(*shape[:2], 1).astype(np.float32)
    return ((numbers - zeros) * scales).reshape(packed.rows, packed.columns)


def _pack(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import numpy as np

    flat = numbers.reshape(-1)
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8)


def _halves(packed: NDArray[np.generic]) -> NDArray[np.uint8]:
    import numpy as np

    flat = packed.view(np.uint8)
    return np.stack([flat & 15, flat >> 4], -1).reshape(-1)
