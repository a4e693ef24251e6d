"""A visitor's program: talks at /v1 in streams, and leaves some of them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import httpx

from benchmarks.soak.ledger import check_reply
from benchmarks.soak.page import PageError
from benchmarks.soak.person import Person


@dataclass
class Program(Person):
    """A client of the endpoint, which keeps the conversation itself."""

    async def talk_by_program(self, turns: int) -> None:
        said: list[dict[str, str]] = []
        character = self.random.choice(self.characters)
        for _ in range(turns):
            mark, started = self._next(), time.monotonic()
            said.append({"role": "user", "content": f"What of {mark}?"})
            leave_after = self.random.randrange(1, 4) if self.random.random() < 0.15 else 0
            reply = await self._ask(character, said, leave_after)
            said = [*said, {"role": "assistant", "content": reply}] if reply else said[:-1]
            self.turn_seconds.append(time.monotonic() - started)
            faults = check_reply(mark, self.number_of_talk, reply, whole=bool(reply) and not leave_after)
            self.ledger.seen += [fault for fault in faults if self.server.source == "echo"]
            await self._pause()

    async def _ask(self, character: str, said: list[dict[str, str]], leave_after: int) -> str:
        """A reply; what has come of it where the client leaves or the server ends, if it was to leave."""
        for _ in range(100):
            await self.server.ready()
            generation, name = self.server.generation, "program leaves" if leave_after else "program asks"
            try:
                reply = await self._stream(character, said, leave_after)
                self.ledger.acts[name] += 1
                return reply
            except (httpx.HTTPError, PageError) as error:
                await self._blame(error, f"{name} by {self.number_of_talk}", generation)
                if self.server.generation == generation:
                    return ""
        return ""

    async def _stream(self, character: str, said: list[dict[str, str]], leave_after: int) -> str:
        body = {"model": character, "messages": said, "stream": True, "user": f"v{self.number}"}
        headers, text = {"Authorization": f"Bearer {self.key}"}, ""
        async with self.http.stream("POST", f"{self.server.url}/v1/chat/completions", json=body, headers=headers) as it:
            it.raise_for_status()
            async for line in it.aiter_lines():
                if line == "data: [DONE]":
                    return text
                if line.startswith("data:"):
                    piece = json.loads(line[5:])
                    if "error" in piece:
                        raise PageError(str(piece["error"]))
                    text += piece["choices"][0]["delta"].get("content") or ""
                    leave_after -= bool(piece["choices"][0]["delta"].get("content"))
                    if leave_after == 0:
                        return text
        raise PageError("the stream ended without [DONE]")
