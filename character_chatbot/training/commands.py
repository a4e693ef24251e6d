"""What the ``train`` command is asked for, and how it tells what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import FAMILIES, FORMATS, QUANTISATIONS
from utils.command_line import add_recipe_argument

if TYPE_CHECKING:
    from character_chatbot.training.outcome import RunOutcome


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, on which base, how, and where to tell how far it is."""
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--character", action="append", default=[], metavar="NAME", help="only these (default: all)")
    parser.add_argument("--base", default="", metavar="ID_OR_PATH", help="a repository of the hub, a folder, or nano")
    parser.add_argument("--format", choices=FORMATS, help="whole scenes, or a sequence for each reply (default: auto)")
    add_recipe_argument(parser)
    parser.add_argument("--learning-rate", type=float, metavar="X", help="of the adapter (default: 2e-4; nano: 2e-3)")
    parser.add_argument("--epochs", type=float, metavar="X", help="passes over the dialogues (default: 3; nano: 2)")
    parser.add_argument("--quantise", choices=QUANTISATIONS, help="on CUDA, the base in 4 bits")
    parser.add_argument("--max-steps", type=_count, metavar="N", help="so many steps, whatever the epochs")
    parser.add_argument("--patience", type=int, metavar="N", help="end after N held-out losses without a lower one")
    parser.add_argument("--find-lr", action="store_true", help="try learning rates and suggest one; trains nothing")
    parser.add_argument("--export", action="store_true", help="then for CPUs as well, as the export command does")
    parser.add_argument("--seed", type=int, metavar="N", help="for the held-out episodes, weights and order")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument("--progress", type=Path, metavar="FILE", help="keep one JSON line there: stage, step, loss")
    parser.add_argument(
        "--checkpoint-store", metavar="DIR|s3://…", help="copy checkpoints there, and go on from there on a new machine"
    )
    parser.add_argument("--by", default="", metavar="NAME", help="who asks, for the history (default: user@host)")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def render_outcome(family: str, outcome: RunOutcome, registry: str) -> str:
    """What a run has come to, in two or three sentences."""
    made = "is there already, made from the same data, base and settings" if outcome.reused else "published"
    lines = [f"{family} {outcome.version} {made} in {registry}."]
    held_out = outcome.metrics.get("held_out")
    if held_out:
        base, adapter = held_out["base_perplexity"], held_out["adapter_perplexity"]
        lines.append(f"Perplexity of {held_out['replies']} held-out replies: base {base:.2f}, adapter {adapter:.2f}.")
    else:
        lines.append("Not evaluated: no episode was held out.")
    if outcome.export is not None:
        lines.append(_render_export(family, outcome.version, outcome.export))
    return "\n".join(lines)


def _render_export(family: str, version: str, export: Mapping[str, Any]) -> str:
    from character_chatbot.status import size_text

    if "problem" not in export:
        return f"Exported for CPUs in {export['bits']} bits, {size_text(export['weights_bytes'])}."
    return (
        f"Not exported for CPUs, so torch serves it: {export['problem']}\n"
        f"  Try again:  python training_pipeline.py export {family} --version {version}"
    )
