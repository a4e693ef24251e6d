"""A version from one registry into another: from the bucket to this machine, or the other way. The same code for both.

    pull(bucket, folder, "llama", "latest", actor="ann@desk")
    push(folder, bucket, "llama", "20261121-074545", actor="ann@desk", promote=True)

A version keeps its name, and nothing is published before every byte of it has been compared with its manifest.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import RegistryError
from utils.files import TEMPORARY, disk_errors
from utils.registry import Registry
from utils.registry_reader import COMMAND, problems_of
from utils.stores import FolderStore, OnBytes, Store
from utils.versions import ROOT, FileSum, Manifest, Unfinished, version_key

Progress = Callable[[int, int], None]  # bytes so far, bytes in all: each counts twice, when it is read and when written


@dataclass(frozen=True)
class Transfer:
    """What became of a version. ``copied``: whether it was not there before; ``is_latest``: whether it is served."""

    family: str
    version: str
    source: str
    target: str
    files: int
    size_bytes: int
    copied: bool
    is_latest: bool

    def __str__(self) -> str:
        size = f"{self.files} files, {self.size_bytes / 1e6:.1f} MB"
        done = f"came from {self.source} to {self.target}" if self.copied else f"is in {self.target} already"
        served = "it is the latest there" if self.is_latest else "latest stays where it was"
        return f"{self.version} of {self.family} {done}: {size}; {served}."


@dataclass(frozen=True)
class _Origin:
    """The version to copy, as its manifest describes it."""

    registry: Registry
    family: str
    version: str
    files: dict[str, FileSum]

    @property
    def url(self) -> str:
        return self.registry.store.url

    @property
    def prefix(self) -> str:
        return version_key(self.family, self.version, "")

    def fetch(self, name: str, file: Path, moved: OnBytes) -> None:
        try:
            self.registry.store.fetch(self.prefix + name, file, moved)
        except KeyError:
            self.refuse([f"{name} is missing."])

    def refuse(self, problems: list[str]) -> None:
        if problems:
            raise RegistryError(
                f"{self.version} of {self.family} in {self.url} does not match its manifest: {problems[0]}",
                instead=f"And {len(problems) - 1} more." if len(problems) > 1 else "",
                remedies=[("See all", f"{COMMAND} verify {self.family} {self.version} --registry {self.url}")],
            )


def copy_version(
    source: Registry,
    target: Registry,
    family: str,
    version: str | None = None,
    *,
    actor: str,
    reason: str = "",
    promote: bool = False,
    progress: Progress | None = None,
) -> Transfer:
    """Publish a version of ``source`` in ``target`` under the same name.

    One that is there already and the same is left as it is, but promoted where that is asked for. What a transfer of
    the same actor left unfinished is cleared away first.

    Args:
        version: None and ``latest``: the one that ``source`` serves.
        actor: who does it, for the history of ``target``.
        reason: for the history; default: where it came from.
        promote: whether it becomes the latest of ``target``, unless that is at a later one.

    Raises:
        RegistryError: no such version, one that does not match its manifest, one that may run code when it is loaded,
            or another one of the same name in ``target``. Then nothing is published.
        StoreError: one of the two cannot be read or written.
    """
    found = source.resolve(family, version)
    origin = _Origin(source, family, found.version, _files(source, family, found.version))
    copied = found.version not in [each.version for each in target.list(family)]
    if copied:
        _clear(target, origin, actor)
        with _fetched(origin, target.store, moved := _Moved(2 * found.size_bytes, progress)) as folder:
            publisher = copy.copy(target)
            publisher.store = _Watched(target.store, moved)
            reason = reason or f"from {source.store.url}"
            publisher.publish(family, folder, version=found.version, actor=actor, reason=reason, promote=promote)
    else:
        _check_same(origin, target)
        if promote:
            _promote(target, origin, actor, reason)
    is_latest = target.resolve(family, found.version).is_latest
    return Transfer(
        family, found.version, source.store.url, target.store.url, found.files, found.size_bytes, copied, is_latest
    )


pull = push = copy_version  # they differ in which of the two registries is the bucket


def _files(registry: Registry, family: str, version: str) -> dict[str, FileSum]:
    """What the manifest says; one that is not that of latest.json is refused here."""
    return {name: FileSum(**file) for name, file in registry.show(family, version)["files"].items()}


def _check_same(origin: _Origin, target: Registry) -> None:
    family, version, url = origin.family, origin.version, target.store.url
    if _files(target, family, version) != origin.files:
        raise RegistryError(
            f"{url} has another {version} of {family} than {origin.url}.",
            instead="A version is never written over.",
            remedies=[
                ("Compare", f"{COMMAND} show {family} {version} --registry {url}"),
                ("with", f"{COMMAND} show {family} {version} --registry {origin.url}"),
            ],
        )
    if problems := target.verify(family, version):
        raise RegistryError(
            f"{version} of {family} is in {url} already, but damaged: {problems[0]}",
            remedies=[("See all", f"{COMMAND} verify {family} {version} --registry {url}")],
        )


def _promote(target: Registry, origin: _Origin, actor: str, reason: str) -> None:
    """Forward only, as when a version is published."""
    present = target.latest(origin.family)
    if present is None or present.version < origin.version:
        target.promote(origin.family, origin.version, actor=actor, reason=reason)


def _clear(target: Registry, origin: _Origin, actor: str) -> None:
    """Remove what a stopped transfer of ours has left; that of somebody else may still go on."""
    for left in target.unfinished(older_than_seconds=0):
        if (left.family, left.version) == (origin.family, origin.version):
            if left.actor != actor:
                raise _not_ours(target, left)
            target.remove_unfinished(left.family, left.version)


def _not_ours(target: Registry, left: Unfinished) -> RegistryError:
    return RegistryError(
        f"{left.actor or 'somebody'} began to publish {left.version} of {left.family} in {target.store.url} at "
        f"{left.started:%Y-%m-%d %H:%M} UTC and has not ended it.",
        remedies=[("If nobody does it any more", "python deploy_aws.py doctor --reap")],
    )


@contextmanager
def _fetched(origin: _Origin, target: Store, moved: OnBytes) -> Iterator[Path]:
    """A copy of the version that nobody else writes to, so that what is published is what has been compared."""
    manifest = Manifest(origin.files, b"")
    origin.refuse(problems_of(origin.registry.store, origin.prefix, manifest, contents=False))
    with _folder(target, origin) as folder:
        for name in origin.files:
            origin.fetch(name, folder / name, moved)
        origin.refuse(problems_of(FolderStore(folder), "", manifest))
        yield folder


@contextmanager
def _folder(target: Store, origin: _Origin) -> Iterator[Path]:
    """A folder on the disk that the version goes to; one that a killed transfer has left is cleared away."""
    home = target.local_path(ROOT)
    if home is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder = home.parent.parent / f"{TEMPORARY}transfer-{origin.family}-{origin.version}"
    with disk_errors(folder, "written"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Moved:
    """Adds up bytes for a progress bar, from whatever thread they come."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress, self._lock = 0, total, progress, threading.Lock()

    def __call__(self, size_bytes: int) -> None:
        with self._lock:
            self._done = min(self._done + size_bytes, self._total)
            if self._progress:
                self._progress(self._done, self._total)


class _Watched:
    """A store that tells of the bytes of the files that are put into it."""

    def __init__(self, store: Store, moved: OnBytes) -> None:
        self._store, self._moved = store, moved

    def put(self, key: str, content: bytes | Path, on_bytes: OnBytes | None = None) -> None:
        self._store.put(key, content, on_bytes or self._moved)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
