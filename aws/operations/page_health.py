"""Whether a page really answers: its health, then the password, then the page itself as a visitor gets it.

health = check_page("http://203.0.113.7:7860", "guest", Secret("…"))
health.state                                # ready, loading, failed, locked, unreachable or foreign
"""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aws.errors import PlaceError
from config import Secret

READY, LOADING, FAILED = "ready", "loading", "failed"  # as the page says itself: character_chatbot/service.py
LOCKED, UNREACHABLE, FOREIGN = "locked", "unreachable", "foreign"
LARGEST_ANSWER_BYTES = 20_000_000
GRADIO_MARK, LOGIN_MARK = b"window.gradio_config", b'"auth_required":true'
# Seconds for each answer; a page that loads a large model on few cores is slow to say anything.
ANSWER_TIMEOUT_SECONDS = 15.0
PAUSE_SECONDS = 3.0


@dataclass(frozen=True)
class PageHealth:
    """What a page answered.

    ``state``: ready, loading and failed as the page says; locked: it does not take the password; unreachable: nothing
    answers; foreign: something else does. ``detail``: a sentence. ``seconds``: it took, or was waited for.
    """

    state: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def ready(self) -> bool:
        return self.state == READY


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like another: name and password go nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes


class _Visitor:
    """A browser of few words: keeps cookies, follows nothing, checks certificates."""

    def __init__(self, url: str, timeout_seconds: float, context: ssl.SSLContext | None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is not the address of a page")
        self._url, self._timeout_seconds = url.rstrip("/"), timeout_seconds
        self._opener = urllib.request.build_opener(
            _NoRedirect(),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            urllib.request.HTTPSHandler(context=context or ssl.create_default_context()),
        )

    def ask(self, path: str, form: dict[str, str] | None = None) -> _Answer:
        """GET, or POST a form. Raises OSError, http.client.HTTPException: no answer."""
        body = urllib.parse.urlencode(form).encode() if form is not None else None
        try:
            with self._opener.open(self._url + path, body, self._timeout_seconds) as answer:
                return _Answer(answer.status, answer.read(LARGEST_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                return _Answer(error.code, error.read(LARGEST_ANSWER_BYTES))


def check_page(
    url: str,
    user: str,
    password: Secret,
    *,
    timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
    context: ssl.SSLContext | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> PageHealth:
    """Visit a page as somebody who knows the password.

    Args:
        url: ``http://host:port`` or ``https://host``, whose certificate is checked.
        user, password: to log in with; an empty password: the page asks for none.
        timeout_seconds: for each of up to three answers.
        context: for certificates of one's own.
        clock: seconds that only grow.
    """
    return _visit(lambda visitor: _log_in_and_look(visitor, user, password), url, timeout_seconds, context, clock)


def check_health(
    url: str,
    *,
    timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
    context: ssl.SSLContext | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> PageHealth:
    """What a page says of itself to everybody; needs no password."""
    return _visit(_ask_health, url, timeout_seconds, context, clock)


def wait_for_page(
    url: str,
    user: str,
    password: Secret,
    *,
    timeout_seconds: float = 900.0,
    still_there: Callable[[], None] = lambda: None,
    show: Callable[[PageHealth], None] = lambda health: None,
    check: Callable[..., PageHealth] = check_page,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> PageHealth:
    """Ask until the page is ready; ``seconds`` of the answer is how long that took.

    Args:
        url, user, password: see :func:`check_page`.
        timeout_seconds: in all.
        still_there: called before each try; raises where waiting makes no sense any more.
        show: told each answer.
        check, sleep, clock: replaced in tests.

    Raises:
        PlaceError: it failed to load, does not take the password, or is not ready in time.
    """
    started = clock()
    while True:
        still_there()
        health = check(url, user, password)
        show(health)
        waited = clock() - started
        if health.ready:
            return PageHealth(READY, health.detail, waited)
        if health.state in (FAILED, LOCKED):
            raise _refused(url, health)
        if waited + PAUSE_SECONDS > timeout_seconds:
            raise PlaceError(
                f"the page at {url} is not ready after {waited:.0f} seconds: {health.detail}.",
                remedies=[("See what it does", "python deploy_aws.py status --logs")],
            )
        sleep(PAUSE_SECONDS)


def _refused(url: str, health: PageHealth) -> PlaceError:
    remedy = ("See why", "python deploy_aws.py status --logs")
    if health.state == LOCKED:
        remedy = ("Deploy with the password of .env", "python deploy_aws.py deploy-gradio")
    return PlaceError(f"the page at {url} cannot be used: {health.detail}.", remedies=[remedy])


def _visit(
    look: Callable[[_Visitor], PageHealth],
    url: str,
    timeout_seconds: float,
    context: ssl.SSLContext | None,
    clock: Callable[[], float],
) -> PageHealth:
    started = clock()
    try:
        health = look(_Visitor(url, timeout_seconds, context))
    except (OSError, http.client.HTTPException, ValueError) as error:
        health = PageHealth(UNREACHABLE, _why(error))
    return PageHealth(health.state, health.detail, clock() - started)


def _log_in_and_look(visitor: _Visitor, user: str, password: Secret) -> PageHealth:
    health = _ask_health(visitor)
    refused = _log_in(visitor, user, password) if health.ready and password else None
    if refused or not health.ready:
        return refused or health
    page = visitor.ask("/")
    if page.status != 200 or GRADIO_MARK not in page.body:
        return PageHealth(FOREIGN, f"what answers ({page.status}) is not the page")
    if LOGIN_MARK in page.body.replace(b'": ', b'":'):
        return PageHealth(LOCKED, "it asks for a password" if not password else "it asks for the password again")
    return PageHealth(READY, "it answers and lets us in")


def _log_in(visitor: _Visitor, user: str, password: Secret) -> PageHealth | None:
    """What is wrong; None if we are in."""
    status = visitor.ask("/login", {"username": user, "password": password.reveal()}).status
    if status in (400, 401):
        return PageHealth(LOCKED, f"it does not take the password of {user}")
    if status == 302:  # gradio's answer where nobody has to log in
        return PageHealth(FOREIGN, "it asks for no password")
    return None if status == 200 else PageHealth(FOREIGN, f"its login answers {status}")


def _ask_health(visitor: _Visitor) -> PageHealth:
    answer = visitor.ask("/health")
    try:
        state = json.loads(answer.body)["state"]
    except (ValueError, KeyError, TypeError, RecursionError):
        if answer.status in (502, 503, 504):  # a proxy in front of a page that is not up yet
            return PageHealth(UNREACHABLE, f"nothing is behind the proxy yet ({answer.status})")
        return PageHealth(FOREIGN, f"what answers ({answer.status}) is not this page")
    if state == READY and answer.status == 200:
        return PageHealth(READY, "it says that it is ready")
    if state == LOADING and answer.status == 200:
        return PageHealth(LOADING, f"it is loading the model{_how_far(visitor)}")
    if state == FAILED:
        return PageHealth(FAILED, "it could not load anything that answers")
    return PageHealth(FOREIGN, f"what answers ({answer.status}) is not this page")


def _how_far(visitor: _Visitor) -> str:
    """``: reading, 43%, 12 s``; empty where the page does not tell."""
    try:
        told = json.loads(visitor.ask("/healthz").body)
        share = f", {float(told['share']):.0%}" if "share" in told else ""
        return f": {str(told['stage'])[:40]}{share}, {float(told['seconds']):.0f} s"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _why(error: Exception) -> str:
    """One sentence without its full stop; never what was sent."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {reason.verify_message}"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    text = str(getattr(reason, "strerror", None) or reason) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
