"""Checkpoints that can be trusted: one counts only when every file of it is there and unchanged.

A checkpoint is marked complete by ``complete.json``, written last, with size and sha256 of each file. A process that
dies while it writes leaves one without the mark, and the one before it is taken.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from utils.files import sha256_file, write_atomic

MARK = "complete.json"


def mark_complete(checkpoint: Path) -> None:
    """Record size and sha256 of each file of a checkpoint that has been written in full."""
    files = [file for file in sorted(checkpoint.rglob("*")) if file.is_file() and file.name != MARK]
    content = {str(file.relative_to(checkpoint)): [file.stat().st_size, sha256_file(file)] for file in files}
    write_atomic(checkpoint / MARK, json.dumps(content, indent=1))


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has its mark and matches it."""
    try:
        content = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
        return bool(content) and all(
            (checkpoint / name).stat().st_size == size and sha256_file(checkpoint / name) == digest
            for name, (size, digest) in content.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def checkpoint_step(checkpoint: Path) -> int:
    """The step in the name ``checkpoint-N``; -1 for another name."""
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones are removed, so that no later one is mistaken for them."""
    if not folder.is_dir():
        return None
    candidates = sorted((each for each in folder.iterdir() if checkpoint_step(each) >= 0), key=checkpoint_step)
    for checkpoint in reversed(candidates):
        if is_complete(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None
