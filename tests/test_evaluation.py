"""Perplexity, checkpoints, batches: against values worked out another way."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from character_chatbot.machine.devices import Device
from character_chatbot.nano import FAMILIES, build_model, build_tokenizer
from character_chatbot.prompts import Turn
from character_chatbot.recovery.checkpoints import MARK, is_complete, mark_complete, newest_checkpoint
from character_chatbot.training.adapter import build_arguments, choose_batch
from character_chatbot.training.evaluation import choose_replies, evaluate_perplexity
from character_chatbot.training.examples import IGNORED, Example
from config import NanoSettings, TrainingSettings

CPU = Device("cpu", "float32", "for a test")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(FAMILIES["llama"], [[Turn("Ada", "words")]], 300)
    return build_model("llama", tokenizer, NanoSettings(hidden_size=32, layers=2, heads=2)).eval()


def example(prompt: int, reply: int, seed: int) -> Example:
    ids = torch.randint(10, 250, (prompt + reply,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Example(tuple(ids), (*[IGNORED] * prompt, *ids[prompt:]))


EXAMPLES = [example(5, 3, 1), example(40, 10, 2), example(7, 1, 3), example(12, 12, 4)]


def test_perplexity_is_that_of_each_reply_token_by_itself(model: torch.nn.Module) -> None:
    nats = []
    for each in EXAMPLES:
        logits = model(torch.tensor([each.input_ids])).logits[0].log_softmax(-1)
        nats += [-logits[i - 1, label].item() for i, label in enumerate(each.labels) if label != IGNORED]
    found = evaluate_perplexity(model, EXAMPLES, "test")
    assert found is not None
    assert found.value == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)
    assert (found.tokens, found.replies) == (26, 4)


def test_nothing_to_measure_is_no_number(model: torch.nn.Module) -> None:
    assert evaluate_perplexity(model, [], "test") is None


def test_evaluation_leaves_the_mode_of_the_model(model: torch.nn.Module) -> None:
    model.train()
    evaluate_perplexity(model, EXAMPLES, "test")
    assert model.training
    model.eval()


def test_replies_are_drawn_by_seed() -> None:
    many = [example(3, 2, seed) for seed in range(50)]
    assert choose_replies(many, 10, 1) == choose_replies(many, 10, 1) != choose_replies(many, 10, 2)
    assert choose_replies(many, 100, 1) == many


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    for step in (5, 10, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(100))
        mark_complete(folder)
    return tmp_path


def test_newest_is_by_number(checkpoints: Path) -> None:
    assert newest_checkpoint(checkpoints) == checkpoints / "checkpoint-100"


@pytest.mark.parametrize("damage", ["mark missing", "file missing", "byte changed", "cut short", "mark no JSON"])
def test_damaged_checkpoint_falls_back_to_the_one_before(checkpoints: Path, damage: str) -> None:
    newest = checkpoints / "checkpoint-100"
    weights, mark = newest / "weights", newest / MARK
    {
        "mark missing": mark.unlink,
        "file missing": weights.unlink,
        "byte changed": lambda: weights.write_bytes(b"\x01" + bytes(99)),
        "cut short": lambda: weights.write_bytes(bytes(50)),
        "mark no JSON": lambda: mark.write_text("{"),
    }[damage]()
    assert not is_complete(newest)
    assert newest_checkpoint(checkpoints) == checkpoints / "checkpoint-10"
    assert not newest.exists()


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "checkpoint-x").mkdir()
    assert newest_checkpoint(tmp_path) is None


def test_mark_lists_every_file(checkpoints: Path) -> None:
    assert json.loads((checkpoints / "checkpoint-5" / MARK).read_text())["weights"][0] == 100


@pytest.mark.parametrize(
    ("kind", "vocabulary", "set_to", "wanted"),
    [("cpu", 800, 0, 8), ("cpu", 49_152, 0, 1), ("cuda", 128_256, 0, 4), ("cpu", 49_152, 2, 2), ("cpu", 800, 64, 8)],
)
def test_batch_fits_the_memory_unless_it_is_set(kind: str, vocabulary: int, set_to: int, wanted: int) -> None:
    device = Device(kind, "float32", "for a test")
    assert choose_batch(TrainingSettings(sequences_per_batch=set_to), device, vocabulary) == wanted


def test_accumulation_keeps_the_sequences_of_a_step(tmp_path: Path) -> None:
    arguments = build_arguments(TrainingSettings(sequences_per_batch=2), CPU, tmp_path)
    assert arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps == 8
