"""The page without a browser: who may reach it, what happens on it, and that text stays text."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gradio_app
from character_chatbot import markup, web
from character_chatbot.engines.base import EchoEngine
from character_chatbot.page import open_store
from character_chatbot.service import Service
from character_chatbot.sources import Source
from config import PROJECT_FOLDER, Secret, Settings, load_settings
from utils.announcements import Announcement
from utils.characters import Cast, Character
from utils.errors import SuiteError, UsageError
from utils.registry import Registry
from utils.stores import FolderStore

SAMPLE = PROJECT_FOLDER / "data" / "sample_series"
CAST = Cast([Character("Kit", ("Miss Sorrel",)), Character("Rosa")])


def make_settings(folder: Path = SAMPLE, **flags: object) -> Settings:
    named = {key.replace("__", "."): value for key, value in flags.items()}
    return load_settings(env_file=Path("/none"), environment={}, flags={"paths.data": folder} | named)


def make_source(engine: Any, rung: str = "base", **more: Any) -> Source:
    return Source(rung, f"the {rung}", "Pellan", CAST, ("Kit", "Rosa"), lambda character: engine, **more)


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
    monkeypatch.setattr(web, "WRONG_PASSWORD_SECONDS", 0.0)
    check = web.build_check("guest", "sésame")
    assert asyncio.run(check("guest", "sésame"))
    for user, password in [("guest", "sesame"), ("Guest", "sésame"), ("", ""), ("guest", "sésame\0"), ("\ud800", "x")]:
        assert not asyncio.run(check(user, password))


def test_a_wrong_password_has_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WRONG_PASSWORD_SECONDS", 0.2)
    started = time.monotonic()
    assert not asyncio.run(web.build_check("guest", "right")("guest", "wrong"))
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


# text stays text


def test_nothing_a_visitor_or_a_model_writes_becomes_html() -> None:
    evil = "<img src=x onerror=alert(1)>"
    blocks = [
        markup.banner([Announcement(evil, evil, evil, evil, evil)] * 2),
        markup.speaking_line(evil, evil), markup.title_block(evil, evil), markup.problem_block(evil),
        markup.table([evil], [[evil]], evil), markup.portraits_style([evil, "'}</style><b>"]),
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
        return web.build_app(build_page(service, Registry(FolderStore(tmp_path)), "llama"), settings, service)

    # Within a loop: without one gradio makes a loop for each lock and never closes it.
    return lambda settings: TestClient(asyncio.run(build(settings)), base_url="http://127.0.0.1")


def test_the_page_loads_nothing_from_elsewhere_and_offers_two_calls(client_for: Callable[[Settings], Any]) -> None:
    answer = client_for(make_settings()).get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "The Pellan Light" in answer.text
    info = client_for(make_settings()).get("/gradio_api/info").json()
    assert set(info["named_endpoints"]) == {"/characters", "/say"}


def test_with_a_password_the_page_is_behind_it(
    client_for: Callable[[Settings], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "WRONG_PASSWORD_SECONDS", 0.0)
    client = client_for(make_settings(secrets__app_password=Secret("right")))
    assert client.get("/config").status_code == 401
    assert client.post("/login", data={"username": "guest", "password": "wrong"}).status_code == 400
    assert client.post("/login", data={"username": "guest", "password": "right"}).status_code == 200
    assert client.get("/config").status_code == 200
    assert client.get("/config", headers={"origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("password", "keep", "kept"), [("", True, True), ("right", False, False), ("right", True, True)]
)
def test_conversations_are_kept_for_this_machine_and_for_visitors_only_if_asked(
    password: str, keep: bool, kept: bool, tmp_path: Path
) -> None:
    flags = {"secrets__app_password": Secret(password), "chats__keep_visitors": keep, "chats__file": tmp_path / "c"}
    settings = make_settings(**flags)
    store, told = open_store(Service(settings, lambda *_: make_source(EchoEngine())), not password)
    assert (store.file is not None) == kept
    assert ("are kept on this server" in told) == kept


def test_a_damaged_store_is_announced_and_the_page_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("no database " * 500)
    service = Service(make_settings(chats__file=tmp_path / "c"), lambda *_: make_source(EchoEngine()))
    store, told = open_store(service, one_owner=True)
    assert store.file is None
    assert "only in this server's memory" in told
    assert [each.feature for each in service.announcements] == ["conversations"]


@pytest.mark.parametrize(
    ("number", "wait_seconds", "code"),
    [(signal.SIGINT, 0, 130), pytest.param(signal.SIGINT, 0.3, 130, marks=pytest.mark.slow), (signal.SIGTERM, 0, 0)],
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


def test_an_act_that_shows_nothing_leaves_the_page_as_it_is() -> None:
    """Gradio empties all parts where a generator ends without a value."""
    import gradio as gr

    from character_chatbot.acts.views import Views
    from character_chatbot.pages.wiring import Wiring

    async def act(*views: dict[str, str]) -> Views:
        for view in views:
            yield view

    async def try_both() -> None:
        with gr.Blocks():
            part = gr.HTML()
            wiring = Wiring({"live": part}, one_owner=True)
        assert [each async for each in wiring._by_part(act())] == [{part: gr.skip()}]
        shown = [each async for each in wiring._by_part(act({"live": "a"}, {"live": "b"}))]
        assert shown == [{part: "a"}, {part: "b"}]

    asyncio.run(try_both())
