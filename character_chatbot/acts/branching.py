"""Acts on messages that are there: alternatives, edits, branches, ratings, taking back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from character_chatbot.acts.speaking import Speaking
from character_chatbot.acts.views import View, Views, problem, word
from character_chatbot.acts.visit import SHOWN_MESSAGES, Visit
from character_chatbot.chats.records import NONE, RATINGS, USER, one_of
from utils.errors import SuiteError


class Branching(Speaking):
    """Acts that change which messages are shown."""

    async def swipe(self, visit: Visit, message: int, step: int) -> Views:
        """The alternative to the left (-1) or right (1) of a message, and what followed it."""
        yield await self.change(visit, lambda: self.store.swipe(visit.owner, visit.conversation, message, step))

    async def rate(self, visit: Visit, message: int, rating: str) -> Views:
        """Thumbs up or down; the same again takes it back."""

        def rate() -> None:
            wanted = one_of(rating, RATINGS, "the rating")
            now = self.store.message(visit.owner, visit.conversation, message).rating
            self.store.rate(visit.owner, visit.conversation, message, NONE if now == wanted else wanted)

        yield await self.change(visit, rate, while_writing=True)

    async def edit(self, visit: Visit, message: int, text: str) -> Views:
        """A message in other words; what followed the old words stays on its branch. A user's message is answered."""
        from character_chatbot.replies.conversation import read_message

        try:
            self.check_free(visit)
            role = (await asyncio.to_thread(self.store.message, visit.owner, visit.conversation, message)).role
            if role == USER:
                read_message(text)
                await asyncio.to_thread(lambda: self.service.source)
            await asyncio.to_thread(self.store.edit, visit.owner, visit.conversation, message, text)
        except SuiteError as error:
            yield problem(error)
            return
        if role != USER:
            yield await self.show(visit)
            return
        async with contextlib.aclosing(self.act_and_write(visit, self.again)) as views:
            yield await self.show(visit)
            async for view in views:
                yield view

    async def branch(self, visit: Visit, message: int) -> Views:
        """A new conversation that begins with the way to this message."""
        try:
            new = await asyncio.to_thread(self.store.branch, visit.owner, visit.conversation, message)
        except SuiteError as error:
            yield problem(error)
            return
        yield await self.show(visit.at(new.id)) | word(f"A new conversation: {new.name}.")

    async def undo(self, visit: Visit) -> Views:
        """Take back all from the visitor's last message on, and put what was said into the box."""
        taken = ""

        def undo() -> None:
            nonlocal taken
            taken = self.store.undo(visit.owner, visit.conversation)

        view = await self.change(visit, undo)
        yield view | ({"box": taken} if taken else {})

    async def redo(self, visit: Visit) -> Views:
        """What was taken back last."""
        yield await self.change(visit, lambda: self.store.redo(visit.owner, visit.conversation)) | {"box": ""}

    async def earlier(self, visit: Visit) -> Views:
        """More of a long conversation."""
        yield await self.show(replace(visit, shown=visit.shown + SHOWN_MESSAGES))

    async def change(self, visit: Visit, act: Callable[[], object], while_writing: bool = False) -> View:
        """Do something to the conversation and show it, or say why it cannot be done."""
        try:
            if not while_writing:
                self.check_still(visit)
            await asyncio.to_thread(act)
        except SuiteError as error:
            return problem(error)
        return await self.show(visit)
