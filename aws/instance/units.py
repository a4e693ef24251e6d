"""What is copied of a folder: plain files, and units, which count only as a whole.

A *unit* is a folder below a link with a mark whose name ends in a number (``checkpoint-20``) or in a hash
(``nano-llama-0123456789ab``). It is whole once the file of the mark's name is in it.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aws.places import Link
from utils.files import is_reserved

UNIT_NAME = re.compile(r"(?P<kind>.+)-(?P<number>\d+|[0-9a-f]{12,64})")


@dataclass(frozen=True)
class Unit:
    """A folder that counts as a whole, by its path below a link: ``llama/1f/checkpoints/checkpoint-20``."""

    path: str

    @property
    def number(self) -> int:
        """Its place among its like; -1 for one that is named by a hash and has none."""
        number = _unit_match(self.path)["number"]
        return int(number) if number.isdigit() and len(number) < 12 else -1

    def follows(self, other: Unit) -> bool:
        """Whether it is a newer one of the same kind."""
        if min(self.number, other.number) < 0:
            return False
        return self._kind == other._kind and self.number > other.number

    @property
    def _kind(self) -> tuple[str, str]:
        return self.path.rpartition("/")[0], _unit_match(self.path)["kind"]


def _unit_match(path: str) -> re.Match[str]:
    found = UNIT_NAME.fullmatch(path.rpartition("/")[2])
    if not found:
        raise ValueError(path)
    return found


def unit_of(path: str, link: Link) -> Unit | None:
    """The outermost unit that a file below a link belongs to; None if it stands for itself."""
    if link.mark:
        for folder in reversed(PurePosixPath(path).parents):
            if UNIT_NAME.fullmatch(folder.name):
                return Unit(folder.as_posix())
    return None


def print_of(file: Path) -> list[int] | None:
    """Size and time of change; None if the file is gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def files_below(folder: Path) -> Iterator[str]:
    """Plain files below a folder, sorted; no locks, sockets, links, hidden folders or files that are being written."""
    try:
        found = sorted(folder.iterdir())
    except OSError:  # not made yet, or removed meanwhile
        return
    for file in found:
        with suppress(FileNotFoundError):
            mode = file.lstat().st_mode
            if stat.S_ISDIR(mode) and not file.name.startswith("."):
                yield from (f"{file.name}/{path}" for path in files_below(file))
            elif stat.S_ISREG(mode) and not _is_lock(file.name):
                yield file.name


def _is_lock(name: str) -> bool:
    return is_reserved(name) or name == "lock" or name.endswith(".lock")
