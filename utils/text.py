"""Text from files: bytes to physical lines, dirty text to clean text, and the notes made on the way.

The readers of transcripts and of subtitles stand on this; neither opens a file itself.
"""

from __future__ import annotations

import codecs
import io
import re
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from utils.lines import DROPPED, REPAIRED, FileCount, Note

MAX_FILE_BYTES = 1 << 30  # more is no transcript, whatever its name says
MAX_TEXT_CHARACTERS = 1 << 26  # kept in memory for one file; a series of 34 episodes has 600,000
MAX_TEXT_LINES = 2_000_000
MAX_ROW_CHARACTERS = 100_000  # longer rows never reach the csv module, whose own limit is 131,072
MAX_LINE_CHARACTERS = 1_000  # a minute of speech; beyond, turns of several speakers have most likely run together
SAMPLE_BYTES = 1 << 16
SMALL_BYTES = 1 << 20  # a file of so many reaches no limit of characters or lines: read at once, in a third of the time
NOTE_CHARACTERS = 80

# What people rename to .csv, by its first bytes.
MAGIC = {
    b"PK\x03\x04": "an Excel file or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "a database",
}
BYTE_ORDER_MARKS = {  # the longer first: that of UTF-16-LE opens that of UTF-32-LE
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a")) + b"\x7f"

ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
# Zero-width joiners between non-ASCII characters stay: emoji, Persian and Hindi are spelled with them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)
BRACKETS = re.compile(r"\[[^\[\]]*\]")
PARENTHESES = re.compile(r"\([^()]*\)")
LETTER_OR_DIGIT = re.compile(r"[^\W_]")  # as str.isalnum
SPACE_BEFORE_MARK = re.compile(r" +(?=[,.!?;:])")


class UnreadableFile(Exception):
    """A file that holds no lines of speech. The message is the reason, for the report."""


class Turn(NamedTuple):
    """One turn of speech. Season, episode and scene are None and location is "" where the rows do not say."""

    season: int | None
    episode: int | None
    scene: int | None
    speaker: str
    line: str
    start_seconds: float = float("nan")
    end_seconds: float = float("nan")
    location: str = ""


@dataclass
class Reading:
    """What one file gave: its turns, the count of its rows, the notes on them."""

    source: str
    turns: list[Turn] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    count: FileCount = field(init=False)

    def __post_init__(self) -> None:
        self.count = FileCount(self.source)

    def note(self, row: int, kind: str, reason: str, text: str = "") -> None:
        start = " ".join(text[: 2 * NOTE_CHARACTERS].split())[:NOTE_CHARACTERS]
        self.notes.append(Note(self.source, row, kind, reason, start))

    def keep(self, *turns: Turn) -> None:
        """Count one row as kept, with the turns it gave."""
        self.count.rows_in += 1
        self.count.rows_out += 1
        self.count.lines += len(turns)
        self.turns.extend(turns)

    def drop(self, row: int, reason: str, text: str = "") -> None:
        """Count one row as dropped and say why."""
        self.count.rows_in += 1
        self.count.rows_dropped += 1
        self.note(row, DROPPED, reason, text)


@dataclass(frozen=True)
class TextLines:
    """Physical lines of a file, each ended by one newline. ``overlong``: index to characters of those cut short."""

    lines: list[str]
    overlong: dict[int, int]
    repair: str = ""  # what had to be done to the encoding


def read_text_lines(file: Path) -> TextLines:
    """The physical lines of a text file in UTF-8, UTF-16, UTF-32 or cp1252, with any line ends.

    Raises:
        UnreadableFile: no regular file, too large, empty, binary, or refused by the system.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile("a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableFile(f"{status.st_size / MAX_FILE_BYTES:.1f} GiB; the limit is 1 GiB")
        with file.open("rb") as binary:
            return _read_lines(binary, status.st_size)
    except OSError as error:
        raise UnreadableFile((error.strerror or str(error)).lower()) from None


def _read_lines(binary: BinaryIO, size_bytes: int) -> TextLines:
    encoding, repair = _detect_encoding(binary.read(SAMPLE_BYTES))
    binary.seek(0)
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    # newline=None: CRLF and lone CR arrive as one newline.
    with io.TextIOWrapper(binary, encoding=encoding, errors=errors, newline=None) as stream:
        lines, overlong = _split_small(stream.read()) if size_bytes <= SMALL_BYTES else _split_lines(stream)
    if not any(line != "\n" for line in lines):
        raise UnreadableFile("empty")
    return TextLines(lines, overlong, _mend_encoding(lines) or repair)


def _detect_encoding(sample: bytes) -> tuple[str, str]:
    """The encoding by the first bytes, and the note it deserves."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if sample.startswith(mark):
            return encoding, ""
    for magic, what in MAGIC.items():
        if sample.startswith(magic):
            raise UnreadableFile(f"{what}, not text")
    half = max(1, len(sample) // 2)
    even, odd = sample[::2].count(0) / half, sample[1::2].count(0) / half
    if min(even, odd) < 0.1 and max(even, odd) > 0.5:
        return ("utf-16-le" if odd > even else "utf-16-be"), "UTF-16 without a byte order mark"
    controls = len(sample) - len(sample.translate(None, CONTROL_BYTES))
    if controls > max(3, len(sample) // 20):
        raise UnreadableFile("binary data, not text")
    return "utf-8-sig", ""


def _split_small(text: str) -> tuple[list[str], dict[int, int]]:
    """As ``_split_lines``, of a text that cannot reach its limits."""
    lines = text.split("\n")
    if max(map(len, lines)) > MAX_ROW_CHARACTERS:
        return _split_lines(io.StringIO(text))
    if not lines[-1]:
        lines.pop()
    return [line.rstrip(" \t") + "\n" for line in lines], {}


def _split_lines(stream: io.TextIOBase) -> tuple[list[str], dict[int, int]]:
    lines: list[str] = []
    overlong: dict[int, int] = {}
    total = 0
    while line := stream.readline(MAX_ROW_CHARACTERS + 1):
        if len(line) > MAX_ROW_CHARACTERS and not line.endswith("\n"):
            overlong[len(lines)] = len(line) + _skip_rest(stream)
            line = line[:NOTE_CHARACTERS]
        # Without trailing blanks a closing quote is the last character, as the csv module wants it.
        lines.append(line.rstrip(" \t\n") + "\n")
        total += len(line)
        if total > MAX_TEXT_CHARACTERS or len(lines) > MAX_TEXT_LINES:
            raise UnreadableFile(f"more than {MAX_TEXT_CHARACTERS:,} characters or {MAX_TEXT_LINES:,} lines")
    return lines, overlong


def _skip_rest(stream: io.TextIOBase) -> int:
    skipped = 0
    while part := stream.readline(1 << 20):
        skipped += len(part)
        if part.endswith("\n"):
            return skipped - 1
    return skipped


def _mend_encoding(lines: list[str]) -> str:
    """Decode in place what was not UTF-8, and say so."""
    beyond_ascii = [at for at, line in enumerate(lines) if not line.isascii()]
    bad = [at for at in beyond_ascii if ESCAPED_BYTE.search(lines[at])]
    if not bad:
        return ""
    if len(beyond_ascii) > 2 * len(bad):  # mostly good UTF-8: mend the single bytes
        for at in bad:
            lines[at] = ESCAPED_BYTE.sub(lambda byte: _as_cp1252(byte[0]), lines[at])
        return "bytes that are not UTF-8, read as cp1252"
    for at in beyond_ascii:
        lines[at] = _as_cp1252(lines[at])
    return "not UTF-8, read as cp1252"


def _as_cp1252(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def clean_text(text: str) -> tuple[str, bool]:
    """The text with single plain spaces and nothing invisible; True where more than white space changed."""
    text = text.strip()
    if text.isprintable() and "  " not in text:  # printable: no control or zero-width character, no space but " "
        return text, False
    visible = INVISIBLE.sub("", text)
    return " ".join(visible.split()), visible != text


def remove_parts(text: str, pattern: re.Pattern[str]) -> str:
    """The text without the parts that match, nested up to three deep, and without the gaps they leave."""
    if not pattern.search(text):
        return text
    for _ in range(3):
        text = pattern.sub(" ", text)
    return SPACE_BEFORE_MARK.sub("", " ".join(text.split()))


def has_speech(text: str) -> bool:
    """Whether a letter or digit remains."""
    return bool(LETTER_OR_DIGIT.search(text))


@lru_cache(maxsize=10_000)
def tidy_name(name: str) -> tuple[str, bool]:
    """A speaker's name without stage notes, quotes and colon; True where more than white space changed."""
    plain, changed = clean_text(name)
    tidy = remove_parts(remove_parts(plain, PARENTHESES), BRACKETS)
    if not has_speech(tidy):  # "(Mike)": the note is the name
        tidy = plain.strip("()[] ")
    tidy = tidy.strip(' "').rstrip(":;, ").strip(' "')
    if len(tidy) > 2 and tidy[0] + tidy[-1] in {"''", "‘’", "“”"}:
        tidy = tidy[1:-1].strip()
    return tidy, changed or tidy != plain


def note_encoding(reading: Reading, text: TextLines) -> None:
    """Say once for the file what had to be done to read its characters."""
    if text.repair:
        reading.note(0, REPAIRED, text.repair)
