"""What a trainer of transformers needs so that no work is lost: mix it in before the trainer's own class.

    class Trainer(Resumable, SFTTrainer): ...
    trainer = Trainer(...); trainer.protect(stop, handover, settings); trainer.train()

It writes checkpoints whole or not at all, hears signals in the middle of a step, and counts tokens. Several processes
deal the sequences of a step among themselves, and agree at its end on what comes next; the first one writes.
"""

from __future__ import annotations

import logging
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from character_chatbot.machine.flops import count_attended
from character_chatbot.recovery.checkpoints import MARK, NAME, SIDE, check_room, writing
from character_chatbot.recovery.handover import Handover
from character_chatbot.recovery.stopping import StopOnSignal, let_signals_in
from character_chatbot.training import processes
from character_chatbot.training.examples import IGNORED
from character_chatbot.training.packing import NOBODY
from config import TrainingSettings

if TYPE_CHECKING:
    from torch.utils.data import DataLoader
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
        self._sequences_per_step = settings.sequences_per_step
        if processes.count() == 1:  # several stop together, at the end of a step
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

    def agree(self, due: bool) -> bool:
        """At the end of a step: whether a checkpoint is due. A signal or a clock of one process is one of all.

        From here on the token counts are those of all processes.
        """
        if processes.count() == 1:
            return due
        rows = processes.exchange([int(self.stop.received or 0), int(due), *self.counts.take_new()])
        signals, dues, *news = (list(column) for column in zip(*rows, strict=True))
        self.counts.add_counted(*(sum(column) for column in news))
        if max(signals):
            self.stop.received = max(signals)
        return any(dues)

    # what the trainer calls

    def get_train_dataloader(self) -> DataLoader[Any]:
        from accelerate.data_loader import prepare_data_loader

        from character_chatbot.training.dealing import Deal, DealtBatches, DealtSequences

        batch = self.args.per_device_train_batch_size
        deal = Deal(self._sequences_per_step, batch, processes.count(), processes.rank())
        loader: DataLoader[Any] = torch.utils.data.DataLoader(
            DealtSequences(self.train_dataset),
            batch_sampler=DealtBatches(self._order(), deal),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return cast(
            "DataLoader[Any]",
            prepare_data_loader(loader, self.args.device, num_processes=1, process_index=0, put_on_device=True),
        )

    def _order(self) -> Any:
        """The sampler of one process: all processes draw the same order by its seed."""
        from accelerate.data_loader import SeedableRandomSampler

        sampler = self._get_train_sampler(self.train_dataset)
        if isinstance(sampler, torch.utils.data.RandomSampler):
            return SeedableRandomSampler(sampler.data_source, data_seed=self.args.data_seed)
        return sampler

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
        if processes.is_first():
            with writing(folder, step, self._needed_bytes() if not self.saved_step else 0) as side:
                with self._written_below(folder / SIDE):
                    super()._save_checkpoint(model, trial)
                lift(side / f"{NAME}{step}", side)
        else:  # it takes part in what is gathered; what it would write itself counts for nothing
            with tempfile.TemporaryDirectory() as nowhere, self._written_below(Path(nowhere)):
                super()._save_checkpoint(model, trial)
        self.saved_step = step
        logger.debug("checkpoint of step %d written in %.2f s", step, time.monotonic() - started)
        self.handover.offer(folder / f"{NAME}{step}")

    @contextmanager
    def _written_below(self, folder: Path) -> Iterator[None]:
        self._side = str(folder)
        try:
            yield
        finally:
            self._side = None

    def _save_rng_state(self, output_dir: str) -> None:
        """One file for each process; the first one writes them all, so that they need no disk in common."""
        if processes.count() == 1:
            super()._save_rng_state(output_dir)
            return
        states = processes.gather(read_random_states())
        if processes.is_first():
            for rank, state in enumerate(states):
                torch.save(state, Path(output_dir) / f"rng_state_{rank}.pth")

    def _load_rng_state(self, checkpoint: str | None) -> None:
        count, rank = processes.count(), processes.rank()
        name = "rng_state.pth" if count == 1 else f"rng_state_{rank}.pth"
        if checkpoint is None or (Path(checkpoint) / name).is_file():
            super()._load_rng_state(checkpoint)
            return
        set_seed(self.args.seed + self.state.global_step * count + rank)
        logger.warning("the checkpoint is of another number of processes: this one's dropout is drawn anew")

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
        due = self._trainer.agree(self._is_time(state))
        stopping = self._trainer.stop.received is not None
        if stopping:
            control.should_training_stop = True
        if stopping or due:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._last_second = time.monotonic()

    def _is_time(self, state: TrainerState) -> bool:
        ends = state.global_step >= state.max_steps or float(state.epoch or 0.5).is_integer()
        by_steps = self._steps > 0 and state.global_step % self._steps == 0
        by_clock = self._seconds > 0 and time.monotonic() - self._last_second >= self._seconds
        return ends or by_steps or by_clock


class TokenCounts:
    """How many tokens were processed, how many of them the loss was of, and how many they attended to in all.

    Padding does not count.
    """

    def __init__(self) -> None:
        self.tokens = self.supervised = self.attended = 0
        self._new = [0, 0, 0]

    def add(self, inputs: Any) -> None:
        """Count a batch as the trainer gets it."""
        here = inputs["segment"] != NOBODY
        found = [int(here.sum()), int((inputs["labels"] != IGNORED).sum()), count_attended(inputs, here)]
        if processes.count() == 1:
            self.add_counted(*found)
        else:
            self._new = [old + new for old, new in zip(self._new, found, strict=True)]

    def take_new(self) -> list[int]:
        """What this process has counted since it was asked last, if there are several."""
        new, self._new = self._new, [0, 0, 0]
        return new

    def add_counted(self, tokens: int, supervised: int, attended: int) -> None:
        """Add what was counted elsewhere."""
        self.tokens += tokens
        self.supervised += supervised
        self.attended += attended


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
