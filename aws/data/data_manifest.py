"""What the training data in the bucket consist of, and how they come to a machine: stdlib and a store, no more.

    manifest = download(store, Path("/opt/stranger/work/data"))   # all of it, compared with the manifest, or nothing
    manifest.data_hash                                            # what a run says of the data it has used

The uploading side is ``aws/data/training_data.py``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from aws.config import DATA
from utils.errors import ConflictError, DataError
from utils.files import LOCK, MANIFEST, TEMPORARY, check_key, disk_errors, locked, sha256_file, write_atomic
from utils.stores import Store
from utils.versions import SHA256, FileSum

MANIFEST_KEY = f"{DATA}/{MANIFEST}"
AT_ONCE = 8  # the files are small: what takes the time is waiting for each answer
UPLOAD = ("Upload it", "python deploy_aws.py upload-data")

Progress = Callable[[int, int], None]  # bytes so far, bytes in all


@dataclass(frozen=True)
class DataManifest:
    """What the data consist of. ``unfinished``: names that an upload had begun to write when this was written."""

    files: Mapping[str, FileSum] = field(default_factory=dict)
    created: str = ""  # ISO 8601
    by: str = ""
    unfinished: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files.values())

    @property
    def data_hash(self) -> str:
        """One sha256 over all names and contents: the same data have the same, wherever they lie."""
        lines = "".join(f"{file.sha256}  {name}\n" for name, file in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def read_manifest(store: Store) -> DataManifest:
    """What the data in the bucket consist of.

    Raises:
        DataError: there are none yet, or the manifest is damaged.
        StoreError: the bucket cannot be read.
    """
    manifest, _ = find_manifest(store)
    if not manifest.files:
        raise DataError(f"there are no training data in {store.url}.", remedies=[UPLOAD])
    return manifest


def download(store: Store, folder: Path, progress: Progress | None = None) -> DataManifest:
    """Make ``folder`` hold the data of the bucket and nothing else, every file compared with the manifest.

    Whole or not at all: what was there before stays until all is there. A file that is there already and right is
    not fetched again. Returns the manifest.

    Raises:
        DataError: no data, damaged data, or a folder that holds something else.
        StoreError: the bucket cannot be read or the folder not be written.
    """
    manifest = read_manifest(store)
    _check_own(folder)
    with disk_errors(folder, "written"), locked(folder.with_name(LOCK)):
        _replace(store, manifest, folder, progress)
    return manifest


def _replace(store: Store, manifest: DataManifest, folder: Path, progress: Progress | None) -> None:
    """Names of their own, so that the next download clears away what one that was killed has left."""
    coming, going = (folder.with_name(f"{TEMPORARY}{word}-{folder.name}") for word in ("coming", "going"))
    if going.exists() and not folder.exists():  # killed between the two renames
        going.rename(folder)
    try:
        shutil.rmtree(coming, ignore_errors=True)
        sizes = [file.size_bytes for file in manifest.files.values()]
        taken = in_parallel(lambda name: _take(store, manifest, name, folder, coming), manifest.files)
        report_progress(taken, sizes, progress)
        write_atomic(coming / MANIFEST, _to_json(manifest))
        shutil.rmtree(going, ignore_errors=True)
        if folder.exists():
            folder.rename(going)
        coming.rename(folder)
    finally:
        shutil.rmtree(coming, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(going, ignore_errors=True)


def _check_own(folder: Path) -> None:
    """A folder that this module has not made is not replaced."""
    with disk_errors(folder, "read"):
        foreign = folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir())
    if foreign:
        raise DataError(f"{folder} holds something else than data from a bucket, and they would take its place.")


def _take(store: Store, manifest: DataManifest, name: str, present: Path, temporary: Path) -> None:
    """One file: from what is there already if it is right, else from the bucket."""
    wanted, target = manifest.files[name], temporary / name
    with suppress(OSError):
        if sha256_file(present / name) == wanted.sha256:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(present / name, target)
    if target.exists():
        return
    try:
        store.fetch(f"{DATA}/{name}", target)
    except KeyError:
        raise _damaged(store, manifest, f"{name} is missing") from None
    with disk_errors(target, "read"):
        if sha256_file(target) != wanted.sha256:
            raise _damaged(store, manifest, f"the sha256 of {name} differs")


def _damaged(store: Store, manifest: DataManifest, why: str) -> DataError:
    begun = f"{manifest.by} began an upload at {manifest.created} and has not ended it." if manifest.unfinished else ""
    what = f"the training data in {store.url} do not match their manifest: {why}."
    return DataError(what, instead=begun, remedies=[("Upload again", UPLOAD[1])])


def find_manifest(store: Store) -> tuple[DataManifest, str | None]:
    """The manifest and its etag; an empty one and None where there is none."""
    try:
        content, etag = store.get(MANIFEST_KEY)
    except KeyError:
        return DataManifest(), None
    try:
        found = json.loads(content)
        files = {check_key(name): _file_sum(**file) for name, file in found["files"].items()}
        unfinished = tuple(str(name) for name in found["unfinished"])
        return DataManifest(files, str(found["created"]), str(found["by"]), unfinished), etag
    except (DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{MANIFEST_KEY} in {store.url} is damaged: {' '.join(str(error).split())}",
            remedies=[("Remove it", f"aws s3 rm {store.url}/{MANIFEST_KEY}"), UPLOAD],
        ) from None


def write_manifest(store: Store, manifest: DataManifest, etag: str | None) -> str:
    """Write it if nobody has since ``etag`` was read; the new etag. Raises ConflictError, StoreError."""
    try:
        return store.compare_and_swap(MANIFEST_KEY, _to_json(manifest), etag)
    except ConflictError:
        raise ConflictError(
            f"somebody else uploads training data to {store.url} at the same time.",
            remedies=[("Compare again", f"{UPLOAD[1]} --dry-run")],
        ) from None


def in_parallel(call: Callable[[str], None], names: Iterable[str]) -> Iterator[None]:
    """Results in order; after the first error nothing more is begun."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield from pool.map(call, names)
    finally:
        pool.shutdown(cancel_futures=True)


def report_progress(done: Iterator[None], sizes: list[int], progress: Progress | None) -> None:
    """Wait for all that is done, and tell after each how many bytes of all that makes."""
    sent, total = 0, sum(sizes)
    for size_bytes, _ in zip(sizes, done, strict=True):
        sent += size_bytes
        if progress:
            progress(sent, total)


def _file_sum(sha256: str, size_bytes: int) -> FileSum:
    if not SHA256.fullmatch(sha256) or not isinstance(size_bytes, int) or size_bytes < 0:
        raise ValueError(f"{sha256!r} and {size_bytes!r} are no sha256 and size")
    return FileSum(sha256, size_bytes)


def _to_json(manifest: DataManifest) -> bytes:
    files = {name: asdict(file) for name, file in sorted(manifest.files.items())}
    content = {"files": files, "created": manifest.created, "by": manifest.by, "unfinished": list(manifest.unfinished)}
    return json.dumps(content | {"data_hash": manifest.data_hash}, indent=1, ensure_ascii=False).encode() + b"\n"
