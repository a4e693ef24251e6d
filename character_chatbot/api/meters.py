"""What a service has done so far, in Prometheus' text form: ``GET /metrics``, and its state: ``GET /healthz``.

Names of the metrics start with ``suite_``; those of the process (memory, CPU, open files) are the Prometheus client's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from character_chatbot.service import FAILED, LOADING, READY, Service

if TYPE_CHECKING:
    from fastapi.responses import Response

METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"
DEGRADED = "degraded"  # ready, but with less than was wanted
STATES = (LOADING, READY, DEGRADED, FAILED)
FIRST_TOKEN_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKENS_PER_SECOND = (1, 2.5, 5, 10, 20, 40, 80, 160)


class Meters:
    """Counts requests and replies of one service."""

    def __init__(self, service: Service) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self._service = service
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "suite_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self._tokens = Counter("suite_reply_tokens", "Tokens of replies", registry=registry)
        self._first = Histogram(
            "suite_first_token_seconds", "From request to first token", buckets=FIRST_TOKEN_SECONDS, registry=registry
        )
        self._rate = Histogram(
            "suite_tokens_per_second", "Tokens a second of whole replies", buckets=TOKENS_PER_SECOND, registry=registry
        )
        self._queue = Gauge("suite_replies_in_flight", "Replies that wait or are written", registry=registry)
        self._queue.set_function(lambda: service.replies_in_flight)
        self._states = Gauge("suite_state", "1 for the state it is in", ["state"], registry=registry)
        self._fallbacks = Gauge("suite_fallbacks", "Steps down that are announced", registry=registry)
        self._fallbacks.set_function(lambda: len(service.announcements))
        seconds = Gauge("suite_load_seconds", "That loading has taken, so far or in all", registry=registry)
        seconds.set_function(lambda: service.progress.seconds)
        self._share = Gauge(
            "suite_load_share", "Of the stage of loading at hand, where known", ["stage"], registry=registry
        )

    def request(self, route: str, status: int) -> None:
        """A request was answered, or refused."""
        self._requests.labels(route, str(status)).inc()

    def reply(self, tokens: int, first_seconds: float | None, seconds: float) -> None:
        """A reply is over. ``first_seconds`` None: nothing came."""
        self._tokens.inc(tokens)
        if first_seconds is not None:
            self._first.observe(first_seconds)
            if tokens > 1 and seconds > first_seconds:
                self._rate.observe((tokens - 1) / (seconds - first_seconds))

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        from prometheus_client import generate_latest

        now = read_state(self._service)
        for state in STATES:
            self._states.labels(state).set(state == now)
        self._share.clear()
        stage = self._service.progress.read() if now == LOADING else None
        if stage:
            self._share.labels(stage.kind).set(math.nan if stage.share is None else stage.share)
        return generate_latest(self.registry)


def read_state(service: Service) -> str:
    """``loading``, ``ready``, ``degraded`` or ``failed``."""
    state = service.state
    return DEGRADED if state == READY and len(service.announcements) else state


def build_healthz(service: Service) -> Response:
    """``{"state": "ready"}``; 503 while loading and where nobody can answer, as load balancers want it.

    While loading also ``stage``, ``seconds`` (in all) and, where known, ``share`` of the stage; no name of anything.
    """
    from fastapi.responses import JSONResponse

    state = read_state(service)
    answer: dict[str, Any] = {"state": state}
    if state == LOADING:
        stage = service.progress.read()
        answer |= {"stage": stage.kind, "seconds": round(service.progress.seconds, 1)}
        answer |= {} if stage.share is None else {"share": round(stage.share, 3)}
    return JSONResponse(answer, 200 if state in (READY, DEGRADED) else 503, headers={"cache-control": "no-store"})
