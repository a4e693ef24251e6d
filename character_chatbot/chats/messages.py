"""Messages as a tree: say, reply, swipe, edit, continue, take back, branch, delete.

The conversation has one leaf: the way from the first message to it is what is shown. Nothing here forgets a branch
except :meth:`Messages.delete_message`; a reader who comes back to one is where they left it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace

from character_chatbot.chats.clean import LONGEST_TITLE_CHARACTERS, clean_json
from character_chatbot.chats.conversations import Conversations
from character_chatbot.chats.message_rows import (
    WRITTEN,
    Written,
    checked_text,
    columns,
    compose,
    follows,
    join,
    known,
    read_message,
    read_messages,
    read_tree,
)
from character_chatbot.chats.records import (
    CHARACTER,
    RATINGS,
    STATES,
    USER,
    Conversation,
    Message,
    one_of,
    turns,
)
from character_chatbot.prompts import Turn
from utils.errors import UsageError

MOST_UNDONE = 100


class Messages(Conversations):
    """The part of the store that knows messages. Each act is kept, or refused, as a whole.

    All methods raise UnknownConversation, UnknownMessage, and UsageError for what cannot be kept.
    """

    def path(self, owner: str, conversation: str, until: int | None = None) -> list[Message]:
        """The messages that are shown, first to last; ``until``: the way to that message instead."""
        with self.reading() as connection:
            row = self._row(connection, owner, conversation)
            tree = read_tree(connection, conversation)
            leaf = row["leaf"] if until is None else known(tree, until)
            return read_messages(connection, conversation, tree, tree.path(leaf))

    def turns(self, owner: str, conversation: str, until: int | None = None) -> list[Turn]:
        """The path as turns, for ``build_messages`` of character_chatbot.prompts."""
        return turns(self.path(owner, conversation, until))

    def message(self, owner: str, conversation: str, message: int) -> Message:
        """One message, on whatever branch."""
        with self.reading() as connection:
            self._row(connection, owner, conversation)
            return read_message(connection, conversation, message)

    def say(self, owner: str, conversation: str, text: str, speaker: str = "") -> Message:
        """What the user says next, after all that is shown."""
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            id = self._insert(connection, row, compose(row["leaf"], USER, speaker or row["speaker"], text))
            self._show(connection, row, id)
            return self.message(owner, conversation, id)

    def reply(
        self, owner: str, conversation: str, speaker: str, text: str, *, how: Written | None = None,
        to: int | None = None,
    ) -> Message:  # fmt: skip
        """What a character has replied.

        Args:
            to: the message it replies to, as it was when the reply began; None: the last one shown. Where the user has
                moved on meanwhile the reply is kept on its own branch, and what is shown stays.
        """
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            before = row["leaf"] if to is None else read_message(connection, conversation, to).id
            id = self._insert(connection, row, compose(before, CHARACTER, speaker, text, how))
            if before == row["leaf"]:
                self._show(connection, row, id)
            return self.message(owner, conversation, id)

    def reply_again(
        self, owner: str, conversation: str, message: int, text: str, *, how: Written | None = None
    ) -> Message:
        """Another reply beside ``message``, which stays as an alternative; shown if that one is."""
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            beside = read_message(connection, conversation, message)
            if beside.role == USER:
                raise UsageError("that is the user's own message: edit it, or reply to it.")
            tree = read_tree(connection, conversation)
            id = self._insert(connection, row, compose(beside.parent, beside.role, beside.speaker, text, how))
            if message in tree.path(row["leaf"]):
                self._show(connection, row, id)
            return self.message(owner, conversation, id)

    def swipe(self, owner: str, conversation: str, message: int, step: int) -> list[Message]:
        """Show the alternative to the right (1) or left (-1) of ``message``, and what followed it; the new path."""
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            tree = read_tree(connection, conversation)
            chosen = tree.neighbour(known(tree, message), step)
            if chosen != message:
                self._show(connection, row, tree.deepest(chosen))
            return self.path(owner, conversation)

    def show(self, owner: str, conversation: str, message: int) -> list[Message]:
        """Show the branch on which ``message`` is, down to where one left off; the new path."""
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            tree = read_tree(connection, conversation)
            self._show(connection, row, tree.deepest(known(tree, message)))
            return self.path(owner, conversation)

    def edit(self, owner: str, conversation: str, message: int, text: str) -> Message:
        """The message in other words, as a sibling from which the conversation goes on; the old branch stays."""
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            old = read_message(connection, conversation, message)
            id = self._insert(
                connection, row, compose(old.parent, old.role, old.speaker, text, Written(engine=old.engine))
            )
            self._show(connection, row, id)
            return self.message(owner, conversation, id)

    def continue_reply(
        self, owner: str, conversation: str, message: int, more: str, *, how: Written | None = None
    ) -> Message:
        """The same message with ``more`` at its end, as the engine went on; its rating stays."""
        written = how or Written()
        with self.writing() as connection:
            self._row(connection, owner, conversation)
            old = self.message(owner, conversation, message)
            if old.role == USER:
                raise UsageError("only a reply can be continued.")
            text = checked_text(join(old.text, more), written.state)
            new = [each for each in clean_json(list(written.evidence)) if each not in old.evidence]
            evidence = json.dumps([*old.evidence, *new])
            connection.execute(
                "UPDATE messages SET text = ?, state = ?, evidence = ? WHERE id = ?",
                (text, one_of(written.state, STATES, "the state"), evidence, message),
            )
            self._touch(connection, conversation, written.engine)
            return self.message(owner, conversation, message)

    def undo(self, owner: str, conversation: str) -> str:
        """Take back all from the user's last message on; what they had said in it, empty if there is nothing."""
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            last = next((each for each in reversed(self.path(owner, conversation)) if each.role == USER), None)
            if last is None:
                return ""
            undone = [*json.loads(row["undone"]), row["leaf"]][-MOST_UNDONE:]
            self._show(connection, row, last.parent, undone)
            return last.text

    def redo(self, owner: str, conversation: str) -> list[Message]:
        """Show what was taken back last, if nothing was said or chosen since; the new path."""
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            undone = json.loads(row["undone"])
            tree = read_tree(connection, conversation)
            while undone:
                leaf = undone.pop()
                if leaf in tree:
                    self._show(connection, row, leaf, undone)
                    break
            return self.path(owner, conversation)

    def branch(self, owner: str, conversation: str, message: int, name: str = "") -> Conversation:
        """A new conversation that begins with the way to ``message``."""
        with self.writing() as connection:
            old = self.get(owner, conversation)
            path = self.path(owner, conversation, message)
            title = name or f"{old.name[: LONGEST_TITLE_CHARACTERS - 9]} (branch)"
            new = self.begin(owner, old.characters, old.speaker, name=title, answered_by=old.answered_by)
            departed = (json.dumps(old.departed), new.id)
            connection.execute("UPDATE conversations SET departed = ? WHERE id = ?", departed)
            row, leaf = self._row(connection, owner, new.id), None
            for each in path:
                leaf = self._insert(connection, row, replace(each, parent=leaf))
            self._show(connection, row, leaf)
            return self.get(owner, new.id)

    def delete_message(self, owner: str, conversation: str, message: int) -> list[Message]:
        """Delete a message and all that follows it, on every branch; the new path.

        Where it was shown an alternative of it comes in its place, if there is one.
        """
        with self.writing() as connection:
            row = self._row(connection, owner, conversation)
            tree = read_tree(connection, conversation)
            gone = tree.subtree(known(tree, message))
            leaf = row["leaf"]
            if leaf in gone:
                beside = next((n for n in (tree.neighbour(message, -1), tree.neighbour(message, 1)) if n != message), 0)
                leaf = tree.deepest(beside) if beside else tree.parent(message)
            connection.executemany("DELETE FROM messages WHERE id = ?", [(id,) for id in gone])
            undone = [each for each in json.loads(row["undone"]) if each not in gone]
            self._show(connection, row, leaf, undone)
        self.sweep()
        return self.path(owner, conversation)

    def rate(self, owner: str, conversation: str, message: int, rating: str) -> Message:
        """``up``, ``down`` or ``none`` for a reply."""
        with self.writing() as connection:
            self._row(connection, owner, conversation)
            if self.message(owner, conversation, message).role == USER:
                raise UsageError("only replies are rated.")
            connection.execute(
                "UPDATE messages SET rating = ? WHERE id = ?", (one_of(rating, RATINGS, "the rating"), message)
            )
            return self.message(owner, conversation, message)

    def _insert(self, connection: sqlite3.Connection, row: sqlite3.Row, message: Message) -> int:
        """Store a message as the last child of its parent; the id it got, which is not its own."""
        conversation = row["id"]
        count, position = connection.execute(
            "SELECT count(*), (SELECT coalesce(max(position) + 1, 0) FROM messages WHERE conversation = ?1"
            " AND parent IS ?2) FROM messages WHERE conversation = ?1",
            (conversation, message.parent),
        ).fetchone()
        self._check_count(count + 1)
        values = (conversation, position, *columns(row, message))
        marks = ", ".join("?" * len(values))
        added = connection.execute(
            f"INSERT INTO messages (conversation, position, {WRITTEN}) VALUES ({marks})",  # noqa: S608
            values,
        )
        self._touch(connection, conversation, message.engine)
        return int(added.lastrowid or 0)

    def _check_count(self, count: int) -> None:
        if count > self.settings.messages_per_conversation:
            raise UsageError(
                f"the conversation has {self.settings.messages_per_conversation:,} messages, as many as are allowed.",
                instead="Branch a new one from its last message, or delete some.",
            )

    def _show(
        self, connection: sqlite3.Connection, row: sqlite3.Row, leaf: int | None, undone: Sequence[int] = ()
    ) -> None:
        """Make ``leaf`` the last message shown; where the old path leaves the new one it is remembered."""
        fork = (
            None if follows(connection, leaf, row["leaf"]) else read_tree(connection, row["id"]).fork(row["leaf"], leaf)
        )
        if fork is not None:
            connection.execute("UPDATE messages SET last_leaf = ? WHERE id = ?", (row["leaf"], fork))
        values = (leaf, json.dumps(list(undone)), row["id"])
        connection.execute("UPDATE conversations SET leaf = ?, undone = ? WHERE id = ?", values)

    def _touch(self, connection: sqlite3.Connection, conversation: str, engine: str = "") -> None:
        connection.execute(
            "UPDATE conversations SET updated = ?, answered_by = coalesce(nullif(?, ''), answered_by) WHERE id = ?",
            (time.time(), engine, conversation),
        )
