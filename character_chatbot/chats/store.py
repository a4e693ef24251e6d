"""The store of conversations: SQLite, owner by owner, safe for several threads and for a process that is killed.

store = ChatStore(Path("runs/chats.sqlite"))                   # None: in memory
talk = store.begin("visitor-1", ["Pip"], "Visitor")
asked = store.say("visitor-1", talk.id, "Who are you?")
store.reply("visitor-1", talk.id, "Pip", "A lamp.", how=Written(engine="llama 20261121-101500"), to=asked.id)
store.turns("visitor-1", talk.id)                              # for build_messages
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from character_chatbot.chats.clean import LONGEST_TITLE_CHARACTERS, clean_cast, clean_departed, clean_json, clean_line
from character_chatbot.chats.comparisons import Comparisons, insert_comparison
from character_chatbot.chats.conversations import check_owner, new_id
from character_chatbot.chats.message_rows import Written, read_messages, read_tree
from character_chatbot.chats.records import Conversation
from character_chatbot.chats.whole import WholeConversation, WholeMessage
from config import KeptChatSettings

logger = logging.getLogger(__name__)

__all__ = ["ChatStore", "Written", "describe_storage", "open_chat_store"]


class ChatStore(Comparisons):
    """All of the store. ``file`` None: in memory, and gone with the process.

    Raises:
        DataError: the file is no store, damaged, or a newer version has written it.
        StoreError: the file cannot be opened or written.
    """

    def read_whole(self, owner: str, conversation: str) -> WholeConversation:
        """A conversation with all its branches, for a file. Raises UnknownConversation."""
        with self.reading() as connection:
            row, head = self._row(connection, owner, conversation), self.get(owner, conversation)
            tree = read_tree(connection, conversation)
            ids = sorted(id for first in tree.children(None) for id in tree.subtree(first))  # parents first
            place = {id: number for number, id in enumerate(ids)}
            left_off = _left_off(connection, conversation)
            messages = tuple(
                WholeMessage(
                    replace(each, id=place[each.id], parent=place.get(each.parent or 0)),
                    place.get(left_off.get(each.id, 0)),
                )
                for each in read_messages(connection, conversation, tree, ids)
            )
            votes = tuple(
                replace(vote, message=place.get(vote.message or 0)) for vote in self.comparisons(owner, conversation)
            )
        undone = tuple(place[id] for id in json.loads(row["undone"]) if id in place)
        return WholeConversation(
            head.name, head.characters, head.speaker, head.created, head.updated, messages,
            place.get(head.leaf or 0), undone, votes, head.answered_by, head.extra, head.departed,
        )  # fmt: skip

    def write_whole(self, owner: str, whole: WholeConversation) -> Conversation:
        """A new conversation like this one, all of it or nothing.

        Raises:
            UsageError: something in it cannot be kept, or it has too many messages.
        """
        cast, user = clean_cast(whole.characters, whole.speaker)
        name = clean_line(whole.name, "the name of the conversation", LONGEST_TITLE_CHARACTERS)
        with self.writing() as connection:
            self._check_count(len(whole.messages))
            self._make_room(connection, check_owner(owner))
            id = new_id()
            departed = json.dumps(clean_departed(whole.departed, cast))
            values = (id, owner, name, json.dumps(cast), departed, user, whole.created, whole.updated)
            connection.execute(
                "INSERT INTO conversations (id, owner, name, characters, departed, speaker, created, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            ids = self._write_messages(connection, self._row(connection, owner, id), whole.messages)
            for vote in whole.comparisons:
                place = None if vote.message is None else ids[vote.message]
                insert_comparison(connection, id, replace(vote, message=place))
            connection.execute(
                "UPDATE conversations SET leaf = ?, undone = ?, answered_by = ?, updated = ?, extra = ? WHERE id = ?",
                (
                    None if whole.leaf is None else ids[whole.leaf], json.dumps([ids[each] for each in whole.undone]),
                    whole.answered_by, whole.updated, json.dumps(clean_json(dict(whole.extra))), id,
                ),
            )  # fmt: skip
            return self.get(owner, id)

    def _write_messages(
        self, connection: sqlite3.Connection, row: sqlite3.Row, messages: Sequence[WholeMessage]
    ) -> list[int]:
        """Store messages; the ids they got, in the same order."""
        ids: list[int] = []
        for each in messages:
            parent = None if each.message.parent is None else ids[each.message.parent]
            ids.append(self._insert(connection, row, replace(each.message, parent=parent)))
        left_off = [
            (ids[each.last_leaf], id) for id, each in zip(ids, messages, strict=True) if each.last_leaf is not None
        ]
        connection.executemany("UPDATE messages SET last_leaf = ? WHERE id = ?", left_off)
        return ids


def open_chat_store(settings: KeptChatSettings, logged_in: bool) -> ChatStore:
    """The store of the one owner, or the one for visitors of a page behind a password; old conversations are removed.

    Raises:
        DataError, StoreError: see :class:`ChatStore`.
    """
    if not is_kept(settings, logged_in):
        return ChatStore(None, settings)
    store = ChatStore(settings.file.expanduser(), settings)
    if settings.retention_days:
        gone = store.delete_older(settings.retention_days)
        logger.info("%s: %d conversations older than %g days deleted", store.where, gone, settings.retention_days)
    return store


def is_kept(settings: KeptChatSettings, logged_in: bool) -> bool:
    """Whether conversations go into a file."""
    return settings.keep and (logged_in or settings.keep_visitors)


def describe_storage(settings: KeptChatSettings, logged_in: bool) -> str:
    """One or two sentences for the page: what is kept, where, for how long, and how to be rid of it."""
    if not is_kept(settings, logged_in):
        return "Your conversations are only in this server's memory, and are gone when it stops or you delete them."
    days = settings.retention_days
    how_long = f"until {days:g} days after their last change" if days else "until you delete them"
    return (
        f"Your conversations, with names, messages, ratings and votes, are kept on this server in {settings.file} "
        f"{how_long}; who runs the server can read them. Deleting removes them from that file."
    )


def _left_off(connection: sqlite3.Connection, conversation: str) -> dict[int, int]:
    query = "SELECT id, last_leaf FROM messages WHERE conversation = ? AND last_leaf IS NOT NULL"
    return {row["id"]: row["last_leaf"] for row in connection.execute(query, (conversation,))}
