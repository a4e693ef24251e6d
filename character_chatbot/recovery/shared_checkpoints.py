"""Several processes go on from the same checkpoint, also where each machine has a disk of its own.

    checkpoint = agree_on_checkpoint(folder)

The newest that any machine has is taken. A machine that lacks it gets its files from one that has it, so neither a
shared folder nor a store is needed, and it does not matter which machine is the first after a restart.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from character_chatbot.recovery.checkpoints import (
    MARK,
    NAME,
    SIDE,
    checkpoint_step,
    is_complete,
    newest_checkpoint,
    read_mark,
)
from character_chatbot.training import processes
from utils.errors import TrainingError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 2**20


def agree_on_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of any machine, in ``folder`` of each; None where there is none.

    Raises:
        TrainingError: it came damaged to this machine.
    """
    if processes.count() == 1:
        return newest_checkpoint(folder)
    with processes.first_of_machine():  # it removes what is damaged, so the others see only what is whole
        own = newest_checkpoint(folder)
    steps = [row[0] for row in processes.exchange([checkpoint_step(own) if own else -1])]
    newest = max(steps)
    if newest < 0:
        return None
    checkpoint = folder / f"{NAME}{newest}"
    if min(steps) < newest:
        _pass_on(checkpoint, steps.index(newest))
    return checkpoint


def _pass_on(checkpoint: Path, source: int) -> None:
    """Send a checkpoint from one process to the machines that lack it."""
    import torch
    import torch.distributed as dist

    has_it, is_source = is_complete(checkpoint), processes.rank() == source
    takes = not has_it and processes.local_rank() == 0
    side = checkpoint.parent / SIDE
    named = [[(name, size) for name, (size, _) in read_mark(checkpoint).items()] if is_source else []]
    dist.broadcast_object_list(named, src=source, device=torch.device("cpu"))
    mark = [(MARK, (checkpoint / MARK).stat().st_size)] if is_source else []
    found = [*named[0], *processes.gather(mark)[source]]
    for name, size in found:
        _pass_on_file(checkpoint / name if is_source else side / name, size, source, takes)
    if takes:
        if not is_complete(side):
            raise TrainingError(f"{checkpoint.name} came damaged from another machine to {checkpoint.parent}.")
        shutil.rmtree(checkpoint, ignore_errors=True)
        side.rename(checkpoint)
        logger.info("%s comes from another machine", checkpoint.name)
    processes.wait()


def _pass_on_file(file: Path, size_bytes: int, source: int, takes: bool) -> None:
    import torch
    import torch.distributed as dist

    if takes:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    for start in range(0, size_bytes, CHUNK_BYTES):
        chunk = torch.empty(min(CHUNK_BYTES, size_bytes - start), dtype=torch.uint8)
        if processes.rank() == source:
            with file.open("rb") as opened:
                opened.seek(start)
                chunk = torch.frombuffer(bytearray(opened.read(chunk.numel())), dtype=torch.uint8)
        dist.broadcast(chunk, src=source)
        if takes:
            with file.open("ab") as opened:
                opened.write(chunk.numpy().tobytes())
