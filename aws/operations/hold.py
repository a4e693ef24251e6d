"""Which runs a living process works on: it holds a file of the run, and the system lets go of it however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aws.cloud import Cloud
from aws.errors import PlaceError


@contextmanager
def held(cloud: Cloud, run: str, *remedies: tuple[str, str]) -> Iterator[None]:
    """Hold a run for as long as the block lasts. ``remedies``: what else to do where it cannot be.

    Raises:
        PlaceError: another process of this folder has it.
    """
    file = _lock_file(cloud, run)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlaceError(
                f"{run} is followed by another process of this machine.",
                remedies=[("Look at it", f"python deploy_aws.py logs {run} --follow"), *remedies],
            ) from None
        yield


def is_held(cloud: Cloud, run: str) -> bool:
    """Whether a living process of this folder works on the run."""
    try:
        with _lock_file(cloud, run).open("r", encoding="utf-8") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _lock_file(cloud: Cloud, run: str) -> Path:
    return cloud.settings.paths.runs / "aws" / f"{run}.lock"
