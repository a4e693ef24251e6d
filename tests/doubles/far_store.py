"""A folder as a store that is elsewhere, as a bucket is: nothing of it lies on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from utils.stores import FolderStore, OnBytes


class FarStore:
    """Keeps the keys that were fetched; ``bytes_per_second``: how fast (0: at once); ``sends``: how often each byte."""

    def __init__(self, folder: Path, bytes_per_second: float = 0.0) -> None:
        self.folder, self.url = folder, "s3://shelf/suite"
        self._store, self._rate = FolderStore(folder), bytes_per_second
        self.fetched: list[str] = []
        self.sends = 1

    def put(self, key: str, content: bytes | Path, on_bytes: OnBytes | None = None) -> None:
        self._store.put(key, content, on_bytes)

    def get(self, key: str) -> tuple[bytes, str]:
        return self._store.get(key)

    def fetch(self, key: str, file: Path, on_bytes: OnBytes | None = None) -> None:
        self.fetched.append(key)

        def tell(size_bytes: int) -> None:
            if self._rate:
                time.sleep(size_bytes / self._rate)
            for _ in range(self.sends if on_bytes else 0):
                on_bytes(size_bytes)  # type: ignore[misc]

        self._store.fetch(key, file, tell)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def compare_and_swap(self, key: str, content: bytes, expected: str | None) -> str:
        return self._store.compare_and_swap(key, content, expected)

    def local_path(self, key: str) -> None:
        return None
