"""How much memory this process can have: of the machine, of the container it runs in, or of the GPU.

free = available_bytes("cpu")      # in all: what the process has already is part of it
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from character_chatbot.training import processes

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
NO_LIMIT = 2**60  # cgroup v1 writes a number near 2^63 where there is no limit
M_MMAP_THRESHOLD = -3  # of glibc's mallopt(3)
M_ARENA_MAX = -8
LARGE_BLOCK = 2**20


def available_bytes(kind: str) -> int | None:
    """Bytes that a process can take on this device, with those it has; None where the system does not say.

    Processes that train together share what a machine has; each has a GPU of its own.

    On a GPU this makes the CUDA context, which then no longer counts: ``torch.cuda.mem_get_info`` gives what is left.
    """
    if kind == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return int(free)
    return available_host_bytes(processes.local_count())


def available_host_bytes(sharers: int = 1, proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """The least of what the machine and each control group above this process can give, in ``sharers`` equal parts.

    Linux: ``MemAvailable`` of proc_meminfo(5); ``memory.max`` and ``memory.current`` of cgroup v2, or
    ``memory.limit_in_bytes`` and ``memory.usage_in_bytes`` of v1, without file pages that the kernel can drop
    (``inactive_file`` in ``memory.stat``), as Kubernetes counts its working set.
    """
    left = [_meminfo(proc / "meminfo"), *(_left_in_group(folder) for folder in _groups(proc, cgroups))]
    known = [each for each in left if each is not None]
    return min(known) // sharers + own_bytes(proc) if known else None


def free_host_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """As :func:`available_host_bytes`, but beside what this process has already."""
    available = available_host_bytes(1, proc, cgroups)
    return None if available is None else max(0, available - own_bytes(proc))


def hand_back_freed_memory(block: int = LARGE_BLOCK) -> bool:
    """Let this process give each freed block of this size or more back to the system at once; whether it can.

    glibc raises its limit for that up to 32 MiB as blocks are freed (mallopt(3), M_MMAP_THRESHOLD). With activation
    checkpointing large blocks are freed between small ones that stay, and what is between is lost: half of the memory
    of a step. Blocks that come anew from the system cost time: benchmarks/memory.py. For good; other systems' and
    musl's allocators have no such setting.
    """
    done = _tell_allocator(M_MMAP_THRESHOLD, block)
    if done:
        ctypes.CDLL(None).malloc_trim(0)
    return done


def share_one_heap() -> bool:
    """Let all threads of this process, which has one so far, take memory from one heap; whether it can.

    glibc gives threads heaps of their own, eight for each core (mallopt(3), M_ARENA_MAX), and what is freed in one is
    of no use to another: a page that many visit took 10 MB more and grew for longer. For good.
    """
    return _tell_allocator(M_ARENA_MAX, 1)


def _tell_allocator(what: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).mallopt(what, value))
    except (OSError, AttributeError, TypeError):
        return False


def _groups(proc: Path, cgroups: Path) -> list[Path]:
    """The memory control group of this process and all above it; in a container its own is the root."""
    folders: list[Path] = []
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        inside = Path(path.lstrip("/"))
        folders += [root / each for each in (inside, *inside.parents)]
    return folders


def _left_in_group(folder: Path) -> int | None:
    limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
    if limit is None or used is None or limit >= NO_LIMIT:
        return None
    stat = dict(line.split() for line in _read(folder / "memory.stat").splitlines() if len(line.split()) == 2)
    droppable = int(stat.get("total_inactive_file", stat.get("inactive_file", "0")))
    return max(0, limit - max(0, used - droppable))


def _meminfo(file: Path) -> int | None:
    for line in _read(file).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def own_bytes(proc: Path = PROC, pid: int | str = "self") -> int:
    """What a process has of its own; mapped files belong to everybody. 0: the system does not say."""
    for line in _read(proc / str(pid) / "status").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def _number(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.isdigit() else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
