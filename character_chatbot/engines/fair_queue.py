"""Who comes next: first come, first served, and everybody who waits knows the place and about how long it takes.

queue = FairQueue(slots=1)
with queue.join() as ticket:        # in the queue from here on
    ticket.wait()                   # until it is this one's turn
    ...
"""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType

REMEMBERED = 8  # replies whose length says how long the next one takes


class FairQueue:
    """``slots``: how many may go on at once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._running: set[Ticket] = set()
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    def join(self, *, counts: bool = True) -> Ticket:
        """A place at the end of the queue; leave it by closing the ticket.

        ``counts``: how long its turn takes says how long others take.
        """
        ticket = Ticket(self, counts)
        with self._changed:
            self._waiting.append(ticket)
            self._admit()
        return ticket

    def find(self, thread: int | None) -> Ticket | None:
        """The ticket with which a thread waits; None: it does not."""
        with self._changed:
            return next((ticket for ticket in self._waiting if ticket.thread == thread), None)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        with self._changed:
            return len(self._waiting)

    @property
    def running(self) -> int:
        """How many have their turn."""
        with self._changed:
            return len(self._running)

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            ticket = self._waiting.popleft()
            ticket.started = time.monotonic()
            self._running.add(ticket)
        self._changed.notify_all()

    def _place(self, ticket: Ticket) -> int:
        with self._changed:
            return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    def _expected_wait_seconds(self, ticket: Ticket) -> float | None:
        with self._changed:
            if ticket not in self._waiting:
                return 0.0
            if not self._seconds:
                return None
            mean, now = sum(self._seconds) / len(self._seconds), time.monotonic()
            left = sorted(max(0.0, mean - (now - each.started)) for each in self._running)
            place = self._waiting.index(ticket)
            return left[place % len(left)] + mean * (place // len(left)) if left else 0.0

    def _wait(self, ticket: Ticket, timeout_seconds: float | None) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: ticket not in self._waiting, timeout_seconds)
            return ticket in self._running

    def _leave(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket in self._running:
                self._running.remove(ticket)
                if ticket.counts:
                    self._seconds.append(time.monotonic() - ticket.started)
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
            self._admit()


class Ticket:
    """A place in a queue. ``place``: 0 once it is its turn, 1 for the next one."""

    def __init__(self, queue: FairQueue, counts: bool = True) -> None:
        self._queue, self.counts = queue, counts
        self.thread = threading.get_ident()  # whoever shows the place knows the thread, not the ticket
        self.started = 0.0

    @property
    def place(self) -> int:
        return self._queue._place(self)

    @property
    def expected_wait_seconds(self) -> float | None:
        """By how long the last whole replies took, which is what one may have to wait for; None: there was none."""
        return self._queue._expected_wait_seconds(self)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Until it is this one's turn; whether it is: false after the timeout, or once it is closed."""
        return self._queue._wait(self, timeout_seconds)

    def close(self) -> None:
        """Let the next one go; silent if it is closed."""
        self._queue._leave(self)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.counts = self.counts and kind is None  # one that was stopped, or failed, says nothing of whole ones
        self.close()
