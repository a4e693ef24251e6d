"""What a server has acknowledged to its visitors, and whether its store still has all of it in the right place.

Each message has a mark that says who said it in which conversation: ``m3q17q2z`` is the second thing that visitor 3
has said in its 17th. Its reply repeats it. So a message that went astray shows where it came from.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

MARK = re.compile(r"\bm(\d+)q(\d+)q(\d+)z\b")
LOST, MIXED, TWICE, UNDEAD, BROKEN = "lost", "mixed", "twice", "undead", "broken"
KINDS = (LOST, MIXED, TWICE, UNDEAD, BROKEN)


@dataclass(frozen=True)
class Fault:
    """Something the store should not have, or has not. ``kind``: of :data:`KINDS`."""

    kind: str
    what: str


@dataclass(frozen=True)
class Talk:
    """A conversation from the visitor's side."""

    visitor: int
    number: int


@dataclass
class Ledger:
    """What was acknowledged. ``owners``: by visitor; ``errors``: not provoked; ``provoked``: counted."""

    owners: dict[int, str] = field(default_factory=dict)
    talks: dict[str, Talk] = field(default_factory=dict)  # by the server's id; a branch or a copy is of the same talk
    said: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    deleted: set[str] = field(default_factory=set)
    maybe_deleted: set[str] = field(default_factory=set)  # asked for, but never answered
    errors: list[str] = field(default_factory=list)
    provoked: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    talked: int = 0  # conversations that are over
    seen: list[Fault] = field(default_factory=list)  # what visitors saw go wrong

    def saw(self, conversation: str, talk: Talk, message: int, text: str) -> None:
        """The page has shown a message as kept."""
        self.talks.setdefault(conversation, talk)
        self.said[conversation][message] = text


def marks(text: str) -> list[tuple[int, int, int]]:
    """Visitor, talk and number of each mark in a text."""
    return [(int(a), int(b), int(c)) for a, b, c in MARK.findall(text)]


def check_reply(mark: str, talk: Talk, text: str, *, whole: bool) -> Iterator[Fault]:
    """Of a reply at the endpoint: whether it answers this message and knows of no other conversation."""
    if whole and mark not in text:
        yield Fault(LOST, f"the reply to {mark} does not repeat it: {text[:80]!r}")
    for visitor, number, _ in marks(text):
        if (visitor, number) != (talk.visitor, talk.number):
            yield Fault(MIXED, f"the reply to {mark} knows m{visitor}q{number}…: {text[:80]!r}")


def check_store(file: Path, ledger: Ledger) -> list[Fault]:
    """All that is wrong with the store by what was acknowledged."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
        heads = {row["id"]: row for row in connection.execute("SELECT * FROM conversations")}
        rows: dict[str, dict[int, sqlite3.Row]] = defaultdict(dict)
        for row in connection.execute("SELECT * FROM messages"):
            rows[row["conversation"]][row["id"]] = row
    faults = [] if whole == "ok" else [Fault(BROKEN, f"integrity_check: {whole}")]
    return [
        *faults,
        *_find_lost(ledger, heads, rows),
        *itertools.chain.from_iterable(_check_conversation(ledger, head, rows[id]) for id, head in heads.items()),
    ]


def _find_lost(ledger: Ledger, heads: dict[str, sqlite3.Row], rows: dict[str, dict[int, sqlite3.Row]]) -> list[Fault]:
    faults = [Fault(UNDEAD, f"{id} was deleted and is there") for id in ledger.deleted & set(heads)]
    for id, messages in ledger.said.items():
        if id in ledger.deleted or (id in ledger.maybe_deleted and id not in heads):
            continue
        if id not in heads:
            faults.append(Fault(LOST, f"conversation {id} of {ledger.talks[id]} with {len(messages)} messages"))
            continue
        for number, text in messages.items():
            row = rows[id].get(number)
            if row is None or not _same(row["text"], text):
                there = "is not there" if row is None else f"is now {row['text'][:60]!r}"
                faults.append(Fault(LOST, f"message {number} of {id}, {text[:60]!r}, {there}"))
    return faults


def _check_conversation(ledger: Ledger, head: sqlite3.Row, rows: dict[int, sqlite3.Row]) -> Iterator[Fault]:
    """One owner, one talk, each thing said once, each reply below what it answers."""
    id, of = head["id"], ledger.talks.get(head["id"])
    found = {(visitor, number) for row in rows.values() for visitor, number, _ in marks(row["text"])}
    if len(found) > 1 or (of and found and found != {(of.visitor, of.number)}):
        yield Fault(MIXED, f"{id} of {of} has marks of {sorted(found)}")
    for visitor in {of.visitor} if of else {visitor for visitor, _ in found}:
        if head["owner"] != ledger.owners.get(visitor, head["owner"]):
            yield Fault(MIXED, f"{id} of visitor {visitor} is {head['owner']}'s")
    said = Counter(row["text"] for row in rows.values() if row["role"] == "user")
    yield from (Fault(TWICE, f"{text[:60]!r} {count} times in {id}") for text, count in said.items() if count > 1)
    for row in rows.values():
        yield from _check_place(id, row, rows)
    if head["leaf"] is not None and head["leaf"] not in rows:
        yield Fault(BROKEN, f"{id} shows message {head['leaf']}, which it does not have")


def _check_place(id: str, row: sqlite3.Row, rows: dict[int, sqlite3.Row]) -> Iterator[Fault]:
    before = rows.get(row["parent"]) if row["parent"] is not None else None
    if row["parent"] is not None and before is None:
        yield Fault(BROKEN, f"message {row['id']} of {id} follows {row['parent']}, which it does not have")
    if before is None or before["role"] != "user" or row["role"] != "character" or row["state"] != "done":
        return
    asked, answered = marks(before["text"]), marks(row["text"])
    if asked and answered and asked[0] != answered[0] and row["engine"] and not row["text"].startswith("edited"):
        yield Fault(MIXED, f"{row['text'][:60]!r} answers {before['text'][:60]!r} in {id}")


def _same(kept: str, shown: str) -> bool:
    """A reply may have been gone on with since."""
    return " ".join(kept.split()).startswith(" ".join(shown.split()))
