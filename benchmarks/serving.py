"""How fast a character answers on this machine: engines side by side, each in a process of its own.

    python benchmarks/serving.py [--shape 0.5b|3b|tiny] [--sides openvino,torch,…] [--quick] [--json]

openvino       ours, exported in 4 bits (8 for small shapes), the adapter merged in
runtime        the same with a LoRA adapter (r = 16) put on at run time
torch          ours, bfloat16, one reply at a time, prompt cache
transformers   generate() in bfloat16 as it is, one reply at a time
llama.cpp      xllamacpp's server, Q4_K_M; where it is installed: pip install xllamacpp gguf, best into an environment
               of its own, which --llama-python names

The models have random weights in the shape of Qwen2.5-0.5B or Llama-3.2-3B. "cold" and "warm" are the seconds to the
first token of a prompt of 600 tokens, and in the second turn of the same conversation; "expected" of a prompt whose
first 400 tokens, the persona, were read when the character was chosen. "ceiling" is the decode speed at which the
weights are read as fast as memory allows, measured beside each side. Peaks of memory are those of loading and of all;
"own" is without pages of files, which the kernel can drop. Nothing is asserted about times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as all programs of the project do
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.serving_models import SHAPES, make  # noqa: E402
from benchmarks.serving_sides import ONE_BY_ONE, SIDES  # noqa: E402

# How users come at once, and how fast one of them alone would get a reply.
WAYS = {
    "strangers": "fresh_reply_per_second",
    "visitors": "fresh_reply_per_second",
    "expected": "expected_reply_per_second",
    "turns": "second_reply_per_second",
}
GIB = 2**30


def main() -> int:
    arguments = build_parser().parse_args()
    if arguments.step:
        return run_step(arguments)
    with _workplace(arguments.models) as folder:
        found = {side: run_side(side, arguments, folder) for side in arguments.sides.split(",")}
    found = {side: each for side, each in found.items() if each}
    print(json.dumps(found, indent=2) if arguments.json else render(found, arguments.shape))
    return 0 if found else 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="0.5b")
    parser.add_argument("--sides", default=",".join(SIDES), metavar="A,B", help=f"of {', '.join(SIDES)}")
    parser.add_argument("--quick", action="store_true", help="one round of few tokens, one and four users")
    parser.add_argument("--users", default="1,4,16", metavar="A,B", help="at once (default: 1,4,16)")
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="of a reply (default: 64)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of which medians are shown (default: 3)")
    parser.add_argument("--limit-gib", type=float, default=0, metavar="GIB", help="serve inside so much memory (Linux)")
    parser.add_argument("--llama-python", default=sys.executable, metavar="FILE", help="a Python that has xllamacpp")
    parser.add_argument("--models", default=None, metavar="DIR", help="keep the models there, and use them again")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", choices=("make", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser


def _workplace(models: str | None) -> Any:
    if models is None:
        return tempfile.TemporaryDirectory(prefix="serving-")
    Path(models).mkdir(parents=True, exist_ok=True)
    return nullcontext(models)


def run_side(side: str, arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Make its model, then measure, each in a process of its own, so that nothing of the first stays in memory."""
    python = arguments.llama_python if side == "llama.cpp" else sys.executable
    if side == "llama.cpp" and _missing(python):
        print(f"{side}: left out, {python} has no {_missing(python)}: pip install xllamacpp gguf", file=sys.stderr)
        return {}
    steps = [side] if side == "llama.cpp" else ["base", *([] if side in ONE_BY_ONE else [side])]
    for step in steps:
        _run(python, arguments, folder, "make", step)
    found: dict[str, Any] = json.loads(_run(python, arguments, folder, "measure", side).splitlines()[-1])
    print(_row(side, found), file=sys.stderr)
    return found


def _missing(python: str) -> str:
    """What the side needs and this Python lacks; empty: nothing."""
    program = "from importlib.util import find_spec as f; print(*(n for n in ('xllamacpp', 'gguf') if not f(n)))"
    return subprocess.run([python, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _run(python: str, arguments: argparse.Namespace, folder: str, step: str, side: str) -> str:
    words = ["--step", step, "--sides", side, "--shape", arguments.shape, "--folder", folder]
    words += ["--users", arguments.users, "--tokens", str(arguments.tokens), "--rounds", str(arguments.rounds)]
    words += ["--limit-gib", str(arguments.limit_gib), *(["--quick"] if arguments.quick else [])]
    return subprocess.run([python, __file__, *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def run_step(arguments: argparse.Namespace) -> int:
    """In the process of its own."""
    if arguments.step == "make":
        make(arguments.sides, arguments.shape, arguments.folder)
    else:
        print(json.dumps(measure_side(arguments)))
    return 0


def measure_side(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.memory_limit import memory_limit
    from benchmarks.memory_watch import MemoryWatch
    from benchmarks.serving_measures import measure
    from benchmarks.serving_sides import open_side

    tokens, rounds = (16, 1) if arguments.quick else (arguments.tokens, arguments.rounds)
    users = [int(each) for each in arguments.users.split(",") if not (arguments.quick and int(each) > 4)]
    if arguments.sides in ONE_BY_ONE:  # they wait for one another: minutes that say nothing new
        users = [each for each in users if each <= 4 and arguments.shape != "3b"]
    limited = memory_limit(int(arguments.limit_gib * GIB)) if arguments.limit_gib else nullcontext()
    with limited as group, MemoryWatch() as watch:
        started = time.monotonic()
        side = open_side(arguments.sides, Path(arguments.folder))
        found = {"load_seconds": time.monotonic() - started, "loaded_mb": watch.resident_bytes / 2**20}
        watch.only_children = side.in_child
        found |= measure(side, tokens, rounds, users)
        return found | {
            "resident_mb": watch.resident_bytes / 2**20,
            "own_mb": watch.own_bytes / 2**20,
            "group_peak_mb": group.peak_bytes() / 2**20 if group else 0,
        }


def render(found: dict[str, dict[str, Any]], shape: str) -> str:
    """Tables, and what they come to."""
    lines = [
        f"shape {shape}, prompts of 600 tokens, {len(os.sched_getaffinity(0))} cores",
        f"{'':<14}{'load s':>8}{'prefill/s':>10}{'cold s':>8}{'warm s':>8}{'expected':>9}{'tok/s':>8}"
        f"{'ceiling':>9}{'of it':>7}{'load MB':>9}{'peak MB':>9}{'own MB':>9}{'estimate':>9}",
        *(_row(side, each) for side, each in found.items()),
        "",
        f"{'at once':<14}{'':>4}" + "".join(f"{way + ' tok/s':>16}{'worst first s':>14}" for way in WAYS),
        *(line for side, each in found.items() for line in _user_rows(side, each)),
        "",
    ]
    return "\n".join([*lines, *_ratios(found)])


def _row(side: str, each: dict[str, Any]) -> str:
    decode, ceiling = each["decode_per_second"], each["ceiling_per_second"]
    megabytes = "".join(f"{each[name]:>9.0f}" for name in ("loaded_mb", "resident_mb", "own_mb"))
    estimate = f"{each['estimate_mb']:.0f}" if each["estimate_mb"] else "-"
    return (
        f"{side:<14}{each['load_seconds']:>8.1f}{each['prefill_per_second']:>10.0f}{each['first_cold_seconds']:>8.2f}"
        f"{each['first_warm_seconds']:>8.2f}{each['first_expected_seconds']:>9.2f}{decode:>8.1f}{ceiling:>9.1f}"
        f"{decode / ceiling:>7.0%}{megabytes}{estimate:>9}"
    )


def _user_rows(side: str, each: dict[str, Any]) -> Iterator[str]:
    for count, ways in each["users"].items():
        figures = "".join(f"{ways[way]['per_second']:>16.1f}{ways[way]['worst_first_seconds']:>14.2f}" for way in WAYS)
        yield f"{side:<14}{count:>4}{figures}"


def _ratios(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    for side, each in found.items():
        cold = each["first_cold_seconds"]
        words = [f"warm first token {each['first_warm_seconds'] / cold:.2f} of a cold one"]
        ways = {int(count): ways for count, ways in each["users"].items()}.get(4)
        if ways:
            words += [
                f"four {way} {ways[way]['per_second'] / each[alone]:.1f} times one, "
                f"worst first token {ways[way]['worst_first_seconds'] / cold:.1f} cold ones"
                for way, alone in WAYS.items()
            ]
            together = ways["turns"]["decode_per_second"] / each["decode_per_second"]
            words.append(f"behind the first token four {together:.1f} times one")
        if side != "transformers" and "transformers" in found:
            ratio = each["decode_per_second"] / found["transformers"]["decode_per_second"]
            words.append(f"decode {ratio:.1f} times transformers")
        if each["group_peak_mb"]:
            words.append(f"control group's peak {each['group_peak_mb']:.0f} MB with file pages")
        yield f"{side}: {'; '.join(words)}"


if __name__ == "__main__":
    raise SystemExit(main())
