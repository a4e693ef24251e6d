"""No other site gets in through a visitor's browser, whether the page has a password or is for this machine alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import gradio_app
from character_chatbot.host_guard import HostGuard, SiteGuard


def status_of(
    headers: dict[str, str],
    hosts: tuple[str, ...] = (),
    kind: str = "http",
    guard: Any = HostGuard,
    method: str = "GET",
) -> int:
    """What the guard answers; 200: the application behind it was asked."""
    sent: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    told = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": kind, "method": method, "path": "/config", "headers": told}
    asyncio.run(guard(inner, hosts)(scope, None, send))
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


PAGE = {"host": "pellan.example"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
FETCH = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "origin": "https://evil.example"}


@pytest.mark.parametrize(
    ("more", "method", "status"),
    [
        ({}, "POST", 200),  # a program
        ({"sec-fetch-site": "same-origin", "origin": "https://pellan.example"}, "POST", 200),
        ({"sec-fetch-site": "same-origin", "host": "127.0.0.1", "origin": "https://pellan.example"}, "POST", 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, "GET", 200),
        (LINK, "GET", 200),
        (LINK, "POST", 403),  # a form of another site
        (FETCH, "GET", 403),
        (FETCH, "POST", 403),
        (FETCH, "OPTIONS", 403),
        (FETCH | {"sec-fetch-site": "same-site"}, "POST", 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, "GET", 403),  # a picture, a script
        ({"origin": "https://pellan.example"}, "POST", 200),  # an old browser, or no TLS
        ({"host": "127.0.0.1", "x-forwarded-host": "pellan.example", "origin": "https://pellan.example"}, "POST", 200),
        ({"host": "127.0.0.1", "origin": "https://proxy.example"}, "POST", 200),  # named in the setting app.hosts
        ({"origin": "https://evil.example"}, "POST", 403),
        ({"origin": "null"}, "POST", 403),
        ({"origin": "http://["}, "POST", 403),
    ],
)
def test_the_cookie_of_a_visitor_is_no_use_to_other_sites(more: dict[str, str], method: str, status: int) -> None:
    assert status_of(PAGE | more, ("proxy.example",), guard=SiteGuard, method=method) == status


@pytest.mark.parametrize(("behind_proxy", "address"), [(False, "127.0.0.1"), (True, "9.9.9.9")])
def test_who_asks_is_told_by_a_proxy_alone(behind_proxy: bool, address: str) -> None:
    seen: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    config = gradio_app.configure_server(inner, behind_proxy=behind_proxy)
    config.load()
    headers = [(b"x-forwarded-for", b"1.1.1.1, 9.9.9.9")]  # the first is what a visitor has made up
    scope = {"type": "http", "client": ("127.0.0.1", 1), "scheme": "http", "headers": headers, "server": None}
    asyncio.run(config.loaded_app(scope | {"path": "/", "method": "GET"}, None, None))  # type: ignore[arg-type]
    assert seen == [address]
