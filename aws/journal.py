"""The journal: what was begun, written into the bucket before each call that makes something billable.

Whoever types the same command again, on any machine, after any crash, finds what was begun and goes on with it.
One object per run, ``journal/<run>.json``, changed by compare-and-swap.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from aws.config import JOURNAL, RUN_NAME
from utils.errors import ConflictError, StoreError, UsageError, nearest
from utils.stores import Store

SWAP_ATTEMPTS = 20
OPEN, ENDED = "open", "ended"


@dataclass(frozen=True)
class Attempt:
    """One machine for a run: written down before it is asked for, completed once it is there."""

    number: int
    region: str
    at: str = ""  # ISO 8601: when it was asked for
    token: str = ""  # of the call that was made last
    zone: str = ""
    instance_type: str = ""
    market: str = "on-demand"  # or spot
    price_usd_per_hour: float = 0.0
    image: str = ""
    user: str = ""  # to log in as
    instance: str = ""  # empty: whether there is one is not known
    host_keys: tuple[str, ...] = ()
    handed_over: bool = False  # it has its work and needs nobody
    ended_at: str = ""
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Record:
    """A run: what was asked for, until when, and its machines."""

    run: str
    purpose: str
    request: str  # fingerprint of what was asked for: the same command finds its run
    by: str
    created: str  # ISO 8601
    deadline: str  # ISO 8601; empty: none
    job: Mapping[str, Any]
    state: str = OPEN
    stage: str = ""  # how it ended
    schedule: str = ""  # written before it is made, cleared once it is gone
    attempts: tuple[Attempt, ...] = ()
    outcome: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attempt(self) -> Attempt | None:
        """The last machine."""
        return self.attempts[-1] if self.attempts else None

    @property
    def cost_usd(self) -> float:
        """Of the machines that have ended."""
        return sum(each.cost_usd for each in self.attempts)

    def with_attempt(self, **changes: Any) -> Record:
        """The record with its last attempt changed."""
        return replace(self, attempts=(*self.attempts[:-1], replace(self.attempts[-1], **changes)))


class Journal:
    """Records in a store. Raises StoreError where the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, record: Record) -> Record:
        """Write a new record. Raises ConflictError: there is one of this run."""
        self._store.compare_and_swap(_key(record.run), _to_json(record), None)
        return record

    def read(self, run: str) -> Record:
        """Raises UsageError: no such run."""
        return self._read(run)[0]

    def change(self, run: str, change: Callable[[Record], Record]) -> Record:
        """Write what ``change`` makes of the record, again until nobody came between."""
        for attempt in range(SWAP_ATTEMPTS):
            record, etag = self._read(run)
            changed = change(record)
            if changed == record:
                return record
            try:
                self._store.compare_and_swap(_key(run), _to_json(changed), etag)
                return changed
            except ConflictError:
                time.sleep(random.uniform(0, min(0.5, 0.01 * 2**attempt)))  # noqa: S311 - spreads writers
        raise ConflictError(f"the journal of {run} keeps changing.", remedies=[("Try again", "the same command")])

    def change_attempt(self, run: str, **changes: Any) -> Record:
        """Change the last attempt."""
        return self.change(run, lambda record: record.with_attempt(**changes))

    def all(self) -> Iterator[Record]:
        """Every record, oldest first by name."""
        for run in self.runs():
            yield self.read(run)

    def runs(self) -> list[str]:
        """The names of all runs."""
        names = (key.removeprefix(f"{JOURNAL}/").removesuffix(".json") for key, _ in self._store.list(f"{JOURNAL}/"))
        return [name for name in names if RUN_NAME.fullmatch(name)]

    def open(self) -> list[Record]:
        """Runs that have not been ended."""
        return [record for record in self.all() if record.state == OPEN]

    def find(self, request: str) -> Record | None:
        """The open run that was asked for in the same words, the newest if there are several."""
        found = [record for record in self.open() if record.request == request]
        return max(found, key=lambda record: record.created, default=None)

    def forget(self, run: str) -> None:
        """Remove a record."""
        self._store.delete(_key(run))

    def _read(self, run: str) -> tuple[Record, str]:
        try:
            content, etag = self._store.get(_key(run))
        except KeyError:
            known = self.runs()
            near = nearest(run, known)
            raise UsageError(
                f"there is no run '{run}'.",
                instead=f"Did you mean {near}?" if near else f"There are {len(known)} runs.",
                remedies=[("See them", "python deploy_aws.py status")],
            ) from None
        return _from_json(run, content), etag


def fingerprint(request: Mapping[str, Any]) -> str:
    """A short hash of what was asked for."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _key(run: str) -> str:
    if not RUN_NAME.fullmatch(run):
        raise UsageError(
            f"'{run}' is not the name of a run.",
            instead="One looks like llama-20261121-101530-3f2a.",
            remedies=[("See them", "python deploy_aws.py status")],
        )
    return f"{JOURNAL}/{run}.json"


def _to_json(record: Record) -> bytes:
    return json.dumps(asdict(record), indent=1, ensure_ascii=False).encode()


def _from_json(run: str, content: bytes) -> Record:
    try:
        found = json.loads(content)
        attempts = tuple(Attempt(**{**each, "host_keys": tuple(each["host_keys"])}) for each in found["attempts"])
        return Record(**{**found, "attempts": attempts})
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{_key(run)} is damaged: {error!r}.",
            remedies=[("See what runs all the same", "python deploy_aws.py list-instances")],
        ) from None
