"""Keeps other web sites out of the page, which a visitor's browser would let in.

A page that asks nobody for a password is for this machine only, but a browser on this machine also runs what other
sites send it. Two ways lead from there to here: a site whose name suddenly means 127.0.0.1 (DNS rebinding), which shows
in the ``Host`` header, and a request across sites, which shows in ``Origin``. Both have to name this machine, or one of
the names in ``app.hosts``: :class:`HostGuard`.

A page with a password is left open by the cookie of whoever has logged in, and gradio's cookie goes along with requests
of other sites, whose pages gradio also lets read the answer. :class:`SiteGuard` refuses those requests.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from character_chatbot.api.errors import ApiError

MISDIRECTED = 421  # RFC 9110, 15.5.20
FORBIDDEN = 403
LONGEST_SHOWN = 60
WITH_KEY = "/v1/"
OWN_SITE = ("same-origin", "none")  # of Sec-Fetch-Site: our own page, and what somebody has typed or bookmarked


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HostGuard:
    """Refuses what names another host than this machine.

    Args:
        app: what is guarded.
        hosts: further names, as somebody has set them.
    """

    def __init__(self, app: Any, hosts: Sequence[str] = ()) -> None:
        self._app, self._hosts = app, {name.casefold().rstrip(".") for name in hosts}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        refusal = self._check(dict(scope["headers"])) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal.response()(scope, receive, send)

    def _check(self, headers: dict[bytes, bytes]) -> ApiError | None:
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_ours(f"//{host}"):
            return ApiError(
                MISDIRECTED,
                f"this page does not answer to {host[:LONGEST_SHOWN]!r}: open it as 127.0.0.1 or localhost, or name "
                "the host in the setting app.hosts.",
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and not self._is_ours(origin):
            return ApiError(FORBIDDEN, f"a page of {origin[:LONGEST_SHOWN]!r} may not use this one.")
        return None

    def _is_ours(self, address: str) -> bool:
        name = _host_of(address)
        return is_loopback(name) or name.endswith(".localhost") or name in self._hosts


class SiteGuard:
    """Refuses what the page of another site sends; a link to the page may be followed from anywhere.

    Browsers say where a request comes from in ``Sec-Fetch-Site``, which no page can change
    (https://www.w3.org/TR/fetch-metadata/); those that do not, and all of them without TLS, in ``Origin``. Programs say
    neither. What asks for a key looks at no cookie, and says itself which pages may read it: api/cross_origin.py.

    Args:
        app: what is guarded.
        hosts: names of the page besides that in ``Host``, for a proxy that changes it.
    """

    def __init__(self, app: Any, hosts: Sequence[str] = ()) -> None:
        self._app, self._hosts = app, {name.casefold().rstrip(".") for name in hosts}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        open_route = scope["type"] != "http" or scope["path"].startswith(WITH_KEY)
        if open_route or self._is_welcome(scope["method"], dict(scope["headers"])):
            await self._app(scope, receive, send)
            return
        refusal = ApiError(FORBIDDEN, "a page of another site may not use this one.")
        await refusal.response()(scope, receive, send)

    def _is_welcome(self, method: str, headers: dict[bytes, bytes]) -> bool:
        site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        if site is not None:
            follows_link = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
            return follows_link or site.decode("latin-1") in OWN_SITE
        return origin is None or self._is_ours(origin.decode("latin-1"), headers)

    def _is_ours(self, origin: str, headers: dict[bytes, bytes]) -> bool:
        """No page can make a browser send another ``X-Forwarded-Host`` without asking first, which is refused."""
        told = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"x-forwarded-host"))
        names = {_host_of(f"//{name}") for name in told} | self._hosts
        return _host_of(origin) in names - {""}


def _host_of(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").casefold().rstrip(".")
    except ValueError:
        return ""
