"""Ctrl-C and SIGTERM during a training: it ends soon, with a checkpoint, and the same command goes on from there.

    with StopOnSignal() as stop:
        with stop.at_once():       # a signal in here raises Stopped at the next line of Python
            …
        stop.check()               # elsewhere it is only remembered

Nothing is interrupted while weights change or a checkpoint is written. Forward and backward passes are interrupted
between two layers, and what they have computed is thrown away: the checkpoint is that of the last whole step.

Of several processes that train together none stops by itself, the others would wait for it: ``together=True`` only
remembers the signal, and all stop at the end of the step (see ``Resumable.agree``).
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

from character_chatbot.training import processes

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "Stopping with a checkpoint; the same command goes on from it. Once more: at once."


class Stopped(BaseException):
    """A signal came where nothing is lost by ending here. No ``except Exception`` takes it for a fault."""


class StopOnSignal:
    """Remembers the first signal and raises :class:`Stopped` where that is safe; a second one ends the run at once."""

    def __init__(self, *, together: bool = False) -> None:
        self.received: int | None = None
        self._together = together
        self._before: dict[int, Any] = {}
        self._at_once = False

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():  # no other one may set handlers
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that a signal may interrupt anywhere. Raises Stopped, also if the signal came before."""
        if self._together:
            yield
            return
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = False

    def check(self) -> None:
        """Raises Stopped: a signal has come."""
        if self.received is not None:
            raise Stopped

    def leave(self) -> NoReturn:
        """End the program as its signal asks: KeyboardInterrupt (130), or SystemExit 143."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + (self.received or signal.SIGTERM))

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        self.received = number
        signal.signal(number, self._before[number])
        with suppress(OSError, RuntimeError, ValueError):  # nobody listens, or the signal came in the middle of a line
            if processes.is_first():
                tqdm.write(STOPPING, sys.stderr)
        if self._at_once:
            raise Stopped


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """A block in which SIGTERM raises SystemExit 143, as Ctrl-C raises KeyboardInterrupt: what is open is tidied up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: types.FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def let_signals_in(model: torch.nn.Module) -> None:
    """Give Python, and with it a signal, its turn after each layer, in the backward pass too.

    Without this a backward pass is one call into C++, during which no signal is heard. A hook on each layer's output
    that does nothing costs some microseconds.
    """
    import torch

    def touch(gradient: torch.Tensor) -> None:
        """Nothing: being called is enough."""

    def hook(module: torch.nn.Module, inputs: object, output: object) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(first, torch.Tensor) and first.requires_grad:
            first.register_hook(touch)

    for parent in model.modules():
        if isinstance(parent, torch.nn.ModuleList):
            for layer in parent:
                layer.register_forward_hook(hook)
