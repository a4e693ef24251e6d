"""A folder as a store that fails on request, as S3 does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from utils.errors import StoreError
from utils.stores import FolderStore, OnBytes


class BadStore(FolderStore):
    """Counts calls by kind; ``fail`` makes the next ones fail, ``before_put`` is called before each write."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.calls: dict[str, list[str]] = {}
        self.before_put: Callable[[str], None] = lambda key: None
        self._failures: dict[str, int] = {}
        self._problem = "SlowDown, please reduce your request rate"

    def fail(self, times: int, *kinds: str, problem: str = "") -> None:
        """Let the next ``times`` calls of each kind (put, get, fetch, list, delete) raise StoreError."""
        self._failures |= dict.fromkeys(kinds or ("put",), times)
        self._problem = problem or self._problem

    def put(self, key: str, content: bytes | Path, on_bytes: OnBytes | None = None) -> None:
        self.before_put(key)
        self._count("put", key)
        super().put(key, content, on_bytes)

    def get(self, key: str) -> tuple[bytes, str]:
        self._count("get", key)
        return super().get(key)

    def fetch(self, key: str, file: Path, on_bytes: OnBytes | None = None) -> None:
        self._count("fetch", key)
        super().fetch(key, file, on_bytes)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        self._count("list", prefix)
        return super().list(prefix)

    def delete(self, key: str) -> None:
        self._count("delete", key)
        super().delete(key)

    def all_keys(self) -> set[str]:
        return {key for key, _ in FolderStore.list(self, "")}

    def _count(self, kind: str, key: str) -> None:
        self.calls.setdefault(kind, []).append(key)
        if self._failures.get(kind, 0) > 0:
            self._failures[kind] -= 1
            raise StoreError(f"S3 cannot serve s3://bucket/{key}: {self._problem}.")
