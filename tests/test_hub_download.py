"""A base on its way from the hub: what stops it is a sentence with the next command, and Ctrl-C ends it at once."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from character_chatbot.bases import HUB, Base, _load
from character_chatbot.hub_download import STALE_SECONDS, download
from character_chatbot.hub_faults import explain
from character_chatbot.load_progress import LoadProgress, LoadStoppedError
from utils.errors import BaseModelError
from utils.hub import hub_endpoint

NAME = "acme/Tiny-Instruct"
TOKEN = "hf_thisIsNoRealToken0123456789"


def answered(status: int, words: str = "") -> HfHubHTTPError:
    request = httpx2.Request("GET", "http://proxy.example/acme/Tiny-Instruct")
    return HfHubHTTPError(words or "no", response=httpx2.Response(status, request=request))


def behind(cause: Exception) -> Exception:
    """As transformers wraps it."""
    try:
        try:
            raise cause
        except Exception as error:
            raise OSError("There was a specific connection error when trying to load it:\nmore") from error
    except OSError as error:
        return error


FAULTS: list[tuple[Exception, str, str]] = [
    (httpx2.ReadError("[Errno 104] Connection reset by peer"), "broke ([Errno 104] Connection reset by peer)", "curl"),
    (httpx2.ProxyError("502 Bad Gateway"), "broke (502 Bad Gateway)", "curl -I "),
    (httpx2.RemoteProtocolError(""), "broke (RemoteProtocolError)", "curl -I "),
    (answered(401), "does not accept the token (401)", "/settings/tokens"),
    (answered(502), "proxy.example answered 502 Bad Gateway", "curl -I "),
    (answered(403), "proxy.example answered 403 Forbidden", "curl -I "),
    (OSError(errno.ENOSPC, "No space left on device"), "the disk is full", "df -h "),
    (OSError(errno.EFBIG, "File too large"), "a file of it is larger than may be written", "ulimit -f"),
]


@pytest.mark.parametrize(("fault", "sentence", "command"), FAULTS, ids=[str(index) for index in range(len(FAULTS))])
@pytest.mark.parametrize("wrapped", [False, True])
def test_each_fault_is_a_sentence_with_the_next_command(
    fault: Exception, sentence: str, command: str, wrapped: bool
) -> None:
    found = explain(NAME, NAME, behind(fault) if wrapped else fault, TOKEN)
    assert found is not None
    assert sentence in found.what
    assert found.what.startswith(f"base model {NAME} ")
    assert command in found.remedies[0][1]
    assert ("Go without", "--base nano") in found.remedies
    assert TOKEN not in str(found)


def test_what_is_no_fault_of_the_hub_is_not_explained() -> None:
    assert explain(NAME, NAME, ValueError("no")) is None
    assert explain(NAME, NAME, FileNotFoundError("no")) is None


def test_an_error_that_is_its_own_cause_comes_to_an_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert explain(NAME, NAME, first) is None


@pytest.fixture
def snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[..., str]], None]:
    """Puts something else in the place of the hub's library; its cache is empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", constants.DOWNLOAD_CHUNK_SIZE)
    return lambda instead: monkeypatch.setattr(huggingface_hub, "snapshot_download", instead)


def test_what_breaks_a_download_is_explained(snapshot: Callable[..., None]) -> None:
    def reset(*_: object, **__: object) -> str:
        raise httpx2.ReadError("[Errno 104] Connection reset by peer")

    snapshot(reset)
    with pytest.raises(BaseModelError, match=r"broke .*Connection reset by peer") as caught:
        download(NAME, ["*.json"], "", LoadProgress())
    assert f"curl -I {hub_endpoint()}/{NAME}" in str(caught.value)

    def odd(*_: object, **__: object) -> str:
        raise RuntimeError("Data processing error: odd\nmore")

    snapshot(odd)
    with pytest.raises(BaseModelError, match=rf"base model {NAME} cannot be had: Data processing error: odd$"):
        download(NAME, ["*.json"], "", LoadProgress())


def test_ctrl_c_ends_the_threads_of_the_library(snapshot: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()

    def slow(*_: object, tqdm_class: Any, **__: object) -> str:
        bar = tqdm_class(desc="Reconstructing", total=0)
        bar.total = 10**9
        try:
            for _ in range(1000):
                bar.update(1)
                begun.set()
                time.sleep(0.005)
        finally:
            ended.set()
        return "never"

    def result(self: object, timeout: float | None = None) -> str:
        assert begun.wait(5)
        raise KeyboardInterrupt

    snapshot(slow)
    monkeypatch.setattr("character_chatbot.hub_download.Future.result", result)
    with pytest.raises(KeyboardInterrupt):
        download(NAME, ["*.json"], "", LoadProgress())
    assert ended.wait(1)


def test_a_stopped_download_is_no_fault_of_the_base(snapshot: Callable[..., None]) -> None:
    def told(*_: object, tqdm_class: Any, **__: object) -> str:
        tqdm_class(desc="Reconstructing", total=10).update(1)
        return "never"

    snapshot(told)
    progress = LoadProgress()
    progress.stop()
    with pytest.raises(LoadStoppedError):
        download(NAME, ["*.json"], "", progress)


def test_halves_that_nobody_writes_to_go_and_pieces_are_small(snapshot: Callable[..., None], tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--acme--Tiny-Instruct" / "blobs"
    blobs.mkdir(parents=True)
    for name, age in (("a.1.incomplete", STALE_SECONDS + 60), ("b.2.incomplete", 0), ("c", STALE_SECONDS + 60)):
        (blobs / name).write_bytes(b"x")
        os.utime(blobs / name, (time.time() - age,) * 2)
    snapshot(lambda *_, **__: str(tmp_path))
    assert download(NAME, ["*.json"], "", LoadProgress()) == tmp_path
    assert sorted(file.name for file in blobs.iterdir()) == ["b.2.incomplete", "c"]
    assert constants.DOWNLOAD_CHUNK_SIZE <= 512 * 1024


def test_a_folder_of_ones_own_is_no_matter_of_the_hub(tmp_path: Path) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BaseModelError, match="cannot be loaded"):
        _load(Base("path", "mine", str(tmp_path)), full)
    with pytest.raises(BaseModelError, match="the disk is full"):
        _load(Base(HUB, NAME, NAME), full)
