"""The training data in the bucket: only what changed, all of it or nothing, whatever stops it. No network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aws.config import to_iso
from aws.data.data_manifest import MANIFEST_KEY, DataManifest, write_manifest
from aws.data.training_data import download, plan_upload, read_manifest, upload
from aws.storage import S3Store
from utils.errors import ConflictError, DataError, StoreError
from utils.stores import FolderStore, Store

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIRST = "transcripts/S01E01.csv"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here pulls the plug, and waiting for the disk is what takes the time."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "bucket")
    request.getfixturevalue("account")
    import boto3

    boto3.client("s3", "us-east-1").create_bucket(Bucket="bucket")
    return S3Store("s3://bucket", "us-east-1")


@pytest.fixture
def bucket(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "bucket")


@pytest.fixture
def series(series_folder: Any) -> Path:
    return series_folder()


class Watching(FolderStore):
    """Writes down which objects are put and fetched, and fails where it is told to."""

    def __init__(self, folder: Path, fail_at: str = "") -> None:
        super().__init__(folder)
        self.seen: list[str] = []
        self.fail_at = fail_at

    def put(self, key: str, content: bytes | Path, on_bytes: Any = None) -> None:
        self._see(key)
        super().put(key, content)

    def fetch(self, key: str, file: Path, on_bytes: Any = None) -> None:
        self._see(key)
        super().fetch(key, file)

    def compare_and_swap(self, key: str, content: bytes, expected: str | None) -> str:
        self._see(key)
        return super().compare_and_swap(key, content, expected)

    def _see(self, key: str) -> None:
        if self.fail_at and key.endswith(self.fail_at):
            raise StoreError(f"no {key}.")
        self.seen.append(key.removeprefix("data/training/"))


def contents(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("manifest.json", None)
    return found


def test_up_and_down_again_is_the_same(store: Store, series: Path, tmp_path: Path) -> None:
    for name in ("transcripts/Folge 1 – Die Straße (été).csv", "transcripts/S01E09 'a & b' #1+%41?.CSV"):
        (series / name).write_text("name,line\nAda,Hello there.\n", encoding="utf-8")
    (series / "transcripts" / "README.md").write_text("not data")
    (series / "themes.json").write_text("{}")
    before = contents(series)
    before.pop("transcripts/README.md")
    plan = plan_upload(series, store)
    assert sorted(plan.new) == sorted(before) and plan.changed == plan.same == plan.removed == ()
    assert plan.size_bytes == sum(map(len, before.values()))
    manifest = upload(plan, now=NOW)
    assert manifest.created == "2026-11-21T12:00:00Z" and not manifest.unfinished
    assert download(store, tmp_path / "work" / "data") == manifest == read_manifest(store)
    assert contents(tmp_path / "work" / "data") == before
    assert [path.name for path in (tmp_path / "work").iterdir() if path.name != ".lock"] == ["data"]
    assert plan.data_hash == manifest.data_hash


def test_what_is_read_there_is_what_is_read_here(bucket: FolderStore, sample_series: Path, tmp_path: Path) -> None:
    from utils.series import load_lines

    upload(plan_upload(sample_series, bucket))
    download(bucket, tmp_path / "data")
    here, there = load_lines(sample_series)[0], load_lines(tmp_path / "data")[0]
    assert here.equals(there) and len(here) > 100


def test_only_what_changed_goes(bucket: FolderStore, series: Path) -> None:
    upload(plan_upload(series, bucket))
    (series / FIRST).write_text("name,line\nAda,Other words.\n")
    (series / "transcripts" / "S01E02.csv").unlink()
    (series / "transcripts" / "S01E07.csv").write_text("name,line\nBo,New words.\n")
    watching = Watching(bucket.folder)
    plan = plan_upload(series, watching)
    assert (plan.new, plan.changed, plan.removed) == (
        ("transcripts/S01E07.csv",),
        (FIRST,),
        ("transcripts/S01E02.csv",),
    )
    assert watching.seen == [] and not plan.is_done  # a plan changes nothing
    told: list[tuple[int, int]] = []
    upload(plan, progress=lambda done, total: told.append((done, total)))
    assert watching.seen[0] == watching.seen[-1] == "manifest.json"  # begun, and done
    assert sorted(watching.seen[1:-1]) == [FIRST, "transcripts/S01E07.csv"]
    assert told[-1] == (plan.size_bytes, plan.size_bytes) and [done for done, _ in told] == sorted(
        done for done, _ in told
    )
    assert "data/training/transcripts/S01E02.csv" not in dict(bucket.list("data/"))


def test_again_does_nothing(bucket: FolderStore, series: Path) -> None:
    first = upload(plan_upload(series, bucket))
    watching = Watching(bucket.folder)
    plan = plan_upload(series, watching)
    assert plan.is_done and plan.size_bytes == 0 and set(plan.same) == set(first.files)
    assert upload(plan) == first and watching.seen == []


def test_the_hash_is_of_names_and_contents(bucket: FolderStore, series: Path) -> None:
    before = plan_upload(series, bucket).data_hash
    (series / FIRST).touch()
    assert plan_upload(series, bucket).data_hash == before
    (series / FIRST).rename(series / "transcripts" / "S01E33.csv")
    renamed = plan_upload(series, bucket).data_hash
    with (series / "transcripts" / "S01E33.csv").open("a") as file:
        file.write("9,Ada,One more.\n")
    assert len({before, renamed, plan_upload(series, bucket).data_hash}) == 3


class TestStopped:
    @pytest.mark.parametrize("fail_at", ["manifest.json", "S01E01.csv", "S01E03.csv", "characters.jsonl"])
    @pytest.mark.parametrize("uploaded_before", [False, True])
    def test_the_next_upload_mends_it(
        self, bucket: FolderStore, series: Path, tmp_path: Path, fail_at: str, uploaded_before: bool
    ) -> None:
        if uploaded_before:
            upload(plan_upload(series, bucket))
            for path in series.rglob("*.csv"):
                path.write_text("name,line\nAda,Other words.\n")
            with (series / "characters.jsonl").open("a") as file:
                file.write("\n")
        with pytest.raises(StoreError):
            upload(plan_upload(series, Watching(bucket.folder, fail_at)))
        upload(plan_upload(series, bucket))
        download(bucket, tmp_path / "data")
        assert contents(tmp_path / "data") == contents(series)

    def test_a_file_that_was_changed_back_is_sent_again(self, bucket: FolderStore, series: Path) -> None:
        """The manifest knows the old content, and the bucket holds the new."""
        upload(plan_upload(series, bucket))
        old = (series / FIRST).read_bytes()
        (series / FIRST).write_bytes(old.replace(b"clock", b"CLOCK"))
        (series / "transcripts" / "S01E02.csv").write_text("name,line\nAda,Other words.\n")
        with pytest.raises(StoreError):
            upload(plan_upload(series, Watching(bucket.folder, "S01E02.csv")))
        assert b"CLOCK" in bucket.get(f"data/training/{FIRST}")[0]
        (series / FIRST).write_bytes(old)
        plan = plan_upload(series, bucket)
        assert FIRST in plan.changed
        upload(plan)
        assert bucket.get(f"data/training/{FIRST}")[0] == old

    def test_nobody_takes_half_of_it(self, bucket: FolderStore, series: Path, tmp_path: Path) -> None:
        upload(plan_upload(series, bucket))
        download(bucket, tmp_path / "data")
        before = contents(tmp_path / "data")
        for path in series.rglob("*.csv"):
            path.write_text("name,line\nAda,Other words.\n")
        with pytest.raises(StoreError):
            upload(plan_upload(series, Watching(bucket.folder, "S01E03.csv")))
        (tmp_path / "data" / FIRST).write_text("rotten")  # so that it has to be fetched
        with pytest.raises(DataError, match=f"{FIRST} differs") as caught:
            download(bucket, tmp_path / "data")
        assert "began an upload" in str(caught.value) and "upload-data" in str(caught.value)
        assert contents(tmp_path / "data") == before | {FIRST: b"rotten"}
        assert not list(tmp_path.glob(".tmp-*"))

    def test_an_upload_that_only_began_is_no_data(self, bucket: FolderStore, series: Path, tmp_path: Path) -> None:
        with pytest.raises(StoreError):
            upload(plan_upload(series, Watching(bucket.folder, "S01E03.csv")))
        with pytest.raises(DataError, match="no training data"):
            download(bucket, tmp_path / "data")
        assert not (tmp_path / "data").exists()

    def test_what_a_killed_download_left_is_cleared_away(
        self, bucket: FolderStore, series: Path, tmp_path: Path
    ) -> None:
        upload(plan_upload(series, bucket))
        download(bucket, tmp_path / "data")
        (tmp_path / "data").rename(tmp_path / ".tmp-going-data")
        (tmp_path / ".tmp-coming-data" / "transcripts").mkdir(parents=True)
        watching = Watching(bucket.folder)
        download(watching, tmp_path / "data")
        assert watching.seen == []
        assert contents(tmp_path / "data") == contents(series) and not list(tmp_path.glob(".tmp-*"))


class TestTwoAtOnce:
    def test_somebody_else_has_begun(self, bucket: FolderStore, series: Path) -> None:
        begun = DataManifest({}, to_iso(NOW - timedelta(minutes=2)), "ben@far", (FIRST,))
        write_manifest(bucket, begun, None)
        with pytest.raises(ConflictError, match="ben@far began an upload"):
            upload(plan_upload(series, bucket), now=NOW)
        assert upload(plan_upload(series, bucket), now=NOW + timedelta(minutes=9)).unfinished == ()

    def test_somebody_was_quicker(self, bucket: FolderStore, series: Path) -> None:
        plan = plan_upload(series, bucket)
        upload(plan_upload(series, bucket), now=NOW)
        before = list(bucket.list(""))
        with pytest.raises(ConflictError, match="at the same time"):
            upload(plan)
        assert list(bucket.list("")) == before

    def test_a_file_that_changes_meanwhile_is_not_trusted(self, bucket: FolderStore, series: Path) -> None:
        plan = plan_upload(series, bucket)
        (series / FIRST).write_text("name,line\nAda,Other words.\n")
        with pytest.raises(DataError, match="has changed while"):
            upload(plan)
        with pytest.raises(DataError, match="no training data"):
            read_manifest(bucket)


class TestRefused:
    def test_a_link_that_leads_out(self, bucket: FolderStore, series: Path, tmp_path: Path) -> None:
        (tmp_path / "secret.csv").write_text("name,line\nAda,Hi.\n")
        (series / "transcripts" / "S01E08.csv").symlink_to(tmp_path / "secret.csv")
        with pytest.raises(DataError, match=r"S01E08\.csv leads out of .*secret\.csv"):
            plan_upload(series, bucket)
        (series / "transcripts" / "S01E08.csv").unlink()
        (series / "transcripts" / "S01E08.csv").symlink_to(series / FIRST)
        assert "transcripts/S01E08.csv" in plan_upload(series, bucket).new

    def test_a_linked_folder_that_leads_out(self, bucket: FolderStore, series: Path, tmp_path: Path) -> None:
        (series / "transcripts").rename(tmp_path / "elsewhere")
        (series / "transcripts").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DataError, match="leads out"):
            plan_upload(series, bucket)

    def test_an_empty_folder(self, bucket: FolderStore, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="CSV files with a heading row") as caught:
            plan_upload(tmp_path / "empty", bucket)
        assert "empty/transcripts and" in str(caught.value)
        with pytest.raises(DataError, match="no series folder"):
            plan_upload(tmp_path / "none", bucket)

    def test_a_name_that_no_bucket_can_hold(self, bucket: FolderStore, series: Path) -> None:
        (series / "transcripts" / "a\nb.csv").write_text("name,line\nAda,Hi.\n")
        with pytest.raises(DataError, match="control character"):
            plan_upload(series, bucket)

    def test_a_folder_of_somebody_else_is_not_replaced(self, bucket: FolderStore, series: Path, tmp_path: Path) -> None:
        upload(plan_upload(series, bucket))
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "thesis.txt").write_text("years of work")
        with pytest.raises(DataError, match="holds something else"):
            download(bucket, tmp_path / "home")
        assert (tmp_path / "home" / "thesis.txt").exists()

    @pytest.mark.parametrize(
        "change",
        [
            lambda found: found["files"].update({"../../x.csv": found["files"].pop(FIRST)}),
            lambda found: found["files"][FIRST].update(sha256="0"),
            lambda found: found["files"][FIRST].update(size_bytes=-1),
            lambda found: found.update(files=[]),
            lambda found: found.pop("unfinished"),
        ],
    )
    def test_a_manifest_that_somebody_changed(
        self, bucket: FolderStore, series: Path, tmp_path: Path, change: Any
    ) -> None:
        upload(plan_upload(series, bucket))
        content, etag = bucket.get(MANIFEST_KEY)
        found = json.loads(content)
        change(found)
        bucket.compare_and_swap(MANIFEST_KEY, json.dumps(found).encode(), etag)
        with pytest.raises(DataError, match="is damaged"):
            download(bucket, tmp_path / "data")
        assert not (tmp_path / "data").exists()

    def test_an_object_that_is_gone(self, bucket: FolderStore, series: Path, tmp_path: Path) -> None:
        upload(plan_upload(series, bucket))
        bucket.delete(f"data/training/{FIRST}")
        with pytest.raises(DataError, match=f"{FIRST} is missing"):
            download(bucket, tmp_path / "data")
        assert not (tmp_path / "data").exists()
        plan = plan_upload(series, bucket)
        assert plan.changed == (FIRST,)


class TestDown:
    def test_only_what_is_not_there_is_fetched(self, bucket: FolderStore, series: Path, tmp_path: Path) -> None:
        upload(plan_upload(series, bucket))
        download(bucket, tmp_path / "data")
        (series / FIRST).write_text("name,line\nAda,Other words.\n")
        (series / "transcripts" / "S01E02.csv").unlink()
        upload(plan_upload(series, bucket))
        watching = Watching(bucket.folder)
        told: list[tuple[int, int]] = []
        manifest = download(watching, tmp_path / "data", lambda done, total: told.append((done, total)))
        assert watching.seen == [FIRST] and told[-1] == (manifest.size_bytes, manifest.size_bytes)
        assert contents(tmp_path / "data") == contents(series)

    def test_a_full_disk_leaves_what_was_there(
        self, bucket: FolderStore, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload(plan_upload(series, bucket))
        download(bucket, tmp_path / "data")
        before = contents(tmp_path / "data")
        upload(plan_upload(_changed(series), bucket))

        def full(store: FolderStore, key: str, file: Path, on_bytes: Any = None) -> None:
            raise StoreError("the disk is full.")

        monkeypatch.setattr(FolderStore, "fetch", full)
        with pytest.raises(StoreError, match="full"):
            download(bucket, tmp_path / "data")
        assert contents(tmp_path / "data") == before


def _changed(series: Path) -> Path:
    (series / FIRST).write_text("name,line\nAda,Other words.\n")
    return series


class TestTold:
    def test_what_the_loader_flagged(self, bucket: FolderStore, series_folder: Any) -> None:
        series = series_folder(
            files={
                "S01E08.csv": "name,line\nAda,Hi.\n,\nname,line\nBo,Oh.\n",
                "scenes.csv": "episode,row\nS01E01,0\n",
            }
        )
        told = plan_upload(series, bucket).flagged(most=2)
        assert any(line.startswith("1 x dropped: ") for line in told)
        assert "transcripts/scenes.csv: dropped: no speaker and line columns; its first row: episode, row" in told
        assert any(line.startswith("transcripts/S01E08.csv row 3: dropped") for line in told)
        assert told[-1].startswith("and ") or len(told) < 5

    def test_a_series_without_a_title(self, bucket: FolderStore, series: Path) -> None:
        assert plan_upload(series, bucket).warnings == ()
        (series / "series.json").unlink()
        (warning,) = plan_upload(series, bucket).warnings
        assert "'Tiny' is the name of the folder" in warning

    def test_ready_for_json(self, bucket: FolderStore, series: Path) -> None:
        found = json.loads(json.dumps(plan_upload(series, bucket).to_dict()))
        assert found["new"] and found["size_bytes"] > 0 and len(found["data_hash"]) == 64


@pytest.fixture
def throttled(account: Any, series: Path) -> Iterator[tuple[Any, Path]]:
    import boto3

    boto3.client("s3", "us-east-1").create_bucket(Bucket="bucket")
    yield account, series


def test_s3_slowing_down_is_waited_for(throttled: tuple[Any, Path], tmp_path: Path) -> None:
    account, series = throttled
    store = S3Store("s3://bucket", "us-east-1")
    plan = plan_upload(series, store)
    account.fail("PutObject", "SlowDown", times=1, status=503)
    upload(plan)
    assert download(store, tmp_path / "data").files == plan.files
