"""A reply on its way: what it will be kept as, and what has come of it so far. All tabs of its owner can watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from character_chatbot.acts.evidence import Kept, keep_evidence, keep_quotes
from character_chatbot.chats.message_rows import Written
from character_chatbot.chats.records import DONE, FAILED, STOPPED, Message
from character_chatbot.prompts import Turn
from character_chatbot.service import Reply, Service

TICK_SECONDS = 0.04  # between two looks at a reply
NOTHING = "no words came back"


@dataclass(frozen=True)
class Order:
    """A reply that is wanted.

    Attributes:
        speaker: which character.
        turns: what it replies to.
        keep: stores the reply, with how it came to be.
        instead_of: the message whose place it takes while it is written; None: it comes after all others.
        beginning: what the reply goes on with; already kept.
        note, lore, entries: what a card adds to the prompt.
        label: of what answers.
        quoted: what was said last, and what the character had said before: to find out where a quote is from.
    """

    speaker: str
    turns: tuple[Turn, ...]
    keep: Callable[[str, Written], object]
    instead_of: Message | None = None
    beginning: str = ""
    note: str = ""
    lore: tuple[str, ...] = ()
    entries: tuple[int, ...] = ()
    label: str = ""

    @property
    def quoted(self) -> tuple[str, list[str]]:
        said = [turn.text for turn in self.turns if turn.speaker == self.speaker]
        said += [self.beginning] if self.beginning else []
        return (self.turns[-1].text if self.turns else ""), said


@dataclass
class Writing:
    """An order being carried out. ``text``: what has come; ``over``: it has been kept, nothing more comes."""

    owner: str
    order: Order
    reply: Reply | None = None
    text: str = ""
    over: bool = False
    _stopped: bool = field(default=False, repr=False)

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def place(self) -> int:
        """In the engine's queue; 0: it is at work."""
        return self.reply.place if self.reply else 0

    @property
    def expected_wait_seconds(self) -> float | None:
        return self.reply.expected_wait_seconds if self.reply else None

    def stop(self) -> None:
        """End the work behind it; what has come is kept."""
        self._stopped = True
        if self.reply:
            self.reply.stop()

    async def follow(self) -> AsyncGenerator[None, None]:
        """Something has changed: text, or the place in the queue. Ends with the reply, which closing it stops."""
        seen: tuple[object, ...] = ()
        try:
            while self.reply and not self.reply.finished:
                await asyncio.sleep(TICK_SECONDS)
                if self.reply.stopped:
                    return
                self.text += self.reply.take()
                state = (self.text, *self._queued())
                if state != seen:
                    seen = state
                    yield
        finally:
            if self.reply and not self.reply.finished:
                self.stop()

    def _queued(self) -> tuple[int, int]:
        wait = self.expected_wait_seconds if self.place else None
        return self.place, -1 if wait is None else round(wait)

    async def finish(self, service: Service) -> Written:
        """How the reply came to be, once it has ended by itself."""
        problem = self.reply.problem if self.reply else None
        if self.order.beginning and (problem or not self.text.strip()):  # what was there stays as it is
            return self._written(STOPPED if problem else DONE)
        if problem or not self.text.strip():
            return self._written(FAILED, problem=str(problem or NOTHING))
        message, said = self.order.quoted
        quotes = await asyncio.to_thread(service.find_quotes, self.order.speaker, message, said)
        return self._written(DONE, keep_quotes(quotes))

    def cut(self) -> Written:
        """How a reply that was stopped came to be."""
        return self._written(STOPPED)

    def _written(self, state: str, quotes: Sequence[Kept] = (), problem: str = "") -> Written:
        evidence = keep_evidence(self.reply.evidence if self.reply else None, self.order.entries)
        extra = {"problem": problem} if problem else {}
        return Written(state, self.order.label, [*quotes, *evidence], extra=extra)
