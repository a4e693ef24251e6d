"""Keeps other web sites out of a page that asks nobody for a password.

Such a page is for this machine only, but a browser on this machine also runs what other sites send it. Two ways lead
from there to here: a site whose name suddenly means 127.0.0.1 (DNS rebinding), which shows in the ``Host`` header, and
a request across sites, which shows in ``Origin``. Both have to name this machine, or one of the names in ``app.hosts``.
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
        try:
            name = (urlsplit(address).hostname or "").casefold().rstrip(".")
        except ValueError:
            return False
        return is_loopback(name) or name.endswith(".localhost") or name in self._hosts
