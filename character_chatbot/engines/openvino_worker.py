"""The process in which OpenVINO GenAI runs; :mod:`character_chatbot.engines.openvino_engine` starts and talks to it.

    python -m character_chatbot.engines.openvino_worker FOLDER '{"cache_tokens": 16384, …}'

A process of its own because a step of GenAI holds Python's lock: with a long prompt, a page in the same process would
stand still for seconds. Both ways it is one JSON object a line:

in   {"add": 7, "ids": […], "sampling": {…}, "ends": […], "adapter": ""}     {"stop": 7}
     {"ahead": […], "adapter": ""}
     {"adapters": {"name": {"file": "…", "scale": 2.0}}}
out  {"ready": {"seconds": 1.9, "cache_bytes": …}}     {"failed": "…"}       {"id": 7, "tokens": […], "done": false}
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from character_chatbot.engines.openvino_pipeline import (
    BLOCK_TOKENS,
    adapter_config,
    build_pipeline,
    generation_config,
    load_adapters,
)
from character_chatbot.prompts import common_prefix

if TYPE_CHECKING:
    from openvino_genai import GenerationHandle

AHEAD_ID = 0  # of what is read before anybody asks; those of requests are higher
SHARED_TOKENS = 2 * BLOCK_TOKENS  # a prompt that begins like one being read waits for that, and reads only the rest
REMEMBERED_PROMPTS = 64  # of which the cache may have something; it forgets by itself


class Worker:
    """Steps the pipeline as long as there is something to do; requests come and go between steps.

    Args:
        folder: with an exported model.
        options: ``cache_tokens``, ``replies_at_once``, ``threads`` (0: as OpenVINO thinks), ``adapters`` (name to
            ``file`` of PEFT's safetensors and ``scale``, by which they are multiplied).
    """

    def __init__(self, folder: Path, options: dict[str, Any], answer: Any) -> None:
        self._answer, self._folder, self._options = answer, folder, options
        self._change: dict[str, Any] | None = None  # adapters to be loaded once nobody speaks
        self._handles: dict[int, GenerationHandle] = {}
        self._waiting: deque[dict[str, Any]] = deque()
        self._ahead: dict[str, Any] | None = None  # what to read while nobody asks for anything
        self._reading: dict[int, list[int]] = {}  # prompts without a first token
        self._read: deque[list[int]] = deque(maxlen=REMEMBERED_PROMPTS)
        self._load(options["adapters"])

    def _load(self, adapters: dict[str, dict[str, Any]]) -> None:
        """The pipeline with these adapters: it takes none later, and a second one ends its prompt cache."""
        self._adapters = load_adapters(adapters)
        self._read.clear()
        self._pipeline: Any = None  # the model is never there twice
        self._pipeline = build_pipeline(self._folder, self._options, self._adapters)
        self._active: str | None = None
        self._caches = len(self._adapters) <= 1
        # OpenVINO packs the weights at the first step, not before: 38 s with 3 billion numbers on two busy cores. Who
        # has been told that all is loaded is not to wait for that.
        self._activate(next(iter(self._adapters), ""))

    def handle(self, order: dict[str, Any]) -> None:
        """Take an order of the other side."""
        if "add" in order:
            self._waiting.append(order)
        elif "stop" in order:
            self._stop(order["stop"])
        elif "ahead" in order:
            self._ahead = order
        elif "adapters" in order:
            self._change = order["adapters"]

    @property
    def busy(self) -> bool:
        return bool(self._handles or self._waiting or self._ahead or self._change is not None)

    def step(self) -> None:
        """Begin what waits, as far as its adapter allows; one step of all that runs."""
        if self._change is None:
            self._begin()
            self._read_ahead()
        elif not self._handles:
            self._take_change()
        if self._handles:
            self._pipeline.step()
            for number in tuple(self._handles):
                self._send(number)

    def _begin(self) -> None:
        """In the order of asking. An adapter speaks for all that runs: another one waits until it is over."""
        if self._waiting and not any(self._is_being_read(order["ids"]) for order in self._waiting):
            self._stop(AHEAD_ID)  # nobody waits for what another one may want
        held: deque[dict[str, Any]] = deque()
        while self._waiting and (not self._handles or self._waiting[0]["adapter"] == self._active):
            order = self._waiting.popleft()
            if self._is_being_read(order["ids"]):
                held.append(order)
                continue
            try:
                self._start(order["add"], order["ids"], order)
            except Exception as error:
                self._answer({"id": order["add"], "tokens": [], "done": True, "error": str(error).splitlines()[0]})
        self._waiting.extendleft(reversed(held))

    def _read_ahead(self) -> None:
        """Where nobody wants anything, the beginning of a prompt that is expected; a failure is nobody's loss."""
        order, self._ahead = self._ahead, None
        if order is None or self._handles or self._waiting or not self._caches:
            return
        if len(order["ahead"]) - self._count_read(order["ahead"]) < BLOCK_TOKENS:
            return
        one_token = {"max_new_tokens": 1, "temperature": 0.0}
        with suppress(Exception):
            self._start(AHEAD_ID, order["ahead"], order | {"sampling": one_token, "ends": [0]})

    def _start(self, number: int, ids: list[int], order: dict[str, Any]) -> None:
        self._activate(order["adapter"])
        self._handles[number] = self._add(number, ids, order)
        self._reading[number] = ids

    def _add(self, number: int, ids: list[int], order: dict[str, Any]) -> GenerationHandle:
        import numpy as np
        import openvino

        prompt = openvino.Tensor(np.array([ids], np.int64))
        return self._pipeline.add_request(number, prompt, generation_config(order["sampling"], order["ends"]))

    def _count_read(self, ids: list[int]) -> int:
        """Of how many of its first tokens the cache probably has the keys and values."""
        return max((common_prefix(ids, other) for other in self._read), default=0)

    def _take_change(self) -> None:
        """Load the model anew with other adapters, or as it was where they cannot be had."""
        wanted, self._change = self._change or {}, None
        started = time.monotonic()
        try:
            self._load(wanted)
        except Exception as error:
            self._load(self._options["adapters"])
            self._answer({"failed": describe(error)})
            return
        self._options = self._options | {"adapters": wanted}
        self._answer({"ready": {"seconds": round(time.monotonic() - started, 2)} | self.measures()})

    def _is_being_read(self, ids: list[int]) -> bool:
        """Whether another prompt, halfway through, begins like this one, and the cache will have that from it alone.

        Visitors who come at once to the same character share its persona: one of them reads it for all.
        """
        if not self._caches:
            return False
        shared = max((common_prefix(ids, other) for other in self._reading.values()), default=0)
        if shared < SHARED_TOKENS:
            return False
        return shared - self._count_read(ids) >= SHARED_TOKENS

    def _activate(self, adapter: str) -> None:
        """GenAI takes adapters only in generate(); requests that are added later speak with the last ones."""
        if adapter == self._active:
            return
        import numpy as np
        import openvino

        config = generation_config({"max_new_tokens": 1, "temperature": 0.0}, [0])
        if self._adapters:
            config.adapters = adapter_config([self._adapters[adapter]] if adapter else [])
        self._pipeline.generate([openvino.Tensor(np.array([[0]], np.int64))], [config])
        self._active = adapter

    def _send(self, number: int) -> None:
        from openvino_genai import GenerationStatus

        handle = self._handles[number]
        done = handle.get_status() != GenerationStatus.RUNNING
        tokens: list[int] = []
        while handle.can_read():
            for output in handle.read().values():
                tokens += output.generated_ids
        if tokens or done:
            self._told(number, tokens, done)

    def _told(self, number: int, tokens: list[int], done: bool) -> None:
        if number != AHEAD_ID:
            self._answer({"id": number, "tokens": tokens, "done": done})
        if number in self._reading:
            self._read.append(self._reading.pop(number))
        if done:
            del self._handles[number]

    def _stop(self, number: int) -> None:
        """Silent if it is over already."""
        self._waiting = deque(order for order in self._waiting if order["add"] != number)
        handle = self._handles.pop(number, None)
        self._reading.pop(number, None)
        if handle is not None:
            handle.cancel()
            self._pipeline.step()  # lets go of its cache

    def measures(self) -> dict[str, Any]:
        """What the pipeline says of itself, ready for JSON."""
        found = self._pipeline.get_metrics()
        return {"cache_bytes": found.cache_size_in_bytes, "cache_share": found.cache_usage / 100}


def describe(error: Exception) -> str:
    """GenAI says first where in its sources it failed, and last why."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


def run(folder: Path, options: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    """Load, then serve until the other side closes its end."""

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    started = time.monotonic()
    try:
        worker = Worker(folder, options, answer)
    except Exception as error:
        answer({"failed": describe(error)})
        return
    answer({"ready": {"seconds": round(time.monotonic() - started, 2)} | worker.measures()})
    _serve(worker, orders)


def _serve(worker: Worker, orders: IO[str]) -> None:
    waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(orders, waiting), daemon=True).start()
    while True:
        while not worker.busy or not waiting.empty():
            order = waiting.get()
            if order is None:
                return
            worker.handle(order)
        worker.step()


def _read(orders: IO[str], waiting: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for line in orders:
        waiting.put(json.loads(line))
    waiting.put(None)  # nobody is there any more


def main() -> int:
    # What the libraries print goes to the log, not between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with suppress(BrokenPipeError, KeyboardInterrupt):
        run(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.stdin, answers)
    os._exit(0)  # nothing here is worth waiting for


if __name__ == "__main__":
    main()
