"""How far a run is, for whoever looks from outside: ``training_pipeline.py train llama --progress FILE``.

One JSON line, replaced at each stage and at most once a second within one:
{"stage": "training", "step": 40, "steps": 150, "loss": 2.31, "seconds_left": 61, "at": "2026-11-21T10:15:30Z"}
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from character_chatbot.monitoring.metrics_file import Measured
from utils.line_file import LineFile

PREPARING, BASE, TRAINING, EVALUATING, PUBLISHING, EXPORTING, DONE = STAGES = (
    "preparing", "base", "training", "evaluating", "publishing", "exporting", "done",
)  # fmt: skip
SHORTEST_PAUSE_SECONDS = 1.0
# Of what a step of training measures, beside its loss; absent where it is not known.
TOLD = ("tokens_per_second", "supervised_tokens_per_second", "utilisation", "peak_memory_bytes")


class Progress:
    """Where a run stands, written to a file.

    Args:
        file: None: nothing is written.
        clock: seconds since 1970.
        stopwatch: seconds that only ever grow.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file, self._clock, self._stopwatch = LineFile(file), clock, stopwatch
        self._stage, self._step, self._steps = PREPARING, 0, 0
        self._loss: float | None = None
        self._held_out_loss: float | None = None
        self._told: dict[str, float | int | None] = {}
        self._first: tuple[int, float] | None = None  # the stage's first step that was seen, and when
        self._written = -math.inf

    def begin(self, stage: str) -> None:
        """A new stage; the last loss of training is kept, so that the end still tells it."""
        self._stage, self._step, self._steps, self._first, self._told = stage, 0, 0, None, {}
        if stage in (BASE, TRAINING):
            self._loss = None
        self._write()

    def step(self, step: int, steps: int, loss: float | None = None) -> None:
        """So many of the stage's steps are done. ``loss``: of this step, in nats per token; None: as before."""
        now = self._stopwatch()
        self._first = self._first or (step, now)
        self._step, self._steps = step, steps
        self._loss = self._loss if loss is None else loss
        if step >= steps or now - self._written >= SHORTEST_PAUSE_SECONDS:
            self._write()

    def measured(self, measured: Measured) -> None:
        """A step of training is done; what it measured is told beside its loss."""
        told = measured.to_dict()
        self._told = {name: told[name] for name in TOLD if name in told}
        if measured.held_out_loss is not None:
            self._held_out_loss = measured.held_out_loss
        self.step(measured.step, measured.steps, measured.loss)

    def held_out(self, loss: float) -> None:
        """The adapter's mean loss on the held-out replies, in nats per token."""
        self._held_out_loss = loss
        self._write()

    @property
    def seconds_left(self) -> int | None:
        """Of the stage at hand, by the pace since its first step in this process; None while that is not known."""
        if self._first is None or self._step <= self._first[0]:
            return None
        taken = self._stopwatch() - self._first[1]
        return round(taken / (self._step - self._first[0]) * max(0, self._steps - self._step))

    def _write(self) -> None:
        self._written = self._stopwatch()
        known = {} if self._held_out_loss is None else {"held_out_loss": _number(self._held_out_loss)}
        line = {"stage": self._stage, "step": self._step, "steps": self._steps, "loss": _number(self._loss)}
        at = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._file.write(line | known | self._told | {"seconds_left": self.seconds_left, "at": at})


def _number(value: float | None) -> float | None:
    """The value as JSON can hold it: a loss that is no number any more is None."""
    return round(value, 4) if value is not None and math.isfinite(value) else None
