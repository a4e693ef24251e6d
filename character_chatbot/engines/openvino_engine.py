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
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from character_chatbot.engines.base import Sampling
from character_chatbot.engines.detokeniser import Detokeniser
from character_chatbot.engines.fair_queue import FairQueue
from character_chatbot.engines.openvino_process import EngineProcess
from character_chatbot.engines.plain_tokenizer import PlainTokenizer
from character_chatbot.export.architecture import read_architecture
from character_chatbot.export.weights import adapter_scale
from character_chatbot.prompts import Message, encode_beginning, encode_prompt, encode_unfinished, end_of_turn

if TYPE_CHECKING:
    from character_chatbot.recall.counting import Reader


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
        return json.dumps(asdict(self) | {"adapters": self.describe_adapters()})

    def describe_adapters(self) -> dict[str, dict[str, Any]]:
        """For the worker. Raises RegistryError: one is no plain LoRA."""
        return {name: _describe_adapter(folder) for name, folder in self.adapters.items()}


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
        self._process: EngineProcess | None = None
        self._owner: OpenVinoEngine | None = None  # whose process it is, if not its own
        self._brought = ""  # the adapter that came with this voice, and goes with it
        self.queue = FairQueue(self._options.replies_at_once)

    def load(self, started: Callable[[int], None] = lambda pid: None) -> dict[str, Any]:
        """Start the process and wait for it; seconds and bytes as it says. Raises BaseModelError.

        ``started``: gets the process' id before the model is loaded.
        """
        return self._started(started).ready

    @property
    def folder(self) -> Path:
        """Of the exported model."""
        return self._folder

    @property
    def takes_adapters(self) -> bool:
        """Whether the model is a base that speaks with adapters put on at run time."""
        return bool((self._owner or self)._options.adapters)

    def with_adapter(self, adapter: str, folder: Path | None = None) -> OpenVinoEngine:
        """The same model and process speaking with another adapter; empty: with none.

        Args:
            adapter: its name among the options' adapters, or a new one.
            folder: of a new one. The process loads its model anew, after the replies at hand; from then on until this
                voice is closed, prompts are not kept (docs/serving.md).

        Raises:
            BaseModelError, RegistryError: the adapter cannot be had; all others speak on.
        """
        voice, owner = copy.copy(self), self._owner or self
        voice._adapter, voice._owner, voice._brought = adapter, owner, ""
        if folder is not None and adapter not in owner._options.adapters:
            owner._change_adapters({**owner._options.adapters, adapter: folder})
            voice._brought = adapter
        return voice

    def _change_adapters(self, adapters: Mapping[str, Path]) -> None:
        with self._loading:
            options = replace(self._options, adapters=dict(adapters))
            if self._process and not self._process.ended:
                self._process.change_adapters(options.describe_adapters())
            self._options = options

    def close(self) -> None:
        """End the process; a later reply starts a new one. A voice gives back the adapter that came with it."""
        if self._owner:
            brought, self._brought = self._brought, ""
            if brought:
                left = {name: folder for name, folder in self._owner._options.adapters.items() if name != brought}
                self._owner._change_adapters(left)
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
        text = Detokeniser(self.tokenizer.decode, encode_unfinished(cast(Any, self.tokenizer), messages))
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
            # Who reads slowly, or not at all, gives the turn to the next one all the same.
            request = process.begin(prompt, sampling, self._ends, self._adapter, ticket.close)
            drawn = 0
            try:
                for ids in request:
                    kept = [each for each in ids if each not in self._ends]
                    drawn += len(kept)
                    if sampling.tally:
                        sampling.tally.count(drawn, sampling.max_new_tokens)
                    if kept:
                        yield kept
            finally:
                process.stop(request)

    def read_ahead(self, messages: Sequence[Message]) -> None:
        """See :class:`character_chatbot.engines.base.ReadsAhead`."""
        process = (self._owner or self)._process
        if process is None or process.ended or self.queue.running or self.queue.waiting:
            return
        ids = encode_beginning(cast(Any, self.tokenizer), messages)
        if len(ids) < self.context_tokens:
            process.read_ahead(ids, self._adapter)

    def reader(self) -> Reader:
        """What reads the prompts: for scene memory and its budget."""
        from character_chatbot.recall.counting import Reader, TokenizerCounter

        return Reader(TokenizerCounter(cast(Any, self.tokenizer)), self.context_tokens, self.parameters, slow=True)

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

    def _started(self, started: Callable[[int], None] = lambda pid: None) -> EngineProcess:
        if self._owner:
            return self._owner._started()
        with self._loading:
            if self._process is not None and self._process.ended:
                self._process.end()
                self._process = None
            if self._process is None:
                self._process = EngineProcess(self._folder, self._options.to_json(), started)
            return self._process
