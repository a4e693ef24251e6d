"""What is analysed: the lines of a series with the names of its speakers made one, and how they were read.

sources = Sources(settings.paths.data)
source = sources.read()                  # the app's own folder, read anew only when a file in it changes
source.lines, source.title, source.key
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from utils.characters import Cast
from utils.lines import LoadReport
from utils.places import Places, load_places
from utils.series import LOCATION_LABELS, load_lines, open_series, series_files, spoken_lines


@dataclass(frozen=True, eq=False)  # gradio hashes what a visitor has chosen
class AnalysisSource:
    """A series to look at.

    ``lines``: a lines frame with each episode once, ``speaker`` being the character's own name. ``folder``: None where
    the lines were not read from a folder of this machine. ``report``: how they were read; None where nobody knows.
    ``places``: of lines without a folder.
    """

    lines: pd.DataFrame
    title: str
    folder: Path | None = None
    cast: Cast = field(default_factory=Cast)
    report: LoadReport | None = None
    places: Places = field(default_factory=Places)

    @cached_property
    def key(self) -> str:
        """Changes with any of the lines, and with nothing else; 32 hex digits."""
        sums = pd.util.hash_pandas_object(self.lines, index=False).to_numpy()
        return hashlib.sha256(self.title.encode("utf-8", "replace") + sums.tobytes()).hexdigest()[:32]


def build_source(
    lines: pd.DataFrame, title: str, *, cast: Cast | None = None, folder: Path | None = None,
    report: LoadReport | None = None,
) -> AnalysisSource:  # fmt: skip
    """A source of a lines frame as a loader gives it: every episode once, every speaker under one name."""
    spoken = spoken_lines(lines)
    known = (cast or Cast()).with_speakers(spoken["speaker"].value_counts())
    named = spoken.assign(speaker=spoken["speaker"].map(known.resolve).astype(spoken["speaker"].dtype))
    return AnalysisSource(named, title, folder, known, report)


def load_source(folder: Path) -> AnalysisSource:
    """The source of a series folder. Raises DataError: nothing in it can be read."""
    series = open_series(folder)
    lines, report = load_lines(series)
    return build_source(lines, series.title, cast=series.characters, folder=series.folder, report=report)


def read_places(source: AnalysisSource) -> Places:
    """The places of a series: of its folder, if it has one. Raises DataError: its locations.jsonl is not valid."""
    return source.places if source.folder is None else load_places(source.folder / "locations.jsonl")


class Sources:
    """The app's own series, kept until a file in its folder changes. May be asked from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._state: list[tuple[str, int, int]] = []
        self._source: AnalysisSource | None = None

    def read(self, chosen: AnalysisSource | None = None) -> AnalysisSource:
        """What the visitor has chosen, else the app's series. Raises DataError: that cannot be read."""
        if chosen is not None:
            return chosen
        with self._lock:
            state = _state_of(self._folder)
            if self._source is None or state != self._state:
                self._source, self._state = load_source(self._folder), state
            return self._source


def _state_of(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file of the series."""
    # Labels of scenes change no line, and a visitor may add one every few seconds.
    files = {name: path for name, path in series_files(folder).items() if name != LOCATION_LABELS}
    states = ((name, path.stat()) for name, path in files.items())
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]
