"""Files: written whole or not at all, named safely, and listed with their sums.

    with replacing(path) as file:   # path is the old file or the new one, never half of it
        file.write(content)

A published folder holds data only: weights as safetensors and text. ``scan_folder`` refuses the rest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from utils.errors import DataError, RegistryError, StoreError

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"  # how the name of a file that is still being written starts
LOCK = ".lock"
HASHED_BYTES = 1024 * 1024  # at a time
LONGEST_KEY_BYTES = 1024  # of S3
LONGEST_NAME_BYTES = 255  # of most file systems
PUBLISHED_SUFFIXES = {".jinja", ".json", ".jsonl", ".md", ".model", ".png", ".safetensors", ".tiktoken", ".txt"}
PICKLE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
REQUIRED_FILES = ("adapter_config.json", "adapter_model.safetensors")
JSON_OBJECTS = ("adapter_config.json", "metrics.json", "run.json")
LONGEST_HEADER_BYTES = 100_000_000  # the limit of the safetensors format


def check_key(key: str) -> str:
    """The key itself, if it is safe below any folder or bucket.

    Raises:
        DataError: it is absolute, empty, too long, not text, or has a part that is empty, ``.``, ``..`` or reserved.
    """
    if reason := _key_fault(key):
        raise DataError(
            f"{key!r} cannot be the name of an object: {reason}.",
            instead="A name looks like models/trained/llama/latest.json.",
        )
    return key


def _key_fault(key: str) -> str:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "it is not text"
    if not 0 < length <= LONGEST_KEY_BYTES:
        return f"it has {length} bytes, and 1 to {LONGEST_KEY_BYTES} are allowed"
    if "\\" in key or any(ord(character) < 32 or ord(character) == 127 for character in key):
        return "it holds a backslash or a control character"
    return next((fault for part in key.split("/") if (fault := _part_fault(part))), "")


def _part_fault(part: str) -> str:
    if part in ("", ".", ".."):
        return f"the part {part!r} leads elsewhere"
    if is_reserved(part):
        return f"names such as {part!r} are kept for files that are being written"
    return "one of its parts is too long" if len(part.encode()) > LONGEST_NAME_BYTES else ""


def is_reserved(name: str) -> bool:
    """Whether a file name belongs to a lock or to a file that is still being written."""
    return name.startswith(TEMPORARY) or name == LOCK


@contextmanager
def replacing(path: Path, lock: AbstractContextManager[None] | None = None) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` at the end, or vanishes if the block raises.

    Args:
        path: its folder is made if need be.
        lock: held only while the new file takes the old one's place.

    Raises:
        OSError: the disk says no.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY + secrets.token_hex(8))
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with lock or nullcontext():
            temporary.replace(path)
    finally:
        with suppress(OSError):  # gone where all went well
            temporary.unlink()
    _sync_folder(path.parent)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file, whole or not at all; text as UTF-8. Raises OSError."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` against other threads and processes; waits for it. Raises OSError."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, where a store can be read
        raise OSError(errno.ENOTSUP, "locks need Linux or macOS") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go by closing the file
        yield


def sha256_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The sha256 of a file's content, as 64 hex digits; ``on_bytes`` hears how many more are read. Raises OSError."""
    found, piece = hashlib.sha256(), memoryview(bytearray(HASHED_BYTES))
    with path.open("rb", buffering=0) as file:
        while size_bytes := file.readinto(piece):
            found.update(piece[:size_bytes])
            if on_bytes:
                on_bytes(size_bytes)
    return found.hexdigest()


@contextmanager
def disk_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn what the disk says no to into a sentence: ``path cannot be <doing>: the disk is full.``

    Raises:
        StoreError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why, remedy = "the disk is full", ("Make room", f"df -h {path.anchor or '.'}")
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why, remedy = "the rights do not allow it", ("See whose it is", f"ls -ld {path} {path.parent}")
        else:
            why, remedy = (error.strerror or str(error)).lower(), ("See what is there", f"ls -la {path.parent}")
        raise StoreError(f"{path} cannot be {doing}: {why}.", remedies=[remedy]) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def scan_folder(folder: Path) -> dict[str, Path]:
    """The files of an adapter's folder that may be published, by name; an old manifest.json is left out.

    Raises:
        RegistryError: nothing there, the adapter's files are missing, or a file is a link, a pickle, a program,
            a broken safetensors or of a kind that is not published.
        StoreError: the disk says no.
    """
    if not folder.is_dir():
        raise RegistryError(f"there is no folder {folder} to publish.")
    with disk_errors(folder, "read"):
        files = {name: file for name, file in sorted(_walk(folder)) if name != MANIFEST}
        _check_complete(folder, files)
        for name, file in files.items():
            _check_file(name, file)
    return files


def _check_complete(folder: Path, files: dict[str, Path]) -> None:
    missing = [name for name in REQUIRED_FILES if name not in files]
    if missing:
        raise RegistryError(
            f"{folder} is not an adapter: it has no {' and no '.join(missing)}.",
            remedies=[("Train one", "python training_pipeline.py train FAMILY")],
        )


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder, with its name in it; a link is refused before anything follows it."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        for file in (Path(root) / name for name in folders + names):
            if file.is_symlink():
                raise RegistryError(f"{file} is a link, and only plain files are published.")
        yield from ((file.relative_to(folder).as_posix(), file) for file in (Path(root) / name for name in names))


def _raise(error: OSError) -> None:
    raise error


def _check_file(name: str, file: Path) -> None:
    check_key(name)
    if not file.is_file():
        raise RegistryError(f"{file} is not a plain file, and only those are published.")
    if fault := kind_fault(name):
        raise RegistryError(f"{file} is not published: {fault}.", remedies=[("Move it away", f"mv {file} /tmp/")])
    fault = _weights_fault(file) if file.suffix == ".safetensors" else _content_fault(name, file)
    if fault:
        raise RegistryError(f"{file} is not published: {fault}.")


def kind_fault(name: str) -> str:
    """Why a file of this name is neither published nor fetched; empty if it may be."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        return f"a {suffix} file can run code when it is loaded; weights are kept as .safetensors"
    if suffix not in PUBLISHED_SUFFIXES:
        return f"only {' '.join(sorted(PUBLISHED_SUFFIXES))} files are"
    return ""


def _content_fault(name: str, file: Path) -> str:
    with file.open("rb") as opened:
        if looks := _looks_like(opened.read(4)):
            return f"its content is {looks}"
    if name in JSON_OBJECTS:
        with suppress(ValueError, RecursionError):
            if isinstance(json.loads(file.read_bytes()), dict):
                return ""
        return "it is not a JSON object"
    return ""


def _weights_fault(file: Path) -> str:
    """Why a file is no safetensors: 8 bytes of length, a JSON header of that length, the numbers it speaks of.

    The header is read before the first bytes are taken for a pickle's, because the length 1152 starts like one.
    """
    size_bytes = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(LONGEST_HEADER_BYTES, size_bytes - 8):
            return f"its content is {_looks_like(start) or 'no safetensors'}"
        header = opened.read(length)
    try:
        ends = [_end_of(tensor) for name, tensor in json.loads(header).items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"its content is {_looks_like(start) or 'no safetensors'}"
    held = size_bytes - 8 - length
    return "" if max(ends, default=0) == held else f"it holds {held} bytes of weights, and its header says otherwise"


def _end_of(tensor: dict[str, list[int]]) -> int:
    start, end = tensor["data_offsets"]
    if not 0 <= start <= end or not isinstance(tensor["dtype"], str):
        raise ValueError(tensor)
    return end


def _looks_like(start: bytes) -> str:
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "a zip, as torch.save makes it"
    return "a pickle" if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") else ""
