"""Messages to rows of the store and back."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from character_chatbot.chats.clean import clean_json, clean_line, clean_text
from character_chatbot.chats.records import (
    CHARACTER,
    DONE,
    RATINGS,
    ROLES,
    STATES,
    USER,
    Message,
    UnknownMessage,
    one_of,
)
from character_chatbot.chats.tree import Node, Tree
from character_chatbot.replies.joint import find_gap
from utils.errors import UsageError


@dataclass(frozen=True)
class Written:
    """How a reply came to be: what is kept beside its text."""

    state: str = DONE
    engine: str = ""
    evidence: Sequence[Mapping[str, Any]] = ()
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


WRITTEN = "parent, role, speaker, text, state, created, engine, evidence, seed, rating, extra"


def compose(parent: int | None, role: str, speaker: str, text: str, how: Written | None = None) -> Message:
    """A message that is to be stored, written now."""
    written = how or Written()
    return Message(
        0, parent, role, speaker, text, written.state, time.time(), written.engine, tuple(written.evidence),
        written.seed, extra=written.extra,
    )  # fmt: skip


def join(text: str, more: str) -> str:
    """A reply and what the engine added: as it stands, with a space only where a new sentence begins without one."""
    return text + find_gap(text, more) + more


def read_tree(connection: sqlite3.Connection, conversation: str) -> Tree:
    """The shape of a conversation, without its texts."""
    query = "SELECT id, parent, position, last_leaf FROM messages WHERE conversation = ?"
    return Tree(Node(*row) for row in connection.execute(query, (conversation,)))


def read_messages(
    connection: sqlite3.Connection, conversation: str, tree: Tree, wanted: Sequence[int]
) -> list[Message]:
    """The messages with these ids, which the tree has, in the order wanted."""
    rows: dict[int, sqlite3.Row] = {}
    for start in range(0, len(wanted), 500):  # SQLite allows so many variables in any build
        some = wanted[start : start + 500]
        marks = ", ".join("?" * len(some))
        query = f"SELECT id, {WRITTEN} FROM messages WHERE conversation = ? AND id IN ({marks})"  # noqa: S608
        rows |= {row["id"]: row for row in connection.execute(query, (conversation, *some))}
    found = []
    for id in wanted:
        siblings = tree.siblings(id)
        found.append(_read(rows[id], siblings.index(id), len(siblings)))
    return found


def _read(row: sqlite3.Row, alternative: int, alternatives: int) -> Message:
    return Message(
        row["id"], row["parent"], row["role"], row["speaker"], row["text"], row["state"], row["created"], row["engine"],
        () if row["evidence"] == "[]" else tuple(json.loads(row["evidence"])), row["seed"], row["rating"],
        {} if row["extra"] == "{}" else json.loads(row["extra"]), alternative, alternatives,
    )  # fmt: skip


def read_message(connection: sqlite3.Connection, conversation: str, id: int) -> Message:
    """One message, without reading the others. Raises UnknownMessage."""
    beside = "SELECT count(*) FROM messages WHERE conversation = m.conversation AND parent IS m.parent"
    row = connection.execute(
        f"SELECT id, {WRITTEN}, ({beside}) AS alternatives, ({beside} AND position < m.position) AS alternative"  # noqa: S608
        " FROM messages m WHERE id = ? AND conversation = ?",
        (id, conversation),
    ).fetchone()
    if row is None:
        raise UnknownMessage(id)
    return _read(row, row["alternative"], row["alternatives"])


def follows(connection: sqlite3.Connection, id: int | None, before: int | None) -> bool:
    """Whether ``before`` comes right before the message, so that no branch is left."""
    row = connection.execute("SELECT parent FROM messages WHERE id = ?", (id,)).fetchone()
    return row is not None and row["parent"] == before


def columns(row: sqlite3.Row, message: Message) -> tuple[object, ...]:
    """The values of :data:`WRITTEN`. Raises UsageError: something that cannot be kept."""
    speaker = clean_line(message.speaker, "the name of the speaker")
    _check_speaker(row, message.role, speaker)
    return (
        message.parent,
        one_of(message.role, ROLES, "the role"),
        speaker,
        checked_text(message.text, message.state),
        one_of(message.state, STATES, "the state"),
        message.created,
        message.engine,
        json.dumps(clean_json(list(message.evidence))),
        clean_json(message.seed),
        one_of(message.rating, RATINGS, "the rating"),
        json.dumps(clean_json(dict(message.extra))),
    )


def known(tree: Tree, message: int) -> int:
    """``message``. Raises UnknownMessage: the conversation does not have it."""
    if message not in tree:
        raise UnknownMessage(message)
    return message


def checked_text(text: str, state: str) -> str:
    """The text as it is kept. Raises UsageError: too long, or it came to its end and is empty."""
    clean = clean_text(text)
    if not clean and state == DONE:
        raise UsageError("the message is empty.")
    return clean


def _check_speaker(row: sqlite3.Row, role: str, speaker: str) -> None:
    known = (*json.loads(row["characters"]), *json.loads(row["departed"]))
    if role == CHARACTER and speaker not in known:
        raise UsageError(f"{speaker[:40]} does not take part in this conversation.")
    if role == USER and speaker in known:
        raise UsageError(f"{speaker} is a character of this conversation: speak as somebody else.")
