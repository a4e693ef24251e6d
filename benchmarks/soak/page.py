"""The page as a browser uses it, without one: gradio's configuration, its queue, and the stream of its answers.

tab = Tab(http, url); await tab.load()
async for values in tab.event("send", "click"): …     # names of parts of the page and what they show now

A part is called by its ``elem_id``; what the browser keeps is ``visit``, and the file of an export ``download``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import httpx
from gradio_client.utils import apply_diff

API = "/gradio_api"
MESSAGE = re.compile(r'<article class="message (user|bot|note)([^"]*)" data-id="(\d+)".*?</article>', re.DOTALL)
TEXT = re.compile(r'<p class="text"[^>]*>(.*?)</p>', re.DOTALL)
TAG = re.compile(r"</?em>")
PROBLEM = re.compile(r'<div class="notice problem"[^>]*>(.*?)</div>', re.DOTALL)
UPDATE = "__type__"


class PageError(Exception):
    """The server did not do what a browser would expect."""


@dataclass(frozen=True)
class Shown:
    """A message on the page."""

    id: int
    kind: str
    text: str


def read_transcript(written: str) -> list[Shown]:
    """The messages in the HTML of a transcript."""
    found = []
    for block in MESSAGE.finditer(written):
        text = TEXT.search(block[0])
        found.append(Shown(int(block[3]), block[1], unescape(TAG.sub("", text[1])) if text else ""))
    return found


@dataclass
class Tab:
    """One tab of a browser.

    Attributes:
        values: by component: what it shows.
    """

    http: httpx.AsyncClient
    url: str
    session: str = field(default_factory=lambda: secrets.token_hex(6))
    values: dict[int, Any] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _events: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    _waiting: dict[str, asyncio.Queue[Mapping[str, Any] | Exception]] = field(default_factory=dict)
    _early: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)  # of events whose id is not known yet
    _over: set[str] = field(default_factory=set)  # events that nobody waits for any more
    _read_path: tuple[str, list[Shown]] = ("", [])
    _reader: asyncio.Task[None] | None = None
    _heart: asyncio.Task[None] | None = None

    async def load(self, kept: Any = None) -> None:
        """Read the page's configuration, as opening the page does; ``kept``: what the browser has of the last visit."""
        answer = await self.http.get(f"{self.url}/config")
        answer.raise_for_status()
        config = answer.json()
        for part in config["components"]:
            props = part.get("props", {})
            name = "visit" if part["type"] == "browserstate" else props.get("elem_id")
            if "URL.createObjectURL" in str(props.get("js_on_load")) and not name:
                name = "download"
            if name:
                self._names.setdefault(name, part["id"])
            self.values[part["id"]] = props.get("value")
        self._events = {(target[0], target[1]): each for each in config["dependencies"] for target in each["targets"]}
        self.values[self._names["visit"]] = kept or {}
        self._root = next(part for part, event in self._events if event == "load")
        self._heart = asyncio.create_task(self._beat())

    def __getitem__(self, name: str) -> Any:
        return self.values.get(self._names[name])

    def __setitem__(self, name: str, value: Any) -> None:
        self.values[self._names[name]] = value

    @property
    def path(self) -> list[Shown]:
        """The messages that are shown."""
        written = str(self["transcript"] or "")
        if self._read_path[0] != written:
            self._read_path = written, read_transcript(written)
        return self._read_path[1]

    @property
    def problem(self) -> str:
        """What the page says went wrong; empty: nothing."""
        found = PROBLEM.search(str(self["notice"] or ""))
        return unescape(found[1]) if found else ""

    @property
    def conversation(self) -> str:
        """The id of the one that is shown; empty: one that has not begun."""
        return str((self["visit"] or {}).get("conversation", ""))

    async def event(
        self, name: str, event: str = "click", told: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Mapping[str, Any]]:
        """What happens at an event: after each answer of the server the names of what it has changed.

        Args:
            name: of the part; "page" for what happens when it is opened.
            told: what the browser says of a press in the HTML.

        Raises:
            PageError: the server says that it failed.
        """
        dependency = self._events[(self._root if name == "page" else self._names[name], event)]
        body = {
            "data": [self.values.get(part) for part in dependency["inputs"]],
            "fn_index": dependency["id"], "session_hash": self.session, "trigger_id": dependency["targets"][0][0],
            "event_data": told,
        }  # fmt: skip
        answer = await self.http.post(f"{self.url}{API}/queue/join", json=body)
        answer.raise_for_status()
        id = answer.json()["event_id"]
        waiting = self._waiting[id] = asyncio.Queue()
        for message in self._early.pop(id, ()):
            waiting.put_nowait(message)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        try:
            async for changed in self._answers(waiting, dependency["outputs"]):
                yield changed
        finally:
            self._waiting.pop(id, None)
            self._over.add(id)

    async def run(self, name: str, event: str = "click", told: Mapping[str, Any] | None = None) -> None:
        """Let an event happen to its end."""
        async for _ in self.event(name, event, told):
            pass

    async def close(self) -> None:
        """Close the tab at once, whatever it waits for."""
        for task in (self._reader, self._heart):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _answers(self, waiting: Any, outputs: list[int]) -> AsyncGenerator[Mapping[str, Any]]:
        data: list[Any] | None = None
        while True:
            message = await waiting.get()
            if isinstance(message, Exception):
                raise message
            kind = message["msg"]
            if kind == "process_generating" and message.get("success", True):
                new = message["output"]["data"]
                data = list(new) if data is None else [apply_diff(*pair) for pair in zip(data, new, strict=True)]
                yield self._lay(outputs, data)
            elif kind == "process_completed":
                if not message.get("success", True):
                    raise PageError(f"an event failed: {message.get('output')}")
                final = message["output"].get("data")
                if final and data is None:
                    yield self._lay(outputs, final)
                return
            elif kind in ("unexpected_error", "server_stopped"):
                raise PageError(f"{kind}: {message.get('message')}")

    def _lay(self, outputs: list[int], data: list[Any]) -> Mapping[str, Any]:
        """Take over what the server says of the parts; skipped ones stay."""
        by_part = dict(zip(outputs, data, strict=False))
        for part, new in by_part.items():
            if not isinstance(new, dict) or new.get(UPDATE) != "update":
                self.values[part] = new
            elif "value" in new:
                self.values[part] = new["value"]
        return {name: by_part[part] for name, part in self._names.items() if part in by_part}

    async def _read(self) -> None:
        """The one stream of the tab, for all events at once; it ends when none is waited for."""
        try:
            while self._waiting:
                await self._read_stream()
        except Exception as error:
            for waiting in self._waiting.values():
                waiting.put_nowait(error)

    async def _read_stream(self) -> None:
        address = f"{self.url}{API}/queue/data?session_hash={self.session}"
        async with self.http.stream("GET", address, timeout=httpx.Timeout(10, read=90)) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                if message["msg"] == "close_stream":
                    return
                if message["msg"] != "heartbeat":
                    self._hand_over(message)

    def _hand_over(self, message: Mapping[str, Any]) -> None:
        """Give a message to whoever waits for it; the answer to an event may be faster than the word of its id."""
        id = message.get("event_id")
        if id and id not in self._waiting:
            if id not in self._over:
                self._early.setdefault(id, []).append(message)
            return
        for waiting in [self._waiting[id]] if id else list(self._waiting.values()):
            waiting.put_nowait(message)

    async def _beat(self) -> None:
        """By which gradio knows that the tab is open."""
        with contextlib.suppress(httpx.HTTPError):
            address = f"{self.url}{API}/heartbeat/{self.session}"
            async with self.http.stream("GET", address, timeout=httpx.Timeout(10, read=None)) as answer:
                async for _ in answer.aiter_bytes():
                    pass
