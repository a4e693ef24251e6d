"""A place is where a job runs: this machine or an EC2 instance. It knows nothing of what the job is about.

place.launch(job)                      # the same job twice is launched once
piece = place.logs(job.name, offset)   # bytes from there on
outcome = place.collect(job.name)      # how it ended
place.terminate(job.name)              # silent when it is gone already
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

# The stages of a job in their order; the last four are ends.
WAITING, STARTING, CONNECTING, UPLOADING = "waiting", "starting", "connecting", "uploading"
ENVIRONMENT, DATA, RUNNING, SAVING = "environment", "data", "running", "saving"
DONE, FAILED, INTERRUPTED, GONE = "done", "failed", "interrupted", "gone"
ENDS = (DONE, FAILED, INTERRUPTED, GONE)


@dataclass(frozen=True)
class Link:
    """A folder of the job and where it is kept in the bucket.

    ``folder``: relative to the job's working folder. ``key``: prefix in the bucket. ``mark``: a subfolder whose name
    ends in a number (``checkpoint-20``) is copied only once it holds a file of this name.
    """

    folder: str
    key: str
    mark: str = ""


@dataclass(frozen=True)
class Job:
    """What is to run. All of it may be read by anybody who may see the instance: secrets go by name.

    Args:
        name: unique; the run.
        purpose: training or serving.
        command: a program of this project and its arguments. ``{work}`` stands for the job's working folder and
            ``{bucket}`` for the address of the bucket.
        inputs: fetched before the start.
        outputs: fetched before the start (to go on from) and saved while it runs and at the end.
        environment: variables, no secrets.
        secrets: variable to the name of an SSM parameter.
        torch_index: where pip looks for torch first; empty: its default.
        max_hours: then it is ended whatever it is doing; 0: it stays until it is ended.
        max_usd: shortens ``max_hours``; 0: no limit.
        restart: start the command again whenever it ends (a server).
        keep_on_failure: leave the machine running for a look if the job fails; the deadline still holds.
        log_key: where the log is kept in the bucket.
    """

    name: str
    purpose: str
    command: tuple[str, ...]
    inputs: tuple[Link, ...] = ()
    outputs: tuple[Link, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    torch_index: str = ""
    max_hours: float = 4.0
    max_usd: float = 0.0
    restart: bool = False
    keep_on_failure: bool = False
    log_key: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Job:
        """Raises TypeError, KeyError: not a job."""
        links = {name: tuple(Link(**link) for link in content[name]) for name in ("inputs", "outputs")}
        return cls(**{**content, **links, "command": tuple(content["command"])})


@dataclass(frozen=True)
class PlaceStatus:
    """Where a job stands. ``progress`` is what the job says of itself (step, steps, loss, seconds_left…)."""

    name: str
    stage: str
    progress: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.stage in ENDS


@dataclass(frozen=True)
class LogPiece:
    """Bytes of a log from an offset on; ``next_offset`` is where the next piece starts."""

    content: bytes
    next_offset: int


@dataclass(frozen=True)
class Outcome:
    """How a job ended. ``exit_status``: of its command, None if it never ended by itself. ``output``: the JSON that
    the command printed, empty if none. ``failing_line``: the line of the log that tells why, if it failed."""

    name: str
    stage: str
    exit_status: int | None
    output: Mapping[str, Any] = field(default_factory=dict)
    failing_line: str = ""


class Place(Protocol):
    """Where a job runs. Names are those of jobs; ``PlaceError`` or ``UsageError`` for one that was never launched."""

    def launch(self, job: Job) -> None:
        """Start a job, or go on with one of the same name that was started; returns once it works on its own."""

    def status(self, name: str) -> PlaceStatus:
        """Where it stands."""

    def logs(self, name: str, offset: int = 0) -> LogPiece:
        """What it said from ``offset`` bytes on; empty if nothing new."""

    def collect(self, name: str) -> Outcome:
        """How it ended. Raises PlaceError: it goes on."""

    def terminate(self, name: str) -> None:
        """End it and what it runs on; silent when that is gone already."""
