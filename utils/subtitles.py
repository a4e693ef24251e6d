"""Subtitles: SRT files, as tolerant as people are careless. A row is a cue; a cue of two speakers gives two turns."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from utils.lines import FLAGGED, REPAIRED, UNKNOWN
from utils.text import (
    BRACKETS,
    MAX_LINE_CHARACTERS,
    PARENTHESES,
    Reading,
    TextLines,
    Turn,
    UnreadableFile,
    clean_text,
    has_speech,
    note_encoding,
    read_text_lines,
    remove_parts,
)

MAX_NAME_CHARACTERS = 30
MAX_TIME_CHARACTERS = 200  # with the coordinates that some programs write behind the times
_TIME = r"(?:([0-9]{1,2}):)?([0-9]{1,2}):([0-9]{1,2})(?:[,.:]([0-9]{1,3}))?"
TIMES = re.compile(rf"\s*{_TIME}\s*-+>\s*{_TIME}(?=\s|$)")
TIME_LIKE = re.compile(r"-->.*[0-9]\s*[:.,]|[0-9]\s*[:.,].*-->")  # meant as times, though not readable
INDEX = re.compile(r"\ufeff?[0-9]+\s*")
MARKUP = re.compile(r"</?(?:i|b|u|s|c|v|font|span|ruby|rt)\b[^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#[0-9]+|[a-z]+);")
DASH = re.compile(r"[-\u2010\u2011](?![-\u2010\u2011>])(?:\s+|(?=[^0-9\s]))")  # not "--and", not "-5"
INNER_DASH = re.compile(r"(?<=[.!?…\"”])\s+-\s*(?=[^\W\d_])")
NOTES = re.compile("[♪♫♬♩]+")
HASH_SONG = re.compile(r"#\s.*|#.*#")
PREFIX = re.compile(r"([^\W\d_][\w.'’-]*(?: [#\w][\w.'’-]*){0,3}) ?:\s+(?=\S)")
LONE_NAME = re.compile(r"[^\W\da-z_][^a-z]{1,29}:")
# Words that introduce and do not name. Speech: "Listen: ..."
NO_NAME = re.compile(
    r"\b(?:listen|look|remember|note|question|answer|warning|one|two|three|first|second|third|wait|now|but|and|so|okay|ok"
    r"|attention|fact|rules?|ps|today|tonight|yesterday|tomorrow|subtitles?|breaking|caution|danger)\b",
    re.IGNORECASE,
)
CREDIT = re.compile(
    r"\bsub(?:title[sd]?|bed|s)\b.{0,20}\b(?:by|from|downloaded)\b|\bsync(?:ed|hroni[sz]ed)? (?:(?:and|&) \w+ )?by\b"
    r"|\bsync(?:ed)? ?:|\bsync\w* ?(?:and|&|,) ?correct|\bcorrect(?:ed|ions?) by\b|\bcaption(?:s|ed|ing) by\b"
    r"|\b(?:transcripts?|transcriptions?|transcribed|encoded|ripped) by\b"
    r"|\bwww\.|https?://|\bopensubtitles\b|\baddic7ed\b|\b[\w-]{1,60}\.(?:com|org|net)\b",
    re.IGNORECASE,
)

# One of these is in all that CREDIT finds: looking for them takes 1 microsecond of a cue, CREDIT itself 22.
CREDIT_PARTS = (
    "sub", "sync", "correct", "caption", "transcri", "encoded", "ripped", "www.", "http", "addic7ed", ".com", ".org",
    ".net",
)  # fmt: skip
# What any of the steps below looks for, dashes and credits aside. Most cues have none of it and are done at once.
SPECIAL = re.compile("[<{&\\[(♪♫♬♩#:\ufffd]")
DASHES = ("-", "\u2010", "\u2011")


class Cue(NamedTuple):
    """A cue as the file has it, from line ``at``; ``overlong``: the characters of a line that is too long."""

    at: int
    times: str
    clock: re.Match[str] | None  # of TIMES
    body: list[str]
    overlong: int = 0
    credits: Collection[str] = CREDIT_PARTS  # those that are in the file


@dataclass
class Spoken:
    """A cue with speech in it."""

    row: int
    start_seconds: float
    end_seconds: float
    parts: list[str]  # one for each speaker


def read_subtitles(file: Path, source: str, known: Collection[str] = ()) -> Reading:
    """Read one SRT file. Season and episode of its turns are None; times are seconds from the episode's start.

    Args:
        file: the file.
        source: its name in the report.
        known: names that may stand before a colon, lower case.

    Raises:
        UnreadableFile: unreadable, or without any time line.
    """
    text = read_text_lines(file)
    reading = Reading(source)
    note_encoding(reading, text)
    spoken = [cue for cue in (_read_cue(cue, reading) for cue in _split_cues(text, reading)) if cue]
    prefixes = Counter(found for cue in spoken for part in cue.parts if ":" in part and (found := _prefix(part)[0]))
    names = {
        name
        for name, count in prefixes.items()
        if (name.isupper() and len(name) > 1) or count > 1 or name.casefold() in known
    }
    for cue in _in_order(spoken, reading):
        _keep(cue, names, reading)
    reading.notes.sort(key=lambda note: note.row)
    return reading


def _split_cues(text: TextLines, reading: Reading) -> Iterator[Cue]:
    lines = text.lines
    arrows = [(at, line) for at, line in enumerate(lines) if ">" in line and len(line) <= MAX_TIME_CHARACTERS]
    clocks = {at: TIMES.match(line) for at, line in arrows}
    times = [at for at, line in arrows if clocks[at] or TIME_LIKE.search(line)]
    if not times:
        raise UnreadableFile("no time line (00:00:01,000 --> 00:00:02,000)")
    starts = [_start(lines, at) for at in times]
    ends = [*starts[1:], len(lines)]
    all_lower = "".join(lines).lower()
    credits = [part for part in CREDIT_PARTS if part in all_lower]
    before = [at for at in range(starts[0]) if lines[at] != "\n"]
    if before:
        reading.drop(before[0] + 1, "text before the first time", " ".join(lines[at] for at in before))
    for start, at, end in zip(starts, times, ends, strict=True):
        overlong = max((text.overlong.get(line, 0) for line in range(at, end)), default=0) if text.overlong else 0
        yield Cue(start, lines[at], clocks[at], lines[at + 1 : end], overlong, credits)


def _start(lines: list[str], at: int) -> int:
    """Where the cue of a time line starts: at its number, if it has one, also across blank lines."""
    above = at - 1
    while above > 0 and lines[above] == "\n":
        above -= 1
    if above < 0 or not INDEX.fullmatch(lines[above]):
        return at
    return above if above == at - 1 or above == 0 or lines[above - 1] == "\n" else at


def _read_cue(cue: Cue, reading: Reading) -> Spoken | None:
    """The speech of a cue; None where the cue is dropped."""
    if plain := _plain_cue(cue):
        return plain
    row, raw = cue.at + 1, " ".join(cue.body)
    if cue.overlong:
        reading.drop(row, f"row of {cue.overlong:,} characters", raw)
        return None
    seconds = _seconds(cue.clock)
    if seconds is None:
        reading.drop(row, "malformed time", cue.times + raw)
        return None
    notes: set[tuple[str, str]] = set()
    parts, reason = _parts(cue.body, notes)
    if reason:
        reading.drop(row, reason, raw)
        return None
    if seconds[0] > seconds[1]:
        notes.add((REPAIRED, "end before start: swapped"))
    for kind, note in sorted(notes):
        reading.note(row, kind, note, raw)
    return Spoken(row, min(seconds), max(seconds), parts)


def _plain_cue(cue: Cue) -> Spoken | None:
    """The cue, if it is speech of one person with nothing to remove, repair or look at."""
    raw = "".join(cue.body).replace("\n", " ")
    if cue.overlong or SPECIAL.search(raw) or not raw.isprintable():  # printable: no space but " "
        return None
    if ("-" in raw or not raw.isascii()) and any(line.lstrip().startswith(DASHES) for line in cue.body):
        return None
    if not has_speech(raw):
        return None
    lower = raw.lower()
    if any(part in lower for part in cue.credits):
        return None
    seconds = _seconds(cue.clock)
    if seconds is None or seconds[0] > seconds[1]:
        return None
    return Spoken(cue.at + 1, *seconds, [" ".join(raw.split())])


def _seconds(found: re.Match[str] | None) -> tuple[float, float] | None:
    if not found:
        return None
    *start, from_fraction, hours, minutes, seconds, to_fraction = found.groups(default="0")
    first, last = list(map(int, start)), [int(hours), int(minutes), int(seconds)]
    if max(first[1], first[2], last[1], last[2]) > 59:
        return None
    return _clock(first, from_fraction), _clock(last, to_fraction)


def _clock(whole: list[int], fraction: str) -> float:
    hours, minutes, seconds = whole
    return hours * 3600 + minutes * 60 + seconds + int(fraction.ljust(3, "0")) / 1000


def _parts(body: list[str], notes: set[tuple[str, str]]) -> tuple[list[str], str]:
    """The cleaned speech of each speaker, and the reason to drop the cue where nothing remains."""
    plain = [_strip_markup(line, notes) for line in body]
    if not any(plain):
        return [], "empty line"
    if _is_credit(" ".join(plain)):
        return [], "credit"
    removed: set[str] = set()
    parts = [_strip_unspoken(part, removed) for part in _split_speakers(plain)]
    spoken = [part for part in parts if has_speech(part) and not LONE_NAME.fullmatch(part)]
    if not spoken:
        return [], next((what for what in ("music", "sound") if what in removed), "no speech").replace(
            "sound", "sound only"
        )
    notes |= {(REPAIRED, f"{what} removed") for what in removed}
    return spoken, ""


def _is_credit(text: str) -> bool:
    lower = text.lower()
    return any(part in lower for part in CREDIT_PARTS) and bool(CREDIT.search(text))


def _strip_markup(line: str, notes: set[tuple[str, str]]) -> str:
    plain = MARKUP.sub("", line)
    if "&" in plain and ENTITY.search(plain):
        plain = html.unescape(plain)
    if plain != line:
        notes.add((REPAIRED, "markup removed"))
    plain, changed = clean_text(plain)
    if changed:
        notes.add((REPAIRED, "invisible characters removed"))
    if "\ufffd" in plain:
        notes.add((FLAGGED, "characters lost before"))
    return plain


def _split_speakers(lines: list[str]) -> list[str]:
    """The text of each speaker: a line that opens with a dash opens a new one."""
    parts: list[str] = []
    for line in lines:
        dash = DASH.match(line)
        if not dash:
            parts[-1:] = [f"{parts[-1]} {line}".strip() if parts else line]
            continue
        parts += INNER_DASH.split(line[dash.end() :])
    return [part for part in parts if part]


def _strip_unspoken(part: str, removed: set[str]) -> str:
    spoken = part
    if "[" in part or "(" in part:
        spoken = remove_parts(remove_parts(part, BRACKETS), PARENTHESES)
        removed |= {"sound"} if spoken != part else set()
    if NOTES.search(spoken):
        removed.add("music")
        return _strip_songs(spoken)
    if HASH_SONG.fullmatch(spoken):
        removed.add("music")
        return ""
    return spoken


def _strip_songs(text: str) -> str:
    """What stands outside pairs of notes; a single note sings to the end, or from the start where it ends the text."""
    outside_and_inside = NOTES.split(text)
    if len(outside_and_inside) == 2 and not outside_and_inside[1]:
        return ""
    return " ".join(piece.strip() for piece in outside_and_inside[::2] if piece.strip())


def _prefix(part: str) -> tuple[str, str]:
    """The name before a colon, if it could be one, and the rest of the text."""
    found = PREFIX.match(part)
    name = found[1] if found else ""
    words = name.split()
    if not found or len(name) > MAX_NAME_CHARACTERS or NO_NAME.search(name):
        return "", part
    if name.isupper() or all(word[0].isupper() or not word[0].isalpha() for word in words):
        return name, part[found.end() :]
    return "", part


def _in_order(spoken: list[Spoken], reading: Reading) -> list[Spoken]:
    latest = 0.0
    for cue in spoken:
        if cue.start_seconds < latest:
            reading.note(cue.row, REPAIRED, "out of order: sorted by time", cue.parts[0])
        latest = max(latest, cue.start_seconds)
    ordered = sorted(spoken, key=lambda cue: cue.start_seconds)
    for before, cue in pairwise(ordered):
        if cue.start_seconds < before.end_seconds:
            reading.note(cue.row, FLAGGED, "overlaps the cue before", cue.parts[0])
    return ordered


def _keep(cue: Spoken, names: set[str], reading: Reading) -> None:
    """One turn for each speaker; the time is shared by the length of what they say."""
    start = cue.start_seconds
    if len(cue.parts) == 1 and ":" not in cue.parts[0] and len(cue.parts[0]) <= MAX_LINE_CHARACTERS:
        reading.keep(Turn(None, None, None, UNKNOWN, cue.parts[0], round(start, 3), round(cue.end_seconds, 3)))
        return
    characters = sum(len(part) for part in cue.parts)
    turns = []
    for part in cue.parts:
        name, line = _prefix(part)
        speaker, line = (name, line) if name in names else (UNKNOWN, part)
        end = start + (cue.end_seconds - cue.start_seconds) * len(part) / characters
        turns.append(Turn(None, None, None, speaker, line, round(start, 3), round(end, 3)))
        start = end
        if len(line) > MAX_LINE_CHARACTERS:
            reading.note(cue.row, FLAGGED, "longer than one turn of speech", line)
    reading.keep(*turns)
