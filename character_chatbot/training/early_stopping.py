"""Which weights expect the held-out replies best, and when more training is no use.

Both are read off the trainer's own history, which every checkpoint holds: a resumed run decides as one that was left
alone, and nothing else has to be remembered.

Stopping after ``patience`` evaluations without a better one: Prechelt, "Early Stopping - But When?", 1998, class UP.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELD_OUT_LOSS = "eval_loss"  # as transformers calls it in a trainer's history
STATE = "trainer_state.json"  # in each checkpoint


@dataclass(frozen=True)
class Evaluation:
    """The loss on the held-out replies after a step, in nats per token."""

    step: int
    loss: float


def read_evaluations(history: Iterable[Mapping[str, Any]]) -> list[Evaluation]:
    """The evaluations in a trainer's ``log_history``, by step."""
    found = {int(entry["step"]): float(entry[HELD_OUT_LOSS]) for entry in history if HELD_OUT_LOSS in entry}
    return [Evaluation(step, found[step]) for step in sorted(found)]


def best_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The one with the lowest loss, the first of equal ones; None where there is none that is a number."""
    return min((each for each in evaluations if math.isfinite(each.loss)), key=lambda each: each.loss, default=None)


def is_no_use(evaluations: Sequence[Evaluation], patience: int) -> bool:
    """Whether the last ``patience`` evaluations were none better than one before them; never with 0."""
    best = best_evaluation(evaluations)
    since = [each for each in evaluations if best is None or each.step > best.step]
    return 0 < patience <= len(since)


def describe_stop(evaluations: Sequence[Evaluation], steps: int) -> str:
    """``stopped early at step 40 of 120: held-out loss 4.31 has not improved since step 20``."""
    last, best = evaluations[-1], best_evaluation(evaluations)
    since = f"{best.loss:.3f} has not improved since step {best.step}" if best else "is no number"
    return f"stopped early at step {last.step} of {steps}: held-out loss {since}"


def best_step(checkpoint: Path) -> int | None:
    """The step of the best evaluation that a checkpoint knows of; None: of none."""
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        best = best_evaluation(read_evaluations(state["log_history"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return best.step if best else None
