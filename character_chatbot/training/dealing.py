"""Deals the sequences of each step to several processes: together they learn what one process would in that step.

What a step holds, and the order of the steps, is that of one process, whatever the number of processes. A process that
gets nothing in a round has a silent sequence, of one token and no label: it adds nothing to the loss and the gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, Sampler

from character_chatbot.training.examples import IGNORED

SILENT = {"input_ids": [0], "labels": [IGNORED], "shared": 0}


@dataclass(frozen=True)
class Deal:
    """How each step is dealt.

    Args:
        sequences: of a step, in all processes together.
        batch: sequences that a process has in memory at once.
        processes: that share the step.
        rank: the process that this deal is for.
    """

    sequences: int
    batch: int
    processes: int
    rank: int

    @property
    def rounds(self) -> int:
        """Batches of each process in a step."""
        return math.ceil(self.sequences / (self.processes * self.batch))

    def share(self, step: list[int], silent: int) -> list[list[int]]:
        """This process's batches of a step; as many for a step that is cut short at the end of the data."""
        batches = self.rounds * self.processes
        return [step[number::batches] or [silent] for number in range(self.rank, batches, self.processes)]


class DealtSequences(Dataset[Mapping[str, Any]]):
    """A data set with a silent sequence behind the last one."""

    def __init__(self, sequences: Any) -> None:
        self._sequences = sequences

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        found: Mapping[str, Any] = SILENT if index == len(self) else self._sequences[index]
        return found


class DealtBatches(Sampler[list[int]]):
    """The batches of one process.

    Args:
        order: sampler of the sequences as one process takes them; its ``set_epoch`` says which pass over them it is.
        deal: how each step is dealt.
    """

    batch_size: int
    drop_last = False

    def __init__(self, order: Any, deal: Deal) -> None:
        self._order, self._deal, self.batch_size = order, deal, deal.batch

    def set_epoch(self, epoch: int) -> None:
        self._order.set_epoch(epoch)

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._deal.sequences) * self._deal.rounds

    def __iter__(self) -> Iterator[list[int]]:
        order, size = list(self._order), self._deal.sequences
        for start in range(0, len(order), size):
            yield from self._deal.share(order[start : start + size], silent=len(order))
