"""Pages of other sites may use the endpoint with a key, as they may use OpenAI's.

A browser asks first, by OPTIONS, and lets the page read an answer only if that says so (https://fetch.spec.whatwg.org,
"CORS protocol"). Nothing here looks at a cookie, so a page gets no more than the key gives that it was told. Without
keys there is nothing that a page would have to know, and host_guard.py refuses them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import Request
    from fastapi.responses import Response

ASKED_HEADERS = "access-control-request-headers"
REMEMBERED_SECONDS = 600


def is_preflight(request: Request) -> bool:
    """Whether a browser asks what a page may do."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def answer_preflight(request: Request) -> Response:
    """Whatever the routes take."""
    from fastapi.responses import Response as Plain

    headers = {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": request.headers.get(ASKED_HEADERS, "authorization, content-type"),
        "access-control-max-age": str(REMEMBERED_SECONDS),
    }
    return Plain(status_code=204, headers=headers)


def let_read(response: Response) -> None:
    """Let the page that has asked read the answer, and when to ask again."""
    response.headers["access-control-allow-origin"] = "*"
    response.headers["access-control-expose-headers"] = "retry-after"
