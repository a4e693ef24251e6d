"""The torch engine: a base model, with an adapter or without, through transformers and PEFT."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from character_chatbot.bases import Base, fetch_base, load_model, load_tokenizer
from character_chatbot.engines.base import Sampling
from character_chatbot.engines.detokeniser import CONTEXT_TOKENS
from character_chatbot.engines.fair_queue import FairQueue
from character_chatbot.engines.prompt_cache import PromptCache
from character_chatbot.load_progress import READING, LoadProgress, counted_weights
from character_chatbot.machine.devices import Device
from character_chatbot.prompts import Message, encode_beginning, encode_prompt, encode_unfinished, end_of_turn
from utils.errors import RegistryError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextIteratorStreamer

AHEAD_TOKENS = 32  # read at a time before anybody asks: whoever asks waits for no more


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

    def load(self, progress: LoadProgress | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Model and tokenizer. Raises BaseModelError, RegistryError."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load(progress or LoadProgress())
            return self._loaded

    def _load(self, progress: LoadProgress) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        tokenizer = load_tokenizer(self._base, self._token)
        fetch_base(self._base, self._token, progress)
        progress.begin(READING, f"the weights of {self._base.name}")
        with counted_weights(progress):
            model = load_model(self._base, self._device, self._token)
        return self._with_adapter(model), tokenizer

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
            streamer = _open_streamer(tokenizer, encode_unfinished(tokenizer, messages)[-CONTEXT_TOKENS:])
            yield from _stream(model, streamer, encode_prompt(tokenizer, messages), sampling, self._prompts)

    def read_ahead(self, messages: Sequence[Message]) -> None:
        """See :class:`character_chatbot.engines.base.ReadsAhead`. A GPU is fast enough without."""
        if self._device.kind == "cpu" and self._loaded and not self.queue.running and not self.queue.waiting:
            threading.Thread(target=self._read_ahead, args=(list(messages),), name="read ahead", daemon=True).start()

    def _read_ahead(self, messages: list[Message]) -> None:
        with self.queue.join(counts=False) as ticket:
            model, tokenizer = self.load()
            ids = encode_beginning(tokenizer, messages)
            if not ticket.wait() or len(ids) - self._prompts.count_known(ids) < AHEAD_TOKENS:
                return
            past = self._prompts.take(ids)
            _read_on(model, ids, past, lambda: not self.queue.waiting)
            self._prompts.keep(ids, past)


def _read_on(model: PreTrainedModel, ids: list[int], past: Any, wanted: Callable[[], bool]) -> None:
    """Let ``past`` go on to the end of ``ids``, piece by piece as long as it is wanted."""
    import torch

    with torch.inference_mode():
        for start in range(past.get_seq_length(), len(ids), AHEAD_TOKENS):
            if not wanted():
                return
            piece = torch.tensor([ids[start : start + AHEAD_TOKENS]], device=model.device)
            cast(Any, model)(input_ids=piece, past_key_values=past, use_cache=True, logits_to_keep=1)


def _open_streamer(tokenizer: PreTrainedTokenizerBase, behind: list[int]) -> TextIteratorStreamer:
    """It writes what comes ``behind`` these tokens: how one is written may depend on the one before it."""
    from transformers import TextIteratorStreamer

    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    streamer.token_cache = behind
    streamer.print_len = len(tokenizer.decode(behind, skip_special_tokens=True)) if behind else 0
    return streamer


def _stream(
    model: PreTrainedModel,
    streamer: TextIteratorStreamer,
    prompt: list[int],
    sampling: Sampling,
    prompts: PromptCache,
) -> Iterator[str]:
    from transformers import StoppingCriteriaList

    stop = threading.Event()
    failures: list[BaseException] = []
    arguments = _generation_arguments(model, cast(Any, streamer.tokenizer), prompt, sampling) | {
        "streamer": streamer,
        "stopping_criteria": StoppingCriteriaList([lambda ids, scores, **_: _stopped(ids, stop)]),
    }
    if sampling.tally:
        arguments["stopping_criteria"].append(_counter(arguments, sampling))
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


def _counter(arguments: dict[str, Any], sampling: Sampling) -> Callable[..., Any]:
    """Counts the tokens that follow the prompt, and ends nothing."""
    import torch

    read, ends = arguments["input_ids"].shape[1], set(arguments["generation_config"].eos_token_id)
    never = torch.zeros(1, dtype=torch.bool, device=arguments["input_ids"].device)

    def count(ids: Any, scores: Any, **_: Any) -> Any:
        drawn = ids.shape[1] - read - (ids[0, -1].item() in ends)
        cast(Any, sampling.tally).count(drawn, sampling.max_new_tokens)
        return never

    return count


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
