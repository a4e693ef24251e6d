"""The held-out loss while a training runs: when it is measured, and what follows from it.

    trainer = resumable(HeldOutTrainer)(…)
    trainer.watch_held_out(examples, settings, steps_per_epoch)

What is decided depends on the trainer's history alone: see :mod:`character_chatbot.training.early_stopping`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from character_chatbot.recovery.checkpoints import NAME, checkpoint_step, is_complete, list_checkpoints
from character_chatbot.training.early_stopping import (
    HELD_OUT_LOSS,
    Evaluation,
    best_evaluation,
    describe_stop,
    is_no_use,
    read_evaluations,
)
from character_chatbot.training.evaluation import make_batches, score
from character_chatbot.training.examples import Example
from character_chatbot.training.reply_trainer import ReplyTrainer
from config import TrainingSettings

logger = logging.getLogger(__name__)


class HeldOutTrainer(ReplyTrainer):
    """A trainer whose ``evaluate`` is the loss on held-out replies, over the same tokens as the final perplexity."""

    _clock: HeldOutClock | None = None

    def watch_held_out(self, examples: Sequence[Example], settings: TrainingSettings, steps_per_epoch: int) -> None:
        """Measure the loss on ``examples`` as the settings say; before ``train``."""
        self._held_out = list(examples)
        if self._held_out and settings.evaluations_per_epoch:
            self._clock = HeldOutClock(self, settings, steps_per_epoch)
            self.add_callback(self._clock)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the held-out loss as the model stands, in nats per reply token, and note it in the history."""
        model = cast("torch.nn.Module", self.model)
        was_training = model.training
        model.eval()
        try:
            metrics = {HELD_OUT_LOSS: self._held_out_loss()}
            self.log(dict(metrics))
        finally:
            model.train(was_training)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _held_out_loss(self) -> float:
        """Each process scores its share; a model that lies in pieces on all of them is asked by all at once."""
        batches, model = make_batches(self._held_out), self.accelerator.unwrap_model(self.model)
        if not self.is_fsdp_enabled:
            batches = batches[self.args.process_index :: self.args.world_size]
        with torch.no_grad(), self.accelerator.autocast():
            called = self.model_wrapped if self.is_fsdp_enabled else model
            scores = [score(called, batch, model) for batch in batches]
        nats, tokens = sum(nats for nats, _ in scores), sum(count for _, count in scores)
        found = self.accelerator.reduce(torch.tensor([nats, tokens], device=self.args.device, dtype=torch.float64))
        return float(found[0] / found[1])

    def is_no_use(self, state: TrainerState) -> bool:
        """Whether the training stops early where it stands."""
        return self._clock is not None and self._clock.is_no_use(state)

    def make_up(self) -> None:
        """Measure the held-out loss if it was due after the last step and a signal came first."""
        if self._clock is not None and self._clock.is_missing(self.state):
            self._evaluate(None, None)

    def go_on(self, checkpoint: Path) -> None:
        """Train from a checkpoint to the end."""
        try:
            self.train(resume_from_checkpoint=str(checkpoint))
        except OutOfPatience:
            self.callback_handler.on_train_end(self.args, self.state, self.control)

    def take_best(self) -> int:
        """Take the weights with the lowest held-out loss; the step that they are of. Without evaluations: the last."""
        folder, last = Path(str(self.args.output_dir)), self.state.global_step
        whole = {checkpoint_step(each) for each in list_checkpoints(folder) if is_complete(each)} | {last}
        evaluations = read_evaluations(self.state.log_history)
        best = best_evaluation(evaluations)
        found = best_evaluation([each for each in evaluations if each.step in whole])
        if best is None or found is None:
            return last
        if found != best:
            logger.warning("the checkpoint of step %d, the best, is damaged or gone: the next best is taken", best.step)
        if found.step != last:
            logger.info("the weights of step %d are kept: held-out loss %.3f", found.step, found.loss)
            self._load_from_checkpoint(str(folder / f"{NAME}{found.step}"))
        return found.step


class OutOfPatience(Exception):
    """A checkpoint was gone on from, and its evaluation, which had been broken off, says that more is no use."""


class HeldOutClock(TrainerCallback):
    """Asks for evaluations when they are due, for a checkpoint of the best, and for an early end.

    An evaluation that a signal broke off is made up for when the training goes on.
    """

    def __init__(self, trainer: HeldOutTrainer, settings: TrainingSettings, steps_per_epoch: int) -> None:
        self._trainer, self._settings, self._steps_per_epoch = trainer, settings, steps_per_epoch

    def is_due(self, step: int, steps: int) -> bool:
        """Whether the loss is to be measured after a step: where an equal part of an epoch, or the training, ends."""
        parts = [at * self._settings.evaluations_per_epoch // self._steps_per_epoch for at in (step - 1, step)]
        return step > 0 and (parts[0] < parts[1] or step >= steps)

    def is_missing(self, state: TrainerState) -> bool:
        """Whether the evaluation of the last step is due and was never made."""
        known = {each.step for each in read_evaluations(state.log_history)}
        return self.is_due(state.global_step, state.max_steps) and state.global_step not in known

    def is_no_use(self, state: TrainerState) -> bool:
        """Whether the training stops early."""
        return is_no_use(read_evaluations(state.log_history), self._settings.patience)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._trainer.make_up()
        if self.is_no_use(state):
            raise OutOfPatience

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.is_due(state.global_step, state.max_steps):
            control.should_evaluate = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        evaluations = read_evaluations(state.log_history)
        best = best_evaluation(evaluations)
        if self._settings.keep == "best" and best == evaluations[-1]:
            control.should_save = True
        if self.is_no_use(state) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
        self._tell(evaluations, best, state.max_steps)

    def _tell(self, evaluations: Sequence[Evaluation], best: Evaluation | None, steps: int) -> None:
        last = evaluations[-1]
        compared = f"lowest {best.loss:.3f} at step {best.step}" if best and best != last else "the lowest so far"
        logger.info("step %d of %d, held-out loss %.3f, %s", last.step, steps, last.loss, compared)
        if is_no_use(evaluations, self._settings.patience) and last.step < steps:
            logger.info("%s", describe_stop(evaluations, steps))
