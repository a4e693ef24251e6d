"""A limit of memory for this process and its children, as a container or a small machine has one: a control group.

    with memory_limit(4 * 2**30) as group:
        …                                  # beyond it the kernel ends the process, as it does on such a machine
        group.peak_bytes()                 # everything: also pages of files that were read

Linux, as root or with a group that one may write to; version 1 and 2 of control groups.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Group:
    """``folder``: of the control group; ``names``: of the files for its limit and its peak."""

    folder: Path
    limit: str
    peak: str

    def peak_bytes(self) -> int:
        return int((self.folder / self.peak).read_text())


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[Group]:
    """Put this process into a new group below its own. Raises OSError: it may not, or there are no such groups."""
    parent, names = _own_group()
    group = Group(parent / f"limit-{os.getpid()}", *names)
    group.folder.mkdir()
    try:
        (group.folder / group.limit).write_text(str(limit_bytes))
        (group.folder / "cgroup.procs").write_text(str(os.getpid()))
        yield group
    finally:
        with suppress(OSError):  # a child that still runs keeps it
            (parent / "cgroup.procs").write_text(str(os.getpid()))
            group.folder.rmdir()


def _own_group() -> tuple[Path, tuple[str, str]]:
    """The folder of this process's group, and the names of its files; cgroups(7)."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return CGROUPS / "memory" / path.lstrip("/"), ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
        if not controllers and (CGROUPS / path.lstrip("/") / "memory.max").exists():
            return CGROUPS / path.lstrip("/"), ("memory.max", "memory.peak")
    raise OSError("this system has no control groups for memory")
