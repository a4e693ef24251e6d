"""One program that the runner starts: its words go into the log, its end is waited for, and it can be stopped.

ended = run_child(command, cwd=code, environment=environment, log=log, stop=stop)
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aws.instance.folder import read_line, write_line
from aws.instance.log import Log

PAUSE_SECONDS = 0.1
LONGEST_LINE_BYTES = 65_536
KEPT_OUTPUT_BYTES = 4_000_000
KEPT_LINES = 2000
PIPE_TIMEOUT_SECONDS = 5.0  # a grandchild may hold the pipe open
DISK_FULL = ("No space left on device", "the disk is full", "Disk quota exceeded")


class Stopped(Exception):
    """The job was asked to end, and this stage of it ended unfinished."""


class Stop:
    """A request to end, from a signal or a spot notice; the first one counts.

    Plain values and no lock: ``request`` may run inside a signal handler.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.requested = False
        self.why = ""
        self._clock, self._sleep = clock, sleep
        self._child_until = self._until = float("inf")

    def request(self, why: str, child_seconds: float, seconds: float) -> None:
        """End: the program within ``child_seconds``, everything within ``seconds``."""
        if not self.requested:
            now = self._clock()
            self.why, self._child_until, self._until = why, now + child_seconds, now + seconds
            self.requested = True

    @property
    def child_is_late(self) -> bool:
        return self._clock() > self._child_until

    def seconds_left(self, otherwise: float) -> float:
        """Until all must be over; ``otherwise`` if nobody has asked."""
        return max(0.0, self._until - self._clock()) if self.requested else otherwise

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a request; whether there is one."""
        end = self._clock() + seconds
        while not self.requested and (left := end - self._clock()) > 0:
            self._sleep(min(PAUSE_SECONDS, left))
        return self.requested


@dataclass(frozen=True)
class Ended:
    """How a program ended. ``exit_status``: 128 and the signal's number if it was killed."""

    exit_status: int
    stdout: str
    lines: tuple[str, ...]  # the last ones of both streams

    def output(self) -> dict[str, Any]:
        """The last JSON object that starts a line of the standard output; empty if there is none."""
        for start in reversed([found.start() for found in re.finditer(r"^\{", self.stdout, re.MULTILINE)]):
            with suppress(ValueError):
                return dict(json.JSONDecoder().raw_decode(self.stdout, start)[0])
        return {}

    def last_line(self, *starts: str) -> str:
        """The last line that begins with one of these, or else the last one that says anything."""
        spoken = [line.strip() for line in self.lines if line.strip()]
        marked = [line for line in spoken if line.startswith(starts)]
        return (marked or spoken or [""])[-1]

    @property
    def disk_full(self) -> bool:
        return any(sign in line for line in self.lines for sign in DISK_FULL)


def run_child(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Log,
    stop: Stop,
    record: Path | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Ended:
    """Start a program in a session of its own and wait for its end; a requested stop is passed on as SIGTERM.

    Args:
        record: file that names the process while it lives, see ``end_leftover``.
        tick: called a few times a second.

    Raises:
        OSError: it cannot be started.
    """
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=cwd, env=dict(environment), start_new_session=True, **pipes) as process:
        if record:
            with suppress(OSError):
                write_line(record, {"pid": process.pid, "started": started_ticks(process.pid)})
        ears = _Ears(log)
        readers = [ears.listen(process.stdout, keep=True), ears.listen(process.stderr, keep=False)]
        try:
            _wait(process, stop, tick)
        finally:
            _end_group(process.pid)  # whatever it has left behind
        for reader in readers:
            reader.join(PIPE_TIMEOUT_SECONDS)
    if record:
        record.unlink(missing_ok=True)
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Ended(status, ears.kept.decode(errors="replace"), tuple(ears.lines))


class _Ears:
    """Reads the streams of a program, each in a thread of its own."""

    def __init__(self, log: Log) -> None:
        self.kept = b""
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._log = log

    def listen(self, stream: IO[bytes] | None, keep: bool) -> threading.Thread:
        thread = threading.Thread(target=self._read, args=(stream, keep), daemon=True)
        thread.start()
        return thread

    def _read(self, stream: IO[bytes], keep: bool) -> None:
        with suppress(OSError, ValueError):  # closed while we read
            while line := stream.readline(LONGEST_LINE_BYTES):
                line = self._log.hidden(line)
                self._log.write(line if line.endswith(b"\n") or len(line) >= LONGEST_LINE_BYTES else line + b"\n")
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                if keep:
                    self.kept = (self.kept + line)[-KEPT_OUTPUT_BYTES:]


def _wait(process: subprocess.Popen[bytes], stop: Stop, tick: Callable[[], None]) -> None:
    asked = False
    while process.poll() is None:
        if stop.requested and not asked:
            asked = True
            process.terminate()
        if stop.requested and stop.child_is_late:
            _end_group(process.pid)
        tick()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PAUSE_SECONDS)


def _end_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def started_ticks(pid: int) -> int:
    """When a process was started, in clock ticks; -1 if there is none. Tells it from a later one of the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return -1 if fields[0] == "Z" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return -1


def end_leftover(record: Path, grace_seconds: float, sleep: Callable[[float], None] = time.sleep) -> bool:
    """End the program that a killed runner has left behind, gently first; whether there was one."""
    known = read_line(record)
    pid, started = int(known.get("pid") or 0), int(known.get("started") or -1)
    if not pid or started == -1 or started_ticks(pid) != started:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    waited = 0.0
    while started_ticks(pid) == started and waited < grace_seconds:
        sleep(PAUSE_SECONDS)
        waited += PAUSE_SECONDS
    _end_group(pid)
    return True
