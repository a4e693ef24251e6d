"""Votes between two replies of two sources to the same words."""

from __future__ import annotations

import json
import sqlite3
import time

from character_chatbot.chats.clean import clean_line, clean_text
from character_chatbot.chats.messages import Messages
from character_chatbot.chats.records import VOTES, Comparison, one_of
from character_chatbot.prompts import Turn

COLUMNS = "message, speaker, context, left_text, left_source, right_text, right_source, vote, created"


class Comparisons(Messages):
    """The part of the store that knows votes."""

    def compare(
        self, owner: str, conversation: str, message: int, *, speaker: str, left: tuple[str, str],
        right: tuple[str, str], vote: str,
    ) -> Comparison:  # fmt: skip
        """Keep which of two replies was better.

        Args:
            message: the one that both reply to.
            left, right: label of the source, and its text.
            vote: ``left``, ``right``, ``tie`` or ``both_bad``.

        Raises:
            UnknownConversation: there is none.
            UsageError: no such vote, or a text that cannot be kept.
        """
        with self.writing() as connection:
            self._row(connection, owner, conversation)
            context = tuple(self.turns(owner, conversation, message))
            (left_source, left_text), (right_source, right_text) = left, right
            kept = Comparison(
                message, speaker, context, left_text, left_source, right_text, right_source, vote, time.time()
            )
            return insert_comparison(connection, conversation, kept)

    def comparisons(self, owner: str, conversation: str) -> list[Comparison]:
        """All votes of a conversation, in the order they were given. Raises UnknownConversation."""
        with self.reading() as connection:
            self._row(connection, owner, conversation)
            query = f"SELECT {COLUMNS} FROM comparisons WHERE conversation = ? ORDER BY id"  # noqa: S608
            return [_read(row) for row in connection.execute(query, (conversation,))]


def insert_comparison(connection: sqlite3.Connection, conversation: str, kept: Comparison) -> Comparison:
    """Store a vote. Raises UsageError: no such vote, a name or text that cannot be kept."""
    texts = [clean_text(kept.left, "the left reply"), clean_text(kept.right, "the right reply")]
    sources = [clean_line(kept.left_source, "the left source", 200), clean_line(kept.right_source, "the right", 200)]
    speaker = clean_line(kept.speaker, "the speaker")
    context = json.dumps([[turn.speaker, turn.text] for turn in kept.context])
    vote = one_of(kept.vote, VOTES, "the vote")
    connection.execute(
        f"INSERT INTO comparisons (conversation, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (conversation, kept.message, speaker, context, texts[0], sources[0], texts[1], sources[1], vote, kept.created),
    )
    return Comparison(
        kept.message, speaker, kept.context, texts[0], sources[0], texts[1], sources[1], vote, kept.created
    )


def _read(row: sqlite3.Row) -> Comparison:
    context = tuple(Turn(speaker, text) for speaker, text in json.loads(row["context"]))
    return Comparison(
        row["message"], row["speaker"], context, row["left_text"], row["left_source"], row["right_text"],
        row["right_source"], row["vote"], row["created"],
    )  # fmt: skip
