"""One runner to a folder: it holds a file, and the system lets go of that however the runner ends."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from aws.instance.folder import LOCK_FILE

LOCK_ATTEMPTS = 20


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Whether this process is the only runner of the folder, for as long as the block lasts."""
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as file:
        mine = _try_lock(file)
        if mine:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield mine


def is_held(folder: Path) -> bool:
    """Whether a runner works in the folder: the system lets go of it however the runner ends."""
    try:
        with (folder / LOCK_FILE).open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _try_lock(file: IO[str]) -> bool:
    """Several times: whoever looks whether there is a runner holds the file for a moment."""
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - spreads them
    return False
