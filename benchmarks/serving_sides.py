"""The engines that benchmarks/serving.py compares, each opened so that it gives a token's number for each token.

openvino       ours, exported in 4 bits (8 for small shapes), the adapter merged in
runtime        the same with the adapter put on at run time
torch          ours, bfloat16, one reply at a time, prompt cache
transformers   generate() in bfloat16 as it is, one reply at a time
llama.cpp      xllamacpp's server in this process, Q4_K_M, continuous batching, prompt cache
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.serving_models import GGUF

SIDES = ("openvino", "runtime", "torch", "transformers", "llama.cpp")
ONE_BY_ONE = ("torch", "transformers")
CACHE_TOKENS = 16_384  # of all conversations together, as chat.cache_tokens has it by default
REPLIES_AT_ONCE = 16


@dataclass
class Side:
    """``reply``: token ids, as they come, of a reply of so many tokens to token ids. ``weights``: bytes read for each.

    ``estimate``: bytes that the process is thought to take, 0 where nobody has thought. ``in_child``: a process of its
    own serves, and this one only asks it.
    """

    reply: Callable[[list[int], int], Iterator[list[int]]]
    weights: int
    estimate: int = 0
    in_child: bool = False


def open_side(name: str, folder: Path) -> Side:
    """Loaded. ``folder``: with what serving_models.make() made for it."""
    return _OPENERS[name](folder)


def _open_openvino(folder: Path, name: str = "openvino") -> Side:
    from character_chatbot.engines.base import Sampling
    from character_chatbot.engines.openvino_engine import EngineOptions, OpenVinoEngine
    from character_chatbot.export.architecture import read_architecture
    from character_chatbot.export.footprint import cache_token_bytes
    from utils.exports import Footprint

    adapters = {"one": folder / "adapter"} if name == "runtime" else {}
    options = EngineOptions(CACHE_TOKENS, REPLIES_AT_ONCE, adapters=adapters)
    engine = OpenVinoEngine(folder / name, options, "one" if adapters else "")
    engine.load()

    def reply(prompt: list[int], count: int) -> Iterator[list[int]]:
        return engine.generate(prompt, Sampling(count, temperature=0.0, repetition_penalty=1.0))

    weights = (folder / name / "openvino_model.bin").stat().st_size
    size = Footprint(weights, cache_token_bytes(read_architecture(folder / name)))
    estimate = (size.with_adapter() if adapters else size).serving_bytes(CACHE_TOKENS)
    return Side(reply, weights, estimate, in_child=True)


def _open_llama(folder: Path) -> Side:
    """Threads, batches and cache as its server has them by default, but for 16 conversations at once."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(folder / GGUF)
    parameters.n_ctx, parameters.n_parallel, parameters.kv_unified = CACHE_TOKENS, REPLIES_AT_ONCE, True
    parameters.cpuparams.n_threads = len(os.sched_getaffinity(0))
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)

    def reply(prompt: list[int], count: int) -> Iterator[list[int]]:
        order = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True, "stream": True}
        return _in_a_thread(lambda put: server.handle_completions(order, lambda answer: put(_read_llama(answer))))

    return Side(reply, (folder / GGUF).stat().st_size)


def _read_llama(answer: dict[str, Any]) -> list[int]:
    """The text says the number, see random_gguf.py."""
    text = answer["choices"][0]["text"] if "choices" in answer else ""
    return [int(each) for each in text.split("t")[1:]]


def _open_torch(folder: Path) -> Side:
    """The model, adapter and prompt cache of the torch engine, in bfloat16."""
    from character_chatbot.bases import PATH, Base, load_config
    from character_chatbot.engines.peft_engine import PeftEngine
    from character_chatbot.engines.torch_memory import estimate_torch
    from character_chatbot.machine.devices import Device

    base, device, adapter = Base(PATH, "base", str(folder / "base")), Device("cpu", "bfloat16", ""), folder / "adapter"
    engine = PeftEngine(base, device, adapter, cache_tokens=CACHE_TOKENS)
    estimate = estimate_torch(load_config(base), device, adapter)
    side = _torch_side(folder, engine.load()[0], engine._prompts)
    return replace(side, estimate=estimate.serving_bytes(CACHE_TOKENS) if estimate else 0)


def _open_transformers(folder: Path) -> Side:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16, use_safetensors=True)
    return _torch_side(folder, model.eval(), None)


def _torch_side(folder: Path, model: Any, cache: Any) -> Side:
    """generate() with a streamer that takes the time; one reply after the other, as one model allows."""
    import torch
    from transformers import GenerationConfig

    lock = threading.Lock()

    def generate(prompt: list[int], count: int, put: Callable[[list[int]], None]) -> None:
        config = GenerationConfig(max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)
        with lock, torch.inference_mode():
            ids = torch.tensor([prompt])
            more: dict[str, Any] = {"past_key_values": cache.take(prompt)} if cache else {}
            mask = torch.ones_like(ids)
            said = model.generate(
                input_ids=ids, attention_mask=mask, generation_config=config, streamer=_Streamer(put), **more
            )
            if cache:
                cache.keep(said[0].tolist(), more["past_key_values"])

    def reply(prompt: list[int], count: int) -> Iterator[list[int]]:
        return _in_a_thread(lambda put: generate(prompt, count, put))

    weights = sum(file.stat().st_size for file in (folder / "base").glob("*.safetensors"))
    return Side(reply, weights)


class _Streamer:
    """For transformers: its first call is the prompt."""

    def __init__(self, put: Callable[[list[int]], None]) -> None:
        self._put, self._prompt_seen = put, False

    def put(self, value: Any) -> None:
        if self._prompt_seen:
            self._put(value.reshape(-1).tolist())
        self._prompt_seen = True

    def end(self) -> None:
        pass


def _in_a_thread(work: Callable[[Callable[[list[int]], None]], Any]) -> Iterator[list[int]]:
    """What ``work`` puts, as it comes."""
    answers: queue.SimpleQueue[list[int] | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(answers.put)
        finally:
            answers.put(None)

    thread = threading.Thread(target=run)
    thread.start()
    yield from (ids for ids in iter(answers.get, None) if ids)
    thread.join()


_OPENERS: dict[str, Callable[[Path], Side]] = {
    "openvino": _open_openvino,
    "runtime": lambda folder: _open_openvino(folder, "runtime"),
    "torch": _open_torch,
    "transformers": _open_transformers,
    "llama.cpp": _open_llama,
}
