"""Errors as OpenAI's clients read them: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi.responses import JSONResponse
    from pydantic import ValidationError

INVALID, NOT_FOUND, NO_KEY = "invalid_request_error", "not_found_error", "authentication_error"
TOO_MANY, SERVER = "rate_limit_error", "server_error"


class ApiError(Exception):
    """What a client is told.

    Args:
        status: of HTTP.
        message: what failed with which value, and what exists instead.
        kind: one of this module's constants.
        code: a word for programs.
        param: the field at fault.
        wait_seconds: when to try again; 0: nothing is said of it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = INVALID,
        code: str = "",
        *,
        param: str = "",
        wait_seconds: float = 0,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code = status, message, kind, code
        self.param, self.wait_seconds = param, wait_seconds

    def to_dict(self) -> dict[str, object]:
        content = {"message": self.message, "type": self.kind, "param": self.param or None, "code": self.code or None}
        return {"error": content}

    def response(self) -> JSONResponse:
        from fastapi.responses import JSONResponse

        headers = {"retry-after": str(math.ceil(self.wait_seconds))} if self.wait_seconds else {}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(self.to_dict(), self.status, headers=headers)


def unreadable(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a body, by field."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"])
    why = first["msg"].removeprefix("Value error, ")  # pydantic's own words in front of ours
    return ApiError(400, f"{param or 'the body'}: {why}", param=param)
