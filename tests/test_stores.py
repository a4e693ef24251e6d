"""One contract for all stores, then what is particular to a folder and to a bucket. No network."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aws.storage import S3Store, open_store
from utils.errors import ConflictError, DataError, StoreError, UsageError
from utils.files import check_key, replacing, sha256_file, write_atomic
from utils.stores import FolderStore, Store

PROJECT = Path(__file__).resolve().parent.parent
HOSTILE_KEYS = [
    "", "/", "/etc/passwd", "..", "../x", "a/../b", "a/./b", "a//b", "a/", "a\\b", "a\0b", "a\nb",
    ".tmp-1", "a/.tmp-1/b", ".lock", "x" * 2000, "\ud800", "y" * 300,
]  # fmt: skip


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """Credentials that open nothing, and no settings of this machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


@pytest.fixture
def bucket(aws):
    import boto3
    from moto import mock_aws

    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "bucket"


@pytest.fixture(params=["folder", "s3", "s3 with a prefix"])
def store(request, tmp_path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    request.getfixturevalue("bucket")
    return S3Store("s3://bucket/some/place" if "prefix" in request.param else "s3://bucket")


class TestContract:
    def test_what_was_put_is_got(self, store, tmp_path):
        store.put("a/b.json", b"one")
        store.put("a/b.json", b"two")
        source = tmp_path / "source.bin"
        source.write_bytes(bytes(range(256)) * 100)
        store.put("a/c", source)
        store.fetch("a/c", tmp_path / "new" / "copy")
        assert store.get("a/b.json")[0] == b"two"
        assert (tmp_path / "new" / "copy").read_bytes() == source.read_bytes()

    def test_bytes_are_told_as_they_go(self, store, tmp_path):
        source, size_bytes = tmp_path / "source", 3 * 1024 * 1024 + 5
        source.write_bytes(b"x" * size_bytes)
        sent, fetched = [], []
        store.put("a", source, sent.append)
        store.fetch("a", tmp_path / "copy", fetched.append)
        assert sum(sent) == sum(fetched) == size_bytes and len(sent) > 1 and len(fetched) > 1

    def test_who_hears_of_bytes_can_end_it(self, store, tmp_path):
        store.put("models/a.bin", b"x" * 100)

        def end(size_bytes: int) -> None:
            raise UsageError("no more of it.")

        with pytest.raises(UsageError, match="no more of it"):
            store.fetch("models/a.bin", tmp_path / "here" / "a.bin", end)
        assert names(tmp_path / "here") == []

    def test_what_is_not_there(self, store, tmp_path):
        store.put("a/b", b"")
        for key in ("a", "a/b/c", "a/x"):
            with pytest.raises(KeyError):
                store.get(key)
            with pytest.raises(KeyError):
                store.fetch(key, tmp_path / "copy")
        assert not list(tmp_path.glob("copy*")) and not list(tmp_path.glob(".tmp-*"))
        store.delete("a/x")
        store.delete("a/b")
        assert list(store.list("")) == []

    def test_list_is_by_prefix_and_sorted(self, store):
        assert list(store.list("m/")) == []
        for key in ("m/b/2", "m/b/1", "m/bb", "m/a", "n", "m/ü"):
            store.put(key, key.encode())
        assert [key for key, _ in store.list("m/")] == ["m/a", "m/b/1", "m/b/2", "m/bb", "m/ü"]
        assert [key for key, _ in store.list("m/b")] == ["m/b/1", "m/b/2", "m/bb"]
        assert list(store.list("m/b/")) == [("m/b/1", 5), ("m/b/2", 5)]
        assert len(list(store.list(""))) == 6

    def test_swap(self, store):
        first = store.compare_and_swap("p", b"1", None)
        assert store.get("p") == (b"1", first)
        for expected in (None, '"0123"'):
            with pytest.raises(ConflictError):
                store.compare_and_swap("p", b"1", expected)
        second = store.compare_and_swap("p", b"2", first)
        assert second != first and store.get("p") == (b"2", second)
        with pytest.raises(ConflictError):
            store.compare_and_swap("p", b"3", first)
        store.delete("p")
        with pytest.raises(ConflictError):
            store.compare_and_swap("p", b"3", second)

    def test_hostile_keys(self, store, tmp_path):
        for key in HOSTILE_KEYS:
            for method, *arguments in (
                (store.put, b""),
                (store.get,),
                (store.fetch, tmp_path / "copy"),
                (store.delete,),
                (store.compare_and_swap, b"", None),
            ):
                with pytest.raises(DataError):
                    method(key, *arguments)
                    pytest.fail(f"{method} took {key!r}")

    def test_a_source_that_is_missing(self, store, tmp_path):
        with pytest.raises(StoreError, match="nothing cannot be read"):
            store.put("a", tmp_path / "nothing")
        assert list(store.list("")) == []


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@settings(database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=st.sampled_from("./\\a\0:~ü-"), max_size=12) | st.text())
def test_a_key_stays_below_its_folder(key):
    try:
        check_key(key)
    except DataError as error:
        assert str(error)
        return
    folder = Path("/some/folder")
    path = Path(os.path.normpath(folder / key))
    assert path != folder and path.is_relative_to(folder) and path == folder / key


class TestFolder:
    def test_a_failed_write_leaves_the_old_content(self, tmp_path):
        file = tmp_path / "file"
        write_atomic(file, "old")
        with pytest.raises(RuntimeError), replacing(file) as target:
            target.write(b"half")
            raise RuntimeError
        assert file.read_text() == "old" and names(tmp_path) == ["file"]

    @pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "rights"), (5, "o")])
    def test_the_disk_says_no(self, tmp_path, monkeypatch, number, says):
        def fail(*_args):
            raise OSError(number, os.strerror(number))

        store = FolderStore(tmp_path)
        store.put("a", b"old")
        monkeypatch.setattr(os, "fsync", fail)
        for write in (lambda: store.put("a", b"new"), lambda: store.compare_and_swap("b", b"new", None)):
            with pytest.raises(StoreError, match=says) as caught:
                write()
            assert caught.value.remedies
        assert [key for key, _ in store.list("")] == ["a"] and store.get("a")[0] == b"old"

    def test_a_file_in_place_of_the_folder(self, tmp_path):
        (tmp_path / "store").write_text("")
        with pytest.raises(StoreError):
            FolderStore(tmp_path / "store").put("a", b"")

    def test_links_do_not_lead_out(self, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        store = FolderStore(tmp_path / "store")
        store.put("real", b"")
        (tmp_path / "store" / "file").symlink_to(outside / "secret")
        (tmp_path / "store" / "folder").symlink_to(outside)
        for key in ("file", "folder/secret", "folder/new"):
            for call in (
                lambda key=key: store.get(key),
                lambda key=key: store.put(key, b"x"),
                lambda key=key: store.delete(key),
                lambda key=key: store.compare_and_swap(key, b"x", None),
                lambda key=key: store.fetch(key, tmp_path / "copy"),
            ):
                with pytest.raises(StoreError, match="leads out"):
                    call()
        with pytest.raises(StoreError, match="leads out"):
            list(store.list("folder/"))
        assert [key for key, _ in store.list("")] == ["file", "folder", "real"]
        assert names(outside) == ["secret"]

    def test_a_store_behind_a_link_is_fine(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        FolderStore(tmp_path / "link").put("a/b", b"x")
        assert FolderStore(tmp_path / "real").get("a/b")[0] == b"x"

    def test_processes_lose_no_swap(self, tmp_path):
        script = """if True:
            import sys
            from pathlib import Path
            from utils.errors import ConflictError
            from utils.stores import FolderStore
            store, done = FolderStore(Path(sys.argv[1])), 0
            while done < 25:
                try:
                    content, etag = store.get("count")
                except KeyError:
                    content, etag = b"0", None
                try:
                    store.compare_and_swap("count", str(int(content) + 1).encode(), etag)
                    done += 1
                except ConflictError:
                    pass
        """
        runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=PROJECT) for _ in range(4)]
        assert [run.wait(timeout=60) for run in runs] == [0] * 4
        assert FolderStore(tmp_path).get("count")[0] == b"100"
        assert list(FolderStore(tmp_path).list("")) == [("count", 3)]


class TestBucket:
    def test_making_one_touches_nothing(self):
        code = "import sys; from aws.storage import S3Store as S; S('s3://bucket'); sys.exit('boto3' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0

    def test_a_large_file_goes_in_parts_and_comes_back(self, bucket, tmp_path):
        source = tmp_path / "source"
        source.write_bytes(os.urandom(1 << 20) * 9)
        store = S3Store("s3://bucket")
        store.put("large", source)
        store.fetch("large", tmp_path / "copy")
        assert sha256_file(source) == sha256_file(tmp_path / "copy")

    def test_list_goes_over_pages_and_folders_of_the_console(self, bucket, monkeypatch):
        monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
        store = S3Store("s3://bucket/p")
        store.client.put_object(Bucket="bucket", Key="p/empty/", Body=b"")
        store.client.put_object(Bucket="bucket", Key="pp/other", Body=b"")
        for number in range(35):
            store.client.put_object(Bucket="bucket", Key=f"p/{number:04}", Body=b"")
        assert [key for key, _ in store.list("")] == [f"{number:04}" for number in range(35)]

    def test_no_such_bucket(self, bucket, tmp_path):
        store = S3Store("s3://other-bucket")
        for call in (
            lambda: store.get("a"),
            lambda: store.put("a", b""),
            lambda: list(store.list("")),
            lambda: store.fetch("a", tmp_path / "copy"),
            lambda: store.compare_and_swap("a", b"", None),
            lambda: store.compare_and_swap("a", b"", "etag"),
            lambda: store.delete("a"),
        ):
            with pytest.raises(StoreError, match="there is no bucket other-bucket") as caught:
                call()
            assert ("Make it", "aws s3 mb s3://other-bucket") in caught.value.remedies

    def test_no_credentials(self, aws):
        aws.delenv("AWS_ACCESS_KEY_ID")
        aws.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StoreError, match="Unable to locate credentials") as caught:
            S3Store("s3://bucket").get("a")
        assert ("Set them up", "aws configure") in caught.value.remedies

    def test_no_such_profile(self, aws):
        with pytest.raises(StoreError, match="profile \\(nobody\\) could not be found"):
            S3Store("s3://bucket", profile="nobody").get("a")

    def test_not_reachable(self, aws, tmp_path):
        aws.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        aws.setenv("AWS_MAX_ATTEMPTS", "1")
        (tmp_path / "file").write_text("x")
        store = S3Store("s3://bucket")
        for call in (
            lambda: store.put("a", tmp_path / "file"),
            lambda: store.fetch("a", tmp_path / "copy"),
            lambda: next(store.list("")),
        ):
            with pytest.raises(StoreError, match="cannot be reached") as caught:
                call()
            assert caught.value.remedies

    @pytest.mark.parametrize(
        ("code", "status", "says"),
        [
            ("AccessDenied", 403, "denies access"),
            ("ExpiredToken", 400, "credentials of this machine"),
            ("SlowDown", 400, "SlowDown"),
        ],
    )
    def test_refusals_are_sentences(self, aws, code, status, says):
        store = S3Store("s3://bucket/p")
        with answers(store, ("get_object", code, status)), pytest.raises(StoreError, match=says) as caught:
            store.get("a")
        assert "Traceback" not in str(caught.value) and caught.value.what.endswith(".")

    def test_a_swap_waits_while_another_write_is_under_way(self, aws):
        store = S3Store("s3://bucket")
        busy = ("put_object", "ConditionalRequestConflict", 409)
        with answers(store, busy, ("get_object", "NoSuchKey", 404), ("put_object", {"ETag": '"1"'})):
            assert store.compare_and_swap("a", b"x", None) == '"1"'
        with (
            answers(store, busy, ("get_object", {"ETag": '"2"', "Body": body(b"theirs")})),
            pytest.raises(ConflictError),
        ):
            store.compare_and_swap("a", b"x", None)

    def test_an_own_write_whose_answer_was_lost_is_not_a_lost_race(self, aws):
        store = S3Store("s3://bucket")
        lost = ("put_object", "PreconditionFailed", 412, {"RetryAttempts": 1})
        with answers(store, lost, ("get_object", {"ETag": '"1"', "Body": body(b"x")})):
            assert store.compare_and_swap("a", b"x", None) == '"1"'
        with answers(store, lost, ("get_object", {"ETag": '"1"', "Body": body(b"y")})), pytest.raises(ConflictError):
            store.compare_and_swap("a", b"x", None)


def body(content: bytes):
    import io

    from botocore.response import StreamingBody

    return StreamingBody(io.BytesIO(content), len(content))


def answers(store: S3Store, *given):
    """What S3 answers next, in this order: an answer, or the code and status of an error."""
    from botocore.stub import Stubber

    stubber = Stubber(store.client)
    for method, answer, *rest in given:
        if isinstance(answer, dict):
            stubber.add_response(method, answer)
        else:
            stubber.add_client_error(method, answer, "said S3", rest[0], response_meta=rest[1] if rest[1:] else None)
    return stubber


class TestOpen:
    def test_kinds(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert open_store("runs/registry").url == "runs/registry"
        assert open_store(f"file://{tmp_path}/a%20b").url == f"{tmp_path}/a b"
        assert open_store("~/registry").url == f"{tmp_path}/registry"
        assert open_store("s3://bucket/p/", "eu-west-1", "").url == "s3://bucket/p"
        assert open_store("odd:name").url == "odd:name"
        assert names(tmp_path) == []

    @pytest.mark.parametrize(
        "url",
        ["", " ", "gs://bucket", "http://host/x", "s3:/bucket", "s3:bucket", "file://host/x", "file:x", "s3://",
         "s3://Bad_Bucket", "s3://bucket//x", "s3://bucket/../x", "S3://bucket"],
    )  # fmt: skip
    def test_others_are_refused(self, url):
        with pytest.raises(UsageError, match="is not") as caught:
            open_store(url)
        assert "s3://BUCKET/PREFIX" in str(caught.value)
