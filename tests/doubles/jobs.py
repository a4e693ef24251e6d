"""Jobs to order, in a module that the workers of Ray can import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from utils.errors import DataError

LISTENS = "0A"  # state in /proc/net/tcp


def divide(one: int, other: int) -> float:
    if other < 0:
        raise DataError("nothing below zero.")
    return one / other


def interrupt() -> None:
    raise KeyboardInterrupt


def die_once(folder: str, number: int) -> int:
    """The square of a number; the first time, somebody kills the process in the middle."""
    mark = Path(folder) / f"killed-{number}"
    if not mark.exists():
        mark.touch()
        killer = f"import os, time; time.sleep(0.3); os.kill({os.getpid()}, {int(signal.SIGKILL)})"
        subprocess.Popen([sys.executable, "-c", killer])
        time.sleep(60)
    return number * number


def die_if_odd(number: int) -> int:
    if number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def listening() -> tuple[list[str], str]:
    """Addresses, in hexadecimal, on which Ray's processes listen, and what they were told of usage statistics."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for row in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = row.split()
            if words[3] == LISTENS:
                sockets[f"socket:[{words[9]}]"] = words[1].partition(":")[0]
    token, found = os.environ["RAY_AUTH_TOKEN"].encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if token in (process / "environ").read_bytes():
                links = [str(each.readlink()) for each in (process / "fd").iterdir()]
                found += [sockets[link] for link in links if link in sockets]
        except OSError:  # it ended meanwhile
            continue
    return sorted(found), os.environ.get("RAY_USAGE_STATS_ENABLED", "")
