"""What a page says of itself to whoever looks from outside: GET /health and the status file."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gradio_app
from character_chatbot import web
from character_chatbot.engines.base import EchoEngine
from character_chatbot.served import ServedFile
from character_chatbot.service import Service
from character_chatbot.sources import Source
from config import PROJECT_FOLDER, Secret, Settings, load_settings
from utils.announcements import Announcement
from utils.characters import Cast, Character
from utils.errors import BaseModelError, DataError, UsageError
from utils.registry import Registry
from utils.stores import FolderStore

SAMPLE = PROJECT_FOLDER / "data" / "sample_series"
CAST = Cast([Character("Kit")])
STEP_DOWN = Announcement("chat", "a version", "the base", "there is none", "train one")


def make_settings(**secrets: Secret) -> Settings:
    flags: dict[str, object] = {"paths.data": SAMPLE} | {f"secrets.{name}": value for name, value in secrets.items()}
    return load_settings(env_file=Path("/none"), environment={}, flags=flags)


def make_source() -> Source:
    engine = EchoEngine()
    return Source(
        "version", "llama 1 (adapter)", "Pellan", CAST, ("Kit",), lambda character: engine, version="1", base="tiny"
    )


def client_of(service: Service, folder: Path) -> Any:
    from fastapi.testclient import TestClient

    from character_chatbot.page import build_page

    async def build() -> Any:
        page = build_page(service, Registry(FolderStore(folder)), "llama")
        return web.build_app(page, service.settings, service)

    return TestClient(asyncio.run(build()), base_url="http://127.0.0.1")


def test_health_follows_the_service_and_asks_nobody_for_a_password(tmp_path: Path) -> None:
    go = threading.Event()

    def find(*_: object) -> Source:
        go.wait(5)
        return make_source()

    service = Service(make_settings(app_password=Secret("right")), find)
    client = client_of(service, tmp_path)
    service.start()
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"state": "loading"})
    assert client.get("/config").status_code == 401  # all else stays behind the password
    go.set()
    assert service.source
    answer = client.get("/health")
    assert (answer.status_code, answer.content) == (200, b'{"state":"ready"}')
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.post("/health").status_code != 200


def test_health_of_a_page_that_cannot_answer_is_an_error_without_details(tmp_path: Path) -> None:
    def find(*_: object) -> Source:
        raise BaseModelError("the base is gone.")

    service = Service(make_settings(), find)
    service.load()
    answer = client_of(service, tmp_path).get("/health")
    assert (answer.status_code, answer.content) == (500, b'{"state":"failed"}')


# the status file


def served(file: Path, find: Callable[..., Source]) -> list[dict[str, Any]]:
    """The lines that were in the file, one after the other."""
    lines: list[dict[str, Any]] = []
    writer = ServedFile(file, "llama", clock=lambda: 1_700_000_000.0)

    def changed(service: Service) -> None:
        writer.write(service)
        lines.append(json.loads(file.read_text(encoding="utf-8")))

    service = Service(make_settings(), find, changed)
    service.start()
    for _ in range(200):
        if len(lines) == 2:
            break
        time.sleep(0.01)
    assert not service.loading
    return lines


def test_the_file_says_what_is_loading_and_what_speaks(tmp_path: Path) -> None:
    def find(corpus: Any, no_corpus: str, announcements: Any) -> Source:
        announcements.add(STEP_DOWN)
        return make_source()

    loading, ready = served(tmp_path / "new" / "status.json", find)
    assert (loading["state"], loading["label"], loading["announcements"]) == ("loading", "", [])
    assert ready == {
        "state": "ready",
        "label": "llama 1 (adapter)",
        "family": "llama",
        "version": "1",
        "base": "tiny",
        "rung": "version",
        "announcements": [STEP_DOWN.to_dict()],
        "problem": "",
        "at": "2023-11-14T22:13:20Z",
    }
    assert (tmp_path / "new" / "status.json").read_bytes().count(b"\n") == 1
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["status.json"]


def test_the_file_says_why_nothing_speaks(tmp_path: Path) -> None:
    def find(*_: object) -> Source:
        raise DataError("nobody can answer.", remedies=[("See", "status")])

    failed = served(tmp_path / "status.json", find)[-1]
    assert (failed["state"], failed["label"]) == ("failed", "")
    assert failed["problem"] == "nobody can answer.\n  See:  status"


def test_a_file_that_cannot_be_written_ends_nothing_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    writer = ServedFile(tmp_path / "taken" / "status.json", "llama")
    service = Service(make_settings(), lambda *_: make_source(), writer.write)
    service.load()
    service.load()
    assert service.state == "ready"
    assert sum("cannot be written" in record.message for record in caplog.records) == 1


def test_a_page_that_does_not_come_up_says_so_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    file.write_text('{"state": "ready"}')
    with pytest.raises(UsageError, match="no password"):
        gradio_app.main(["--host", "0.0.0.0", "--status-file", str(file)])  # noqa: S104
    line = json.loads(file.read_text())
    assert line["state"] == "failed"
    assert "no password" in line["problem"]


def test_a_proxy_can_have_the_password_made_sure_of(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no password"):
        gradio_app.main(["--host", "127.0.0.1", "--require-password"])
    gradio_app.check_host(make_settings(app_password=Secret("right")), True)
    gradio_app.check_host(make_settings())


def test_the_real_page_tells_what_it_serves(tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT_FOLDER / "gradio_app.py"), "--data", str(SAMPLE), "--source", "quotes"]
    file = tmp_path / "status.json"
    process = subprocess.Popen(
        [*command, "--port", "0", "--family", "qwen", "--status-file", str(file)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().partition("at ")[2].partition(". ")[0]
        for _ in range(300):
            with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:  # noqa: S310
                state = json.loads(answer.read())
            line = json.loads(file.read_text(encoding="utf-8"))  # is written right after the page says so
            if state == {"state": "ready"} and line["state"] == "ready":
                break
            time.sleep(0.1)
        assert state == {"state": "ready"}
        assert (line["state"], line["rung"], line["family"], line["version"]) == ("ready", "quotes", "qwen", "")
        assert line["label"].startswith("quotes")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
