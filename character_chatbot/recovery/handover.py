"""Hands each new checkpoint to whoever wants it, while the training goes on.

    handover = Handover(sink)
    handover.offer(folder / "checkpoint-40")   # returns at once
    handover.close(30)                         # at the end

A thread does the work, with a queue of one: while it is busy, only the newest checkpoint waits.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Protocol

logger = logging.getLogger(__name__)


class CheckpointSink(Protocol):
    """Wants checkpoints."""

    def take(self, checkpoint: Path) -> None:
        """Do something with a complete checkpoint. It may take long, raise, and see the folder vanish meanwhile."""


class Handover:
    """Between a training and a sink. What the sink raises is logged and never reaches the training.

    Args:
        sink: None: nobody wants anything.
    """

    def __init__(self, sink: CheckpointSink | None) -> None:
        self._sink = sink
        self._changed = threading.Condition()
        self._waiting: Path | None = None
        self._busy = self._closed = False
        if sink:
            threading.Thread(target=self._work, name="checkpoint handover", daemon=True).start()

    def offer(self, checkpoint: Path) -> None:
        """Hand over a checkpoint as soon as the sink has time, unless a newer one comes first. Never waits."""
        if self._sink:
            with self._changed:
                self._waiting = checkpoint
                self._changed.notify_all()

    def close(self, timeout_seconds: float) -> bool:
        """Wait until the last one is handed over; whether it was. Silent when called again."""
        if self._sink is None:
            return True
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._busy and self._waiting is None, timeout_seconds)
        if not done:
            logger.warning("the last checkpoint was not handed over within %.0f s.", timeout_seconds)
        return done

    def _work(self) -> None:
        while (checkpoint := self._next()) is not None:
            self._hand_over(checkpoint)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> Path | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._closed)
            checkpoint, self._waiting = self._waiting, None
            self._busy = checkpoint is not None
            return checkpoint

    def _hand_over(self, checkpoint: Path) -> None:
        try:
            if self._sink:
                self._sink.take(checkpoint)
        except Exception as error:
            logger.warning("%s could not be handed over: %s", checkpoint.name, error)
            logger.debug("the sink failed", exc_info=error)
