"""Files of a store on this machine: what is there and right stays, the rest comes, and its bytes are told.

    problems = fetch_files(store, "models/trained/llama/20261121-074545/", manifest.files, folder, on_fetch)

Each file is whole or not there at all, so a fetch that was stopped goes on where it was. Whoever reads the folder
meanwhile keeps what it has opened.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.files import LOCK, TEMPORARY, disk_errors, is_reserved, locked, sha256_file
from utils.stores import FolderStore, Store
from utils.versions import FileSum

if TYPE_CHECKING:
    from tqdm import tqdm

FETCHING, CHECKING = "fetching", "checking"
OnFetch = Callable[[str, int, int], None]  # one of these two, bytes done, bytes in all
BAR_AFTER_SECONDS = 1.0  # what is over sooner needs no bar


class ByteCount:
    """Adds up bytes of many files for whoever wants to be told, from whatever thread they come."""

    def __init__(self, step: str, total: int, on_fetch: OnFetch | None, done: int = 0) -> None:
        self._step, self._total, self._on_fetch, self._lock = step, total, on_fetch, threading.Lock()
        self._done = 0
        self.reach(done)

    def __call__(self, size_bytes: int) -> None:
        """So many more."""
        with self._lock:
            self._set(self._done + size_bytes)

    def reach(self, done: int) -> None:
        """So many in all: a retry has counted some twice, or a file was there."""
        with self._lock:
            self._set(done)

    def _set(self, done: int) -> None:
        self._done = min(done, self._total)
        if self._on_fetch:
            self._on_fetch(self._step, self._done, self._total)


def fetch_files(
    store: Store, prefix: str, files: Mapping[str, FileSum], folder: Path, on_fetch: OnFetch | None = None
) -> list[str]:
    """Let ``folder`` hold just these files; one process at a time does.

    Args:
        store: that has them below ``prefix``.
        files: names and what their contents are to be.
        folder: on this machine; nothing in it is kept that is not one of the files.
        on_fetch: hears of bytes, perhaps in another thread: first those that are there and compared, then those that
            come, then those compared once they have come.

    Returns:
        What is missing or changed in the store, a sentence each; nothing if all is well.

    Raises:
        StoreError: the store cannot be read, or the folder not be written. What has come stays for the next time.
    """
    with disk_errors(folder, "written"), locked(folder.with_name(LOCK)):
        _clear(folder, files)
        right = find_right(folder, files, [*files], on_fetch)
        if len(right) == len(files):
            return []
        missing = _fetch(store, prefix, files, folder, right=right, on_fetch=on_fetch)
        came = [name for name in files if name not in right and name not in missing]
        changed = set(came) - find_right(folder, files, came, on_fetch)
        for name in changed:
            (folder / name).unlink()
        return sorted(_problem(name, name in missing) for name in {*missing, *changed})


def _problem(name: str, missing: bool) -> str:
    return f"{name} is missing." if missing else f"{name} is changed: its sha256 differs."


def _fetch(
    store: Store, prefix: str, files: Mapping[str, FileSum], folder: Path, *, right: Collection[str],
    on_fetch: OnFetch | None,
) -> list[str]:  # fmt: skip
    """Let the others come; which of them the store does not have."""
    missing = []
    done = sum(files[name].size_bytes for name in right)
    count = ByteCount(FETCHING, sum(file.size_bytes for file in files.values()), on_fetch, done)
    for name in (name for name in files if name not in right):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        try:
            store.fetch(prefix + name, folder / name, count)
        except KeyError:
            missing.append(name)
        done += files[name].size_bytes
        count.reach(done)
    return missing


def find_right(
    folder: Path, files: Mapping[str, FileSum], names: Collection[str], on_fetch: OnFetch | None = None
) -> set[str]:
    """Which of these ``names`` are as ``files`` says. Raises OSError."""
    there = [name for name in names if _has_size(folder / name, files[name].size_bytes)]
    if not there:
        return set()
    count = ByteCount(CHECKING, sum(files[name].size_bytes for name in there), on_fetch)
    return {name for name in there if sha256_file(folder / name, count) == files[name].sha256}


def _has_size(file: Path, size_bytes: int) -> bool:
    return file.is_file() and file.stat().st_size == size_bytes


def _clear(folder: Path, files: Collection[str]) -> None:
    """Remove what does not belong there: other files, links, and halves that a killed fetch has left."""
    if folder.is_symlink():
        folder.unlink()
    for key, _ in tuple(FolderStore(folder).list("")):
        if key not in files or (folder / key).is_symlink():
            (folder / key).unlink(missing_ok=True)
    for half in (each for each in folder.rglob(f"{TEMPORARY}*") if is_reserved(each.name)):
        with suppress(OSError):
            half.unlink()


@contextmanager
def fetch_bar(what: str) -> Iterator[OnFetch]:
    """A bar in the terminal for each step; nothing where the output is no terminal, or for what is over at once."""
    from tqdm import tqdm

    with ExitStack() as bars:
        steps: dict[str, tqdm[Any]] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in steps:
                bars.close()
                steps.clear()
                bar = tqdm(total=total, desc=f"{step} {what}", unit="B", unit_scale=True, disable=None, leave=False,
                           delay=BAR_AFTER_SECONDS)  # fmt: skip
                steps[step] = bars.enter_context(bar)
            steps[step].update(done - steps[step].n)

        yield show
