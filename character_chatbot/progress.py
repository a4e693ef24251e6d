"""What a training run does besides steps: progress shown and told, checkpoint marks, and stopping on Ctrl-C."""

from __future__ import annotations

import logging
import signal
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from character_chatbot.checkpoints import mark_complete

logger = logging.getLogger(__name__)


class ProgressBar(TrainerCallback):
    """Loss and time left; on an output that is no terminal, a line in the log for each tenth instead."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit="step", disable=None)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, float] = kwargs["logs"]
        if "loss" not in logs:
            return
        self._bar.set_postfix(loss=f"{logs['loss']:.3f}")
        tenth = max(1, state.max_steps // 10)
        if self._bar.disable and (state.global_step % tenth == 0 or state.global_step == state.max_steps):
            logger.info("step %d of %d, loss %.3f", state.global_step, state.max_steps, logs["loss"])

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar.close()


class StepReport(TrainerCallback):
    """Tells ``show`` step, steps and loss (nats per token) after each step."""

    def __init__(self, show: Callable[[int, int, float], None]) -> None:
        self._show = show

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, float] = kwargs["logs"]
        if "loss" in logs:
            self._show(state.global_step, state.max_steps, logs["loss"])


class CheckpointMark(TrainerCallback):
    """Marks each checkpoint complete once all of it is written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")


class StopOnSignal(TrainerCallback):
    """SIGINT or SIGTERM ends the run after the step at hand, with a checkpoint; a second one ends it at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        self.received = number
        signal.signal(number, self._before[number])
        tqdm.write("Stopping after this step; the same command will go on from here. Once more: at once.")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.received is not None:
            control.should_save = True
            control.should_training_stop = True
