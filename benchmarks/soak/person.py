"""What a visitor is, by whatever door it comes: its place in the run, its pace, what it says, what it writes down."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.soak.ledger import Fault, Ledger, Talk
from benchmarks.soak.page import Tab
from benchmarks.soak.server import Server

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=8)


@dataclass
class Person:
    """Talks as often as it is told, and writes down what it was shown.

    Args:
        characters: of the series.
        key: for the endpoint.
        every_seconds: a turn, if the server keeps up.
    """

    number: int
    server: Server
    ledger: Ledger
    characters: list[str]
    key: str
    seed: int
    every_seconds: float = 0.0
    turn_seconds: list[float] = field(default_factory=list)
    _said: int = 0
    _due: float = 0.0
    _kept: Any = None  # what the browser has of the last visit
    _home: str = ""  # the conversation that is being had, as the server calls it
    _written: Any = None  # the transcript that was written down last
    _known: int = -1  # the server's generation that has let this visitor in

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed}.{self.number}")  # noqa: S311 - to be had again
        self.http = httpx.AsyncClient(limits=LIMITS, timeout=httpx.Timeout(30))
        self.tab: Tab | None = None
        self.number_of_talk = Talk(self.number, -1)

    async def leave(self) -> None:
        if self.tab:
            await self.tab.close()
        await self.http.aclose()

    async def _pause(self) -> None:
        """Wait until the next turn is due; never, if this one has taken longer."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - self.every_seconds) + self.every_seconds * self.random.uniform(0.5, 1.5)
        await asyncio.sleep(max(0.0, self._due - now))

    async def _blame(self, error: Exception, what: str, generation: int) -> None:
        """Write an error down: provoked, if the server has been restarted since ``generation``."""
        await self.server.settled()
        if self.server.generation == generation:
            self.ledger.errors.append(f"{what}: {type(error).__name__}: {error}")
        else:
            self.ledger.provoked["by a restart"] += 1

    def _next(self) -> str:
        self._said += 1
        return f"m{self.number}q{self.number_of_talk.number}q{self._said}z"

    def _fault(self, kind: str, what: str) -> None:
        self.ledger.seen.append(Fault(kind, what))
