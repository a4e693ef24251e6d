"""Who may use the endpoint: whoever has a key, so many times a minute; whoever guesses has to wait."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from character_chatbot.api.errors import NO_KEY, TOO_MANY, ApiError
from character_chatbot.api.keys import KeyFile
from character_chatbot.api.limits import Lockout, TokenBuckets
from config import ApiSettings

if TYPE_CHECKING:
    from fastapi import Request

ANYBODY = "anybody"  # whose requests are counted together where no key is asked for
NEW_KEY = "python training_pipeline.py keys new NAME"


class Access:
    """Checks the key and the rate of each request.

    Args:
        settings: of the endpoint.
        open_to_all: nobody but this machine can come, so that a request without a key is welcome as long as no key
            has been made.
        buckets, lockout: for tests with a clock of their own.
    """

    def __init__(
        self,
        settings: ApiSettings,
        *,
        open_to_all: bool,
        buckets: TokenBuckets | None = None,
        lockout: Lockout | None = None,
    ) -> None:
        self._keys, self.open_to_all = KeyFile(settings.keys_file), open_to_all
        self._buckets = buckets or TokenBuckets(settings.requests_per_minute)
        self._lockout = lockout or Lockout(settings.wrong_tries, settings.lockout_seconds)

    def check(self, request: Request, *, counted: bool = True) -> str:
        """The name of the key. Raises ApiError: no key, a wrong one, or too many requests.

        Args:
            request: with ``Authorization: Bearer KEY``.
            counted: the request counts for the rate.
        """
        name = self._identify(request)
        wait = self._buckets.take(name) if counted else 0.0
        if wait:
            raise ApiError(
                429,
                f"too many requests: the next in {math.ceil(wait)} s.",
                TOO_MANY,
                "rate_limit_exceeded",
                wait_seconds=wait,
            )
        return name

    def _identify(self, request: Request) -> str:
        given = request.headers.get("authorization", "")
        key = given[7:].strip() if given[:7].lower() == "bearer " else ""
        if self.open_to_all and not self._keys.entries():
            return ANYBODY
        address = request.client.host if request.client else ""
        wait = self._lockout.wait_seconds(address)
        if wait:
            raise ApiError(
                429,
                f"too many wrong keys: the next try in {math.ceil(wait)} s.",
                TOO_MANY,
                "locked_out",
                wait_seconds=wait,
            )
        name = self._keys.name_of(key) if key else None
        if name is None:
            if key:  # asking without one is no guessing
                self._lockout.fail(address)
            raise ApiError(
                401,
                f"{'this key is not known' if key else 'a key is needed'}. On the server: {NEW_KEY}",
                NO_KEY,
                "invalid_api_key",
            )
        self._lockout.succeed(address)
        return name
