"""What a prompt begins with is read before somebody asks, and nobody who asks waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from character_chatbot.bases import nano_base
from character_chatbot.corpus import Corpus, load_corpus
from character_chatbot.engines.base import Sampling
from character_chatbot.engines.peft_engine import AHEAD_TOKENS, PeftEngine
from character_chatbot.engines.plain_tokenizer import PlainTokenizer
from character_chatbot.machine.devices import Device
from character_chatbot.nano import NanoRecipe, fetch_nano_base
from character_chatbot.prompts import Message, Turn, encode_beginning, encode_prompt, encode_text
from character_chatbot.recall.budget import Limits, build_prompt
from character_chatbot.recall.counting import CharacterCounter, Reader
from character_chatbot.recall.serving import Recall
from character_chatbot.service import Service
from character_chatbot.sources import Source
from config import NanoSettings, RecallSettings, Settings
from tests.doubles.workers import OneByOne

CPU = Device("cpu", "float32", "for a test")
SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample_series"
PERSONA: list[Message] = [{"role": "system", "content": "You are Ada, who winds the clocks of the town. " * 8}]
TEMPLATE_TOKENS = 16  # around the user's text, in front of the reply
GREEDY = Sampling(max_new_tokens=6, temperature=0, repetition_penalty=1.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = [Turn(name, f"{name} has wound the clock number {n}.") for n in range(30) for name in ("Ada", "Bo")]
    settings = NanoSettings(vocabulary=400, hidden_size=32, layers=1, heads=2, epochs=2)
    return fetch_nano_base(NanoRecipe("qwen", [lines], settings, 1), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus(SAMPLE)


def test_beginning_is_that_of_every_prompt_that_goes_on(base: Path) -> None:
    tokenizer = PlainTokenizer(base)
    said: list[Message] = [*PERSONA, {"role": "user", "content": "Bo: Hm?"}, {"role": "assistant", "content": "Aye."}]
    for known in (PERSONA, said):
        ids = encode_beginning(tokenizer, known)  # type: ignore[arg-type]
        for text in ("Visitor: Good evening.", "[What Ada remembers]\nBo: Well.\n[Now]\nVisitor: Who?"):
            whole = encode_prompt(tokenizer, [*known, {"role": "user", "content": text}])  # type: ignore[arg-type]
            assert whole[: len(ids)] == ids
            assert len(whole) - len(ids) <= len(encode_text(tokenizer, text)) + TEMPLATE_TOKENS  # type: ignore[arg-type]
    assert len(encode_beginning(tokenizer, said)) > len(encode_beginning(tokenizer, PERSONA))  # type: ignore[arg-type]


def ahead(ids: Sequence[int]) -> dict[str, object]:
    return {"ahead": list(ids), "adapter": ""}


def add(number: int, ids: Sequence[int]) -> dict[str, object]:
    return {"add": number, "ids": list(ids), "adapter": ""}


def test_worker_reads_while_nobody_asks_and_tells_nobody() -> None:
    worker = OneByOne()
    worker.handle(ahead(range(100)))
    assert worker.busy
    worker.step()
    worker.step()
    assert (worker.begun, worker.answered, worker.busy) == ([0], [], False)
    worker.handle(ahead(range(100)))
    worker.step()
    assert (worker.begun, worker.busy) == ([0], False)  # it is read already


def test_whoever_asks_for_something_else_does_not_wait() -> None:
    worker = OneByOne()
    worker.handle(ahead(range(100)))
    worker.step()
    worker.handle(add(1, [7] * 100))
    worker.step()
    assert (worker.begun, worker.cancelled) == ([0, 1], [0])
    worker.handle(ahead(range(300, 400)))
    worker.step()
    assert worker.begun == [0, 1]  # somebody was being answered: it is let go


def test_whoever_asks_for_the_same_waits_for_it_and_reads_the_rest() -> None:
    worker = OneByOne()
    worker.handle(ahead(range(100)))
    worker.step()
    worker.handle(add(1, [*range(100), 7]))
    worker.step()
    assert (worker.begun, worker.cancelled) == ([0], [])
    worker.step()
    assert (worker.begun, worker.cancelled) == ([0, 1], [])


def test_torch_has_read_the_persona_before_the_first_message(base: Path) -> None:
    engine = PeftEngine(nano_base(base), CPU)
    engine.read_ahead(PERSONA)
    assert engine._loaded is None  # nobody has asked for a model yet
    _, tokenizer = engine.load()
    engine.read_ahead(PERSONA)
    ids = encode_beginning(tokenizer, PERSONA)
    wait_until(lambda: engine._prompts.count_known(ids) == len(ids))
    asked = [*PERSONA, {"role": "user", "content": "Bo: Is it late?"}]
    assert "".join(engine.reply(asked, GREEDY)) == "".join(PeftEngine(nano_base(base), CPU).reply(asked, GREEDY))


def test_torch_stops_reading_as_soon_as_somebody_waits(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PeftEngine(nano_base(base), CPU)
    model, tokenizer = engine.load()
    reached, go_on, pieces = threading.Event(), threading.Event(), []
    real = type(model).forward

    def forward(self: object, *args: object, **named: object) -> object:
        pieces.append(1)
        reached.set()
        go_on.wait(10)
        return real(self, *args, **named)

    monkeypatch.setattr(type(model), "forward", forward)
    engine.read_ahead(PERSONA)
    assert reached.wait(10)
    asking = engine.queue.join()
    go_on.set()
    assert asking.wait(10)
    asking.close()
    ids = encode_beginning(tokenizer, PERSONA)
    assert len(pieces) == 1
    assert engine._prompts.count_known(ids) == AHEAD_TOKENS < len(ids)


def wait_until(holds: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


class Ahead:
    """Says the same each time; notes what it may read ahead."""

    def __init__(self) -> None:
        self.seen: list[list[Message]] = []
        self.told = threading.Event()

    def reader(self) -> Reader:
        return Reader(slow=True)

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        yield "Aye."

    def read_ahead(self, messages: Sequence[Message]) -> None:
        self.seen.append(list(messages))
        self.told.set()


def test_service_lets_the_persona_and_then_the_history_be_read(corpus: Corpus) -> None:
    engine = Ahead()
    source = Source("base", "a fake", "X", corpus.cast, ("Pip", "Kit"), lambda character: engine)
    service = Service(Settings(), lambda *_: source)
    service.expect_message("Kit")
    assert not engine.seen  # nothing is loaded yet
    service.load()
    service.expect_message("Nobody")
    service.expect_message("Kit")
    assert [message["role"] for message in engine.seen[0]] == ["system"]
    engine.told.clear()
    reply = service.begin_answer("Kit", [Turn("Visitor", "Good evening.")], Sampling())
    assert engine.told.wait(10)
    assert reply.wait(10)
    assert engine.seen[1][0] == engine.seen[0][0]
    assert [message["content"] for message in engine.seen[1][1:]] == ["Visitor: Good evening.", "Aye."]


def test_later_messages_bring_little_to_read(corpus: Corpus) -> None:
    character, counter = corpus.cast.get("Kit"), CharacterCounter()
    said = [Turn("Visitor", "Good evening."), Turn("Kit", "Is it?"), Turn("Visitor", "What happened to the lamp?")]
    memories = Recall(RecallSettings(), corpus).find("Kit", said)

    def lay_out(turns: list[Turn], share: float) -> tuple[int, int]:
        limits = Limits(0, 300, 20, share)
        prompt = build_prompt(character, "X", turns, limits, counter, memories=memories)
        return len(prompt.memories), counter.text(prompt.messages[-1]["content"])

    whole = lay_out(said, 1.0)
    few = lay_out(said, 0.12)
    assert 0 < few[1] < whole[1] / 2
    assert few[0] <= whole[0]
    assert lay_out(said[:1], 0.12) == lay_out(said[:1], 1.0)  # a first message is read with the persona anyway
    total = counter.prompt(
        list(build_prompt(character, "X", said, Limits(0, 300, 20), counter, memories=memories).messages)
    )
    assert few[1] <= 0.2 * total
