"""Announcements: what was wanted, what is used instead, why, and what to do about it.

Every fallback makes one. The same object is logged, printed by commands and shown in the app.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Announcement:
    """One step down: ``feature`` wanted ``wanted`` but got ``got``, because of ``why``; do ``remedy``."""

    feature: str
    wanted: str
    got: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.feature}: {self.got} instead of {self.wanted}, because {self.why}. To change that: {self.remedy}"

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


class Announcements:
    """Collects announcements in order, each once, and logs it as a warning when it comes in.

    Args:
        quiet: for a command that prints them itself.
        complete: makes the whole next command of a remedy (``next_command.in_use``).
    """

    def __init__(self, quiet: bool = False, complete: Callable[[str], str] = str) -> None:
        self._items: list[Announcement] = []
        self._complete = complete
        self._level = logging.DEBUG if quiet else logging.WARNING

    def add(self, announcement: Announcement) -> None:
        announcement = replace(announcement, remedy=self._complete(announcement.remedy))
        if announcement not in self._items:
            self._items.append(announcement)
            logger.log(self._level, "%s", announcement)

    def __iter__(self) -> Iterator[Announcement]:
        return iter(tuple(self._items))

    def __len__(self) -> int:
        return len(self._items)
