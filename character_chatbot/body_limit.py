"""Refuses a request with a larger body than anything here is sent with, before all of it is in memory."""

from __future__ import annotations

from typing import Any

from character_chatbot.api.errors import ApiError

UPLOAD = "/gradio_api/upload"  # goes to the disk piece by piece, and has a limit of its own for each file


class BodyLimit:
    """Lets bodies of at most ``most_bytes`` through."""

    def __init__(self, app: Any, most_bytes: int) -> None:
        self._app, self._most = app, most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") == UPLOAD:
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most:
            await self._refuse(scope, receive, send)
            return
        received, begun = 0, False

        async def count() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise _TooLargeError
            return message

        async def watch(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, count, watch)
        except _TooLargeError:
            if not begun:
                await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        error = ApiError(413, f"the body is larger than {self._most:,} bytes.")
        await error.response()(scope, receive, send)


class _TooLargeError(Exception):
    """More has come than may come."""
