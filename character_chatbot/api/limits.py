"""How much one client may ask for: a token bucket for each key, and a pause after wrong passwords and keys."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_CLIENTS = 10_000  # remembered at once; the one not seen for the longest is forgotten first


@dataclass
class _Bucket:
    tokens: float
    at: float  # when it had so many


class TokenBuckets:
    """So many requests a minute for each name, all at once or spread.

    Args:
        per_minute: 0: no limit.
        clock: seconds, of any zero.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> float:
        """Take one; 0.0 where it was there, else the seconds until it will be."""
        if self._capacity <= 0:
            return 0.0
        with self._lock:
            now, rate = self._clock(), self._capacity / 60
            bucket = self._buckets.setdefault(name, _Bucket(self._capacity, now))
            _remember(self._buckets, name)
            bucket.tokens = min(self._capacity, bucket.tokens + (now - bucket.at) * rate)
            bucket.at = now
            if bucket.tokens < 1:
                return (1 - bucket.tokens) / rate
            bucket.tokens -= 1
            return 0.0


class Lockout:
    """After ``tries`` failures in a row an address has to wait, each time twice as long.

    Args:
        tries: wrong ones in a row that are forgiven.
        seconds: of the first pause.
        longest_seconds: of any pause.
        clock: seconds, of any zero.
    """

    def __init__(
        self,
        tries: int,
        seconds: float,
        *,
        longest_seconds: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tries, self._seconds, self._longest, self._clock = tries, seconds, longest_seconds, clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, address: str) -> float:
        """How long the address still has to wait; 0.0: it may try."""
        with self._lock:
            return max(0.0, self._failures.get(address, (0, 0.0))[1] - self._clock())

    def fail(self, address: str) -> None:
        """A wrong one."""
        with self._lock:
            count = self._failures.get(address, (0, 0.0))[0] + 1
            over = count - self._tries
            pause = min(self._longest, self._seconds * 2.0 ** min(over, 30)) if over >= 0 else 0.0
            self._failures[address] = (count, self._clock() + pause)
            _remember(self._failures, address)

    def succeed(self, address: str) -> None:
        """The right one: what was before is forgotten."""
        with self._lock:
            self._failures.pop(address, None)


def _remember(known: OrderedDict[str, Any], name: str) -> None:
    known.move_to_end(name)
    while len(known) > MOST_CLIENTS:
        known.popitem(last=False)
