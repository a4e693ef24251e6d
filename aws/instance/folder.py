"""The files of a job in its folder: what is to be done, where it stands, how it ended.

assignment = Assignment.load(folder)
write_line(folder / EXIT, {"stage": "done"})
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws.errors import PlaceError
from aws.places import Job
from utils.files import write_atomic

JOB, LOG, STATE, EXIT = "job.json", "log", "state.json", "exit.json"
CODE, WORK, PROGRESS = "code", "work", "progress.json"
BOOTSTRAP_LOG = "bootstrap.log"  # what was said before there was a runner; it comes into the log
LOCK_FILE = "runner.lock"  # held by the living runner, whose process id is in it
CHILD = "child.json"  # the process that the runner has started last
SYNCED = "synced.json"  # what the bucket has already
RESERVE = "reserve"  # given up when the disk is full, so that the end can still be written down
RESERVE_BYTES = 262_144


@dataclass(frozen=True)
class Assignment:
    """A job, where its bucket is, and which machine this is for it.

    ``attempt``: 1 for the first machine of the job. ``launched_at``: ISO 8601; empty: when the machine was booted.
    """

    job: Job
    bucket_url: str
    region: str = ""
    attempt: int = 1
    price_usd_per_hour: float = 0.0
    sync_seconds: float = 30.0
    launched_at: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "job": self.job.to_dict()}

    @classmethod
    def load(cls, folder: Path) -> Assignment:
        """Read job.json. Raises PlaceError: it is missing or not understood."""
        try:
            content = json.loads((folder / JOB).read_bytes())
            return cls(**{**content, "job": Job.from_dict(content["job"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PlaceError(f"{folder / JOB} is not a job: {type(error).__name__}: {error}.") from None


def write_line(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as one line, whole or not at all. Raises OSError."""
    write_atomic(file, to_line(content))


def to_line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, default=str).encode(errors="replace") + b"\n"


def read_line(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def now_iso(seconds: float | None = None) -> str:
    """``2026-11-21T10:15:30Z`` for seconds since 1970, or for now."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def reserve_room(folder: Path) -> None:
    """Put something aside that ``free_room`` can give up."""
    with suppress(OSError):
        (folder / RESERVE).write_bytes(b"\0" * RESERVE_BYTES)


def free_room(folder: Path) -> None:
    with suppress(OSError):
        (folder / RESERVE).unlink()
