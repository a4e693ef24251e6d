"""A visitor's browser: comes, comes back in the conversation that it had, and writes down what the page shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.soak.ledger import LOST, MIXED, marks
from benchmarks.soak.page import PageError, Tab
from benchmarks.soak.person import Person
from benchmarks.soak.server import PASSWORD

PATIENCE_SECONDS = 20.0  # until a reply whose reader has left must be over


@dataclass
class Browser(Person):
    """The page as a visitor sees it. An act raises PageError or httpx.HTTPError where the server fails."""

    async def _act(self, name: str, act: Callable[[], Awaitable[None]]) -> bool:
        """Do something; whether it went as it should. What goes wrong is provoked, or an error."""
        await self.server.ready()
        before = list(self._page.path)
        self._page["notice"] = ""
        try:
            await act()
            if self._page.problem:
                raise PageError(self._page.problem)
        except (httpx.HTTPError, PageError) as error:
            await self._blame(error, f"{name} by {self.number_of_talk}", self._known)
            await self._come()
            if name.startswith("_send") and self._page.path[: len(before)] != before:
                was, now = [each.id for each in before], [each.id for each in self._page.path]
                self._fault(LOST, f"shown before {name}: {was}, after it: {now}")
            return False
        self.ledger.acts[name.strip("_").replace("_", " ")] += 1
        self._write_down()
        return True

    async def _come(self) -> None:
        """Open the page, or load it again, in the conversation that is had; while the server is away, later."""
        for _ in range(200):
            await self.server.ready()
            generation = self.server.generation
            try:
                await self._open()
                await self._go_home()
                return
            except (httpx.HTTPError, PageError) as error:
                await self._blame(error, "opening the page", generation)
        raise RuntimeError("the page cannot be opened")

    async def _go_home(self) -> None:
        """The page comes with the conversation that was open last, which may be another one than is had."""
        said = {mark[:2] for each in self._page.path for mark in marks(each.text)}
        if self._home and self._page.conversation != self._home:
            await self._page.run("conversations", "act", {"act": "open", "id": self._home})
        elif not self._home and said - {(self.number, self.number_of_talk.number)}:
            await self._page.run("new")

    async def _open(self) -> None:
        if self.tab:
            self._kept = self.tab["visit"]
            await self.tab.close()
        generation = self.server.generation
        login = await self.http.post(f"{self.server.url}/login", data={"username": "guest", "password": PASSWORD})
        login.raise_for_status()
        self._known = generation
        tab = Tab(self.http, self.server.url)
        await tab.load(self._kept)
        self.tab, kept = tab, self._kept
        await tab.run("page", "load")
        self._kept = tab["visit"]
        if kept and kept["token"] != self._kept["token"]:
            self._fault(LOST, f"visitor {self.number} has become another one")
        open_before, gone = (kept or {}).get("conversation"), self.ledger.deleted | self.ledger.maybe_deleted
        if open_before and open_before != self._kept["conversation"] and open_before not in gone:
            self._fault(LOST, f"{open_before} was open, now {self._kept['conversation']} is")
        self.ledger.owners[self.number] = f"visitor-{self._kept['token']}"

    @property
    def _page(self) -> Tab:
        if self.tab is None:
            raise PageError("no page is open")
        return self.tab

    async def _press(self, act: str, message: int) -> None:
        await self._page.run("transcript", "act", {"act": act, "id": str(message)})

    def _type(self, mark: str) -> Any:
        self._page["box"] = f"What of {mark}, and <b>this</b> & that?"
        return self._page.event("send")

    async def _to_end(self, begin: Callable[[], Any]) -> None:
        async for _ in begin():
            self._write_down()

    async def _rest(self) -> None:
        """Wait until the reply that was left is over: the engine has to notice that nobody reads it."""
        clock = asyncio.get_running_loop().time
        until = clock() + PATIENCE_SECONDS
        while self._page["live"]:
            if clock() > until:
                raise PageError(f"a reply is still on its way {PATIENCE_SECONDS:.0f} s after its reader has left")
            await asyncio.sleep(0.2)
            await self._page.run("page", "load")

    def _write_down(self) -> None:
        """What the page shows is kept: it comes from the store."""
        page = self._page
        if not page.conversation or page["transcript"] == self._written:
            return
        self._written = page["transcript"]
        if page.path and self.number_of_talk == self.ledger.talks.get(page.conversation, self.number_of_talk):
            self._home = page.conversation
        for each in page.path:
            self.ledger.saw(page.conversation, self.number_of_talk, each.id, each.text)
            strange = [mark for mark in marks(each.text) if mark[:2] != (self.number, self.number_of_talk.number)]
            if strange:
                self._fault(MIXED, f"{self.number_of_talk} is shown {each.text[:60]!r}")
