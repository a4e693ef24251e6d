"""A learning rate for this base and these dialogues, found by trying: ``training_pipeline.py train llama --find-lr``.

The range test of Smith, "Cyclical Learning Rates for Training Neural Networks", 2017 (arXiv 1506.01186), section 3.3:
train for some steps while the rate grows by the same factor each step, and look where the loss falls and where it
breaks out. The adapter that is trained meanwhile is thrown away.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from character_chatbot.machine.devices import Device
from character_chatbot.training.examples import Example
from config import TrainingSettings
from utils.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LOWEST, HIGHEST, STEPS = 1e-5, 1.0, 80  # sixteen steps a decade; LoRA with Adam learns best between 1e-4 and 1e-2
WINDOW = 6  # neighbours on either side that a point is smoothed with: a batch is as noisy as a decade is long
DIVERGED = 1.25  # times the lowest loss so far: from there on the rate is too high
GIVEN_UP = 2.0  # times the lowest loss: no higher rate is tried
SAFE_SHARE = 0.1  # of the rate from which on the loss diverges
LEAST_POINTS = 2 * WINDOW


@dataclass(frozen=True)
class RateSearch:
    """What was found.

    Args:
        points: learning rate and loss in nats per token of each step.
        smoothed: the same with each loss the mean of its neighbours'.
        steepest: rate at which the loss falls fastest.
        diverges: lowest rate with which it breaks out; None: no rate that was tried.
        suggestion: the steepest, at most a tenth of the diverging one.
    """

    points: tuple[tuple[float, float], ...]
    smoothed: tuple[tuple[float, float], ...]
    steepest: float
    diverges: float | None
    suggestion: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "suggestion": self.suggestion,
            "steepest": self.steepest,
            "diverges": self.diverges,
            "points": [[rate, loss] for rate, loss in self.points if math.isfinite(loss)],
        }


def rate_at(step: int, steps: int = STEPS) -> float:
    """The learning rate of a step, the first being 0: from ``LOWEST`` to ``HIGHEST``, by the same factor each."""
    return LOWEST * math.pow(HIGHEST / LOWEST, step / max(1, steps - 1))


def read_search(points: Sequence[tuple[float, float]]) -> RateSearch:
    """Find the rates in what was measured.

    Args:
        points: learning rate, growing by the same factor, and loss.

    Raises:
        TrainingError: too few losses are numbers.
    """
    known = [(rate, loss) for rate, loss in points if math.isfinite(loss)]
    if len(known) < LEAST_POINTS:
        raise TrainingError(f"only {len(known)} of {len(points)} losses are numbers: no learning rate can be told.")
    smoothed = smooth_centred(known)
    losses = [loss for _, loss in smoothed]
    lowest = losses.index(min(losses))
    broken = next((at for at in range(lowest, len(losses)) if losses[at] > DIVERGED * losses[lowest]), None)
    # Not up to the lowest loss: a lucky first batch may be that. The ends are means of few, so they are left out.
    end = len(losses) - WINDOW if broken is None else broken
    slopes = {at: losses[at + 1] - losses[at - 1] for at in range(WINDOW, max(WINDOW + 1, end))}
    steepest = smoothed[min(slopes, key=slopes.__getitem__)][0]
    diverges = None if broken is None else smoothed[broken][0]
    if diverges is None and len(known) < len(points):
        diverges = points[len(known)][0]
    suggestion = min(steepest, diverges * SAFE_SHARE) if diverges else steepest
    return RateSearch(tuple(points), tuple(smoothed), steepest, diverges, float(f"{suggestion:.1e}"))


def smooth_centred(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each loss the mean of its neighbours', the nearer the heavier. A mean of earlier ones alone would lag behind."""
    found = []
    for at, (rate, _) in enumerate(points):
        near = range(max(0, at - WINDOW), min(len(points), at + WINDOW + 1))
        weights = [WINDOW + 1 - abs(other - at) for other in near]
        total = sum(weight * points[other][1] for other, weight in zip(near, weights, strict=True))
        found.append((rate, total / sum(weights)))
    return found


def find_learning_rate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    settings: TrainingSettings,
    device: Device,
) -> RateSearch:
    """Train an adapter with a growing rate, in the number format and with the batches of a training.

    Nothing is saved; the weights of ``model`` stay as they are.

    Raises:
        TrainingError: the loss is no number from the beginning.
    """
    from transformers import set_seed

    from character_chatbot.recovery.out_of_memory import careful
    from character_chatbot.training.adapter import build_arguments, build_lora, build_trainer, fit_batch
    from character_chatbot.training.reply_trainer import ReplyTrainer

    settings = fit_batch(replace(settings, max_steps=STEPS), device, model.config.vocab_size, examples)
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=STEPS, desc="learning rate", unit="step", disable=None) as bar,
    ):
        arguments = build_arguments(settings, device, Path(folder))
        set_seed(settings.seed)
        trainer = build_trainer(
            model, tokenizer, examples, lora=build_lora(settings), arguments=arguments, kind=careful(ReplyTrainer)
        )
        points: list[tuple[float, float]] = []
        trainer.add_callback(_climb(points, bar))
        trainer.train()
    return read_search(points)


def _climb(points: list[tuple[float, float]], bar: tqdm[Any]) -> Any:
    """A callback that raises the rate before each step, and ends the training where the loss has broken out."""
    from transformers import TrainerCallback

    class Climb(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            for group in given["optimizer"].param_groups:
                group["lr"] = rate_at(state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if "loss" not in given["logs"]:
                return
            points.append((rate_at(state.global_step - 1), given["logs"]["loss"]))
            bar.update()
            bar.set_postfix(rate=f"{points[-1][0]:.1e}", loss=f"{points[-1][1]:.2f}")
            control.should_training_stop = control.should_training_stop or has_broken_out(points)

    return Climb()


def has_broken_out(points: Sequence[tuple[float, float]]) -> bool:
    """Whether the loss is no number, or the last few are far above the lowest mean of a few."""
    losses = [loss for _, loss in points]
    if not math.isfinite(losses[-1]):
        return True
    means = [sum(losses[at : at + WINDOW]) / WINDOW for at in range(len(losses) - WINDOW + 1)]
    return bool(means) and means[-1] > GIVEN_UP * min(means)


def describe_search(search: RateSearch) -> list[str]:
    """A small table, and what follows from it."""
    share = max(1, len(search.smoothed) // 12)
    table = [f"{rate:>13.1e}   {loss:.3f}" for rate, loss in search.smoothed[::share]]
    breaks = f"diverges from {search.diverges:.1e} on" if search.diverges else f"does not diverge up to {HIGHEST:g}"
    return [
        "learning rate   loss (nats per token, smoothed)",
        *table,
        f"The loss falls fastest at {search.steepest:.1e} and {breaks}.",
        f"Suggestion:  --learning-rate {search.suggestion:.1e}   (or training.learning_rate in aws_config.yaml)",
    ]
