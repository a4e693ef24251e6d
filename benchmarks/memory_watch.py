"""How much memory a process has of its own at most, with its children: sampled, for the kernel keeps no such peak.

with MemoryWatch() as watch:
    …
watch.own_bytes                       # RssAnon of proc_pid_status(5): without pages of files
watch.resident_bytes                  # with them: the kernel may drop them, and has to read them again if needed
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

SECONDS = 0.1
IGNORED = "benchmarks.serving_measures"  # what measures the memory's bandwidth has half a gigabyte of its own


class MemoryWatch:
    """Peaks so far. ``only_children``: a process that merely asks those that serve is not counted."""

    def __init__(self) -> None:
        self.own_bytes, self.resident_bytes, self.only_children = 0, 0, False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS):
            numbers = _children() if self.only_children else [os.getpid(), *_children()]
            sizes = [_sizes(number) for number in numbers]
            self.own_bytes = max(self.own_bytes, sum(own for own, _ in sizes))
            self.resident_bytes = max(self.resident_bytes, sum(resident for _, resident in sizes))


def _children() -> list[int]:
    """Of this process, without what measures beside it; they have higher numbers, unless those began anew."""
    own = os.getpid()
    found = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and int(each.name) > own]
    return [each for each in found if _parent(each) == own and IGNORED not in _read(Path(f"/proc/{each}/cmdline"))]


def _parent(number: int) -> int:
    """proc_pid_stat(5); the name before it may have spaces and brackets."""
    fields = _read(Path(f"/proc/{number}/stat")).rpartition(") ")[2].split()
    return int(fields[1]) if fields else 0


def _sizes(number: int) -> tuple[int, int]:
    lines = [line.split() for line in _read(Path(f"/proc/{number}/status")).splitlines()]
    found = {line[0]: int(line[1]) * 1024 for line in lines if line[0] in ("RssAnon:", "VmRSS:")}
    return found.get("RssAnon:", 0), found.get("VmRSS:", 0)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it has ended
        return ""
