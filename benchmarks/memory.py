"""The estimate of a training's memory against what it takes: real trainings, each in a process of its own.

    python benchmarks/memory.py [--case NAME] [--data DIR]

Bases have random weights in the shapes of known ones, and are made on the way: memory does not depend on what they say.
Two steps each, on a CPU. The measured number is the peak of resident memory (getrusage(2), ru_maxrss).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as all programs of the project do
os.environ.setdefault("HF_HUB_OFFLINE", "1")

STEPS, WITHIN = 2, 0.2
# From the config.json of SmolLM2-135M and Qwen2.5-0.5B, and of a nano base.
SHAPES: dict[str, dict[str, Any]] = {
    "nano": {"kind": "llama", "vocab_size": 4000, "hidden_size": 128, "intermediate_size": 352,
             "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4},
    "135M": {"kind": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
             "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
    "0.5B": {"kind": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
             "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    shape: str
    dtype: str
    format: str
    batch: int
    checkpointing: bool = False

    @property
    def name(self) -> str:
        return f"{self.shape}-{self.dtype}-{self.format}-{self.batch}" + (
            "-checkpointing" if self.checkpointing else ""
        )


CASES = (
    Case("nano", "float32", "pairs", 8),
    Case("nano", "float32", "scenes", 4, True),
    Case("135M", "float32", "pairs", 4),
    Case("135M", "float32", "pairs", 8, True),
    Case("135M", "bfloat16", "pairs", 8),
    Case("135M", "bfloat16", "pairs", 8, True),
    Case("135M", "bfloat16", "scenes", 2),
    Case("0.5B", "bfloat16", "pairs", 4),
    Case("0.5B", "bfloat16", "pairs", 2, True),
    Case("0.5B", "float32", "pairs", 2, True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only these")
    parser.add_argument("--data", type=Path, default=PROJECT / "data" / "sample_series", metavar="DIR")
    parser.add_argument("--measure", action="store_true", help="measure the case here, print JSON")
    arguments = parser.parse_args()
    chosen = [case for case in CASES if not arguments.case or case.name in arguments.case]
    if arguments.measure:
        print(json.dumps(measure(chosen[0], arguments.data)))
        return 0
    print(f"{'':<36}{'estimate':>10}{'measured':>10}  MiB, {'ratio':>6}", flush=True)
    return max(show(case, arguments.data) for case in chosen)


def show(case: Case, data: Path) -> int:
    """Measure a case in a process of its own; 1 if the estimate is too far off."""
    words = ["--measure", "--case", case.name, "--data", str(data)]
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    estimate, measured = sum(found["parts"].values()) / 2**20, found["measured"] / 2**20
    print(f"{case.name:<36}{estimate:>10.0f}{measured:>10.0f}{estimate / measured:>12.2f}", flush=True)
    print(f"    {', '.join(f'{name} {size / 2**20:.0f}' for name, size in found['parts'].items())}", file=sys.stderr)
    return int(abs(estimate / measured - 1) > WITHIN)


def measure(case: Case, data: Path) -> dict[str, Any]:
    """Parts of the estimate and the peak of this process, in bytes."""
    from character_chatbot.bases import PATH, Base, load_config, load_model, load_tokenizer
    from character_chatbot.machine.devices import Device
    from character_chatbot.machine.memory import Demand, Way
    from character_chatbot.training.adapter import train_adapter
    from config import TrainingSettings

    device = Device("cpu", case.dtype, "the benchmark is one of CPUs")
    switch = "on" if case.checkpointing else "off"
    settings = TrainingSettings(
        sequences_per_batch=case.batch, sequences_per_step=case.batch, max_steps=STEPS, checkpoint_minutes=0,
        format=case.format, activation_checkpointing=switch,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", MAKE, folder, json.dumps(SHAPES[case.shape]), case.dtype, str(data)],
                       check=True, cwd=PROJECT, stdout=subprocess.DEVNULL)  # fmt: skip
        base = Base(PATH, folder, folder)
        tokenizer = load_tokenizer(base)
        examples = encode(case, tokenizer, data, settings)
        per_step = len(examples) * case.batch / sum(len(each.replies()) for each in examples)
        settings = replace(settings, sequences_per_step=max(case.batch, round(case.batch * case.batch / per_step)))
        demand = Demand(load_config(base), examples, settings, device, case.batch)
        estimate = demand.estimate(Way(case.batch, case.checkpointing))
        model = load_model(base, device)
        train_adapter(model, tokenizer, examples, settings=settings, device=device, folder=Path(folder) / "checkpoints")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"parts": estimate.parts, "measured": peak}


def encode(case: Case, tokenizer: Any, data: Path, settings: Any) -> list[Any]:
    """So many examples of one character as two steps take."""
    from character_chatbot.corpus import load_corpus
    from character_chatbot.training.examples import encode_dialogues
    from character_chatbot.training.scenes import encode_scenes
    from config import Settings

    corpus = load_corpus(data)
    everybody = corpus.build_dialogues(Settings())
    one = corpus.build_dialogues(Settings(), everybody.characters[:1])
    if case.format == "scenes":
        found = encode_scenes(tokenizer, one.training, one, settings.max_length, Settings().dialogues.context_turns)
    else:
        found = encode_dialogues(tokenizer, one.training, one, settings.max_length)
    return found[: case.batch * STEPS]


# In a process of its own, so that the random weights are not in the peak.
MAKE = """
import json, sys
from pathlib import Path
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from character_chatbot.corpus import load_corpus
from character_chatbot.nano import FAMILIES, build_tokenizer
from character_chatbot.prompts import Turn
from config import Settings
folder, shape, dtype, data = sys.argv[1], json.loads(sys.argv[2]), getattr(torch, sys.argv[3]), Path(sys.argv[4])
kind = shape.pop("kind")
every = load_corpus(data).build_dialogues(Settings())
personas = [Turn(name, every.cast.get(name).persona) for name in every.characters]
family = FAMILIES["qwen" if kind == "qwen2" else "llama"]
build_tokenizer(family, [*every.scenes, personas], 4000).save_pretrained(folder)
config = AutoConfig.for_model(kind, **shape, tie_word_embeddings=True, max_position_embeddings=8192)
AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
"""


if __name__ == "__main__":
    raise SystemExit(main())
