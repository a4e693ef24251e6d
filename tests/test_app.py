"""The page without a browser: who may reach it, what happens on it, and that text stays text."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import gradio_app
from character_chatbot import markup
from character_chatbot.engines.base import EchoEngine
from character_chatbot.engines.quotes import Quote
from character_chatbot.service import Exchange, Reply, Service, ask_again, list_turns, read_name, settle, take_back
from character_chatbot.sources import Source, SourceFinder
from character_chatbot.talk import Talk, build_messages
from config import PROJECT_FOLDER, Secret, Settings, load_settings
from utils.announcements import Announcement, Announcements
from utils.characters import Cast, Character
from utils.errors import BaseModelError, DataError, SuiteError, UsageError
from utils.registry import Registry
from utils.stores import FolderStore

SAMPLE = PROJECT_FOLDER / "data" / "sample_series"
CAST = Cast([Character("Kit", ("Miss Sorrel",)), Character("Rosa")])


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
    return Source(rung, f"the {rung}", "Pellan", CAST, ("Kit", "Rosa"), lambda character: engine, **more)


def make_talk(engine: Any, tmp_path: Path, **more: Any) -> Talk:
    service = Service(make_settings(tmp_path), lambda *_: make_source(engine, **more))
    service.load()
    return Talk(service)


def run(views: Any) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [view async for view in views]

    return asyncio.run(collect())


def texts(view: dict[str, Any]) -> list[str]:
    return [message["content"] for message in view["chat"]]


# who may reach it


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_the_loopback_needs_no_password(host: str) -> None:
    gradio_app.check_host(make_settings(app__host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])  # noqa: S104
def test_another_address_needs_a_password(host: str) -> None:
    settings = make_settings(app__host=host)
    with pytest.raises(UsageError, match="no password") as caught:
        gradio_app.check_host(settings)
    assert "APP_PASSWORD" in str(caught.value)
    assert "--host 127.0.0.1" in str(caught.value)
    gradio_app.check_host(make_settings(app__host=host, secrets__app_password=Secret("right")))


def test_only_the_right_name_and_password_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradio_app, "WRONG_PASSWORD_SECONDS", 0.0)
    check = gradio_app.build_check("guest", "sésame")
    assert asyncio.run(check("guest", "sésame"))
    for user, password in [("guest", "sesame"), ("Guest", "sésame"), ("", ""), ("guest", "sésame\0"), ("\ud800", "x")]:
        assert not asyncio.run(check(user, password))


def test_a_wrong_password_has_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradio_app, "WRONG_PASSWORD_SECONDS", 0.2)
    started = time.monotonic()
    assert not asyncio.run(gradio_app.build_check("guest", "right")("guest", "wrong"))
    assert time.monotonic() - started >= 0.2


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SuiteError, match=f"port {port} of 127.0.0.1 is in use") as caught:
            gradio_app.bind_port("127.0.0.1", port)
    assert "--port" in str(caught.value)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_that_is_not_ours_is_a_sentence(host: str) -> None:
    with pytest.raises(SuiteError, match="cannot be listened on"):
        gradio_app.bind_port(host, 0)


def test_a_version_goes_with_the_version_source() -> None:
    with pytest.raises(UsageError, match="--version"):
        gradio_app.main(["--version", "20260101-000000", "--source", "quotes"])


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, gradio_app\n"
        "try: gradio_app.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'gradio', 'torch', 'transformers', 'pandas', 'boto3'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT_FOLDER, timeout=30, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "--registry" in answer.stdout


# what happens on it


def test_a_message_is_answered_and_the_box_is_emptied_once(tmp_path: Path) -> None:
    views = run(make_talk(EchoEngine(), tmp_path).send("one two three", "Ann", "Kit", {}))
    assert texts(views[-1]) == ["one two three", "one two three"]
    assert views[0]["box"] == ""
    assert not any("box" in view for view in views[1:])
    assert views[0]["stop"]["interactive"]
    assert not views[-1]["stop"]["interactive"]
    assert views[-1]["send"]["interactive"]
    exchange = views[-1]["histories"]["Kit"][-1]
    assert (exchange.speaker, exchange.reply, exchange.pending) == ("Ann", "one two three", False)


def test_a_long_reply_grows_in_steps(tmp_path: Path) -> None:
    words = " ".join(map(str, range(30)))
    views = run(make_talk(EchoEngine(), tmp_path).send(words, "Ann", "Kit", {}))
    lengths = [len(texts(view)[1]) for view in views if "chat" in view]
    assert len(set(lengths)) > 3
    assert lengths[1:] == sorted(lengths[1:])


def test_stop_reaches_the_engine_and_keeps_what_came(tmp_path: Path) -> None:
    engine = SlowEngine()
    talk = make_talk(engine, tmp_path)

    async def act() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        views = talk.send("Count.", "Ann", "Kit", {})
        async for view in views:
            if "chat" in view and len(texts(view)[1]) > 5:
                break
        stopped = [each async for each in talk.stop("Kit", view["histories"])][-1]
        return stopped, [late async for late in views]

    view, late = asyncio.run(act())
    assert engine.closed.wait(2)
    assert engine.running == 0
    assert texts(view)[1].startswith("0 1 2")
    assert texts(view)[1].endswith("(stopped)")
    assert view["send"]["interactive"]
    assert not any("chat" in each or "histories" in each for each in late)


def test_a_visitor_who_leaves_stops_the_engine(tmp_path: Path) -> None:
    engine = SlowEngine()

    async def leave() -> None:
        async with contextlib.aclosing(make_talk(engine, tmp_path).send("Count.", "Ann", "Kit", {})) as views:
            async for view in views:
                if "chat" in view and len(texts(view)[1]) > 5:
                    return

    asyncio.run(leave())
    assert engine.closed.wait(2)


def test_several_visitors_are_answered_side_by_side(tmp_path: Path) -> None:
    talk = make_talk(EchoEngine(), tmp_path)

    async def visit(number: int) -> str:
        views = [view async for view in talk.send(f"I am {number}", "Ann", "Kit", {})]
        return texts(views[-1])[1]

    async def all_visits() -> list[str]:
        return await asyncio.gather(*map(visit, range(5)))

    assert asyncio.run(all_visits()) == [f"I am {number}" for number in range(5)]


def test_a_second_message_waits_for_the_first_reply(tmp_path: Path) -> None:
    engine = SlowEngine()
    waiting = Exchange("Ann", "Count.", on_its_way=Reply(lambda: engine.reply([], None)))
    talk = make_talk(engine, tmp_path)
    for views in (talk.send("Again.", "Ann", "Kit", {"Kit": [waiting]}), talk.retry("Kit", {"Kit": [waiting]})):
        assert "on its way" in run(views)[-1]["notice"]
    settle([waiting])
    assert engine.closed.wait(2)


def test_retry_asks_again_and_remembers_what_was_rejected(tmp_path: Path) -> None:
    history = [Exchange("Ann", "Hello there.", "No.")]
    view = run(make_talk(EchoEngine(), tmp_path).retry("Kit", {"Kit": history}))[-1]
    assert texts(view) == ["Hello there.", "Hello there."]
    assert view["histories"]["Kit"][0].rejected == ("No.",)


def test_retry_without_a_message_is_a_sentence(tmp_path: Path) -> None:
    assert "no message" in run(make_talk(EchoEngine(), tmp_path).retry("Kit", {}))[-1]["notice"]


def test_undo_puts_the_message_back_and_clear_forgets(tmp_path: Path) -> None:
    talk = make_talk(EchoEngine(), tmp_path)
    histories = {
        "Kit": [Exchange("Ann", "One.", "1"), Exchange("Ann", "Two.", "2")],
        "Rosa": [Exchange("Ann", "R.", "r")],
    }
    undone = run(talk.undo("Kit", histories))[-1]
    assert (undone["box"], texts(undone)) == ("Two.", ["One.", "1"])
    cleared = run(talk.clear("Kit", histories))[-1]
    assert (texts(cleared), cleared["undo"]["interactive"]) == ([], False)
    assert texts(run(talk.pick("Rosa", cleared["histories"]))[-1]) == ["R.", "r"]
    assert take_back([]) == ([], "")


def test_another_character_stops_the_reply_of_the_one_before(tmp_path: Path) -> None:
    engine = SlowEngine()
    waiting = Exchange("Ann", "Count.", reply="0", on_its_way=Reply(lambda: engine.reply([], None)))
    view = run(make_talk(engine, tmp_path).pick("Rosa", {"Kit": [waiting]}))[-1]
    assert engine.closed.wait(2)
    assert view["histories"]["Kit"][0].notice == "stopped"
    assert view["chat"] == []


@pytest.mark.parametrize(("text", "sentence"), [("  \x00", "empty"), ("x" * 5000, "5,000 characters")])
def test_a_message_that_cannot_be_sent_stays_in_the_box(text: str, sentence: str, tmp_path: Path) -> None:
    views = run(make_talk(EchoEngine(), tmp_path).send(text, "Ann", "Kit", {}))
    assert sentence in views[-1]["notice"]
    assert not any("box" in view or "chat" in view for view in views)


def test_nobody_is_chosen(tmp_path: Path) -> None:
    assert "choose a character" in run(make_talk(EchoEngine(), tmp_path).send("Hi.", "Ann", None, {}))[-1]["notice"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(BaseModelError("the base is gone."), "the base is gone."), (RuntimeError("no memory"), "no memory")],
)
def test_an_engine_that_fails_is_a_sentence_in_the_chat(error: Exception, sentence: str, tmp_path: Path) -> None:
    view = run(make_talk(BrokenEngine(error), tmp_path).send("Hi.", "Ann", "Kit", {}))[-1]
    assert texts(view)[1].startswith("Well, ")
    assert sentence in texts(view)[1]
    assert "Traceback" not in texts(view)[1]
    assert view["send"]["interactive"]


def test_a_source_that_cannot_be_had_is_shown_and_said(tmp_path: Path) -> None:
    def find(*_: object) -> Source:
        raise DataError("nobody can answer: no lines.", remedies=[("See", "status")])

    service = Service(make_settings(tmp_path), find)
    service.load()
    talk = Talk(service)
    assert "nobody can answer" in run(talk.open(None))[-1]["banner"]
    assert "nobody can answer" in run(talk.send("Hi.", "Ann", "Kit", {}))[-1]["notice"]


def test_a_fault_while_loading_is_a_sentence_too(tmp_path: Path) -> None:
    service = Service(make_settings(tmp_path), lambda *_: 1 / 0)  # type: ignore[arg-type, return-value]
    service.load()
    assert service.problem is not None
    assert "ZeroDivisionError" in str(service.problem)


def test_the_first_message_waits_for_the_model(tmp_path: Path) -> None:
    go = threading.Event()

    def find(*_: object) -> Source:
        go.wait(5)
        return make_source(EchoEngine())

    service = Service(make_settings(tmp_path), find)
    service.start()

    async def act() -> list[dict[str, Any]]:
        views = []
        async for view in Talk(service).send("Hi there.", "Ann", "Kit", {}):
            views.append(view)
            go.set()
        return views

    views = asyncio.run(act())
    assert "Loading the model" in views[0]["notice"]
    assert not views[0]["characters"]["interactive"]
    assert views[1]["characters"]["interactive"]
    assert texts(views[-1]) == ["Hi there.", "Hi there."]


def test_the_characters_are_known_before_the_model(tmp_path: Path) -> None:
    go = threading.Event()

    def find(*_: object) -> Source:
        go.wait(5)
        return make_source(EchoEngine())

    service = Service(make_settings(), find)
    service.start()

    async def act() -> list[dict[str, Any]]:
        views = []
        async for view in Talk(service).open(None):
            views.append(view)
            go.set()
        return views

    first, last = asyncio.run(act())
    assert "Grell" in first["characters"]["choices"]
    assert "Loading" in first["speaking"]
    assert last["characters"]["choices"] == ["Kit", "Rosa"]
    assert "the base" in last["speaking"]


def test_what_was_not_trained_is_announced_where_it_speaks(tmp_path: Path) -> None:
    talk = make_talk(EchoEngine(), tmp_path, rung="version", trained=("Kit",), run={"family": "llama"}, version="v")
    assert run(talk.pick("Kit", {}))[-1]["banner"] == ""
    assert "train llama" in run(talk.pick("Rosa", {}))[-1]["banner"]


# names, turns, quotes


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Ann", "Ann"),
        ("  Ann \n Lee ", "Ann Lee"),
        ("Rosa: hello", "Rosa hello"),
        ("", "Visitor"),
        ("\u202e\x00:", "Visitor"),
        ("a" * 90, "a" * 40),
    ],
)
def test_a_name_is_one_short_line_without_a_colon(given: str, name: str) -> None:
    assert read_name(given, "Kit", make_source(EchoEngine())) == name


@pytest.mark.parametrize("given", ["Kit", "kit", "Miss Sorrel"])
def test_nobody_talks_to_themselves(given: str) -> None:
    with pytest.raises(UsageError, match="cannot talk to themselves"):
        read_name(given, "Kit", make_source(EchoEngine()))


def test_turns_hold_rejected_replies_only_for_an_engine_that_never_repeats_itself() -> None:
    history = [Exchange("Ann", "A", "1"), Exchange("Ann", "B", rejected=("2", "3"))]
    plain = [(turn.speaker, turn.text) for turn in list_turns("Kit", history, False)]
    assert plain == [("Ann", "A"), ("Kit", "1"), ("Ann", "B")]
    assert [turn.text for turn in list_turns("Kit", history, True)] == ["A", "1", "B", "2", "B", "3", "B"]


def test_quotes_show_their_places_and_retry_finds_another() -> None:
    settings = make_settings()
    registry = Registry(FolderStore(Path("/none")))

    def find(corpus: Any, why: str, announcements: Announcements) -> Source:
        return SourceFinder("llama", settings, registry, announcements, corpus, why).find("quotes")

    service = Service(settings, find)
    service.load()
    talk = Talk(service)
    view = run(talk.send("What did you see at the lighthouse?", "Ann", "Pip", {}))[-1]
    first = view["histories"]["Pip"][0]
    assert first.reply == first.quotes[0].text
    assert first.quotes[0].place in view["evidence"]
    again = run(talk.retry("Pip", view["histories"]))[-1]["histories"]["Pip"][0]
    assert again.reply == again.quotes[0].text != first.reply


# text stays text


def test_nothing_a_visitor_or_a_model_writes_becomes_html() -> None:
    evil = "<img src=x onerror=alert(1)>"
    for message in build_messages([Exchange("Ann", evil, evil, notice=evil)]):
        assert "<" not in message["content"]
    quote = Quote(evil, 1, 1, 1, evil, 0.0)
    blocks = [
        markup.quotes_block([quote]), markup.banner([Announcement(evil, evil, evil, evil, evil)] * 2),
        markup.speaking_line(evil, evil), markup.title_block(evil, evil), markup.problem_block(evil),
        markup.table([evil], [[evil]], evil), markup.portraits_style([evil, "'}</style><b>"], evil),
    ]  # fmt: skip
    for block in blocks:
        assert "<img" not in block
        assert "<b>" not in block.replace("<b>&lt;img", "")


@pytest.mark.parametrize(
    ("name", "letters"), [("Kit", "K"), ("Dr Varga", "DV"), ("the old 'keeper'", "TK"), ("?!", "?"), ("Élodie", "É")]
)
def test_initials(name: str, letters: str) -> None:
    assert markup.initials(name) == letters


def test_white_on_every_portrait_can_be_read() -> None:
    def brightness(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in markup.PORTRAIT_COLOURS:
        assert 1.05 / (brightness(colour) + 0.05) >= 4.5, colour
    assert markup.portrait_colour("Kit") == markup.portrait_colour("Kit")


# the whole application


@pytest.fixture
def client_for(tmp_path: Path) -> Callable[[Settings], Any]:
    from fastapi.testclient import TestClient

    from character_chatbot.page import build_page

    async def build(settings: Settings) -> Any:
        service = Service(settings, lambda *_: make_source(EchoEngine()))
        return gradio_app.build_app(build_page(service, Registry(FolderStore(tmp_path)), "llama"), settings, service)

    # Within a loop: without one gradio makes a loop for each lock and never closes it.
    return lambda settings: TestClient(asyncio.run(build(settings)))


def test_the_page_loads_nothing_from_elsewhere_and_opens_no_api(client_for: Callable[[Settings], Any]) -> None:
    answer = client_for(make_settings()).get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "The Pellan Light" in answer.text
    info = client_for(make_settings()).get("/gradio_api/info").json()
    assert info["named_endpoints"] == {}


def test_with_a_password_the_page_is_behind_it(
    client_for: Callable[[Settings], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradio_app, "WRONG_PASSWORD_SECONDS", 0.0)
    client = client_for(make_settings(secrets__app_password=Secret("right")))
    assert client.get("/config").status_code == 401
    assert client.post("/login", data={"username": "guest", "password": "wrong"}).status_code == 400
    assert client.post("/login", data={"username": "guest", "password": "right"}).status_code == 200
    assert client.get("/config").status_code == 200


@pytest.mark.parametrize(
    ("number", "wait_seconds", "code"),
    [(signal.SIGINT, 0, 130), (signal.SIGINT, 0.3, 130), (signal.SIGTERM, 0, 0)],
)
def test_it_ends_with_a_word_at_whatever_moment_it_is_stopped(
    tmp_path: Path, number: signal.Signals, wait_seconds: float, code: int
) -> None:
    command = [sys.executable, str(PROJECT_FOLDER / "gradio_app.py"), "--data", str(SAMPLE), "--source", "quotes"]
    process = subprocess.Popen([*command, "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert b"http://127.0.0.1:" in process.stdout.readline()
    time.sleep(wait_seconds)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code, err.decode()
    assert b"stopped" in out
    assert b"Traceback" not in err


def test_asking_again_needs_something_asked() -> None:
    with pytest.raises(UsageError, match="no message"):
        ask_again([])
