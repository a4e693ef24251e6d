"""Checkpoints in a store, a folder or a bucket, so that a run can go on elsewhere: ``train --checkpoint-store URL``.

    checkpoints = CheckpointStore(store, "checkpoints/llama/0123456789abcdef")
    checkpoints.take(folder / "checkpoint-40")      # the mark goes last
    checkpoints.restore(folder)                     # the newest that is whole

The layout in the store is that of the folder: ``checkpoint-N/…``, and a checkpoint counts once its mark is there.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path, PurePosixPath

from character_chatbot.checkpoints import (
    KEPT,
    MARK,
    NAME,
    SIDE,
    checkpoint_step,
    is_complete,
    newest_checkpoint,
    read_mark,
)
from utils.errors import DataError
from utils.stores import Store

logger = logging.getLogger(__name__)


class CheckpointStore:
    """The checkpoints of one run below a prefix of a store. A sink for :class:`Handover`.

    Args:
        store: where they go.
        prefix: of the run, without a slash at its end.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    def take(self, checkpoint: Path) -> None:
        """Copy a complete checkpoint, its mark last; then only the newest ones stay in the store.

        Raises:
            StoreError: the store or the disk says no; a copy that broke off has no mark and counts for nothing.
        """
        try:
            names = [*read_mark(checkpoint), MARK]
            for name in names:
                self._store.put(f"{self._prefix}/{checkpoint.name}/{name}", checkpoint / name)
        except Exception:
            if checkpoint.exists():
                raise
            logger.info("%s was removed before it was copied: a newer one follows", checkpoint.name)
            return
        self._remove_old()
        logger.info("%s is in %s", checkpoint.name, self._store.url)

    def restore(self, folder: Path) -> Path | None:
        """Fetch the newest checkpoint that is whole, if ``folder`` has none; None where there is none to fetch.

        Raises:
            StoreError: the store cannot be read, or the disk cannot be written.
        """
        if newest_checkpoint(folder):
            return None
        for step, names in sorted(self._list().items(), reverse=True):
            if MARK in names and (found := self._fetch(folder, step, names)):
                logger.info("%s comes from %s", found.name, self._store.url)
                return found
        return None

    def _fetch(self, folder: Path, step: int, names: list[str]) -> Path | None:
        """One checkpoint, under a side name until it is whole; None if it is damaged."""
        side, target = folder / SIDE, folder / f"{NAME}{step}"
        shutil.rmtree(side, ignore_errors=True)
        try:
            for name in names:
                if ".." in PurePosixPath(name).parts:
                    raise DataError(f"{name!r} cannot be a file of a checkpoint.")
                self._store.fetch(f"{self._prefix}/{target.name}/{name}", side / name)
            if is_complete(side):
                return side.rename(target)
        except (KeyError, DataError):  # removed meanwhile, or not from here
            pass
        finally:
            shutil.rmtree(side, ignore_errors=True)
        logger.warning("%s in %s is damaged and not taken.", target.name, self._store.url)
        return None

    def _list(self) -> dict[int, list[str]]:
        """The names of the files of each checkpoint in the store, by step."""
        found: dict[int, list[str]] = {}
        for key, _ in self._store.list(f"{self._prefix}/{NAME}"):
            folder, _, name = key.removeprefix(f"{self._prefix}/").partition("/")
            if name and (step := checkpoint_step(Path(folder))) >= 0:
                found.setdefault(step, []).append(name)
        return found

    def _remove_old(self) -> None:
        for step, names in sorted(self._list().items(), reverse=True)[KEPT:]:
            for name in sorted(names, key=lambda each: each != MARK):  # the mark first
                self._store.delete(f"{self._prefix}/{NAME}{step}/{name}")
