"""What a training measures, one JSON line for each logging step in ``<run folder>/metrics.jsonl``.

{"step": 40, "steps": 150, "epoch": 0.8, "loss": 2.31, "learning_rate": 0.0002, "tokens_per_second": 812.0, …}

Lines are appended. A resumed run drops the lines of steps that it does again, so that no step is there twice.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from character_chatbot.training.early_stopping import read_evaluations
from utils.files import write_atomic

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"  # in the run's folder
DIGITS = 6  # that count, of what is no whole number


@dataclass(frozen=True)
class Measured:
    """What is known after a step; None: not known.

    Args:
        step: that was done.
        steps: of the whole run.
        epoch: passes over the data so far.
        loss: of the step, in nats per supervised token.
        held_out_loss: the last one that was measured, in nats per supervised token.
        held_out_step: the step after which that was.
        learning_rate: of the step.
        tokens_per_second: all tokens but padding; of the step's own time, without checkpoints and evaluation.
        supervised_tokens_per_second: those that the loss is of.
        utilisation: model FLOPs a second as a share of what the machine reaches in matrix products; see flops.py.
        peak_memory_bytes: of the process, or on a GPU of what torch has held there.
        seconds: since the training began in this process.
        seconds_left: of the training, by its pace in this process.
    """

    step: int
    steps: int
    epoch: float | None = None
    loss: float | None = None
    held_out_loss: float | None = None
    held_out_step: int | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    supervised_tokens_per_second: float | None = None
    utilisation: float | None = None
    peak_memory_bytes: int | None = None
    seconds: float | None = None
    seconds_left: int | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        """Ready for JSON: a number that is none is None, and None is left out but for the loss."""
        found = {name: _number(value) for name, value in asdict(self).items()}
        return {name: value for name, value in found.items() if value is not None or name == "loss"}


class MetricsFile:
    """Appends a line for each step. What cannot be written is logged once and never ends the training.

    Args:
        file: None: nothing is written.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._complained = False

    def begin(self, step: int, steps: int, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Go on after ``step``: later lines go, and earlier ones that are missing come from the trainer's history."""
        if self._file is None:
            return
        history = list(history)
        known = {
            int(entry["step"]): Measured(int(entry["step"]), steps, loss=entry["loss"]).to_dict()
            for entry in history
            if "loss" in entry
        }
        known |= {line["step"]: line for line in read_metrics(self._file)}
        for each in read_evaluations(history):
            known.get(each.step, {}).update(_held_out(each.step, each.loss))
        kept = [json.dumps(known[each]) + "\n" for each in sorted(known) if each <= step]
        self._try(lambda file: write_atomic(file, "".join(kept)))

    def add(self, measured: Measured) -> None:
        """Append a line."""
        line = json.dumps(measured.to_dict()) + "\n"

        def append(file: Path) -> None:
            with file.open("a", encoding="utf-8") as opened:
                opened.write(line)

        self._try(append)

    def held_out(self, step: int, loss: float) -> None:
        """Note in the line of a step what was measured after it."""
        lines = read_metrics(self._file) if self._file else []
        for line in lines:
            if line["step"] == step:
                line.update(_held_out(step, loss))
        self._try(lambda file: write_atomic(file, "".join(json.dumps(line) + "\n" for line in lines)))

    def _try(self, write: Any) -> None:
        if self._file is None:
            return
        try:
            write(self._file)
        except OSError as error:
            if not self._complained:
                logger.warning("%s cannot be written: %s. The work goes on without it.", self._file, error)
            self._complained = True


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, whatever else stands in it; empty where there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in map(_parse, text.splitlines()) if line]


def _held_out(step: int, loss: float) -> dict[str, float | int | None]:
    known = Measured(step, 0, held_out_loss=loss, held_out_step=step).to_dict()
    return {name: value for name, value in known.items() if name.startswith("held_out")}


def _parse(text: str) -> dict[str, Any] | None:
    """A line, or None for one that is cut off or not of this kind."""
    try:
        line = json.loads(text)
        return line if isinstance(line, dict) and isinstance(line["step"], int) else None
    except (ValueError, KeyError, RecursionError):
        return None


def _number(value: float | None) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
