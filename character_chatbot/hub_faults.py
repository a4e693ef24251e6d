"""Why a base cannot be had, as a sentence with the next command to type: what the hub, the way to it or the disk says.

raise explain(base.name, base.location, error, token) or error
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from utils.errors import BaseModelError
from utils.hub import hub_endpoint

Remedy = tuple[str, str]

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
TOO_LARGE = errno.EFBIG  # for the file system, or for what the shell's ulimit allows
UNAUTHORISED = 401
GO_WITHOUT = ("Go without", "--base nano")
SET_TOKEN = ("Set it in .env", "HF_TOKEN=hf_…")
GOES_ON = "Files that have come whole stay: the same command goes on from there."


def explain(name: str, location: str, error: BaseException, token: str = "") -> BaseModelError | None:
    """What the hub or the disk refused, behind an error of a library; None where neither did.

    Args:
        name: of the base, for people.
        location: its repository.
        error: as it was raised; the one behind it counts.
        token: that was sent; it is never shown.
    """
    from huggingface_hub import errors as hub_errors

    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, hub_errors.GatedRepoError):
            return _gated(name, location)
        if isinstance(cause, hub_errors.RepositoryNotFoundError):
            return _not_found(location, token)
        if isinstance(cause, hub_errors.HfHubHTTPError):
            return _answered(name, location, cause)
        if isinstance(cause, OSError) and cause.errno in {*NO_ROOM, TOO_LARGE}:
            return _no_room(name, cause)
        if isinstance(cause, _broken_connections()):
            return _broken(name, location, cause)
    return None


def first_line(error: BaseException) -> str:
    """Of what an error says; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _broken_connections() -> tuple[type[BaseException], ...]:
    """What the hub's library lets through where the network fails; its HTTP client has changed its name once."""
    found: list[type[BaseException]] = []
    for client in ("httpx2", "httpx"):
        with suppress(ImportError):
            found.append(importlib.import_module(client).TransportError)
    return tuple(found)


def _gated(name: str, location: str) -> BaseModelError:
    return BaseModelError(
        f"base model {name} is gated: its licence has to be accepted, and a token has to be set.",
        remedies=[
            ("Accept the licence", f"{hub_endpoint()}/{location}"),
            ("Make a token", f"{hub_endpoint()}/settings/tokens"),
            SET_TOKEN,
            GO_WITHOUT,
        ],
    )


def _not_found(location: str, token: str) -> BaseModelError:
    why = "it is private, or the token in HF_TOKEN is not valid" if token else "it is private"
    return BaseModelError(
        f"the hub has no model {location}, or {why}.",
        remedies=[("Look for it", f"{hub_endpoint()}/models"), ("If private, set in .env", "HF_TOKEN=hf_…")],
    )


def _answered(name: str, location: str, error: Any) -> BaseModelError:
    """The hub, or a proxy before it, answered with an error."""
    status = getattr(error.response, "status_code", 0)
    if status == UNAUTHORISED:
        return BaseModelError(
            f"base model {name} cannot be had: the hub does not accept the token (401), in HF_TOKEN or of a login.",
            instead="A model that is not gated needs none: take the line out of .env.",
            remedies=[("Make another", f"{hub_endpoint()}/settings/tokens"), SET_TOKEN, GO_WITHOUT],
        )
    words = f"{status} {getattr(error.response, 'reason_phrase', '')}".strip()
    return BaseModelError(
        f"base model {name} cannot be had: {error.response.url.host} answered {words}.",
        instead=f"Maybe a proxy did. {GOES_ON}",
        remedies=[_look(location), GO_WITHOUT],
    )


def _broken(name: str, location: str, error: BaseException) -> BaseModelError:
    return BaseModelError(
        f"base model {name} cannot be had: the connection to {hub_endpoint()} broke ({first_line(error).rstrip('.')}).",
        instead=GOES_ON,
        remedies=[_look(location), GO_WITHOUT],
    )


def _look(location: str) -> Remedy:
    return "See what answers", f"curl -I {hub_endpoint()}/{location}/resolve/main/config.json"


def _no_room(name: str, error: OSError) -> BaseModelError:
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    if error.errno == TOO_LARGE:
        why, look = "a file of it is larger than may be written", ("See the limit", "ulimit -f")
    else:
        why, look = "the disk is full", ("Make room", f"df -h {cache}")
    return BaseModelError(
        f"base model {name} does not fit into {cache}: {why}.",
        instead=GOES_ON,
        remedies=[look, ("Or keep models elsewhere", "export HF_HOME=DIR"), GO_WITHOUT],
    )
