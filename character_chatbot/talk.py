"""What happens on the page: each act of a visitor gives views, which a page lays over its parts.

A view maps names of parts to their new values: chat, histories, box, notice, evidence, speaking, banner, characters,
and the buttons send, stop, retry, undo, clear. A :class:`Change` changes properties of a part instead of its value.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from character_chatbot import markup
from character_chatbot.service import Exchange, Reply, Service, ask_again, read_name, settle, take_back
from utils.errors import SuiteError, UsageError

TICK_SECONDS = 0.04  # between two looks at a reply
LOADING = "Loading the model…"

View = dict[str, Any]
Views = AsyncGenerator[View, None]
Histories = dict[str, list[Exchange]]  # a conversation for each character


class Change(dict[str, Any]):
    """Properties of a part, such as ``interactive`` or ``choices``."""


class Talk:
    """What happens on the page. Each method is a generator of views; closing it stops the engine."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def open(self, character: str | None) -> Views:
        """A visitor comes: the characters as soon as they are known, the source as soon as it is loaded."""
        while self.service.loading and not self.service.characters:
            await asyncio.sleep(TICK_SECONDS)
        if self.service.loading:
            yield self._roster(character)
        while self.service.loading:
            await asyncio.sleep(TICK_SECONDS)
        yield self._roster(character)

    async def pick(self, character: str, histories: Histories) -> Views:
        """Another character: its own conversation, where it was left."""
        settled = {name: settle(history) for name, history in histories.items()}
        yield self._look(character) | self._view(character, settled)

    async def send(self, text: str, speaker: str, character: str | None, histories: Histories) -> Views:
        """A message, and its reply as it comes."""
        from character_chatbot.conversation import read_message

        history = histories.get(character or "", [])
        try:
            self._check_free(character, history)
            message = read_message(text)
            if self.service.loading:
                yield {"notice": markup.hint(LOADING)} | _locked(True)
            name = read_name(speaker, str(character), await asyncio.to_thread(lambda: self.service.source))
        except SuiteError as error:
            yield _notice(error) | _locked(False)
            return
        started = [*history, Exchange(name, message)]
        sent: View = {"box": ""} | _locked(False)
        async with contextlib.aclosing(self._speak(str(character), histories, started)) as views:
            async for view in views:
                yield sent | view
                sent = {}  # what is typed meanwhile stays

    async def retry(self, character: str | None, histories: Histories) -> Views:
        """Another reply to the last message."""
        history = histories.get(character or "", [])
        try:
            self._check_free(character, history)
            started = ask_again(history)
        except SuiteError as error:
            yield _notice(error)
            return
        async with contextlib.aclosing(self._speak(str(character), histories, started)) as views:
            async for view in views:
                yield view

    async def stop(self, character: str, histories: Histories) -> Views:
        """End the reply: what has come of it stays."""
        yield self._view(character, histories | {character: settle(histories.get(character, []))})

    async def undo(self, character: str, histories: Histories) -> Views:
        """Take the last exchange back, and put what was said into the box."""
        history, text = take_back(histories.get(character, []))
        yield self._view(character, histories | {character: history}) | {"box": text}

    async def clear(self, character: str, histories: Histories) -> Views:
        """Forget the conversation with this character."""
        yield self._view(character, histories | {character: []})

    async def _speak(self, character: str, histories: Histories, history: list[Exchange]) -> Views:
        """The views of a reply to the last message of ``history``, until it ends or somebody stops it."""
        *before, last = history
        try:
            reply = self.service.begin_reply(character, history)
        except SuiteError as error:
            yield self._view(character, histories | {character: [*before, replace(last, notice=str(error))]})
            return
        last = replace(last, on_its_way=reply)
        yield self._view(character, histories | {character: [*before, last]})
        async with contextlib.aclosing(_follow(reply)) as texts:
            async for text in texts:
                last = replace(last, reply=text)
                now = histories | {character: [*before, last]}
                yield {"chat": build_messages(now[character]), "histories": now}
        if reply.stopped:  # whoever did shows what comes now; gradio shows a generator's last view twice
            yield {"notice": ""}
            return
        last = await self._complete(character, history, replace(last, on_its_way=None), reply.problem)
        yield self._view(character, histories | {character: [*before, last]})

    async def _complete(
        self, character: str, history: list[Exchange], last: Exchange, problem: SuiteError | None
    ) -> Exchange:
        """The exchange with all that belongs to a reply that has ended by itself."""
        if problem:
            return replace(last, notice=str(problem))
        quotes = await asyncio.to_thread(self.service.find_quotes, character, history)
        return replace(last, quotes=quotes, notice="" if last.reply else "no words came back")

    def _check_free(self, character: str | None, history: Sequence[Exchange]) -> None:
        if self.service.problem:
            raise self.service.problem
        if not character:
            raise UsageError("choose a character first.")
        if history and history[-1].pending:
            raise UsageError("a reply is on its way: wait for it, or stop it.")

    def _roster(self, character: str | None) -> View:
        names = self.service.characters
        chosen = character if character in names else next(iter(names), None)
        return {"characters": Change(choices=list(names), value=chosen)} | self._look(chosen or "")

    def _look(self, character: str) -> View:
        """Who is spoken to, what speaks, and what is not as it was wanted."""
        from character_chatbot.sources import announce_untrained

        service = self.service
        label, notices = LOADING, ""
        if service.problem:
            label, notices = "nobody", markup.problem_block(str(service.problem))
        elif not service.loading:
            label = service.source.label
            announce_untrained(service.source, character, service.announcements)
            features = ("chat", f"chat with {character}")
            notices = markup.banner(each for each in service.announcements if each.feature in features)
        style = markup.portraits_style(service.characters, character)
        return {"speaking": style + markup.speaking_line(label, character), "banner": notices}

    def _view(self, character: str, histories: Histories) -> View:
        """The conversation, and which buttons make sense now."""
        history = histories.get(character, [])
        busy = bool(history) and history[-1].pending
        usable = {"send": not busy, "stop": busy} | dict.fromkeys(
            ("retry", "undo", "clear"), bool(history) and not busy
        )
        return {name: Change(interactive=on) for name, on in usable.items()} | {
            "histories": histories,
            "chat": build_messages(history),
            "evidence": markup.quotes_block(history[-1].quotes if history else ()),
            "notice": "",
        }


async def _follow(reply: Reply) -> AsyncGenerator[str, None]:
    """All that has come so far, each time something comes."""
    text = ""
    try:
        while not reply.finished:
            await asyncio.sleep(TICK_SECONDS)
            if reply.stopped:
                return
            piece = reply.take()
            if piece:
                text += piece
                yield text
    finally:
        if not reply.finished:
            reply.stop()


def build_messages(history: Sequence[Exchange]) -> list[dict[str, str]]:
    """A conversation as the chat component shows it."""
    messages: list[dict[str, str]] = []
    for exchange in history:
        messages.append({"role": "user", "content": _shown(exchange.message)})
        reply = exchange.reply or ("…" if exchange.pending else "")
        notice = f"({exchange.notice})" if exchange.notice else ""
        messages.append({"role": "assistant", "content": _shown("\n".join(part for part in (reply, notice) if part))})
    return messages


def _shown(text: str) -> str:
    """Text that stays text: without markdown the component still takes it for HTML."""
    return escape(text, quote=False)


def _notice(error: SuiteError) -> View:
    return {"notice": markup.problem_block(str(error))}


def _locked(locked: bool) -> View:
    """Nobody else can be chosen while a message waits for the model."""
    return {name: Change(interactive=not locked) for name in ("characters", "send")}
