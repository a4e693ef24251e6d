"""What a trainer of transformers needs so that no work is lost: mix it in before the trainer's own class.

    class Trainer(Resumable, SFTTrainer): ...
    trainer = Trainer(...); trainer.protect(stop, handover, settings); trainer.train()

It writes checkpoints whole or not at all, hears signals in the middle of a step, and counts tokens.
"""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from character_chatbot.checkpoints import MARK, NAME, SIDE, check_room, writing
from character_chatbot.examples import IGNORED
from character_chatbot.handover import Handover
from character_chatbot.packing import NOBODY
from character_chatbot.stopping import StopOnSignal, let_signals_in
from config import TrainingSettings

if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    _Base = object

logger = logging.getLogger(__name__)

# A checkpoint holds the adapter in float32 and Adam's two averages of each of its numbers, and files beside them.
BYTES_PER_PARAMETER = 12
BYTES_BESIDE = 20 * 2**20


class Resumable(_Base):
    """Checkpoints, signals and counts of a trainer."""

    def protect(self, stop: StopOnSignal, handover: Handover, settings: TrainingSettings) -> None:
        """Begin to look after the run; before ``train``. Raises TrainingError: no room for a checkpoint."""
        self.stop, self.handover = stop, handover
        self.counts = TokenCounts()
        self.saved_step = 0  # of the newest checkpoint; before the first step there is nothing to save
        self._random_states: dict[str, Any] | None = None
        self._side: str | None = None
        let_signals_in(cast("torch.nn.Module", self.model))
        check_room(Path(str(self.args.output_dir)), self._needed_bytes(), 1)
        self.add_callback(CheckpointClock(settings.checkpoint_minutes * 60, settings.checkpoint_steps, self))

    def keep_random_states(self) -> None:
        """Remember the random states as they are after a whole step."""
        self._random_states = read_random_states()

    def save_last_step(self) -> None:
        """After a step was broken off: a checkpoint of the last whole one, with its random states."""
        if self._random_states is not None:
            write_random_states(self._random_states)
            self._save_checkpoint(self.model, None)

    # what the trainer calls

    def training_step(self, model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
        with self.stop.at_once():
            self.counts.add(inputs)
            return super().training_step(model, inputs, *more, **named)

    def _evaluate(self, *more: Any, **named: Any) -> Any:
        with self.stop.at_once():
            return super()._evaluate(*more, **named)

    def _get_output_dir(self, trial: Any) -> str:
        return self._side or super()._get_output_dir(trial)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The version's card is written at the end of the run; one beside each checkpoint would say less."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step, folder = self.state.global_step, Path(str(self.args.output_dir))
        if step <= self.saved_step:
            return
        started = time.monotonic()
        with writing(folder, step, self._needed_bytes() if not self.saved_step else 0) as side:
            self._side = str(folder / SIDE)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._side = None
            lift(side / f"{NAME}{step}", side)
        self.saved_step = step
        logger.debug("checkpoint of step %d written in %.2f s", step, time.monotonic() - started)
        self.handover.offer(folder / f"{NAME}{step}")

    def _needed_bytes(self) -> int:
        parameters = cast("torch.nn.Module", self.model).parameters()
        numbers = sum(int(each.numel()) for each in parameters if each.requires_grad)
        return numbers * BYTES_PER_PARAMETER + BYTES_BESIDE


def resumable(trainer: type[Any]) -> type[Any]:
    """A class of trainers with :class:`Resumable` in front."""
    return type(f"Resumable{trainer.__name__}", (Resumable, trainer), {})


class CheckpointClock(TrainerCallback):
    """Asks for a checkpoint when it is time: so many seconds or steps after the last one, and after each epoch."""

    def __init__(self, seconds: float, steps: int, trainer: Resumable) -> None:
        self._seconds, self._steps, self._trainer = seconds, steps, trainer
        self._last_second = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._last_second = time.monotonic()
        self._trainer.saved_step = state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._trainer.keep_random_states()
        stopping = self._trainer.stop.received is not None
        if stopping:
            control.should_training_stop = True
        if stopping or self._is_time(state):
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._last_second = time.monotonic()

    def _is_time(self, state: TrainerState) -> bool:
        ends = state.global_step >= state.max_steps or float(state.epoch or 0.5).is_integer()
        by_steps = self._steps > 0 and state.global_step % self._steps == 0
        by_clock = self._seconds > 0 and time.monotonic() - self._last_second >= self._seconds
        return ends or by_steps or by_clock


class TokenCounts:
    """How many tokens were processed and how many of them the loss was of; padding does not count."""

    def __init__(self) -> None:
        self.tokens = self.supervised = 0

    def add(self, inputs: Any) -> None:
        """Count a batch as the trainer gets it."""
        self.tokens += int((inputs["segment"] != NOBODY).sum())
        self.supervised += int((inputs["labels"] != IGNORED).sum())


def lift(inner: Path, outer: Path) -> None:
    """Move what the trainer has put into a folder of its own one level up; no mark of another one comes along."""
    for each in inner.iterdir():
        if each.name != MARK:
            each.rename(outer / each.name)
    inner.rmdir()


def read_random_states() -> dict[str, Any]:
    """The states of all random number generators that a checkpoint holds."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}
    return states | ({"cuda": torch.cuda.random.get_rng_state_all()} if torch.cuda.is_available() else {})


def write_random_states(states: dict[str, Any]) -> None:
    """Put the generators back to where they were when the states were read."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.random.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.random.set_rng_state_all(states["cuda"])
