"""A series: a folder of transcripts and subtitles, and what is said in them.

frame, report = load_lines(Path("data/sample_series"))
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import pandas as pd

from utils.characters import Cast, load_cast
from utils.collecting import no_collection
from utils.episodes import EpisodeFile, first_place, locate_episode, natural_order, place_turns, source_of
from utils.errors import DataError, nearest
from utils.lines import DROPPED, FLAGGED, LoadReport, Note, frame_of_columns
from utils.subtitles import read_subtitles
from utils.text import Reading, UnreadableFile
from utils.transcripts import read_transcript

TRANSCRIPT, SUBTITLES = ".csv", ".srt"
TRY_SAMPLE = ("Try the sample", "python training_pipeline.py data --data data/sample_series")
SERIES_MARKS = ("characters.jsonl", "series.json", "transcripts")
LOCATION_LABELS = "locations_labels.csv"  # where scenes take place, as people say: no lines
DESCRIPTIONS = ("series.json", "characters.jsonl", "locations.jsonl", "themes.json", LOCATION_LABELS)


@dataclass(frozen=True)
class Series:
    """A folder with the transcripts of one series."""

    folder: Path
    title: str
    logline: str = ""

    @cached_property
    def characters(self) -> Cast:
        """The characters of ``characters.jsonl``, read when first asked for; empty where there is no such file.

        Raises:
            DataError: the file is not valid.
        """
        return load_cast(self.folder / "characters.jsonl")


def open_series(folder: Path) -> Series:
    """The series in a folder. Title and logline are those of ``series.json``, else the title is the folder's name.

    Raises:
        DataError: no such folder, or a ``series.json`` that is not valid.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise _no_folder(folder)
    content = _read_json(folder / "series.json")
    words = re.split(r"[\s_-]+", folder.resolve().name)
    title = content.get("title") or " ".join(word[:1].upper() + word[1:] for word in words)
    return Series(folder, title, content.get("logline", ""))


def _no_folder(folder: Path) -> DataError:
    if folder.exists():
        parent = folder.parent
        return DataError(
            f"{folder} is a file, not a series folder.", instead=f"It lies in {parent}.", remedies=[TRY_SAMPLE]
        )
    try:
        siblings = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()]
    except OSError:
        siblings = []
    near = nearest(folder.name, siblings)
    instead = f"The nearest is {folder.parent / near}." if near else f"The working folder is {Path.cwd()}."
    return DataError(f"no series folder {folder}.", instead=instead, remedies=[TRY_SAMPLE])


def _read_json(file: Path) -> dict[str, str]:
    """Texts of a JSON object; empty where there is no such file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{file} cannot be read: {error}", instead='It is like {"title": "...", "logline": "..."}'
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"{file} holds no object.", instead='It is like {"title": "...", "logline": "..."}')
    texts = {key: content.get(key) or "" for key in ("title", "logline")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise DataError(f"{file}: '{key}' is {value!r}, which is not a text.")
    return {key: " ".join(value.split()) for key, value in texts.items()}


def series_files(folder: Path) -> dict[str, Path]:
    """The files that belong to a series, by name: the descriptions beside the lines, then every CSV and SRT file.

    Names are relative to the folder, with ``/`` between parts. What is no plain file, and what cannot be listed, is
    left out here; ``load_lines`` reports it.

    Raises:
        DataError: no such folder, or two files whose names differ only in bytes that are not text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise _no_folder(folder)
    found = [*(folder / name for name in DESCRIPTIONS), *_find(folder, folder, [], set())]
    files: dict[str, Path] = {}
    for path in found:
        name = source_of(path, folder)
        if name in files:
            raise DataError(f"{folder} has two files {name}.", instead="Their names differ in what is not UTF-8.")
        if path.is_file():
            files[name] = path
    return files


@no_collection()
def load_lines(folder: Path | Series) -> tuple[pd.DataFrame, LoadReport]:
    """Everything that is said in a series, from all its CSV and SRT files, and the report of how it was read.

    Returns:
        The lines frame, ordered by season, episode and file, times in seconds; speakers as written, tidied (see
        ``Cast.resolve``). An episode that has a transcript and subtitles is in it twice: see ``spoken_lines``.

    Raises:
        DataError: no such folder, or nothing in it that can be read as lines of speech.
    """
    series = folder if isinstance(folder, Series) else open_series(folder)
    report = LoadReport()
    files = [locate_episode(path, series.folder) for path in _find(series.folder, series.folder, report.skipped, set())]
    files.sort(key=lambda file: (file.season or 0, file.episode or 0, natural_order(file.source)))
    readings = [(file, reading) for file, reading in _read_all(files, series, report) if reading]
    if not readings:
        raise _nothing_found(series.folder, report.skipped)
    place_turns(readings)
    readings.sort(key=lambda pair: first_place(pair[1]))
    _flag_doubles(readings)
    for _, reading in readings:
        report.files.append(reading.count)
        report.notes += reading.notes
    if not report.lines:
        raise _nothing_said(series.folder, report)
    return _build_frame(readings), report


def _build_frame(readings: list[tuple[EpisodeFile, Reading]]) -> pd.DataFrame:
    turns = chain.from_iterable(reading.turns for _, reading in readings)
    season, episode, scene, speaker, line, start, end, location = zip(*turns, strict=True)
    position = [at for _, reading in readings for at in range(len(reading.turns))]
    source = [file.source for file, reading in readings for _ in reading.turns]
    return frame_of_columns([season, episode, scene, position, speaker, line, start, end, source, location])


def spoken_lines(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines with every episode once: its transcript where it has one, else its subtitles.

    Returns:
        A lines frame ordered by season, episode, source and position, with a new index.
    """
    is_transcript = lines["source"].str.lower().str.endswith(TRANSCRIPT)
    has_transcript = is_transcript.groupby([lines["season"], lines["episode"]]).transform("max").astype(bool)
    kept = lines[is_transcript | ~has_transcript]
    return kept.sort_values(["season", "episode", "source", "position"], kind="stable", ignore_index=True)


def _find(folder: Path, root: Path, skipped: list[Note], seen: set[Path]) -> Iterator[Path]:
    """Files to read below a folder. ``seen`` holds the real paths of folders, against circles of links."""
    seen.add(folder.resolve())
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural_order(entry.name))
    except OSError as error:
        skipped.append(Note(source_of(folder, root), 0, DROPPED, (error.strerror or str(error)).lower()))
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == LOCATION_LABELS:
            continue
        if entry.suffix.lower() in {TRANSCRIPT, SUBTITLES}:
            yield entry
        elif entry.is_dir() and entry.resolve() not in seen:
            if any((entry / mark).exists() for mark in SERIES_MARKS):
                skipped.append(Note(source_of(entry, root), 0, DROPPED, "a series of its own"))
            else:
                yield from _find(entry, root, skipped, seen)


def _read_all(
    files: list[EpisodeFile], series: Series, report: LoadReport
) -> Iterator[tuple[EpisodeFile, Reading | None]]:
    """Transcripts first: who speaks in them is known when the subtitles are read."""
    known: set[str] = set()
    for file in sorted(files, key=lambda file: file.kind):
        try:
            if file.kind == TRANSCRIPT:
                reading = read_transcript(file.path, file.source)
                known.update(turn.speaker.casefold() for turn in reading.turns)
            else:
                names = {name.casefold() for who in series.characters for name in (who.name, *who.aliases)}
                reading = read_subtitles(file.path, file.source, known | names)
            yield file, reading
        except UnreadableFile as error:
            report.skipped.append(Note(file.source, 0, DROPPED, str(error)))


def _flag_doubles(readings: list[tuple[EpisodeFile, Reading]]) -> None:
    first: dict[tuple[str, int | None, int | None], str] = {}
    for file, reading in readings:
        for season, episode in dict.fromkeys(turn[:2] for turn in reading.turns):
            other = first.setdefault((file.kind, season, episode), file.source)
            if other != file.source:
                note = Note(file.source, 0, FLAGGED, "a second file for the same episode", f"the first: {other}")
                reading.notes.insert(0, note)


def _nothing_found(folder: Path, skipped: list[Note]) -> DataError:
    if skipped:
        listed = "; ".join(f"{note.file}: {note.reason}" for note in skipped[:5])
        found = listed + (f"; and {len(skipped) - 5} more" if len(skipped) > 5 else "")
    else:
        kinds = Counter(path.suffix.lower() or path.name for path in folder.iterdir() if not path.name.startswith("."))
        found = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(6)) or "an empty folder"
    return DataError(
        f"no transcript in {folder}: looked for CSV files with a heading row like name,line and for SRT subtitles.",
        instead=f"Found: {found}",
        remedies=[("Put yours into", f"{folder / 'transcripts'} and {folder / 'subtitles'}"), TRY_SAMPLE],
    )


def _nothing_said(folder: Path, report: LoadReport) -> DataError:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in report.counts()[DROPPED].most_common(5))
    return DataError(
        f"no line of speech in {folder} (files: {len(report.files)}, rows: {report.rows_in}).",
        instead=f"Dropped: {reasons}" if reasons else "The files hold a heading and nothing else.",
        remedies=[TRY_SAMPLE],
    )
