"""A visitor's own files as something to analyse: read once, kept in memory, for this visitor only.

    source = read_uploads([Upload("S01E01.csv", content)], settings.dashboard)

The files lie in a folder of their own under names that are made here, for as long as they are read. What a visitor has
called them is shown (escaped, where it is shown) and used for the number of the episode, and never as a path.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from config import DashboardSettings
from dashboard.source import AnalysisSource, build_source, read_places
from utils.episodes import locate_episode
from utils.errors import DataError
from utils.lines import DROPPED, LoadReport, Note
from utils.series import SUBTITLES, TRANSCRIPT, load_lines, open_series

KINDS = (TRANSCRIPT, SUBTITLES)
CUE_LINES = 3  # of an SRT file for one cue, at least: number, times, text
LONGEST_NAME = 80
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Upload:
    """A file as a visitor sends it."""

    name: str
    content: bytes


def read_uploads(
    uploads: Sequence[Upload], settings: DashboardSettings, like: AnalysisSource | None = None
) -> AnalysisSource:
    """The lines of all files, to be analysed.

    Args:
        uploads: CSV and SRT files.
        settings: how much is read.
        like: a series whose names and places are those of the files, too; None: everybody is called as written.

    Raises:
        DataError: too many, too large, or nothing in them that can be read as lines of speech; it names file and row.
    """
    check_uploads(uploads, settings)
    with tempfile.TemporaryDirectory(prefix="upload-") as folder:
        shown = {}
        for number, each in enumerate(uploads, start=1):
            name = make_name(number, each.name)
            (Path(folder) / name).write_bytes(each.content)
            shown[name] = show_name(each.name)
        try:
            lines, report = load_lines(open_series(Path(folder)))
        except DataError as error:
            raise _told(error, folder, shown) from None
    _check_rows(report.rows_in, settings)
    found = build_source(lines, name_source(list(shown.values())), cast=like.cast if like else None)
    named = found.lines.assign(source=found.lines["source"].map(lambda name: shown.get(name, name)))
    places = read_places(like) if like else found.places
    return replace(found, lines=named.astype(found.lines.dtypes), report=_named(report, shown), places=places)


def check_uploads(uploads: Sequence[Upload], settings: DashboardSettings) -> None:
    """Raises DataError: there are none, too many, of another kind, or too large."""
    if not uploads:
        raise DataError("no file was chosen.", instead="Choose CSV transcripts or SRT subtitles.")
    if len(uploads) > settings.upload_files:
        raise DataError(f"{len(uploads)} files are too many.", instead=f"At most {settings.upload_files} are read.")
    for each in uploads:
        if _kind(each.name) not in KINDS:
            raise DataError(f"{show_name(each.name)} is neither a CSV file nor an SRT file.",
                            instead="A transcript has a heading row like name,line; subtitles are SRT.")  # fmt: skip
        if len(each.content) > settings.upload_file_mb * 1e6:
            raise DataError(f"{show_name(each.name)} has {len(each.content) / 1e6:.1f} MB.",
                            instead=f"At most {settings.upload_file_mb:g} MB of a file are read.")  # fmt: skip
    # Before anything is read: a file of short rows can hold millions.
    rows = sum(each.content.count(b"\n") // (CUE_LINES if _kind(each.name) == SUBTITLES else 1) for each in uploads)
    _check_rows(rows, settings, "about ")


def _check_rows(rows: int, settings: DashboardSettings, about: str = "") -> None:
    if rows > settings.upload_rows:
        raise DataError(f"the files have {about}{rows:,} rows.", instead=f"At most {settings.upload_rows:,} are read.")


def _kind(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def make_name(number: int, name: str) -> str:
    """A name for the disk: made of a number, the episode that the visitor's name tells, and the kind."""
    path = PurePosixPath(show_name(name).replace("/", "_"))
    found = locate_episode(Path("/") / path, Path("/"))
    season = f" s{found.season:02d}" if found.season is not None else ""
    episode = f" {season.strip()}e{found.episode:02d}" if found.season is not None and found.episode is not None else ""
    if not episode and found.episode is not None:
        episode = f" episode {found.episode}"
    return f"file{number:04d}{episode}{_kind(name)}"


def show_name(name: str) -> str:
    """The last part of a name, short and without what would turn a text around."""
    last = CONTROL.sub("", re.split(r"[/\\]", name)[-1]).encode("utf-8", "replace").decode("utf-8")
    return last if len(last) <= LONGEST_NAME else f"{last[: LONGEST_NAME - 12]}…{last[-11:]}"


def name_source(names: Sequence[str]) -> str:
    """A title for what a visitor looks at."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _told(error: DataError, folder: str, shown: dict[str, str]) -> DataError:
    """The error with the visitor's names; a command for the shell is no remedy here."""
    names = {f"in {folder}": "in your files", f"of {folder}": "that you sent", **shown}
    known = re.compile("|".join(map(re.escape, names)))
    what, instead = (known.sub(lambda found: names[found[0]], text) for text in (error.what, error.instead))
    return DataError(what, instead=instead)


def _named(report: LoadReport, shown: dict[str, str]) -> LoadReport:
    def named(note: Note) -> Note:
        return replace(note, file=shown.get(note.file, note.file))

    files = [replace(count, file=shown.get(count.file, count.file)) for count in report.files]
    return LoadReport(files, [named(note) for note in report.notes], [named(note) for note in report.skipped])


def worth_a_look(report: LoadReport) -> list[Note]:
    """Files that were left out, then rows that were dropped."""
    return [*report.skipped, *(note for note in report.notes if note.kind == DROPPED)]
