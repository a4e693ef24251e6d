"""Checkpoints that can be trusted: one counts only when every file of it is there and unchanged.

    with writing(folder, step, needed_bytes) as side:
        …                                  # all files go below ``side``; nobody takes that for a checkpoint
    checkpoint = newest_checkpoint(folder)

A checkpoint is written under a side name, brought to the disk, marked by ``complete.json`` (size and sha256 of each
file, written last) and renamed: ``checkpoint-N`` is whole from the moment it is there. A process that dies while it
writes leaves the side folder, which is removed, and the checkpoint before it is taken. The one with the lowest held-out
loss stays besides the newest.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from character_chatbot.training.early_stopping import best_step
from utils.errors import TrainingError
from utils.files import TEMPORARY, sha256_file, write_atomic

MARK = "complete.json"
NAME = "checkpoint-"
SIDE = f"{TEMPORARY}checkpoint"  # hidden: neither resumed from nor copied away
KEPT = 3  # one may be damaged while the next is being written
SPARE_SHARE = 0.1  # on top of the last checkpoint's size: the next one has more steps to tell of
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(folder: Path, step: int, needed_bytes: int) -> Iterator[Path]:
    """A side folder whose content becomes ``checkpoint-<step>`` at the end, or vanishes if the block raises.

    Afterwards at most ``KEPT`` checkpoints are there, and the best, by what the new one knows.

    Args:
        folder: of the checkpoints.
        step: of the checkpoint.
        needed_bytes: how much it will take; the size of the last one counts if that is more.

    Raises:
        TrainingError: the disk has not so much room, or was full before all was written. What was there stays.
    """
    needed_bytes = max(needed_bytes, _likely_bytes(folder))
    check_room(folder, needed_bytes, step)
    side = folder / SIDE
    shutil.rmtree(side, ignore_errors=True)
    try:
        side.mkdir(parents=True)
        yield side
        _finish(side, folder / f"{NAME}{step}")
    except Exception as error:
        if not _is_full(error, folder, needed_bytes):
            raise
        free = shutil.disk_usage(folder).free
        raise _no_room(folder, step, needed_bytes, free, "was written only in part") from error
    finally:
        shutil.rmtree(side, ignore_errors=True)
    _remove_old(folder)


def check_room(folder: Path, needed_bytes: int, step: int) -> None:
    """Raises TrainingError: the disk of ``folder`` has less than ``needed_bytes`` free for the checkpoint of a step."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise _no_room(folder, step, needed_bytes, free, "was not begun")


def mark_complete(checkpoint: Path) -> None:
    """Record size and sha256 of each file of a checkpoint that has been written in full."""
    content = {
        str(file.relative_to(checkpoint)): [file.stat().st_size, sha256_file(file)] for file in _files(checkpoint)
    }
    write_atomic(checkpoint / MARK, json.dumps(content, indent=1))


def read_mark(checkpoint: Path) -> dict[str, tuple[int, str]]:
    """Size in bytes and sha256 of each file by the mark. Raises OSError, ValueError."""
    try:
        content = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
        return {name: (int(size), str(digest)) for name, (size, digest) in content.items()}
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{checkpoint / MARK} is no mark") from error


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has its mark and matches it."""
    try:
        content = read_mark(checkpoint)
        return bool(content) and all(
            (checkpoint / name).stat().st_size == size and sha256_file(checkpoint / name) == digest
            for name, (size, digest) in content.items()
        )
    except (OSError, ValueError):
        return False


def checkpoint_step(checkpoint: Path) -> int:
    """The step in the name ``checkpoint-N``; -1 for another name."""
    number = checkpoint.name.removeprefix(NAME)
    return int(number) if number.isdigit() and checkpoint.name.startswith(NAME) else -1


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones are removed, so that no later one is mistaken for them."""
    shutil.rmtree(folder / SIDE, ignore_errors=True)
    for checkpoint in reversed(list_checkpoints(folder)):
        if is_complete(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def list_checkpoints(folder: Path) -> list[Path]:
    """All that are named like checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((each for each in folder.iterdir() if checkpoint_step(each) >= 0), key=checkpoint_step)


def _finish(side: Path, checkpoint: Path) -> None:
    """Bring what was written to the disk, mark it, and give it its name."""
    for file in _files(side):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    mark_complete(side)
    if checkpoint.exists():  # of the same step, and damaged: a whole one would have been gone on from
        shutil.rmtree(checkpoint)
    side.rename(checkpoint)
    with suppress(OSError):  # not every file system brings a folder to the disk
        descriptor = os.open(checkpoint.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_old(folder: Path) -> None:
    checkpoints = list_checkpoints(folder)
    best = best_step(checkpoints[-1]) if checkpoints else None
    for checkpoint in checkpoints[:-KEPT]:
        if checkpoint_step(checkpoint) == best:
            continue
        (checkpoint / MARK).unlink(missing_ok=True)  # first: what is half removed counts for nothing
        shutil.rmtree(checkpoint, ignore_errors=True)


def _likely_bytes(folder: Path) -> int:
    """What the next checkpoint will take, by the last one; 0 where there is none."""
    checkpoints = list_checkpoints(folder)
    last = sum(file.stat().st_size for file in _files(checkpoints[-1])) if checkpoints else 0
    return int(last * (1 + SPARE_SHARE))


def _files(checkpoint: Path) -> list[Path]:
    return [file for file in sorted(checkpoint.rglob("*")) if file.is_file() and file.name != MARK]


def _is_full(error: Exception, folder: Path, needed_bytes: int) -> bool:
    """Whether a write failed for want of room: torch and safetensors raise errors of their own, without a number."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return "No space left" in str(error) or shutil.disk_usage(folder).free < needed_bytes


def _no_room(folder: Path, step: int, needed_bytes: int, free_bytes: int, what: str) -> TrainingError:
    kept = list_checkpoints(folder)
    return TrainingError(
        f"the disk of {folder} is full: the checkpoint of step {step} takes about {needed_bytes:,} bytes, "
        f"{free_bytes:,} are free, and it {what}.",
        instead=f"The one of step {checkpoint_step(kept[-1])} is kept." if kept else "",
        remedies=[("Make room and type the same command again", f"df -h {folder}")],
    )
