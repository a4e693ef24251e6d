"""What a version is: its name, its files and their sums, its place in the store, its history. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from utils.errors import RegistryError
from utils.files import MANIFEST, check_key, kind_fault

ROOT = "models/trained"
FAMILY = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
VERSION = re.compile(r"[0-9]{8}-[0-9]{6}")
VERSION_FORMAT = "%Y%m%d-%H%M%S"  # UTC
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileSum:
    """What a manifest says of one file."""

    sha256: str  # 64 hex digits
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """The files of a version, and the bytes of the manifest itself."""

    files: dict[str, FileSum]
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Version:
    """A version that has a manifest."""

    family: str
    version: str
    size_bytes: int  # of all files but the manifest
    files: int
    is_latest: bool

    @property
    def created(self) -> datetime:
        """When it was published, UTC; the name says so."""
        return datetime.strptime(self.version, VERSION_FORMAT).replace(tzinfo=UTC)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"created": self.created.isoformat()}


@dataclass(frozen=True)
class Event:
    """A line of the history. ``latest`` stayed where it was if ``moved_from`` and ``moved_to`` are the same."""

    at: str  # ISO 8601, UTC
    event: str  # publish, promote or rollback
    version: str
    moved_from: str | None
    moved_to: str | None
    actor: str
    reason: str

    def to_dict(self) -> dict[str, str | None]:
        """The keys of history.jsonl: at, event, version, from, to, actor, reason."""
        return {{"moved_from": "from", "moved_to": "to"}.get(key, key): value for key, value in asdict(self).items()}

    @classmethod
    def from_line(cls, line: str) -> Event:
        """Read a line. Raises KeyError, TypeError, ValueError if it is damaged."""
        content = json.loads(line)
        names = {name: None if content[name] is None else check_version(content[name]) for name in ("from", "to")}
        texts = {name: str(content[name]) for name in ("at", "event", "version", "actor", "reason")}
        return cls(moved_from=names["from"], moved_to=names["to"], **texts)


@dataclass(frozen=True)
class Unfinished:
    """A version that was begun and has no manifest: a publish under way, or one that was stopped."""

    family: str
    version: str
    size_bytes: int
    actor: str  # empty if the claim cannot be read
    started: datetime  # UTC


def check_family(family: str) -> str:
    """The family itself, if it can be part of a key. Raises RegistryError."""
    if not FAMILY.fullmatch(family):
        raise RegistryError(f"{family!r} is not a family.", instead="A family is a small word such as llama or qwen.")
    return family


def check_version(version: Any) -> str:
    """The version itself, if it is a UTC time as ``YYYYMMDD-HHMMSS``. Raises RegistryError."""
    with suppress(ValueError):
        if isinstance(version, str) and VERSION.fullmatch(version):
            datetime.strptime(version, VERSION_FORMAT)
            return version
    raise RegistryError(f"{version!r} is not a version.", instead="A version looks like 20261121-074545.")


def build_manifest(family: str, version: str, created: str, sums: dict[str, FileSum]) -> Manifest:
    """The manifest of these files; ``created`` is a time in ISO 8601."""
    files = {name: asdict(file) for name, file in sorted(sums.items())}
    return Manifest(sums, to_json({"family": family, "version": version, "created": created, "files": files}))


def parse_manifest(content: bytes, family: str, version: str) -> Manifest:
    """Read a manifest that somebody else may have written.

    Raises:
        DataError, KeyError, TypeError, ValueError, AttributeError, RecursionError: it is damaged, belongs to another
            version, or names a file that leads elsewhere or is of a kind that is not loaded.
    """
    loaded = json.loads(content)
    if (loaded["family"], loaded["version"]) != (family, version):
        raise ValueError(f"it belongs to {loaded['version']} of {loaded['family']}")
    return Manifest({check_key(name): _file_sum(name, file) for name, file in loaded["files"].items()}, content)


def served_before(events: list[Event], present: str | None) -> list[str]:
    """The versions that a rollback from ``present`` can go to, the last one first choice.

    A stack: publish and promote put a version on it, rollback takes off what it left. Lines that a crash kept from
    being written show in the ``from`` of the next.
    """
    stack: list[str] = []
    for event in events:
        if event.moved_to is None or event.moved_to == event.moved_from:
            continue
        if event.event == "rollback":
            stack = _cut(stack, event.moved_from)
        elif event.moved_from:
            _push(stack, event.moved_from)
        _push(stack, event.moved_to)
    return _cut(stack, present)


def _push(stack: list[str], version: str) -> None:
    if stack[-1:] != [version]:
        stack.append(version)


def _cut(stack: list[str], version: str | None) -> list[str]:
    """What lies below the last ``version`` in the stack; all of it if it is not there."""
    return stack[: len(stack) - 1 - stack[::-1].index(version)] if version in stack else stack


def _file_sum(name: str, file: dict[str, Any]) -> FileSum:
    size_bytes, sha256 = file["size_bytes"], file["sha256"]
    if name == MANIFEST or kind_fault(name):
        raise ValueError(f"{name}: {kind_fault(name) or 'a manifest does not name itself'}")
    if not isinstance(size_bytes, int) or size_bytes < 0 or not SHA256.fullmatch(sha256):
        raise ValueError(f"the sha256 or size of {name}")
    return FileSum(sha256, size_bytes)


def split_key(key: str) -> tuple[str, str, str]:
    """Family, version and file name of a key; without a name for a claim, all empty for what is neither."""
    parts = key.removeprefix(f"{ROOT}/").split("/", 2)
    if len(parts) == 3 and FAMILY.fullmatch(parts[0]):
        family, version, name = parts
        if version == "claims":
            version, name = name.removesuffix(".json"), ""
        with suppress(RegistryError):
            return family, check_version(version), name
    return "", "", ""


def is_about(event: Event, version: str) -> bool:
    return version in (event.version, event.moved_from, event.moved_to)


def append_line(content: bytes, line: bytes) -> bytes:
    return content + (b"" if not content or content.endswith(b"\n") else b"\n") + line


def version_key(family: str, *parts: str) -> str:
    return "/".join((ROOT, family, *parts))


def claim_key(family: str, version: str) -> str:
    return version_key(family, "claims", f"{version}.json")


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def to_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"
