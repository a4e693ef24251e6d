"""Conversations as a whole: begin, list, rename, search, delete. Every query is by owner."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from character_chatbot.chats.clean import LONGEST_TITLE_CHARACTERS, clean_cast, clean_line
from character_chatbot.chats.database import Database
from character_chatbot.chats.records import CHARACTER, USER, Conversation, Found, UnknownConversation
from config import KeptChatSettings
from utils.errors import UsageError

DAY_SECONDS = 86_400.0
ID_BYTES = 16
LONGEST_OWNER_CHARACTERS = 200
MOST_FOUND = 50
EXCERPT_CHARACTERS = 60  # on each side of what was found
WORD = re.compile(r"\w+")


class Conversations(Database):
    """The part of the store that knows conversations, not their messages."""

    def __init__(self, file: Path | None, settings: KeptChatSettings | None = None) -> None:
        super().__init__(file)
        self.settings = settings or KeptChatSettings()

    def begin(
        self, owner: str, characters: Sequence[str], speaker: str, *, name: str = "", answered_by: str = ""
    ) -> Conversation:
        """A new conversation.

        Args:
            owner: an opaque id of a visitor, or the name of a user who has logged in.
            characters: one to four.
            speaker: the user's name in it.
            name: empty: the names of the characters.
            answered_by: label of the family and version that answers.

        Raises:
            UsageError: a name that cannot be, or the owner has as many as the settings allow.
        """
        cast, user = clean_cast(characters, speaker)
        title = clean_line(name or usual_name(cast), "the name of the conversation", 4 * LONGEST_TITLE_CHARACTERS)
        now = time.time()
        row = (new_id(), check_owner(owner), title[:LONGEST_TITLE_CHARACTERS], json.dumps(cast))
        with self.writing() as connection:
            self._make_room(connection, owner)
            connection.execute(
                "INSERT INTO conversations (id, owner, name, characters, speaker, answered_by, created, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, user, answered_by, now, now),
            )
            return self.get(owner, row[0])

    def get(self, owner: str, conversation: str) -> Conversation:
        """Raises UnknownConversation."""
        with self.reading() as connection:
            return read_conversation(self._row(connection, owner, conversation))

    def list_of(self, owner: str, limit: int = 1000) -> list[Conversation]:
        """All of an owner's, the last changed first."""
        with self.reading() as connection:
            rows = connection.execute(
                f"SELECT *, {COUNT} FROM conversations WHERE owner = ? ORDER BY updated DESC, id LIMIT ?",  # noqa: S608
                (owner, limit),
            ).fetchall()
        return [read_conversation(row) for row in rows]

    def rename(self, owner: str, conversation: str, name: str) -> Conversation:
        """Raises UnknownConversation; UsageError: the name is empty or too long."""
        title = clean_line(name, "the name of the conversation", LONGEST_TITLE_CHARACTERS)
        with self.writing() as connection:
            self._row(connection, owner, conversation)
            connection.execute("UPDATE conversations SET name = ? WHERE id = ?", (title, conversation))
            return self.get(owner, conversation)

    def change_cast(self, owner: str, conversation: str, characters: Sequence[str]) -> Conversation:
        """These take part from now on. What others have said stays theirs, and they may come back.

        A conversation that nobody has given a name goes by the names of those who take part.

        Raises:
            UnknownConversation.
            UsageError: none or more than four, or the user has spoken under one of their names.
        """
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            cast, _ = clean_cast(characters, row["speaker"])
            query = "SELECT DISTINCT role, speaker FROM messages WHERE conversation = ?"
            spoken = {(each["role"], each["speaker"]) for each in connection.execute(query, (conversation,))}
            if taken := next((name for name in cast if (USER, name) in spoken), None):
                raise UsageError(f"you have spoken as {taken} in this conversation: begin a new one.")
            known = dict.fromkeys([*json.loads(row["departed"]), *json.loads(row["characters"])])
            departed = [name for name in known if name not in cast and (CHARACTER, name) in spoken]
            name = row["name"]
            if name == usual_name(json.loads(row["characters"])):
                name = usual_name(cast)
            values = (json.dumps(cast), json.dumps(departed), name, conversation)
            connection.execute("UPDATE conversations SET characters = ?, departed = ?, name = ? WHERE id = ?", values)
            return self.get(owner, conversation)

    def delete(self, owner: str, conversation: str) -> None:
        """Delete it with all messages, ratings and votes. Raises UnknownConversation."""
        with self.writing() as connection:
            self._row(connection, owner, conversation)
            connection.execute("DELETE FROM conversations WHERE id = ?", (conversation,))
        self.sweep()

    def delete_all(self, owner: str) -> int:
        """Delete everything of an owner; how many conversations that were."""
        with self.writing() as connection:
            gone = connection.execute("DELETE FROM conversations WHERE owner = ?", (owner,)).rowcount
        self.sweep()
        return gone

    def delete_older(self, days: float) -> int:
        """Delete what nobody has changed for so many days, whoever owns it; how many conversations that were."""
        with self.writing() as connection:
            before = time.time() - days * DAY_SECONDS
            gone = connection.execute("DELETE FROM conversations WHERE updated < ?", (before,)).rowcount
        self.sweep()
        return gone

    def search(self, owner: str, text: str, limit: int = MOST_FOUND) -> list[Found]:
        """Where all words of ``text`` (or words that begin so) are said, or stand in a name; the last changed first.

        Any text is allowed: nothing in it is taken for the syntax of a query.
        """
        words = [word.casefold() for word in WORD.findall(text)][:20]
        needle = " ".join(text.split())[:100]
        if not needle:
            return []
        with self.reading() as connection:
            query, given = self._search_query(words, needle)
            rows = connection.execute(query, (owner, *given, limit)).fetchall()
        wanted = words or [needle.casefold()]
        named = [
            Found(each.id, each.name, None, each.name)
            for each in self.list_of(owner)
            if all(word in each.name.casefold() for word in wanted)
        ]
        said = [Found(row["id"], row["name"], row["message"], _excerpt(row["text"], wanted[0])) for row in rows]
        return [*named, *said][:limit]

    def owners(self) -> dict[str, int]:
        """Who has conversations, and how many: for whoever runs the server, never for the page."""
        with self.reading() as connection:
            rows = connection.execute("SELECT owner, count(*) AS n FROM conversations GROUP BY owner ORDER BY owner")
            return {row["owner"]: row["n"] for row in rows}

    def _search_query(self, words: Sequence[str], needle: str) -> tuple[str, tuple[str, ...]]:
        found = "SELECT c.id, c.name, m.id AS message, m.text FROM messages m JOIN conversations c"
        order = "ORDER BY c.updated DESC, m.id DESC LIMIT ?"
        if words and self._has_words:
            condition = "m.id IN (SELECT rowid FROM words WHERE words MATCH ?)"
            given: tuple[str, ...] = (" ".join(f'"{word}"*' for word in words),)  # quoted: no word is an operator
        else:
            given = tuple(f"%{_escape(word)}%" for word in words or [needle])
            condition = " AND ".join(["m.text LIKE ? ESCAPE '\\'"] * len(given))
        return f"{found} ON c.id = m.conversation WHERE c.owner = ? AND {condition} {order}", given

    def _row(self, connection: sqlite3.Connection, owner: str, conversation: str) -> sqlite3.Row:
        """The row of a conversation that is the owner's: all that reads or writes one begins here."""
        query = f"SELECT *, {COUNT} FROM conversations WHERE id = ? AND owner = ?"  # noqa: S608
        row: sqlite3.Row | None = connection.execute(query, (conversation, owner)).fetchone()
        if row is None:
            raise UnknownConversation(conversation)
        return row

    def _make_room(self, connection: sqlite3.Connection, owner: str) -> None:
        """Raises UsageError: the owner has too many. In memory the one unused for longest goes instead."""
        count = connection.execute("SELECT count(*) FROM conversations WHERE owner = ?", (owner,)).fetchone()[0]
        if count >= self.settings.conversations_per_owner:
            raise UsageError(
                f"{count:,} conversations are kept for you; the limit is {self.settings.conversations_per_owner:,}.",
                instead="Delete one that you no longer need.",
            )
        if self.file is None:
            connection.execute(
                "DELETE FROM conversations WHERE id IN"
                " (SELECT id FROM conversations ORDER BY updated DESC LIMIT -1 OFFSET ?)",
                (self.settings.conversations_in_memory - 1,),
            )


COUNT = (
    "(SELECT count(*) FROM messages WHERE messages.conversation = conversations.id) AS messages, "
    "(SELECT substr(text, 1, 200) FROM messages WHERE messages.id = conversations.leaf) AS last_words"
)


def read_conversation(row: sqlite3.Row) -> Conversation:
    """A row of conversations with the values of :data:`COUNT`."""
    return Conversation(
        row["id"], row["owner"], row["name"], tuple(json.loads(row["characters"])), row["speaker"], row["answered_by"],
        row["created"], row["updated"], row["leaf"], row["undone"] != "[]", row["messages"], json.loads(row["extra"]),
        tuple(json.loads(row["departed"])), " ".join((row["last_words"] or "").split()),
    )  # fmt: skip


def usual_name(cast: Sequence[str]) -> str:
    """The name of a conversation that was given none."""
    return ", ".join(cast)[:LONGEST_TITLE_CHARACTERS]


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(ID_BYTES)


def check_owner(owner: str) -> str:
    """``owner``. Raises UsageError: nobody, or a name that is no plain line."""
    if not owner or len(owner) > LONGEST_OWNER_CHARACTERS or not owner.isprintable():
        raise UsageError(f"{owner[:40]!r} cannot own a conversation.")
    return owner


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _excerpt(text: str, word: str) -> str:
    """What stands around the first place where ``word`` is said, as one line."""
    line = " ".join(text.split())
    at = max(0, line.casefold().find(word))
    start, end = max(0, at - EXCERPT_CHARACTERS), at + len(word) + EXCERPT_CHARACTERS
    return ("…" if start else "") + line[start:end] + ("…" if end < len(line) else "")
