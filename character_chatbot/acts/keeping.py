"""Acts on conversations as a whole: open, begin, search, rename, delete, save as a file, read one."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import secrets
from dataclasses import replace
from typing import Any

from character_chatbot.acts.branching import Branching
from character_chatbot.acts.views import Change, View, Views, lay, problem, word
from character_chatbot.acts.visit import Visit
from character_chatbot.acts.writing import TICK_SECONDS
from character_chatbot.chats.chat_files import file_name, read_chat, write_chat
from character_chatbot.chats.fields import LARGEST_FILE_BYTES
from character_chatbot.chats.records import Conversation
from utils.errors import DataError, SuiteError, UsageError

LONGEST_FILE_NAME = 100
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")  # how their files begin
TICKS_OF_PROGRESS = round(1 / TICK_SECONDS)  # a second


class Keeping(Branching):
    """Acts of the panel with the conversations, and of choosing who is talked to."""

    async def open(self, visit: Visit) -> Views:
        """A visitor comes: the characters as soon as they are known, the source as soon as it is loaded."""
        number = self.move(visit)
        self.arrive(visit, number)  # what is typed while the model is being loaded goes where the browser says
        async with contextlib.aclosing(self._load(visit)) as views:
            async for view in views:
                yield view
        if not self.is_last_move(visit, number):  # somebody was chosen meanwhile
            yield {"characters": Change(choices=list(self.service.characters))}
            return
        visit = await asyncio.to_thread(self._resume, visit)
        roster = self._roster(visit)
        visit = replace(visit, character=roster["characters"]["value"] or "", scene=tuple(roster["scene"]["value"]))
        writing = self._writing(visit)
        yield lay(roster, await self.show(visit))
        async with contextlib.aclosing(self.watch(visit, writing)) as views:
            async for view in views:
                yield view

    async def meet(self, visit: Visit) -> Views:
        """Back from another tab: who can be talked to by now; somebody may have been edited or imported there."""
        if not self.service.loading:
            names = Change(choices=list(self.service.characters))
            yield {"characters": names, "scene": names}

    async def pick(self, visit: Visit) -> Views:
        """Another character: the last conversation with it alone, or a new one."""
        async for view in self._choose(replace(visit, scene=()), begin=False):
            yield view

    async def gather(self, visit: Visit) -> Views:
        """Who is in the scene: who is added takes part, who is taken out does no more; what was said stays."""
        await self._loaded()
        visit = await self.settle(visit)
        shown = await asyncio.to_thread(self.find, visit)
        if not visit.scene and not (shown and self._unknown(shown)):
            yield lay(problem(UsageError("somebody has to stay in the scene.")), self._as_it_was(visit, shown))
        elif shown and any(name in self.service.characters for name in shown.characters):
            number = self.moves(visit)
            view = await self._recast(visit, shown)
            if self.is_last_move(visit, number):
                yield view
        else:
            async for view in self._choose(visit, begin=False):
                yield view

    async def _recast(self, visit: Visit, shown: Conversation) -> View:
        """Just who is chosen takes part from now on; whom this page does not know cannot be chosen, and stays."""
        unknown = self._unknown(shown)

        def recast() -> None:
            chosen = [self.service.source.cast.get(name).name for name in visit.scene]
            kept = [name for name in shown.characters if name in chosen or name in unknown]
            new = [name for name in chosen if name not in kept]
            self.store.change_cast(visit.owner, shown.id, (*kept, *new))

        view = await self.change(visit, recast)
        if "transcript" not in view:
            return lay(view, self._as_it_was(visit, shown))
        gone = [name for name in shown.characters if name not in (*visit.scene, *unknown)]
        told = word(f"{' and '.join(gone)} will not answer any more. Choose the name again to undo that.")
        return lay(view, self.look(visit.scene), told if gone else {})

    def _unknown(self, conversation: Conversation) -> list[str]:
        """Who of its cast this page does not know."""
        return [name for name in conversation.characters if name not in self.service.characters]

    def _as_it_was(self, visit: Visit, shown: Conversation | None) -> View:
        """The choice of the cast as the conversation has it, after one that could not be."""
        names = self.service.characters
        cast = [name for name in (shown.characters if shown else (visit.character,)) if name in names]
        return {"characters": Change(value=cast[0]), "scene": Change(value=cast)} if cast else {}

    async def new(self, visit: Visit) -> Views:
        """A new conversation with those who are chosen."""
        async for view in self._choose(visit, begin=True):
            yield view

    async def open_conversation(self, visit: Visit, conversation: str, message: int | None = None) -> Views:
        """Another conversation, at a message that was found in it."""
        visit, number = visit.at(conversation), self.move(visit)
        writing = self._writing(visit)

        def find() -> View:
            self.store.get(visit.owner, conversation)
            path = self.store.path(visit.owner, conversation)
            if message is not None and message not in [each.id for each in path]:
                self.store.show(visit.owner, conversation, message)
            return self.view(visit, found=message)

        try:
            view = await asyncio.to_thread(find)
        except SuiteError as error:
            yield problem(error)
            return
        finally:
            self.arrive(visit, number)
        if not self.is_last_move(visit, number):
            return
        yield view
        async with contextlib.aclosing(self.watch(visit, writing)) as views:
            async for view in views:
                yield view

    async def search(self, visit: Visit) -> Views:
        """What of the conversations has these words."""
        yield {"conversations": await asyncio.to_thread(self.listed, visit)}

    async def rename(self, visit: Visit, name: str) -> Views:
        """Another name for the conversation that is shown."""
        yield await self.change(
            visit, lambda: self.store.rename(visit.owner, visit.conversation, name), while_writing=True
        )

    async def delete(self, visit: Visit) -> Views:
        """Delete the conversation that is shown, for good."""
        writing = self._writing(visit)
        if writing:
            writing.stop()
        done = await self.change(visit, lambda: self.store.delete(visit.owner, visit.conversation), while_writing=True)
        yield done | (word("The conversation is deleted.") if "transcript" in done else {})

    async def delete_all(self, visit: Visit) -> Views:
        """Delete all that is kept of this visitor, for good."""
        for writing in self.writing.values():
            if writing.owner == visit.owner:
                writing.stop()
        try:
            gone = await asyncio.to_thread(self.store.delete_all, visit.owner)
        except SuiteError as error:
            yield problem(error)
            return
        told = f"{gone:,} conversation{'s are' if gone != 1 else ' is'} deleted."
        yield await self.show(visit.at("")) | word(told)

    async def export(self, visit: Visit, kind: str) -> Views:
        """The conversation that is shown as a file."""

        def write() -> str:
            whole = self.store.read_whole(visit.owner, visit.conversation)
            file = {"name": file_name(whole, kind), "text": write_chat(whole, kind), "once": secrets.token_hex(4)}
            return json.dumps(file)

        try:
            yield {"download": await asyncio.to_thread(write)} | word("The file is on its way to your downloads.")
        except SuiteError as error:
            yield problem(error)

    async def read(self, visit: Visit, name: str, content: str) -> Views:
        """A conversation from a file of ours or of SillyTavern; ``content`` in base64."""

        def read() -> Visit:
            whole = read_chat(_decode(content, name), name)
            return visit.at(self.store.write_whole(visit.owner, whole).id)

        name = " ".join(name.split())[:LONGEST_FILE_NAME] or "the file"
        try:
            visit = await asyncio.to_thread(read)
        except SuiteError as error:
            yield problem(error)
            return
        yield await self.show(visit) | word(f"{name} is read.")

    async def _choose(self, visit: Visit, begin: bool) -> Views:
        """The conversation with just the chosen ones."""
        number = self.move(visit)
        view: View = {}
        try:
            if self.service.loading:
                yield self.look(visit.cast)
                await self._loaded()
            chosen = await asyncio.to_thread(self._new if begin else self._last_with, visit)
            if self.is_last_move(visit, number):
                view = lay(self._listening(visit), self.look(visit.cast), await self.show(chosen))
        except SuiteError as error:
            view = lay(problem(error), self._as_it_was(visit, await asyncio.to_thread(self.find, visit)))
        finally:
            self.arrive(visit, number)
        if view and self.is_last_move(visit, number):
            yield view

    async def _load(self, visit: Visit) -> Views:
        """Until the source is there: the characters once they are known, and each second how far loading is."""
        known, ticks = False, 0
        while self.service.loading:
            if not known and self.service.characters:
                known = True
                yield self._roster(visit)
            elif ticks and ticks % TICKS_OF_PROGRESS == 0:
                yield self.told_loading()
            ticks += 1
            await asyncio.sleep(TICK_SECONDS)

    async def _loaded(self) -> None:
        while self.service.loading:
            await asyncio.sleep(TICK_SECONDS)

    def _new(self, visit: Visit) -> Visit:
        return self.greeted(visit.at(""))

    def _last_with(self, visit: Visit) -> Visit:
        """The last conversation of just these, else a new one."""
        of = self.store.list_of(visit.owner)
        found = next((each.id for each in of if set(each.characters) == set(visit.cast)), "")
        return visit.at(found) if found else self._new(visit)

    def _resume(self, visit: Visit) -> Visit:
        """The conversation that the browser had open, else the last one."""
        if self.service.problem or self.find(visit):
            return visit
        return visit.at(next((each.id for each in self.store.list_of(visit.owner, limit=1)), ""))

    def _roster(self, visit: Visit) -> View:
        names = self.service.characters
        chosen = visit.character if visit.character in names else next(iter(names), None)
        scene = [name for name in visit.scene if name in names] or ([chosen] if chosen else [])
        view: View = {"characters": Change(choices=list(names), value=chosen, interactive=True)}
        return view | {"scene": Change(choices=list(names), value=scene)} | self.look((chosen,) if chosen else ())

    def _listening(self, visit: Visit) -> View:
        """Who is talked to is one of those in the scene."""
        cast = visit.cast
        return {"characters": Change(value=cast[0])} if cast and visit.character not in cast else {}


def _decode(content: Any, name: str) -> bytes:
    """The bytes of a file. Raises DataError: too large; UsageError: no base64, or a picture."""
    most = LARGEST_FILE_BYTES // 3 * 4 + 4
    if not isinstance(content, str) or len(content) > most:
        raise DataError(f"{name} is larger than {LARGEST_FILE_BYTES // 1_000_000} MB.")
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{name} did not arrive whole.", instead="Try again.") from None
    if data.startswith(PICTURES):
        raise UsageError(
            f"{name} is a picture, not a conversation.", instead="A character card is imported on the Characters tab."
        )
    return data
