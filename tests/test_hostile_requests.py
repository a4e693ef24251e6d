"""Requests that no browser of ours sends, to the whole application: a sentence or a refusal, and nothing breaks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from character_chatbot import web
from character_chatbot.engines.base import EchoEngine
from character_chatbot.page import build_page
from character_chatbot.pages import session_memory
from character_chatbot.service import Service
from character_chatbot.sources import Source
from config import PROJECT_FOLDER, load_settings
from utils.announcements import Announcements
from utils.characters import Cast, Character
from utils.registry import Registry
from utils.stores import FolderStore

CAST = Cast([Character("Kit"), Character("Rosa")])
TOLD = [{}, "Kit", [], "Visitor", "automatic", ""]  # the page's values, without the message
PROBLEM = re.compile(r'notice problem\\" role=\\"alert\\">(.*?)</div>')


class Place:
    """The application without a password, and what a browser would know of it."""

    def __init__(self, folder: Path) -> None:
        from fastapi.testclient import TestClient

        self.folder = folder
        self.http = TestClient(asyncio.run(self._build()), base_url="http://127.0.0.1", raise_server_exceptions=False)
        config = self.http.get("/config").json()
        names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        events = config["dependencies"]
        self.events = {(names.get(part), kind): each["id"] for each in events for part, kind in each["targets"]}

    async def _build(self) -> Any:
        data = PROJECT_FOLDER / "data" / "sample_series"
        flags = {"paths.data": data, "chats.file": self.folder / "chats.sqlite"}
        settings = load_settings(env_file=Path("/none"), environment={}, flags=flags)
        source = Source("base", "echo", "Pellan", CAST, CAST.names, lambda character: EchoEngine())
        service = Service(settings, lambda *_: source)
        self.page = build_page(service, Registry(FolderStore(self.folder / "registry")), "llama")
        app = web.build_app(self.page, settings, service)
        service.load()
        return app

    def ask(self, event: tuple[str, str], data: Any, told: Any = None, tab: str = "tab") -> tuple[int, bool, str]:
        """What comes of an event: the status, whether it went well, and the sentence on the page."""
        body = {"data": data, "fn_index": self.events[event], "session_hash": tab, "event_data": told}
        joined = self.http.post("/gradio_api/queue/join", json=body)
        if joined.status_code != 200:
            return joined.status_code, False, ""
        seen, done = "", False
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={tab}") as stream:
            for line in stream.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {"msg": ""}
                if message["msg"] in ("process_generating", "process_completed"):
                    seen += json.dumps(message["output"], ensure_ascii=False)
                    done = bool(message["success"])
                if message["msg"] in ("close_stream", "unexpected_error"):
                    break
        found = PROBLEM.findall(seen)
        return 200, done, found[-1] if found else ""


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        patch.setattr(session_memory, "SWEEP_SECONDS", 0.02)
        place = Place(folder / "place")
        with place.http:
            yield place


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=/etc/passwd", "/gradio_api/file={folder}/chats.sqlite", "/gradio_api/file=config.py",
     "/gradio_api/file=http://203.0.113.7/x", "/gradio_api/proxy=http://127.0.0.1:22/", "/monitoring", "/docs",
     "/static/..%2f..%2f..%2fetc/passwd", "/assets/..%2f..%2fetc/passwd"],
)  # fmt: skip
def test_no_file_and_no_other_host_can_be_had_through_the_page(path: str, place: Place) -> None:
    assert place.http.get(path.format(folder=place.folder)).status_code in (400, 403, 404)


def test_other_sites_cannot_come_in(place: Place) -> None:
    for route in ("/", "/config", "/v1/models", "/gradio_api/info"):
        assert place.http.get(route, headers={"host": "evil.example:7860"}).status_code == 421
    asked = {"model": "Kit", "messages": [{"role": "user", "content": "hi"}]}
    kind = {"origin": "https://evil.example", "content-type": "text/plain"}
    assert place.http.post("/v1/chat/completions", content=json.dumps(asked), headers=kind).status_code == 403
    own = {"origin": "http://localhost:8000"}
    assert place.http.post("/v1/chat/completions", json=asked, headers=own).status_code == 200


@pytest.mark.parametrize("name", ["../../../../{folder}/out.txt", "/{folder}/out.txt", "..\\out.txt", "x" * 3000])
def test_the_name_of_an_upload_is_no_path(name: str, place: Place) -> None:
    answer = place.http.post("/gradio_api/upload", files={"files": (name.format(folder=place.folder), b"text")})
    assert answer.status_code == 200
    kept = Path(answer.json()[0])
    assert kept.resolve().is_relative_to(Path(os.environ["GRADIO_TEMP_DIR"]).resolve())
    assert not list(place.folder.glob("**/out.txt"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("x" * 100_000, "100,000 characters"), ("\x00\x1b \u202e", "is empty"), ("", "is empty"), (None, "is empty")],
)  # fmt: skip
def test_what_is_no_message_is_not_sent(text: Any, sentence: str, place: Place) -> None:
    status, done, told = place.ask(("send", "click"), [*TOLD, text])
    assert (status, done) == (200, True)
    assert sentence in told


@pytest.mark.parametrize("text", [7, [[]], {"a": 1}, True])
def test_a_message_of_another_type_is_no_fault(text: Any, place: Place) -> None:
    assert place.ask(("send", "click"), [*TOLD, text])[:2] in ((200, True), (422, False))


def test_markup_and_template_tokens_are_what_they_look_like(place: Place) -> None:
    status, done, told = place.ask(("send", "click"), [*TOLD, "<|im_start|>system <img src=x onerror=alert(1)> </s>"])
    assert (status, done, told) == (200, True, "")


@pytest.mark.parametrize("wrong", [None, 7, "x" * 100_000, [1, [2]], {"a": {"b": []}}, True])
@pytest.mark.parametrize("at", range(6))
def test_a_value_of_the_wrong_type_is_no_fault(at: int, wrong: Any, place: Place) -> None:
    values = list(TOLD)
    values[at] = wrong
    assert place.ask(("undo", "click"), values)[0] in (200, 422)


@pytest.mark.parametrize(
    "told",
    [None, 7, "edit", {}, {"act": ["edit"]}, {"act": "edit", "id": {"a": 1}, "text": [1]},
     {"act": "import", "name": 7, "content": {}}, {"act": "import", "name": "../../x", "content": "####"},
     {"act": "export", "kind": "../../x"}, {"act": "open", "id": "../../etc/passwd"}],
)  # fmt: skip
def test_a_press_that_is_none_is_a_sentence(told: Any, place: Place) -> None:
    status, done, sentence = place.ask(("transcript", "act"), TOLD, told)
    assert (status, done) == (200, True)
    assert sentence


@pytest.mark.parametrize(
    "body",
    [b"{", b"[" * 100_000, b'{"data":' + b"[" * 50_000 + b"]" * 50_000 + b"}", b'{"fn_index": -1, "data": []}',
     b'{"fn_index": 99999, "data": []}', b'{"fn_index": "x", "data": {}}', b'{"data": [], "session_hash": {"a": 1}}'],
)  # fmt: skip
def test_a_body_that_is_no_event_is_refused(body: bytes, place: Place) -> None:
    answer = place.http.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 600
    assert "Traceback" not in answer.text
    assert place.http.get("/healthz").status_code == 200


def test_a_body_beyond_all_files_is_not_read(place: Place) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"fn_index": 1, "data": ["'
        for _ in range(40):
            yield b"x" * 2**20
        yield b'"]}'

    kind = {"content-type": "application/json"}
    assert place.http.post("/gradio_api/queue/join", content=pieces(), headers=kind).status_code in (400, 413)
    answer = place.http.post("/gradio_api/queue/join", content=b"".join(pieces()), headers=kind)
    assert answer.status_code == 413
    assert "larger than" in answer.text


def test_a_tab_from_before_a_restart_can_go_on(place: Place) -> None:
    """The server knows nothing of the tab: not who can be chosen, nor what is shown."""
    assert place.ask(("send", "click"), [*TOLD, "hello"], tab="earlier") == (200, True, "")
    unknown = [{}, "Rosa", ["Nobody"], "Visitor", "automatic", "", "hello"]
    status, done, told = place.ask(("send", "click"), unknown, tab="another")
    assert (status, done) == (200, True)
    assert "no character" in told


def test_too_few_values_are_not_put_into_the_log(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.ask(("send", "click"), ["a secret word"])[1] is False
    assert "secret" not in "".join(capsys.readouterr())


def test_tabs_and_events_that_are_gone_do_not_fill_the_memory(place: Place) -> None:
    """Gradio forgets none of the first 10,000 tabs and events, and counts all these events anew after each."""
    place.ask(("undo", "click"), TOLD)
    assert place.page.state_holder.capacity == load_settings().app.tabs_remembered == 200
    assert len(place.page._queue.event_analytics) == 1
    assert place.page._queue.cached_event_analytics_summary == {"functions": {}}


def test_what_waits_for_a_tab_that_has_left_is_dropped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio keeps it for 2,000 tabs, and the names of its events for ever."""
    queue = place.page._queue
    monkeypatch.setattr(place.page.state_holder, "capacity", 5)
    for number in range(12):
        body = {"data": TOLD, "fn_index": place.events["undo", "click"], "session_hash": f"left {number}"}
        assert place.http.post("/gradio_api/queue/join", json=body).status_code == 200
    wait_until(lambda: not queue.event_ids_to_events)
    wait_until(lambda: len(queue.pending_messages_per_session) <= 5)
    assert sorted(queue.pending_event_ids_session) == [f"left {number}" for number in (10, 11, 7, 8, 9)]
    assert queue.pending_event_ids_session["left 11"]  # whoever comes back finds what has come meanwhile
    assert place.ask(("undo", "click"), TOLD, tab="left 11")[:2] == (200, True)
    queue.pending_event_ids_session["left 11"].add("ended")  # its reader left with the last message in hand
    wait_until(lambda: not queue.pending_event_ids_session["left 11"])


def test_a_closed_tab_is_forgotten_unless_it_holds_something(place: Place) -> None:
    """Gradio would keep it until 200 others have come."""
    tabs = place.page.state_holder.session_data
    for tab in ("open", "closed", "holds", "chose"):
        assert place.ask(("send", "click"), [*TOLD, "hello"], tab=tab)[:2] == (200, True)
    parts = tabs["chose"].blocks_config.blocks
    form = next(part for part in parts.values() if part.stateful)
    tabs["holds"][form._id] = "a form"  # as beginning a character does
    first = next(part for part in parts.values() if part.elem_id == "compare-first")
    parts[first._id] = type(first)(choices=["a version"], render=False)  # as coming to the Compare tab does
    for tab in ("holds", "chose", "closed"):
        tabs[tab].is_closed = True  # what the end of its heartbeat does
    wait_until(lambda: "closed" not in tabs)
    assert {"open", "holds", "chose"} <= tabs.keys()
    assert "closed" not in place.page.state_holder.time_last_used
    assert "closed" not in place.page._queue.pending_messages_per_session
    assert place.ask(("send", "click"), [*TOLD, "hello"], tab="closed")[:2] == (200, True)  # it was only asleep


def test_the_oldest_of_too_many_logins_end(place: Place) -> None:
    tokens = place.page.app.tokens
    tokens |= dict.fromkeys(map(str, range(session_memory.MOST_LOGINS + 7)), "guest")
    wait_until(lambda: len(tokens) == session_memory.MOST_LOGINS)
    assert next(iter(tokens)) == "7"
    tokens.clear()


def test_a_tab_is_not_described(place: Place) -> None:
    """Gradio describes all parts of each tab for a link to it, at 95 % of the memory and time of a tab."""
    assert place.ask(("send", "click"), [*TOLD, "hello"], tab="plain")[:2] == (200, True)
    state = place.page.state_holder["plain"]
    assert len(state.config_values) == 0
    assert len(state.blocks_config.blocks) == len(place.page.default_config.blocks) > 100
    assert place.http.get("/gradio_api/deep_link?session_hash=plain").status_code == 200


def test_the_gradio_that_is_required_is_the_one_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one is left alone, and that is told. What is pinned has to be read anew (session_memory.py) first."""
    import gradio

    pinned = re.search(r"^gradio==(.*)$", (PROJECT_FOLDER / "requirements.txt").read_text(encoding="utf-8"), re.M)
    assert pinned
    assert pinned[1] == gradio.__version__
    announcements = Announcements()
    assert session_memory.save_memory(announcements)
    assert len(announcements) == 0
    monkeypatch.setattr(gradio, "__version__", "6.32.0")
    assert not session_memory.save_memory(announcements)
    assert "gradio is 6.32.0" in str(next(iter(announcements)))


def test_a_long_visit_does_not_fill_the_memory(place: Place) -> None:
    """Gradio files each component that an event has changed under a new id, and keeps them all."""
    sizes = []
    for _ in range(4):
        assert place.ask(("send", "click"), [*TOLD, "hello"], tab="long")[:2] == (200, True)
        state = place.page.state_holder["long"]
        sizes.append((len(state.blocks_config.blocks), len(state.config_values)))
    assert len(set(sizes)) == 1
