"""How fast a character is learnt: the same replies five ways, the same number a step, each in a process of its own.

    python benchmarks/training.py [--base DIR] [--data DIR] [--rounds N] [--quick] [--dtype float32] [--quality]

original   padded to 256 tokens, one sequence at a time, loss on all, checkpointing, float32, dropout 0.05
trl        TRL's defaults: 8 sequences padded to the longest, checkpointing, float32, dropout 0.05
packing    TRL's packing, best fit decreasing, rows of 1,024 tokens
pairs      ours, a sequence for each reply, the persona once a row, logits only in replies
scenes     ours, whole scenes, every reply in them learnt

The sides take turns, round after round, and what is told is the median of the rounds: what else the machine does falls
on all of them. "Reply tokens" are those of the character's turns and their ends; "tokens" are without padding.
"of peak" is the model FLOPs utilisation: FLOPs that the side's tokens need (character_chatbot/machine/flops.py) by
second, and that by the FLOP/s of matrix products in the side's number format, measured in the same process. The limit
is what the same replies would take if the machine worked at its best peak on the fewest FLOPs that a side needs:

    limit = reply tokens × peak / FLOPs

The default base has the shape of SmolLM2-135M and random weights: speed does not depend on what they say. Nothing is
asserted about times. --quality (training_quality.py) adds what each side has learnt, on a base that can learn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as all programs of the project do
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from training_sides import (  # noqa: E402
    ALWAYS_FLOAT32,
    REPLIES_PER_STEP,
    SIDES,
    Clock,
    Counts,
    Side,
    build_trainer,
    choose_training,
    load_base,
    load_dialogues,
)

STEPS, STEPS_QUICK = 5, 3  # of a round; the first is not counted
ROUNDS = 3
OURS = ("pairs", "scenes")
FLOPS = "flops by reply token"
COLUMNS = (
    ("dtype", "10", ""), ("reply tok/s", "12", ".1f"), ("tokens/s", "10", ".0f"), ("read/reply tok", "15", ".1f"),
    ("replies", "9", ".0f"), ("peak MB", "9", ".0f"), ("of peak", "9", ".0%"), ("of limit", "10", ".0%"),
    ("× packing", "11", ".2f"), ("× trl", "8", ".2f"), ("× original", "12", ".2f"),
)  # fmt: skip


def main() -> int:
    arguments = build_parser().parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments)))
        return 0
    if arguments.quality:
        from training_quality import compare_quality

        return compare_quality(arguments)
    dtype = arguments.dtype or choose_dtype()
    rounds = 1 if arguments.quick else arguments.rounds
    steps = STEPS_QUICK if arguments.quick else STEPS
    print(f"{rounds} rounds of {steps} steps of {REPLIES_PER_STEP} replies; {arguments.data}; {dtype}; load {load()}")
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES:
            found[side].append(run_side(side, arguments, dtype))
            print(f"  round {number + 1}, {side}: {found[side][-1]['reply tok/s']:.1f} reply tok/s", file=sys.stderr)
    show({side: median_of(each) for side, each in found.items()})
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", default="", metavar="DIR", help="a folder with a model (default: random, 135M)")
    parser.add_argument("--data", default=str(PROJECT / "data" / "sample_series"), metavar="DIR", help="series folder")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help=f"one round of {STEPS_QUICK} steps instead of {STEPS}")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of packing and ours (default: as measured)")
    parser.add_argument("--side", choices=SIDES, help="measure this one here, print JSON")
    parser.add_argument("--quality", action="store_true", help="held-out perplexity of each side instead of its speed")
    parser.add_argument("--budget", type=float, default=0.0, help=argparse.SUPPRESS)  # seconds of training
    return parser


def choose_dtype() -> str:
    from character_chatbot.machine.devices import Device, choose_training_device

    device = choose_training_device(Device("cpu", "float32", "the benchmark is one of CPUs"))
    print(device.reason)
    return device.dtype_name


def load() -> str:
    """Of the machine in the last minute: programs that wanted to run at once."""
    return f"{os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"


def run_side(side: str, arguments: argparse.Namespace, dtype: str, *more: str) -> dict[str, Any]:
    """Measure one side in a process of its own, so that its peak of memory is its own."""
    words = ["--side", side, "--data", arguments.data, "--base", arguments.base, *more]
    words += ["--dtype", "float32" if side in ALWAYS_FLOAT32 else dtype, *(["--quick"] if arguments.quick else [])]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a few steps, or with ``--quality`` all, and say what came of it."""
    if arguments.quality:
        from training_quality import learn

        return learn(side, arguments)
    import resource

    from character_chatbot.machine.devices import Device
    from character_chatbot.machine.flops import measure_peak, read_shape

    steps, dtype = STEPS_QUICK if arguments.quick else STEPS, arguments.dtype or "float32"
    dialogues = load_dialogues(arguments.data)
    tokenizer, model = load_base(arguments, dialogues, dtype)
    dialogues = choose_training(tokenizer, dialogues, steps * REPLIES_PER_STEP)
    device = Device("cpu", dtype, "")
    with tempfile.TemporaryDirectory() as folder:
        trainer, examples = build_trainer(Side(side, dtype, folder), model, tokenizer, dialogues)
        clock, before = Clock(trainer), measure_peak(device)
        trainer.train()
    counts, replies = sum(clock.counts, Counts()), sum(len(each.replies()) for each in examples)
    learnt = sum(len(each.reply_ids) for each in examples)
    flops = read_shape(trainer.model).training_flops(counts.tokens, counts.supervised, counts.attended)
    # A step's time by token: the first step sets things up, and the last one may be a short one.
    pace = statistics.median(each.tokens / took for each, took in zip(clock.counts[1:], clock.seconds[1:], strict=True))
    peak = max(before, measure_peak(device))
    return {
        "dtype": dtype,
        "reply tok/s": pace * learnt / counts.tokens,
        "tokens/s": pace,
        "read/reply tok": clock.processed / learnt,
        "replies": replies,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "of peak": flops * pace / counts.tokens / peak,
        FLOPS: flops / learnt,
        "peak": peak,
    }


def median_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each number the median, and the best peak."""
    found = {
        name: value if isinstance(value, str) else statistics.median(each[name] for each in rounds)
        for name, value in rounds[0].items()
    }
    return found | {"peak": max(each["peak"] for each in rounds)}


def show(results: dict[str, dict[str, Any]]) -> None:
    """The table, and the limit by arithmetic."""
    peak, flops = (choose(each[name] for each in results.values()) for choose, name in ((max, "peak"), (min, FLOPS)))
    limit = peak / flops
    print(f"{'':<10}" + "".join(f"{name:>{width}}" for name, width, _ in COLUMNS))
    for side, each in results.items():
        each["of limit"] = each["reply tok/s"] / limit
        for other in ("packing", "trl", "original"):
            each[f"× {other}"] = each["reply tok/s"] / results[other]["reply tok/s"]
        print(f"{side:<10}" + "".join(f"{each[name]:>{width}{form}}" for name, width, form in COLUMNS))
    best = max(OURS, key=lambda side: results[side]["reply tok/s"])
    print(
        f"limit {limit:.0f} reply tok/s: {flops / 1e9:.2f} GFLOP by reply token at {peak / 1e9:.0f} GFLOP/s; "
        f"{best} reaches {results[best]['of limit']:.0%}; load {load()}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
