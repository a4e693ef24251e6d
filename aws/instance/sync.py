"""Between the working folder of a job and the bucket: inputs come, outputs come back and are saved as they change.

    sync = Sync(store, work, job, memory=folder / "synced.json")
    sync.fetch_inputs()
    sync.restore()       # what an earlier machine has saved
    sync.push()          # what has changed since

A unit (see ``units``) is copied once its mark is there, the mark last; it comes back under another name and is renamed
when it is whole.
A unit that is gone from the disk goes from the bucket once a newer one is there whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from aws.data.data_manifest import MANIFEST_KEY, download
from aws.instance.folder import read_line
from aws.instance.units import Unit, files_below, print_of, unit_of
from aws.places import Job, Link
from utils.errors import DataError, StoreError
from utils.files import TEMPORARY, write_atomic
from utils.stores import Store


class Sync:
    """Copies what a job's links name. What the bucket has is listed once and remembered.

    Args:
        store: of the bucket.
        work: the job's working folder.
        job: its inputs and outputs.
        memory: file in which it is kept what has been saved, for the next runner on this machine.
        say: hears of a file whose name no bucket takes.
    """

    def __init__(
        self, store: Store, work: Path, job: Job, memory: Path, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self._store, self._work, self._job, self._memory = store, work, job, memory
        self._saved: dict[str, list[int]] = {key: list(value) for key, value in read_line(memory).items()}
        self._there: dict[str, int] = {}  # key in the bucket → size in bytes
        self._restored = False
        self._say = say
        self._refused: set[str] = set()  # keys that no bucket takes

    # from the bucket

    def fetch_inputs(self) -> int:
        """Fetch every input; how many files. Raises StoreError; DataError: an input has none."""
        return sum(self._fetch_input(link) for link in self._job.inputs)

    def _fetch_input(self, link: Link) -> int:
        found = [(key, size) for key, size in self._list(link) if size or not key.endswith("/")]
        if not found:
            raise DataError(
                f"there is nothing below {self._store.url}/{link.key} to work on.",
                remedies=[("Upload the data", "python deploy_aws.py upload-data")],
            )
        if MANIFEST_KEY in dict(found):  # uploaded with sums: compared with them, and nothing else is kept
            return len(download(self._store, self._work / link.folder).files)
        for key, size in found:
            self._fetch(key, size, self._work / link.folder / _below(key, link))
        return len(found)

    def restore(self) -> int:
        """Bring back what an earlier machine has saved and this one lacks; how many files. Raises StoreError."""
        self._there = {key: size for link in self._job.outputs for key, size in self._list(link)}
        count = sum(self._restore_link(link) for link in self._job.outputs)
        self._restored = True
        self._remember()
        return count

    def _restore_link(self, link: Link) -> int:
        count = 0
        for key in self._keys(link):
            path = _below(key, link)
            file = self._work / link.folder / path
            if unit_of(path, link) is None and not file.exists():
                self._fetch(key, self._there[key], file)
                self._note(key, file)
                count += 1
        for unit in self._units_there(link):
            if self._is_whole_there(link, unit) and not (self._work / link.folder / unit.path / link.mark).exists():
                count += self._restore_unit(link, unit)
        return count

    def _restore_unit(self, link: Link, unit: Unit) -> int:
        folder = self._work / link.folder / unit.path
        side = folder.with_name(f"{TEMPORARY}{folder.name}")
        prefix = f"{link.key}/{unit.path}/"
        keys = sorted(self._unit_keys(link, unit), key=lambda key: key == prefix + link.mark)  # the mark last
        for key in keys:
            self._fetch(key, self._there[key], side / key.removeprefix(prefix))
        for extra in [each for each in files_below(side) if prefix + each not in keys]:  # of an attempt that broke off
            (side / extra).unlink()
        if folder.exists():  # without its mark, so not whole
            shutil.rmtree(folder)
        side.rename(folder)
        for key in keys:
            self._note(key, folder / key.removeprefix(prefix))
        return len(keys)

    def _fetch(self, key: str, size_bytes: int, file: Path) -> None:
        self._store.fetch(key, file)
        if file.stat().st_size != size_bytes:
            raise StoreError(f"{key} in {self._store.url} changed while it was fetched.")

    def _list(self, link: Link) -> list[tuple[str, int]]:
        return list(self._store.list(f"{link.key}/"))

    # into the bucket

    def push(self) -> int:
        """Save what has changed; how many files. Raises StoreError: the bucket cannot be reached; the rest waits."""
        count = 0
        try:
            for link in self._job.outputs:
                count += self._push_link(link)
        finally:
            self._remember()
        return count

    def _push_link(self, link: Link) -> int:
        folder = self._work / link.folder
        units: dict[str, list[str]] = {}
        count = 0
        for path in files_below(folder):
            unit = unit_of(path, link)
            if unit is None:
                count += self._push_file(f"{link.key}/{path}", folder / path)
            else:
                units.setdefault(unit.path, []).append(path)
        for name in sorted(units, key=lambda each: Unit(each).number):
            count += self._push_unit(link, Unit(name), units[name])
        if self._restored:
            self._remove_old(link, {name for name in units if (folder / name).is_dir()})
        return count

    def _push_unit(self, link: Link, unit: Unit, paths: Sequence[str]) -> int:
        """Save a unit if it is whole; the mark goes last, and before anything changes it comes off."""
        folder, mark = self._work / link.folder, f"{unit.path}/{link.mark}"
        keys = {f"{link.key}/{path}": folder / path for path in paths}
        stale = [key for key in self._unit_keys(link, unit) if key not in keys]
        if mark not in paths or not (stale or any(self._is_new(key, file) for key, file in keys.items())):
            return 0
        for key in [f"{link.key}/{mark}", *stale]:
            self._delete(key)
        rest = [key for key in keys if key != f"{link.key}/{mark}"]
        count = sum(self._push_file(key, keys[key]) for key in rest)
        if not all(file.exists() for file in keys.values()) or any(self._is_new(key, keys[key]) for key in rest):
            return count  # it was removed or changed meanwhile, and is not marked
        return count + self._push_file(f"{link.key}/{mark}", folder / mark)

    def _push_file(self, key: str, file: Path) -> int:
        if not self._is_new(key, file) or key in self._refused:
            return 0
        before = print_of(file)
        try:
            self._store.put(key, file)
        except DataError as error:  # a name that no bucket takes
            self._refused.add(key)
            self._say(f"not saved: {error.what}")
            return 0
        except StoreError:
            if not file.exists():  # removed while it was read
                return 0
            raise
        if before:
            self._there[key], self._saved[key] = before[0], before
        return 1

    def _remove_old(self, link: Link, on_disk: set[str]) -> None:
        """Units that the job has removed, once a newer one is whole in the bucket."""
        units = self._units_there(link)
        whole = [unit for unit in units if self._is_whole_there(link, unit)]
        for unit in units:
            if unit.path not in on_disk and any(each.follows(unit) for each in whole):
                keys = self._unit_keys(link, unit)
                marks = [key for key in keys if key == f"{link.key}/{unit.path}/{link.mark}"]
                for key in marks + [key for key in keys if key not in marks]:
                    self._delete(key)

    def _delete(self, key: str) -> None:
        if key in self._there:
            self._store.delete(key)
            self._there.pop(key)
        self._saved.pop(key, None)

    # what is known

    def _keys(self, link: Link) -> list[str]:
        return sorted(key for key in self._there if key.startswith(f"{link.key}/"))

    def _units_there(self, link: Link) -> list[Unit]:
        found = {unit.path for key in self._keys(link) if (unit := unit_of(_below(key, link), link))}
        return [Unit(path) for path in sorted(found)]

    def _unit_keys(self, link: Link, unit: Unit) -> list[str]:
        return [key for key in self._keys(link) if key.startswith(f"{link.key}/{unit.path}/")]

    def _is_whole_there(self, link: Link, unit: Unit) -> bool:
        return f"{link.key}/{unit.path}/{link.mark}" in self._there

    def _is_new(self, key: str, file: Path) -> bool:
        """Whether the bucket lacks the file as it is now."""
        now = print_of(file)
        return now is not None and (self._saved.get(key) != now or self._there.get(key) != now[0])

    def _note(self, key: str, file: Path) -> None:
        now = print_of(file)
        if now:
            self._saved[key] = now

    def _remember(self) -> None:
        with suppress(OSError):  # without it the next runner copies again
            write_atomic(self._memory, json.dumps(self._saved))


def _below(key: str, link: Link) -> str:
    return key.removeprefix(f"{link.key}/")
