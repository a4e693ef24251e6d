"""What all acts share: the service, the store of conversations, replies on their way, and how it all is shown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from character_chatbot import markup
from character_chatbot.acts.views import BUTTONS, Change, View, Views, lay, problem, usable
from character_chatbot.acts.visit import AUTOMATIC, IN_TURN, Visit
from character_chatbot.acts.writing import TICK_SECONDS, Writing
from character_chatbot.chats.records import CHARACTER, NOTE, Conversation, Message, UnknownConversation, turns
from character_chatbot.chats.store import ChatStore
from character_chatbot.pages.conversation_list import conversation_list
from character_chatbot.pages.transcript import live_block, transcript
from character_chatbot.service import Service
from utils.errors import SuiteError, UsageError

MOVE_SECONDS = 10.0  # that a message waits for the conversation it is to go into
MOST_TABS = 200  # remembered; of the one unused for longest it is then taken that it has not moved


class UnderWay(UsageError):
    """A reply is on its way in the conversation."""

    def __init__(self) -> None:
        super().__init__("a reply is on its way: wait for it, or stop it.")


class Room:
    """The page of one server. Acts build on it; each is closed by gradio when its visitor leaves.

    Args:
        service: need not be loaded yet.
        store: of the conversations.
        storage: a sentence about what is kept.
    """

    def __init__(self, service: Service, store: ChatStore, storage: str = "") -> None:
        self.service, self.store, self.storage = service, store, storage
        self.writing: dict[str, Writing] = {}  # by conversation
        self._open: dict[str, str] = {}  # the conversation that a tab shows
        self._moves: dict[str, int] = {}  # how often a tab has asked for another one
        self._arrivals: dict[str, int] = {}  # the last of these moves that is over
        self._seen: dict[str, object] = {}  # what a tab knows of its conversation

    def check_free(self, visit: Visit) -> None:
        """Raises SuiteError: nobody can answer, or a reply is on its way in this conversation."""
        if self.service.problem:
            raise self.service.problem
        self.check_still(visit)

    def check_still(self, visit: Visit) -> None:
        """Raises UnderWay: a reply is on its way in this conversation."""
        if visit.conversation in self.writing:
            raise UnderWay

    def find(self, visit: Visit) -> Conversation | None:
        """The conversation that is shown; None: there is none yet, or it has been deleted."""
        if not visit.conversation:
            return None
        try:
            return self.store.get(visit.owner, visit.conversation)
        except UnknownConversation:
            return None

    def path(self, visit: Visit) -> list[Message]:
        """Its messages as they are shown."""
        return self.store.path(visit.owner, visit.conversation) if self.find(visit) else []

    async def show(self, visit: Visit) -> View:
        """The whole conversation, its place among the others, and which buttons make sense."""
        return await asyncio.to_thread(self.view, visit)

    def view(self, visit: Visit, found: int | None = None) -> View:
        """See :meth:`show`. ``found``: a message to scroll to."""
        writing = self._writing(visit)  # first: what ends meanwhile is in the path then, not in neither
        conversation = self.find(visit)
        path = self.store.path(visit.owner, visit.conversation) if conversation else []
        visit = visit if conversation else visit.at("")
        visit = self._reach(visit, path, found)
        self._remember(visit)
        if visit.tab:
            _put(self._seen, visit.tab, _mark(conversation))
        self._expect(conversation, path, visit)
        return {
            "visit": visit.kept(),
            "transcript": self._transcript(visit, path, writing, found),
            "live": self.live(writing),
            "notice": "",
            "conversations": self.listed(visit),
            **self._buttons(conversation, path, writing),
            **self._scene(conversation, visit),
        }

    def _expect(self, conversation: Conversation | None, path: Sequence[Message], visit: Visit) -> None:
        """Let the engine read what stands here; an imported character's card says more than that."""
        character = conversation.characters[0] if conversation else visit.character
        if character and len(conversation.characters if conversation else visit.cast) == 1:
            self.service.expect_message(character, tuple(turns(path)))

    def is_open(self, visit: Visit) -> bool:
        """Whether the visitor's tab still shows this conversation: what streams must not reach another one."""
        return self.open_in(visit) == visit.conversation

    def open_in(self, visit: Visit) -> str:
        """The conversation that the visitor's tab shows now."""
        return self._open.get(visit.tab, visit.conversation)

    def move(self, visit: Visit) -> int:
        """The tab asks for another conversation: the number of this move."""
        number = self.moves(visit) + 1
        if visit.tab:
            _put(self._moves, visit.tab, number)
        return number

    def moves(self, visit: Visit) -> int:
        """How often the tab has asked for another one."""
        return self._moves.get(visit.tab, 0)

    def is_last_move(self, visit: Visit, number: int) -> bool:
        """Whether the tab has not asked for another one since: an answer that comes late must not undo that."""
        return self._moves.get(visit.tab, number) == number

    def arrive(self, visit: Visit, number: int) -> None:
        """A move is over, whatever came of it."""
        if visit.tab:
            _put(self._arrivals, visit.tab, max(number, self._arrivals.get(visit.tab, 0)))

    async def settle(self, visit: Visit) -> Visit:
        """The visit in the conversation that the tab has asked for: what is typed right after that belongs there."""
        for _ in range(round(MOVE_SECONDS / TICK_SECONDS)):
            if self.moves(visit) <= self._arrivals.get(visit.tab, 0):
                break
            await asyncio.sleep(TICK_SECONDS)
        return visit if self.is_open(visit) else visit.at(self.open_in(visit))

    def _remember(self, visit: Visit) -> None:
        if visit.tab:
            _put(self._open, visit.tab, visit.conversation)

    def live(self, writing: Writing | None) -> str:
        """The reply that is being written."""
        if writing is None:
            return ""
        text = writing.order.beginning + writing.text
        return live_block(writing.order.speaker, text, writing.place, writing.expected_wait_seconds)

    async def watch(self, visit: Visit, writing: Writing | None) -> Views:
        """A reply that another tab has asked for, until it is over. ``writing``: from before the page was shown."""
        if writing is None:
            return
        seen = ""
        while not writing.over:
            if not self.is_open(visit):
                return
            shown = self.live(writing)
            if shown != seen:
                yield {"live": shown}
                seen = shown
            await asyncio.sleep(TICK_SECONDS)
        if self.is_open(visit):
            yield await self.show(visit)

    async def refused(self, visit: Visit, error: SuiteError) -> Views:
        """Why something cannot be. Where another tab makes somebody speak, this one shows that from now on."""
        if not isinstance(error, UnderWay):
            yield problem(error)
            return
        writing = self._writing(visit)
        yield lay(await self.show(visit), problem(error))
        async with contextlib.aclosing(self.watch(visit, writing)) as views:
            async for view in views:
                yield view

    async def catch_up(self, visit: Visit) -> Views:
        """Back in this tab: what has been done to the conversation in another one meanwhile, if anything."""
        if self.service.loading:
            return
        writing, now = self._writing(visit), await asyncio.to_thread(self.find, visit)
        if self._seen.get(visit.tab) == _mark(now) or not self.is_open(visit):
            return
        yield await self.show(visit)
        async with contextlib.aclosing(self.watch(visit, writing)) as views:
            async for view in views:
                yield view

    def look(self, cast: Sequence[str]) -> View:
        """Who is spoken to, what speaks, and what is not as it was wanted."""
        from character_chatbot.sources import announce_untrained

        service = self.service
        label, notices = "", ""
        if service.problem:
            label, notices = "nobody", markup.problem_block(str(service.problem))
        elif not service.loading:
            label = service.source.label
            for character in cast:
                announce_untrained(service.source, character, service.announcements)
            features = ("chat", "conversations", *(f"chat with {character}" for character in cast))
            notices = markup.banner(each for each in service.announcements if each.feature in features)
        style = markup.portraits_style(service.characters)
        return {"speaking": style + markup.speaking_line(label, ", ".join(cast)), "banner": notices}

    def told_loading(self) -> View:
        """How far loading is: above the box for messages, where a phone shows it as well."""
        now = self.service.progress.read()
        return {"notice": markup.loading_block(now.title, now.figures, now.share)}

    def _writing(self, visit: Visit) -> Writing | None:
        found = self.writing.get(visit.conversation)
        return found if found and found.owner == visit.owner else None

    def _reach(self, visit: Visit, path: Sequence[Message], found: int | None) -> Visit:
        """The visit with so many messages shown that the one found is among them."""
        at = next((number for number, each in enumerate(path) if each.id == found), None)
        return visit if at is None else replace(visit, shown=max(visit.shown, len(path) - at))

    def _transcript(
        self, visit: Visit, path: Sequence[Message], writing: Writing | None, found: int | None
    ) -> str:  # fmt: skip
        if writing and writing.order.instead_of:
            path = [each for each in path if each.id != writing.order.instead_of.id]
        return transcript(path, visit.shown, busy=writing is not None, found=found)

    def listed(self, visit: Visit) -> str:
        """The conversations, or what the search has found."""
        if visit.search.strip():
            hits = self.store.search(visit.owner, visit.search)
            return conversation_list([], visit.conversation, self.storage, hits=hits, search=visit.search)
        return conversation_list(self.store.list_of(visit.owner), visit.conversation, self.storage)

    def _buttons(self, conversation: Conversation | None, path: Sequence[Message], writing: Writing | None) -> View:
        if writing:
            return usable(**{name: name == "stop" for name in BUTTONS})
        said = [each for each in path if each.role != NOTE]
        replied = bool(said) and said[-1].role == CHARACTER
        several = conversation is not None and len(conversation.characters) > 1
        return usable(
            send=True,
            stop=False,
            retry=len(said) > 1 or (bool(said) and not replied),
            undo=any(each.role not in (CHARACTER, NOTE) for each in said),
            redo=conversation is not None and conversation.can_redo,
            talk=bool(said) and several,
            **{"continue": replied and bool(said[-1].text)},
        )

    def _scene(self, conversation: Conversation | None, visit: Visit) -> View:
        """Who takes part, as far as this page knows them, and who may be asked to speak next."""
        known = self.service.characters
        cast = tuple(name for name in (conversation.characters if conversation else visit.cast) if name in known)
        several = len(cast) > 1
        chosen = visit.next if visit.next in (AUTOMATIC, IN_TURN, *cast) else AUTOMATIC
        view: View = {
            "next": Change(
                choices=[("whoever is spoken to", AUTOMATIC), ("in turn", IN_TURN), *((name, name) for name in cast)],
                value=chosen,
                visible=several,
            )
        }
        view["talk_row"] = Change(visible=several)
        return view | self._chosen(cast, visit) if cast and conversation else view

    def _chosen(self, cast: tuple[str, ...], visit: Visit) -> View:
        """What the page has to change to show this cast. Whatever shows it already is left alone: somebody may be
        choosing at this moment, and must not find the choice undone."""
        view: View = {}
        if cast[0] != visit.character:
            view["characters"] = Change(value=cast[0])
        if set(cast) != set(visit.cast):
            view["scene"] = Change(value=list(cast))
        return view | self.look(cast) if view else view


def _mark(conversation: Conversation | None) -> object:
    """What is another whenever a conversation is to be shown anew."""
    return conversation and (conversation.id, conversation.updated, conversation.leaf, conversation.characters)


def _put(tabs: dict[str, Any], tab: str, value: Any) -> None:
    """Remember something of a tab, and forget the oldest where there are too many."""
    tabs.pop(tab, None)
    tabs[tab] = value
    if len(tabs) > MOST_TABS:
        tabs.pop(next(iter(tabs)))
