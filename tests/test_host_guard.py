"""A page without a password answers this machine alone, whatever name a request gives it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from character_chatbot.host_guard import HostGuard


def status_of(headers: dict[str, str], hosts: tuple[str, ...] = (), kind: str = "http") -> int:
    """What the guard answers; 200: the application behind it was asked."""
    sent: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": kind, "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]}
    asyncio.run(HostGuard(inner, hosts)(scope, None, send))
    return int(sent[0].get("status") or sent[0]["code"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:7860", "localhost:7860", "LOCALHOST.", "[::1]:7860", "127.9.9.9", "app.localhost"]
)
def test_this_machine_is_answered(host: str) -> None:
    assert status_of({"host": host}) == 200
    assert status_of({"host": host, "origin": f"http://{host}"}) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example:7860", "localhost.evil.example", "", "192.168.1.4", "[", "0x7f.1",
     "127.0.0.1@evil.example", "evil.example#127.0.0.1", "\xe9vil"],
)  # fmt: skip
def test_a_name_that_was_bent_to_this_machine_is_refused(host: str) -> None:
    assert status_of({"host": host}) == 421
    assert status_of({"host": host}, kind="websocket") == 1008


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example", "http://["])
def test_another_site_may_not_use_this_one(origin: str) -> None:
    assert status_of({"host": "127.0.0.1", "origin": origin}) == 403


def test_a_name_can_be_allowed() -> None:
    assert status_of({"host": "Pellan.example:80", "origin": "https://pellan.example"}, ("pellan.example",)) == 200
    assert status_of({"host": "other.example"}, ("pellan.example",)) == 421
