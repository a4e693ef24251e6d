"""How the set-up works: a thing of the account has parts, and each part is looked at before it is made.

    ensure(site, "role", name, [Part("itself", is_there, make), Part("rights", are_right, put)])

Only what is missing is made, so that a second time changes nothing and half a thing is completed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws.config import SET_UP, Names
from aws.errors import CloudError
from aws.faults import aws_errors

if TYPE_CHECKING:
    from aws.sessions import Sessions

MADE, THERE, COMPLETED, WOULD_MAKE, LEFT_OUT = "made", "there", "completed", "would make", "left out"


@dataclass(frozen=True)
class Step:
    """What the set-up did about one thing. ``action``: made, there (nothing to do), completed, would make, left out."""

    what: str
    name: str
    action: str
    detail: str = ""


@dataclass(frozen=True)
class Site:
    """Where the set-up takes place. With ``dry_run`` nothing is changed; ``sleep`` takes seconds."""

    sessions: Sessions
    names: Names
    dry_run: bool = False
    sleep: Callable[[float], None] = time.sleep

    def client(self, service: str) -> Any:
        return self.sessions.client(service)

    @property
    def tags(self) -> Mapping[str, str]:
        return self.names.tags(SET_UP)

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """The tags as most services want them."""
        return tag_list(self.tags)


@dataclass(frozen=True)
class Part:
    """One property of a thing: whether it is as it should be, and what makes it so. The first is the thing itself."""

    name: str
    is_right: Callable[[], bool]
    make: Callable[[], object]


class Seen:
    """What AWS says of a thing, asked for once until it is forgotten."""

    def __init__(self, look: Callable[[], Any]) -> None:
        self._look, self._known, self._answer = look, False, None

    def __call__(self) -> Any:
        if not self._known:
            self._known, self._answer = True, self._look()
        return self._answer

    def forget(self) -> None:
        self._known = False


def ensure(site: Site, what: str, name: str, parts: Sequence[Part], detail: str = "") -> Step:
    """Make what is missing of a thing. Raises CloudError."""
    itself, *rest = parts
    there = itself.is_right()
    if site.dry_run:
        missing = [part.name for part in rest if there and not part.is_right()]
        done = there and not missing
        return Step(what, name, THERE if done else WOULD_MAKE, ", ".join(missing) or detail)
    if not there:
        itself.make()
    missing = []
    for part in rest:  # also of what was just made: some services make it whole, some bare
        if not part.is_right():
            part.make()
            missing.append(part.name)
    if not there:
        return Step(what, name, MADE, detail)
    return Step(what, name, COMPLETED, ", ".join(missing)) if missing else Step(what, name, THERE, detail)


def ask(doing: str, call: Callable[..., Any], *absent: str, **options: Any) -> Any:
    """What ``call(**options)`` answers, or None where AWS answers with one of the codes ``absent``.

    Raises:
        CloudError: it answers with another.
    """
    try:
        with aws_errors(doing):
            return call(**options)
    except CloudError as error:
        if error.code in absent:
            return None
        raise


def insist(
    site: Site, doing: str, call: Callable[[], Any], *, on: Callable[[CloudError], bool], seconds: float = 60.0
) -> Any:
    """What a call answers; tried again while AWS gives an answer that passes by itself. Raises CloudError.

    Args:
        on: whether an error passes by itself, such as a new role that a service does not see yet.
        seconds: for how long.
    """
    pause, waited = 2.0, 0.0
    while True:
        try:
            with aws_errors(doing):
                return call()
        except CloudError as error:
            if waited >= seconds or not on(error):
                raise
        site.sleep(pause)
        waited += pause


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
