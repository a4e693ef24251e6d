"""Two sources reply to the same words; a visitor says which reply is better, without knowing whose it is.

Each act gives views: values by the name of a part, as the page shows them. A round is kept once it is voted on: the
message, the vote, and the better reply, with which the conversation goes on.

left, right     :class:`Side`, what each has said so far
round           the :class:`Round`, to be given back with the next act
notice          why something is not possible
busy            whether replies are on their way
loading         how far loading one of the two is, before the replies
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from character_chatbot.chats.preferences import persona_prompt, plain_prompt, preference_pairs, to_jsonl
from character_chatbot.chats.records import BOTH_BAD, LEFT, RIGHT, UnknownConversation
from character_chatbot.chats.store import ChatStore, Written
from character_chatbot.comparing.contenders import Contenders, on_gpu
from character_chatbot.comparing.vote_tally import PairTally, tally
from character_chatbot.engines.base import build_sampling
from character_chatbot.load_progress import Stage
from character_chatbot.prompts import Turn
from character_chatbot.service import Reply, Service, read_name
from utils.errors import SuiteError, UsageError

TICK_SECONDS = 0.04  # between two looks at replies
LOADING_TICK_SECONDS = 0.25  # … at how far loading is
SEEDS = 2**31

T = TypeVar("T")
View = dict[str, Any]
Views = AsyncGenerator[View, None]


@dataclass(frozen=True)
class Side:
    """One of two replies. ``key``: of the contender; ``label``: of the source, once it is known."""

    key: str
    label: str = ""
    text: str = ""
    problem: str = ""
    waits: bool = True  # nothing has come yet
    ended: bool = False  # … of itself, not because somebody stopped it


@dataclass(frozen=True)
class Round:
    """Two replies to a message, in a conversation that goes on with the better one of each.

    Attributes:
        conversation: of the store; empty before the first vote.
        turns: so far, without this message.
        vote: empty as long as nobody has voted.
        hidden: whether names are hidden until then.
    """

    character: str = ""
    speaker: str = ""
    conversation: str = ""
    turns: tuple[Turn, ...] = ()
    message: str = ""
    left: Side = field(default_factory=lambda: Side(""))
    right: Side = field(default_factory=lambda: Side(""))
    vote: str = ""
    hidden: bool = True
    stopped: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)

    @property
    def open_to_vote(self) -> bool:
        """Whether both replies are whole and nobody has voted."""
        return not self.vote and all(side.ended and side.text.strip() for side in (self.left, self.right))


@dataclass(frozen=True)
class Question:
    """What a visitor asks. ``first``, ``second``: keys of contenders. ``hidden``: names, and which side is whose."""

    text: str
    speaker: str
    first: str
    second: str
    character: str
    hidden: bool = True


class Comparing:
    """What happens in a comparison.

    Args:
        service: for its settings, and what the chat speaks with.
        contenders: who can be compared.
        store: where votes are kept.
        swap: whether the sides are exchanged this time; default: by chance.
        together: whether both may reply at the same time; default: on a GPU.
    """

    def __init__(
        self,
        service: Service,
        contenders: Contenders,
        store: ChatStore,
        *,
        swap: Callable[[], bool] = lambda: bool(secrets.randbits(1)),
        together: Callable[[], bool] | None = None,
    ) -> None:
        self._service, self._contenders, self._store = service, contenders, store
        self._swap, self._together = swap, together or on_gpu

    async def ask(self, question: Question, before: Round) -> Views:
        """Both replies to a message, as they come. A round that was not voted on is forgotten."""
        try:
            now = await asyncio.to_thread(self._begin, question, before)
        except SuiteError as error:
            yield {"notice": str(error)}
            return
        if question.hidden and self._swap():
            now = replace(now, left=now.right, right=now.left)
        yield {"round": now, "busy": True, "notice": "", "box": ""}
        # Before either replies, so that nobody sees by a pause whose reply is whose.
        preparing = _in_thread(self._contenders.prepare, question.first, question.second)
        async for stage in self._looks(preparing, now):
            yield {"loading": stage}
        failed = preparing.result() if preparing.done() else {}
        seed = secrets.randbelow(SEEDS)
        both = await asyncio.to_thread(self._together)
        for names in ((LEFT, RIGHT),) if both else ((LEFT,), (RIGHT,)):
            async with contextlib.aclosing(self._stream(now, names, seed, failed)) as views:
                async for view in views:
                    now = view.get("round", now)
                    yield view
        yield {"round": now, "busy": False, "notice": _find_notice(now)}

    async def _looks(self, work: asyncio.Future[Any], now: Round) -> AsyncGenerator[Stage, None]:
        """How far loading is, whenever that has changed, until the work is done or the round is stopped."""
        seen = None
        while not work.done() and not now.stopped.is_set():
            await asyncio.wait([work], timeout=LOADING_TICK_SECONDS)
            stage = self._contenders.loading
            if stage and not work.done() and stage.sentence != seen:
                seen = stage.sentence
                yield stage

    def _begin(self, question: Question, before: Round) -> Round:
        from character_chatbot.replies.conversation import read_message

        if self._service.problem:
            raise self._service.problem
        if self._service.loading:
            raise UsageError("the model is still being loaded: wait a moment.")
        if not (question.first and question.second and question.character):
            raise UsageError("choose two sources and a character first.")
        if question.first == question.second:
            raise UsageError("both are the same source.", instead="Choose another one for one of them.")
        source = self._service.source
        name = source.cast.get(question.character).name
        said_by, message = read_name(question.speaker, name, source), read_message(question.text)
        goes_on = before.character == name and bool(before.conversation)
        kept = (before.conversation, before.turns) if goes_on else ("", ())
        sides = Side(question.first), Side(question.second)
        return Round(name, said_by, *kept, message, *sides, hidden=question.hidden)

    async def _stream(self, now: Round, names: Sequence[str], seed: int, failed: Mapping[str, SuiteError]) -> Views:
        """Views as the replies of these sides grow. A source is let go before the next one is opened."""
        replies: dict[str, Reply] = {}
        try:
            for name in names:
                opening = _in_thread(self._open, now, name, seed, failed)
                async for stage in self._looks(opening, now):  # again, where only one has room
                    yield {"loading": replace(stage, what="") if now.hidden else stage}
                if opening.done():
                    now, reply = opening.result()
                    replies |= {name: reply} if reply else {}
            yield _growing(now)
            while any(not reply.finished for reply in replies.values()) and not now.stopped.is_set():
                await asyncio.sleep(TICK_SECONDS)
                pieces = {name: reply.take() for name, reply in replies.items()}
                if any(pieces.values()):
                    now = _with_sides(now, {name: _grow(getattr(now, name), piece) for name, piece in pieces.items()})
                    yield _growing(now)
        finally:
            for reply in replies.values():
                reply.stop()
        ended = {name: _end(getattr(now, name), reply, now) for name, reply in replies.items()}
        yield _growing(_with_sides(now, ended))

    def _open(self, now: Round, name: str, seed: int, failed: Mapping[str, SuiteError]) -> tuple[Round, Reply | None]:
        """Begin the reply of one side; what cannot be had is a sentence on it."""
        from character_chatbot.replies.conversation import stream_reply

        side, other = (now.left, now.right) if name == LEFT else (now.right, now.left)
        if now.stopped.is_set():
            return now, None
        settings = self._service.settings.chat
        turns = (*now.turns, Turn(now.speaker, now.message))
        try:
            if side.key in failed:
                raise failed[side.key]
            source = self._contenders.open(side.key, other.key)
            source.cast.get(now.character)
        except SuiteError as error:
            return _with_sides(now, {name: replace(side, problem=str(error), waits=False)}), None
        if now.stopped.is_set():  # while it was loaded
            return now, None
        sampling = build_sampling(settings, seed)
        reply = Reply(lambda: stream_reply(source, now.character, turns, sampling, settings.history_turns))
        return _with_sides(now, {name: replace(side, label=source.label)}), reply

    def vote(self, vote: str, now: Round, owner: str) -> Round:
        """Keep a vote, and the better reply for the conversation to go on with; of two bad ones neither.

        Raises:
            UsageError: there are no two whole replies, or they have been voted on.
            DataError, StoreError: it cannot be kept.
        """
        if not now.open_to_vote:
            raise UsageError("there are no two whole replies to vote on.")
        store, conversation = self._store, self._conversation(now, owner)
        asked = store.say(owner, conversation, now.message)
        left, right = (now.left.label, now.left.text), (now.right.label, now.right.text)
        store.compare(owner, conversation, asked.id, speaker=now.character, left=left, right=right, vote=vote)
        if vote == BOTH_BAD:
            store.undo(owner, conversation)
        else:
            better = now.right if vote == RIGHT else now.left
            store.reply(owner, conversation, now.character, better.text, how=Written(engine=better.label), to=asked.id)
        return replace(now, conversation=conversation, turns=tuple(store.turns(owner, conversation)), vote=vote)

    def _conversation(self, now: Round, owner: str) -> str:
        """The one that the round belongs to; a new one before the first vote, or where it has been deleted."""
        if now.conversation:
            try:
                return self._store.get(owner, now.conversation).id
            except UnknownConversation:
                pass
        name = f"Comparison: {now.character}"
        return self._store.begin(owner, [now.character], now.speaker, name=name).id

    def tally(self, owner: str) -> list[PairTally]:
        """All votes of an owner, pair by pair."""
        votes = (vote for each in self._store.list_of(owner) for vote in self._store.comparisons(owner, each.id))
        return tally(votes)

    def export(self, owner: str) -> bytes:
        """Preference pairs as JSON lines, with the personas where the series is known. Raises UsageError: no pair."""
        source = self._service.source if not (self._service.loading or self._service.problem) else None
        prompt = persona_prompt(source.cast, source.title) if source else plain_prompt
        pairs = preference_pairs(self._store, owner, prompt)
        if not pairs:
            raise UsageError(
                "there is no preference pair yet.", instead="A vote for one of two replies makes one; a tie makes none."
            )
        return to_jsonl(pairs).encode()


def shown_name(side: Side, now: Round) -> str:
    """Who spoke on a side, or nothing as long as that is hidden."""
    return "" if now.hidden and not now.vote else side.label


def _in_thread(call: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """The work, which goes on where nobody waits for it any more; what it raises is then lost."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    work.add_done_callback(lambda done: done.cancelled() or done.exception())
    return work


def _growing(now: Round) -> View:
    return {"round": now, "busy": True}


def _with_sides(now: Round, sides: dict[str, Side]) -> Round:
    return replace(now, left=sides.get(LEFT, now.left), right=sides.get(RIGHT, now.right))


def _grow(side: Side, piece: str) -> Side:
    return replace(side, text=side.text + piece, waits=side.waits and not piece)


def _end(side: Side, reply: Reply, now: Round) -> Side:
    """A side whose reply has ended or was stopped."""
    rest = replace(side, text=side.text + reply.drain(), waits=False)
    if reply.problem:
        return replace(rest, problem=str(reply.problem))
    return replace(rest, ended=not now.stopped.is_set(), problem="" if rest.text.strip() else "No words came back.")


def _find_notice(now: Round) -> str:
    if now.stopped.is_set():
        return "Stopped. Only two whole replies can be voted on: ask again."
    return "" if now.open_to_vote else "One of the two has no whole reply, so there is nothing to vote on."
