"""The contract of engines, the same for all of them; and what the torch engine promises besides."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from character_chatbot.bases import nano_base
from character_chatbot.corpus import load_corpus
from character_chatbot.engines.base import EchoEngine, Engine, Sampling, Tally
from character_chatbot.engines.peft_engine import PeftEngine, _counter
from character_chatbot.engines.quotes import QuotesEngine
from character_chatbot.machine.devices import Device
from character_chatbot.nano import NanoRecipe, fetch_nano_base
from character_chatbot.prompts import Turn
from config import NanoSettings

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample_series"
CPU = Device("cpu", "float32", "for a test")
MESSAGES = [
    {"role": "system", "content": "You are Pip."},
    {"role": "user", "content": "Judge Hale: Where did you find the key?"},
]
SHORT = Sampling(max_new_tokens=12, seed=3)


def scene() -> list[Turn]:
    return [Turn(name, f"{name} has found the key number {n}.") for n in range(30) for name in ("Ada", "Bo")]


@pytest.fixture(scope="module")
def nano_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = NanoSettings(vocabulary=400, hidden_size=32, layers=1, heads=2, epochs=40)
    return fetch_nano_base(NanoRecipe("llama", [scene()], settings, 1), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def peft_engine(nano_folder: Path) -> PeftEngine:
    return PeftEngine(nano_base(nano_folder), CPU)


@pytest.fixture(params=["echo", "quotes", "peft"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "quotes":
        corpus = load_corpus(SAMPLE)
        return QuotesEngine(corpus.spoken, corpus.cast, "Pip")
    return EchoEngine() if request.param == "echo" else request.getfixturevalue("peft_engine")


def test_reply_comes_in_pieces_of_text(engine: Engine) -> None:
    pieces = list(engine.reply(MESSAGES, SHORT))
    assert len(pieces) > 1
    assert all(isinstance(piece, str) for piece in pieces)
    assert "".join(pieces).strip()
    assert "<|" not in "".join(pieces)


def test_same_seed_gives_the_same_reply(engine: Engine) -> None:
    assert list(engine.reply(MESSAGES, SHORT)) == list(engine.reply(MESSAGES, SHORT))


def test_reply_can_be_closed_and_asked_for_again(engine: Engine) -> None:
    pieces = engine.reply(MESSAGES, SHORT)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert list(engine.reply(MESSAGES, SHORT))


def test_several_threads_get_whole_replies(engine: Engine) -> None:
    wanted = "".join(engine.reply(MESSAGES, SHORT))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append("".join(engine.reply(MESSAGES, SHORT)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4


def test_messages_are_not_changed(engine: Engine) -> None:
    before = [dict(message) for message in MESSAGES]
    list(engine.reply(MESSAGES, SHORT))
    assert before == MESSAGES


def test_length_is_limited(peft_engine: PeftEngine) -> None:
    _, tokenizer = peft_engine.load()
    reply = "".join(peft_engine.reply(MESSAGES, Sampling(max_new_tokens=5, seed=1)))
    longest = max(len(word) for word in tokenizer.get_vocab())
    assert 0 < len(reply) <= 5 * longest


def test_tokens_are_counted_as_they_are_drawn(peft_engine: PeftEngine) -> None:
    tally = Tally()
    list(peft_engine.reply(MESSAGES, Sampling(max_new_tokens=3, temperature=0, tally=tally)))
    assert tally == Tally(3, cut=True)


def test_the_token_that_ends_a_reply_is_not_counted() -> None:
    import torch
    from transformers import GenerationConfig

    tally = Tally()
    arguments = {"input_ids": torch.tensor([[1, 2]]), "generation_config": GenerationConfig(eos_token_id=[9])}
    count = _counter(arguments, Sampling(max_new_tokens=2, tally=tally))
    assert not count(torch.tensor([[1, 2, 5, 9]]), None).any()
    assert tally == Tally(1, cut=False)
    count(torch.tensor([[1, 2, 5, 6]]), None)
    assert tally == Tally(2, cut=True)


def test_temperature_zero_needs_no_seed(peft_engine: PeftEngine) -> None:
    greedy = Sampling(max_new_tokens=12, temperature=0)
    assert list(peft_engine.reply(MESSAGES, greedy)) == list(peft_engine.reply(MESSAGES, greedy))


def test_closing_stops_the_model(peft_engine: PeftEngine) -> None:
    endless = Sampling(max_new_tokens=1500, temperature=1.5, seed=5)
    pieces = peft_engine.reply(MESSAGES, endless)
    next(pieces)
    started = time.monotonic()
    pieces.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 2
    assert not [thread for thread in threading.enumerate() if "_generate" in thread.name]


def test_model_is_loaded_once(nano_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from character_chatbot.engines import peft_engine as module

    loads: list[int] = []
    real = module.load_model
    monkeypatch.setattr(module, "load_model", lambda *words: loads.append(1) or real(*words))
    engine = PeftEngine(nano_base(nano_folder), CPU)
    for _ in range(3):
        list(engine.reply(MESSAGES, SHORT))
    assert len(loads) == 1


def test_failure_of_the_model_reaches_the_reader(peft_engine: PeftEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = peft_engine.load()

    def fail(**_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(model, "generate", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        list(peft_engine.reply(MESSAGES, SHORT))


def test_prompt_longer_than_the_model_keeps_its_end(peft_engine: PeftEngine) -> None:
    long = [MESSAGES[0], {"role": "user", "content": "Judge Hale: " + "key " * 3000}]
    assert list(peft_engine.reply(long, SHORT))


def test_a_reply_that_goes_on_is_the_reply_uncut(peft_engine: PeftEngine) -> None:
    from character_chatbot.prompts import encode_prompt

    tokenizer = peft_engine.load()[1]
    greedy = Sampling(max_new_tokens=12, temperature=0, repetition_penalty=1.1)
    whole = "".join(peft_engine.reply(MESSAGES, greedy))
    for size in range(1, 12):
        first = "".join(peft_engine.reply(MESSAGES, replace(greedy, max_new_tokens=size)))
        unfinished = [*MESSAGES, {"role": "assistant", "content": first}]
        read = peft_engine._prompts.count_known(encode_prompt(tokenizer, unfinished))
        assert read >= len(encode_prompt(tokenizer, MESSAGES)) + size - 1  # all but the last token
        rest = "".join(peft_engine.reply(unfinished, replace(greedy, max_new_tokens=12 - size)))
        assert first + rest == whole
