"""What a person sees of a job that works: its log, its progress, and a question on Ctrl-C."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aws.commands.output import LogStream
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.places import PlaceStatus


class TerminalWatcher:
    """Shows the log and the progress of a job, and asks on Ctrl-C."""

    def __init__(self, terminal: Terminal, name: str, price_usd_per_hour: float) -> None:
        self._terminal, self._name, self._price = terminal, name, price_usd_per_hour
        self._begun = datetime.now(UTC)
        self._stage = ""
        self._log = LogStream(sys.stderr)

    def write(self, content: bytes) -> None:
        """The log goes to standard error, so that --json stays alone on standard output."""
        if content:
            self._terminal.clear()
            self._log.write(content)

    def show(self, status: PlaceStatus) -> None:
        from aws.operations.follow import describe_progress

        if status.stage != self._stage:
            self._stage = status.stage
            if status.ended:  # what comes before, the log tells
                self._terminal.say(status.stage, status.message or self._name)
        now = datetime.now(UTC)
        if self._log.at_line_start:  # not over a line of the log that is still being written
            self._terminal.move(f"{status.stage}: {describe_progress(status.progress, self._price, self._begun, now)}")

    def interrupted(self, handed_over: bool) -> str:
        """What to do on Ctrl-C. With nobody to ask: what works alone goes on, what does not is ended."""
        from aws.operations.train import DETACH, END, GO_ON

        answers = {END: "end it", GO_ON: "go on"}
        if handed_over:
            answers = {DETACH: "detach, it goes on", **answers}
        return self._terminal.choose(f"\n{self._name} is not over.", answers, DETACH if handed_over else END)
