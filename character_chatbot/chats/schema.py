"""The tables of the store, and how a file of an older version becomes one of this.

``PRAGMA user_version`` counts the migrations that a file has seen. Append to :data:`MIGRATIONS`, never change one.
"""

from __future__ import annotations

import logging
import sqlite3

from utils.errors import DataError

logger = logging.getLogger(__name__)

MIGRATIONS = (
    """
    CREATE TABLE conversations (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        characters TEXT NOT NULL,               -- JSON list
        speaker TEXT NOT NULL,
        answered_by TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL,
        updated REAL NOT NULL,
        leaf INTEGER,                           -- the last message shown
        undone TEXT NOT NULL DEFAULT '[]',      -- JSON list of leaves that were taken back, the last one last
        extra TEXT NOT NULL DEFAULT '{}'
    );
    CREATE INDEX conversations_by_owner ON conversations (owner, updated DESC);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never given twice
        conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        -- Not ON DELETE CASCADE: SQLite's triggers go no deeper than 1,000. The store deletes whole branches itself.
        parent INTEGER REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED,
        position INTEGER NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('user', 'character', 'note')),
        speaker TEXT NOT NULL,
        text TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('done', 'stopped', 'failed')),
        created REAL NOT NULL,
        engine TEXT NOT NULL DEFAULT '',
        evidence TEXT NOT NULL DEFAULT '[]',
        seed INTEGER,
        rating TEXT NOT NULL DEFAULT 'none' CHECK (rating IN ('up', 'down', 'none')),
        last_leaf INTEGER,                      -- where a reader left off below it
        extra TEXT NOT NULL DEFAULT '{}'
    );
    CREATE INDEX messages_by_conversation ON messages (conversation, parent, position);
    CREATE INDEX messages_by_parent ON messages (parent);
    CREATE TABLE comparisons (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        message INTEGER REFERENCES messages (id) ON DELETE CASCADE,
        speaker TEXT NOT NULL,
        context TEXT NOT NULL,                  -- JSON list of [speaker, text]
        left_text TEXT NOT NULL,
        left_source TEXT NOT NULL,
        right_text TEXT NOT NULL,
        right_source TEXT NOT NULL,
        vote TEXT NOT NULL CHECK (vote IN ('left', 'right', 'tie', 'both_bad')),
        created REAL NOT NULL
    );
    CREATE INDEX comparisons_by_conversation ON comparisons (conversation);
    CREATE INDEX comparisons_by_message ON comparisons (message);
    """,
    """
    -- JSON list of characters who take part no more and have spoken: their messages stay.
    ALTER TABLE conversations ADD COLUMN departed TEXT NOT NULL DEFAULT '[]';
    """,
)

# An external-content table of FTS5 and the triggers that keep it in step (sqlite.org/fts5.html, section 4.4.3).
SEARCH = """
    CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
        text, content = 'messages', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER words_added AFTER INSERT ON messages BEGIN
        INSERT INTO words (rowid, text) VALUES (new.id, new.text);
    END;
    CREATE TRIGGER words_removed AFTER DELETE ON messages BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    END;
    CREATE TRIGGER words_changed AFTER UPDATE OF text ON messages BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
        INSERT INTO words (rowid, text) VALUES (new.id, new.text);
    END;
    INSERT INTO words (words) VALUES ('rebuild');
"""
TRIGGERS = ("words_added", "words_removed", "words_changed")


def migrate(connection: sqlite3.Connection, where: str) -> None:
    """Bring a file up to this version; several processes may try at once.

    Raises:
        DataError: a newer version of this program has written it.
    """
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # again: another process may have been faster
        if version > len(MIGRATIONS):
            raise DataError(
                f"{where} has schema {version}, and this program knows {len(MIGRATIONS)}: a newer one has written it.",
                remedies=[("Use another file", "STRANGER_CHATS__FILE=runs/other.sqlite")],
            )
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            _run(connection, statements)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
        if version:  # a new file is nothing to tell
            logger.info("%s was written by an older program: schema %d instead of %d", where, len(MIGRATIONS), version)
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def set_up_search(connection: sqlite3.Connection) -> bool:
    """Make the index of words, or take its triggers away where this SQLite has no FTS5; whether it is there."""
    present = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    if has_fts5(connection):
        if not present.issuperset(TRIGGERS):
            connection.execute("BEGIN IMMEDIATE")
            _drop_triggers(connection)
            _run(connection, SEARCH)
            connection.execute("COMMIT")
        return True
    logger.info("this SQLite has no FTS5: conversations are searched text by text, which is slower")
    _drop_triggers(connection)  # they would fail at each message
    return False


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this build of SQLite has FTS5."""
    return ("ENABLE_FTS5",) in {tuple(row) for row in connection.execute("PRAGMA compile_options")}


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _drop_triggers(connection: sqlite3.Connection) -> None:
    for name in TRIGGERS:
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")


def _run(connection: sqlite3.Connection, statements: str) -> None:
    """Like ``executescript``, which would commit first."""
    statement = ""
    for line in statements.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
