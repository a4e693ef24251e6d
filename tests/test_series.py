"""A series folder: which files are found, which episode they are, and what the errors say."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import DataError
from utils.lines import DROPPED, FLAGGED, LINE_DTYPES
from utils.series import load_lines, open_series, series_files, spoken_lines

TRANSCRIPT = "name,line\nMike,Hi.\nWill,Yes.\n"
SUBTITLES = "1\n00:00:01,000 --> 00:00:02,000\nMike: Hi.\n\n2\n00:00:03,000 --> 00:00:04,000\nMIKE: Bye.\n"


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def places(folder: Path) -> dict[str, tuple[int, int]]:
    lines, _ = load_lines(folder)
    first = lines.drop_duplicates("source")
    return dict(zip(first["source"], zip(first["season"], first["episode"], strict=True), strict=True))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("S01E02.csv", (1, 2)),
        ("s1e2.CSV", (1, 2)),
        ("S01.E02.csv", (1, 2)),
        ("transcriptS01E05.csv", (1, 5)),
        ("my-show-1x02.csv", (1, 2)),
        ("Season 1 Episode 12.csv", (1, 12)),
        ("Season 1, Ep. 2 - The Title.csv", (1, 2)),
        ("show.S02E03.1920x1080.x264.csv", (2, 3)),
        ("show 1920x1080 16x9 2x03.csv", (2, 3)),
        ("Season 2/Episode 3.csv", (2, 3)),
        ("Season 2/03.csv", (2, 3)),
        ("show s02/03 - The Title.csv", (2, 3)),
        ("transcripts/season_2/e3.csv", (2, 3)),
    ],
)
def test_season_and_episode_from_the_name(tmp_path: Path, name: str, place: tuple[int, int]) -> None:
    lines, report = load_lines(write(tmp_path / "show", {name: TRANSCRIPT}))
    assert set(zip(lines["season"], lines["episode"], strict=True)) == {place}
    assert report.notes == []


def test_files_without_a_place_are_numbered_in_natural_order(tmp_path: Path) -> None:
    names = ["pilot 10.csv", "pilot 9.csv", "show 1920x1080.csv", "notes.csv"]
    write(tmp_path, dict.fromkeys(names[:3], TRANSCRIPT) | {"notes.csv": "a,b\n1,2\n", "pilot 9.srt": SUBTITLES})
    found = places(tmp_path)
    assert found == {"pilot 9.csv": (0, 1), "pilot 9.srt": (0, 1), "pilot 10.csv": (0, 2), "show 1920x1080.csv": (0, 3)}
    _, report = load_lines(tmp_path)
    flagged = [(note.row, note.kind, note.reason) for note in report.notes]
    assert flagged == [(0, FLAGGED, "no season and episode in the file name")] * 4


def test_an_episode_without_a_season_keeps_its_number(tmp_path: Path) -> None:
    write(tmp_path, {"Episode 2.csv": TRANSCRIPT, "pilot.csv": TRANSCRIPT, "zero.csv": TRANSCRIPT})
    assert places(tmp_path) == {"Episode 2.csv": (0, 2), "pilot.csv": (0, 1), "zero.csv": (0, 3)}


def test_columns_of_a_row_win_over_the_file_name(tmp_path: Path) -> None:
    write(tmp_path, {"S09E09.csv": "season,episode,name,line\n1,2,Mike,Hi.\n,,Will,Yes.\n"})
    lines, _ = load_lines(tmp_path)
    assert list(zip(lines["season"], lines["episode"], strict=True)) == [(1, 2), (9, 9)]


def test_the_frame_is_ordered_typed_and_counted(tmp_path: Path) -> None:
    write(tmp_path, {"S01E10.csv": TRANSCRIPT, "S01E02.csv": TRANSCRIPT, "subtitles/S01E02.srt": SUBTITLES})
    lines, report = load_lines(open_series(tmp_path))
    assert lines.dtypes.astype(str).to_dict() == LINE_DTYPES
    assert list(lines["source"].unique()) == ["S01E02.csv", "subtitles/S01E02.srt", "S01E10.csv"]
    assert list(lines["position"]) == [0, 1] * 3
    assert (report.rows_in, report.rows_out, report.rows_dropped, report.lines) == (6, 6, 0, 6)
    assert list(lines["speaker"]) == ["Mike", "Will", "Mike", "MIKE", "Mike", "Will"]
    json.dumps(report.to_dict())


def test_spoken_lines_have_every_episode_once(tmp_path: Path) -> None:
    write(tmp_path, {"S01E02.CSV": TRANSCRIPT, "S01E02.srt": SUBTITLES, "S01E01.srt": SUBTITLES})
    lines, _ = load_lines(tmp_path)
    spoken = spoken_lines(lines)
    assert list(spoken["source"]) == ["S01E01.srt"] * 2 + ["S01E02.CSV"] * 2
    assert list(spoken.index) == [0, 1, 2, 3]
    assert len(spoken_lines(lines.iloc[:0])) == 0


def test_a_second_file_for_an_episode_is_kept_and_flagged(tmp_path: Path) -> None:
    write(tmp_path, {"S01E01.csv": TRANSCRIPT, "1x01 again.csv": TRANSCRIPT, "S01E01.srt": SUBTITLES})
    lines, report = load_lines(tmp_path)
    assert len(lines) == 6
    assert [(note.file, note.row, note.kind, note.reason) for note in report.notes] == [
        ("S01E01.csv", 0, FLAGGED, "a second file for the same episode")
    ]


def test_what_is_skipped_is_reported_with_the_reason(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "S01E01.csv": TRANSCRIPT,
            "scenes.csv": "episode,row,scene\nS01E01,0,1\n",
            "empty.csv": "",
            "binary.csv": bytes(range(256)) * 9,
            "folder.csv/inside.txt": "",
            "other/series.json": "{}",
            "other/S01E01.csv": TRANSCRIPT,
            "sample/transcripts/S01E01.csv": TRANSCRIPT,
            ".hidden/S01E01.csv": TRANSCRIPT,
            ".S01E01.csv": TRANSCRIPT,
        },
    )
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    lines, report = load_lines(tmp_path)
    assert len(lines) == 2
    assert {note.file: note.reason for note in report.skipped} == {
        "scenes.csv": "no speaker and line columns; its first row: episode, row, scene",
        "empty.csv": "empty",
        "binary.csv": "binary data, not text",
        "folder.csv": "a folder",
        "gone.csv": "no such file or directory",
        "pipe.csv": "not a regular file",
        "other": "a series of its own",
        "sample": "a series of its own",
    }


def test_a_refused_file_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"S01E01.csv": TRANSCRIPT, "S01E02.csv": TRANSCRIPT})
    opened = Path.open

    def refuse(self: Path, *arguments: object, **named: object) -> object:
        if self.name == "S01E02.csv":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    _, report = load_lines(tmp_path)
    assert [(note.file, note.reason) for note in report.skipped] == [("S01E02.csv", "permission denied")]


def test_links_are_followed_once(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"S01E02.csv": TRANSCRIPT})
    folder = write(tmp_path / "show", {"S01E01.csv": TRANSCRIPT})
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "more").symlink_to(outside)
    (folder / "S01E03.csv").symlink_to(outside / "S01E02.csv")
    assert places(folder) == {"S01E01.csv": (1, 1), "more/S01E02.csv": (1, 2), "S01E03.csv": (1, 3)}


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"S01E01 caf\xe9.csv")
    try:
        write(tmp_path, {name: TRANSCRIPT})
    except OSError:
        pytest.skip("the file system allows UTF-8 only")
    assert places(tmp_path) == {"S01E01 caf?.csv": (1, 1)}


def test_the_cast_is_known_to_the_subtitles(tmp_path: Path) -> None:
    once = "1\n00:00:01,000 --> 00:00:02,000\nHop: Hi.\n"
    write(tmp_path, {"S01E01.srt": once, "characters.jsonl": '{"name": "Hopper", "aliases": ["Hop"]}'})
    lines, _ = load_lines(tmp_path)
    assert list(lines["speaker"]) == ["Hop"]
    assert open_series(tmp_path).characters.resolve("Hop") == "Hopper"


@pytest.mark.parametrize(
    ("name", "title"), [("king-john", "King John"), ("my_series", "My Series"), ("The Show 2", "The Show 2")]
)
def test_a_title_from_the_folder(tmp_path: Path, name: str, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    assert open_series(tmp_path / name).title == title
    monkeypatch.chdir(tmp_path / name)
    assert open_series(Path()).title == title


def test_title_and_logline_from_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"series.json": '{"title": "The  Show", "logline": "All of it.", "language": "en"}'})
    series = open_series(tmp_path)
    assert (series.title, series.logline, len(series.characters)) == ("The Show", "All of it.", 0)
    assert series.characters is series.characters


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "cannot be read"), (b"\xff", "cannot be read"), (b"[]", "no object"), (b'{"title": 3}', "'title' is 3")],
)
def test_a_faulty_series_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    write(tmp_path, {"series.json": content})
    with pytest.raises(DataError, match=message):
        open_series(tmp_path)


def test_a_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, {"stranger/S01E01.csv": TRANSCRIPT})
    with pytest.raises(DataError, match=r"no series folder .*strange\.\n.*nearest is .*stranger"):
        open_series(tmp_path / "strange")
    with pytest.raises(DataError, match="no series folder"):
        open_series(tmp_path / "a" / "b")
    with pytest.raises(DataError, match="is a file"):
        open_series(tmp_path / "stranger" / "S01E01.csv")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "Found: an empty folder"),
        ({"a.txt": "x", "b.txt": "x"}, "Found: 2 x .txt"),
        ({"a.csv": "x,y\n1,2\n"}, "Found: a.csv: no speaker and line columns; its first row: x, y"),
        ({"a.csv": b"PK\x03\x04"}, "Found: a.csv: an Excel file or a zip archive, not text"),
        ({"sample/series.json": "{}"}, "Found: sample: a series of its own"),
    ],
)
def test_a_folder_without_a_transcript(tmp_path: Path, files: dict[str, str | bytes], found: str) -> None:
    with pytest.raises(DataError) as caught:
        load_lines(write(tmp_path, files))
    message = str(caught.value)
    assert "name,line" in message
    assert "SRT" in message
    assert found in message
    assert "python training_pipeline.py data --data data/sample_series" in message


def test_a_series_in_which_nobody_speaks(tmp_path: Path) -> None:
    write(tmp_path, {"S01E01.csv": "name,line\nMike,\nWill,\nEl,[sighs]\n"})
    with pytest.raises(DataError, match="2 x empty line, 1 x no speech"):
        load_lines(tmp_path)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["S01E01.csv", "1x02.csv", "a.csv", "a.srt", "b.srt"]), st.binary(max_size=200)))
def test_any_folder_is_read_or_refused_with_a_sentence(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        contents = {
            name: (b"name,line\n" if name.endswith("csv") else b"00:01 --> 00:02\n") + rest
            for name, rest in files.items()
        }
        write(Path(folder), dict(contents))
        try:
            lines, report = load_lines(Path(folder))
        except DataError as error:
            assert "Try the sample" in str(error)
            return
        assert len(lines) == report.lines
        assert report.rows_in == report.rows_out + report.rows_dropped
        assert len(report.files) + len(report.skipped) == len(files)
        assert not lines.drop(columns="scene").drop(columns=["start_seconds", "end_seconds"]).isna().any(axis=None)
        dropped = Counter(note.file for note in report.notes if note.kind == DROPPED)
        assert all(dropped[count.file] == count.rows_dropped for count in report.files)


def test_the_files_of_a_series(tmp_path: Path) -> None:
    mine = ("series.json", "themes.json", "transcripts/S01E02.csv", "transcripts/S01E10.CSV", "deep/er/1x03 Straße.srt")
    others = ("README.md", "notes.json", ".hidden/S01E01.csv", ".S01E04.csv", "other/characters.jsonl", "other/x.csv")
    folder = write(tmp_path / "show", dict.fromkeys(mine + others, TRANSCRIPT) | {"folder.csv/inside.txt": ""})
    (folder / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    os.mkfifo(folder / "pipe.csv")
    assert series_files(folder) == {name: folder / name for name in (*mine[:2], mine[4], *mine[2:4])}
    assert list(series_files(folder)) == ["series.json", "themes.json", mine[4], mine[2], mine[3]]
    with pytest.raises(DataError, match="no series folder"):
        series_files(tmp_path / "shov")


def test_two_files_of_one_name(tmp_path: Path) -> None:
    for name in (b"\xff.csv", b"\xfe.csv"):
        (tmp_path / os.fsdecode(name)).write_text(TRANSCRIPT)
    with pytest.raises(DataError, match=r"two files \?\.csv"):
        series_files(tmp_path)
