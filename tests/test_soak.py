"""The checker of benchmarks/conversations.py: that it sees what is lost, mixed, doubled or not deleted."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.conversations import bytes_an_act, last_hour, longest_life, restart_share, slope
from benchmarks.soak.ledger import BROKEN, LOST, MIXED, TWICE, UNDEAD, Ledger, Talk, check_reply, check_store
from benchmarks.soak.page import Shown, Tab
from benchmarks.soak.server import Sample
from benchmarks.soak.steady_clock import SteadyLoop
from character_chatbot.chats.store import ChatStore
from character_chatbot.pages.transcript import transcript
from config import PROJECT_FOLDER


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Ledger, list[str]]:
    """A store with a conversation of each of two visitors, and what they have seen of it."""
    file, ledger, ids = tmp_path / "chats.sqlite", Ledger(), []
    store = ChatStore(file)
    for visitor in (0, 1):
        ledger.owners[visitor] = owner = f"visitor-{visitor}"
        talk = store.begin(owner, ["Kit"], "Visitor")
        for number in (1, 2):
            mark = f"m{visitor}q7q{number}z"
            said = store.say(owner, talk.id, f"What of {mark}?")
            store.reply(owner, talk.id, "Kit", f"I hear {mark}", to=said.id)
        for each in store.path(owner, talk.id):
            ledger.saw(talk.id, Talk(visitor, 7), each.id, each.text)
        ids.append(talk.id)
    return file, ledger, ids


def kinds(file: Path, ledger: Ledger, *statements: str) -> Counter[str]:
    """What the checker finds after somebody has done this to the store."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return Counter(fault.kind for fault in check_store(file, ledger))


def test_a_store_with_all_that_was_shown_is_right(kept: Any) -> None:
    file, ledger, _ = kept
    longer = "UPDATE messages SET text = text || ' and more.' WHERE role = 'character'"
    assert kinds(file, ledger, longer) == {}


@pytest.mark.parametrize(
    ("done", "found"),
    [
        ("DELETE FROM messages WHERE id = 4", {LOST: 1, BROKEN: 1}),
        ("DELETE FROM messages WHERE id = 2", {LOST: 1, BROKEN: 1}),
        ("UPDATE messages SET text = 'What?' WHERE id = 1", {LOST: 1}),
        ("DELETE FROM conversations WHERE owner = 'visitor-0'", {LOST: 1}),
        ("UPDATE conversations SET owner = 'visitor-1'", {MIXED: 1}),
        ("UPDATE messages SET text = text || ' after m1q7q1z' WHERE id = 2", {MIXED: 1}),
        ("UPDATE messages SET text = text || ' after m0q6q1z' WHERE id = 2", {MIXED: 1}),
        ("UPDATE messages SET text = 'I hear m0q7q1z', engine = 'echo' WHERE id = 4", {LOST: 1, MIXED: 1}),
        ("UPDATE messages SET text = 'What of m0q7q1z?' WHERE id = 3", {LOST: 1, TWICE: 1}),
        ("UPDATE messages SET conversation = (SELECT id FROM conversations WHERE owner = 'visitor-1') WHERE id = 4",
         {LOST: 1, MIXED: 1, BROKEN: 2}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_store_is_found(done: str, found: dict[str, int], kept: Any) -> None:
    file, ledger, _ = kept
    assert kinds(file, ledger, done) == found


def test_what_was_deleted_has_to_be_gone(kept: Any) -> None:
    file, ledger, ids = kept
    ledger.maybe_deleted.add(ids[0])
    assert kinds(file, ledger) == {}
    ledger.deleted.add(ids[0])
    assert kinds(file, ledger) == {UNDEAD: 1}
    assert kinds(file, ledger, "DELETE FROM conversations WHERE owner = 'visitor-0'") == {}


@pytest.mark.parametrize(
    ("text", "whole", "found"),
    [
        ("I hear m3q5q2z after m3q5q1z", True, []),
        ("I", False, []),
        ("I", True, [LOST]),
        ("m3q5q2z m3q4q1z", True, [MIXED]),
        ("m2q5q2z", True, [LOST, MIXED]),
    ],
)
def test_a_reply_of_the_endpoint_knows_its_own_conversation_alone(text: str, whole: bool, found: list[str]) -> None:
    assert [fault.kind for fault in check_reply("m3q5q2z", Talk(3, 5), text, whole=whole)] == found


def test_the_page_is_read_as_it_is_written(kept: Any) -> None:
    file, _, ids = kept
    store = ChatStore(file)
    store.say("visitor-0", ids[0], "a <b>bold</b> & *quiet*\nword")
    path = store.path("visitor-0", ids[0])
    tab: Any = Tab(None, "")  # type: ignore[arg-type]
    tab._names, tab.values = {"transcript": 1}, {1: transcript(path, 100)}
    assert tab.path == [Shown(each.id, "user" if each.role == "user" else "bot", each.text) for each in path]


def test_an_answer_that_is_faster_than_the_word_of_its_event_is_not_lost() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":  # the stream of the tab
            await asyncio.sleep(0.01)
            return httpx.Response(200, text='data: {"msg": "close_stream"}\n\n')
        tab._hand_over({"event_id": "1", "msg": "process_completed", "output": {"data": []}})
        return httpx.Response(200, json={"event_id": "1"})

    tab = Tab(httpx.AsyncClient(transport=httpx.MockTransport(answer)), "http://page")
    tab._names = {"stop": 1}
    tab._events = {(1, "click"): {"id": 0, "inputs": [], "outputs": [], "targets": [[1, "click"]]}}

    async def press() -> None:
        await asyncio.wait_for(tab.run("stop"), 2)
        tab._hand_over({"event_id": "1", "msg": "late"})
        await tab.close()

    asyncio.run(press())
    assert (tab._waiting, tab._early) == ({}, {})


def sample(seconds: float, life: int, rss: float, acts: int = 0) -> Sample:
    return Sample(seconds, life, int(rss), 0, 0, 0, acts)


def test_the_slope_is_of_the_second_half_of_the_longest_life() -> None:
    warming = [sample(each, 0, 10**9 * each) for each in range(50)]
    steady = [sample(100 + each, 1, 2e9 + max(0, each - 500) * 5_555, each * 11) for each in range(1000)]
    assert longest_life([*warming, *steady]) == steady
    window = last_hour(steady)
    assert window == steady[500:]
    assert slope(window) == pytest.approx(1.0, rel=0.01)
    assert bytes_an_act(window) == pytest.approx(505, rel=0.01)
    assert slope(window[:2]) == bytes_an_act(window[:1]) == 0.0


def test_of_a_long_life_the_last_hour_counts() -> None:
    """What came before, and while it warmed up, does not."""
    life = [sample(each, 0, 1e9 + 1e6 * min(each, 1200)) for each in range(0, 6000, 10)]
    assert last_hour(life)[0].seconds == 2390
    assert last_hour(life[:380])[0].seconds == 300
    assert slope(last_hour(life)) == 0.0


def test_time_in_which_the_run_was_stopped_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("asyncio.base_events.time.monotonic", lambda: now)
    loop = SteadyLoop()
    try:
        seen = []
        for seconds in (0, 2, 100, 2, 3600, 1):
            now += seconds
            seen.append(loop.time())
    finally:
        loop.close()
    assert seen == [1000, 1002, 1002, 1004, 1004, 1005]


@pytest.mark.parametrize(("minutes", "share"), [(0, 0.5), (20, 0.5), (75, 10 / 75), (600, 0.5)])
def test_restarts_leave_an_hour_to_be_measured(minutes: float, share: float) -> None:
    assert restart_share(minutes) == pytest.approx(share)


@pytest.mark.slow
def test_a_few_conversations_of_the_real_program(tmp_path: Path) -> None:
    script = str(PROJECT_FOLDER / "benchmarks" / "conversations.py")
    numbers = ["--conversations", "16", "--clients", "4", "--restarts", "2", "--folder", str(tmp_path)]
    done = subprocess.run([sys.executable, script, *numbers], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, mixed 0, twice 0, undead 0, broken 0" in done.stdout
    assert "Traceback" not in done.stderr
