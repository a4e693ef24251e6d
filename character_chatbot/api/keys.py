"""API keys: who may use the endpoint from elsewhere. The file holds their sums, never the keys themselves.

keys = KeyFile(settings.api.keys_file)
key = keys.add("tavern")            # shown once, kept nowhere
keys.name_of(key)                   # "tavern"; None for a key that is not there (any more)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from utils.errors import DataError
from utils.files import write_atomic

PREFIX = "sk-suite-"  # a scanner for leaked secrets, and a person, sees what it is
KEY_BYTES = 32  # random ones need no slow hash
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True)
class Entry:
    """One key: ``sha256`` of it in hexadecimal, ``created`` in UTC."""

    name: str
    sha256: str
    created: str


class KeyFile:
    """Keys in a JSON-lines file of sums. A change by another process counts at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._known: tuple[Entry, ...] = ()

    def entries(self) -> tuple[Entry, ...]:
        """All keys, oldest first. Raises DataError: the file is damaged."""
        try:
            stat = self._file.stat()
        except OSError:
            return ()
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._stamp:
            self._known, self._stamp = self._read(), stamp
        return self._known

    def add(self, name: str) -> str:
        """A new key under a name. Raises DataError: the name is taken, or is none."""
        if not NAME.fullmatch(name):
            raise DataError(f"{name!r} cannot be the name of a key.", instead="Letters, digits, '.', '_' and '-': 40.")
        if name in (entry.name for entry in self.entries()):
            raise DataError(
                f"there is a key '{name}' already.",
                remedies=[("End it first", f"python training_pipeline.py keys revoke {name}")],
            )
        key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
        self._write((*self.entries(), Entry(name, _sum(key), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))))
        return key

    def revoke(self, name: str) -> None:
        """End a key. Raises DataError: there is none of this name."""
        left = tuple(entry for entry in self.entries() if entry.name != name)
        if len(left) == len(self.entries()):
            there = ", ".join(entry.name for entry in left) or "none"
            raise DataError(f"there is no key '{name}'.", instead=f"There are: {there}.")
        self._write(left)

    def name_of(self, key: str) -> str | None:
        """Whose key it is; takes the same time for every wrong one."""
        given, found = _sum(key), None
        for entry in self.entries():
            if hmac.compare_digest(entry.sha256, given):
                found = entry.name
        return found

    def _read(self) -> tuple[Entry, ...]:
        entries = []
        for number, line in enumerate(self._file.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                entries.append(Entry(**{name: str(value) for name, value in json.loads(line).items()}))
            except (ValueError, TypeError, AttributeError):
                raise DataError(f"{self._file}:{number} is no key.", instead="Remove the line, or the file.") from None
        return tuple(entries)

    def _write(self, entries: tuple[Entry, ...]) -> None:
        write_atomic(self._file, "".join(json.dumps(asdict(entry)) + "\n" for entry in entries))
        self._stamp = None


def _sum(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()
