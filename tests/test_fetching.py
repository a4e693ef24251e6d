"""Versions on their way from a bucket to this machine: bytes are told, and a fetch that was stopped goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from doubles.far_store import FarStore

from utils.errors import RegistryError
from utils.fetching import CHECKING, FETCHING, fetch_bar, fetch_files
from utils.files import sha256_file
from utils.registry_reader import RegistryReader
from utils.stores import FolderStore
from utils.versions import FileSum, build_manifest

VERSION = "20261121-074545"
PREFIX = f"models/trained/llama/{VERSION}/"
SIZES = {"a.json": 10, "base/b.safetensors": 3_000_000, "c.safetensors": 500_000}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def far(tmp_path: Path) -> FarStore:
    """A bucket with one version."""
    store, folder = FarStore(tmp_path / "bucket"), tmp_path / "bucket" / PREFIX
    for number, (name, size_bytes) in enumerate(SIZES.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes([number]) * size_bytes)
    sums = {name: FileSum(sha256_file(folder / name), size_bytes) for name, size_bytes in SIZES.items()}
    store.put(f"{PREFIX}manifest.json", build_manifest("llama", VERSION, "2026-11-21T07:45:45Z", sums).content)
    return store


class Told:
    """Hears of bytes; ``then`` is called with each word."""

    def __init__(self, then: Callable[[str, int], None] = lambda step, done: None) -> None:
        self.heard: list[tuple[str, int, int]] = []
        self._then = then

    def __call__(self, step: str, done: int, total: int) -> None:
        self.heard.append((step, done, total))
        self._then(step, done)

    @property
    def steps(self) -> list[str]:
        return [step for step, before in zip(self._names, ["", *self._names], strict=False) if step != before]

    @property
    def _names(self) -> list[str]:
        return [step for step, _, _ in self.heard]


def fetch(far: FarStore, tmp_path: Path, told: Told) -> Path:
    return RegistryReader(far).fetch("llama", VERSION, tmp_path / "cache", told)


def test_bytes_are_told_as_they_come_and_as_they_are_compared(far: FarStore, tmp_path: Path) -> None:
    told = Told()
    folder = fetch(far, tmp_path, told)
    assert {name: (folder / name).stat().st_size for name in SIZES} == SIZES
    assert told.steps == [FETCHING, CHECKING]
    for step in told.steps:
        heard = [done for name, done, _ in told.heard if name == step]
        [total] = {total for name, _, total in told.heard if name == step}
        assert heard == sorted(heard)
        assert (heard[0], heard[-1]) == (0, total)
        assert total == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    told = Told()
    assert fetch(far, tmp_path, told) == folder
    assert told.steps == [CHECKING]
    assert len(far.fetched) == len(SIZES) + 1


def test_a_stopped_fetch_goes_on_and_what_is_there_counts(far: FarStore, tmp_path: Path) -> None:
    def stop(step: str, done: int) -> None:
        if step == FETCHING and done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(far, tmp_path, Told(stop))
    assert not list((tmp_path / "cache").rglob(".tmp-*"))
    far.fetched.clear()
    told = Told()
    fetch(far, tmp_path, told)
    assert [key.removeprefix(PREFIX) for key in far.fetched] == ["base/b.safetensors", "c.safetensors", "manifest.json"]
    assert told.steps == [CHECKING, FETCHING, CHECKING]
    assert next(done for step, done, _ in told.heard if step == FETCHING) == SIZES["a.json"]


KILLED = """
import sys, time
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from doubles.far_store import FarStore
from utils.registry_reader import RegistryReader

def tell(step, done, total):
    if step == "fetching" and done > 1_000_000:
        print("half", flush=True)
        time.sleep(60)

RegistryReader(FarStore(Path(sys.argv[3]))).fetch("llama", sys.argv[5], Path(sys.argv[4]), tell)
"""


def test_a_killed_fetch_leaves_nothing_that_is_taken_for_whole(far: FarStore, tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parent
    words = [sys.executable, "-c", KILLED, str(tests.parent), str(tests), str(far.folder), str(tmp_path / "cache")]
    with subprocess.Popen([*words, VERSION], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    halves = list((tmp_path / "cache").rglob(".tmp-*"))
    assert len(halves) == 1
    folder = fetch(far, tmp_path, Told())
    assert sorted(key.removeprefix(PREFIX) for key in far.fetched) == [
        "base/b.safetensors", "c.safetensors", "manifest.json"
    ]  # fmt: skip
    assert not list((tmp_path / "cache").rglob(".tmp-*"))
    assert sha256_file(folder / "base/b.safetensors") == sha256_file(far.folder / PREFIX / "base/b.safetensors")


def test_what_does_not_belong_there_goes(far: FarStore, tmp_path: Path) -> None:
    folder, outside = tmp_path / "cache" / "llama" / VERSION, tmp_path / "outside"
    (folder / "a.json").mkdir(parents=True)  # a folder in a file's place
    outside.mkdir()
    (outside / "b.safetensors").write_bytes(b"mine")
    (folder / "base").symlink_to(outside)
    (folder / "evil.bin").write_bytes(b"")
    (folder / "c.safetensors").symlink_to(far.folder / PREFIX / "c.safetensors")  # right, but not ours
    assert fetch(far, tmp_path, Told()) == folder
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} == {
        *SIZES, "manifest.json"
    }  # fmt: skip
    assert not [file for file in folder.rglob("*") if file.is_symlink()]
    assert (outside / "b.safetensors").read_bytes() == b"mine"


def test_what_is_damaged_in_the_store_is_refused_and_not_kept(far: FarStore, tmp_path: Path) -> None:
    far.put(f"{PREFIX}c.safetensors", b"x" * SIZES["c.safetensors"])
    with pytest.raises(RegistryError, match=r"c\.safetensors is changed: its sha256 differs"):
        fetch(far, tmp_path, Told())
    assert [file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()] == [".lock"]


def test_two_at_once_fetch_once(far: FarStore, tmp_path: Path) -> None:
    first = threading.Event()

    def wait(step: str, done: int) -> None:
        first.set()

    going = threading.Thread(target=fetch, args=[far, tmp_path, Told(wait)])
    going.start()
    assert first.wait(5)
    told = Told()
    fetch(far, tmp_path, told)
    going.join()
    assert told.steps == [CHECKING]
    assert len(far.fetched) == len(SIZES) + 1


def test_a_retry_that_counts_twice_does_not_go_beyond_the_whole(far: FarStore, tmp_path: Path) -> None:
    far.sends = 3
    told = Told()
    folder = tmp_path / "copy"
    files = {name: FileSum(sha256_file(far.folder / PREFIX / name), size) for name, size in SIZES.items()}
    assert fetch_files(far, PREFIX, files, folder, told) == []
    assert max(done for _, done, _ in told.heard) == sum(SIZES.values())
    before_the_last = SIZES["a.json"] + SIZES["base/b.safetensors"]
    assert (FETCHING, before_the_last, sum(SIZES.values())) in told.heard


def test_a_folder_tells_the_bytes_that_it_compares(far: FarStore, tmp_path: Path) -> None:
    told = Told()
    reader = RegistryReader(FolderStore(far.folder))
    assert reader.fetch("llama", VERSION, tmp_path / "cache", told) == far.folder / PREFIX
    assert told.steps == [CHECKING]
    assert told.heard[-1] == (CHECKING, sum(SIZES.values()), sum(SIZES.values()))


def test_verifying_a_bucket_tells_its_bytes_once(far: FarStore) -> None:
    told = Told()
    assert RegistryReader(far).verify("llama", VERSION, told) == []
    assert told.heard[-1] == (CHECKING, sum(SIZES.values()), sum(SIZES.values()))
    assert len(told.heard) == 1 + 1 + 3 + 1  # none yet, and a word for each piece of a megabyte


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_shows_in_a_terminal_only(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("utils.fetching.BAR_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with fetch_bar("llama 1") as tell:
        for step in (FETCHING, CHECKING):
            for done in (0, 1_500_000, 3_000_000):
                tell(step, done, 3_000_000)
    said = capsys.readouterr()
    assert said.out == ""
    assert (said.err == "") is not terminal
    assert not terminal or ("fetching llama 1" in said.err and "checking llama 1" in said.err and "3.00M" in said.err)
