"""What a job saves comes back byte for byte on the next machine, and nothing that is half there looks whole."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from doubles.bad_store import BadStore

from aws.data.training_data import plan_upload, upload
from aws.instance.sync import Sync
from aws.instance.units import Unit, unit_of
from aws.places import Job, Link
from utils.errors import DataError, StoreError

RUNS = Link("runs", "checkpoints/llama/run-1", "complete.json")
CACHE = Link("cache", "checkpoints/llama/run-1-cache", "config.json")
DATA = Link("data", "data/training")
JOB = Job("run-1", "training", (), inputs=(DATA,), outputs=(RUNS, CACHE))
CHECKPOINTS = "llama/0123456789abcdef/checkpoints"


@pytest.fixture
def store(tmp_path: Path) -> BadStore:
    return BadStore(tmp_path / "bucket")


@pytest.fixture
def machine(tmp_path: Path, store: BadStore) -> Callable[..., Sync]:
    """Makes the sync of a machine: ``machine("first")`` works in ``tmp_path/first/work``."""

    def make(name: str, job: Job = JOB) -> Sync:
        return Sync(store, tmp_path / name / "work", job, tmp_path / name / "synced.json")

    return make


def write(work: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(content)


def checkpoint(work: Path, step: int, *, mark: bool = True, text: str = "weights") -> Path:
    folder = work / "runs" / CHECKPOINTS / f"checkpoint-{step}"
    write(folder, {"adapter/weights.safetensors": f"{text} {step}", "state.json": str(step)})
    if mark:
        write(folder, {"complete.json": f"mark {step}"})
    return folder


def content(work: Path) -> dict[str, bytes]:
    return {str(file.relative_to(work)): file.read_bytes() for file in work.rglob("*") if file.is_file()}


def test_everything_comes_back_byte_for_byte(tmp_path: Path, machine: Callable[..., Sync]) -> None:
    work = tmp_path / "first" / "work"
    first = machine("first")
    first.restore()
    for step in (20, 40):
        checkpoint(work, step)
    write(
        work,
        {"runs/llama/0123456789abcdef/published.json": "{}", "cache/bases/nano-llama-0a1b2c3d4e5f/config.json": "{}"},
    )
    write(work, {"cache/bases/nano-llama-0a1b2c3d4e5f/model.safetensors": "nano"})
    assert first.push() == 9
    second = machine("second")
    assert second.restore() == 9
    assert content(tmp_path / "second" / "work") == content(work)


def test_only_what_changed_is_copied(tmp_path: Path, machine: Callable[..., Sync], store: BadStore) -> None:
    work = tmp_path / "first" / "work"
    sync = machine("first")
    sync.restore()
    checkpoint(work, 20)
    write(work, {"runs/llama/notes.txt": "one"})
    assert sync.push() == 4
    assert sync.push() == 0
    write(work, {"runs/llama/notes.txt": "other"})
    assert sync.push() == 1
    again = machine("first")  # the next runner of the same machine
    again.restore()
    assert again.push() == 0
    assert store.get(f"{RUNS.key}/llama/notes.txt")[0] == b"other"


def test_a_restored_machine_copies_nothing_back(machine: Callable[..., Sync], tmp_path: Path) -> None:
    first = machine("first")
    first.restore()
    checkpoint(tmp_path / "first" / "work", 20)
    first.push()
    second = machine("second")
    second.restore()
    assert second.push() == 0


def test_a_checkpoint_without_its_mark_is_not_copied(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    sync = machine("first")
    sync.restore()
    folder = checkpoint(tmp_path / "first" / "work", 20, mark=False)
    assert sync.push() == 0
    assert store.all_keys() == set()
    write(folder, {"complete.json": "mark"})
    assert sync.push() == 3


def test_the_mark_goes_last(tmp_path: Path, machine: Callable[..., Sync], store: BadStore) -> None:
    sync = machine("first")
    sync.restore()
    checkpoint(tmp_path / "first" / "work", 20)
    sync.push()
    assert store.calls["put"][-1].endswith("checkpoint-20/complete.json")
    machine("second").restore()
    assert store.calls["fetch"][-1].endswith("checkpoint-20/complete.json")


@pytest.mark.parametrize("good_puts", [0, 1, 2])
def test_an_upload_that_breaks_off_leaves_no_whole_checkpoint(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore, good_puts: int
) -> None:
    first = machine("first")
    first.restore()
    checkpoint(tmp_path / "first" / "work", 20)
    first.push()
    checkpoint(tmp_path / "first" / "work", 40)
    count = [0]

    def break_off(key: str) -> None:
        count[0] += 1
        if count[0] > good_puts:
            raise StoreError("connection reset by peer")

    store.before_put = break_off
    with pytest.raises(StoreError, match="reset"):
        first.push()
    second = machine("second")
    second.restore()
    names = {folder.name for folder in (tmp_path / "second" / "work" / "runs" / CHECKPOINTS).iterdir()}
    assert names == {"checkpoint-20"}
    store.before_put = lambda key: None
    assert first.push() == 3 - good_puts


def test_a_download_that_breaks_off_leaves_no_whole_checkpoint(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    first = machine("first")
    first.restore()
    checkpoint(tmp_path / "first" / "work", 20)
    first.push()
    for good in range(3):
        second = machine("second")
        fetched: list[str] = []
        whole = store.fetch

        def fetch(
            key: str, file: Path, on_bytes: object = None, fetched: list[str] = fetched, good: int = good
        ) -> None:
            fetched.append(key)
            if len(fetched) > good:
                raise StoreError("reset")
            BadStore.fetch(store, key, file)

        store.fetch = fetch  # type: ignore[method-assign, assignment]
        with pytest.raises(StoreError):
            second.restore()
        store.fetch = whole  # type: ignore[method-assign]
        assert not list((tmp_path / "second").rglob("checkpoint-20"))
    assert machine("second").restore() == 3
    assert content(tmp_path / "second" / "work") == content(tmp_path / "first" / "work")


def test_a_removed_checkpoint_goes_once_a_newer_one_is_whole(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    work = tmp_path / "first" / "work"
    sync = machine("first")
    sync.restore()
    old = checkpoint(work, 20)
    sync.push()
    shutil.rmtree(old)
    sync.push()
    assert any("checkpoint-20/" in key for key in store.all_keys())  # there is no newer one
    new = checkpoint(work, 100, mark=False)
    sync.push()
    assert any("checkpoint-20/" in key for key in store.all_keys())  # the newer one is not whole
    write(new, {"complete.json": "mark"})
    sync.push()
    assert not any("checkpoint-20/" in key for key in store.all_keys())
    assert sum("checkpoint-100/" in key for key in store.all_keys()) == 3


def test_a_newer_one_that_is_half_saved_does_not_count(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    first = machine("first")
    first.restore()
    checkpoint(tmp_path / "first" / "work", 20)
    first.push()
    store.put(f"{RUNS.key}/{CHECKPOINTS}/checkpoint-40/state.json", b"40")
    before = store.all_keys()
    second = machine("second")
    second.restore()
    shutil.rmtree(tmp_path / "second" / "work" / "runs" / CHECKPOINTS / "checkpoint-20")
    second.push()
    assert store.all_keys() == before


def test_a_half_saved_checkpoint_of_a_dead_machine_goes_too(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    store.put(f"{RUNS.key}/{CHECKPOINTS}/checkpoint-20/state.json", b"20")
    sync = machine("first")
    assert sync.restore() == 0
    checkpoint(tmp_path / "first" / "work", 40)
    sync.push()
    assert not any("checkpoint-20/" in key for key in store.all_keys())


def test_before_it_was_restored_nothing_is_removed(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    first = machine("first")
    first.restore()
    for step in (20, 40):
        checkpoint(tmp_path / "first" / "work", step)
    first.push()
    before = store.all_keys()
    second = machine("second")
    store.fail(1, "fetch")
    with pytest.raises(StoreError):
        second.restore()
    second.push()
    assert store.all_keys() == before


def test_a_checkpoint_that_is_written_anew_loses_its_mark_first(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    work = tmp_path / "first" / "work"
    sync = machine("first")
    sync.restore()
    folder = checkpoint(work, 20)
    write(folder, {"optimizer.pt": "only in the first"})
    sync.push()
    shutil.rmtree(folder)
    checkpoint(work, 20, text="other weights")
    marks: list[bool] = []
    mark = f"{RUNS.key}/{CHECKPOINTS}/checkpoint-20/complete.json"
    store.before_put = lambda key: marks.append(mark in store.all_keys())
    sync.push()
    assert marks == [False, False, False]
    machine("second").restore()
    assert content(tmp_path / "second" / "work") == content(work)


def test_a_checkpoint_that_is_removed_while_it_is_copied_is_not_marked(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    sync = machine("first")
    sync.restore()
    folder = checkpoint(tmp_path / "first" / "work", 20)
    store.before_put = lambda key: (folder / "state.json").unlink(missing_ok=True)  # the mark is still there
    sync.push()
    assert not any(key.endswith("complete.json") for key in store.all_keys())


def test_a_half_made_nano_base_is_not_taken_for_one(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    store.put(f"{CACHE.key}/bases/nano-llama-0123456789ab/model.safetensors", b"nano")
    assert machine("first").restore() == 0
    assert not (tmp_path / "first" / "work" / "cache" / "bases").exists()


def test_locks_sockets_and_unfinished_files_stay(machine: Callable[..., Sync], store: BadStore, tmp_path: Path) -> None:
    work = tmp_path / "first" / "work"
    names = ("lock", ".lock", "x.lock", ".tmp-1", "a.txt")
    write(work, {f"runs/{name}": "x" for name in names})
    write(work, {"cache/bases/.making-x/nano-llama-0123456789ab/config.json": "{}"})
    (work / "runs" / "link").symlink_to(work / "runs" / "a.txt")
    os.mkfifo(work / "runs" / "pipe")
    with socket.socket(socket.AF_UNIX) as opened:
        here = Path.cwd()
        os.chdir(work / "runs")  # the path of a socket is short
        opened.bind("socket")
        os.chdir(here)
        sync = machine("first")
        sync.restore()
        assert sync.push() == 1
    assert store.all_keys() == {f"{RUNS.key}/a.txt"}


def test_a_name_that_no_bucket_takes_is_said_once_and_spares_the_rest(tmp_path: Path, store: BadStore) -> None:
    work, said = tmp_path / "work", []
    write(work, {"runs/a\\b.txt": "x", "runs/c.txt": "y"})
    sync = Sync(store, work, JOB, tmp_path / "synced.json", said.append)
    sync.restore()
    assert sync.push() == 1
    sync.push()
    assert len(said) == 1
    assert "a\\\\b.txt" in said[0]


def test_inputs_come_whole_or_with_a_sentence(tmp_path: Path, machine: Callable[..., Sync], store: BadStore) -> None:
    sync = machine("first")
    with pytest.raises(DataError, match=r"nothing below .*data/training") as caught:
        sync.fetch_inputs()
    assert "upload-data" in str(caught.value)
    store.put("data/training/transcripts/S01E01.csv", b"name,line\n")
    assert sync.fetch_inputs() == 1
    assert (tmp_path / "first/work/data/transcripts/S01E01.csv").read_bytes() == b"name,line\n"


def test_what_is_on_this_machine_is_not_overwritten(
    tmp_path: Path, machine: Callable[..., Sync], store: BadStore
) -> None:
    store.put(f"{RUNS.key}/llama/published.json", b"old")
    write(tmp_path / "first" / "work", {"runs/llama/published.json": "new"})
    sync = machine("first")
    assert sync.restore() == 0
    assert sync.push() == 1
    assert store.get(f"{RUNS.key}/llama/published.json")[0] == b"new"


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (f"{CHECKPOINTS}/checkpoint-20/adapter/x.json", f"{CHECKPOINTS}/checkpoint-20"),
        ("bases/nano-llama-0123456789ab/model.safetensors", "bases/nano-llama-0123456789ab"),
        ("llama/0123456789abcdef/version/adapter_config.json", None),
        ("checkpoint-20", None),
    ],
)
def test_which_folders_count_as_a_whole(path: str, unit: str | None) -> None:
    assert unit_of(path, RUNS) == (Unit(unit) if unit else None)
    assert unit_of(path, DATA) is None


def test_newer_is_by_number_among_the_same_kind() -> None:
    assert Unit("a/checkpoint-100").follows(Unit("a/checkpoint-20"))
    assert not Unit("a/checkpoint-20").follows(Unit("a/checkpoint-100"))
    assert not Unit("b/checkpoint-100").follows(Unit("a/checkpoint-20"))
    assert not Unit("nano-llama-0123456789ab").follows(Unit("nano-llama-0123456789aa"))


def test_uploaded_data_are_compared_with_their_manifest(
    tmp_path: Path, store: BadStore, machine: Callable[..., Sync], series_folder: Callable[..., Path]
) -> None:
    upload(plan_upload(series_folder(), store))
    keys = [key for key, _ in store.list("data/training/")]
    assert machine("first").fetch_inputs() == len(keys) - 1  # all but the manifest
    victim = next(key for key in keys if key.endswith(".csv"))
    store.put(victim, b"name,line\nAda,Forged.\n")
    with pytest.raises(DataError, match=victim.rpartition("/")[2]):
        machine("second").fetch_inputs()
