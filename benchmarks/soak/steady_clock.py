"""An event loop whose time stands still while the program is stopped: SIGSTOP, or a machine asleep.

with asyncio.Runner(loop_factory=SteadyLoop) as runner: runner.run(main())

A server that is stopped together with its clients would seem to be late otherwise, at all that is under way.
"""

from __future__ import annotations

import asyncio

PAUSE_SECONDS = 5.0  # a loop that has something to do at least every two seconds looks at its clock more often


class SteadyLoop(asyncio.SelectorEventLoop):
    """The seconds of ``time()``, and with them all timeouts and sleeps, are seconds of running."""

    def __init__(self) -> None:
        self._seen: float | None = None
        self._gone = 0.0
        super().__init__()

    def time(self) -> float:
        now = super().time()
        if self._seen is not None and now - self._seen > PAUSE_SECONDS:
            self._gone += now - self._seen
        self._seen = now
        return now - self._gone
