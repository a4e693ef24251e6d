"""A training program of the smallest size: same words, checkpoints, signals and output as the real one, no torch.

python training_program.py train llama --data DIR --registry URL [--steps N] [--pace S] [--fault WHAT] [--until FILE]

``--until``: the last step is not made before this file is there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

KEPT = 3
asked: list[int] = []


def say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: it trains on
        print(text, file=sys.stderr, flush=True)


def save(folder: Path, step: int) -> None:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    content = hashlib.sha256(str(step).encode()).digest() * 1000
    (checkpoint / "weights.safetensors").write_bytes(content)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    digest = hashlib.sha256(content).hexdigest()
    (checkpoint / "complete.json").write_text(json.dumps({"weights.safetensors": [len(content), digest]}))
    for old in sorted(folder.glob("checkpoint-*"), key=lambda each: int(each.name.split("-")[1]))[:-KEPT]:
        shutil.rmtree(old)


def newest(folder: Path) -> int:
    whole = [int(mark.parent.name.split("-")[1]) for mark in folder.glob("checkpoint-*/complete.json")]
    return max(whole, default=0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("family")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--pace", type=float, default=0.01)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--fault", default="")
    parser.add_argument("--progress", type=Path)
    parser.add_argument("--until", type=Path)
    arguments, _ = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    folder = Path(os.environ["STRANGER_PATHS__RUNS"]) / "llama" / "0123456789abcdef" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "lock").touch()
    done = newest(folder)
    say(f"lines: {len((arguments.data / 'lines.txt').read_text().splitlines())}, from step {done}")
    if arguments.fault == "secret":
        say(f"the token is {os.environ.get('HF_TOKEN', 'not there')}.")
    if arguments.fault == "said":
        say(f"Error: {os.environ['HF_TOKEN']} is not allowed")
        return 1
    if arguments.fault == "error":
        say("Error: no dialogue fits into training.max_length = 1 tokens.\n  Allow longer ones:  training.max_length")
        return 1
    if arguments.fault == "full":
        say("Error: runs/x cannot be written: the disk is full.")
        return 1
    for step in range(done + 1, arguments.steps + 1):
        time.sleep(arguments.pace)
        while step == arguments.steps and arguments.until and not arguments.until.exists() and not asked:
            time.sleep(0.02)
        if arguments.progress:
            side = arguments.progress.with_suffix(".part")
            side.write_text(json.dumps({"step": step, "steps": arguments.steps, "loss": 3 - step / 100}))
            side.replace(arguments.progress)
        say(f"step {step} of {arguments.steps}")
        if step % arguments.every == 0 or asked or step == arguments.steps:
            save(folder, step)
        if asked:
            return 128 + asked[0]
    print(json.dumps({"family": arguments.family, "version": "20261121-101530", "from": done}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
