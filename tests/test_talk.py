"""What happens in the chat, without a browser: speaking, the tree of messages, scenes, conversations, what is kept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from character_chatbot.acts.evidence import keep_evidence
from character_chatbot.acts.talk import Talk
from character_chatbot.acts.views import Change, View, Views, lay
from character_chatbot.acts.visit import LOCAL, Visit, read_owner, read_visit
from character_chatbot.cards.card import build_card
from character_chatbot.chats.records import DONE, FAILED, STOPPED, Message
from character_chatbot.chats.store import ChatStore
from character_chatbot.engines.base import EchoEngine
from character_chatbot.engines.fair_queue import FairQueue
from character_chatbot.pages.conversation_list import conversation_list
from character_chatbot.pages.transcript import live_block, shown_text, transcript
from character_chatbot.prompts import Turn
from character_chatbot.recall.memory import Memory
from character_chatbot.replies.reply_stream import Evidence
from character_chatbot.service import Reply, Service, read_name
from character_chatbot.sources import Source, SourceFinder
from config import PROJECT_FOLDER, Settings, load_settings
from utils.announcements import Announcements
from utils.characters import Cast, Character
from utils.errors import BaseModelError, DataError, UsageError
from utils.registry import Registry
from utils.stores import FolderStore

SAMPLE = PROJECT_FOLDER / "data" / "sample_series"
CAST = Cast([Character("Kit", ("Miss Sorrel",)), Character("Rosa"), Character("Sera")])
ANN = Visit(character="Kit", name="Ann")
EVIL = "<img src=x onerror=alert(1)> ${alert(2)} {{value}}"


class CountingEngine:
    """Says how often it was asked, and remembers with what."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Mapping[str, str]]] = []

    def reply(self, messages: Sequence[Mapping[str, str]], sampling: Any) -> Iterator[str]:
        self.asked.append(messages)
        yield f"reply {len(self.asked)}"


class SlowEngine:
    """Counts up until it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.running = 0

    def reply(self, messages: Sequence[Any], sampling: Any) -> Iterator[str]:
        self.running += 1
        try:
            for number in range(1000):
                time.sleep(0.01)
                yield f"{number} "
        finally:
            self.running -= 1
            self.closed.set()


class BrokenEngine:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def reply(self, messages: Sequence[Any], sampling: Any) -> Iterator[str]:
        yield "Well, "
        raise self._error


def make_settings(folder: Path = SAMPLE, **flags: object) -> Settings:
    named = {key.replace("__", "."): value for key, value in flags.items()}
    return load_settings(env_file=Path("/none"), environment={}, flags={"paths.data": folder} | named)


def make_source(engine: Any, rung: str = "base", **more: Any) -> Source:
    return Source(rung, f"the {rung}", "Pellan", CAST, ("Kit", "Rosa", "Sera"), lambda character: engine, **more)


@pytest.fixture
def talk_with(tmp_path: Path) -> Callable[..., Talk]:
    def make(engine: Any, **more: Any) -> Talk:
        service = Service(make_settings(tmp_path), lambda *_: make_source(engine, **more))
        service.load()
        return Talk(service, ChatStore(None), "Kept nowhere.")

    return make


def run(views: Views) -> list[View]:
    async def collect() -> list[View]:
        return [view async for view in views]

    return asyncio.run(collect())


def at(view: View, visit: Visit = ANN) -> Visit:
    """The visit as the page has it after a view."""
    kept = view["visit"]
    return replace(visit, conversation=kept["conversation"], shown=kept["shown"])


def texts(view: View) -> list[str]:
    """What is said in the transcript, first to last."""
    return re.findall(r'<p class="text"[^>]*>(.*?)</p>', view["transcript"], re.DOTALL)


def path(talk: Talk, visit: Visit) -> list[Message]:
    return talk.store.path(visit.owner, visit.conversation)


def say(talk: Talk, text: str, visit: Visit = ANN) -> Visit:
    return at(run(talk.send(visit, text))[-1], visit)


def press(talk: Talk, visit: Visit, act: str, **more: Any) -> View:
    return run(talk.press(visit, {"act": act, **more}))[-1]


# speaking


def test_a_message_is_answered_and_the_box_is_emptied_once(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    views = run(talk.send(ANN, "one two three"))
    assert texts(views[-1]) == ["one two three", "one two three"]
    assert views[0]["box"] == ""
    assert not any("box" in view for view in views[1:])
    assert views[0]["stop"]["interactive"]
    assert not views[0]["send"]["interactive"]
    assert not views[-1]["stop"]["interactive"]
    assert views[-1]["send"]["interactive"]
    said, reply = path(talk, at(views[-1]))
    assert (said.speaker, reply.speaker, reply.state, reply.engine) == ("Ann", "Kit", DONE, "the base")


def test_a_long_reply_grows_in_steps(talk_with: Callable[..., Talk]) -> None:
    views = run(talk_with(EchoEngine()).send(ANN, " ".join(map(str, range(30)))))
    lengths = [len(view["live"]) for view in views[1:-1]]
    assert len(set(lengths)) > 3
    assert lengths == sorted(lengths)
    assert views[-1]["live"] == ""


def test_stop_reaches_the_engine_and_keeps_what_came(talk_with: Callable[..., Talk]) -> None:
    engine = SlowEngine()
    talk = talk_with(engine)

    async def act() -> tuple[View, View]:
        async with contextlib.aclosing(talk.send(ANN, "Count.")) as views:
            visit = at(await anext(views))
            async for view in views:
                if "3 4" in view["live"]:
                    break
            stopping = asyncio.create_task(anext(talk.stop(visit)))
            last = [view async for view in views][-1]
            return await stopping, last

    stopped, last = asyncio.run(act())
    assert engine.closed.wait(2)
    assert engine.running == 0
    for view in (stopped, last):
        assert texts(view)[1].startswith("0 1 2")
        assert "(stopped)" in view["transcript"]
        assert view["send"]["interactive"]
    assert path(talk, at(last))[-1].state == STOPPED


def test_a_visitor_who_leaves_stops_the_engine_and_finds_what_came(talk_with: Callable[..., Talk]) -> None:
    engine = SlowEngine()
    talk = talk_with(engine)

    async def leave() -> Visit:
        async with contextlib.aclosing(talk.send(ANN, "Count.")) as views:
            visit = at(await anext(views))
            async for view in views:
                if "3 4" in view["live"]:
                    return visit
        raise AssertionError

    visit = asyncio.run(leave())
    assert engine.closed.wait(2)
    view = run(talk.open(visit))[-1]
    assert texts(view)[1].startswith("0 1 2")
    assert view["send"]["interactive"]


def test_another_tab_watches_and_may_stop(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(SlowEngine())

    async def act() -> tuple[list[View], View, View]:
        async with contextlib.aclosing(talk.send(ANN, "Count.")) as views:
            visit = at(await anext(views))
            await anext(views)
            refused = await anext(talk.send(visit, "Again."))
            other = asyncio.create_task(collect(talk.open(visit)))
            while len(talk.writing[visit.conversation].text) < 12:
                await anext(views)
            stopping = asyncio.create_task(anext(talk.stop(visit)))
            [_ async for _ in views]
            await stopping
            return await other, refused, view_of(await other)

    async def collect(views: Views) -> list[View]:
        return [view async for view in views]

    def view_of(views: list[View]) -> View:
        return views[-1]

    watched, refused, last = asyncio.run(act())
    assert "on its way" in refused["notice"]
    assert len({view["live"] for view in watched if "live" in view}) > 2
    assert "(stopped)" in last["transcript"]


@pytest.mark.parametrize("come", ["open", "open_conversation"])
def test_a_tab_that_comes_as_the_reply_ends_shows_all_of_it(come: str, talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(SlowEngine())

    async def act() -> tuple[View, View]:
        async with contextlib.aclosing(talk.send(ANN, "Count.")) as views:
            visit = replace(at(await anext(views)), tab="other")
            await anext(views)
            watching = talk.open(visit) if come == "open" else talk.open_conversation(visit, visit.conversation)
            begun = await anext(watching)
            talk.writing[visit.conversation].stop()
            async for _ in views:
                pass
            return begun, [view async for view in watching][-1]

    begun, ended = asyncio.run(act())
    assert texts(begun) == ["Count."]
    assert not begun["send"]["interactive"]
    assert texts(ended)[1].startswith("0")
    assert ended["send"]["interactive"]


@pytest.mark.parametrize("act", ["send", "retry", "look"])
def test_a_tab_beside_the_one_that_speaks_shows_the_reply(act: str, talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(SlowEngine())

    async def both() -> list[View]:
        async with contextlib.aclosing(talk.send(replace(ANN, tab="one"), "Count.")) as views:
            visit = replace(at(await anext(views)), tab="two")
            asked: dict[str, Callable[[], Views]] = {
                "send": lambda: talk.send(visit, "Again."), "retry": lambda: talk.retry(visit),
                "look": lambda: talk.press(visit, {"act": "look"}),
            }  # fmt: skip
            other = asyncio.create_task(collect(asked[act]()))
            while len(talk.writing[visit.conversation].text) < 12:
                await anext(views)
            talk.writing[visit.conversation].stop()
            [_ async for _ in views]
            return await other

    async def collect(views: Views) -> list[View]:
        return [view async for view in views]

    first, *grows, last = asyncio.run(both())
    assert ("on its way" in first["notice"]) is (act != "look")
    assert texts(first) == ["Count."]
    assert (first["send"]["interactive"], first["stop"]["interactive"]) == (False, True)
    assert "box" not in first, "what was typed stays"
    assert len({view["live"] for view in grows}) > 1
    assert texts(last)[1].startswith("0")
    assert (last["notice"], last["send"]["interactive"]) == ("", True)


def test_a_tab_that_is_looked_at_again_shows_what_was_done_in_another(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = replace(say(talk, "One."), tab="one")
    run(talk.open(visit))
    assert run(talk.press(visit, {"act": "look"})) == []
    say(talk, "Two.", replace(visit, tab="two"))
    assert texts(press(talk, visit, "look"))[::2] == ["One.", "Two."]
    assert run(talk.press(visit, {"act": "look"})) == []
    press(talk, replace(visit, tab="two"), "delete")
    assert "Say something to begin" in press(talk, visit, "look")["transcript"]


def test_several_visitors_are_answered_side_by_side(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())

    async def visit(number: int) -> str:
        visitor = replace(ANN, token=f"{number:032x}")
        return texts([view async for view in talk.send(visitor, f"I am {number}")][-1])[1]

    async def all_visits() -> list[str]:
        return await asyncio.gather(*map(visit, range(5)))

    assert asyncio.run(all_visits()) == [f"I am {number}" for number in range(5)]
    assert talk.writing == {}


@pytest.mark.parametrize(("text", "sentence"), [("  \x00", "empty"), ("x" * 5000, "5,000 characters")])
def test_a_message_that_cannot_be_sent_stays_in_the_box(
    text: str, sentence: str, talk_with: Callable[..., Talk]
) -> None:
    views = run(talk_with(EchoEngine()).send(ANN, text))
    assert sentence in views[-1]["notice"]
    assert not any("box" in view or "transcript" in view for view in views)


def test_nobody_is_chosen(talk_with: Callable[..., Talk]) -> None:
    assert "choose a character" in run(talk_with(EchoEngine()).send(Visit(), "Hi."))[-1]["notice"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(BaseModelError("the base is gone."), "the base is gone."), (RuntimeError("no memory"), "no memory")],
)
def test_an_engine_that_fails_is_a_sentence_in_the_chat(
    error: Exception, sentence: str, talk_with: Callable[..., Talk]
) -> None:
    talk = talk_with(BrokenEngine(error))
    view = run(talk.send(ANN, "Hi."))[-1]
    assert texts(view)[1] == "Well,"
    assert sentence in view["transcript"]
    assert "Traceback" not in view["transcript"]
    assert view["retry"]["interactive"]
    assert path(talk, at(view))[-1].state == FAILED


def test_a_failed_reply_is_never_part_of_the_next_prompt(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(BrokenEngine(BaseModelError("gone.")))
    visit = say(talk, "Hi.")
    assert [turn.text for turn in talk.store.turns(LOCAL, visit.conversation)] == ["Hi."]


def test_a_source_that_cannot_be_had_is_shown_and_said(tmp_path: Path) -> None:
    def find(*_: object) -> Source:
        raise DataError("nobody can answer: no lines.", remedies=[("See", "status")])

    service = Service(make_settings(tmp_path), find)
    service.load()
    talk = Talk(service, ChatStore(None))
    assert "nobody can answer" in run(talk.open(Visit()))[-1]["banner"]
    assert "nobody can answer" in run(talk.send(ANN, "Hi."))[-1]["notice"]


def test_a_fault_while_loading_is_a_sentence_too(tmp_path: Path) -> None:
    service = Service(make_settings(tmp_path), lambda *_: 1 / 0)  # type: ignore[arg-type, return-value]
    service.load()
    assert "ZeroDivisionError" in str(service.problem)


def loading(folder: Path) -> tuple[Talk, threading.Event]:
    """A chat whose model is loaded once the event is set."""
    go = threading.Event()

    def find(*_: object) -> Source:
        go.wait(5)
        return make_source(EchoEngine())

    service = Service(make_settings(folder), find)
    service.start()
    return Talk(service, ChatStore(None)), go


async def with_event(views: Views, go: threading.Event) -> list[View]:
    seen = []
    async for view in views:
        seen.append(view)
        go.set()
    return seen


def test_who_writes_before_the_characters_are_known_talks_to_the_first(tmp_path: Path) -> None:
    talk, go = loading(tmp_path)
    view = asyncio.run(with_event(talk.send(Visit(name="Ann"), "Good evening."), go))[-1]
    assert texts(view) == ["Good evening.", "Good evening."]
    assert talk.store.get(LOCAL, view["visit"]["conversation"]).characters == ("Kit",)


def test_the_first_message_waits_for_the_model(tmp_path: Path) -> None:
    talk, go = loading(tmp_path)
    views = asyncio.run(with_event(talk.send(ANN, "Hi there."), go))
    assert "Loading the model" in views[0]["notice"]
    assert not views[0]["characters"]["interactive"]
    assert views[1]["characters"]["interactive"]
    assert texts(views[-1]) == ["Hi there.", "Hi there."]


def test_the_characters_are_known_before_the_model() -> None:
    talk, go = loading(SAMPLE)
    first, *_, last = asyncio.run(with_event(talk.open(Visit()), go))
    assert "Grell" in first["characters"]["choices"]
    assert "Loading" in first["speaking"]
    assert last["characters"]["choices"] == ["Kit", "Rosa", "Sera"]
    assert "the base" in last["speaking"]


def test_who_is_chosen_while_the_model_loads_stays_chosen() -> None:
    talk, go = loading(SAMPLE)

    async def act() -> tuple[list[View], list[View]]:
        opening = asyncio.create_task(with_event(talk.open(Visit(tab="tab")), threading.Event()))
        while not talk.service.characters:
            await asyncio.sleep(0.01)
        picking = asyncio.create_task(with_event(talk.pick(Visit(character="Rosa", tab="tab")), go))
        return await opening, await picking

    opened, picked = asyncio.run(act())
    assert set(opened[-1]) == {"characters"}
    assert "value" not in opened[-1]["characters"]
    assert "<b>Rosa</b>" in picked[-1]["speaking"]


def test_who_is_new_is_there_when_the_visitor_comes_back(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    talk.service._source = replace(talk.service.source, characters=(*talk.service.source.characters, "Nadia"))
    (view,) = run(talk.meet(ANN))
    assert "Nadia" in view["characters"]["choices"]
    assert "Nadia" in view["scene"]["choices"]
    assert "value" not in view["characters"]  # who was chosen stays chosen


def test_what_was_not_trained_is_announced_where_it_speaks(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine(), rung="version", trained=("Kit",), run={"family": "llama"}, version="v")
    assert run(talk.pick(ANN))[-1]["banner"] == ""
    assert "train llama" in run(talk.pick(replace(ANN, character="Rosa")))[-1]["banner"]


# alternatives, edits, branches


def test_retry_keeps_the_reply_before_as_an_alternative(talk_with: Callable[..., Talk]) -> None:
    engine = CountingEngine()
    talk = talk_with(engine)
    visit = say(talk, "Hello.")
    view = run(talk.retry(visit))[-1]
    assert texts(view) == ["Hello.", "reply 2"]
    assert ">2/2<" in view["transcript"]
    reply = path(talk, visit)[-1]
    assert texts(press(talk, visit, "left", id=str(reply.id))) == ["Hello.", "reply 1"]
    assert [each["content"] for each in engine.asked[1] if each["role"] == "assistant"] == []


def test_retry_without_a_message_is_a_sentence(talk_with: Callable[..., Talk]) -> None:
    assert "no message" in run(talk_with(EchoEngine()).retry(ANN))[-1]["notice"]


def test_a_message_without_a_reply_gets_one(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(CountingEngine())
    conversation = talk.store.begin(LOCAL, ["Kit"], "Ann")
    talk.store.say(LOCAL, conversation.id, "Hello?")
    assert texts(run(talk.retry(ANN.at(conversation.id)))[-1]) == ["Hello?", "reply 1"]


def test_a_reply_goes_on(talk_with: Callable[..., Talk]) -> None:
    engine = CountingEngine()
    talk = talk_with(engine)
    visit = say(talk, "Hello.")
    views = run(talk.go_on(visit))
    assert texts(views[-1]) == ["Hello.", "reply 1reply 2"]
    assert "reply 1" in views[0]["live"], "what is there already is shown while more comes"
    assert list(engine.asked[1]) == [*engine.asked[0], {"role": "assistant", "content": "reply 1"}]
    assert len(path(talk, visit)) == 2


def test_an_edited_message_is_asked_on_a_branch_of_its_own(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "Red?")
    first = path(talk, visit)[0]
    view = press(talk, visit, "edit", id=str(first.id), text="Blue?")
    assert texts(view) == ["Blue?", "Blue?"]
    edited = path(talk, visit)[0]
    assert texts(press(talk, visit, "left", id=str(edited.id))) == ["Red?", "Red?"]


def test_an_edited_reply_asks_nobody(talk_with: Callable[..., Talk]) -> None:
    engine = CountingEngine()
    talk = talk_with(engine)
    visit = say(talk, "Hello.")
    view = press(talk, visit, "edit", id=str(path(talk, visit)[-1].id), text="Better.")
    assert texts(view) == ["Hello.", "Better."]
    assert len(engine.asked) == 1


def test_a_branch_is_a_conversation_of_its_own(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "One.")
    say(talk, "Two.", visit)
    view = press(talk, visit, "branch", id=str(path(talk, visit)[1].id))
    assert texts(view) == ["One.", "One."]
    assert at(view).conversation != visit.conversation
    assert "(branch)" in view["conversations"]
    assert len(path(talk, visit)) == 4


def test_undo_puts_the_message_back_and_redo_takes_it_again(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "Two.", say(talk, "One."))
    undone = run(talk.undo(visit))[-1]
    assert (undone["box"], texts(undone)) == ("Two.", ["One.", "One."])
    assert undone["redo"]["interactive"]
    redone = run(talk.redo(visit))[-1]
    assert (redone["box"], texts(redone)) == ("", ["One.", "One.", "Two.", "Two."])
    assert not redone["redo"]["interactive"]


def test_thumbs_are_kept_and_taken_back(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "One.")
    reply = path(talk, visit)[-1]
    assert 'aria-pressed="true"' in press(talk, visit, "up", id=str(reply.id))["transcript"]
    assert path(talk, visit)[-1].rating == "up"
    assert 'aria-pressed="true"' not in press(talk, visit, "up", id=str(reply.id))["transcript"]
    assert "only replies" in press(talk, visit, "down", id=str(path(talk, visit)[0].id))["notice"]


@pytest.mark.parametrize(
    "pressed",
    [{}, {"act": "left"}, {"act": "edit", "id": "../../x", "text": "a"}, {"act": "up", "id": [1]}, {"act": ["x"]},
     {"act": "open", "id": "' OR 1=1"}, {"act": "export", "kind": "../x"}, {"act": "import", "content": "%%%"},
     {"act": "rename", "text": None}, {"act": "__init__"}, {"act": "branch", "id": "9" * 40}],
)  # fmt: skip
def test_whatever_a_browser_says_is_a_sentence_at_worst(
    pressed: dict[str, Any], talk_with: Callable[..., Talk]
) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "One.")
    view = run(talk.press(visit, pressed))[-1]
    assert 'role="alert"' in view["notice"]
    assert len(path(talk, visit)) == 2


# scenes


GROUP = replace(ANN, scene=("Kit", "Rosa", "Sera"))


def speakers(talk: Talk, visit: Visit) -> list[str]:
    return [each.speaker for each in path(talk, visit)]


def test_who_is_spoken_to_answers_and_the_others_may_go_on(talk_with: Callable[..., Talk]) -> None:
    engine = CountingEngine()
    talk = talk_with(engine)
    view = run(talk.send(GROUP, "Rosa, who is there?"))[-1]
    visit = at(view, GROUP)
    assert view["talk_row"]["visible"]
    assert view["talk"]["interactive"]
    run(talk.let_talk(visit))
    run(talk.let_talk(visit))
    assert speakers(talk, visit) == ["Ann", "Rosa", "Kit", "Sera"]
    last = engine.asked[-1]
    assert [each["role"] for each in last] == ["system", "user"]
    assert "Rosa: reply 1\nKit: reply 2" in last[-1]["content"]


def test_turns_go_round_or_are_chosen(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(CountingEngine())
    visit = say(talk, "Sera, hello.", replace(GROUP, next="in turn"))
    visit = at(run(talk.let_talk(replace(GROUP, conversation=visit.conversation, next="Sera")))[-1], GROUP)
    assert speakers(talk, visit) == ["Ann", "Kit", "Sera"]
    assert "Sera has just spoken" in run(talk.let_talk(replace(visit, next="Sera")))[-1]["notice"]


def test_a_retry_in_a_scene_is_by_the_same_character(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(CountingEngine())
    visit = say(talk, "Rosa, hello.", GROUP)
    run(talk.retry(replace(visit, next="Sera")))
    assert speakers(talk, visit) == ["Ann", "Rosa"]


CARD = {
    "spec": "chara_card_v3", "spec_version": "3.0",
    "data": {
        "name": "Sera", "description": "A ghost.", "first_mes": "*appears* Hello, {{user}}.",
        "alternate_greetings": ["Who woke {{char}}?"], "system_prompt": "{{char}} whispers.",
        "post_history_instructions": "Never wake {{user}}.",
        "character_book": {"entries": [
            {"keys": ["lamp"], "content": "The lamp belongs to {{char}}.", "enabled": True, "insertion_order": 1},
            {"keys": ["boat"], "content": "The boat is gone.", "enabled": True, "insertion_order": 2},
        ]},
    },
}  # fmt: skip
SERA = Visit(character="Sera", name="Ann")


def test_a_card_greets_knows_and_instructs(talk_with: Callable[..., Talk]) -> None:
    engine = CountingEngine()
    talk = talk_with(engine, cards={"Sera": build_card(CARD)})
    greeted = run(talk.pick(SERA))[-1]
    visit = at(greeted, SERA)
    assert texts(greeted) == ["<em>*appears*</em> Hello, Ann."]
    assert ">1/2<" in greeted["transcript"]
    assert texts(press(talk, visit, "right", id=str(path(talk, visit)[0].id))) == ["Who woke Sera?"]
    view = run(talk.send(visit, "Is this your lamp?"))[-1]
    system, user = engine.asked[0]
    assert "Sera whispers." in system["content"]
    assert "Never wake Ann." in system["content"]
    assert "Sera has begun with: Who woke Sera?" in system["content"]
    assert "The series is" not in system["content"]
    assert "The lamp belongs to Sera." in user["content"]
    assert "boat" not in user["content"]
    assert "1 thing known<" in view["transcript"], "the greeting is in the note: no turn was left out"


def test_the_settings_say_how_much_of_a_lorebook_is_told(talk_with: Callable[..., Talk]) -> None:
    engine = CountingEngine()
    talk = talk_with(engine, cards={"Sera": build_card(CARD)})
    talk.service.settings = make_settings(cards__lore_tokens=3)
    say(talk, "Is this your lamp?", SERA)
    assert "The lamp belongs to Sera." not in engine.asked[0][-1]["content"]


def test_a_character_of_the_series_has_no_greeting(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(CountingEngine(), cards={"Sera": build_card(CARD)})
    assert "Say something to begin" in run(talk.pick(ANN))[-1]["transcript"]
    assert talk.store.list_of(LOCAL) == []


# conversations


def test_the_last_conversation_comes_back_with_its_cast(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    say(talk, "One.", GROUP)
    view = run(talk.open(Visit()))[-1]
    assert texts(view) == ["One.", "One."]
    assert view["characters"]["value"] == "Kit"
    assert view["characters"]["choices"] == ["Kit", "Rosa", "Sera"]
    assert view["scene"]["value"] == ["Kit", "Rosa", "Sera"]


def test_each_cast_has_its_last_conversation_and_new_begins_another(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    kit = say(talk, "Kit.")
    group = say(talk, "All.", GROUP)
    assert at(run(talk.pick(ANN))[-1]) == replace(ANN, conversation=kit.conversation)
    assert at(run(talk.gather(GROUP))[-1]).conversation == group.conversation
    assert run(talk.pick(replace(ANN, character="Rosa")))[-1]["visit"]["conversation"] == ""
    begun = run(talk.new(kit))[-1]
    assert begun["visit"]["conversation"] == ""
    assert say(talk, "Again.", at(begun)).conversation not in ("", kit.conversation)


def test_who_is_added_joins_the_conversation_that_is_shown(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "Kit alone.")
    joined = run(talk.gather(replace(visit, scene=("Kit", "Rosa"))))[-1]
    assert texts(joined) == ["Kit alone.", "Kit alone."]
    assert "Kit, Rosa" in joined["speaking"]
    visit = replace(at(joined), scene=("Kit", "Rosa"))
    assert [each.speaker for each in path(talk, say(talk, "Rosa, and you?", visit))][-1] == "Rosa"


def test_who_is_taken_out_speaks_no_more_and_what_was_said_stays(talk_with: Callable[..., Talk]) -> None:
    engine = CountingEngine()
    talk = talk_with(engine)
    visit = say(talk, "Rosa, who is there?", GROUP)
    view = run(talk.gather(replace(visit, scene=("Kit", "Sera"))))[-1]
    assert view["visit"]["conversation"] == visit.conversation
    assert texts(view) == ["Rosa, who is there?", "reply 1"]
    assert "Rosa will not answer any more" in view["notice"]
    assert ("Rosa", "Rosa") not in view["next"]["choices"]
    kept = talk.store.get(visit.owner, visit.conversation)
    assert (kept.characters, kept.departed) == (("Kit", "Sera"), ("Rosa",))
    left = replace(visit, scene=("Kit", "Sera"))
    for act in (talk.retry, talk.go_on):
        assert "Rosa takes part no more" in run(act(left))[-1]["notice"]
    assert "Rosa cannot talk to themselves" in run(talk.send(replace(left, name="Rosa"), "Me."))[-1]["notice"]
    say(talk, "Rosa, and now?", left)
    assert speakers(talk, left) == ["Ann", "Rosa", "Ann", "Kit"]
    assert "Rosa: reply 1" in engine.asked[-1][1]["content"]
    alone = at(run(talk.gather(replace(left, scene=("Kit",))))[-1], ANN)
    assert texts(run(talk.retry(alone))[-1])[-1] == "reply 3"
    branch = at(press(talk, alone, "branch", id=str(path(talk, alone)[-1].id)), ANN)
    assert speakers(talk, branch) == ["Ann", "Rosa", "Ann", "Kit"]
    again = run(talk.gather(GROUP.at(visit.conversation)))[-1]
    assert again["notice"] == ""
    back = talk.store.get(visit.owner, visit.conversation)
    assert (set(back.characters), back.departed) == ({"Kit", "Rosa", "Sera"}, ())


def test_the_first_may_be_taken_out_as_well(talk_with: Callable[..., Talk]) -> None:
    engine = CountingEngine()
    talk = talk_with(engine)
    visit = say(talk, "Kit, who is there?", GROUP)
    view = run(talk.gather(replace(visit, scene=("Sera", "Rosa"))))[-1]
    assert view["visit"]["conversation"] == visit.conversation
    assert texts(view) == ["Kit, who is there?", "reply 1"]
    assert "Kit will not answer any more" in view["notice"]
    assert view["characters"]["value"] == "Rosa"
    assert "scene" not in view, "what is shown already is left alone: more may be chosen at this moment"
    assert "<b>Sera, Rosa</b>" in view["speaking"]
    left = replace(visit, character="Rosa", scene=("Sera", "Rosa"))
    assert "Kit takes part no more" in run(talk.retry(left))[-1]["notice"]
    say(talk, "Kit, and now?", left)
    assert speakers(talk, left) == ["Ann", "Kit", "Ann", "Rosa"]
    kept = talk.store.get(visit.owner, visit.conversation)
    assert (kept.characters, kept.departed, kept.name) == (("Rosa", "Sera"), ("Kit",), "Rosa, Sera")
    again = run(talk.open(Visit()))[-1]
    assert (again["characters"]["value"], again["scene"]["value"]) == ("Rosa", ["Rosa", "Sera"])
    for kind, name in (("json", "talk.json"), ("sillytavern", "talk.jsonl")):
        text = json.loads(run(talk.export(left, kind))[-1]["download"])["text"]
        read = at(run(talk.read(Visit(), name, base64.b64encode(text.encode()).decode()))[-1])
        copy = talk.store.get(LOCAL, read.conversation)
        assert (copy.characters, copy.departed) == (kept.characters, kept.departed)
    back = run(talk.gather(replace(left, scene=("Sera", "Rosa", "Kit"))))[-1]
    assert back["notice"] == ""
    assert talk.store.get(visit.owner, visit.conversation).departed == ()


def test_somebody_has_to_stay(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "Hello.")
    for shown in (visit, ANN):
        refused = run(talk.gather(replace(shown, scene=())))[-1]
        assert "somebody has to stay" in refused["notice"]
        assert (refused["characters"]["value"], refused["scene"]["value"]) == ("Kit", ["Kit"])
    assert talk.store.get(visit.owner, visit.conversation).characters == ("Kit",)
    renamed = talk.store.rename(LOCAL, visit.conversation, "The lamp")
    run(talk.gather(replace(visit, scene=("Rosa",))))
    assert talk.store.get(LOCAL, visit.conversation).name == renamed.name
    alone = run(talk.gather(replace(ANN, scene=("Sera",))))[-1]
    assert alone["characters"]["value"] == "Sera"
    assert alone["visit"]["conversation"] == ""


def test_who_is_not_known_here_stays_and_may_be_left_alone(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    kept = talk.store.begin(LOCAL, ["Ghost", "Kit"], "Ann")
    run(talk.gather(replace(ANN.at(kept.id), scene=("Kit", "Rosa"))))
    assert talk.store.get(LOCAL, kept.id).characters == ("Ghost", "Kit", "Rosa")
    assert run(talk.gather(replace(ANN.at(kept.id), scene=())))[-1]["notice"] != ""
    assert talk.store.get(LOCAL, kept.id).characters == ("Ghost",)


def test_a_choice_waits_for_the_conversation_it_belongs_to(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    kit, rosa = say(talk, "Kit."), say(talk, "Rosa.", replace(ANN, character="Rosa"))
    tab = replace(kit, tab="tab")
    there = replace(tab, character="Rosa", scene=("Rosa", "Sera"))
    run(talk.open_conversation(tab, kit.conversation))

    async def act() -> None:
        number = talk.move(tab)
        adding = asyncio.create_task(with_event(talk.gather(there), threading.Event()))
        await asyncio.sleep(0.05)
        talk._remember(tab.at(rosa.conversation))
        talk.arrive(tab, number)
        await adding

    asyncio.run(act())
    assert talk.store.get(LOCAL, kit.conversation).characters == ("Kit",)
    assert talk.store.get(LOCAL, rosa.conversation).characters == ("Rosa", "Sera")


def test_nobody_joins_whose_name_the_visitor_has_used(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "Hello.")
    say(talk, "I am Sera.", replace(visit, name="Sera"))
    refused = run(talk.gather(replace(visit, scene=("Kit", "Sera"))))[-1]
    assert "spoken as Sera" in refused["notice"]
    assert refused["scene"]["value"] == ["Kit"]
    assert talk.store.get(visit.owner, visit.conversation).characters == ("Kit",)


def test_search_opens_the_message_on_whatever_branch_it_is(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "A lantern?")
    old = path(talk, visit)[0]
    press(talk, visit, "edit", id=str(old.id), text="A lamp?")
    found = run(talk.search(replace(visit, search="lantern")))[-1]["conversations"]
    assert f'data-message="{old.id}"' in found
    view = press(talk, visit, "open", id=visit.conversation, message=str(old.id))
    assert texts(view)[0] == "A lantern?"
    assert 'class="message user found"' in view["transcript"]
    assert "Nothing found" in run(talk.search(replace(visit, search="zeppelin")))[-1]["conversations"]


def test_rename_delete_and_delete_all(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "One.")
    assert "A night" in press(talk, visit, "rename", text="A night")["conversations"]
    assert "is empty" in press(talk, visit, "rename", text=" ")["notice"]
    gone = press(talk, visit, "delete")
    assert gone["visit"]["conversation"] == ""
    assert "No conversation yet" in gone["conversations"]
    say(talk, "Two.")
    say(talk, "Three.", GROUP)
    assert "2 conversations are deleted" in press(talk, ANN, "delete_all")["notice"]
    assert talk.store.list_of(LOCAL) == []


def test_a_conversation_deleted_while_its_reply_is_written_stays_deleted(talk_with: Callable[..., Talk]) -> None:
    engine = SlowEngine()
    talk = talk_with(engine)

    async def act() -> None:
        async with contextlib.aclosing(talk.send(ANN, "Count.")) as views:
            visit = at(await anext(views))
            await anext(views)
            await anext(talk.delete(visit))
            async with asyncio.timeout(5):
                last = [view async for view in views][-1]
            assert "Say something" in last["transcript"]

    asyncio.run(act())
    assert engine.closed.wait(2)
    assert talk.store.list_of(LOCAL) == []
    assert talk.writing == {}


@pytest.mark.parametrize(("kind", "ending"), [("json", ".json"), ("markdown", ".md"), ("sillytavern", ".jsonl")])
def test_a_file_is_written_and_read_again(kind: str, ending: str, talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    visit = say(talk, "A lamp?")
    file = json.loads(press(talk, visit, "export", kind=kind)["download"])
    assert file["name"] == f"Kit{ending}"
    assert "A lamp?" in file["text"]
    content = base64.b64encode(file["text"].encode()).decode()
    if kind == "markdown":
        assert 'role="alert"' in press(talk, visit, "import", name="a.md", content=content)["notice"]
        return
    view = press(talk, visit, "import", name=file["name"], content=content)
    assert texts(view) == ["A lamp?", "A lamp?"]
    assert at(view).conversation != visit.conversation


def test_a_broken_file_is_a_sentence_that_names_the_line(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    broken = b'{"user_name": "Ann", "character_name": "Kit"}\n{"name": "Ann", "is_user": true, "mes": "Hi"}\n{"name"'
    view = press(talk, ANN, "import", name="b.jsonl", content=base64.b64encode(broken).decode())
    assert "b.jsonl" in view["notice"]
    assert "line 3" in view["notice"]
    assert "larger than" in press(talk, ANN, "import", name="c", content="A" * 30_000_000)["notice"]
    card = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    assert "Characters tab" in press(talk, ANN, "import", name="kit.png", content=card)["notice"]


def test_a_conversation_of_another_series_can_be_read(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    conversation = talk.store.begin(LOCAL, ["Nemo"], "Ann")
    talk.store.say(LOCAL, conversation.id, "Hello.")
    view = run(talk.open(ANN.at(conversation.id)))[-1]
    assert texts(view) == ["Hello."]
    assert "Nemo" in run(talk.send(ANN.at(conversation.id), "Still there?"))[-1]["notice"]
    assert len(path(talk, ANN.at(conversation.id))) == 1


def test_nobody_sees_the_conversations_of_another(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    ann, bob = replace(ANN, token="a" * 32), replace(ANN, token="b" * 32)
    secret = say(talk, "My secret.", ann)
    stolen = replace(bob, conversation=secret.conversation)
    message = str(path(talk, secret)[-1].id)
    views = [
        *run(talk.open(stolen)), *run(talk.search(replace(stolen, search="secret"))), *run(talk.retry(stolen)),
        *run(talk.undo(stolen)), *run(talk.stop(stolen)), press(talk, stolen, "export", kind="json"),
        press(talk, stolen, "branch", id=message), press(talk, stolen, "edit", id=message, text="Mine."),
        press(talk, stolen, "delete"), press(talk, stolen, "open", id=secret.conversation),
        press(talk, stolen, "delete_all"),
    ]  # fmt: skip
    assert "My secret" not in str([{name: part for name, part in view.items() if name != "box"} for view in views])
    assert not any(view.get("box") for view in views)
    assert [each.text for each in path(talk, secret)] == ["My secret.", "My secret."]


def test_another_may_not_stop_or_watch_a_reply(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(SlowEngine())

    async def act() -> tuple[bool, list[View]]:
        async with contextlib.aclosing(talk.send(replace(ANN, token="a" * 32), "Count.")) as views:
            visit = at(await anext(views))
            await anext(views)
            bob = Visit(token="b" * 32, conversation=visit.conversation)
            seen = [await anext(talk.stop(bob)), *[view async for view in talk.open(bob)]]
            return talk.writing[visit.conversation].stopped, seen

    stopped, seen = asyncio.run(act())
    assert not stopped
    assert not any(view.get("live") for view in seen)


@pytest.mark.parametrize(
    "told", [{}, {"visit": None}, {"visit": {"token": "x"}}, {"visit": {"token": LOCAL}}, {"visit": 3}]
)
def test_a_browser_without_a_token_gets_one_of_its_own(told: dict[str, Any]) -> None:
    visit = read_visit(told, one_owner=False)
    assert re.fullmatch("[0-9a-f]{32}", visit.token)
    assert visit.owner not in (LOCAL, read_visit(told, one_owner=False).owner)
    assert read_owner(visit.kept(), one_owner=False) == visit.owner
    assert read_owner(visit.kept(), one_owner=True) == LOCAL


def test_a_long_conversation_shows_its_end_and_more_on_request(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    conversation = talk.store.begin(LOCAL, ["Kit"], "Ann")
    for number in range(250):
        talk.store.say(LOCAL, conversation.id, f"Number {number}")
    visit = ANN.at(conversation.id)
    started = time.monotonic()
    view = run(talk.open(visit))[-1]
    assert time.monotonic() - started < 2
    assert (len(texts(view)), texts(view)[-1]) == (100, "Number 249")
    assert "Show earlier messages (150)" in view["transcript"]
    more = press(talk, visit, "earlier")
    assert (len(texts(more)), at(more).shown) == (200, 200)


def test_a_queue_tells_the_place_and_a_stopped_reply_leaves_it() -> None:
    queue = FairQueue(slots=1)
    asked = []

    def wait() -> Iterator[str]:
        with queue.join() as ticket:
            if ticket.wait():
                asked.append(True)
                yield "here"

    with queue.join():
        replies = [Reply(wait, queue) for _ in range(2)]
        while queue.waiting < 2:
            time.sleep(0.01)
        assert sorted(reply.place for reply in replies) == [1, 2]
        for reply in replies:
            reply.stop()
            assert reply.wait(2)
    assert (asked, queue.waiting) == ([], 0)


def test_only_whole_replies_say_how_long_one_takes() -> None:
    queue = FairQueue(slots=1)

    def reply() -> Iterator[str]:
        with queue.join() as ticket:
            ticket.wait()
            yield "here"

    stopped = reply()
    next(stopped)
    stopped.close()
    with queue.join(counts=False):  # the beginning of a prompt that is read ahead
        pass
    running, waiting = queue.join(), queue.join()
    assert (waiting.place, waiting.expected_wait_seconds) == (1, None)
    running.close()
    waiting.close()
    assert list(reply()) == ["here"]
    with queue.join(), queue.join() as late:
        assert late.expected_wait_seconds is not None


# names, quotes, text that stays text


@pytest.mark.parametrize(
    ("given", "name"),
    [("Ann", "Ann"), ("  Ann \n Lee ", "Ann Lee"), ("Rosa: hello", "Rosa hello"), ("", "Visitor"),
     ("\u202e\x00:", "Visitor"), ("a" * 90, "a" * 40)],
)  # fmt: skip
def test_a_name_is_one_short_line_without_a_colon(given: str, name: str) -> None:
    assert read_name(given, "Kit", make_source(EchoEngine())) == name


@pytest.mark.parametrize("given", ["Kit", "kit", "Miss Sorrel"])
def test_nobody_talks_to_themselves(given: str, talk_with: Callable[..., Talk]) -> None:
    with pytest.raises(UsageError, match="cannot talk to themselves"):
        read_name(given, "Kit", make_source(EchoEngine()))
    assert (
        "cannot talk to themselves" in run(talk_with(EchoEngine()).send(replace(ANN, name=given), "Hi."))[-1]["notice"]
    )


def test_quotes_show_their_places_and_retry_finds_another() -> None:
    settings = make_settings()
    registry = Registry(FolderStore(Path("/none")))

    def find(corpus: Any, why: str, announcements: Announcements) -> Source:
        return SourceFinder("llama", settings, registry, announcements, corpus, why).find("quotes")

    service = Service(settings, find)
    service.load()
    talk = Talk(service, ChatStore(None))
    pip = Visit(character="Pip", name="Ann")
    visit = say(talk, "What did you see at the lighthouse?", pip)
    said = []
    for _ in range(3):
        view = run(talk.retry(visit))[-1]
        reply = path(talk, visit)[-1]
        said.append(reply.text)
        assert (reply.evidence[0]["kind"], reply.evidence[0]["text"]) == ("quote", reply.text)
        assert reply.evidence[0]["place"] in view["transcript"]
    assert len(set(said)) == 3
    assert path(talk, visit)[-1].alternatives == 4


def test_what_a_reply_rests_on_is_told_and_closed() -> None:
    memory = Memory(1, 2, (33, 34), (Turn("Rosa", "A lamp!"), Turn("Kit", EVIL)), 1.0)
    kept = keep_evidence(Evidence((memory,), (EVIL,), 3), [7])
    html = transcript([Message(1, None, "character", "Kit", "Hm.", evidence=tuple(json.loads(json.dumps(kept))))], 100)
    assert "1 scene remembered, 1 thing known, 3 older turns are left out" in html
    assert "S01E02, line 34" in html
    assert "<b>Rosa:</b> A lamp!" in html
    assert '<details class="evidence">' in html
    assert "<img" not in html


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*waves* Hello.", "<em>*waves*</em> Hello."),
        ("**No** and *waves*", "<strong>**No**</strong> and <em>*waves*</em>"),
        ("2 * 3 * 4, **, *one", "2 * 3 * 4, **, *one"),
        ("* a list\n* of two*", "* a list\n* of two*"),
    ],
)
def test_what_stands_between_asterisks_is_set_apart(text: str, shown: str) -> None:
    assert shown_text(text) == shown


def test_conversations_are_told_apart_by_what_was_said_last(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(CountingEngine())
    visit = say(talk, "A lamp?")
    listed = run(talk.search(visit))[-1]["conversations"]
    assert "<small>reply 1</small>" in listed
    assert "Delete your conversation for good?" in listed
    run(talk.undo(visit))
    say(talk, "Two.", GROUP)
    listed = run(talk.search(visit))[-1]["conversations"]
    assert "<small>Nothing said yet</small>" in listed
    assert "Delete all of your 2 conversations for good?" in listed


def test_nothing_that_anybody_wrote_becomes_html() -> None:
    quote = {"kind": "quote", "place": EVIL, "before": EVIL, "text": EVIL}
    bad = {"kind": "scene", "place": EVIL, "lines": [[EVIL, EVIL], EVIL, 3]}
    evidence = (quote, bad, {"kind": "lore", "texts": EVIL}, {"kind": "left out", "turns": EVIL}, {"kind": EVIL})
    messages = [
        Message(1, None, role, EVIL, EVIL, FAILED, extra={"problem": EVIL}, evidence=evidence)
        for role in ("user", "character", "note")
    ]
    store = ChatStore(None)
    conversation = store.begin(LOCAL, ["<b>Kit"], "<b>Ann", name=EVIL[:60])
    store.say(LOCAL, conversation.id, EVIL)
    listed = store.list_of(LOCAL)
    assert listed[0].last_words == EVIL
    blocks = [
        transcript(messages, 100), live_block(EVIL, EVIL), conversation_list(listed, conversation.id, EVIL),
        conversation_list([], "", EVIL, hits=store.search(LOCAL, "img"), search=EVIL),
    ]  # fmt: skip
    for block in blocks:
        assert "<img" not in block
        assert "<b>Kit" not in block
        assert "&lt;img" in block


def test_views_over_each_other_keep_what_both_change() -> None:
    laid = lay({"a": Change(x=1), "b": 1}, {"a": Change(y=2), "b": 2})
    assert laid == {"a": {"x": 1, "y": 2}, "b": 2}


def test_a_reply_never_reaches_another_conversation_of_the_same_tab(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(SlowEngine())
    ann = replace(ANN, tab="tab")

    async def act() -> tuple[View, list[View], View]:
        async with contextlib.aclosing(talk.send(ann, "Count.")) as views:
            first = at(await anext(views), ann)
            await anext(views)
            moved = await anext(talk.pick(replace(first, character="Rosa")))
            back = asyncio.create_task(stop_soon(first))
            late = [view async for view in views]
            return moved, late, await back

    async def stop_soon(visit: Visit) -> View:
        await asyncio.sleep(0.3)
        talk.writing[visit.conversation].stop()
        await asyncio.sleep(0.2)
        return await anext(talk.open_conversation(visit, visit.conversation))

    moved, late, back = asyncio.run(act())
    assert "Say something" in moved["transcript"]
    assert [set(view) for view in late] == [{"conversations"}]
    assert texts(back)[1].startswith("0 1 2")


def test_of_two_clicks_the_later_one_counts(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    ann = replace(ANN, tab="tab")

    async def act() -> tuple[list[View], list[View]]:
        slow = asyncio.create_task(collect(talk.new(ann)))
        await asyncio.sleep(0)  # it has begun
        later = await collect(talk.pick(replace(ann, character="Rosa")))
        return await slow, later

    async def collect(views: Views) -> list[View]:
        return [view async for view in views]

    overtaken, later = asyncio.run(act())
    assert overtaken == []
    assert "Rosa" in later[-1]["speaking"]


@pytest.mark.parametrize("answered", [False, True], ids=["before it is answered", "before the browser has the answer"])
def test_what_is_sent_right_after_new_belongs_to_the_new_conversation(
    answered: bool, talk_with: Callable[..., Talk]
) -> None:
    talk = talk_with(EchoEngine())

    async def act() -> View:
        old = at([view async for view in talk.send(replace(ANN, tab="tab"), "One.")][-1], replace(ANN, tab="tab"))
        moving = asyncio.create_task(anext(talk.new(old)))
        await (moving if answered else asyncio.sleep(0))
        sent = [view async for view in talk.send(old, "Two.")]
        await moving
        return sent[-1]

    assert texts(asyncio.run(act())) == ["Two.", "Two."]
    assert sorted(each.messages for each in talk.store.list_of(ANN.owner)) == [2, 2]
