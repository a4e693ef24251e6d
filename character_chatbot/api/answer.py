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

TICK_SECONDS = 0.02  # between two looks at a reply


class Answer:
    """One reply as it goes to a client, with what is counted of it."""

    def __init__(self, reply: Reply, asked: Asked, service: Service, meters: Meters) -> None:
        self._reply, self._asked, self._service, self._meters = reply, asked, service, meters
        self._text = ""
        self.reason = "stop"

    @property
    def goes_on(self) -> bool:
        """Whether the client has the beginning of the reply."""
        return bool(self._asked.beginning)

    async def texts(self) -> AsyncGenerator[str]:
        """Pieces up to the first stop. Raises ApiError: the engine failed."""
        stop, started = StopAt(self._asked.stops), time.monotonic()
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
                raise ApiError(500, str(self._reply.problem), SERVER, "engine_failed")
            if self._count(self._text) >= self._asked.sampling.max_new_tokens:
                self.reason = "length"
        finally:
            self._reply.stop()
            self._meters.reply(self._count(self._text), first and first - started, time.monotonic() - started)

    def usage(self) -> dict[str, int]:
        """Tokens of the turns and of the reply, by the model's tokenizer where it has one."""
        read = self._count(
            "\n".join([self._asked.note, *(turn.text for turn in self._asked.turns), self._asked.beginning])
        )
        written = self._count(self._text)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _count(self, text: str) -> int:
        return self._service.count_tokens(text)


async def _follow(reply: Reply) -> AsyncGenerator[str]:
    """All that comes, as it comes."""
    while not reply.finished:
        piece = reply.drain()
        if piece:
            yield piece
        else:
            await asyncio.sleep(TICK_SECONDS)
