"""How fast themes are scored: the batching core against transformers' zero-shot pipeline, in one run.

    python benchmarks/themes.py [--data DIR] [--lines N] [--rounds N] [--model PATH] [--quick]

Without --model a model of the shape of valhalla/distilbart-mnli-12-3 is made, with random weights: they cost the same
and mean nothing. Sides take turns, round by round; printed are lines a second (median of the rounds), the ratio to the
pipeline at its default in time and in CPU time, the largest difference of a score from the pipeline's, and the rank
correlation with float32. Where gliclass is installed, a single-pass label model of the shape of gliclass-small stands
beside them, with random weights and so with scores of its own. The load of the machine is printed, too: on a busy one
the ratio in CPU time means most. At the end the same lines are scored again with one more theme, through the cache.
--quick: a small model and few lines, to see that it runs; its ratios mean nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the commands do: threads that wait take no CPU time

import numpy as np  # noqa: E402

from config import Settings, ThemeSettings  # noqa: E402
from theme_classifier.classifier import to_scores  # noqa: E402
from theme_classifier.entailment import EntailmentModel, EntailmentScorer  # noqa: E402
from theme_classifier.models import ModelPlace, find_model, load_model  # noqa: E402
from theme_classifier.precision import convert, rank_correlation  # noqa: E402
from theme_classifier.single_pass import TEXTS_AT_ONCE, is_installed  # noqa: E402
from utils.hub import HubState  # noqa: E402
from utils.series import load_lines, spoken_lines  # noqa: E402

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

THEMES = ["Hope", "Despair", "Friendship", "Betrayal", "Family", "Love", "Fear", "Power"]
# config.json of valhalla/distilbart-mnli-12-3; the rest is BartConfig's default.
DISTILBART = {
    "vocab_size": 50_265, "d_model": 1024, "encoder_layers": 12, "decoder_layers": 3, "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096, "encoder_attention_heads": 16, "decoder_attention_heads": 16,
    "max_position_embeddings": 1024,
}  # fmt: skip
SMALL = {"d_model": 128, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "encoder_layers": 2, "decoder_layers": 1}
QUICK_LINES = 12
# config.json of microsoft/deberta-v3-small, on which knowledgator/gliclass-small-v1.0 stands.
DEBERTA = {
    "model_type": "deberta-v2", "hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 512, "relative_attention": True, "position_buckets": 256,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
    "position_biased_input": False, "max_relative_positions": -1,
}  # fmt: skip
LABELS = {"contradiction": 0, "neutral": 1, "entailment": 2}
PIPELINE, BATCHED, SINGLE_PASS = "pipeline, batch 1", "pipeline, batch 16", "single pass"
TARGETS = {"float32": 1.4, "bfloat16": 2.7, "int8": 6.0}
Scores = np.ndarray[Any, Any]


def main() -> int:
    measure(build_parser().parse_args())
    return 0


def measure(arguments: argparse.Namespace) -> None:
    if arguments.quick:
        arguments.lines, arguments.rounds = QUICK_LINES, 1
    lines = draw_lines(arguments.data, arguments.lines)
    tokenizer, model = load(arguments.model, lines, arguments.quick)
    print(f"{len(lines)} lines, {sum(len(line.split()) for line in lines) / len(lines):.1f} words each; "
          f"{len(THEMES)} themes; {sum(each.numel() for each in model.parameters()) / 1e6:.0f} million parameters; "
          f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores", flush=True)  # fmt: skip
    sides = build_sides(tokenizer, model, arguments)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    scores: dict[str, Scores] = {}
    for turn in range(arguments.rounds):
        for name, (share, score) in sides.items():
            part = lines[: max(1, len(lines) // share)]
            score(part[:1])  # what the others left in the caches of the CPU
            started = time.perf_counter(), time.process_time()
            scores[name] = score(part)
            taken = time.perf_counter() - started[0], time.process_time() - started[1]
            seconds[name].append((taken[0] / len(part), taken[1] / len(part)))
            print(f"  round {turn + 1}: {name} {len(part) / taken[0]:.2f} lines/s", flush=True)
    report(seconds, scores)
    measure_one_more(tokenizer, model, lines)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=PROJECT / "data" / "sample_series")
    parser.add_argument("--lines", type=int, default=96, help="the pipeline gets a share of them")
    parser.add_argument("--pipeline-share", type=int, default=4, help="one in so many lines for the pipeline")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=Settings().themes.batch_tokens)
    parser.add_argument("--quick", action="store_true", help="a small model and few lines")
    parser.add_argument("--model", default="", help="an NLI model in a folder, instead of random weights")
    return parser


def draw_lines(folder: Path, number: int) -> list[str]:
    """Distinct lines of a series in an order of chance, so that each part of them is alike."""
    lines = sorted(set(spoken_lines(load_lines(folder)[0])["line"]))
    random.Random(7).shuffle(lines)  # noqa: S311
    return lines[:number]


def load(folder: str, lines: Sequence[str], quick: bool = False) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    if folder:
        place = find_model(folder, lambda: HubState(False, "a benchmark downloads nothing"))
        if isinstance(place, HubState):
            raise SystemExit(f"no model in {folder}")
        return load_model(place)
    import torch
    from transformers import BartConfig, BartForSequenceClassification

    torch.manual_seed(7)
    names = {at: name for name, at in LABELS.items()}
    config = BartConfig(**DISTILBART | (SMALL if quick else {}), num_labels=3, label2id=LABELS, id2label=names)
    return build_tokenizer(lines), BartForSequenceClassification(config).eval()


def build_tokenizer(lines: Sequence[str]) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer of these lines, which lays out pairs as BART's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        special_tokens=["<s>", "<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*lines, *(f"This text is about {theme}." for theme in THEMES)], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=1024,
        **{"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"},
    )


def build_sides(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, arguments: argparse.Namespace
) -> dict[str, tuple[int, Callable[[list[str]], Scores]]]:
    """Name of each side, one in how many lines it gets, and what scores lines."""
    from transformers import pipeline

    settings = replace(ThemeSettings(), batch_tokens=arguments.batch_tokens)
    zero_shot = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu")

    def by_pipeline(texts: list[str], size: int) -> Scores:
        found = zero_shot(
            texts, THEMES, hypothesis_template=settings.hypothesis_template, multi_label=True, batch_size=size
        )
        rows = [dict(zip(each["labels"], each["scores"], strict=True)) for each in found]
        return np.array([[row[theme] for theme in THEMES] for row in rows])

    def by_core(texts: list[str], used: PreTrainedModel) -> Scores:
        jobs = [(text, theme) for text in texts for theme in THEMES]
        margins = EntailmentModel(tokenizer, model, settings).score(jobs, used).reshape(len(texts), len(THEMES))
        return to_scores(np.stack([margins, np.zeros_like(margins)], axis=-1), multi_label=True)

    sides: dict[str, tuple[int, Callable[[list[str]], Scores]]] = {
        PIPELINE: (arguments.pipeline_share, lambda texts: by_pipeline(texts, 1)),
        BATCHED: (arguments.pipeline_share, lambda texts: by_pipeline(texts, 16)),
    }
    for precision in TARGETS:
        reduced = convert(model, precision)
        sides[precision] = (1, lambda texts, used=reduced: by_core(texts, used))  # type: ignore[misc]
    if is_installed():
        sides[SINGLE_PASS] = (1, build_single_pass(tokenizer))
    return sides


def build_single_pass(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], Scores]:
    """A label model with random weights, which scores lines."""
    import copy

    from gliclass import GLiClassModel, GLiClassModelConfig, ZeroShotClassificationPipeline

    marks, tokenizer = ["<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>"], copy.deepcopy(tokenizer)
    tokenizer.add_tokens(marks, special_tokens=True)
    places = zip(("class", "text", "example"), tokenizer.convert_tokens_to_ids(marks), strict=True)
    config = GLiClassModelConfig(
        encoder_config={**DEBERTA, "vocab_size": len(tokenizer)},
        encoder_model="random",
        hidden_size=DEBERTA["hidden_size"],
        vocab_size=len(tokenizer),
        **{f"{name}_token_index": at for name, at in places},
    )
    pipeline = ZeroShotClassificationPipeline(
        GLiClassModel(config).eval(), tokenizer, classification_type="multi-label", device="cpu", progress_bar=False
    )

    def score(texts: list[str]) -> Scores:
        rows = pipeline(texts, THEMES, threshold=0.0, batch_size=TEXTS_AT_ONCE)
        return np.array(
            [[{each["label"]: each["score"] for each in row}.get(theme, 0.0) for theme in THEMES] for row in rows]
        )

    return score


def measure_one_more(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, lines: Sequence[str]) -> None:
    """A first run, a second one with one more theme, and a third with nothing new; the model stays loaded."""
    settings = replace(ThemeSettings(), precision="int8")
    place = ModelPlace("random", "", "random", False)
    with tempfile.TemporaryDirectory() as folder:
        scorer = EntailmentScorer(place, settings, Path(folder) / "themes.sqlite")
        vars(scorer)["_loaded"] = EntailmentModel(tokenizer, model, settings)  # random weights have no place
        scorer.logits(lines[:1], ["Weather"])  # converts it
        seconds = []
        for themes in (THEMES, [*THEMES, "Loss"], [*THEMES, "Loss"]):
            started = time.perf_counter()
            scorer.logits(lines, themes)
            seconds.append(time.perf_counter() - started)
    share = seconds[1] / seconds[0] * len(THEMES)
    print(f"\nint8, {len(lines)} lines: {len(THEMES)} themes {seconds[0]:.2f} s; with one more {seconds[1]:.2f} s, "
          f"which is {share:.2f} times the cost of one theme; again {seconds[2]:.3f} s")  # fmt: skip


def report(seconds: dict[str, list[tuple[float, float]]], scores: dict[str, Scores]) -> None:
    middle = {name: [statistics.median(each) for each in zip(*taken, strict=True)] for name, taken in seconds.items()}
    known, base = scores[PIPELINE], middle[PIPELINE]
    print("\n| side | lines/s | × pipeline | × in CPU time | wanted | largest difference | rank correlation |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (taken, computed) in middle.items():
        difference = np.abs(scores[name][: len(known)] - known).max()
        correlation = f"{rank_correlation(scores['float32'], scores[name]):.4f}" if name in TARGETS else ""
        wanted = f"{TARGETS[name]:g}" if name in TARGETS else ""
        ratios = [f"{base[0] / taken:.2f}", f"{base[1] / computed:.2f}"]
        row = [
            name,
            f"{1 / taken:.2f}",
            *ratios,
            wanted,
            "" if name == SINGLE_PASS else f"{difference:.1e}",
            correlation,
        ]
        print(f"| {' | '.join(row)} |")
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
