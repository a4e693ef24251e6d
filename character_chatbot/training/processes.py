"""Several processes that train one adapter together, as ``torchrun`` or ``accelerate launch`` starts them.

    with joined():
        base = first_decides(lambda: choose_base(…))     # one looks, all know
        with first_of_machine():                         # one fetches, the others find it in the cache
            model = load_model(base, device)

Which process this is comes from the environment, as torchrun sets it, before torch is imported. With one process all of
this does nothing and costs nothing. What the processes tell each other goes over torch.distributed: gloo between CPUs,
NCCL between GPUs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from utils.errors import TrainingError

if TYPE_CHECKING:
    from torch.distributed import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The first one may make a nano base, download a base or evaluate while the others wait. When a process dies, the others
# do not wait so long: its connections break, and torchrun ends them.
LONGEST_WAIT = timedelta(hours=1)
FAILED = 1  # exit code of those that end because another one has failed
BROKEN = ("onnection", "NCCL", "gloo", "timed out", "Timed out")  # in the text of torch's errors when a peer has gone


def count() -> int:
    """How many processes train together, on all machines."""
    return max(1, _number("WORLD_SIZE")) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """Which of them this is; from 0."""
    return _number("RANK") if count() > 1 else 0


def local_rank() -> int:
    """Which of those on this machine this is; from 0. It is the number of its GPU, too."""
    return _number("LOCAL_RANK") if count() > 1 else 0


def local_count() -> int:
    """How many of them run on this machine."""
    return max(1, _number("LOCAL_WORLD_SIZE")) if count() > 1 else 1


def is_first() -> bool:
    """Whether this process is the one that writes: checkpoints, metrics, progress, log, version."""
    return rank() == 0


def quieten() -> None:
    """All but the first process log only warnings, and not to the log file."""
    if is_first():
        return
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.FileHandler):
            root.removeHandler(handler)
            handler.close()
        else:
            handler.setLevel(max(handler.level, logging.WARNING))


@contextmanager
def joined() -> Iterator[None]:
    """A block in which the processes know each other.

    Raises:
        TrainingError: there is no GPU for this process, or another process has gone.
    """
    import torch.distributed as dist

    if count() == 1 or dist.is_initialized():
        yield
        return
    try:
        dist.init_process_group(
            _choose_backend(), store=_open_store(), rank=rank(), world_size=count(), timeout=LONGEST_WAIT
        )
        logger.info("%d processes train together", count())
        yield
    except RuntimeError as error:
        if any(word in str(error) for word in BROKEN):
            raise _broken(error) from error
        raise
    dist.destroy_process_group()


def first_decides(work: Callable[[], T]) -> T:
    """What ``work`` returns in the first process, in all. Where it raises, the others end with exit code 1.

    What it returns is pickled between our own processes.
    """
    if count() == 1:
        return work()
    import torch
    import torch.distributed as dist

    said: list[tuple[bool, T | None]] = [(False, None)]
    try:
        if is_first():
            said = [(True, work())]
    finally:
        dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
    done, found = said[0]
    if not done:
        raise SystemExit(FAILED)  # the first one says why
    return found  # type: ignore[return-value]


@contextmanager
def first_of_machine() -> Iterator[None]:
    """A block that one process of each machine goes through before the others do."""
    if local_rank() > 0:
        wait()
    yield
    if local_rank() == 0:
        wait()


def wait() -> None:
    """Until all are here."""
    exchange([0])


def exchange(numbers: Sequence[int]) -> list[list[int]]:
    """The numbers of each process, by rank; as many in each. A fraction of a millisecond on one machine."""
    if count() == 1:
        return [list(numbers)]
    import torch
    import torch.distributed as dist

    own = torch.tensor(list(numbers), dtype=torch.int64)
    each = [torch.empty_like(own) for _ in range(count())]
    dist.all_gather(each, own)
    return [row.tolist() for row in each]


def gather(value: T) -> list[T]:
    """The values of all processes, by rank; pickled between our own processes."""
    if count() == 1:
        return [value]
    import torch.distributed as dist

    found: list[T | None] = [None] * count()
    dist.all_gather_object(found, value)
    return found  # type: ignore[return-value]


def _number(name: str) -> int:
    try:
        return int(os.environ.get(name, "0"))
    except ValueError:
        return 0


def _open_store() -> Store:
    """Where the processes find each other.

    torchrun on one machine keeps its store when it starts the processes again, with the addresses of those that are
    gone: so each start has keys of its own. Of several machines each counts its own restarts, and torchrun makes a new
    store for all of them.
    """
    import torch.distributed as dist

    store: Store = next(dist.rendezvous("env://"))[0]
    if _number("GROUP_WORLD_SIZE") > 1:
        return store
    return dist.PrefixStore(f"start {_number('TORCHELASTIC_RESTART_COUNT')}", store)


def _choose_backend() -> str:
    """gloo on CPUs; with GPUs NCCL for what is there and gloo beside it. Takes this process's GPU."""
    import torch

    if not torch.cuda.is_available():
        return "gloo"
    if local_rank() >= torch.cuda.device_count():
        raise TrainingError(
            f"process {local_rank()} of this machine has no GPU: there are {torch.cuda.device_count()}.",
            remedies=[("Start one process for each", f"torchrun --nproc-per-node {torch.cuda.device_count()} …")],
        )
    torch.cuda.set_device(local_rank())
    return "cpu:gloo,cuda:nccl"


def _broken(error: RuntimeError) -> TrainingError:
    return TrainingError(
        f"process {rank()} of {count()} has lost the others: {str(error).strip().splitlines()[0][:200]}",
        instead="One of them has ended; what it says tells why. Nothing that is in a checkpoint is lost.",
        remedies=[("Let torchrun start them again by itself", "torchrun --max-restarts 3 …")],
    )
