"""How a training is watched: what each step measured, for the bar, the progress file and the metrics file."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from character_chatbot.machine.flops import Utilisation
from character_chatbot.monitoring.metrics_file import Measured, MetricsFile
from character_chatbot.recovery.resumable import TokenCounts
from character_chatbot.training.early_stopping import HELD_OUT_LOSS, read_evaluations

logger = logging.getLogger(__name__)

Listener = Callable[[Measured], None]


class ProgressBar(TrainerCallback):
    """Loss, pace and time left; on an output that is no terminal, a line in the log for each tenth instead."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit="step", disable=None)
        self._shown = -1

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar.update(state.global_step - self._bar.n)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar.close()

    def show(self, measured: Measured) -> None:
        """Show what a step measured."""
        self._bar.set_postfix_str(bar_text(measured))
        tenth = max(1, measured.steps // 10)
        new, self._shown = measured.step != self._shown, measured.step  # it comes again with its held-out loss
        if self._bar.disable and new and (measured.step % tenth == 0 or measured.step == measured.steps):
            logger.info("step %d of %d, %s", measured.step, measured.steps, bar_text(measured))


def bar_text(measured: Measured) -> str:
    """``loss 2.310, held-out 2.410, 812 tokens/s (94 supervised), 48% of the machine, peak 1.2 GB``; what is known."""
    held_out, pace = measured.held_out_loss, measured.tokens_per_second
    parts = [
        f"loss {measured.loss:.3f}" if measured.loss is not None else "",
        f"held-out {held_out:.3f}" if held_out is not None else "",
        f"{pace:,.0f} tokens/s ({measured.supervised_tokens_per_second or 0:,.0f} supervised)" if pace else "",
        f"{measured.utilisation:.0%} of the machine" if measured.utilisation else "",
        f"peak {measured.peak_memory_bytes / 1e9:.1f} GB" if measured.peak_memory_bytes else "",
    ]
    return ", ".join(part for part in parts if part)


class Meter(TrainerCallback):
    """Measures each logging step and tells the listeners.

    Args:
        counts: of the trainer.
        listeners: told after each logging step.
        metrics: gets a line for each logging step.
        utilisation: of the machine; None: not told.
        stopwatch: seconds that only ever grow.
    """

    def __init__(
        self,
        counts: TokenCounts,
        listeners: Sequence[Listener],
        metrics: MetricsFile,
        utilisation: Utilisation | None = None,
        *,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts, self._listeners, self._metrics = counts, listeners, metrics
        self._utilisation, self._stopwatch = utilisation, stopwatch
        self._began = self._step_began = stopwatch()
        self._busy_seconds = 0.0
        self._before = (0, 0, 0)  # what was counted by the last logging step
        self._last: Measured | None = None
        self._first: tuple[int, float] | None = None  # the first logging step of this process, and when

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began = self._stopwatch()
        self._metrics.begin(state.global_step, state.max_steps, state.log_history)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._step_began = self._stopwatch()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._busy_seconds += self._stopwatch() - self._step_began

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, float] = kwargs["logs"]
        if "loss" not in logs:
            return
        self._last = self._measure(state, logs)
        for tell in (self._metrics.add, *self._listeners):
            tell(self._last)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss = kwargs["metrics"][HELD_OUT_LOSS]
        self._metrics.held_out(state.global_step, loss)
        if self._last and self._last.step == state.global_step:
            for tell in self._listeners:
                tell(replace(self._last, held_out_loss=loss, held_out_step=state.global_step))

    def _measure(self, state: TrainerState, logs: dict[str, float]) -> Measured:
        now, seconds = self._stopwatch(), max(self._busy_seconds, 1e-9)
        tokens, supervised, attended = (total - old for total, old in zip(self._totals(), self._before, strict=True))
        self._before, self._busy_seconds = self._totals(), 0.0
        self._first = self._first or (state.global_step, now)
        evaluated = read_evaluations(state.log_history)
        return Measured(
            step=state.global_step,
            steps=state.max_steps,
            epoch=state.epoch,
            loss=logs["loss"],
            held_out_loss=evaluated[-1].loss if evaluated else None,
            held_out_step=evaluated[-1].step if evaluated else None,
            learning_rate=logs.get("learning_rate"),
            tokens_per_second=tokens / seconds,
            supervised_tokens_per_second=supervised / seconds,
            utilisation=used.share(tokens, supervised, attended, seconds) if (used := self._utilisation) else None,
            peak_memory_bytes=peak_memory_bytes(),
            seconds=now - self._began,
            seconds_left=self._seconds_left(state, now),
        )

    def _totals(self) -> tuple[int, int, int]:
        return self._counts.tokens, self._counts.supervised, self._counts.attended

    def _seconds_left(self, state: TrainerState, now: float) -> int | None:
        if self._first is None or state.global_step <= self._first[0]:
            return None
        pace = (now - self._first[1]) / (state.global_step - self._first[0])
        return round(pace * max(0, state.max_steps - state.global_step))


def peak_memory_bytes() -> int:
    """The most that torch has held on the GPU; without one, the most that this process has held in memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
