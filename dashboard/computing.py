"""Analyses off the page's own thread: with progress, once for all who wait for the same, kept, and stopped when nobody
waits any more.

analyses = Analyses(kept=8)
async for step in analyses.follow(source.key, lambda progress: score(source.lines, progress)):
    show(step)                 # Step while it goes on; at the end Done, with the result
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
Progress = Callable[[int, int], None]
LOOK_SECONDS = 0.04  # between two looks whether it is done
STEP_SECONDS = 0.28  # between two steps; what is done by the first shows none at all


@dataclass(frozen=True)
class Step:
    """How far it is: ``done`` of ``total`` parts (0 of 0: not known), after ``seconds``; ``waits``: not begun yet."""

    done: int
    total: int
    seconds: float
    waits: bool


@dataclass(frozen=True)
class Done(Generic[T]):
    """The result, and the seconds that it took when it was computed."""

    result: T
    seconds: float


class NobodyWaits(BaseException):
    """Raised inside an analysis at its next report, when all who wanted it have gone."""


@dataclass
class _Running(Generic[T]):
    work: Callable[[Progress], T]
    owner: str = ""
    is_kept: bool = True
    waiting: int = 0
    done: int = 0
    total: int = 0
    began: float = 0.0
    asked: float = field(default_factory=time.monotonic)
    finished: threading.Event = field(default_factory=threading.Event)
    result: Done[T] | None = None
    error: BaseException | None = None

    def run(self) -> None:
        self.began = time.monotonic()
        try:
            self._report(0, 0)
            self.result = Done(self.work(self._report), time.monotonic() - self.began)
        except BaseException as error:  # raised again where somebody waits for it
            self.error = error

    def _report(self, done: int, total: int) -> None:
        if self.waiting <= 0:
            raise NobodyWaits
        self.done, self.total = done, total

    def step(self) -> Step:
        now = time.monotonic()
        return Step(self.done, self.total, now - (self.began or self.asked), not self.began)


class Analyses(Generic[T]):
    """One analysis at a time; results are kept by key, the ``kept`` that were asked for last."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._results: OrderedDict[str, Done[T]] = OrderedDict()
        self._owners: dict[str, str] = {}
        self._running: dict[str, _Running[T]] = {}
        self._lock = threading.Lock()
        self._slot = threading.Lock()

    def get(self, key: str) -> Done[T] | None:
        """What is kept under this key."""
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def forget(self, owner: str) -> None:
        """Keep nothing that was computed for this owner, and nothing that is being computed for it."""
        with self._lock:
            for key in [key for key, whose in self._owners.items() if whose == owner]:
                del self._owners[key]
                self._results.pop(key, None)
            for task in self._running.values():
                task.is_kept = task.is_kept and task.owner != owner

    async def follow(
        self, key: str, work: Callable[[Progress], T], owner: str = ""
    ) -> AsyncGenerator[Step | Done[T], None]:
        """Steps while ``work`` runs, then its result. Leaving early gives it up; it ends when nobody else waits.

        Args:
            key: of the data and of all settings that change the result.
            work: is given a function to report (done, total) to, which ends it by an exception; runs in a thread.
            owner: see :meth:`forget`.

        Raises:
            What ``work`` raises.
        """
        if (kept := self.get(key)) is not None:
            yield kept
            return
        task = self._join(key, work, owner)
        try:
            shown = time.monotonic()
            while not task.finished.is_set():
                await asyncio.sleep(LOOK_SECONDS)
                if time.monotonic() - shown > STEP_SECONDS:
                    shown = time.monotonic()
                    yield task.step()
        finally:
            self._leave(task)
        if task.error is not None:
            raise task.error
        if task.result is not None:
            yield task.result

    def _join(self, key: str, work: Callable[[Progress], T], owner: str) -> _Running[T]:
        with self._lock:
            task = self._running.get(key)
            if task is None or task.waiting <= 0:
                task = self._running[key] = _Running(work, owner, waiting=1)
                # A thread that does not keep the program from ending.
                threading.Thread(target=self._run, args=(key, task), name="analysis", daemon=True).start()
            else:
                task.waiting += 1
            return task

    def _leave(self, task: _Running[T]) -> None:
        with self._lock:
            task.waiting -= 1

    def _run(self, key: str, task: _Running[T]) -> None:
        with self._slot:
            task.run()
        with self._lock:
            if self._running.get(key) is task:
                del self._running[key]
            if task.result is not None and task.is_kept:
                self._results[key] = task.result
                if task.owner:
                    self._owners[key] = task.owner
                while len(self._results) > self._kept:
                    self._owners.pop(self._results.popitem(last=False)[0], None)
        task.finished.set()  # only now: who is told so finds the result
