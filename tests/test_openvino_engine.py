"""The CPU engine: the contract of engines, no torch, stop that stops, a queue; its tokenizer and detokeniser."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from character_chatbot.bases import nano_base
from character_chatbot.engines.base import Sampling, Tally
from character_chatbot.engines.detokeniser import Detokeniser
from character_chatbot.engines.fair_queue import FairQueue
from character_chatbot.engines.openvino_engine import EngineOptions, OpenVinoEngine
from character_chatbot.engines.peft_engine import PeftEngine
from character_chatbot.engines.plain_tokenizer import PlainTokenizer
from character_chatbot.engines.prompt_cache import PromptCache
from character_chatbot.export.architecture import read_architecture
from character_chatbot.export.exporting import copy_tokenizer, write_model
from character_chatbot.export.weights import Weights
from character_chatbot.machine.devices import Device
from character_chatbot.nano import NanoRecipe, fetch_nano_base
from character_chatbot.prompts import Turn, common_prefix, encode_prompt, end_of_turn
from config import NanoSettings
from tests.doubles.workers import OneByOne
from utils.errors import BaseModelError

CPU = Device("cpu", "float32", "for a test")
MESSAGES = [
    {"role": "system", "content": "You are Ada."},
    {"role": "user", "content": "Bo: Where did you find the key? Café, 日本, <|im_end|>"},
    {"role": "assistant", "content": "In the clock."},
    {"role": "user", "content": "Bo: And who wound it?"},
]
SHORT = Sampling(max_new_tokens=12, seed=3)
GREEDY = Sampling(max_new_tokens=12, temperature=0, repetition_penalty=1.0)


def scene() -> list[Turn]:
    return [Turn(name, f"{name} has found the key number {n}.") for n in range(30) for name in ("Ada", "Bo")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = NanoSettings(vocabulary=400, hidden_size=32, layers=1, heads=2, epochs=40)
    return fetch_nano_base(NanoRecipe("qwen", [scene()], settings, 1), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def exported(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    write_model(folder, base, read_architecture(base), Weights.open(base), 8)
    copy_tokenizer(base, folder)
    return folder


@pytest.fixture(scope="module")
def engine(exported: Path) -> Iterator[OpenVinoEngine]:
    found = OpenVinoEngine(exported, EngineOptions(cache_tokens=4096, replies_at_once=4))
    yield found
    found.close()


def test_it_is_ready_after_the_step_in_which_the_weights_are_packed(exported: Path) -> None:
    engine, started = OpenVinoEngine(exported, EngineOptions(cache_tokens=1024)), []
    try:
        assert engine.load(started.append)["cache_bytes"] > 0  # nothing has a cache before a step
        assert started == [engine.process_id]
    finally:
        engine.close()


def test_reply_comes_in_pieces_and_says_what_torch_says(engine: OpenVinoEngine, base: Path) -> None:
    tally, torchs = Tally(), Tally()
    pieces = list(engine.reply(MESSAGES, replace(GREEDY, tally=tally)))
    assert len(pieces) > 1
    assert "".join(pieces).strip()
    assert "".join(pieces) == "".join(PeftEngine(nano_base(base), CPU).reply(MESSAGES, replace(GREEDY, tally=torchs)))
    assert tally == torchs
    assert tally.tokens > 0


def test_a_reply_that_goes_on_is_the_reply_uncut(engine: OpenVinoEngine) -> None:
    whole = "".join(engine.reply(MESSAGES, GREEDY))
    for size in range(1, 12):
        first = "".join(engine.reply(MESSAGES, replace(GREEDY, max_new_tokens=size)))
        unfinished = [*MESSAGES, {"role": "assistant", "content": first}]
        assert first + "".join(engine.reply(unfinished, replace(GREEDY, max_new_tokens=12 - size))) == whole


def test_same_seed_gives_the_same_reply_and_another_seed_another(engine: OpenVinoEngine) -> None:
    drawn = ["".join(engine.reply(MESSAGES, Sampling(12, temperature=1.5, seed=seed))) for seed in (3, 3, 4, 5)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_several_threads_get_whole_replies(engine: OpenVinoEngine) -> None:
    wanted = "".join(engine.reply(MESSAGES, GREEDY))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append("".join(engine.reply(MESSAGES, GREEDY)))) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 9
    assert (engine.queue.running, engine.queue.waiting) == (0, 0)


def test_closing_stops_the_model(engine: OpenVinoEngine) -> None:
    endless = engine.reply(MESSAGES, Sampling(max_new_tokens=1500, temperature=5.0, seed=5))
    next(endless)
    endless.close()  # type: ignore[attr-defined]
    list(engine.reply(MESSAGES, SHORT))  # by now the worker has read the order
    before = cpu_seconds(engine)
    time.sleep(0.3)
    assert cpu_seconds(engine) - before < 0.1


def cpu_seconds(engine: OpenVinoEngine) -> float:
    """Of the engine's process, proc_pid_stat(5)."""
    fields = Path(f"/proc/{engine.process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_process_that_died_is_told_and_started_again(engine: OpenVinoEngine) -> None:
    endless = engine.reply(MESSAGES, Sampling(max_new_tokens=1500, temperature=5.0, seed=5))
    next(endless)
    subprocess.run(["kill", "-9", str(engine.process_id)], check=True)
    with pytest.raises(BaseModelError, match="the engine ended"):
        list(endless)
    assert list(engine.reply(MESSAGES, SHORT))


def test_who_does_not_read_holds_up_nobody(exported: Path) -> None:
    """With one turn for all: the engine goes on writing, and gives the turn away when it is done."""
    engine = OpenVinoEngine(exported, EngineOptions(cache_tokens=4096, replies_at_once=1))
    with contextlib.closing(engine), contextlib.closing(engine.reply(MESSAGES, GREEDY)) as asleep:  # type: ignore[type-var]
        first = next(asleep)
        found: list[str] = []
        other = threading.Thread(target=lambda: found.append("".join(engine.reply(MESSAGES, GREEDY))))
        other.start()
        other.join(timeout=20)
        assert found == [first + "".join(asleep)]


def test_who_waits_knows_the_place_and_how_long_it_takes(exported: Path) -> None:
    engine = OpenVinoEngine(exported, EngineOptions(cache_tokens=4096, replies_at_once=1))
    list(engine.reply(MESSAGES, SHORT))  # by whose length the wait is told
    with contextlib.closing(engine), contextlib.closing(endless(engine)) as speaking:  # type: ignore[type-var]
        next(speaking)
        found: list[str] = []
        others = [threading.Thread(target=lambda: found.extend(engine.reply(MESSAGES, SHORT))) for _ in range(2)]
        for number, thread in enumerate(others, start=1):
            thread.start()
            ticket = wait_for(lambda thread=thread: engine.queue.find(thread.ident))  # type: ignore[misc]
            assert ticket.place == number
            assert ticket.expected_wait_seconds is not None
        speaking.close()  # type: ignore[attr-defined]
        for thread in others:
            thread.join(timeout=20)
        assert found
        assert (engine.queue.running, engine.queue.waiting) == (0, 0)


def endless(engine: OpenVinoEngine) -> Iterator[str]:
    """A reply of thousands of tokens: what would end it does not."""
    voice = engine.with_adapter("")
    voice.__dict__["_ends"] = (0,)  # padding, which is never said
    return voice.reply(MESSAGES, Sampling(max_new_tokens=3500, temperature=0))


def wait_for(find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_closing_leaves_no_process(exported: Path) -> None:
    engine = OpenVinoEngine(exported, EngineOptions(cache_tokens=4096))
    engine.load()
    number, threads = engine.process_id, {"openvino", "openvino-log"}
    assert Path(f"/proc/{number}").exists()
    engine.close()
    assert not Path(f"/proc/{number}").exists()
    assert engine.process_id is None
    assert list(engine.reply(MESSAGES, SHORT))  # a later reply starts a new one
    second = engine.process_id
    engine.close()
    assert not Path(f"/proc/{second}").exists()
    left = [thread.name for thread in threading.enumerate() if thread.name in threads]
    assert len(left) <= len(threads)  # those of the engine that this module shares


def test_second_version_speaks_through_the_engine_that_is_there(base: Path, exported: Path, tmp_path: Path) -> None:
    wanted = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("one", "other"))}
    first = OpenVinoEngine(exported, EngineOptions(cache_tokens=4096, adapters={"one": tmp_path / "one"}), "one")
    with contextlib.closing(first):
        first.load()
        process = first.process_id
        second = first.with_adapter("other", tmp_path / "other")
        found = ["".join(engine.reply(MESSAGES, GREEDY)) for engine in (first, second, first, second)]
        assert found == [wanted["one"], wanted["other"]] * 2
        assert second.process_id == process
        second.close()  # gives its adapter back; the first one speaks on in its process
        assert "".join(first.reply(MESSAGES, GREEDY)) == wanted["one"]
        assert first.process_id == process
        with pytest.raises(BaseModelError, match="the reply failed"):
            list(second.reply(MESSAGES, GREEDY))
        (tmp_path / "other" / "adapter_model.safetensors").write_bytes(b"damaged")
        with pytest.raises(BaseModelError, match="adapters cannot be loaded"):
            first.with_adapter("other", tmp_path / "other")
        assert "".join(first.reply(MESSAGES, GREEDY)) == wanted["one"]


def test_adapters_at_run_time_do_not_mix(base: Path, exported: Path, tmp_path: Path) -> None:
    wanted = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("one", "other"))}
    engine = OpenVinoEngine(
        exported, EngineOptions(cache_tokens=4096, adapters={name: tmp_path / name for name in wanted})
    )
    order = ["one", "other", "one", "other", "other", "one"]
    found: dict[int, str] = {}

    def speak(number: int, name: str) -> None:
        voice = engine.with_adapter(name)
        found[number] = "".join(voice.reply(MESSAGES, GREEDY))

    threads = [threading.Thread(target=speak, args=each) for each in enumerate(order)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.close()
    assert wanted["one"] != wanted["other"]
    assert [found[number] for number in range(len(order))] == [wanted[name] for name in order]


def save_adapter(base: Path, folder: Path, seed: int) -> str:
    """A random adapter, and what torch says with it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    lora.save_pretrained(folder)
    return "".join(PeftEngine(nano_base(base), CPU, folder).reply(MESSAGES, GREEDY))


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        OpenVinoEngine(tmp_path).load()


def test_neither_torch_nor_transformers_is_imported(exported: Path) -> None:
    program = """
import sys
from pathlib import Path
from character_chatbot.engines.base import Sampling
from character_chatbot.engines.openvino_engine import OpenVinoEngine
engine = OpenVinoEngine(Path(sys.argv[1]))
assert list(engine.reply([{"role": "user", "content": "Bo: Hey."}], Sampling(4, temperature=0)))
maps = Path(f"/proc/{engine.process_id}/maps").read_text()
engine.close()
print([name for name in ("torch", "transformers", "openvino") if name in sys.modules], "libtorch" in maps)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(exported)],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[-2] == "[] False"


@pytest.mark.parametrize("messages", [MESSAGES, MESSAGES[1:2], MESSAGES[:2]])
def test_plain_tokenizer_spells_like_transformers(base: Path, messages: list[dict[str, str]]) -> None:
    from transformers import AutoTokenizer

    plain, theirs = PlainTokenizer(base), AutoTokenizer.from_pretrained(base)
    ids = encode_prompt(theirs, messages)
    assert encode_prompt(plain, messages) == ids  # type: ignore[arg-type]
    assert end_of_turn(plain) == end_of_turn(theirs)  # type: ignore[arg-type]
    assert plain.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_template_cannot_reach_out_of_its_sandbox(base: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{{ messages.__class__.__mro__ }}")
    with pytest.raises(BaseModelError, match="chat template"):
        PlainTokenizer(tmp_path).apply_chat_template(MESSAGES)


def test_no_half_characters_in_any_cut() -> None:
    content = "Añ日本語 \U0001f600!".encode()
    for size in (1, 2, 3, 5):
        text = Detokeniser(lambda ids: bytes(ids).decode(errors="replace"))
        pieces = [text.add(content[at : at + size]) for at in range(0, len(content), size)]
        assert "\ufffd" not in "".join(pieces)
        assert "".join(pieces) == content.decode()


def test_half_a_character_at_the_end_is_left_out() -> None:
    text = Detokeniser(lambda ids: bytes(ids).decode(errors="replace"))
    assert text.add(b"ab\xf0\x9f") == "ab"


def test_queue_is_fair_and_tells_places() -> None:
    queue = FairQueue(slots=1)
    tickets = [queue.join() for _ in range(4)]
    assert [ticket.place for ticket in tickets] == [0, 1, 2, 3]
    tickets[2].close()  # somebody gives up
    tickets[0].close()
    assert [ticket.place for ticket in (tickets[1], tickets[3])] == [0, 1]
    assert not tickets[3].wait(0.01)
    assert tickets[3].expected_wait_seconds is not None
    tickets[1].close()
    assert tickets[3].wait(1)
    tickets[3].close()
    assert (queue.running, queue.waiting) == (0, 0)


def test_one_visitor_reads_the_persona_for_all() -> None:
    persona = list(range(100))
    worker = OneByOne()
    for number, ids in enumerate(([*persona, 1], [*persona, 2], [5] * 101, [*persona, 3]), start=1):
        worker.handle({"add": number, "ids": ids, "adapter": ""})
    worker.step()
    assert worker.begun == [1, 3]  # 2 and 4 begin with what 1 is reading
    worker.step()
    worker.step()
    assert worker.begun == [1, 3, 2, 4]  # it is read: nobody waits for anybody
    worker.handle({"add": 5, "ids": [*persona, 9], "adapter": ""})
    worker.handle({"add": 6, "ids": [*persona, *range(200, 300)], "adapter": ""})
    worker.step()
    assert worker.begun[4:] == [5, 6]


def test_who_waits_for_a_prompt_goes_on_when_it_is_stopped() -> None:
    worker = OneByOne()
    for number in (1, 2):
        worker.handle({"add": number, "ids": [*range(100), number], "adapter": ""})
    worker.step()
    worker.handle({"stop": 1})
    worker.step()
    assert worker.begun == [1, 2]


def test_torch_reads_only_what_is_new(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PeftEngine(nano_base(base), CPU)
    taken: list[int] = []
    real = PromptCache.take

    def take(self: PromptCache, prompt: list[int]) -> object:
        past = real(self, prompt)
        taken.append(len(prompt) - past.get_seq_length())  # type: ignore[attr-defined]
        return past

    monkeypatch.setattr(PromptCache, "take", take)
    first = "".join(engine.reply(MESSAGES[:2], GREEDY))
    longer = [*MESSAGES[:2], {"role": "assistant", "content": first}, {"role": "user", "content": "Bo: Oh."}]
    replies = ["".join(engine.reply(longer, GREEDY)) for _ in range(2)]
    fresh = "".join(PeftEngine(nano_base(base), CPU).reply(longer, GREEDY))
    assert replies == [fresh, fresh]
    assert taken[1] < taken[0] / 2  # one reply later, only its end and the new message
    assert taken[2] == 1


def test_closed_reply_does_not_spoil_what_was_read(base: Path) -> None:
    engine = PeftEngine(nano_base(base), CPU)
    wanted = "".join(engine.reply(MESSAGES, GREEDY))
    with contextlib.closing(engine.reply(MESSAGES, Sampling(200, temperature=5.0, seed=1))) as pieces:  # type: ignore[type-var]
        next(pieces)
    assert "".join(engine.reply(MESSAGES, GREEDY)) == wanted


def test_cache_forgets_the_oldest_conversation_beyond_its_tokens() -> None:
    def read(number: int) -> None:
        past = DynamicCache()
        past.update(torch.zeros(1, 1, 100, 4), torch.zeros(1, 1, 100, 4), 0)
        cache.keep([number] * 100, past)

    import torch
    from transformers import DynamicCache

    cache = PromptCache(capacity=4, tokens=250)
    for number in (1, 2, 3):
        read(number)
    known = {number: cache.take([number] * 101).get_seq_length() for number in (1, 2, 3)}
    assert known == {1: 0, 2: 100, 3: 100}


def test_common_prefix() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_prefix([1, 2], [1, 2, 3]) == 2
    assert common_prefix([], [1]) == 0
