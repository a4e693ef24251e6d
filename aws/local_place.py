"""This machine as a place: jobs run here, with a folder as their bucket and the same runner as on an instance.

    place = LocalPlace(Path("runs/jobs"), Path("runs/bucket"))
    place.launch(job)

Each job has ``folder/<name>/``, laid out as on an instance. A job that was interrupted and is launched again gets an
empty working folder, as a new machine has, and goes on from what the bucket holds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aws.errors import PlaceError
from aws.instance.child import started_ticks
from aws.instance.folder import (
    BOOTSTRAP_LOG,
    CHILD,
    CODE,
    EXIT,
    JOB,
    LOCK_FILE,
    LOG,
    STATE,
    SYNCED,
    WORK,
    Assignment,
    read_line,
    write_line,
)
from aws.instance.lock import is_held
from aws.places import ENDS, GONE, INTERRUPTED, SAVING, STARTING, Job, LogPiece, Outcome, PlaceStatus
from config import PROJECT_FOLDER
from utils.files import locked

START_TIMEOUT_SECONDS = 20.0
END_TIMEOUT_SECONDS = 10.0
PAUSE_SECONDS = 0.02
PIECE_BYTES = 262_144
LAUNCHES = ".lock"


@dataclass(frozen=True)
class LocalPlace:
    """Runs jobs in processes of their own, which outlive this one.

    Args:
        folder: of the jobs.
        bucket: a folder; what jobs read and save lies in it.
        python: runs the programs; it has all that they need.
        code: where the programs are.
        environment: variables besides those of this process.
        sync_seconds: between two passes of saving.
    """

    folder: Path
    bucket: Path
    python: str = sys.executable
    code: Path = PROJECT_FOLDER
    environment: Mapping[str, str] = field(default_factory=dict)
    sync_seconds: float = 5.0

    def launch(self, job: Job) -> None:
        """Start a job, or go on with one that was started or interrupted. Raises PlaceError."""
        home = self.folder / job.name
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / LAUNCHES):
            known = self._known(home)
            if known and known.job.to_dict() != Job.from_dict(_through_json(job)).to_dict():
                raise PlaceError(f"there is another job named {job.name} in {self.folder}.")
            stage = read_line(home / EXIT).get("stage")
            if is_held(home) or (stage and stage != INTERRUPTED):
                return
            attempt = known.attempt if known else 1
            if stage == INTERRUPTED:
                attempt += 1
                _clear(home)
            self._prepare(home, job, attempt)
            self._start(home)

    def status(self, name: str) -> PlaceStatus:
        """Where it stands. Raises PlaceError: it was never launched here."""
        home = self._home(name)
        alive = is_held(home)
        end, state = read_line(home / EXIT), read_line(home / STATE)  # after the look: it writes its end while it lives
        progress = state.get("progress") or {}
        if end:
            return PlaceStatus(name, str(end.get("stage")), progress, str(end.get("failing_line") or ""))
        if not alive:
            return PlaceStatus(name, GONE, progress, "its process ended before it did")
        stage = str(state.get("stage") or STARTING)
        return PlaceStatus(name, SAVING if stage in ENDS else stage, progress, str(state.get("message") or ""))

    def logs(self, name: str, offset: int = 0) -> LogPiece:
        """What it said from ``offset`` bytes on."""
        try:
            with (self._home(name) / LOG).open("rb") as file:
                file.seek(offset)
                content = file.read(PIECE_BYTES)
        except FileNotFoundError:
            content = b""
        return LogPiece(content, offset + len(content))

    def collect(self, name: str) -> Outcome:
        """How it ended. Raises PlaceError: it goes on."""
        status = self.status(name)
        if not status.ended:
            raise PlaceError(f"{name} is not over yet: {status.stage}.")
        end = read_line(self._home(name) / EXIT)
        line = str(end.get("failing_line") or status.message)
        return Outcome(name, status.stage, end.get("exit_status"), end.get("output") or {}, line)

    def terminate(self, name: str) -> None:
        """End its processes at once, as an instance ends; silent when they are gone already."""
        home = self._home(name)
        until = time.monotonic() + END_TIMEOUT_SECONDS
        with locked(home / LAUNCHES):
            while is_held(home):
                _kill(_runner_pid(home))
                if time.monotonic() > until:
                    raise PlaceError(f"{name} cannot be ended: process {_runner_pid(home)} goes on.")
                time.sleep(PAUSE_SECONDS)
            child = read_line(home / CHILD)
            if child and started_ticks(int(child["pid"])) == child["started"]:
                _kill(int(child["pid"]))

    def _prepare(self, home: Path, job: Job, attempt: int) -> None:
        (home / WORK).mkdir(exist_ok=True)
        (home / EXIT).unlink(missing_ok=True)
        if not (home / CODE).exists():
            (home / CODE).symlink_to(self.code.resolve())
        bucket = str(self.bucket.resolve())
        write_line(home / JOB, Assignment(job, bucket, attempt=attempt, sync_seconds=self.sync_seconds).to_dict())

    def _start(self, home: Path) -> None:
        command = [self.python, "-m", "aws.instance.runner", str(home.resolve()), "--python", self.python]
        own = {"PYTHONPATH": str(PROJECT_FOLDER), "AWS_EC2_METADATA_DISABLED": "true"}  # not an instance: no notices
        with (home / BOOTSTRAP_LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=PROJECT_FOLDER,
                env={**os.environ, **own, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_started(home, process)

    def _wait_started(self, home: Path, process: subprocess.Popen[bytes]) -> None:
        """Until it works on its own."""
        until = time.monotonic() + START_TIMEOUT_SECONDS
        while not is_held(home) and not (home / EXIT).exists():
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                process.wait()
                said = (home / BOOTSTRAP_LOG).read_text(encoding="utf-8", errors="replace").strip()
                raise PlaceError(f"{home.name} did not start: {said.rpartition(chr(10))[2] or 'no reason given'}.")
            time.sleep(PAUSE_SECONDS)
        _reap_later(process)

    def _home(self, name: str) -> Path:
        home = self.folder / name
        if not (home / JOB).exists():
            raise PlaceError(f"{name} was never launched in {self.folder}.")
        return home

    def _known(self, home: Path) -> Assignment | None:
        return Assignment.load(home) if (home / JOB).exists() else None


def _through_json(job: Job) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(job.to_dict()))
    return content


def _runner_pid(home: Path) -> int:
    with suppress(OSError, ValueError):
        return int((home / LOCK_FILE).read_text())
    return 0


def _kill(pid: int) -> None:
    if pid > 1:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _clear(home: Path) -> None:
    """What a new machine would not have; the log goes on."""
    for name in (WORK, EXIT, STATE, SYNCED, CHILD):
        file = home / name
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    """The job outlives us; if it does not, its entry in the table of processes goes as well."""
    threading.Thread(target=process.wait, daemon=True).start()
