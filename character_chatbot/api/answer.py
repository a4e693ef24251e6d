"""One reply as it goes to a client: cut at its stops, counted, and ended when the client goes away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from character_chatbot.api.endpoint import Asked
from character_chatbot.api.errors import SERVER, ApiError
from character_chatbot.api.meters import Meters
from character_chatbot.api.stops import StopAt
from character_chatbot.service import Reply, Service
from utils.errors import SuiteError, UsageError

TICK_SECONDS = 0.02  # between two looks at a reply


class Answer:
    """One reply as it goes to a client, with what is counted of it."""

    def __init__(self, reply: Reply, asked: Asked, service: Service, meters: Meters) -> None:
        self._reply, self._asked, self._service, self._meters = reply, asked, service, meters
        self._text, self._stop = "", StopAt(asked.stops)
        self.reason = "stop"

    @property
    def goes_on(self) -> bool:
        """Whether the client has the beginning of the reply."""
        return bool(self._asked.beginning)

    async def texts(self) -> AsyncGenerator[str]:
        """Pieces up to the first stop. Raises ApiError: the engine failed."""
        stop, started = self._stop, time.monotonic()
        first: float | None = None
        try:
            async for piece in _follow(self._reply):
                bare = self._asked.spaced and not first  # the client has the space in front of it already
                first = first or time.monotonic()
                shown = stop.feed(piece.lstrip() if bare else piece)
                self._text += shown
                if shown:
                    yield shown
                if stop.reached:
                    return
            rest = stop.rest()
            self._text += rest
            if rest:
                yield rest
            if self._reply.problem:
                raise _error_of(self._reply.problem)
            if self._reply.tally and self._reply.tally.cut:
                self.reason = "length"
        finally:
            self._reply.stop()
            self._meters.reply(self._written(), first and first - started, time.monotonic() - started)

    async def prompted(self) -> None:
        """Wait until the prompt is laid out, since a stream that has begun cannot be refused. Raises ApiError."""
        while not self._reply.prompted.is_set():
            await asyncio.sleep(TICK_SECONDS)
        if isinstance(self._reply.problem, UsageError):
            raise _error_of(self._reply.problem)

    def usage(self) -> dict[str, int]:
        """Tokens of the whole prompt, persona and all, and of the reply; by the text where no engine counts them."""
        evidence = self._reply.evidence
        read = evidence.prompt_tokens if evidence else 0
        if not read:
            texts = [self._asked.note, *(turn.text for turn in self._asked.turns), self._asked.beginning]
            read = self._count("\n".join(texts))
        written = self._written()
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _written(self) -> int:
        """Tokens of the reply, as the engine drew them where all of them are shown: a text can be spelt in others."""
        tally = self._reply.tally
        return tally.tokens if tally and tally.tokens and not self._stop.reached else self._count(self._text)

    def _count(self, text: str) -> int:
        return self._service.count_tokens(text)


def _error_of(problem: SuiteError) -> ApiError:
    if isinstance(problem, UsageError):  # what was sent does not fit into the prompt
        return ApiError(400, str(problem), code="context_length_exceeded", param="messages")
    return ApiError(500, str(problem), SERVER, "engine_failed")


async def _follow(reply: Reply) -> AsyncGenerator[str]:
    """All that comes, as it comes."""
    while not reply.finished:
        piece = reply.drain()
        if piece:
            yield piece
        else:
            await asyncio.sleep(TICK_SECONDS)
