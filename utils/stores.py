"""A store keeps objects under keys; the registry on top of it is the same code for a folder and a bucket.

    store = FolderStore(Path("runs/registry"))
    store.put("results/scores.json", b"{}")

The other store, for ``s3://bucket/prefix``, is in ``aws/storage.py``; ``open_store`` there picks by address.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from utils.errors import ConflictError, StoreError
from utils.files import LOCK, check_key, disk_errors, is_reserved, locked, replacing, write_atomic

PIECE_BYTES = 1024 * 1024

OnBytes = Callable[[int], None]  # hears how many bytes have gone since it was called last


class Store(Protocol):
    """Objects under keys such as ``models/trained/llama/latest.json``.

    Keys are relative, with ``/`` between parts; a part is never empty, ``.`` or ``..``, and never starts with ``/``
    (``DataError`` otherwise). An *etag* is an opaque text that changes with the content.
    """

    url: str  # for people: the folder's path or s3://bucket/prefix

    def put(self, key: str, content: bytes | Path, on_bytes: OnBytes | None = None) -> None:
        """Write an object, whole or not at all; a ``Path`` is the file to upload. Raises StoreError.

        ``on_bytes`` hears of the bytes of a ``Path`` as they go, perhaps in another thread, and of those that a retry
        sends again.
        """

    def get(self, key: str) -> tuple[bytes, str]:
        """Content and etag. Raises KeyError if there is none, StoreError otherwise."""

    def fetch(self, key: str, file: Path, on_bytes: OnBytes | None = None) -> None:
        """Write the object to ``file``, whole or not at all. Raises KeyError, StoreError. ``on_bytes``: as in put."""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys that start with ``prefix`` and their sizes in bytes, sorted by key. Raises StoreError."""

    def delete(self, key: str) -> None:
        """Remove an object; silent if there is none. Raises StoreError."""

    def compare_and_swap(self, key: str, content: bytes, expected: str | None) -> str:
        """Write if the etag is still ``expected`` (None: if there is no object); the new etag.

        Raises:
            ConflictError: somebody else wrote first.
            StoreError: it could not be written.
        """

    def local_path(self, key: str) -> Path | None:
        """Where the objects below ``key`` lie on this machine, to be read and not written; None where they do not."""


class FolderStore:
    """A folder on this machine. Locks it for the moment of a write, so that processes do not lose each other's.

    A link that leads out of the folder is refused. Nothing is made before the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder)

    def put(self, key: str, content: bytes | Path, on_bytes: OnBytes | None = None) -> None:
        """Write an object, whole or not at all. Raises DataError, StoreError."""
        file = self.local_path(key)
        with disk_errors(file, "written"), replacing(file, self._lock()) as target:
            if isinstance(content, bytes):
                target.write(content)
            else:
                with disk_errors(content, "read"), content.open("rb") as source:
                    _copy(source, target, on_bytes)

    def get(self, key: str) -> tuple[bytes, str]:
        """Content and etag, which is the sha256 of the content. Raises DataError, KeyError, StoreError."""
        file = self.local_path(key)
        with disk_errors(file, "read"):
            try:
                content = file.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise KeyError(key) from None
        return content, hashlib.sha256(content).hexdigest()

    def fetch(self, key: str, file: Path, on_bytes: OnBytes | None = None) -> None:
        """Copy an object to ``file``, whole or not at all. Raises DataError, KeyError, StoreError."""
        source = self.local_path(key)
        if not source.is_file():
            raise KeyError(key)
        with disk_errors(file, "written"), replacing(file) as target, source.open("rb") as opened:
            _copy(opened, target, on_bytes)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys and sizes in bytes, sorted. A link is listed with its own size and not followed. Raises StoreError."""
        folder = prefix.rpartition("/")[0]
        start = self.local_path(folder) if folder else self.folder
        with disk_errors(start, "listed"):
            found = sorted(self._walk(start)) if start.is_dir() else []
        yield from ((key, size_bytes) for key, size_bytes in found if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove an object; silent if there is none. Raises DataError, StoreError."""
        file = self.local_path(key)
        with disk_errors(file, "deleted"):
            if file.is_file():
                with self._lock():
                    file.unlink(missing_ok=True)

    def compare_and_swap(self, key: str, content: bytes, expected: str | None) -> str:
        """Write if the etag is still ``expected`` (None: if there is no object); the new etag.

        Raises:
            ConflictError: somebody else wrote first.
            DataError, StoreError: it could not be written.
        """
        file = self.local_path(key)
        with disk_errors(file, "written"), self._lock():
            if self._etag(key) != expected:
                raise ConflictError(f"somebody else wrote {key} in {self.url} first.")
            write_atomic(file, content)
        return hashlib.sha256(content).hexdigest()

    def local_path(self, key: str) -> Path:
        """The path of an object, which need not exist. Raises DataError; StoreError for a link that leads out."""
        path = self.folder / check_key(key)
        with disk_errors(path, "read"):
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise StoreError(
                    f"{path} leads out of {self.url} by a link.", remedies=[("See where to", f"readlink -f {path}")]
                )
        return path

    def _etag(self, key: str) -> str | None:
        try:
            return self.get(key)[1]
        except KeyError:
            return None

    def _lock(self) -> AbstractContextManager[None]:
        return locked(self.folder / LOCK)

    def _walk(self, start: Path) -> Iterator[tuple[str, int]]:
        for root, folders, names in os.walk(start, onerror=_raise):
            links = [name for name in folders if (Path(root) / name).is_symlink()]
            for file in (Path(root) / name for name in names + links if not is_reserved(name)):
                try:
                    yield file.relative_to(self.folder).as_posix(), file.lstat().st_size
                except FileNotFoundError:  # deleted since
                    continue


def _copy(source: BinaryIO, target: BinaryIO, on_bytes: OnBytes | None) -> None:
    while piece := source.read(PIECE_BYTES):
        target.write(piece)
        if on_bytes:
            on_bytes(len(piece))


def _raise(error: OSError) -> None:
    raise error
