"""The log of a job: only ever grows, holds no secret, and survives a full disk.

log = Log(folder / "log")
log.hide(["hf_…"])
log.say("data: 12 files fetched")   # the runner's own words, with the time (UTC)
log.write(b"a line of the job\\n")   # what the job says, as it is
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from utils.logs import SecretFilter

LARGEST_PENDING_BYTES = 1_000_000  # kept in memory while the disk takes nothing
FULL = (errno.ENOSPC, errno.EDQUOT)


class Log:
    """Appends to a file from any thread; what the disk refuses is kept and comes first at the next write."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self.file = file
        self.disk_full = False  # whether it ever was
        self._clock = clock
        self._lock = threading.Lock()
        self._pending = b""
        self._filter = SecretFilter(())

    def hide(self, secrets: Iterable[str]) -> None:
        """Put stars for these from here on."""
        self._filter = SecretFilter(secrets)

    def hidden(self, line: bytes) -> bytes:
        """The line with stars for secrets."""
        return self._filter.hide(line.decode(errors="surrogateescape")).encode(errors="surrogateescape")

    def go_on(self, before: bytes, aside: Path) -> None:
        """Start where an earlier machine ended, so that here and in the bucket are the same bytes.

        Args:
            before: what it said.
            aside: what was said here until now; it comes next and is emptied. systemd has it open.
        """
        here = self.content()
        if len(before) > len(here) and before.startswith(here):
            self.write(before[len(here) :])
        with suppress(OSError):
            self.write(aside.read_bytes())
            aside.write_bytes(b"")

    def say(self, text: str) -> None:
        """A sentence of the runner itself."""
        moment = time.strftime("%H:%M:%S", time.gmtime(self._clock()))
        self.write(f"[{moment}] {text}\n".encode(errors="replace"))

    def write(self, content: bytes) -> None:
        """Append; never raises."""
        content = self.hidden(content)
        with self._lock:
            self._pending = self._append(self._pending + content)[-LARGEST_PENDING_BYTES:]

    def content(self) -> bytes:
        """All of it, and what the disk has refused so far."""
        with self._lock:
            try:
                return self.file.read_bytes() + self._pending
            except OSError:
                return self._pending

    def size_bytes(self) -> int:
        try:
            return self.file.stat().st_size + len(self._pending)
        except OSError:
            return len(self._pending)

    def _append(self, content: bytes) -> bytes:
        """What could not be written."""
        try:
            descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                while content:  # a disk that fills up takes a part first
                    content = content[os.write(descriptor, content) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            self.disk_full = self.disk_full or error.errno in FULL
        return content
