"""The nano base: a true model of its family, deterministic, made once, from training episodes alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, Qwen2ForCausalLM

from character_chatbot.corpus import load_corpus
from character_chatbot.nano import NanoRecipe, fetch_nano_base, find_nano_base
from character_chatbot.prompts import Turn, encode_reply, end_of_turn
from config import NanoSettings, load_settings

SMALL = NanoSettings(vocabulary=400, hidden_size=32, layers=1, heads=2, epochs=3)
SCENES = [[Turn(name, f"{name} mends clock number {n}.") for n in range(20) for name in ("Ada", "Bo")]]


def recipe(family: str = "llama", seed: int = 1) -> NanoRecipe:
    return NanoRecipe(family, SCENES, SMALL, seed)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())


@pytest.mark.parametrize(("family", "kind"), [("llama", LlamaForCausalLM), ("qwen", Qwen2ForCausalLM)])
def test_it_is_a_true_model_of_its_family(tmp_path: Path, family: str, kind: type) -> None:
    folder = fetch_nano_base(recipe(family), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(AutoModelForCausalLM.from_pretrained(folder), kind)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert end_of_turn(tokenizer) == tokenizer.eos_token_id == encode_reply(tokenizer, "Hm.")[-1]
    assert tokenizer.decode(tokenizer("Ünïcode, 東京 🙂!")["input_ids"]) == "Ünïcode, 東京 🙂!"


def test_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first = weights(fetch_nano_base(recipe(), tmp_path / "a"))
    second = weights(fetch_nano_base(recipe(), tmp_path / "b"))
    other = weights(fetch_nano_base(recipe(seed=2), tmp_path / "a"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_making_leaves_the_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    fetch_nano_base(recipe(), tmp_path)
    assert torch.equal(torch.rand(3), wanted)


def test_it_is_made_once_and_whole_or_not_at_all(tmp_path: Path) -> None:
    def stop(step: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    assert find_nano_base(recipe(), tmp_path) is None
    with pytest.raises(KeyboardInterrupt):
        fetch_nano_base(recipe(), tmp_path, stop)
    assert find_nano_base(recipe(), tmp_path) is None
    assert not list((tmp_path / "bases").iterdir())
    made = fetch_nano_base(recipe(), tmp_path)
    assert fetch_nano_base(recipe(), tmp_path, stop) == made == find_nano_base(recipe(), tmp_path)


def test_it_learns(tmp_path: Path) -> None:
    losses: list[float] = []
    fetch_nano_base(recipe(), tmp_path, lambda step, steps, loss: losses.append(loss))
    assert losses[-1] < losses[0] - 0.3


def test_it_sees_no_held_out_episode(sample_series: Path) -> None:
    corpus = load_corpus(sample_series)
    dialogues = corpus.build_dialogues(load_settings(environment={}))
    seen = {turn.text for scene in corpus.scenes(dialogues.training_episodes) for turn in scene}
    unseen = [dialogue.reply for dialogue in dialogues.held_out]
    assert len(unseen) > 100
    assert not seen & set(unseen)


def test_steps_are_limited_however_long_the_series(tmp_path: Path) -> None:
    steps_seen: set[int] = set()
    settings = NanoSettings(vocabulary=400, hidden_size=32, layers=1, heads=2, epochs=1000, max_steps=5)
    started = time.monotonic()
    fetch_nano_base(
        NanoRecipe("llama", SCENES * 50, settings, 1), tmp_path, lambda step, steps, loss: steps_seen.add(steps)
    )
    assert steps_seen == {5}
    assert time.monotonic() - started < 30
