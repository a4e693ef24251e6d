"""A step that does not fit into memory is done again in halves: the same sequences, the same gradient, no step lost.

    class Trainer(InHalves, SFTTrainer): ...        # data_collator=Divisible(PackingCollator())
    trainer.tell_of_memory(announcements)

Weights and optimizer change only at the end of a step, so the step is begun again: gradients to zero, random states as
they were, each batch in twice as many parts. The loss is a sum over the whole step's reply tokens, so the parts add up
to the same. Parts stay small for the rest of the run. Where one sequence alone is too much, activation checkpointing
is switched on; where that is on already, the run ends with what to change.

transformers' ``auto_find_batch_size`` is no replacement: it begins the training anew, and fewer sequences at once then
make smaller steps (accelerate, ``find_executable_batch_size``).
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from character_chatbot.machine.machine_memory import hand_back_freed_memory
from utils.announcements import Announcement, Announcements
from utils.errors import TrainingError

if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    _Base = object

logger = logging.getLogger(__name__)

FEATURES = "features"  # of a batch: what it was made from
ON_THE_CPU = "DefaultCPUAllocator"  # "… can't allocate memory", or "not enough memory": torch/c10/core/CPUAllocator.cpp


class Features:
    """What a batch was made from, wrapped so that nobody takes it for something to move to a device."""

    def __init__(self, items: Sequence[dict[str, Any]]) -> None:
        self.items = list(items)


class Divisible:
    """A collator whose batches can be made again in parts."""

    def __init__(self, collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return self.collate(features) | {FEATURES: Features(features)}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, on a GPU or a CPU, or Python itself had no room."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and ON_THE_CPU in str(error)


class InHalves(_Base):
    """Does the batches of a step in parts once memory has run out."""

    _parts = 1
    _step = -1
    _announcements: Announcements | None = None

    def tell_of_memory(self, announcements: Announcements | None) -> None:
        """Announce each step down there; before ``train``."""
        self._announcements = announcements

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """One batch forward and backward; its mean loss. Raises TrainingError: nothing smaller is left."""
        self._remember(inputs)
        while True:
            try:
                return (
                    self._do_again(model, num_items_in_batch)
                    if self._behind
                    else self._do(model, inputs, num_items_in_batch)
                )
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                problem = str(error).splitlines()[0] if str(error) else type(error).__name__
            # The error is gone here, and with its traceback all tensors of the step.
            self._step_down(inputs, problem)

    def _remember(self, inputs: Any) -> None:
        """The batches of this step so far, and the random states that it began with."""
        if self._step != self.state.global_step:
            self._step, self._done, self._behind = self.state.global_step, [], False
            self._began_with = read_states()
        self._done.append(inputs)

    def _do_again(self, model: Any, count: Any) -> Any:
        """The whole step from its beginning; the loss of its last batch."""
        write_states(self._began_with)
        model.zero_grad(set_to_none=True)
        losses = [self._do(model, inputs, count) for inputs in self._done]
        self._behind = False
        return losses[-1]

    def _do(self, model: Any, inputs: Any, count: Any) -> Any:
        inputs = dict(inputs)
        features = inputs.pop(FEATURES, None)
        if self._parts == 1 or features is None:
            return super().training_step(model, inputs, count)
        parts = split(features.items, self._parts)
        return sum(super(InHalves, self).training_step(model, self._collate(part), count) for part in parts)

    def _collate(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        collator: Any = self.data_collator
        found: dict[str, Any] = (collator.collate if isinstance(collator, Divisible) else collator)(features)
        return found

    def _step_down(self, inputs: Any, problem: str) -> None:
        """Halve what is in memory at once, or raise TrainingError."""
        model: Any = self.model
        sequences = max((len(each[FEATURES].items) for each in self._done if FEATURES in each), default=1)
        at_once = -(-sequences // self._parts)
        if self.args.world_size > 1:  # the others wait for this one's gradients, which come in other parts now
            raise out_of_memory(problem, at_once)
        if at_once > 1:
            self._parts *= 2
            got = f"{-(-sequences // self._parts)} at once, and as many as before in a step"
            self._announce("sequences in memory at once", str(at_once), got, problem)
        elif not model.is_activation_checkpointing:
            model.enable_input_require_grads()
            model.activation_checkpointing_enable({"use_reentrant": False})
            hand_back_freed_memory()
            self._announce("activations of a step", "kept", "computed again for the way back", problem)
        else:
            raise out_of_memory(problem, at_once)
        self._behind = True
        model.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _announce(self, feature: str, wanted: str, got: str, problem: str) -> None:
        why = f"the memory ran out in step {self.state.global_step + 1} ({problem})"
        remedy = "training.sequences_per_batch in aws_config.yaml: less from the start"
        note = Announcement(feature, wanted, got, why, remedy)
        if self._announcements is None:
            logger.warning("%s", note)
        else:
            self._announcements.add(note)


def careful(trainer: type[Any]) -> type[Any]:
    """A class of trainers with :class:`InHalves` in front."""
    return type(f"Careful{trainer.__name__}", (InHalves, trainer), {})


def split(items: Sequence[Any], parts: int) -> list[Sequence[Any]]:
    """As many parts of about the same size, none empty."""
    parts = min(parts, len(items))
    borders = [at * len(items) // parts for at in range(parts + 1)]
    return [items[start:end] for start, end in pairwise(borders)]


def out_of_memory(problem: str, at_once: int) -> TrainingError:
    return TrainingError(
        f"the memory ran out with {at_once} sequences at once: {problem}",
        instead="The last checkpoint is kept; the same command goes on from it.",
        remedies=[
            ("Shorter dialogues", "training.max_length in aws_config.yaml"),
            ("On a GPU, a base in 4 bits", "--quantise nf4"),
            ("A smaller base", "--base ID_OR_PATH"),
        ],
    )


def read_states() -> dict[str, Any]:
    from character_chatbot.recovery.resumable import read_random_states

    return read_random_states()


def write_states(states: dict[str, Any]) -> None:
    from character_chatbot.recovery.resumable import write_random_states

    write_random_states(states)
