"""What each way of training has learnt: ``python benchmarks/training.py --quality [--base DIR] [--data DIR]``.

Held-out perplexity, over the same replies for all sides, after the same supervised replies (one epoch), and after the
same time: that of the fastest side's epoch. All learn at the same rate. Without --base a small base is made first:
random weights would tell nothing. It cuts words into more tokens than a large one, so the original's way pads to 512.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from training_sides import LONGEST_TOKENS, SIDES, Clock, Side, build_trainer, choose_training, load_base, load_dialogues

from config import NanoSettings, Settings

REPLIES, REPLIES_QUICK = 400, 64
HELD_OUT = 100
SEED = 7
DTYPE = "float32"  # of a base so small


def compare_quality(arguments: argparse.Namespace) -> int:
    """Print the table of all sides."""
    from training import load, run_side

    with tempfile.TemporaryDirectory() as folder:
        arguments.base = arguments.base or str(make_base(arguments, Path(folder)))
        fastest = run_side("scenes", arguments, DTYPE, "--quality")
        print(f"{arguments.data}; {fastest['replies']} replies learnt; base {fastest['base']:.1f}; load {load()}")
        print(f"{'':<10}{'after all replies':>19}{'steps':>7}{'seconds':>9}{'after as long as scenes':>25}")
        for side in SIDES:
            budget = ("--quality", "--budget", str(fastest["seconds"]))
            found = fastest if side == "scenes" else run_side(side, arguments, DTYPE, *budget)
            in_time = found["in time"] or found["perplexity"]
            print(f"{side:<10}{found['perplexity']:>19.2f}{found['steps']:>7}{found['seconds']:>9.1f}{in_time:>25.2f}")
    return 0


def make_base(arguments: argparse.Namespace, cache: Path) -> Path:
    """The small base that the project makes itself, of the training episodes."""
    from character_chatbot.corpus import load_corpus
    from character_chatbot.nano import NanoRecipe, fetch_nano_base

    settings = NanoSettings(max_steps=100) if arguments.quick else NanoSettings()
    corpus = load_corpus(Path(arguments.data))
    scenes = corpus.scenes(corpus.build_dialogues(Settings()).training_episodes)
    return fetch_nano_base(NanoRecipe("llama", scenes, settings, SEED), cache)


def learn(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One epoch of a side; ``in time``: perplexity after the step in which the budget of seconds ran out."""
    from character_chatbot.training.evaluation import choose_replies
    from character_chatbot.training.examples import encode_dialogues

    dialogues = load_dialogues(arguments.data)
    tokenizer, model = load_base(arguments, dialogues, arguments.dtype)
    held_out = encode_dialogues(tokenizer, dialogues.held_out, dialogues, model.config.max_position_embeddings)
    held_out = choose_replies(held_out, HELD_OUT, SEED)
    replies = REPLIES_QUICK if arguments.quick else REPLIES
    training = choose_training(tokenizer, dialogues, replies, LONGEST_TOKENS)
    before = perplexity(model, held_out)
    rate = NanoSettings().lora_learning_rate if model.num_parameters() < 20e6 else Settings().training.learning_rate
    with tempfile.TemporaryDirectory() as folder:
        trainer, examples = build_trainer(
            Side(side, arguments.dtype, folder, rate, LONGEST_TOKENS), model, tokenizer, training
        )
        clock, in_time = Clock(trainer), InTime(arguments.budget, held_out)
        in_time.watch(trainer, clock)
        trainer.train()
    return {
        "base": before,
        "perplexity": perplexity(trainer.model, held_out),
        "in time": in_time.found,
        "seconds": sum(clock.seconds),
        "steps": len(clock.seconds),
        "replies": sum(len(each.replies()) for each in examples),
    }


def perplexity(model: Any, held_out: list[Any]) -> float:
    from character_chatbot.training.evaluation import evaluate_perplexity

    found = evaluate_perplexity(model, held_out, "held out")
    if found is None:
        raise SystemExit("no held-out replies: the series has too few episodes")
    return found.value


class InTime:
    """Measures once, after the first step that ends past the budget; its own time counts for nothing."""

    def __init__(self, budget: float, held_out: list[Any]) -> None:
        self._budget, self._held_out = budget, held_out
        self.found: float | None = None

    def watch(self, trainer: Any, clock: Clock) -> None:
        from transformers import TrainerCallback

        outer = self

        class Watch(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                if outer.found is None and outer._budget and sum(clock.seconds) >= outer._budget:
                    outer.found = perplexity(trainer.model, outer._held_out)

        trainer.add_callback(Watch())
