"""One visitor with a browser and a program: talks, and stops, leaves, edits, goes back, deletes as people do."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import dataclass

from benchmarks.soak.browser import Browser
from benchmarks.soak.ledger import LOST, MIXED, Talk
from benchmarks.soak.page import Tab
from benchmarks.soak.program import Program


@dataclass
class Visitor(Browser, Program):
    """Talks as often as it is told, and writes down what it was shown."""

    async def talk(self, number: int, turns: int) -> None:
        """One conversation, by one of the two doors."""
        self.number_of_talk, self._said, self._home = Talk(self.number, number), 0, ""
        if self.random.random() < 0.3:
            await self.talk_by_program(turns)
        else:
            await self._talk_on_page(turns)

    async def _talk_on_page(self, turns: int) -> None:
        if self.tab is None:
            await self._come()
        await self._begin()
        for _ in range(turns):
            started = time.monotonic()
            way = self.random.choices((self._send, self._send_and_stop, self._send_and_leave, self._send_and_watch),
                                      (70, 12, 12, 6))[0]  # fmt: skip
            await self._act(way.__name__, way)
            self.turn_seconds.append(time.monotonic() - started)
            if self.random.random() < 0.5:
                more = self.random.choices(
                    (self._retry, self._continue, self._edit, self._undo_and_redo, self._undo, self._branch,
                     self._swipe, self._rate, self._away_and_back, self._copy, self._search, self._rename),
                    (20, 12, 16, 8, 5, 6, 10, 6, 8, 3, 3, 3),
                )[0]  # fmt: skip
                await self._act(more.__name__, more)
            await self._pause()
        if self.random.random() < 0.1:
            await self._act("_delete", self._delete)

    async def _begin(self) -> None:
        """A new conversation, of one character or several."""
        page = self._page
        first, *others = self.random.sample(self.characters, min(3, len(self.characters)))
        page["characters"], page["scene"] = first, [first, *(others if self.random.random() < 0.2 else [])]
        while not await self._act("new", lambda: self._page.run("new")):
            self._page["characters"], self._page["scene"] = first, [first]
        if self._page.path or self._page.conversation:
            self._fault(MIXED, f"a new conversation shows {len(self._page.path)} messages")

    async def _send(self) -> None:
        mark = self._next()
        await self._to_end(lambda: self._type(mark))
        path = self._page.path
        if len(path) < 2 or mark not in path[-2].text or mark not in path[-1].text:
            self._fault(LOST, f"after {mark} was sent the page shows {[each.text[:40] for each in path[-2:]]}")

    async def _send_and_stop(self) -> None:
        mark, stopping = self._next(), None
        after = self.random.randrange(1, 5)
        try:
            async for _ in self._type(mark):
                self._write_down()
                after -= 1
                if after == 0:
                    stopping = asyncio.create_task(self._page.run("stop"))
        finally:
            stopped = await asyncio.gather(*([stopping] if stopping else []), return_exceptions=True)
        for error in filter(None, stopped):
            raise error

    async def _send_and_leave(self) -> None:
        mark, after = self._next(), self.random.randrange(1, 5)
        stream = self._type(mark)
        async for _ in stream:
            self._write_down()
            after -= 1
            if after == 0:
                break
        await stream.aclose()
        await self._open()
        await self._rest()
        self.ledger.provoked["left in the middle"] += 1

    async def _send_and_watch(self) -> None:
        """Another tab of the same browser comes, and watches."""
        mark, other = self._next(), Tab(self.http, self.server.url)
        watching = None
        try:
            async for _ in self._type(mark):
                self._write_down()
                if watching is None:
                    await other.load(self._page["visit"])
                    watching = asyncio.create_task(other.run("page", "load"))
            if watching:
                await watching
                if [each.id for each in other.path] != [each.id for each in self._page.path]:
                    self._fault(LOST, f"two tabs show different things after {mark}")
        finally:
            if watching:
                watching.cancel()
            await other.close()

    async def _retry(self) -> None:
        if self._page.path:
            await self._to_end(lambda: self._page.event("retry"))

    async def _continue(self) -> None:
        if self._page.path and self._page.path[-1].kind == "bot" and self._page.path[-1].text:
            await self._to_end(lambda: self._page.event("continue"))

    async def _edit(self) -> None:
        if self._page.path:
            chosen = self.random.choice(self._page.path)
            told = {"act": "edit", "id": str(chosen.id), "text": f"edited {self._next()}"}
            await self._to_end(lambda: self._page.event("transcript", "speak", told))

    async def _undo(self) -> None:
        if any(each.kind == "user" for each in self._page.path):
            await self._page.run("undo")

    async def _undo_and_redo(self) -> None:
        before = self._page.path
        if any(each.kind == "user" for each in before):
            await self._page.run("undo")
            await self._page.run("redo")
            if self._page.path != before:
                self._fault(LOST, f"undo and redo of {self.number_of_talk} do not end where they began")

    async def _branch(self) -> None:
        if self._page.path:
            await self._press("branch", self.random.choice(self._page.path).id)

    async def _swipe(self) -> None:
        if self._page.path:
            await self._press(self.random.choice(("left", "right")), self.random.choice(self._page.path).id)

    async def _rate(self) -> None:
        replies = [each.id for each in self._page.path if each.kind == "bot"]
        if replies:
            await self._press(self.random.choice(("up", "down")), self.random.choice(replies))

    async def _away_and_back(self) -> None:
        """Another conversation of the same visitor, and back."""
        here, before = self._home, self._page.path
        mine = [
            id for id, talk in self.ledger.talks.items()
            if talk.visitor == self.number and id not in self.ledger.deleted | self.ledger.maybe_deleted
        ]  # fmt: skip
        if not here or len(mine) < 2:
            return
        there, back = self.random.choice(mine), self.number_of_talk
        self.number_of_talk = self.ledger.talks[there]
        try:
            await self._page.run("conversations", "act", {"act": "open", "id": there})
            self._write_down()
        finally:
            self.number_of_talk, self._home = back, here
        await self._page.run("conversations", "act", {"act": "open", "id": here})
        if self._page.path != before:
            self._fault(LOST, f"{here} is another one after a look at {there}")

    async def _copy(self) -> None:
        """Save as a file, and open the file."""
        if not self._page.conversation:
            return
        before = [each.text for each in self._page.path]
        await self._page.run("conversations", "act", {"act": "export", "kind": "json"})
        file = json.loads(self._page["download"])
        content = base64.b64encode(file["text"].encode()).decode()
        await self._page.run("conversations", "act", {"act": "import", "name": file["name"], "content": content})
        if [each.text for each in self._page.path] != before:
            self._fault(LOST, f"the copy of {self.number_of_talk} is another one")

    async def _search(self) -> None:
        if self._page.path:
            self._page["search"] = next(iter(self._page.path[0].text.split()), "")
            await self._page.run("search", "change")
            self._page["search"] = ""

    async def _rename(self) -> None:
        if self._page.conversation:
            await self._page.run("conversations", "act", {"act": "rename", "text": f"Talk {self.number_of_talk}"})

    async def _delete(self) -> None:
        here = self._page.conversation
        if here:
            self.ledger.maybe_deleted.add(here)
            await self._page.run("conversations", "act", {"act": "delete"})
            self.ledger.deleted.add(here)
