"""Where a job stands, in state.json: its stage, what it says of its progress, and what it has cost so far."""

from __future__ import annotations

import calendar
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aws.instance.folder import PROGRESS, STATE, WORK, Assignment, now_iso, read_line, to_line, write_line
from aws.places import WAITING

LONGEST_SILENCE_SECONDS = 10.0  # then it is written again, for its cost and time


class State:
    """Writes state.json whenever the stage or the progress changes. Never raises: a full disk ends no job."""

    def __init__(self, folder: Path, assignment: Assignment, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._assignment, self._clock = folder, assignment, clock
        self._lock = threading.Lock()
        self._began = _seconds(assignment.launched_at) or machine_started(clock)
        self._stage, self._message = WAITING, ""
        self._written: dict[str, Any] = {}
        self._written_at = 0.0

    @property
    def stage(self) -> str:
        return self._stage

    def cost_usd(self) -> float:
        """Of this machine so far."""
        hours = max(0.0, self._clock() - self._began) / 3600
        return round(hours * self._assignment.price_usd_per_hour, 4)

    def set(self, stage: str, message: str = "") -> None:
        """Enter a stage."""
        self._stage, self._message = stage, message
        self.refresh()

    def note(self, message: str) -> None:
        """Say something about the stage at hand."""
        self._message = message
        self.refresh()

    def content(self) -> dict[str, Any]:
        return {
            "stage": self._stage,
            "message": self._message,
            "progress": read_line(self._folder / WORK / PROGRESS),
            "at": now_iso(self._clock()),
            "cost_usd": self.cost_usd(),
            "attempt": self._assignment.attempt,
        }

    def line(self) -> bytes:
        return to_line(self.content())

    def refresh(self) -> None:
        """Write the file if there is something new to say."""
        with self._lock:
            content, now = self.content(), self._clock()
            said = {name: content[name] for name in ("stage", "message", "progress")}
            if said == self._written and now - self._written_at < LONGEST_SILENCE_SECONDS:
                return
            self._written, self._written_at = said, now
            with suppress(OSError):  # the copy in the bucket comes from memory
                write_line(self._folder / STATE, content)


def machine_started(clock: Callable[[], float] = time.time, proc: Path = Path("/proc")) -> float:
    """When process 1 of this machine was started, in seconds since 1970; now, where that cannot be told.

    Not the uptime of the kernel, which in a container is that of its host. See proc_pid_stat(5), field 22.
    """
    try:
        ticks = int((proc / "1" / "stat").read_text().rpartition(")")[2].split()[19])
        booted = next(int(row.split()[1]) for row in (proc / "stat").read_text().splitlines() if row[:5] == "btime")
    except (OSError, ValueError, IndexError, StopIteration):
        return clock()
    return booted + ticks / 100  # clock ticks a second: 100 on every Linux that EC2 runs


def _seconds(iso: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(iso, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0
