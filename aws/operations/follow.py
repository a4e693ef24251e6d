"""Following a job: its log and its progress, until it ends; a line that is cut is taken up again where it was.

status = follow(place, name, write=…, show=…, sleep=time.sleep)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from aws.errors import CloudError
from aws.places import Place, PlaceStatus
from utils.errors import StoreError

PAUSE_SECONDS = 1.0
UNREACHABLE_TRIES = 30  # so many looks in a row may fail, with growing pauses: about ten minutes


def follow(
    place: Place,
    name: str,
    *,
    write: Callable[[bytes], None],
    show: Callable[[PlaceStatus], None],
    sleep: Callable[[float], None],
    offset: int = 0,
) -> PlaceStatus:
    """Pass on the log from ``offset`` bytes on, and each status, until the job has ended.

    Raises:
        CloudError, StoreError: neither the machine nor AWS could be asked for some minutes.
    """
    failed = 0
    while True:
        try:
            status = place.status(name)
            piece = place.logs(name, offset)
        except (CloudError, StoreError):
            failed += 1
            if failed >= UNREACHABLE_TRIES:
                raise
            sleep(min(30.0, PAUSE_SECONDS * 2 ** min(failed, 5)))
            continue
        failed = 0
        write(piece.content)
        offset = piece.next_offset
        show(status)
        if status.ended and not piece.content:
            return status
        if not piece.content:
            sleep(PAUSE_SECONDS)


def describe_progress(progress: Mapping[str, Any], price_usd_per_hour: float, begun: datetime, now: datetime) -> str:
    """Step, loss, time left and cost so far in one line; what is not known is left out."""
    parts = [str(progress["stage"])] if progress.get("stage") else []
    if progress.get("steps"):
        parts.append(f"step {progress.get('step', 0)} of {progress['steps']}")
    if isinstance(progress.get("loss"), int | float):
        parts.append(f"loss {progress['loss']:.3f}")
    if isinstance(progress.get("seconds_left"), int | float):
        parts.append(f"{format_duration(progress['seconds_left'])} left")
    hours = max(0.0, (now - begun).total_seconds() / 3600)
    parts.append(f"{hours * price_usd_per_hour:.2f} USD so far")
    return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 05 min``, ``2 d 04 h``."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60:02d} h"
