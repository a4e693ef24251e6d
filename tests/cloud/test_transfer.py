"""Versions between a folder and a bucket: the same code both ways, all of a version or nothing. No network."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aws.data.transfer import copy_version, pull, push
from aws.storage import S3Store
from utils.errors import RegistryError, StoreError
from utils.registry import Registry
from utils.stores import FolderStore, Store

MOMENT = datetime(2026, 11, 21, 7, 45, 45, tzinfo=UTC)
FIRST, SECOND = "20261121-074545", "20261121-074546"
LLAMA = "models/trained/llama"
ANN = {"actor": "ann@desk"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here pulls the plug, and waiting for the disk is what takes the time."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def weights(numbers: int = 4) -> bytes:
    """A safetensors file with one tensor of bytes."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [numbers], "data_offsets": [0, numbers]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(numbers)


def make_adapter(folder: Path, **changes: bytes) -> Path:
    contents = {
        "adapter_model.safetensors": weights(),
        "adapter_config.json": b'{"r": 16}',
        "run.json": b'{"seed": 7}',
        "base/model.safetensors": weights(3_000_000),
    }
    for name, content in (contents | changes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def registry_of(store: Store, moment: datetime = MOMENT) -> Registry:
    return Registry(store, clock=lambda: moment)


@pytest.fixture
def here(tmp_path: Path) -> Registry:
    return registry_of(FolderStore(tmp_path / "here"))


@pytest.fixture
def there(tmp_path: Path) -> Registry:
    return registry_of(FolderStore(tmp_path / "there"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "adapter")


@pytest.fixture
def in_bucket(account: Any) -> Registry:
    import boto3

    boto3.client("s3", "us-east-1").create_bucket(Bucket="bucket")
    return registry_of(S3Store("s3://bucket", "us-east-1"))


def left(registry: Registry) -> list[str]:
    """All that lies in a folder's registry, what is still being written included."""
    assert isinstance(registry.store, FolderStore)
    found = registry.store.folder.rglob("*")
    return sorted(path.relative_to(registry.store.folder).as_posix() for path in found if path.name != ".lock")


def test_to_the_bucket_and_back(here: Registry, in_bucket: Registry, adapter: Path, tmp_path: Path) -> None:
    here.publish("llama", adapter, actor="bo")
    sent = push(here, in_bucket, "llama", "latest", **ANN, reason="for all", promote=True)
    assert (sent.version, sent.copied, sent.is_latest, sent.files) == (FIRST, True, True, 4)
    (event,) = in_bucket.history("llama")
    assert (event.event, event.actor, event.reason, event.moved_to) == ("publish", "ann@desk", "for all", FIRST)
    other = registry_of(FolderStore(tmp_path / "other"))
    came = pull(in_bucket, other, "llama", FIRST, actor="cid@far")
    assert came.copied and not came.is_latest and other.latest("llama") is None
    assert other.verify("llama", FIRST) == in_bucket.verify("llama", FIRST) == []
    assert other.show("llama", FIRST)["files"] == here.show("llama", FIRST)["files"]
    assert other.history("llama")[0].reason == "from s3://bucket"
    assert not [name for name in left(other) if ".tmp-" in name]
    assert str(came) == (
        f"{FIRST} of llama came from s3://bucket to {tmp_path / 'other'}: 4 files, 3.0 MB; latest stays where it was."
    )


def test_progress_is_told_up_to_the_end(here: Registry, in_bucket: Registry, adapter: Path) -> None:
    here.publish("llama", adapter, actor="bo")
    told: list[tuple[int, int]] = []
    moved = push(here, in_bucket, "llama", **ANN, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (2 * moved.size_bytes, 2 * moved.size_bytes) and len(told) > 10
    assert [done for done, _ in told] == sorted(done for done, _ in told)


class TestThereAlready:
    def test_the_same_is_left_as_it_is(self, here: Registry, there: Registry, adapter: Path) -> None:
        here.publish("llama", adapter, actor="bo")
        copy_version(here, there, "llama", **ANN)
        before = left(there), there.history("llama")
        again = copy_version(here, there, "llama", **ANN)
        assert not again.copied and not again.is_latest and "is in" in str(again) and "already" in str(again)
        assert (left(there), there.history("llama")) == before

    def test_the_same_is_promoted_if_asked_for(self, here: Registry, there: Registry, adapter: Path) -> None:
        here.publish("llama", adapter, actor="bo")
        copy_version(here, there, "llama", **ANN)
        assert copy_version(here, there, "llama", **ANN, promote=True, reason="good").is_latest
        assert [(event.event, event.reason) for event in there.history("llama")][1:] == [("promote", "good")]
        copy_version(here, there, "llama", **ANN, promote=True)
        assert len(there.history("llama")) == 2

    def test_latest_is_not_moved_back(self, here: Registry, there: Registry, adapter: Path) -> None:
        for _ in range(2):
            here.publish("llama", adapter, actor="bo")
        copy_version(here, there, "llama", SECOND, **ANN, promote=True)
        for _ in range(2):  # published, and there already
            assert not copy_version(here, there, "llama", FIRST, **ANN, promote=True).is_latest
        latest = there.latest("llama")
        assert latest and latest.version == SECOND

    def test_another_of_the_same_name(self, here: Registry, there: Registry, adapter: Path, tmp_path: Path) -> None:
        here.publish("llama", adapter, actor="bo")
        there.publish("llama", make_adapter(tmp_path / "b", **{"run.json": b'{"seed": 8}'}), actor="bo")
        before = left(there)
        with pytest.raises(RegistryError, match=f"has another {FIRST} of llama"):
            copy_version(here, there, "llama", **ANN)
        assert left(there) == before and there.verify("llama") == []

    def test_a_damaged_copy(self, here: Registry, there: Registry, adapter: Path, tmp_path: Path) -> None:
        here.publish("llama", adapter, actor="bo")
        copy_version(here, there, "llama", **ANN)
        (tmp_path / "there" / LLAMA / FIRST / "adapter_config.json").write_bytes(b'{"r": 17}')
        with pytest.raises(RegistryError, match="already, but damaged: adapter_config"):
            copy_version(here, there, "llama", **ANN)


def _change(name: str, content: bytes | None) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink() if content is None else (folder / name).write_bytes(content)


class TestRefused:
    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (_change("adapter_model.safetensors", weights()[:-1] + b"\x07"), "adapter_model.safetensors is changed"),
            (_change("run.json", b"{}"), "run.json"),
            (_change("adapter_config.json", None), "adapter_config.json is missing"),
            (_change("evil.bin", b""), "evil.bin is not in the manifest"),
            (_change("manifest.json", b"{"), "manifest.json is damaged"),
        ],
    )
    def test_a_damaged_source(
        self, here: Registry, there: Registry, tmp_path: Path, damage: Callable[[Path], object], says: str
    ) -> None:
        here.publish("llama", make_adapter(tmp_path / "adapter"), actor="bo")
        damage(tmp_path / "here" / LLAMA / FIRST)
        with pytest.raises(RegistryError, match=says):
            copy_version(here, there, "llama", FIRST, **ANN, promote=True)
        assert left(there) == []

    def test_a_damaged_source_in_a_bucket(self, here: Registry, in_bucket: Registry, adapter: Path) -> None:
        in_bucket.publish("llama", adapter, actor="bo")
        in_bucket.store.put(f"{LLAMA}/{FIRST}/adapter_model.safetensors", weights()[:-1] + b"\x07")
        with pytest.raises(RegistryError, match=r"adapter_model\.safetensors is changed"):
            pull(in_bucket, here, "llama", **ANN)
        assert left(here) == []

    @pytest.mark.parametrize("name", ["extra.pkl", "adapter_model.safetensors"])
    def test_a_pickle(self, here: Registry, there: Registry, adapter: Path, tmp_path: Path, name: str) -> None:
        """Somebody has put it there with a manifest that fits."""
        here.publish("llama", adapter, actor="bo")
        folder = tmp_path / "here" / LLAMA / FIRST
        (folder / name).write_bytes(pickle.dumps(["anything"]))
        self.rewrite(folder)
        (tmp_path / "here" / LLAMA / "latest.json").unlink()
        with pytest.raises(RegistryError, match="can run code" if name == "extra.pkl" else "a pickle"):
            copy_version(here, there, "llama", FIRST, **ANN)
        assert left(there) == []

    @staticmethod
    def rewrite(folder: Path) -> None:
        from utils.files import sha256_file

        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"] = {
            path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "size_bytes": path.stat().st_size}
            for path in folder.rglob("*")
            if path.is_file() and path.name != "manifest.json"
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def test_what_is_not_there(self, here: Registry, there: Registry, adapter: Path) -> None:
        with pytest.raises(RegistryError, match="no version of llama"):
            copy_version(here, there, "llama", **ANN)
        here.publish("llama", adapter, actor="bo")
        with pytest.raises(RegistryError, match="The nearest is"):
            copy_version(here, there, "llama", SECOND, **ANN)
        assert left(there) == []


class PowerCut(Exception):
    pass


class Cut(FolderStore):
    """Takes so many objects; then the power is gone."""

    def __init__(self, folder: Path, puts: int) -> None:
        super().__init__(folder)
        self.puts = puts

    def put(self, key: str, content: bytes | Path, on_bytes: Any = None) -> None:
        self.puts -= 1
        if self.puts < 0:
            raise PowerCut
        super().put(key, content, on_bytes)


class TestStopped:
    @pytest.mark.parametrize("puts", [0, 1, 3])
    def test_the_same_again_goes_on(self, here: Registry, there: Registry, adapter: Path, puts: int) -> None:
        here.publish("llama", adapter, actor="bo")
        assert isinstance(there.store, FolderStore)
        with pytest.raises(PowerCut):
            copy_version(here, registry_of(Cut(there.store.folder, puts)), "llama", **ANN)
        assert there.list("llama") == []
        assert copy_version(here, there, "llama", **ANN).copied
        assert there.verify("llama", FIRST) == [] and not [name for name in left(there) if ".tmp-" in name]

    def test_what_somebody_else_has_begun_is_his(self, here: Registry, there: Registry, adapter: Path) -> None:
        here.publish("llama", adapter, actor="bo")
        assert isinstance(there.store, FolderStore)
        with pytest.raises(PowerCut):
            copy_version(here, registry_of(Cut(there.store.folder, 1)), "llama", actor="ben@far")
        with pytest.raises(RegistryError, match=r"ben@far began to publish .* 2026-11-21 07:45 UTC") as caught:
            copy_version(here, registry_of(there.store, MOMENT + timedelta(hours=1)), "llama", **ANN)
        assert "doctor --reap" in str(caught.value)

    def test_a_leftover_of_a_killed_one_is_cleared_away(
        self, here: Registry, there: Registry, adapter: Path, tmp_path: Path
    ) -> None:
        here.publish("llama", adapter, actor="bo")
        stale = tmp_path / "there" / f".tmp-transfer-llama-{FIRST}"
        stale.mkdir(parents=True)
        (stale / "old.json").write_text("{}")
        copy_version(here, there, "llama", **ANN)
        assert not stale.exists() and there.verify("llama", FIRST) == []

    def test_a_full_disk(self, here: Registry, there: Registry, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        here.publish("llama", adapter, actor="bo")

        def full(store: FolderStore, key: str, file: Path, on_bytes: Any = None) -> None:
            raise StoreError(f"{file} cannot be written: the disk is full.")

        monkeypatch.setattr(FolderStore, "fetch", full)
        with pytest.raises(StoreError, match="full"):
            copy_version(here, there, "llama", **ANN)
        assert left(there) == []
