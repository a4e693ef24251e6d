"""Stop sequences in a text that comes in pieces: what may be the beginning of one is held back until that is known."""

from __future__ import annotations

from collections.abc import Sequence


class StopAt:
    """Lets pieces through up to the first of ``stops``.

    stop = StopAt(["END"]); stop.feed("the E") == "the "; stop.feed("N") == ""; stop.rest() == "EN"
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.reached = False

    def feed(self, piece: str) -> str:
        """What can be shown of all that has come and was not shown yet."""
        if self.reached:
            return ""
        text = self._held + piece
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.reached, self._held = True, ""
            return text[: min(found)]
        keep = max((_beginning(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back and turned out to be no stop; after the last piece."""
        held, self._held = self._held, ""
        return held


def _beginning(text: str, stop: str) -> int:
    """How many of the last characters of ``text`` are the first ones of ``stop``."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
