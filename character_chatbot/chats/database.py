"""The file behind the store: one connection, one lock, whole transactions.

Write-ahead log with ``synchronous=NORMAL``: what was committed survives a killed process; after a power cut the file is
whole, and the last moments may be missing (sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from character_chatbot.chats.schema import migrate, set_up_search
from utils.errors import DataError, StoreError
from utils.files import disk_errors

logger = logging.getLogger(__name__)

OWN_RIGHTS = 0o600  # SQLite gives its log files the rights of the database
BUSY_SECONDS = 30.0  # how long to wait for another process
CACHE_KIB = 512  # of the file's pages; the system keeps the others, and this process need not grow with the file


class Database:
    """A connection that several threads share, one at a time. ``file`` None: in memory, gone when it is closed."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._lock = threading.RLock()
        with _sentences(self.where):
            self._connection = _connect(file)
            try:
                _configure(self._connection)
                migrate(self._connection, self.where)
                self._has_words = set_up_search(self._connection)
            except BaseException:
                self._connection.close()
                raise

    @property
    def where(self) -> str:
        """For people: the file, or the memory."""
        return str(self.file) if self.file else "the memory"

    def close(self) -> None:
        """Close the file; twice is fine."""
        with self._lock:
            self._connection.close()

    def sweep(self) -> None:
        """Remove what was deleted from the index of words and from the log as well, so that the file has it nowhere."""
        if self._has_words:
            with self.writing() as connection:
                connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        with self._lock, _sentences(self.where):
            if not self._connection.in_transaction:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Several queries that see the same state. Raises DataError, StoreError."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All of it is kept at the end of the block, or nothing if it raises. Raises DataError, StoreError."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, _sentences(self.where):
            if self._connection.in_transaction:  # within another block of this thread
                yield self._connection
                return
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has already rolled back
                    self._connection.execute("ROLLBACK")
                raise


def _connect(file: Path | None) -> sqlite3.Connection:
    connect = functools.partial(sqlite3.connect, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
    if file is None:
        return connect(":memory:")
    with disk_errors(file, "opened"):
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, OWN_RIGHTS))
        if file.stat().st_mode & 0o077:
            file.chmod(OWN_RIGHTS)
            logger.info("%s: only its owner can read it from now on", file)
    return connect(file)


def _configure(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, not only unlinked


@contextlib.contextmanager
def _sentences(where: str) -> Iterator[None]:
    """Turn what SQLite says no to into a sentence. A fault of the program stays what it is."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text:
            raise StoreError(f"{where} is used by another program for more than {BUSY_SECONDS:.0f} s.") from error
        if "full" in text or "readonly" in text or "disk I/O" in text or "unable to open" in text:
            raise StoreError(f"{where} cannot be written: {text}.", remedies=[("Make room", "df -h .")]) from error
        raise
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError):
            raise
        raise DataError(
            f"{where} cannot be read: {error}.",
            instead="It is no store of conversations, or it is damaged.",
            remedies=[("Move it away", f"mv {where} {where}.damaged")],
        ) from error
