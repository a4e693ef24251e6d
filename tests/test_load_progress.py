"""How far loading is: what the loader tells, and who reads it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gradio_app
from character_chatbot import markup
from character_chatbot.acts import keeping
from character_chatbot.acts.talk import Talk
from character_chatbot.acts.views import View
from character_chatbot.acts.visit import Visit
from character_chatbot.api.meters import Meters, build_healthz
from character_chatbot.chats.store import ChatStore
from character_chatbot.export.shelf import fetch_export
from character_chatbot.load_progress import (
    CHECKING,
    FETCHING,
    READING,
    WEIGHTS_BAR,
    LoadProgress,
    LoadStoppedError,
    counted_weights,
    download_bar,
    shown_in_terminal,
    tell_fetch,
)
from character_chatbot.service import Service
from character_chatbot.sources import Source
from config import load_settings
from utils.errors import DataError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> LoadProgress:
    return LoadProgress(clock)


def test_a_stage_says_what_how_far_and_how_long(progress: LoadProgress, clock: Clock) -> None:
    progress.begin(FETCHING, "acme/Tiny from the hub")
    clock.now += 75
    assert progress.read().sentence == "fetching acme/Tiny from the hub, 1 min 15 s"
    progress.count(120_000_000, 960_000_000, is_bytes=True)
    stage = progress.read()
    assert stage.sentence == "fetching acme/Tiny from the hub, 120.0 MB of 960.0 MB, 12%, 1 min 15 s"
    assert (stage.kind, stage.share) == ("fetching", 0.125)


def test_what_is_measured_is_measured_when_somebody_looks(progress: LoadProgress) -> None:
    memory = [0.0]
    progress.begin(READING, "the weights", done=lambda: memory[0], total=200)
    assert progress.read().figures == "0%, 0 s"
    memory[0] = 50
    assert progress.read().figures == "25%, 0 s"
    memory[0] = 300  # an estimate was too low: it is not over for that
    assert progress.read().share == 0.99


def test_a_process_that_has_ended_is_no_error(progress: LoadProgress) -> None:
    def gone() -> float:
        raise ProcessLookupError

    progress.begin(READING, done=gone, total=10)
    assert progress.read().share is None


def test_the_next_stage_begins_at_nothing(progress: LoadProgress) -> None:
    progress.count(1, 2)
    progress.begin(READING)
    assert progress.read().share is None


def test_the_whole_time_stands_still_once_it_is_over(progress: LoadProgress, clock: Clock) -> None:
    progress.start()
    clock.now += 3
    assert progress.seconds == 3
    progress.end()
    clock.now += 3
    assert progress.seconds == 3


def test_the_tensors_that_transformers_reads_are_counted(progress: LoadProgress) -> None:
    from transformers.utils import logging as transformers_logging

    seen = []
    with counted_weights(progress):
        for tensor in transformers_logging.tqdm({"a": 1, "b": 2}.items(), desc=WEIGHTS_BAR):
            seen.append((tensor, progress.read().share))
        assert list(transformers_logging.tqdm([1], desc="something else")) == [1]
    assert seen == [(("a", 1), 0.0), (("b", 2), 0.5)]
    assert transformers_logging.set_tqdm_hook(None) is None


def test_bytes_on_the_disk_count_and_nothing_is_shown(
    progress: LoadProgress, capfd: pytest.CaptureFixture[str]
) -> None:
    bar = download_bar(progress)
    network, disk = bar(desc="Downloading bytes", total=0), bar(desc="Reconstructing (incomplete total...)", total=0)
    disk.total += 400  # as huggingface_hub adds the files
    network.update(300)
    assert progress.read().share is None
    disk.update(100)
    assert progress.read().counted == "100 B of 400 B"
    for each in (network, disk):
        each.refresh()
        each.close()
    assert capfd.readouterr().err == ""


def test_a_fetch_says_from_where_and_is_one_stage_for_each_step(
    progress: LoadProgress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    progress.begin(CHECKING, "llama 20260101-000000")
    tell = tell_fetch(progress, "llama 20260101-000000", "s3://shelf/suite")
    seen = []
    for step, done in (("checking", 0), ("fetching", 0), ("fetching", 500_000), ("checking", 2_000_000)):
        tell(step, done, 2_000_000)
        seen.append(progress.read().sentence)
    assert seen[2] == "fetching llama 20260101-000000 from s3://shelf/suite, 500.0 kB of 2.0 MB, 25%, 0 s"
    assert seen[3] == "checking llama 20260101-000000, 2.0 MB of 2.0 MB, 99%, 0 s"
    assert [record.message.split()[1] for record in caplog.records] == ["checking", "fetching", "checking"]


def test_what_is_stopped_breaks_off_at_its_next_bytes(progress: LoadProgress) -> None:
    disk = download_bar(progress)(desc="Reconstructing", total=400)
    disk.update(100)
    progress.stop()
    with pytest.raises(LoadStoppedError):
        disk.update(100)
    with pytest.raises(LoadStoppedError):
        tell_fetch(progress, "llama", "s3://shelf")("fetching", 1, 2)
    with pytest.raises(LoadStoppedError):
        LoadProgress(beside=progress).count(1, 2)


def test_a_service_that_is_stopped_says_nothing_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def stopped(progress: LoadProgress) -> None:
        progress.stop()
        progress.count(1, 2)

    service = Service(load_settings(env_file=Path("/none"), environment={}, flags={"paths.data": tmp_path}), None)  # type: ignore[arg-type]
    service._find = lambda *_: stopped(service.progress)  # type: ignore[assignment, func-returns-value]
    service.load()
    assert isinstance(service.problem, LoadStoppedError)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_command_shows_it_in_a_terminal_only(
    progress: LoadProgress, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr("character_chatbot.load_progress.TERMINAL_SECONDS", 0.01)
    progress.begin(READING, "the weights")
    with shown_in_terminal(progress):
        threading.Event().wait(0.1)
    said = capsys.readouterr().err
    assert ("Loading: reading the weights" in said) is terminal
    assert not terminal or said.endswith("\r\x1b[K")


# an export from a bucket


class Bucket:
    """A store that is not on this machine, with one export."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    url = "s3://shelf/suite"

    def local_path(self, key: str) -> None:
        return None

    def get(self, key: str) -> tuple[bytes, str]:
        return self.files[key.rpartition("/")[2]], "etag"

    def fetch(self, key: str, file: Path, on_bytes: Callable[[int], None] | None = None) -> None:
        content = self.files[key.rpartition("/")[2]]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if on_bytes:
            on_bytes(len(content) // 2)
            on_bytes(len(content) - len(content) // 2)


def test_an_export_from_a_bucket_is_counted_over_all_its_files(tmp_path: Path) -> None:
    import hashlib
    import json

    names = ("openvino_model.xml", "openvino_model.bin", "config.json", "export.json")
    files = {name: b"x" * 10 * (number + 1) for number, name in enumerate(names)}
    sums = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in files.items()
    }
    manifest = {"family": "llama", "version": "20260101-000000", "files": sums}
    seen: list[str] = []

    class Watched(LoadProgress):
        def count(self, done: float, total: float, *, is_bytes: bool = False) -> None:
            super().count(done, total, is_bytes=is_bytes)
            seen.append(self.read().title + ": " + self.read().counted)

    store: Any = Bucket(files | {"manifest.json": json.dumps(manifest).encode()})
    fetch_export(store, "llama", "20260101-000000", tmp_path, Watched())
    fetched = [f"fetching the export of llama 20260101-000000 from s3://shelf/suite: {done} B of 100 B"
               for done in (0, 5, 10, 20, 30, 45, 60, 80, 100)]  # fmt: skip
    checked = [f"checking the export of llama 20260101-000000: {done} B of 100 B" for done in (0, 10, 30, 60, 100)]
    assert list(dict.fromkeys(seen)) == fetched + checked


# who reads it


def make_service(tmp_path: Path, go: threading.Event, tell: Callable[[LoadProgress], None]) -> Service:
    """Loads until the event is set; ``tell``: what the loader says before."""
    progress = LoadProgress()
    told = threading.Event()

    def find(*_: object) -> Source:
        tell(progress)
        told.set()
        go.wait(5)
        raise DataError("nobody can answer.")

    flags = {"paths.data": tmp_path}
    settings = load_settings(env_file=Path("/none"), environment={}, flags=flags)
    service = Service(settings, find, progress=progress)
    service.start()
    assert told.wait(5)
    return service


def half(progress: LoadProgress) -> None:
    progress.begin(READING, "the weights of secret-name")
    progress.count(1, 2)


def test_health_and_metrics_tell_the_stage_and_no_name(tmp_path: Path) -> None:
    import json

    go = threading.Event()
    service = make_service(tmp_path, go, half)
    meters = Meters(service)
    answer = build_healthz(service)
    told = json.loads(bytes(answer.body))
    assert (answer.status_code, told["state"], told["stage"], told["share"]) == (503, "loading", "reading", 0.5)
    assert told["seconds"] >= 0
    text = meters.text().decode()
    assert 'suite_load_share{stage="reading"} 0.5' in text
    assert "secret-name" not in text + str(told)
    go.set()
    while service.loading:
        threading.Event().wait(0.01)
    assert json.loads(bytes(build_healthz(service).body)) == {"state": "failed"}
    assert "suite_load_share{" not in meters.text().decode()


def test_the_page_shows_it_each_second_without_telling_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "TICKS_OF_PROGRESS", 1)
    go = threading.Event()
    talk = Talk(make_service(tmp_path, go, half), ChatStore(None))

    async def look() -> list[View]:
        seen = []
        async for view in talk.open(Visit()):
            seen.append(view)
            go.set()
        return seen

    first, *_, last = asyncio.run(look())
    assert set(first) == {"notice"}  # what is told stands in another part, which does not change
    assert 'value="0.50"' in first["notice"]
    assert "reading the weights of secret-name" in first["notice"]
    assert "role=" not in first["notice"]
    assert last["notice"] == ""
    assert "nobody can answer" in last["banner"]


def test_a_share_that_is_not_known_has_no_value() -> None:
    block = markup.loading_block("fetching <b>", "3 s", None)
    assert 'value="' not in block
    assert "&lt;b&gt;" in block


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_moves_in_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(gradio_app, "PROGRESS_SECONDS", 0.01)
    go = threading.Event()
    service = make_service(tmp_path, go, half)
    capsys.readouterr()
    threading.Timer(0.1, go.set).start()
    gradio_app.show_loading(service)
    said = capsys.readouterr().err
    assert ("Loading: reading the weights of secret-name, 50%" in said) is terminal
    assert not terminal or said.rstrip("\n").endswith(("\r\x1b[K", "nobody can answer."))
