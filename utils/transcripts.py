"""Transcripts: CSV files with a speaker and a line in each row, read as they come.

    name,line
    Mike,"Well, hello."

Season, episode, scene and location of a row are read where there are such columns.
Every row ends up as a turn or as a dropped row with a note; nothing raises but a file that is no transcript.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from utils.episodes import episode_code
from utils.lines import FLAGGED, REPAIRED, UNKNOWN
from utils.records import DELIMITERS, MAX_NAME_CHARACTERS, SENTENCE_END, Heading, Record, find_heading, split_records
from utils.text import (
    BRACKETS,
    MAX_LINE_CHARACTERS,
    PARENTHESES,
    Reading,
    Turn,
    clean_text,
    has_speech,
    note_encoding,
    read_text_lines,
    remove_parts,
    tidy_name,
)

NAN = float("nan")
WHOLE_NUMBER = re.compile(r"([0-9]{1,6})(?:\.0*)?")


@dataclass
class _Scenes:
    """Scene labels become numbers: a new one whenever the label changes within an episode."""

    labels: list[str] = field(default_factory=list)

    def numbers(self, turns: list[Turn]) -> Iterator[int | None]:
        found = [WHOLE_NUMBER.fullmatch(label) for label in self.labels]
        if all(match or not label for match, label in zip(found, self.labels, strict=True)):
            yield from (int(match[1]) if match else None for match in found)
            return
        number, last_label, last_place = 0, "", (turns[0].season, turns[0].episode)
        for label, turn in zip(self.labels, turns, strict=True):
            if (turn.season, turn.episode) != last_place:
                number, last_label, last_place = 0, "", (turn.season, turn.episode)
            if label and label != last_label:
                number, last_label = number + 1, label
            yield number if label else None


def read_transcript(file: Path, source: str) -> Reading:
    """Read one CSV file. Season and episode of a turn are None where the row has no such column.

    Raises:
        UnreadableFile: unreadable, or no transcript.
    """
    text = read_text_lines(file)
    start, heading = find_heading(text)
    reading = Reading(source)
    note_encoding(reading, text)
    if not heading.names:
        reading.note(0, FLAGGED, "no heading row: read as name,line", text.lines[start])
    records = split_records(text, start, heading)
    known: set[str] = set()
    if any(len(record.fields) == 1 for record in records):  # a lone name is told from lone text by the other names
        known = {_field(record, heading, "speaker").casefold() for record in records if len(record.fields) > 1}
    scenes = _Scenes()
    spoken = ("", "")
    for record in records:
        notes = [(record.kind, record.reason)] if record.kind else []
        before, spoken = spoken, ("", "")
        name, line, reason = _read_record(record, heading, known, notes)
        if record.at in text.overlong:
            reason = f"row of {text.overlong[record.at]:,} characters"
        if reason:
            reading.drop(record.at + 1, reason, text.lines[record.at])
            continue
        spoken = (name, line)
        if spoken == before:
            notes.append((FLAGGED, "same as the row before"))
        location = clean_text(_field(record, heading, "location"))[0] if "location" in heading.columns else ""
        reading.keep(Turn(*_place(record, heading, notes), None, name, line, NAN, NAN, location))
        if "scene" in heading.columns:
            scenes.labels.append(clean_text(_field(record, heading, "scene"))[0])
        for kind, note in notes:
            reading.note(record.at + 1, kind, note, text.lines[record.at])
    if "scene" in heading.columns and reading.turns:
        numbers = scenes.numbers(reading.turns)
        reading.turns = [turn._replace(scene=scene) for turn, scene in zip(reading.turns, numbers, strict=True)]
        _share_locations(reading)
    return reading


def _share_locations(reading: Reading) -> None:
    """Rows of a scene that leave the location out have that of the others; a scene with two of them is flagged."""
    marked: dict[tuple[int | None, ...], dict[str, str]] = {}  # of each scene, by lower case
    for turn in reading.turns:
        if turn.location and turn.scene is not None:
            marked.setdefault(turn[:3], {}).setdefault(turn.location.casefold(), turn.location)
    for scene, found in marked.items():
        if len(found) > 1:
            reading.note(0, FLAGGED, "two locations in one scene", f"scene {scene[2]}: {', '.join(found.values())}")
    sole = {scene: next(iter(found.values())) for scene, found in marked.items() if len(found) == 1}
    reading.turns = [turn._replace(location=turn.location or sole.get(turn[:3], "")) for turn in reading.turns]


def _field(record: Record, heading: Heading, role: str) -> str:
    """A column other than the line; columns behind the line are counted from the end where the row has too many."""
    at = heading.columns.get(role, -1)
    if at > heading.columns["line"]:
        at += max(0, len(record.fields) - heading.width)
    return record.fields[at].strip() if 0 <= at < len(record.fields) else ""


def _read_record(
    record: Record, heading: Heading, known: set[str], notes: list[tuple[str, str]]
) -> tuple[str, str, str]:
    """Speaker and line of a row, and the reason to drop it, if there is one."""
    raw_name, raw_line, reason = _name_and_line(record, heading, known, notes)
    name, line = _clean_name(raw_name, notes), _clean_line(raw_line, notes)
    if len(line) > MAX_LINE_CHARACTERS:
        notes.append((FLAGGED, "longer than one turn of speech"))
    return name, line, reason or _reason_to_drop(raw_line, line)


def _name_and_line(
    record: Record, heading: Heading, known: set[str], notes: list[tuple[str, str]]
) -> tuple[str, str, str]:
    """Speaker and line as the row has them, and the reason to drop it, if there is one already."""
    fields, at = record.fields, heading.columns["line"]
    width = heading.width
    while len(fields) > width and not fields[-1].strip():
        fields.pop()  # the trailing commas of a spreadsheet
    extra = max(0, len(fields) - width)
    if len(fields) == 1:
        lone = fields[0].strip()
        notes.append((FLAGGED, "no name, only text"))
        return UNKNOWN, lone, "" if _reads_like_text(lone, known) else "no text"
    if len(fields) <= at:
        return "", "", "no text"
    name = _field(record, heading, "speaker")
    speaker, said = heading.pair
    if heading.names and name.casefold() == speaker and fields[at].strip().casefold() == said:
        return "", "", "heading row"
    if not extra:
        return name, fields[at], ""
    notes.append((REPAIRED, "more columns than the heading"))
    return name, DELIMITERS[heading.delimiter].join(part.strip() for part in fields[at : at + 1 + extra]), ""


def _reads_like_text(lone: str, known: set[str]) -> bool:
    if lone.rstrip(": ").casefold() in known or not has_speech(lone):
        return False
    return bool(SENTENCE_END.search(lone)) or len(lone.split()) >= 4 or (" " in lone and lone[0].islower())


def _clean_name(raw: str, notes: list[tuple[str, str]]) -> str:
    name, changed = tidy_name(raw)
    if not name:
        notes.append((REPAIRED, "no name"))
        return UNKNOWN
    if changed:
        notes.append((REPAIRED, "name tidied"))
    if len(name) > MAX_NAME_CHARACTERS:
        notes.append((FLAGGED, "very long name"))
    return name


def _clean_line(raw: str, notes: list[tuple[str, str]]) -> str:
    line, changed = clean_text(raw)
    if changed:
        notes.append((REPAIRED, "invisible characters removed"))
    if "\ufffd" in line:
        notes.append((FLAGGED, "characters lost before"))
    if "[" in line and BRACKETS.search(line):
        line = remove_parts(line, BRACKETS)
        notes.append((REPAIRED, "sound removed"))
    return line


def _reason_to_drop(raw: str, line: str) -> str:
    if line[:1].isalnum():
        return ""
    if "[" in raw or "(" in line:
        return "" if has_speech(remove_parts(line, PARENTHESES)) else "no speech"
    return "" if line else "empty line"


def _place(record: Record, heading: Heading, notes: list[tuple[str, str]]) -> tuple[int | None, int | None]:
    """Season and episode as the row itself says; an episode S01E02 gives both."""
    if "season" not in heading.columns and "episode" not in heading.columns:
        return None, None
    values: dict[str, int | None] = {"season": None, "episode": None}
    for role in values:
        label = _field(record, heading, role)
        if found := WHOLE_NUMBER.fullmatch(label):
            values[role] = int(found[1])
        elif code := episode_code(label):
            values["season"], values["episode"] = code
        elif label:
            notes.append((FLAGGED, f"{role} is no whole number"))
    return values["season"], values["episode"]
