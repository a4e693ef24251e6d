"""CSV transcripts: every kind of dirt, and what must hold for any bytes at all."""

from __future__ import annotations

import csv
import io
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from utils.lines import DROPPED, FLAGGED, REPAIRED, UNKNOWN
from utils.text import MAX_ROW_CHARACTERS, Reading, UnreadableFile, clean_text, tidy_name
from utils.transcripts import read_transcript


def read_bytes(content: bytes) -> Reading:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "S01E01.csv"
        file.write_bytes(content)
        return read_transcript(file, "S01E01.csv")


def read(text: str, encoding: str = "utf-8") -> Reading:
    return read_bytes(text.encode(encoding))


def said(reading: Reading) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.line) for turn in reading.turns]


def noted(reading: Reading) -> list[tuple[int, str, str]]:
    return [(note.row, note.kind, note.reason) for note in reading.notes]


def check_identity(reading: Reading) -> None:
    count = reading.count
    assert count.rows_in == count.rows_out + count.rows_dropped
    assert count.lines == len(reading.turns)
    dropped = Counter(note.row for note in reading.notes if note.kind == DROPPED)
    assert sum(dropped.values()) == count.rows_dropped
    assert all(number == 1 for number in dropped.values())


HELLO = [("Mike", "Well, hello."), ("Will", "Hi.")]


@pytest.mark.parametrize(
    "text",
    [
        'name,line\nMike,"Well, hello."\nWill,Hi.\n',
        'name,line\r\nMike,"Well, hello."\r\nWill,Hi.\r\n',
        'name,line\rMike,"Well, hello."\rWill,Hi.',
        'Name , LINE\nMike, "Well, hello."\nWill, Hi.\n',
        ' Speaker ,Dialogue\n\n  Mike  ,"Well,   hello."  \n\n\nWill,Hi.\n\n',
        "who;quote\nMike;Well, hello.\nWill;Hi.",
        "character\tutterance\nMike\tWell, hello.\nWill\tHi.\n",
        'line,name\n"Well, hello.",Mike\nHi.,Will\n',
        'id,role,sentence,mood\n1,Mike,"Well, hello.",calm\n2,Will,Hi.,sad\n',
        'line,speaker,text\n1,Mike,"Well, hello."\n2,Will,Hi.\n',
        '"name","line",,\n"Mike","Well, hello.",,\nWill,Hi.,,\n',
        'name,line\nMike,"Well,\nhello."\nWill,Hi.\n',
    ],
)
def test_clean_files_in_many_dialects_need_no_note(text: str) -> None:
    reading = read(text)
    assert said(reading) == HELLO
    assert reading.notes == []
    check_identity(reading)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_need_no_note(encoding: str) -> None:
    reading = read("name,line\nRené,“Ça va…” she said\n", encoding)
    assert said(reading) == [("René", "“Ça va…” she said")]
    assert reading.notes == []


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_read_and_noted_once(encoding: str) -> None:
    reading = read("name,line\nRené,“Ça va…” she said\nZoë,Naïve – isn’t it?\n", encoding)
    assert said(reading) == [("René", "“Ça va…” she said"), ("Zoë", "Naïve – isn’t it?")]
    assert [(note.row, note.kind) for note in reading.notes] == [(0, REPAIRED)]
    assert ("cp1252" if encoding == "cp1252" else "UTF-16") in reading.notes[0].reason


def test_single_bad_bytes_in_utf8_leave_the_rest_alone() -> None:
    good = "name,line\n" + "René,Où ça ?\n" * 9
    reading = read_bytes(good.encode() + b"Will,It\x92s me\n")
    assert said(reading)[0] == ("René", "Où ça ?")
    assert said(reading)[-1] == ("Will", "It’s me")


@pytest.mark.parametrize(
    ("row", "turn", "kind", "reason"),
    [
        ("Mike:,Hi.", ("Mike", "Hi."), REPAIRED, "name tidied"),
        ("MIKE (whispering):,Hi.", ("MIKE", "Hi."), REPAIRED, "name tidied"),
        ("'Mike',Hi.", ("Mike", "Hi."), REPAIRED, "name tidied"),
        ("(Mike),Hi.", ("Mike", "Hi."), REPAIRED, "name tidied"),
        (",Hi.", (UNKNOWN, "Hi."), REPAIRED, "no name"),
        ("Mike,Well, hello.", ("Mike", "Well, hello."), REPAIRED, "more columns than the heading"),
        ("Mike,He\x00llo.", ("Mike", "Hello."), REPAIRED, "invisible characters removed"),
        ("Mike,He\u200bllo.", ("Mike", "Hello."), REPAIRED, "invisible characters removed"),
        ("Mike,Oh [sighs]! No.", ("Mike", "Oh! No."), REPAIRED, "sound removed"),
        ('Mike,"He said "hi, you" to me"', ("Mike", 'He said "hi, you" to me'), REPAIRED, "misplaced quotes"),
        ("Mike,Wh\ufffdt?", ("Mike", "Wh\ufffdt?"), FLAGGED, "characters lost before"),
        ("Where have you all been?", (UNKNOWN, "Where have you all been?"), FLAGGED, "no name, only text"),
        ("Mike," + "word " * 300, ("Mike", ("word " * 300).strip()), FLAGGED, "longer than one turn of speech"),
        ("M" * 61 + ",Hi.", ("M" * 61, "Hi."), FLAGGED, "very long name"),
        ("Will,Yes.", ("Will", "Yes."), FLAGGED, "same as the row before"),
    ],
)
def test_a_dirty_row_is_kept_with_one_note(row: str, turn: tuple[str, str], kind: str, reason: str) -> None:
    reading = read(f"name,line\nDustin,Hey.\nWill,Yes.\n{row}\nDustin,Bye.\n")
    assert said(reading) == [("Dustin", "Hey."), ("Will", "Yes."), turn, ("Dustin", "Bye.")]
    assert noted(reading) == [(4, kind, reason)]
    check_identity(reading)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Mike,", "empty line"),
        (",", "empty line"),
        ('Mike,""', "empty line"),
        ("Dustin", "no text"),
        ("Somebody", "no text"),
        ("name,line", "heading row"),
        ("Name, Line", "heading row"),
        ("Mike,[sighs]", "no speech"),
        ("Mike,(sighs)", "no speech"),
        ("Mike,[sighs] ...", "no speech"),
        ("Mike," + "x" * MAX_ROW_CHARACTERS, "row of 100,005 characters"),
    ],
)
def test_a_row_without_speech_is_dropped_with_one_note(row: str, reason: str) -> None:
    reading = read(f"name,line\nDustin,Hey.\n{row}\nDustin,Bye.\n")
    assert said(reading) == [("Dustin", "Hey."), ("Dustin", "Bye.")]
    assert noted(reading) == [(3, DROPPED, reason)]
    assert reading.count.rows_in == 3
    check_identity(reading)


def test_asides_and_bare_marks_in_a_line_stay() -> None:
    reading = read("name,line\nMike,(quietly) Go.\nWill,...\nDustin,?!\n")
    assert [line for _, line in said(reading)] == ["(quietly) Go.", "...", "?!"]
    assert reading.notes == []


@pytest.mark.parametrize("close", ["", '"', "\n\n"])
def test_an_unclosed_quote_does_not_swallow_the_rows_below(close: str) -> None:
    reading = read(f'name,line\nDustin,Hey.\nMike,"Hello there\nWill,Hi, you.\nDustin,"What, now?"\nMike,Yes.{close}')
    expected = [("Dustin", "Hey."), ("Mike", "Hello there"), ("Will", "Hi, you."), ("Dustin", "What, now?")]
    assert said(reading)[:4] == expected
    assert (3, FLAGGED, "unclosed quote") in noted(reading)
    check_identity(reading)


def test_an_unclosed_quote_that_a_stray_one_closes_is_seen_by_its_rows() -> None:
    reading = read('name,line\nWill,Hm.\nMike,"Hello there\nWill,Hi.\nDustin,Oh."\nMike,Yes.\n')
    assert said(reading)[1:] == [("Mike", "Hello there"), ("Will", "Hi."), ("Dustin", "Oh."), ("Mike", "Yes.")]
    assert noted(reading) == [(3, FLAGGED, "unclosed quote")]


def test_a_speech_over_many_physical_lines_stays_one_row() -> None:
    verse = "\n".join(["Now, fair one", "But, O, how slow", "She wanes, like a dowager"] * 20)
    reading = read(f'name,line\nKing,"{verse}"\nQueen,Indeed.\n')
    assert len(reading.turns) == 2
    assert [note.reason for note in reading.notes] == ["longer than one turn of speech"]


def test_data_without_a_heading_row_is_read_as_name_and_line() -> None:
    reading = read("Mike,Where is he?\nWill,I am over here.\nDustin,Run!\n")
    assert said(reading)[0] == ("Mike", "Where is he?")
    assert len(reading.turns) == 3
    assert noted(reading) == [(0, FLAGGED, "no heading row: read as name,line")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n \n\r\n", "empty"),
        (b"episode,row,scene\nS01E01,0,1\n", "episode, row, scene"),
        (b"source,target,scenes\nMike,Will,3\n", "source, target, scenes"),
        (b"source,target\nMike,Will\n", "source, target"),
        (b"name,actor\nMike,Finn W\n", "name, actor"),
        (b"id,text\n1,Hello there.\n", "id, text"),
        (b"PK\x03\x04rest", "Excel"),
        (bytes(range(32)) * 50, "binary"),
        (b"x" * (MAX_ROW_CHARACTERS + 1), "first row has 100,001 characters"),
    ],
)
def test_what_is_no_transcript_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        read_bytes(content)


def test_season_episode_and_scene_come_from_the_row() -> None:
    reading = read("season,episode,scene,name,line\n2,3,7,Mike,Hi.\n2.0,4,,Will,Yo.\n,S05E06,8,Max,No.\nx,,9,El,So.\n")
    places = [(turn.season, turn.episode, turn.scene) for turn in reading.turns]
    assert places == [(2, 3, 7), (2, 4, None), (5, 6, 8), (None, None, 9)]
    assert noted(reading) == [(5, FLAGGED, "season is no whole number")]


def test_scene_labels_are_numbered_by_change_within_an_episode() -> None:
    rows = ["1,Lab", "1,Lab", "1,", "1,Lab", "1,School", "1,Lab", "2,Lab"]
    text = "episode,scene,name,line\n" + "".join(f"{row},Mike,{at}\n" for at, row in enumerate(rows))
    assert [turn.scene for turn in read(text).turns] == [1, 1, None, 1, 2, 3, 1]


def test_too_many_fields_keep_the_columns_behind_the_line() -> None:
    reading = read("name,line,scene\nMike,Well, hello, you,4\n")
    assert said(reading) == [("Mike", "Well, hello, you")]
    assert reading.turns[0].scene == 4


def test_200_megabytes_on_one_line_take_neither_time_nor_memory(tmp_path: Path) -> None:
    file = tmp_path / "S01E01.csv"
    with file.open("wb") as out:
        out.write(b"name,line\nMike,Hi.\n")
        out.write(b"a b," * 25_000)
        out.seek(199_900_000, 1)  # a hole: read as NULs, takes no room on the disk
        out.write(b"\nWill,Yes.\n")
    started = time.perf_counter()
    reading = read_transcript(file, "S01E01.csv")
    assert time.perf_counter() - started < 3
    assert said(reading) == [("Mike", "Hi."), ("Will", "Yes.")]
    assert noted(reading) == [(3, DROPPED, "row of 200,000,000 characters")]


def test_a_giant_line_is_never_held_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "S01E01.csv"
    file.write_bytes(b"name,line\nMike,Hi.\n" + b"a b," * 5_000_000)
    tracemalloc.start()
    read_transcript(file, "S01E01.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


DIRT = st.lists(
    st.sampled_from(
        [
            "name,line",
            "Mike",
            "Will",
            ",",
            ";",
            '"',
            '""',
            "\n",
            "\r\n",
            "\r",
            " ",
            "[x]",
            "(y)",
            ":",
            "Hi.",
            "\ufeff",
            "\0",
            "é",
        ]
    ),
    max_size=60,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=400), DIRT.map(str.encode), DIRT.map(lambda text: text.encode("utf-16"))))
def test_any_bytes_are_read_or_refused_and_no_row_is_lost(content: bytes) -> None:
    for start in (b"", b"name,line\n"):
        try:
            check_identity(read_bytes(start + content))
        except UnreadableFile as error:
            assert str(error)


WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"], exclude_characters="[]()\ufffd"), min_size=1, max_size=40
)
SPOKEN = WORDS.filter(lambda text: clean_text(text)[0] != "")


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(WORDS, SPOKEN), min_size=1, max_size=12),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-le"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_csv_writer_writes_reads_back(
    rows: list[tuple[str, str]], encoding: str, delimiter: str, end: str, quoting: int
) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("name", "line"), *rows])
    try:
        content = stream.getvalue().encode(encoding)
    except UnicodeEncodeError:
        assume(False)
    if encoding == "cp1252" and not stream.getvalue().isascii():
        assume(not any(_is_utf8(line) for line in content.splitlines()))
    if encoding == "utf-16-le":
        assume(content.count(0) > len(content) * 0.4)  # told by its NULs, which other scripts do not have
    assume(not any(name.strip().casefold() == "name" for name, _ in rows))
    expected = [(tidy_name(name)[0] or UNKNOWN, clean_text(line)[0]) for name, line in rows]
    reading = read_bytes(content)
    assert said(reading) == expected
    check_identity(reading)


def _is_utf8(line: bytes) -> bool:
    try:
        return not line.decode("utf-8").isascii()
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("row", ['a,"b\n', 'a,"b""\n'])
def test_a_file_of_unclosed_quotes_takes_time_by_its_length(row: str) -> None:
    started = time.perf_counter()
    assert read("name,line\n" + row * 20_000).count.rows_in > 100
    assert time.perf_counter() - started < 3
