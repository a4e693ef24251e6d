"""Checkpoints in a store, a folder or a bucket, so that a run can go on elsewhere: ``train --checkpoint-store URL``.

    checkpoints = CheckpointStore(store, "checkpoints/llama/0123456789abcdef")
    checkpoints.take(folder / "checkpoint-40")      # the mark goes last
    checkpoints.restore(folder)                     # the newest that is whole, and the best

The layout in the store is that of the folder: ``checkpoint-N/…``, and a checkpoint counts once its mark is there.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path, PurePosixPath

from character_chatbot.recovery.checkpoints import (
    KEPT,
    MARK,
    NAME,
    SIDE,
    checkpoint_step,
    is_complete,
    newest_checkpoint,
    read_mark,
)
from character_chatbot.training.early_stopping import best_step
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
        """Copy a complete checkpoint, its mark last; then only the newest ones and the best stay in the store.

        The best may have been passed over, because a newer one came while another was being copied: it goes first.

        Raises:
            StoreError: the store or the disk says no; a copy that broke off has no mark and counts for nothing.
        """
        best = best_step(checkpoint)
        there = {step for step, names in self._list().items() if MARK in names}
        if best is not None and best not in {*there, checkpoint_step(checkpoint)}:
            self._copy(checkpoint.parent / f"{NAME}{best}")
        if self._copy(checkpoint):
            self._remove_old(best)

    def _copy(self, checkpoint: Path) -> bool:
        """Whether it was still there to be copied."""
        try:
            names = [*read_mark(checkpoint), MARK]
            for name in names:
                self._store.put(f"{self._prefix}/{checkpoint.name}/{name}", checkpoint / name)
        except Exception:
            if checkpoint.exists():
                raise
            logger.info("%s was removed before it was copied: a newer one follows", checkpoint.name)
            return False
        logger.info("%s is in %s", checkpoint.name, self._store.url)
        return True

    def restore(self, folder: Path) -> Path | None:
        """Fetch the newest checkpoint that is whole, if ``folder`` has none; None where there is none to fetch.

        The best by what the newest knows comes along, if ``folder`` does not have it.

        Raises:
            StoreError: the store cannot be read, or the disk cannot be written.
        """
        own = newest_checkpoint(folder)
        found = None if own else self._fetch_newest(folder)
        if newest := own or found:
            self._fetch_best(folder, best_step(newest))
        return found

    def _fetch_newest(self, folder: Path) -> Path | None:
        for step, names in sorted(self._list().items(), reverse=True):
            if MARK in names and (found := self._fetch(folder, step, names)):
                return found
        return None

    def _fetch_best(self, folder: Path, step: int | None) -> None:
        if step is None or is_complete(folder / f"{NAME}{step}"):
            return
        names = self._list().get(step, [])
        if MARK not in names or not self._fetch(folder, step, names):
            logger.warning("the checkpoint of step %d, the best so far, is not in %s.", step, self._store.url)

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
                shutil.rmtree(target, ignore_errors=True)  # damaged, if it is there
                logger.info("%s comes from %s", target.name, self._store.url)
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

    def _remove_old(self, best: int | None) -> None:
        for step, names in sorted(self._list().items(), reverse=True)[KEPT:]:
            if step == best:
                continue
            for name in sorted(names, key=lambda each: each != MARK):  # the mark first
                self._store.delete(f"{self._prefix}/{NAME}{step}/{name}")
