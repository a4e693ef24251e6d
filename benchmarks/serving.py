"""How fast a character answers on this machine: engines side by side, each in a process of its own.

    python benchmarks/serving.py [--shape 0.5b|3b|tiny] [--sides openvino,torch,transformers] [--quick] [--json]

openvino       ours, exported in 4 bits (8 for small shapes), continuous batching, prompt cache
runtime        the same with a LoRA adapter (r = 16) put on at run time instead of merged in
torch          ours, bfloat16, one reply at a time, prompt cache
transformers   generate() in bfloat16 as it is, one reply at a time

The models have random weights in the shape of Qwen2.5-0.5B or Llama-3.2-3B: speed does not depend on what they say.
"first" is the time to the first token of a prompt of 600 tokens: cold, and in the second turn of the same
conversation (warm). "ceiling" is the decode speed at which the weights are read as fast as memory allows, measured
beside each side. Nothing is asserted about times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as all programs of the project do
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SIDES = ("openvino", "runtime", "torch", "transformers")
PROMPT_TOKENS, TURN_TOKENS, LONGEST_ID = 600, 24, 1000
BANDWIDTH_BYTES = 512 * 2**20
# From their config.json.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "qwen2", "vocab_size": 2048, "hidden_size": 256, "intermediate_size": 768,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    "0.5b": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    },
    "3b": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192,
        "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    },
}  # fmt: skip


@dataclass
class Side:
    """``reply``: yields once for each token of a reply to token ids. ``weights``: bytes read for each token."""

    reply: Callable[[list[int], int], Iterator[list[int]]]
    weights: int
    users: tuple[int, ...] = (1, 4, 16)
    children: Callable[[], list[int]] = field(default=lambda: [])


def main() -> int:
    arguments = build_parser().parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments)))
        return 0
    with tempfile.TemporaryDirectory(prefix="serving-", dir=arguments.work) as folder:
        found = run_sides(arguments, folder)
    print(json.dumps(found, indent=2) if arguments.json else render(found, arguments.shape))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="0.5b")
    parser.add_argument("--sides", default=",".join(SIDES), metavar="A,B", help=f"of {', '.join(SIDES)}")
    parser.add_argument("--quick", action="store_true", help="fewer tokens, one and four users")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", default=None, metavar="DIR", help="for the models (default: the system's)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser


def run_sides(arguments: argparse.Namespace, folder: str) -> dict[str, dict[str, Any]]:
    run_step("base", arguments.shape, folder)
    return {side: run_side(side, arguments, folder) for side in arguments.sides.split(",")}


def run_step(step: str, shape: str, folder: str) -> None:
    """Make the model in a process of its own, so that nothing of it stays in memory."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import benchmarks.serving as it; it.make(*sys.argv[2:])"
    subprocess.run([sys.executable, "-c", program, str(PROJECT), step, shape, folder], check=True)


def run_side(side: str, arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    if side in ("openvino", "runtime"):
        run_step(side, arguments.shape, folder)
    words = ["--side", side, "--shape", arguments.shape, "--folder", folder, *(["--quick"] if arguments.quick else [])]
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{side}: done", file=sys.stderr)
    return found


# models


def make(step: str, shape: str, folder: str) -> None:
    base, adapter = Path(folder) / "base", Path(folder) / "adapter"
    if step == "base":
        make_base(base, adapter, SHAPES[shape])
        return
    from character_chatbot.export.architecture import read_architecture
    from character_chatbot.export.exporting import choose_bits, copy_tokenizer, write_model
    from character_chatbot.export.weights import Weights

    weights = Weights.open(base, adapter if step == "openvino" else None)
    (Path(folder) / step).mkdir()
    started = time.monotonic()
    write_model(Path(folder) / step, base, read_architecture(base), weights, choose_bits(0, weights.count()))
    copy_tokenizer(base, Path(folder) / step)
    print(f"{step}: exported in {time.monotonic() - started:.0f} s", file=sys.stderr)


def make_base(base: Path, adapter: Path, shape: dict[str, Any]) -> None:
    """Random weights in bfloat16 and a random adapter, r = 16 on all linear layers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from character_chatbot.nano import FAMILIES, build_tokenizer
    from character_chatbot.prompts import Turn

    torch.manual_seed(1)
    numbers = dict(shape)
    config = AutoConfig.for_model(numbers.pop("model_type"), **numbers, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(base)
    build_tokenizer(FAMILIES["qwen"], [[Turn("Ada", f"Number {n}.") for n in range(99)]], 400).save_pretrained(base)
    lora = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    lora.save_pretrained(adapter)


# measuring


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    started = time.monotonic()
    side = OPENERS[arguments.side](Path(arguments.folder))
    load_seconds = time.monotonic() - started
    count, draw = (12 if arguments.quick else 32), random.Random(3)  # noqa: S311
    list(side.reply(new_prompt(draw, 8), 2))  # the first call sets up
    cold, warm, decode, ceilings = [], [], [], []
    for _ in range(1 if arguments.quick else 3):
        ceilings.append(measure_bandwidth() / side.weights)
        prompt = new_prompt(draw, PROMPT_TOKENS)
        first, rate, said = time_reply(side, prompt, count)
        cold.append(first)
        decode.append(rate)
        warm.append(time_reply(side, [*prompt, *said, *new_prompt(draw, TURN_TOKENS)], count)[0])
    users = {n: measure_users(side, n, count, draw) for n in side.users if n > 1 and not (arguments.quick and n > 4)}
    return {
        "load_seconds": load_seconds,
        "first_cold_seconds": statistics.median(cold),
        "first_warm_seconds": statistics.median(warm),
        "decode_per_second": statistics.median(decode),
        "ceiling_per_second": statistics.median(ceilings),
        "one_user_per_second": count / (statistics.median(cold) + (count - 1) / statistics.median(decode)),
        "users": users,
        "peak_mb": peak_mb(side),
    }


def new_prompt(draw: random.Random, tokens: int) -> list[int]:
    return [draw.randrange(10, LONGEST_ID) for _ in range(tokens)]


def time_reply(side: Side, prompt: list[int], count: int) -> tuple[float, float, list[int]]:
    """Seconds to the first token, tokens a second behind it, and what was said."""
    started, times, said = time.monotonic(), [], []
    for ids in side.reply(prompt, count):
        times += [time.monotonic()] * len(ids)
        said += ids
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else float("nan")
    return times[0] - started, rate, said


def measure_users(side: Side, users: int, count: int, draw: random.Random) -> dict[str, float]:
    """Second turns of so many conversations at once; their first turns are not timed."""
    prompts = [new_prompt(draw, PROMPT_TOKENS) for _ in range(users)]
    cold_seconds, cold_first = run_together(side, prompts, count)
    warm = [[*prompt, *new_prompt(draw, TURN_TOKENS)] for prompt in prompts]
    seconds, first = run_together(side, warm, count)
    return {
        "cold_per_second": users * count / cold_seconds,
        "cold_worst_first_seconds": cold_first,
        "warm_per_second": users * count / seconds,
        "warm_worst_first_seconds": first,
    }


def run_together(side: Side, prompts: list[list[int]], count: int) -> tuple[float, float]:
    """Seconds until all are done, and until the last one has its first token."""
    firsts: list[float] = []
    started = time.monotonic()
    threads = [
        threading.Thread(target=lambda p=prompt: firsts.append(time_reply(side, p, count)[0])) for prompt in prompts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - started, max(firsts)


def measure_bandwidth() -> float:
    """Bytes a second that all cores read together from memory: the best of five."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    cores = len(os.sched_getaffinity(0))
    parts = np.array_split(np.ones(BANDWIDTH_BYTES // 8, np.float64), cores)
    best = float("inf")
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(np.max, parts))
            best = min(best, time.perf_counter() - started)
    return BANDWIDTH_BYTES / best


def peak_mb(side: Side) -> float:
    """Of this process and of those that serve for it, VmHWM of proc_pid_status(5); weights' file pages included."""
    total = 0
    for number in (os.getpid(), *side.children()):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            total += int(line.split()[1]) if line.startswith("VmHWM:") else 0
    return total / 1024


# sides


def open_openvino(folder: Path, name: str = "openvino") -> Side:
    from character_chatbot.engines.base import Sampling
    from character_chatbot.engines.openvino_engine import EngineOptions, OpenVinoEngine

    adapters = {"one": folder / "adapter"} if name == "runtime" else {}
    engine = OpenVinoEngine(folder / name, EngineOptions(adapters=adapters), "one" if adapters else "")
    engine.load()

    def reply(prompt: list[int], count: int) -> Iterator[list[int]]:
        return engine.generate(prompt, Sampling(count, temperature=0.0, repetition_penalty=1.0))

    weights = (folder / name / "openvino_model.bin").stat().st_size
    return Side(reply, weights, children=lambda: [engine.process_id] if engine.process_id else [])


def open_torch(folder: Path) -> Side:
    from character_chatbot.engines.prompt_cache import PromptCache

    return _torch_side(folder, PromptCache())


def open_transformers(folder: Path) -> Side:
    return _torch_side(folder, None)


def _torch_side(folder: Path, cache: Any) -> Side:
    """generate() with a streamer that takes the time; one reply after the other, as one model allows."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16, use_safetensors=True).eval()
    lock = threading.Lock()

    def reply(prompt: list[int], count: int) -> Iterator[list[int]]:
        tokens = Tokens()
        config = GenerationConfig(max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)

        def work() -> None:
            with lock, torch.inference_mode():
                ids = torch.tensor([prompt])
                more = {"past_key_values": cache.take(prompt)} if cache else {}
                mask = torch.ones_like(ids)
                said = model.generate(
                    input_ids=ids, attention_mask=mask, generation_config=config, streamer=tokens, **more
                )
                if cache:
                    cache.keep(said[0].tolist(), more["past_key_values"])

        thread = threading.Thread(target=work)
        thread.start()
        yield from tokens
        thread.join()

    weights = sum(file.stat().st_size for file in (folder / "base").glob("*.safetensors"))
    return Side(reply, weights, users=(1, 4))


class Tokens:
    """A streamer of transformers: its first call is the prompt."""

    def __init__(self) -> None:
        import queue

        self._queue: queue.SimpleQueue[list[int] | None] = queue.SimpleQueue()
        self._prompt_seen = False

    def put(self, value: Any) -> None:
        if self._prompt_seen:
            self._queue.put(value.reshape(-1).tolist())
        self._prompt_seen = True

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._queue.get, None)  # type: ignore[return-value]


OPENERS: dict[str, Callable[[Path], Side]] = {
    "openvino": open_openvino,
    "runtime": lambda folder: open_openvino(folder, "runtime"),
    "torch": open_torch,
    "transformers": open_transformers,
}


def render(found: dict[str, dict[str, Any]], shape: str) -> str:
    """A table, and what it comes to."""
    lines = [
        f"shape {shape}, prompts of {PROMPT_TOKENS} tokens, {len(os.sched_getaffinity(0))} cores",
        f"{'':<14}{'load s':>8}{'cold s':>8}{'warm s':>8}{'tok/s':>8}{'ceiling':>9}{'of it':>7}"
        f"{'4 users':>9}{'worst s':>9}{'16 users':>10}{'worst s':>9}{'peak MB':>9}",
    ]
    lines += [_row(side, each) for side, each in found.items()]
    return "\n".join([*lines, *_ratios(found)])


def _row(side: str, each: dict[str, Any]) -> str:
    users = {int(number): values for number, values in each["users"].items()}
    decode, ceiling = each["decode_per_second"], each["ceiling_per_second"]
    crowd = "".join(
        f"{users[n]['cold_per_second']:>{w}.1f}{users[n]['cold_worst_first_seconds']:>9.1f}" if n in users
        else f"{'-':>{w}}{'-':>9}"
        for n, w in ((4, 9), (16, 10))
    )  # fmt: skip
    return (
        f"{side:<14}{each['load_seconds']:>8.1f}{each['first_cold_seconds']:>8.2f}{each['first_warm_seconds']:>8.2f}"
        f"{decode:>8.1f}{ceiling:>9.1f}{decode / ceiling:>7.0%}{crowd}{each['peak_mb']:>9.0f}"
    )


def _ratios(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    for side, each in found.items():
        words = [f"warm first token {each['first_warm_seconds'] / each['first_cold_seconds']:.2f} of a cold one"]
        users = {int(number): values for number, values in each["users"].items()}
        if 4 in users:
            cold = users[4]["cold_per_second"] / each["one_user_per_second"]
            warm = users[4]["warm_per_second"] / each["decode_per_second"]
            words.append(f"four users {cold:.1f} times one (fresh prompts), {warm:.1f} times its decode (second turns)")
        if side != "transformers" and "transformers" in found:
            ratio = each["decode_per_second"] / found["transformers"]["decode_per_second"]
            words.append(f"decode {ratio:.1f} times transformers")
        yield f"{side}: {', '.join(words)}"


if __name__ == "__main__":
    raise SystemExit(main())
