"""Rows of a CSV file: where its columns are, and which physical lines make a row, however the quotes are set."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from utils.lines import FLAGGED, REPAIRED
from utils.text import TextLines, UnreadableFile, clean_text

# The first that occurs wins: beside "text" a column "line" holds the number of the line.
HEADINGS = {
    "speaker": ("speaker", "character", "name", "who", "role"),
    "line": ("text", "dialogue", "dialog", "utterance", "sentence", "quote", "line"),
    "season": ("season",),
    "episode": ("episode",),
    "scene": ("scene",),
    "location": ("location", "place", "setting"),
}
DELIMITERS = {",": ", ", ";": "; ", "\t": " "}  # and what joins the parts of a line that it has split
MAX_TURN_LINES = 200  # physical lines of one quoted turn; the longest speech of a play in verse has 120
MAX_NAME_CHARACTERS = 60
SAMPLE_ROWS = 50
SENTENCE_END = re.compile(r"[.!?…][\"”'’)]*$")


@dataclass(frozen=True)
class Heading:
    """Where the columns are."""

    delimiter: str
    columns: dict[str, int]  # role to index
    names: list[str]  # as the file has them, lower case; empty where it has none

    @cached_property
    def width(self) -> int:
        return max(len(self.names), 2)

    @cached_property
    def pair(self) -> tuple[str, str]:
        """The headings of speaker and line; empty where the file has none."""
        return (self.names[self.columns["speaker"]], self.names[self.columns["line"]]) if self.names else ("", "")


class Record(NamedTuple):
    """One row of the file. ``at``: index of its first physical line; ``span``: how many it covers."""

    at: int
    fields: list[str]
    span: int = 1
    kind: str = ""  # REPAIRED or FLAGGED with the reason, where the row was hard to split
    reason: str = ""


def find_heading(text: TextLines) -> tuple[int, Heading]:
    """Index of the first row of data, and the heading; one is assumed where the data itself comes first.

    Raises:
        UnreadableFile: no speaker and line columns.
    """
    at = next(at for at, line in enumerate(text.lines) if line != "\n")
    if at in text.overlong:
        raise UnreadableFile(f"its first row has {text.overlong[at]:,} characters")
    for delimiter in DELIMITERS:
        names = [clean_text(name)[0].strip('"').casefold() for name in _split(text.lines[at], delimiter)]
        while names and not names[-1]:
            names.pop()
        columns = {role: names.index(name) for role, name in _roles(names)}
        if "speaker" in columns and "line" in columns:
            return at + 1, Heading(delimiter, columns, names)
    return at, _assume_heading(text, at)


def _roles(names: list[str]) -> Iterator[tuple[str, str]]:
    for role, headings in HEADINGS.items():
        name = next((name for name in headings if name in names), None)
        if name:
            yield role, name


def _assume_heading(text: TextLines, at: int) -> Heading:
    """Columns of a file that starts with data: names, then text that reads like speech."""
    rows = [line.partition(",") for line in text.lines[at : at + SAMPLE_ROWS] if line != "\n"]
    first, _, rest = rows[0]
    pairs = [(name.strip(' "'), line.strip(' "\n')) for name, comma, line in rows if comma]
    speech = sum(bool(SENTENCE_END.search(line)) or len(line.split()) >= 4 for _, line in pairs)
    names = sum(_is_name(name) for name, _ in pairs)
    is_heading = first.islower() and rest.strip().replace(",", "").islower() and len(rest.split()) == 1
    if is_heading or len(pairs) < 0.8 * len(rows) or names < 0.8 * len(rows) or speech < 0.5 * len(rows):
        columns = ", ".join(part.strip()[:30] for part in _split(text.lines[at], ",")[:6])
        raise UnreadableFile(f"no speaker and line columns; its first row: {columns}")
    return Heading(",", {"speaker": 0, "line": 1}, [])


def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME_CHARACTERS and not SENTENCE_END.search(text) and not text[:1].isdigit()


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return line.split(delimiter)


def split_records(text: TextLines, start: int, heading: Heading) -> list[Record]:
    """Every row from the physical line ``start`` on, blank lines aside. Never raises."""
    records: list[Record] = []
    at, end = start, len(text.lines)
    while at < end:
        if text.lines[at] != "\n":
            record = _split_record(text, at, heading)
            records.append(record)
            at += record.span
        else:
            at += 1
    if all(record.span == 1 for record in records):
        return records
    names = {record.fields[0].strip() for record in records if len(record.fields) > 1}
    return [row for record in records for row in _reopen(record, text, heading, names)]


def _split_record(text: TextLines, at: int, heading: Heading) -> Record:
    line = text.lines[at]
    if at in text.overlong:
        return Record(at, [])
    if '"' not in line:
        return Record(at, line.split(heading.delimiter))
    end = at + MAX_TURN_LINES
    if text.overlong:
        end = next((long for long in range(at, end) if long in text.overlong), end)
    reader = csv.reader(text.lines[at:end], delimiter=heading.delimiter, skipinitialspace=True, strict=True)
    try:
        return Record(at, next(reader), reader.line_num)
    except csv.Error:  # a quote inside a quoted field, or one that is never closed
        return _split_loosely(line, at, heading)


def _split_loosely(line: str, at: int, heading: Heading) -> Record:
    """Split one physical line with misplaced quotes: what follows the last delimiter but one is the line."""
    line_is_last = heading.columns["line"] == heading.width - 1
    parts = line.split(heading.delimiter, heading.width - 1 if line_is_last else -1)
    fields = [_unquote(part) for part in parts]
    if parts[-1].strip().startswith('"') and not line.endswith('"\n'):
        return Record(at, fields, 1, FLAGGED, "unclosed quote")
    return Record(at, fields, 1, REPAIRED, "misplaced quotes")


def _unquote(field: str) -> str:
    field = field.strip()
    if field.startswith('"'):
        field = field[1:].removesuffix('"')
    return field.replace('""', '"')


def _reopen(record: Record, text: TextLines, heading: Heading, names: set[str]) -> Iterator[Record]:
    """The record; or its physical lines, where an unclosed quote has swallowed rows."""
    inner = [line for line in text.lines[record.at + 1 : record.at + record.span] if line != "\n"]
    spaced = text.lines[record.at].partition(heading.delimiter)[2].startswith(" ")
    rows = sum(_looks_like_row(line, heading.delimiter, names, spaced) for line in inner)
    if not rows or 2 * rows < len(inner):
        yield record
        return
    for at in range(record.at, record.at + record.span):
        line = text.lines[at]
        if line != "\n":
            fields = [part.strip().strip('"') for part in line.split(heading.delimiter)]
            first = at == record.at
            yield Record(at, fields, 1, FLAGGED if first else "", "unclosed quote" if first else "")


def _looks_like_row(line: str, delimiter: str, names: set[str], spaced: bool) -> bool:
    """Prose puts a space after a comma, a row need not: only a known name is proof where the file does."""
    name, _, rest = line.partition(delimiter)
    if not rest.strip() or rest.startswith(" ") != spaced:
        return False
    name = name.strip()
    return name in names or (not spaced and _is_name(name) and (name.istitle() or name.isupper()))
