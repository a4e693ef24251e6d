"""Fewer bits for a faster model, where it still ranks the lines as float32 does.

chosen = choose_precision(model, score, names, least_correlation=0.99)
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
INT8_LARGEST = 127
TINY = 1e-12  # a row of zeros has a scale, too

Score = Callable[["PreTrainedModel"], "NDArray[np.float64]"]


class Int8Linear(nn.Module):
    """A linear layer in 8 bits: a scale for each row of weights, one for the inputs of a call, found when they come.

    Products are exact whole numbers of 32 bits. The inputs' scale is that of the whole batch, so a score depends a
    little on the texts beside it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(1) / INT8_LARGEST).clamp_min(TINY)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch moves the making of quantised tensors elsewhere; the product stays
            zeros = torch.zeros(len(scales), dtype=torch.int64)
            rounded = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._packed = torch.ops.quantized.linear_prepack(rounded, bias)
        # Without VNNI sums of two products overflow 16 bits unless the inputs have 7.
        self._seven_bits = not has_vnni()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = torch.ops.quantized.linear_dynamic(inputs, self._packed, self._seven_bits)
        return outputs


def has_vnni() -> bool:
    """Whether the CPU multiplies 8 bits with sums of 32."""
    return bool(getattr(torch.cpu, "_is_vnni_supported", lambda: False)())


def available(device: str) -> list[str]:
    """Precisions that this machine has, beside float32; the likely fastest first."""
    if device == "cuda":  # real bfloat16 from compute capability 8.0 on (NVIDIA's CUDA programming guide)
        return [BFLOAT16] if torch.cuda.get_device_capability() >= (8, 0) else []
    return ([INT8] if torch.backends.quantized.engine != "none" else []) + [BFLOAT16]


def convert(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """The model in another precision; the given one stays as it is, and shares what did not change."""
    if precision == FLOAT32:
        return model
    if precision == BFLOAT16:
        halved: PreTrainedModel = copy.deepcopy(model).bfloat16()
        return halved
    # Only layers of the repeated blocks: the head has few rows to compute, and its errors are the largest.
    blocks = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    linears = {part for block in blocks for part in block.modules() if isinstance(part, nn.Linear)}
    kept: dict[int, Any] = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, kept | {id(linear): Int8Linear(linear) for linear in linears})


@dataclass(frozen=True)
class Chosen:
    """A precision, the model in it, and why, for people."""

    precision: str
    model: PreTrainedModel
    reason: str


def choose_precision(model: PreTrainedModel, score: Score, names: list[str], least_correlation: float) -> Chosen:
    """The fastest of ``names`` whose scores of a sample are ranked as those of float32, else float32.

    Args:
        score: scores of the sample, of shape (texts, themes), by a model.
        least_correlation: Spearman's, over all scores and as a mean over the themes; the lower of both counts.
    """
    wanted, seconds = _timed(score, model)
    best, found = Chosen(FLOAT32, model, ""), [f"float32 {seconds:.1f} s"]
    for name in names:
        try:
            candidate = convert(model, name)
            scores, took = _timed(score, candidate)
        except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:  # a layer that has no such kind
            logger.debug("%s cannot be used", name, exc_info=True)
            found.append(f"{name} does not work with this model ({str(error).splitlines()[0][:60]})")
            continue
        correlation = rank_correlation(wanted, scores)
        found.append(f"{name} {took:.1f} s, rank correlation {correlation:.4f}")
        if correlation > least_correlation and took < seconds:
            best, seconds = Chosen(name, candidate, ""), took
    return Chosen(best.precision, best.model, f"{best.precision}: measured on {len(wanted)} texts: {'; '.join(found)}")


def _timed(score: Score, model: PreTrainedModel) -> tuple[NDArray[np.float64], float]:
    started = time.perf_counter()
    scores = score(model)
    return scores, time.perf_counter() - started


def rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's of two arrays of shape (texts, themes): over all, and as a mean of the columns; the lower one."""
    columns = [_spearman(one[:, at], other[:, at]) for at in range(one.shape[1])]
    return min(_spearman(one.ravel(), other.ravel()), float(np.mean(columns)))


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    import pandas as pd

    left, right = pd.Series(one).rank().to_numpy(), pd.Series(other).rank().to_numpy()
    if np.ptp(left) == 0 or np.ptp(right) == 0:  # all the same: no ranks to agree on
        return float(np.array_equal(left, right))
    return float(np.corrcoef(left, right)[0, 1])
