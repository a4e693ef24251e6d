"""The lines frame: all that is said in a series, and the report of how it was read.

One row is one turn of speech. Every loader returns this frame; every subject starts from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import pandas as pd

UNKNOWN = "Unknown"

# season, episode, scene: whole numbers; scene is <NA> where the file does not mark scenes.
# position: 0, 1, 2 … within its file. start_seconds, end_seconds: from the episode's start, NaN without times.
# source: path of the file relative to the series folder. location: as the file marks it, "" where it does not.
LINE_DTYPES = {
    "season": "int64",
    "episode": "int64",
    "scene": "Int64",
    "position": "int64",
    "speaker": "str",
    "line": "str",
    "start_seconds": "float64",
    "end_seconds": "float64",
    "source": "str",
    "location": "str",
}
LINE_COLUMNS = tuple(LINE_DTYPES)

REPAIRED, FLAGGED, DROPPED = "repaired", "flagged", "dropped"


@dataclass(frozen=True)
class Note:
    """What happened to one row. ``row`` is the row's first line in the file, counted from 1; 0: the whole file."""

    file: str
    row: int
    kind: str  # REPAIRED: kept, changed. FLAGGED: kept as it is, look at it. DROPPED: not in the frame.
    reason: str
    text: str = ""  # the start of the row, for people


@dataclass
class FileCount:
    """Rows of one file: ``rows_in == rows_out + rows_dropped``. A row may give several lines."""

    file: str
    rows_in: int = 0
    rows_out: int = 0
    rows_dropped: int = 0
    lines: int = 0


@dataclass
class LoadReport:
    """What was read, repaired, flagged and dropped, by file and row."""

    files: list[FileCount] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    skipped: list[Note] = field(default_factory=list)  # files that hold no lines at all, with the reason

    @property
    def rows_in(self) -> int:
        return sum(count.rows_in for count in self.files)

    @property
    def rows_out(self) -> int:
        return sum(count.rows_out for count in self.files)

    @property
    def rows_dropped(self) -> int:
        return sum(count.rows_dropped for count in self.files)

    @property
    def lines(self) -> int:
        return sum(count.lines for count in self.files)

    def counts(self) -> dict[str, Counter[str]]:
        """How often each reason occurs, by kind."""
        found: dict[str, Counter[str]] = {REPAIRED: Counter(), FLAGGED: Counter(), DROPPED: Counter()}
        for note in self.notes:
            found[note.kind][note.reason] += 1
        return found

    def to_dict(self) -> dict[str, object]:
        """Everything, ready for JSON."""
        totals = {name: getattr(self, name) for name in ("rows_in", "rows_out", "rows_dropped", "lines")}
        return totals | {
            "counts": {kind: dict(reasons.most_common()) for kind, reasons in self.counts().items()},
            "files": [asdict(count) for count in self.files],
            "notes": [asdict(note) for note in self.notes],
            "skipped": [asdict(note) for note in self.skipped],
        }


def build_frame(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    """A lines frame from tuples in the order of ``LINE_COLUMNS``; a tuple may leave the location out."""
    full = [row if len(row) == len(LINE_COLUMNS) else (*row, "") for row in rows]
    return frame_of_columns(zip(*full, strict=True) if full else [[]] * len(LINE_COLUMNS))


def frame_of_columns(columns: Iterable[Sequence[object]]) -> pd.DataFrame:
    """A lines frame from its columns, in the order of ``LINE_COLUMNS``."""
    typed = zip(LINE_DTYPES.items(), columns, strict=True)
    return pd.DataFrame({name: pd.Series(list(column), dtype=dtype) for (name, dtype), column in typed})
