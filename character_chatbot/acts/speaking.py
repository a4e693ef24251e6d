"""Acts that make a character speak: send, retry, continue, let them talk; and stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from character_chatbot.acts.orders import Orders
from character_chatbot.acts.room import UnderWay
from character_chatbot.acts.views import Change, View, Views, problem, usable, word
from character_chatbot.acts.visit import Visit
from character_chatbot.acts.writing import TICK_SECONDS, Order, Writing
from character_chatbot.chats.message_rows import Written
from character_chatbot.chats.records import DONE, STOPPED
from character_chatbot.engines.base import build_sampling
from character_chatbot.markup import LOADING
from character_chatbot.service import Reply
from utils.errors import SuiteError

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0  # for a reply to be kept after it was stopped


class Speaking(Orders):
    """Acts after which something may be written."""

    async def send(self, visit: Visit, text: str) -> Views:
        """A message, and its reply as it comes."""
        from character_chatbot.replies.conversation import read_message

        try:
            read_message(text)
            early = self.service.loading
            if early:
                yield word(LOADING) | _locked(True)
            visit = await self.settle(visit)
            self.check_free(visit)
            await asyncio.to_thread(lambda: self.service.source)
            visit = self._with_somebody(visit) if early else visit
            visit, order = await asyncio.to_thread(self.said, visit, text)
        except SuiteError as error:
            unlocked = {} if isinstance(error, UnderWay) else _locked(False)
            async with contextlib.aclosing(self.refused(visit, error)) as views:
                async for view in views:
                    yield unlocked | view
            return
        sent: View = {"box": ""} | _locked(False)
        async with contextlib.aclosing(self.write(visit, order)) as views:
            async for view in views:
                yield sent | view
                sent = {}  # what is typed meanwhile stays

    def _with_somebody(self, visit: Visit) -> Visit:
        """Who writes before the characters are known talks to the first, as the page shows by then."""
        first = next(iter(self.service.characters), "")
        return visit if visit.cast or visit.conversation else replace(visit, character=first)

    async def retry(self, visit: Visit) -> Views:
        """Another reply to the same words; the one before stays as an alternative."""
        async with contextlib.aclosing(self.act_and_write(visit, self.again)) as views:
            async for view in views:
                yield view

    async def go_on(self, visit: Visit) -> Views:
        """The character goes on with its last reply."""
        async with contextlib.aclosing(self.act_and_write(visit, self.continued)) as views:
            async for view in views:
                yield view

    async def let_talk(self, visit: Visit) -> Views:
        """The next character speaks, without a message."""
        async with contextlib.aclosing(self.act_and_write(visit, self.next)) as views:
            async for view in views:
                yield view

    async def stop(self, visit: Visit) -> Views:
        """End the reply: what has come of it stays."""
        writing = self._writing(visit)
        if writing:
            writing.stop()
            for _ in range(round(STOP_SECONDS / TICK_SECONDS)):
                if writing.over:
                    break
                await asyncio.sleep(TICK_SECONDS)
        yield await self.show(visit)

    async def act_and_write(self, visit: Visit, prepare: Callable[[Visit], Order]) -> Views:
        """The reply that ``prepare`` orders, or why it cannot be had."""
        try:
            self.check_free(visit)
            await asyncio.to_thread(lambda: self.service.source)
            order = await asyncio.to_thread(prepare, visit)
        except SuiteError as error:
            async with contextlib.aclosing(self.refused(visit, error)) as views:
                async for view in views:
                    yield view
            return
        async with contextlib.aclosing(self.write(visit, order)) as views:
            async for view in views:
                yield view

    async def write(self, visit: Visit, order: Order) -> Views:
        """The views of a reply, until it ends or somebody stops it; whatever comes of it is kept."""
        if visit.conversation in self.writing:  # another tab was faster
            async with contextlib.aclosing(self.refused(visit, UnderWay())) as views:
                async for view in views:
                    yield view
            return
        writing = self.writing[visit.conversation] = Writing(visit.owner, order)
        how, failed = None, None
        try:
            writing.reply = await asyncio.to_thread(self._begin, order)
            if writing.stopped:
                writing.reply.stop()
            yield await self.show(visit)
            async with contextlib.aclosing(writing.follow()) as changes:
                async for _ in changes:
                    if self.is_open(visit):
                        yield {"live": self.live(writing)}
            if not writing.reply.stopped:
                how = await writing.finish(self.service)
        except SuiteError as error:
            failed = error
        finally:
            self._keep(writing, how or writing.cut())
            del self.writing[visit.conversation]
        if self.is_open(visit):
            yield await self.show(visit) | _told(writing, failed)
        else:  # the visitor has gone on to another conversation; the reply waits in this one
            yield {"conversations": await asyncio.to_thread(self.listed, visit.at(self.open_in(visit)))}

    def _begin(self, order: Order) -> Reply:
        sampling = build_sampling(self.service.settings.chat)
        return self.service.begin_answer(
            order.speaker, order.turns, sampling, note=order.note, lore=order.lore, beginning=order.beginning
        )

    def _keep(self, writing: Writing, how: Written) -> None:
        """Store what came; the conversation may have been deleted meanwhile."""
        text = writing.text.rstrip() if writing.order.beginning else writing.text.strip()
        writing.over = True
        if not text and how.state in (DONE, STOPPED):
            return
        try:
            writing.order.keep(text, how)
        except SuiteError as error:
            logger.warning("a reply is not kept: %s", error.what)


def _told(writing: Writing, failed: SuiteError | None) -> View:
    """What is to be said once a reply is over; one that did not go on has nowhere to say it itself."""
    reply, order = writing.reply, writing.order
    failed = failed or (reply.problem if reply and order.beginning else None)
    if failed:
        return problem(failed)
    nothing = order.beginning and reply and not reply.stopped and not writing.text.strip()
    return word(f"{order.speaker} has nothing to add.") if nothing else {}


def _locked(locked: bool) -> View:
    """Nobody else can be chosen while a message waits for the model."""
    return {"characters": Change(interactive=not locked)} | usable(send=not locked)
