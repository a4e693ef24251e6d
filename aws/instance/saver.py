"""Saves a job while it runs: log, state and outputs into the bucket, again and again, whatever the bucket says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from aws.config import RESULTS
from aws.errors import CloudError
from aws.instance.child import Stop, Stopped
from aws.instance.folder import Assignment, to_line
from aws.instance.log import Log
from aws.instance.state import State
from aws.instance.sync import Sync
from utils.errors import StoreError
from utils.stores import OnBytes, Store

T = TypeVar("T")

LONG_LOG_BYTES_PER_SECOND = 300_000  # a log is copied whole: a long one less often
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0


class FreshStore:
    """A store that is opened anew after each failure: one that was opened without credentials never gets any."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open = open_store
        self._store = open_store()
        self.url = self._store.url

    def put(self, key: str, content: bytes | Path, on_bytes: OnBytes | None = None) -> None:
        self._try(lambda store: store.put(key, content, on_bytes))

    def get(self, key: str) -> tuple[bytes, str]:
        return self._try(lambda store: store.get(key))

    def fetch(self, key: str, file: Path, on_bytes: OnBytes | None = None) -> None:
        self._try(lambda store: store.fetch(key, file, on_bytes))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return iter(self._try(lambda store: [*store.list(prefix)]))

    def delete(self, key: str) -> None:
        self._try(lambda store: store.delete(key))

    def compare_and_swap(self, key: str, content: bytes, expected: str | None) -> str:
        return self._try(lambda store: store.compare_and_swap(key, content, expected))

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    def _try(self, call: Callable[[Store], T]) -> T:
        try:
            return call(self._store)
        except StoreError:
            self._store = self._open()
            raise


def patiently(doing: Callable[[], T], patience_seconds: float, log: Log, stop: Stop) -> T:
    """Try until it works, with growing pauses.

    Raises:
        StoreError, CloudError: not within ``patience_seconds``.
        Stopped: the job is to end.
    """
    end, pause, said = time.monotonic() + patience_seconds, FIRST_PAUSE_SECONDS, ""
    while True:
        try:
            return doing()
        except (StoreError, CloudError) as error:
            if time.monotonic() + pause > end:
                raise
            if error.what != said:
                log.say(f"{error.what} Trying again.")
                said = error.what
        if stop.wait(pause):
            raise Stopped
        pause = min(LONGEST_PAUSE_SECONDS, pause * 2)


class Saver:
    """Copies log, state and outputs; ``start`` does so in a thread until ``finish``."""

    def __init__(self, store: Store, assignment: Assignment, log: Log, state: State, sync: Sync) -> None:
        self._store, self._assignment, self._log, self._state, self._sync = store, assignment, log, state, sync
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._wake = threading.Event()
        self._copied: dict[str, int] = {}
        self._log_copied_at = float("-inf")
        self._problem = ""
        self.outputs_ready = False  # before they are restored there is nothing of ours to save
        self.log_key = assignment.job.log_key

    def start(self) -> None:
        threading.Thread(target=self._run, name="saver", daemon=True).start()

    def soon(self) -> None:
        """Save now rather than at the end of the pause."""
        self._wake.set()

    def save(self) -> bool:
        """One pass; whether all of it worked. A failure is said once, and again when it is over."""
        try:
            with self._lock:
                self._save_log()
                self._save_state()
                if self.outputs_ready:
                    self._sync.push()
        except StoreError as error:
            self._complain(error.what)
            return False
        except Exception as error:  # a fault of ours must not end a training
            self._complain(f"{type(error).__name__}: {error}")
            return False
        if self._problem:
            self._problem = ""
            self._log.say("saving works again")
        return True

    def finish(self, end: dict[str, Any], seconds_left: Callable[[], float]) -> bool:
        """Save all of it and then ``end`` as exit.json; whether it worked before no seconds were left.

        In a thread: a connection that hangs must not keep the machine from ending.
        """
        self._over.set()
        self._wake.set()
        self._log_copied_at = float("-inf")
        done = threading.Event()
        threading.Thread(target=self._finish, args=(end, done, seconds_left), name="last save", daemon=True).start()
        while not done.wait(0.1):
            if seconds_left() <= 0:
                return False
        return True

    def _finish(self, end: dict[str, Any], done: threading.Event, seconds_left: Callable[[], float]) -> None:
        pause = 0.1
        while seconds_left() > 0:
            if self.save() and self._log_is_saved() and self._put_end(end):
                done.set()
                return
            time.sleep(min(pause, max(0.0, seconds_left())))
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)

    def _log_is_saved(self) -> bool:
        """Whether nothing was said since: here and in the bucket are to be the same bytes."""
        return not self.log_key or self._copied.get(self.log_key) == self._log.size_bytes()

    def _put_end(self, end: dict[str, Any]) -> bool:
        try:
            self._store.put(self._result("exit"), to_line(end))
        except StoreError as error:
            self._complain(error.what)
            return False
        return True

    def _run(self) -> None:
        while not self._over.is_set():
            self._wake.wait(self._assignment.sync_seconds)
            self._wake.clear()
            if not self._over.is_set():
                self.save()

    def _save_log(self) -> None:
        key, size = self.log_key, self._log.size_bytes()
        pause = size / LONG_LOG_BYTES_PER_SECOND if size > 10 * LONG_LOG_BYTES_PER_SECOND else 0
        if not key or self._copied.get(key) == size or time.monotonic() - self._log_copied_at < pause:
            return
        content = self._log.content()
        self._store.put(key, content)
        self._copied[key], self._log_copied_at = len(content), time.monotonic()

    def _save_state(self) -> None:
        self._store.put(self._result("state"), self._state.line())

    def _result(self, what: str) -> str:
        return f"{RESULTS}/{self._assignment.job.name}/{what}.json"

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._log.say(f"not saved, and tried again: {problem}")
