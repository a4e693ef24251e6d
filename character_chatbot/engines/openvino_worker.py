"""The process in which OpenVINO GenAI runs; :mod:`character_chatbot.engines.openvino_engine` starts and talks to it.

    python -m character_chatbot.engines.openvino_worker FOLDER '{"cache_tokens": 16384, …}'

A process of its own because a step of GenAI holds Python's lock: with a long prompt, a page in the same process would
stand still for seconds. Both ways it is one JSON object a line:

in   {"add": 7, "ids": […], "sampling": {…}, "ends": […], "adapter": ""}     {"stop": 7}
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

if TYPE_CHECKING:
    from openvino_genai import AdapterConfig, ContinuousBatchingPipeline, GenerationConfig, GenerationHandle

MODEL = "openvino_model.xml"
BLOCK_TOKENS = 32  # of OpenVINO's paged cache on a CPU
FIRST_ID = 1  # of requests; lower ones are the worker's own
STEP_TOKENS = 256  # of a prompt in one step: others get their next token in between


class Worker:
    """Steps the pipeline as long as there is something to do; requests come and go between steps.

    Args:
        folder: with an exported model.
        options: ``cache_tokens``, ``replies_at_once``, ``threads`` (0: as OpenVINO thinks), ``adapters`` (name to
            ``file`` of PEFT's safetensors and ``scale``, by which they are multiplied).
    """

    def __init__(self, folder: Path, options: dict[str, Any], answer: Any) -> None:
        self._answer = answer
        self._handles: dict[int, GenerationHandle] = {}
        self._waiting: deque[dict[str, Any]] = deque()
        self._adapters = _load_adapters(options["adapters"])
        self._pipeline = _build_pipeline(folder, options, self._adapters)
        self._active: str | None = None if self._adapters else ""

    def handle(self, order: dict[str, Any]) -> None:
        """Take an order of the other side."""
        if "add" in order:
            self._waiting.append(order)
        elif "stop" in order:
            self._stop(order["stop"])

    @property
    def busy(self) -> bool:
        return bool(self._handles or self._waiting)

    def step(self) -> None:
        """Begin what waits, as far as its adapter allows; one step of all that runs."""
        self._begin()
        if self._handles:
            self._pipeline.step()
            for number in tuple(self._handles):
                self._send(number)

    def _begin(self) -> None:
        """In the order of asking. An adapter speaks for all that runs: another one waits until it is over."""
        while self._waiting and (not self._handles or self._waiting[0]["adapter"] == self._active):
            order = self._waiting.popleft()
            try:
                self._activate(order["adapter"])
                self._handles[order["add"]] = self._add(order)
            except Exception as error:
                self._answer({"id": order["add"], "tokens": [], "done": True, "error": str(error).splitlines()[0]})

    def _add(self, order: dict[str, Any]) -> GenerationHandle:
        import numpy as np
        import openvino

        ids = openvino.Tensor(np.array([order["ids"]], np.int64))
        return self._pipeline.add_request(order["add"], ids, _generation_config(order["sampling"], order["ends"]))

    def _activate(self, adapter: str) -> None:
        """GenAI takes adapters only in generate(); requests that are added later speak with the last ones."""
        if adapter == self._active:
            return
        import numpy as np
        import openvino

        config = _generation_config({"max_new_tokens": 1, "temperature": 0.0}, [0])
        config.adapters = _adapter_config([self._adapters[adapter]] if adapter else [])
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
            self._answer({"id": number, "tokens": tokens, "done": done})
        if done:
            del self._handles[number]

    def _stop(self, number: int) -> None:
        """Silent if it is over already."""
        self._waiting = deque(order for order in self._waiting if order["add"] != number)
        handle = self._handles.pop(number, None)
        if handle is not None:
            handle.cancel()
            self._pipeline.step()  # lets go of its cache

    def measures(self) -> dict[str, Any]:
        """What the pipeline says of itself, ready for JSON."""
        found = self._pipeline.get_metrics()
        return {"cache_bytes": found.cache_size_in_bytes, "cache_share": found.cache_usage / 100}


def _load_adapters(given: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, float]]:
    from openvino_genai import Adapter

    return {name: (Adapter(each["file"]), each["scale"]) for name, each in given.items()}


def _adapter_config(adapters: list[tuple[Any, float]]) -> AdapterConfig:
    """GenAI's "alpha" is the whole factor, PEFT's alpha / r."""
    from openvino_genai import AdapterConfig

    found = AdapterConfig(AdapterConfig.Mode.MODE_DYNAMIC)
    for adapter, scale in adapters:
        found.add(adapter, scale)
    return found


def _build_pipeline(
    folder: Path, options: dict[str, Any], adapters: dict[str, tuple[Any, float]]
) -> ContinuousBatchingPipeline:
    from openvino_genai import ContinuousBatchingPipeline, SchedulerConfig

    scheduler = SchedulerConfig()
    scheduler.cache_size = 0
    scheduler.num_kv_blocks = max(2, -(-options["cache_tokens"] // BLOCK_TOKENS))
    scheduler.max_num_seqs = options["replies_at_once"]
    scheduler.max_num_batched_tokens = STEP_TOKENS
    # The cache knows tokens, not adapters: with several, it would give one version what another has read.
    scheduler.enable_prefix_caching = len(adapters) <= 1
    properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": options["threads"]} if options["threads"] else {}
    if adapters:
        properties["adapters"] = _adapter_config(list(adapters.values()))
    return ContinuousBatchingPipeline(str(folder), scheduler, "CPU", properties)


def _generation_config(sampling: dict[str, Any], ends: list[int]) -> GenerationConfig:
    from openvino_genai import GenerationConfig

    config = GenerationConfig(max_new_tokens=sampling["max_new_tokens"])
    config.stop_token_ids = set(ends)
    config.eos_token_id = ends[0]  # else GenAI takes the one of config.json, and refuses a base that has none there
    config.repetition_penalty = sampling.get("repetition_penalty", 1.0)
    if sampling["temperature"] > 0:
        config.do_sample = True
        config.temperature, config.top_p = sampling["temperature"], sampling["top_p"]
        config.rng_seed = sampling["seed"]
    return config


def run(folder: Path, options: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    """Load, then serve until the other side closes its end."""

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    started = time.monotonic()
    try:
        worker = Worker(folder, options, answer)
    except Exception as error:
        answer({"failed": str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__})
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
