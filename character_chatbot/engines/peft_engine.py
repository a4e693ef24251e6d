"""The torch engine: a base model, with an adapter or without, through transformers and PEFT."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from character_chatbot.bases import Base, load_model, load_tokenizer
from character_chatbot.engines.base import Sampling
from character_chatbot.engines.fair_queue import FairQueue
from character_chatbot.engines.prompt_cache import PromptCache
from character_chatbot.machine.devices import Device
from character_chatbot.prompts import Message, encode_prompt, end_of_turn
from utils.errors import RegistryError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class PeftEngine:
    """Loads on first use, once; replies one at a time, since a model is not safe under two generations.

    ``cache_tokens``: so many tokens of conversations are kept read.
    """

    def __init__(
        self, base: Base, device: Device, adapter: Path | None = None, token: str = "", cache_tokens: int = 16_384
    ) -> None:
        self._base, self._device, self._adapter, self._token = base, device, adapter, token
        self._loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None
        self._loading = threading.Lock()
        self._cache_tokens = cache_tokens
        self._prompts = PromptCache(tokens=cache_tokens)
        self.queue = FairQueue(slots=1)

    def load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Model and tokenizer. Raises BaseModelError, RegistryError."""
        with self._loading:
            if self._loaded is None:
                tokenizer = load_tokenizer(self._base, self._token)
                model = load_model(self._base, self._device, self._token)
                self._loaded = (self._with_adapter(model), tokenizer)
            return self._loaded

    def close(self) -> None:
        """Let go of the model; a reply at hand keeps it to its end, a later one loads it again."""
        with self._loading:
            self._loaded = None
            self._prompts = PromptCache(tokens=self._cache_tokens)

    def _with_adapter(self, model: PreTrainedModel) -> Any:
        if self._adapter is None:
            return model
        from peft import PeftModel

        try:
            return PeftModel.from_pretrained(model, str(self._adapter), use_safetensors=True).eval()
        except (RuntimeError, ValueError, OSError, TypeError) as error:
            raise RegistryError(
                f"the adapter {self._adapter} does not fit its base {self._base.name}: {str(error).splitlines()[0]}"
            ) from error

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """Pieces as they are generated; closing the iterator stops the model after the token at hand."""
        with self.queue.join() as ticket:
            model, tokenizer = self.load()
            if not ticket.wait():  # stopped while it waited
                return
            yield from _stream(model, tokenizer, encode_prompt(tokenizer, messages), sampling, self._prompts)


def _stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    sampling: Sampling,
    prompts: PromptCache,
) -> Iterator[str]:
    from transformers import StoppingCriteriaList, TextIteratorStreamer

    stop = threading.Event()
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    failures: list[BaseException] = []
    arguments = _generation_arguments(model, tokenizer, prompt, sampling) | {
        "streamer": streamer,
        "stopping_criteria": StoppingCriteriaList([lambda ids, scores, **_: _stopped(ids, stop)]),
    }
    given = (model, arguments, sampling.seed, prompts, failures)
    worker = threading.Thread(target=_generate, args=given, daemon=True)
    worker.start()
    try:
        yield from (piece for piece in streamer if piece)
    finally:
        stop.set()
        worker.join()
    if failures:
        raise failures[0]


def _stopped(ids: Any, stop: threading.Event) -> Any:
    import torch

    return torch.full((ids.shape[0],), stop.is_set(), device=ids.device, dtype=torch.bool)


def _generate(
    model: PreTrainedModel,
    arguments: dict[str, Any],
    seed: int | None,
    prompts: PromptCache,
    failures: list[BaseException],
) -> None:
    import torch

    try:
        if seed is not None:
            torch.manual_seed(seed)
        with torch.inference_mode():
            past = prompts.take(arguments["input_ids"][0].tolist())
            said = cast(Any, model).generate(**arguments, past_key_values=past)
            prompts.keep(said[0].tolist(), past)
    except BaseException as error:  # handed over to the thread that reads
        failures.append(error)
        arguments["streamer"].end()


def _generation_arguments(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: list[int], sampling: Sampling
) -> dict[str, Any]:
    import torch
    from transformers import GenerationConfig

    limit = getattr(model.config, "max_position_embeddings", None) or len(prompt) + sampling.max_new_tokens
    ids = torch.tensor([prompt[-max(1, limit - sampling.max_new_tokens) :]], device=model.device)
    drawing = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        repetition_penalty=sampling.repetition_penalty,
        eos_token_id=sorted({end_of_turn(tokenizer), tokenizer.eos_token_id}),
        pad_token_id=tokenizer.pad_token_id,
        **(drawing if sampling.temperature > 0 else {"do_sample": False}),
    )
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "generation_config": config}
