"""SRT subtitles: every kind of dirt, and what must hold for any bytes at all."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import subtitles
from utils.lines import DROPPED, FLAGGED, REPAIRED, UNKNOWN
from utils.subtitles import read_subtitles
from utils.text import Reading, UnreadableFile


def read_bytes(content: bytes, known: tuple[str, ...] = ()) -> Reading:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "S01E01.srt"
        file.write_bytes(content)
        return read_subtitles(file, "S01E01.srt", known)


def cue(text: str, start: int = 1, end: int = 3) -> str:
    return f"1\n00:00:{start:02},000 --> 00:00:{end:02},000\n{text}\n\n"


def read(text: str, known: tuple[str, ...] = ()) -> Reading:
    return read_bytes(text.encode(), known)


def said(reading: Reading) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.line) for turn in reading.turns]


def noted(reading: Reading) -> list[tuple[int, str, str]]:
    return [(note.row, note.kind, note.reason) for note in reading.notes]


def check_identity(reading: Reading) -> None:
    count = reading.count
    assert count.rows_in == count.rows_out + count.rows_dropped
    assert count.lines == len(reading.turns) >= count.rows_out
    dropped = Counter(note.row for note in reading.notes if note.kind == DROPPED)
    assert sum(dropped.values()) == count.rows_dropped
    assert all(number == 1 for number in dropped.values())


@pytest.mark.parametrize(
    "text",
    [
        "1\n00:00:01,500 --> 00:00:03,000\nHello\nthere.\n\n2\n00:00:04,000 --> 00:00:05,250\nHi.\n",
        "\ufeff1\r\n00:00:01,500 --> 00:00:03,000\r\nHello\r\nthere.\r\n\r\n2\r\n00:00:04,000 --> 00:00:05,250\r\nHi.",
        "00:00:01.500 --> 00:00:03.000\nHello\nthere.\n\n00:00:04.000 --> 00:00:05.250\nHi.\n",
        "1\n0:00:01,5-->0:00:03\nHello\nthere.\n2\n00:04,000 -> 00:05,250 X1:1 X2:2\nHi.\n",
        "1\n\n00:00:01,500 --> 00:00:03,000\n\nHello\n\nthere.\n\n2\n\n00:00:04,000 --> 00:00:05,250\nHi.\n",
    ],
)
def test_clean_files_of_many_shapes_need_no_note(text: str) -> None:
    reading = read(text)
    assert said(reading) == [(UNKNOWN, "Hello there."), (UNKNOWN, "Hi.")]
    assert [(turn.start_seconds, turn.end_seconds) for turn in reading.turns] == [(1.5, 3.0), (4.0, 5.25)]
    assert reading.notes == []
    check_identity(reading)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("<i>Hello</i> <font color='red'>you</font>", "Hello you", "markup removed"),
        ("{\\an8}Hello you", "Hello you", "markup removed"),
        ("Salt &amp; pepper", "Salt & pepper", "markup removed"),
        ("[door\nopens] Hello you", "Hello you", "sound removed"),
        ("Hello (sighs) you", "Hello you", "sound removed"),
        ("♪ la la ♪ Hello you", "Hello you", "music removed"),
        ("Hello\u200b you", "Hello you", "invisible characters removed"),
    ],
)
def test_what_is_not_said_is_taken_out(text: str, line: str, reason: str) -> None:
    reading = read(cue(text))
    assert said(reading) == [(UNKNOWN, line)]
    assert noted(reading) == [(1, REPAIRED, reason)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[door opens]", "sound only"),
        ("(sighs)\n<i>[thunder]</i>", "sound only"),
        ("- [thud]\n- (gasps)", "sound only"),
        ("♪", "music"),
        ("♪ Should I stay\nor should I go ♪", "music"),
        ("or should I go ♪", "music"),
        ("# Should I stay #", "music"),
        ("Subtitles by Somebody", "credit"),
        ("Synced and corrected by Somebody", "credit"),
        ("sync: Somebody", "credit"),
        ("www.example.org", "credit"),
        ("Transcript by Somebody", "credit"),
        ("Downloaded from OpenSubtitles", "credit"),
        ("visit example.com", "credit"),
        ("", "empty line"),
        ("<i></i>", "empty line"),
        ("...", "no speech"),
        ("MIKE:", "no speech"),
        ("x" * 100_001, "row of 100,001 characters"),
    ],
)
def test_a_cue_without_speech_is_dropped_with_one_note(text: str, reason: str) -> None:
    reading = read(cue("Hey.") + cue(text, 4, 5) + cue("Bye.", 6, 7))
    assert said(reading) == [(UNKNOWN, "Hey."), (UNKNOWN, "Bye.")]
    assert [(kind, why) for _, kind, why in noted(reading)] == [(DROPPED, reason)]
    assert reading.count.rows_in == 3
    check_identity(reading)


@pytest.mark.parametrize(
    "line",
    ["We should synchronise our watches.", "#1 fan!", "--and then", "-5 degrees", "It is 10:30.", "A subtle site."],
)
def test_speech_that_only_looks_odd_stays(line: str) -> None:
    reading = read(cue(line))
    assert said(reading) == [(UNKNOWN, line)]
    assert reading.notes == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("- Come on!\n- Wait.", ["Come on!", "Wait."]),
        ("-Come on\nnow!\n-Wait.", ["Come on now!", "Wait."]),
        ("Come on!\n- Wait.", ["Come on!", "Wait."]),
        ("- Come on! - Wait.", ["Come on!", "Wait."]),
        ("<i>- Come on!</i>\n<i>- Wait.</i>", ["Come on!", "Wait."]),
        ("- Come on!\n- [thud]", ["Come on!"]),
        ("- Come on!", ["Come on!"]),
        ("A well-known - thing.", ["A well-known - thing."]),
    ],
)
def test_each_speaker_of_a_cue_has_a_line(text: str, lines: list[str]) -> None:
    reading = read(cue(text))
    assert [turn.line for turn in reading.turns] == lines
    assert reading.count.rows_out == 1
    check_identity(reading)


def test_two_speakers_share_the_time_by_length() -> None:
    first, second = read(cue("- aaa\n- b", 1, 5)).turns
    assert (first.start_seconds, first.end_seconds) == (1.0, 4.0)
    assert (second.start_seconds, second.end_seconds) == (4.0, 5.0)


@pytest.mark.parametrize(
    ("texts", "known", "expected"),
    [
        (["MIKE: Go!"], (), [("MIKE", "Go!")]),
        (["DR. OWENS: Go!"], (), [("DR. OWENS", "Go!")]),
        (["MIKE (whispering):\nGo!"], (), [("MIKE", "Go!")]),
        (["- MIKE: Go!\n- EL: No."], (), [("MIKE", "Go!"), ("EL", "No.")]),
        (["Mike: Go!"], (), [(UNKNOWN, "Mike: Go!")]),
        (["Mike: Go!"], ("mike",), [("Mike", "Go!")]),
        (["Mike: Go!", "Mike: Now!"], (), [("Mike", "Go!"), ("Mike", "Now!")]),
        (
            ["Remember this: go.", "Remember this: no."],
            (),
            [(UNKNOWN, "Remember this: go."), (UNKNOWN, "Remember this: no.")],
        ),
        (["Listen: go.", "Listen: no."], (), [(UNKNOWN, "Listen: go."), (UNKNOWN, "Listen: no.")]),
        (["WARNING: keep out"], (), [(UNKNOWN, "WARNING: keep out")]),
        (["Listen:"], (), [(UNKNOWN, "Listen:")]),
    ],
)
def test_a_name_before_a_colon_is_the_speaker(
    texts: list[str], known: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    reading = read("".join(cue(text, 2 * at, 2 * at + 1) for at, text in enumerate(texts)), known)
    assert said(reading) == expected


def test_order_overlap_and_swapped_times() -> None:
    reading = read(cue("Third.", 8, 6) + cue("First.", 1, 3) + cue("Second.", 2, 4))
    assert [turn.line for turn in reading.turns] == ["First.", "Second.", "Third."]
    assert noted(reading) == [
        (1, REPAIRED, "end before start: swapped"),
        (5, REPAIRED, "out of order: sorted by time"),
        (9, REPAIRED, "out of order: sorted by time"),
        (9, FLAGGED, "overlaps the cue before"),
    ]
    assert (reading.turns[2].start_seconds, reading.turns[2].end_seconds) == (6.0, 8.0)


@pytest.mark.parametrize(
    "times",
    [
        "100:00:01,000 --> 100:00:02,000",
        "00:00:xx,000 --> 00:00:02,000",
        "00:61:01,000 --> 00:61:02,000",
        "00:00:01,000 -->",
    ],
)
def test_a_malformed_time_drops_its_cue(times: str) -> None:
    reading = read(cue("Hey.") + f"2\n{times}\nLost.\n\n" + cue("Bye.", 6, 7))
    assert said(reading) == [(UNKNOWN, "Hey."), (UNKNOWN, "Bye.")]
    assert noted(reading) == [(5, DROPPED, "malformed time")]
    check_identity(reading)


def test_text_before_the_first_time_is_a_dropped_row() -> None:
    reading = read("WEBVTT\n\n" + cue("Hey."))
    assert noted(reading) == [(1, DROPPED, "text before the first time")]
    assert reading.count.rows_in == 2
    check_identity(reading)


@pytest.mark.parametrize("content", [b"", b"Just text\n", b"name,line\nMike,Hi\n", b"PK\x03\x04"])
def test_what_is_no_subtitle_file_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableFile):
        read_bytes(content)


def test_cp1252_is_read() -> None:
    reading = read_bytes(cue("Ça va, René?").encode("cp1252"))
    assert said(reading) == [(UNKNOWN, "Ça va, René?")]
    assert noted(reading) == [(0, REPAIRED, "not UTF-8, read as cp1252")]


PIECES = ["1\n", "00:00:01,000 --> 00:00:02,000\n", "00:00:0x,0 --> 9\n", "-->", "- ", "♪", "#", "[x]", "(", ")", "<i>"]
MARKS = ["{\\an8}", "MIKE: ", "Mike: ", "Hi.", "\n", "\r", " ", "&amp;", "&#0;", "\ufeff", "\0", ":", "www.", "é", "12"]
DIRT = st.lists(st.sampled_from([*PIECES, *MARKS]), max_size=60).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), DIRT.map(str.encode), DIRT.map(lambda text: text.encode("utf-16"))))
def test_any_bytes_are_read_or_refused_and_no_cue_is_lost(content: bytes) -> None:
    for start in (b"", b"1\n00:00:01,000 --> 00:00:02,000\n"):
        try:
            check_identity(read_bytes(start + content))
        except UnreadableFile as error:
            assert str(error)


def test_a_plain_cue_is_read_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        "Come in.", " Two  spaces,\nand a line. ", "- No.\n- Yes.", "MIKE: Hello.", "[SIGHS] Well.", "♪ La ♪", "...",
        "-5", "Correct, I sub.", "Subtitles by Ann", "Caf\u00e9\u200b", "A\ufffdB", "\u2010 Who?", "#1", "A & B", "",
        "<i>Go</i>",
    ]  # fmt: skip
    cues = [f"{at}\n00:00:{at:02},000 --> 00:00:{at:02},900\n{text}\n" for at, text in enumerate(said)]
    cues.append("99\n00:01:09,000 --> 00:01:02,000\nBackwards.\n")
    (tmp_path / "a.srt").write_text("\n".join(cues), encoding="utf-8")
    quick = read_subtitles(tmp_path / "a.srt", "a.srt")
    assert len(quick.turns) > 8
    monkeypatch.setattr(subtitles, "_plain_cue", lambda cue: None)
    assert str(read_subtitles(tmp_path / "a.srt", "a.srt")) == str(quick)  # NaN is not itself
