"""What a choice of the training costs or brings in held-out perplexity: several series, several seeds, one table.

    python benchmarks/training_choices.py [--data DIR …] [--seeds 7 8 9] [--characters 3] [--threads 1]

pairs      a sequence for each reply, float32, no dropout
scenes     whole scenes, float32, no dropout: the choice that the others are measured by
dropout    scenes with LoRA dropout 0.05
bfloat16   scenes, the base's weights and the products in bfloat16, the adapter in float32

Each series gets a nano base by seed, made of its training episodes; on it an adapter is trained for the characters with
the most lines, and the same held-out replies are scored. A cell is the perplexity divided by that of "scenes" with the
same seed: the mean over the seeds and, in brackets, the smallest and the largest. Under 1 is better than "scenes".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from config import PAIRS, SCENES, Settings, load_settings  # noqa: E402

if TYPE_CHECKING:
    from peft import PeftModel

    from character_chatbot.bases import Base
    from character_chatbot.dialogues import DialogueSet
    from character_chatbot.training.examples import Example


@dataclass(frozen=True)
class Choice:
    """A way to train."""

    format: str = SCENES
    dropout: float = 0.0
    dtype: str = "float32"


MEASURE = "scenes"
CHOICES = {
    "pairs": Choice(format=PAIRS),
    MEASURE: Choice(),
    "dropout": Choice(dropout=0.05),
    "bfloat16": Choice(dtype="bfloat16"),
}


def main() -> int:
    arguments = build_parser().parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for folder in arguments.data:
            for seed in arguments.seeds:
                perplexities = compare(Path(folder), seed, arguments, Path(arguments.cache or cache))
                found.setdefault(Path(folder).name, []).append(perplexities)
                print(
                    json.dumps({"series": Path(folder).name, "seed": seed} | perplexities), file=sys.stderr, flush=True
                )
    show(found)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[str(PROJECT / "data" / "sample_series")], metavar="DIR")
    parser.add_argument("--seeds", nargs="+", type=int, default=[7, 8, 9])
    parser.add_argument("--characters", type=int, default=3, help="those with the most lines (default: %(default)s)")
    parser.add_argument("--base-steps", type=int, default=600, help="of making the base (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", metavar="DIR", help="keep the bases there")
    return parser


def compare(folder: Path, seed: int, arguments: argparse.Namespace, cache: Path) -> dict[str, float]:
    """Held-out perplexity of each choice, and of the base alone."""
    from character_chatbot.bases import load_tokenizer, nano_base
    from character_chatbot.corpus import load_corpus
    from character_chatbot.nano import NanoRecipe, fetch_nano_base
    from character_chatbot.training.encoding import encode_held_out
    from character_chatbot.training.evaluation import split_held_out

    flags = {"training.seed": seed, "nano.max_steps": arguments.base_steps, "dialogues.context_turns": 6}
    settings = load_settings(flags=flags)
    corpus = load_corpus(folder)
    dialogues = corpus.build_dialogues(settings)
    dialogues = corpus.build_dialogues(settings, dialogues.characters[: arguments.characters])
    recipe = NanoRecipe("llama", corpus.scenes(dialogues.training_episodes), settings.nano, seed)
    base = nano_base(fetch_nano_base(recipe, cache))
    held_out = encode_held_out(load_tokenizer(base), dialogues, settings)
    choosing, told = split_held_out(held_out, settings.evaluation.max_replies, seed)
    found: dict[str, float] = {}
    for name, choice in CHOICES.items():
        result = learn(choice, base, dialogues, choosing, settings)
        found[name] = score(result, told)
        with result.disable_adapter():
            found["base"] = score(result, told)
    return found


def learn(choice: Choice, base: Base, dialogues: DialogueSet, choosing: list[Example], settings: Settings) -> PeftModel:
    """The model with its adapter, the best weights kept, as the product trains it."""
    from character_chatbot.bases import load_model, load_tokenizer
    from character_chatbot.machine.devices import Device
    from character_chatbot.training.adapter import train_adapter
    from character_chatbot.training.encoding import encode_training
    from utils.announcements import Announcements

    nano, device, tokenizer = settings.nano, Device("cpu", choice.dtype, ""), load_tokenizer(base)
    training = replace(settings.training, format=choice.format, learning_rate=nano.lora_learning_rate)
    training = replace(training, epochs=nano.lora_epochs, lora_dropout=choice.dropout)
    examples = encode_training(tokenizer, dialogues, replace(settings, training=training), Announcements(quiet=True))
    model = load_model(base, device)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"settings": training, "device": device, "folder": Path(folder), "held_out": choosing}
        return train_adapter(model, tokenizer, examples, **options).model


def score(model: PeftModel, replies: list[Example]) -> float:
    from character_chatbot.training.evaluation import evaluate_perplexity

    found = evaluate_perplexity(model, replies, "held out")
    if found is None:
        raise SystemExit("no reply is held out: the series has too few episodes")
    return found.value


def show(found: dict[str, list[dict[str, float]]]) -> None:
    """The table."""
    others = [name for name in CHOICES if name != MEASURE]
    print(f"{'':<28}{'base':>8}{MEASURE:>10}" + "".join(f"{name:>22}" for name in others))
    for series, seeds in found.items():
        means = [statistics.mean(each[name] for each in seeds) for name in ("base", MEASURE)]
        cells = [[each[name] / each[MEASURE] for each in seeds] for name in others]
        told = [f"{statistics.mean(each):.4f} ({min(each):.3f}–{max(each):.3f})" for each in cells]
        print(f"{series:<28}{means[0]:>8.1f}{means[1]:>10.2f}" + "".join(f"{cell:>22}" for cell in told))


if __name__ == "__main__":
    sys.exit(main())
