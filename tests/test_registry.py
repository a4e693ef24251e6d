"""The registry: publish, find, check and move versions, also when it goes wrong half-way. No network."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aws.storage import S3Store
from utils.errors import ConflictError, RegistryError, SuiteError
from utils.registry import Registry
from utils.stores import FolderStore, Store
from utils.versions import Event, served_before

PROJECT = Path(__file__).resolve().parent.parent
MOMENT = datetime(2026, 11, 21, 7, 45, 45, tzinfo=UTC)
FIRST, SECOND, THIRD = "20261121-074545", "20261121-074546", "20261121-074547"
LLAMA = "models/trained/llama"

HOSTILE_FILES = [
    ("../x.json", {}), ("/etc/x.json", {}), ("a\\b.json", {}), ("a//b.json", {}), ("evil.bin", {}), ("evil.py", {}),
    ("manifest.json", {}), ("x.json", {"sha256": "0"}), ("x.json", {"sha256": 1}), ("x.json", {"size_bytes": -1}),
    ("x.json", {"size_bytes": "1"}),
]  # fmt: skip


def weights(numbers: int = 4, padding: int = 0) -> bytes:
    """A safetensors file with one tensor of bytes."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [numbers], "data_offsets": [0, numbers]}}).encode()
    header += b" " * max(padding - len(header), 0)
    return struct.pack("<Q", len(header)) + header + bytes(range(numbers))


CHANGES = [
    ("adapter_model.safetensors", weights()[:-1] + b"\x07", "adapter_model.safetensors is changed"),
    ("run.json", b"{}", "run.json has 2 bytes instead of 11"),
    ("README.md", None, "README.md is missing"),
    ("evil.bin", b"", "evil.bin is not in the manifest"),
    ("base/extra.json", b"{}", "base/extra.json is not in the manifest"),
]


def make_adapter(folder: Path, loss: float = 1.5, **files: bytes) -> Path:
    contents = {
        "adapter_model.safetensors": weights(),
        "adapter_config.json": b'{"r": 16}',
        "run.json": b'{"seed": 7}',
        "metrics.json": json.dumps({"loss": loss}).encode(),
        "README.md": b"# Card",
        "base/model.safetensors": weights(8),
    }
    for name, content in (contents | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Nothing here pulls the plug, and waiting for the disk is what takes the time."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def adapter(tmp_path) -> Path:
    return make_adapter(tmp_path / "adapter")


@pytest.fixture
def folder(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "registry")


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path, monkeypatch):
    if request.param == "folder":
        yield FolderStore(tmp_path / "registry")
        return
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield S3Store("s3://bucket/suite")


def registry_of(store: Store) -> Registry:
    return Registry(store, clock=lambda: MOMENT)


def three_versions(store: Store, adapter: Path) -> Registry:
    registry = registry_of(store)
    assert [registry.publish("llama", adapter, actor="ann") for _ in range(3)] == [FIRST, SECOND, THIRD]
    return registry


def change(store: Store, key: str, content: bytes) -> None:
    store.put(f"{LLAMA}/{key}", content)


class TestPublish:
    def test_in_the_order_of_the_design(self, store, adapter, tmp_path):
        registry = registry_of(store)
        assert registry.publish("llama", adapter, actor="ann", reason="first") == FIRST
        keys = [key.removeprefix(f"{LLAMA}/") for key, _ in store.list(f"{LLAMA}/")]
        assert keys == sorted(
            [f"{FIRST}/{file.relative_to(adapter).as_posix()}" for file in adapter.rglob("*.*")]
            + [f"{FIRST}/manifest.json", f"claims/{FIRST}.json", "latest.json", "history.jsonl"]
        )
        latest = registry.latest("llama")
        assert latest == registry.resolve("llama", "latest") == registry.resolve("llama") == registry.list()[0]
        assert latest.size_bytes == sum(file.stat().st_size for file in adapter.rglob("*.*"))
        assert latest.created == MOMENT and latest.files == 6 and latest.is_latest
        assert registry.verify("llama") == registry.verify("llama", FIRST) == []
        shown = registry.show("llama")
        assert (shown["run"], shown["metrics"]) == ({"seed": 7}, {"loss": 1.5})
        assert shown["history"] == [
            {"at": "2026-11-21T07:45:45Z", "event": "publish", "version": FIRST, "from": None, "to": FIRST,
             "actor": "ann", "reason": "first"}
        ]  # fmt: skip
        json.dumps(shown)

    def test_a_taken_second_is_left_to_its_owner(self, folder, adapter):
        registry = three_versions(folder, adapter)
        assert registry.latest("llama").version == THIRD
        with pytest.raises(RegistryError, match=f"{SECOND} of llama is taken"):
            registry.publish("llama", adapter, version=SECOND, actor="ann")
        for file in (folder.folder / LLAMA / "claims").iterdir():  # as if copied from elsewhere
            file.unlink()
        assert registry.publish("llama", adapter, actor="ann") == "20261121-074548"

    def test_latest_moves_only_forward(self, folder, adapter):
        registry = registry_of(folder)
        registry.publish("llama", adapter, actor="ann")
        registry.publish("llama", adapter, actor="ben", version="20250101-000000")
        registry.publish("llama", adapter, actor="cid", promote=False)
        assert registry.latest("llama").version == FIRST
        assert [(event.actor, event.moved_to) for event in registry.history("llama")] == [
            (actor, FIRST) for actor in ("ann", "ben", "cid")
        ]
        assert len(registry.list("llama")) == 3
        assert registry.promote("llama", "20250101-000000", actor="ann").moved_from == FIRST

    def test_an_old_manifest_is_not_taken_over(self, store, adapter, tmp_path):
        registry = registry_of(store)
        registry.publish("llama", adapter, actor="ann")
        fetched = registry.fetch("llama", None, tmp_path / "cache")
        assert (fetched / "manifest.json").exists()
        again = registry.publish("qwen", fetched, actor="ann")
        assert registry.verify("qwen", again) == []

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("adapter_model.bin", b"x", "can run code"),
            ("optimizer.pt", b"x", "can run code"),
            ("state.PKL", b"x", "can run code"),
            ("model.py", b"x", "only .jinja"),
            ("no_suffix", b"x", "only .jinja"),
            ("adapter_model.safetensors", pickle.dumps([1] * 99), "a pickle"),
            ("adapter_model.safetensors", b"PK\x03\x04" + bytes(99), "a zip"),
            ("adapter_model.safetensors", b"", "no safetensors"),
            ("adapter_model.safetensors", struct.pack("<Q", 1 << 40) + b"{}", "no safetensors"),
            ("adapter_model.safetensors", struct.pack("<Q", 4) + b"[{]}", "no safetensors"),
            ("adapter_model.safetensors", struct.pack("<Q", 80_000) + b"[" * 80_000, "no safetensors"),
            ("adapter_model.safetensors", weights()[:-1], "3 bytes of weights"),
            ("base/model.safetensors", weights() + b"x", "5 bytes of weights"),
            ("tokenizer.model", pickle.dumps({}), "a pickle"),
            ("run.json", b"[]", "not a JSON object"),
            ("adapter_config.json", b"{", "not a JSON object"),
            (".tmp-1/a.json", b"{}", "kept for files"),
            ("a\\b.json", b"{}", "backslash"),
        ],
    )
    def test_what_is_not_data_is_refused(self, folder, adapter, name, content, says):
        make_adapter(adapter, **{name: content})
        with pytest.raises(SuiteError, match=says) as caught:
            registry_of(folder).publish("llama", adapter, actor="ann")
        assert name.split("/")[-1].replace("\\", "\\\\") in caught.value.what or name in repr(caught.value.what)
        assert list(folder.list("")) == []

    def test_a_header_that_starts_like_a_pickle_is_fine(self, folder, adapter):
        content = weights(padding=0x480)
        assert content[:2] == pickle.dumps([], protocol=4)[:2]
        make_adapter(adapter, **{"adapter_model.safetensors": content})
        assert registry_of(folder).publish("llama", adapter, actor="ann") == FIRST

    def test_folders_that_are_no_adapter(self, folder, adapter, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "link").mkdir()
        make_adapter(tmp_path / "link")
        (tmp_path / "link" / "extra").symlink_to(adapter)
        for name, says in (("empty", "no adapter_config.json and no adapter_model"), ("none", "no folder")):
            with pytest.raises(RegistryError, match=says):
                registry_of(folder).publish("llama", tmp_path / name, actor="ann")
        with pytest.raises(RegistryError, match="is a link"):
            registry_of(folder).publish("llama", tmp_path / "link", actor="ann")

    def test_a_folder_that_changes_meanwhile_is_not_finished(self, folder, adapter):
        class Meddling(FolderStore):
            def put(self, key, content):
                super().put(key, content)
                (adapter / "README.md").write_text("# Cart")

        with pytest.raises(RegistryError, match="changed while it was published"):
            registry_of(Meddling(folder.folder)).publish("llama", adapter, actor="ann")
        assert registry_of(folder).list() == []

    @pytest.mark.parametrize("family", ["", "../x", "Llama", "a/b", "-a", "a" * 42, "llama\n", "."])
    def test_hostile_families(self, folder, adapter, family, tmp_path):
        registry = registry_of(folder)
        for call in (
            lambda: registry.publish(family, adapter, actor="ann"),
            lambda: registry.list(family),
            lambda: registry.latest(family),
            lambda: registry.resolve(family),
            lambda: registry.show(family, FIRST),
            lambda: registry.verify(family, FIRST),
            lambda: registry.fetch(family, FIRST, tmp_path),
            lambda: registry.promote(family, FIRST, actor="ann"),
            lambda: registry.rollback(family, actor="ann"),
            lambda: registry.history(family),
            lambda: registry.remove_unfinished(family, FIRST),
        ):
            with pytest.raises(RegistryError, match="is not a family"):
                call()

    @pytest.mark.parametrize("version", ["", "..", "../../x", "20261121", "20261399-000000", "２0261121-074545"])
    def test_hostile_versions(self, folder, adapter, version, tmp_path):
        registry = three_versions(folder, adapter)
        before = list(folder.list(""))
        for call in (
            lambda: registry.publish("llama", adapter, version=version, actor="ann"),
            lambda: registry.resolve("llama", version),
            lambda: registry.verify("llama", version),
            lambda: registry.fetch("llama", version, tmp_path),
            lambda: registry.promote("llama", version, actor="ann"),
            lambda: registry.remove_unfinished("llama", version),
        ):
            with pytest.raises(RegistryError):
                call()
        assert list(folder.list("")) == before


class TestTogether:
    def test_two_processes_publish_in_the_same_seconds(self, folder, tmp_path):
        script = """if True:
            import sys
            from datetime import UTC, datetime
            from pathlib import Path
            from utils.registry import Registry
            from utils.stores import FolderStore
            store, adapter, actor = FolderStore(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
            registry = Registry(store, clock=lambda: datetime(2026, 11, 21, 7, 45, 45, tzinfo=UTC))
            for _ in range(4):
                registry.publish("llama", adapter, actor=actor)
        """
        adapters = {actor: make_adapter(tmp_path / actor, loss=loss) for actor, loss in (("ann", 1.0), ("ben", 2.0))}
        runs = [
            subprocess.Popen([sys.executable, "-c", script, folder.url, str(path), actor], cwd=PROJECT)
            for actor, path in adapters.items()
        ]
        assert [run.wait(timeout=60) for run in runs] == [0, 0]
        registry = registry_of(folder)
        versions = [known.version for known in registry.list("llama")]
        events = {event.version: event for event in registry.history("llama")}
        assert len(versions) == 8 and sorted(events) == versions and len(registry.history("llama")) == 8
        assert registry.latest("llama").version == max(versions)
        for version in versions:
            assert registry.verify("llama", version) == []
            loss = {"ann": 1.0, "ben": 2.0}[events[version].actor]
            assert registry.show("llama", version)["metrics"] == {"loss": loss}

    def test_who_keeps_losing_gives_up(self, folder, adapter, monkeypatch):
        class Busy(FolderStore):
            def compare_and_swap(self, key, content, expected):
                if key.endswith("latest.json"):
                    raise ConflictError("busy")
                return super().compare_and_swap(key, content, expected)

        monkeypatch.setattr("utils.registry.LONGEST_PAUSE_SECONDS", 0.0)
        with pytest.raises(ConflictError, match="keeps changing"):
            registry_of(Busy(folder.folder)).publish("llama", adapter, actor="ann")

    def test_a_rollback_looks_again_when_somebody_came_between(self, folder, adapter):
        registry = three_versions(folder, adapter)

        class Overtaken(FolderStore):
            overtaken = False

            def compare_and_swap(self, key, content, expected):
                if key.endswith("latest.json") and not self.overtaken:
                    self.overtaken = True
                    registry.publish("llama", adapter, actor="ben")
                return super().compare_and_swap(key, content, expected)

        event = registry_of(Overtaken(folder.folder)).rollback("llama", actor="ann")
        assert (event.moved_from, event.moved_to) == ("20261121-074548", THIRD)


class PowerCut(Exception):
    pass


class Cut(FolderStore):
    """Works for so many calls; then the power is gone, before or after the call took effect."""

    def __init__(self, folder: Path, calls: int, after: bool) -> None:
        super().__init__(folder)
        self.left, self.after = calls, after

    def _count(self, method, *arguments):
        self.left -= 1
        if self.left < 0 and not (self.left == -1 and self.after):
            raise PowerCut
        result = method(*arguments)
        if self.left < 0:
            raise PowerCut
        return result

    def put(self, key, content):
        return self._count(super().put, key, content)

    def get(self, key):
        return self._count(super().get, key)

    def delete(self, key):
        return self._count(super().delete, key)

    def list(self, prefix):
        return iter(self._count(lambda: list(super(Cut, self).list(prefix))))

    def compare_and_swap(self, key, content, expected):
        return self._count(super().compare_and_swap, key, content, expected)


class TestStopped:
    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("published_before", [0, 1])
    def test_at_any_step_of_a_publish(self, tmp_path, adapter, after, published_before):
        for name in ("metrics.json", "run.json", "README.md"):
            (adapter / name).unlink()
        for calls in range(60):
            store = FolderStore(tmp_path / f"registry{calls}")
            registry = registry_of(store)
            for _ in range(published_before):
                registry.publish("llama", adapter, actor="ann")
            try:
                registry_of(Cut(store.folder, calls, after)).publish("llama", adapter, actor="ben")
                break
            except PowerCut:
                self.check(registry, published_before)
            new = registry.publish("llama", adapter, actor="cid")
            assert registry.latest("llama").version == new and registry.verify("llama", new) == []
            assert registry.history("llama")[-1].version == new
        assert 12 < calls < 59

    @staticmethod
    def check(registry: Registry, published_before: int) -> None:
        for version in registry.list("llama"):
            assert registry.verify("llama", version.version) == []
        latest = registry.latest("llama")
        if published_before:
            assert latest and registry.verify("llama") == []
        assert all(each.actor in ("ben", "") for each in registry.unfinished(older_than_seconds=0))

    def test_what_is_left_over_is_reported_and_removed(self, folder, adapter):
        with pytest.raises(PowerCut):
            registry_of(Cut(folder.folder, 5, False)).publish("llama", adapter, actor="ben")
        assert registry_of(folder).unfinished() == []
        tomorrow = Registry(folder, clock=lambda: MOMENT + timedelta(days=1))
        (left,) = tomorrow.unfinished()
        assert (left.version, left.actor, left.started) == (FIRST, "ben", MOMENT) and left.size_bytes > 0
        assert registry_of(folder).publish("llama", adapter, actor="ann") == SECOND
        tomorrow.remove_unfinished("llama", FIRST)
        assert tomorrow.unfinished() == [] and tomorrow.verify("llama") == []
        with pytest.raises(RegistryError, match="is published"):
            tomorrow.remove_unfinished("llama", SECOND)

    def test_who_was_removed_as_unfinished_does_not_finish(self, folder, adapter):
        class Slow(FolderStore):
            def put(self, key, content):
                super().put(key, content)
                if "base/" in key:
                    self.delete(f"{LLAMA}/claims/{FIRST}.json")

        with pytest.raises(RegistryError, match="was removed as unfinished"):
            registry_of(Slow(folder.folder)).publish("llama", adapter, actor="ann")


class TestMoves:
    def test_rollback_goes_back_and_back_again(self, store, adapter):
        registry = three_versions(store, adapter)
        assert registry.rollback("llama", actor="ann", reason="rude").moved_to == SECOND
        assert registry.latest("llama").version == SECOND
        assert registry.rollback("llama", actor="ann").moved_to == FIRST
        with pytest.raises(RegistryError, match="no version that was served before") as caught:
            registry.rollback("llama", actor="ann")
        assert THIRD in str(caught.value) and "models promote llama" in str(caught.value)
        registry.promote("llama", THIRD, actor="ann")
        assert registry.rollback("llama", actor="ann").moved_to == FIRST
        assert [event.event for event in registry.history("llama")].count("rollback") == 3

    def test_rollback_passes_over_a_version_that_is_gone(self, folder, adapter):
        registry = three_versions(folder, adapter)
        folder.delete(f"{LLAMA}/{SECOND}/manifest.json")
        assert registry.rollback("llama", actor="ann").moved_to == FIRST

    def test_served_before_mends_lines_that_were_never_written(self):
        def event(kind, moved_from, moved_to):
            return Event("", kind, "", moved_from, moved_to, "", "")

        events = [event("publish", "a", "b"), event("publish", "b", "b"), event("publish", "c", "d")]
        assert served_before(events, "d") == ["a", "b", "c"]
        assert served_before(events, "c") == ["a", "b"]
        assert served_before(events, "e") == ["a", "b", "c", "d"]
        assert served_before([*events, event("rollback", "d", "c"), event("promote", "c", "a")], "a") == ["a", "b", "c"]
        assert served_before([], None) == []

    def test_promote_wants_a_whole_version(self, folder, adapter):
        registry = three_versions(folder, adapter)
        folder.delete(f"{LLAMA}/{FIRST}/adapter_model.safetensors")
        with pytest.raises(RegistryError, match=r"adapter_model\.safetensors is missing"):
            registry.promote("llama", FIRST, actor="ann")
        with pytest.raises(RegistryError, match="no version 'latest'"):
            registry.promote("llama", "latest", actor="ann")
        assert registry.latest("llama").version == THIRD

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"version": "../x", "manifest_sha256": "0"}'])
    def test_a_damaged_pointer_is_an_error_that_promote_mends(self, folder, adapter, content, caplog):
        registry = three_versions(folder, adapter)
        change(folder, "latest.json", content)
        for call in (
            lambda: registry.latest("llama"),
            lambda: registry.resolve("llama"),
            lambda: registry.verify("llama"),
            lambda: registry.publish("llama", adapter, actor="ann"),
        ):
            with pytest.raises(RegistryError, match=f"{LLAMA}/latest.json is damaged") as caught:
                call()
        newest = "20261121-074548"  # published all the same
        assert f"models promote llama {newest}" in str(caught.value)
        assert registry.resolve("llama", FIRST).version == FIRST and len(registry.list()) == 4
        assert "latest.json is damaged" in caplog.text
        registry.promote("llama", newest, actor="ann")
        assert registry.verify("llama") == [] and registry.latest("llama").version == newest

    def test_a_broken_line_of_history_is_reported_and_kept(self, folder, adapter, caplog):
        registry = registry_of(folder)
        registry.publish("llama", adapter, actor="ann")
        content = folder.get(f"{LLAMA}/history.jsonl")[0]
        change(folder, "history.jsonl", content + b'{"at": \xff\n{}\n[]\nnull\n{"from": 1, "to": 2}')
        registry.publish("llama", adapter, actor="ben", reason="a\nb\u2028 ü")
        assert [event.actor for event in registry.history("llama")] == ["ann", "ben"]
        assert registry.history("llama")[1].reason == "a\nb\u2028 ü"
        assert f"line 2 of {LLAMA}/history.jsonl" in caplog.text and "line 6" in caplog.text


class TestFetch:
    def test_a_folder_is_used_where_it_is_and_a_bucket_is_copied(self, store, adapter, tmp_path):
        registry = three_versions(store, adapter)
        fetched = registry.fetch("llama", "latest", tmp_path / "cache")
        assert (fetched / "base/model.safetensors").read_bytes() == (adapter / "base/model.safetensors").read_bytes()
        if isinstance(store, FolderStore):
            assert fetched == store.folder / LLAMA / THIRD and not (tmp_path / "cache").exists()
        else:
            assert fetched == tmp_path / "cache" / "llama" / THIRD
            assert sorted(file.name for file in fetched.parent.iterdir()) == [THIRD, ".lock"][::-1]

    def test_a_cached_copy_is_checked_and_mended(self, store, adapter, tmp_path):
        registry = three_versions(store, adapter)
        fetched = registry.fetch("llama", None, tmp_path / "cache")
        if isinstance(store, FolderStore):
            return
        inode = (fetched / "run.json").stat().st_ino
        assert registry.fetch("llama", THIRD, tmp_path / "cache") == fetched
        assert (fetched / "run.json").stat().st_ino == inode
        (fetched / "run.json").write_bytes(b'{"seed": 8}')
        (fetched / "evil.bin").write_bytes(b"")
        registry.fetch("llama", THIRD, tmp_path / "cache")
        assert (fetched / "run.json").read_bytes() == b'{"seed": 7}' and not (fetched / "evil.bin").exists()

    def test_bytes_are_told(self, store, adapter, tmp_path):
        registry = three_versions(store, adapter)
        told = []
        fetched = registry.fetch("llama", THIRD, tmp_path / "cache", lambda *word: told.append(word))
        size = sum(file.stat().st_size for file in adapter.rglob("*.*"))
        if isinstance(store, FolderStore):
            assert {step for step, _, _ in told} == {"checking"}
            assert told[-1] == ("checking", size, size)
            return
        size += (fetched / "manifest.json").stat().st_size
        assert list(dict.fromkeys(step for step, _, _ in told)) == ["fetching", "checking"]
        assert ("fetching", size, size) in told
        assert told[-1] == ("checking", size, size)

    def test_a_changed_version_is_found_and_refused(self, store, adapter, tmp_path):
        registry = three_versions(store, adapter)
        for name, content, says in CHANGES:
            key = f"{LLAMA}/{THIRD}/{name}"
            store.delete(key)
            if content is not None:
                store.put(key, content)
            assert len(registry.verify("llama")) == 1 and says in registry.verify("llama", THIRD)[0]
            with pytest.raises(RegistryError, match=says) as caught:
                registry.fetch("llama", None, tmp_path / "cache")
            assert ("Go back", "python training_pipeline.py models rollback llama") in caught.value.remedies
            assert not [file for file in (tmp_path / "cache").rglob("*") if file.name != ".lock" and file.is_file()]
            store.delete(key)
            if (adapter / name).exists():
                store.put(key, adapter / name)
            assert registry.verify("llama") == registry.verify("llama", SECOND) == []

    def test_hostile_manifests(self, store, adapter, tmp_path):
        registry = three_versions(store, adapter)
        good = json.loads(store.get(f"{LLAMA}/{FIRST}/manifest.json")[0])
        for name, file in HOSTILE_FILES:
            files = good["files"] | {name: {"sha256": "0" * 64, "size_bytes": 1} | file}
            change(store, f"{FIRST}/manifest.json", json.dumps(good | {"files": files}).encode())
            with pytest.raises(RegistryError, match=rf"{FIRST}/manifest\.json is damaged"):
                registry.fetch("llama", FIRST, tmp_path / "cache")
                pytest.fail(f"took {name} with {file}")
            assert len(registry.verify("llama", FIRST)) == 1
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000])
    def test_broken_manifests(self, folder, adapter, tmp_path, content):
        registry = three_versions(folder, adapter)
        change(folder, f"{FIRST}/manifest.json", content)
        for call in (registry.show, lambda *names: registry.fetch(*names, tmp_path)):
            with pytest.raises(RegistryError, match=f"{FIRST}/manifest.json is damaged"):
                call("llama", FIRST)

    def test_a_manifest_of_another_version_is_refused(self, folder, adapter, tmp_path):
        registry = three_versions(folder, adapter)
        change(folder, f"{FIRST}/manifest.json", folder.get(f"{LLAMA}/{SECOND}/manifest.json")[0])
        with pytest.raises(RegistryError, match=f"belongs to {SECOND} of llama"):
            registry.fetch("llama", FIRST, tmp_path)

    def test_latest_knows_its_manifest(self, folder, adapter, tmp_path):
        registry = three_versions(folder, adapter)
        key = f"{THIRD}/manifest.json"
        change(folder, key, folder.get(f"{LLAMA}/{key}")[0] + b"\n")
        for version in (None, THIRD):
            with pytest.raises(RegistryError, match="does not match the manifest it names"):
                registry.fetch("llama", version, tmp_path)
        assert len(registry.verify("llama")) == 1

    def test_a_link_in_a_version_is_found(self, folder, adapter, tmp_path):
        registry = three_versions(folder, adapter)
        (folder.folder / LLAMA / THIRD / "evil").symlink_to(tmp_path)
        file = folder.folder / LLAMA / THIRD / "README.md"
        file.unlink()
        file.symlink_to(adapter / "README.md")
        assert len(registry.verify("llama")) == 2
        with pytest.raises(RegistryError, match="does not match"):
            registry.fetch("llama", None, tmp_path)

    def test_show_does_not_tell_what_was_changed(self, folder, adapter):
        registry = three_versions(folder, adapter)
        change(folder, f"{THIRD}/metrics.json", b'{"loss": 0.1}')
        with pytest.raises(RegistryError, match=r"metrics\.json is changed"):
            registry.show("llama")


class TestSentences:
    def test_nothing_there(self, folder, adapter):
        registry = registry_of(FolderStore(Path("runs/none")))
        with pytest.raises(RegistryError) as caught:
            registry.resolve("llama")
        assert str(caught.value).split("\n") == [
            "no version of llama in runs/none.",
            "  Train one:           python training_pipeline.py train llama",
            "  Or use the cloud's:  --registry s3://BUCKET",
        ]
        assert registry.list() == registry.list("llama") == registry.history("llama") == []
        assert registry.latest("llama") is None
        registry_of(folder).publish("qwen", adapter, actor="ann")
        with pytest.raises(RegistryError, match="There are versions of: qwen") as caught:
            registry_of(folder).verify("llama")
            raise AssertionError from caught.value

    def test_the_nearest_is_named(self, folder, adapter):
        registry = three_versions(folder, adapter)
        for call in (registry.resolve, registry.show, registry.verify):
            with pytest.raises(RegistryError) as caught:
                call("llama", "20261121-074556")
            assert "no version '20261121-074556' of llama" in str(caught.value)
            assert f"There are: {FIRST}, {SECOND}, {THIRD}." in str(caught.value)

    def test_versions_without_a_latest(self, folder, adapter):
        registry = registry_of(folder)
        registry.publish("llama", adapter, actor="ann", promote=False)
        with pytest.raises(RegistryError, match="no version of llama is the latest") as caught:
            registry.resolve("llama")
        assert f"models promote llama {FIRST}" in str(caught.value)
        with pytest.raises(RegistryError, match="served before"):
            registry.rollback("llama", actor="ann")

    def test_foreign_files_are_no_versions(self, folder, adapter):
        registry = three_versions(folder, adapter)
        for key in ("models/trained/x.json", f"{LLAMA}/notes/manifest.json", f"{LLAMA}/20261399-000000/manifest.json"):
            folder.put(key, b"{}")
        (folder.folder / "models/trained/Odd Name" / FIRST).mkdir(parents=True)
        folder.put(f"models/trained/Odd Name/{FIRST}/manifest.json", b"{}")
        assert len(registry.list()) == 3


def test_importing_it_loads_nothing_heavy():
    code = "import sys, utils.registry; sys.exit(any(name in sys.modules for name in ('boto3', 'torch', 'pandas')))"
    environment = {"PATH": os.environ["PATH"]}
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, check=False).returncode == 0
