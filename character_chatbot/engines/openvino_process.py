"""This side of the process in which OpenVINO runs: starts it, sends orders, hands out what it answers.

process = EngineProcess(folder, options.to_json())
request = process.begin(ids, sampling, ends, adapter="")
for tokens in request: …
process.stop(request)
process.end()

The other side is ``openvino_worker``.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from character_chatbot.engines.base import Sampling
from config import PROJECT_FOLDER
from utils.errors import BaseModelError

logger = logging.getLogger(__name__)

WORKER = "character_chatbot.engines.openvino_worker"
HIGHEST_SEED = 2**32 - 1
KEPT_LINES = 20  # of what the process prints, for when it dies


class Request:
    """One reply on its way; iterating gives token ids as they come. ``finished``: called once the engine is done."""

    def __init__(self, number: int, finished: Callable[[], None]) -> None:
        self.number, self.done, self.finished = number, False, finished
        self.answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[list[int]]:
        while not self.done:
            answer = self.answers.get()
            self.done = answer["done"]
            if answer.get("error"):
                raise BaseModelError(f"the reply failed: {answer['error']}")
            yield answer["tokens"]


class EngineProcess:
    """The process with the model, and the threads that read what it says.

    Args:
        folder: an exported model.
        options_json: for the worker, see ``EngineOptions.to_json``.
        started: gets the process' id before the model is loaded.

    Raises:
        BaseModelError: the model cannot be loaded.
    """

    def __init__(self, folder: Path, options_json: str, started: Callable[[int], None] = lambda pid: None) -> None:
        self._requests: dict[int, Request] = {}
        self._lock, self._numbers = threading.Lock(), 0
        self._printed: list[str] = []
        self._silent = threading.Event()  # nothing more comes: it ends, though the system may not know it as ended yet
        self._child = subprocess.Popen(
            [sys.executable, "-m", WORKER, str(folder.resolve()), options_json],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=PROJECT_FOLDER,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the page, which then closes this one's input
        )
        self._first: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._errors = threading.Thread(target=self._read_errors, name="openvino-log", daemon=True)
        self._answers = threading.Thread(target=self._read, name="openvino", daemon=True)
        self._errors.start()
        self._answers.start()
        started(self.id)
        self.ready = self._wait_until_ready(folder)

    @property
    def id(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        return self._silent.is_set() or self._child.poll() is not None

    def begin(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        ends: Sequence[int],
        adapter: str,
        finished: Callable[[], None] = lambda: None,
    ) -> Request:
        """Order a reply; ``finished`` is called when the engine is done with it, whether or not anybody reads it."""
        seed = random.randint(0, HIGHEST_SEED) if sampling.seed is None else sampling.seed  # noqa: S311
        drawn = asdict(replace(sampling, seed=seed & HIGHEST_SEED, tally=None))
        with self._lock:
            self._numbers += 1
            request = self._requests[self._numbers] = Request(self._numbers, finished)
        order = {"add": request.number, "ids": list(prompt), "sampling": drawn, "ends": list(ends), "adapter": adapter}
        self._send(order)
        if self.ended:  # it may have died before it could answer for this one
            self._fail_all()
        return request

    def change_adapters(self, adapters: dict[str, dict[str, Any]]) -> None:
        """Load the model anew with these, after the replies at hand. Raises BaseModelError: as it was, it goes on."""
        self._send({"adapters": adapters})
        answer = self._first.get()
        if "ready" not in answer:
            raise BaseModelError(f"the adapters cannot be loaded: {answer['failed']}")
        logger.info("OpenVINO speaks with %d adapters: loaded in %.1f s", len(adapters), answer["ready"]["seconds"])

    def read_ahead(self, ids: Sequence[int], adapter: str) -> None:
        """Let a prompt's beginning be read as soon as nobody wants anything; given up for whoever does."""
        self._send({"ahead": list(ids), "adapter": adapter})

    def stop(self, request: Request) -> None:
        """Forget a reply; it ends where it has not ended."""
        with self._lock:
            self._requests.pop(request.number, None)
        if not request.done:
            self._send({"stop": request.number})

    def end(self) -> None:
        """Let the process end, and make sure that it does."""
        with suppress(OSError):
            cast(Any, self._child.stdin).close()
        try:
            self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for reader in (self._errors, self._answers):
            reader.join(timeout=5)

    def _send(self, order: dict[str, Any]) -> None:
        try:
            with self._lock:
                opened = cast(Any, self._child.stdin)
                opened.write(json.dumps(order) + "\n")
                opened.flush()
        except (OSError, ValueError):
            self._fail_all()

    def _wait_until_ready(self, folder: Path) -> dict[str, Any]:
        answer = self._first.get()
        if "ready" not in answer:
            self.end()
            raise BaseModelError(f"the exported model {folder} cannot be loaded: {answer['failed']}")
        logger.info("OpenVINO has loaded %s in %.1f s", folder, answer["ready"]["seconds"])
        return cast(dict[str, Any], answer["ready"])

    def _read(self) -> None:
        with cast(Any, self._child.stdout) as answers:
            for line in answers:
                answer = json.loads(line)
                if "id" not in answer:
                    self._first.put(answer)
                    continue
                with self._lock:
                    request = self._requests.get(answer["id"])
                if request:
                    request.answers.put(answer)
                    if answer["done"]:
                        request.finished()
        self._silent.set()  # before those are told that wait: who comes later sees it
        self._fail_all()
        self._first.put({"failed": self._last_words()})

    def _fail_all(self) -> None:
        """Nobody waits for a process that has ended."""
        with self._lock:
            requests, self._requests = list(self._requests.values()), {}
        for request in requests:
            request.answers.put({"done": True, "tokens": [], "error": f"the engine ended: {self._last_words()}"})

    def _read_errors(self) -> None:
        with cast(Any, self._child.stderr) as lines:
            for line in lines:
                self._printed = [*self._printed, line.rstrip()][-KEPT_LINES:]
                logger.debug("openvino: %s", line.rstrip())

    def _last_words(self) -> str:
        self._errors.join(timeout=2)
        return self._printed[-1] if self._printed else f"exit status {self._child.poll()}"


def _environment() -> dict[str, str]:
    """Without secrets: the process needs none."""
    return {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "APP_PASSWORD")}
