"""The CPU engine: an exported model in 4 or 8 bits through OpenVINO GenAI, without torch.

engine = OpenVinoEngine(folder)
engine.load()
for piece in engine.reply(messages, Sampling()): …

Replies of several people go on at once in one batch; a prompt that begins like an earlier one is not read again.
Closing the iterator ends the reply behind it. The model lives in a process of its own (see ``openvino_worker``),
which ends with this one.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import queue
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from character_chatbot.engines.base import Sampling
from character_chatbot.engines.detokeniser import Detokeniser
from character_chatbot.engines.fair_queue import FairQueue
from character_chatbot.engines.plain_tokenizer import PlainTokenizer
from character_chatbot.export.architecture import read_architecture
from character_chatbot.export.weights import adapter_scale
from character_chatbot.prompts import Message, encode_prompt, end_of_turn
from config import PROJECT_FOLDER
from utils.errors import BaseModelError

if TYPE_CHECKING:
    from character_chatbot.recall.counting import Reader

logger = logging.getLogger(__name__)

WORKER = "character_chatbot.engines.openvino_worker"
HIGHEST_SEED = 2**32 - 1
KEPT_LINES = 20  # of what the process prints, for when it dies


@dataclass(frozen=True)
class EngineOptions:
    """``cache_tokens``: of all conversations together. ``replies_at_once``: further ones wait in a queue.

    ``threads`` 0: as many as OpenVINO thinks right. ``adapters``: PEFT's folders by name, for use at run time.
    """

    cache_tokens: int = 16_384
    replies_at_once: int = 16
    threads: int = 0
    adapters: Mapping[str, Path] = field(default_factory=dict)

    def to_json(self) -> str:
        """For the worker. Raises RegistryError: an adapter is no plain LoRA."""
        adapters = {name: _describe_adapter(folder) for name, folder in self.adapters.items()}
        return json.dumps(asdict(self) | {"adapters": adapters})


def _describe_adapter(folder: Path) -> dict[str, Any]:
    """Its weights do not say by what they are multiplied; that is in the file beside them."""
    file = folder.resolve() / "adapter_model.safetensors"
    return {"file": str(file), "scale": adapter_scale(folder)}


class OpenVinoEngine:
    """Loads on first use, once; again if its process has died.

    Args:
        folder: an exported model with its tokenizer.
        options: of the engine.
        adapter: which of the options' adapters speaks; empty: the model as it is.
        parameters: of the base; 0: not known.
    """

    def __init__(
        self, folder: Path, options: EngineOptions | None = None, adapter: str = "", parameters: int = 0
    ) -> None:
        self._folder, self._options, self._adapter = folder, options or EngineOptions(), adapter
        self.parameters = parameters
        self._loading = threading.Lock()
        self._process: _Process | None = None
        self._owner: OpenVinoEngine | None = None  # whose process it is, if not its own
        self.queue = FairQueue(self._options.replies_at_once)

    def load(self) -> dict[str, Any]:
        """Start the process and wait for it; seconds and bytes as it says. Raises BaseModelError."""
        return self._started().ready

    def with_adapter(self, adapter: str) -> OpenVinoEngine:
        """The same model and process speaking with another of the options' adapters; empty: with none."""
        voice = copy.copy(self)
        voice._adapter, voice._owner = adapter, self._owner or self
        return voice

    def close(self) -> None:
        """End the process; a later reply starts a new one."""
        if self._owner:
            self._owner.close()
            return
        with self._loading:
            if self._process:
                self._process.end()
                self._process = None

    @cached_property
    def tokenizer(self) -> PlainTokenizer:
        return PlainTokenizer(self._folder)

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """Pieces as they are generated. Raises BaseModelError: the model cannot be loaded, or its process died."""
        text = Detokeniser(self.tokenizer.decode)
        for ids in self.generate(self._fit(messages, sampling), sampling):
            piece = text.add(ids)
            if piece:
                yield piece

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> Iterator[list[int]]:
        """Token ids of a reply to token ids, without those that end it."""
        with self.queue.join() as ticket:
            if not ticket.wait():  # stopped while it waited
                return
            process = self._started()
            request = process.begin(prompt, sampling, self._ends, self._adapter)
            try:
                for ids in request:
                    kept = [each for each in ids if each not in self._ends]
                    if kept:
                        yield kept
            finally:
                process.stop(request)

    def reader(self) -> Reader:
        """What reads the prompts: for scene memory and its budget."""
        from character_chatbot.recall.counting import Reader, TokenizerCounter

        return Reader(TokenizerCounter(cast(Any, self.tokenizer)), self.context_tokens, self.parameters)

    @property
    def process_id(self) -> int | None:
        """Of the process with the model; None while there is none."""
        process = (self._owner or self)._process
        return process.id if process else None

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """The tokens that end a reply."""
        ends = {end_of_turn(cast(Any, self.tokenizer)), self.tokenizer.eos_token_id}
        return tuple(sorted(each for each in ends if each is not None))

    def _fit(self, messages: Sequence[Message], sampling: Sampling) -> list[int]:
        """The prompt's token ids; the oldest are left out where prompt and reply are longer than can be read."""
        ids = encode_prompt(cast(Any, self.tokenizer), messages)
        limit = self.context_tokens
        return ids[-max(1, limit - sampling.max_new_tokens) :]

    @cached_property
    def context_tokens(self) -> int:
        """The longest prompt and reply together."""
        return min(read_architecture(self._folder).context, self._options.cache_tokens)

    def _started(self) -> _Process:
        if self._owner:
            return self._owner._started()
        with self._loading:
            if self._process is not None and self._process.ended:
                self._process.end()
                self._process = None
            if self._process is None:
                self._process = _Process(self._folder, self._options)
            return self._process


class _Request:
    """One reply on its way; iterating gives token ids as they come."""

    def __init__(self, number: int) -> None:
        self.number, self.done = number, False
        self.answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[list[int]]:
        while not self.done:
            answer = self.answers.get()
            self.done = answer["done"]
            if answer.get("error"):
                raise BaseModelError(f"the reply failed: {answer['error']}")
            yield answer["tokens"]


class _Process:
    """The process with the model, and the threads that read what it says."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        self._requests: dict[int, _Request] = {}
        self._lock, self._numbers = threading.Lock(), 0
        self._printed: list[str] = []
        self._silent = threading.Event()  # nothing more comes: it ends, though the system may not know it as ended yet
        self._child = subprocess.Popen(
            [sys.executable, "-m", WORKER, str(folder.resolve()), options.to_json()],
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
        self.ready = self._wait_until_ready(folder)

    @property
    def id(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        return self._silent.is_set() or self._child.poll() is not None

    def begin(self, prompt: Sequence[int], sampling: Sampling, ends: Sequence[int], adapter: str) -> _Request:
        seed = random.randint(0, HIGHEST_SEED) if sampling.seed is None else sampling.seed  # noqa: S311
        drawn = asdict(sampling) | {"seed": seed & HIGHEST_SEED}
        with self._lock:
            self._numbers += 1
            request = self._requests[self._numbers] = _Request(self._numbers)
        order = {"add": request.number, "ids": list(prompt), "sampling": drawn, "ends": list(ends), "adapter": adapter}
        self._send(order)
        if self.ended:  # it may have died before it could answer for this one
            self._fail_all()
        return request

    def stop(self, request: _Request) -> None:
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
