"""Which season and episode a file holds: by its name, by the folders above it, else by its place among the others."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from utils.lines import FLAGGED, Note
from utils.text import Reading, Turn

EPISODE_CODES = (
    re.compile(r"s(?:eason)?[ ._-]*([0-9]{1,4})[ ._,-]*e(?:p(?:isode)?)?[ ._-]*([0-9]{1,4})(?![0-9])", re.IGNORECASE),
    # Two digits after the x: 1x02 is an episode, 16x9 a picture, 1920x1080 a bigger one.
    re.compile(r"(?<![0-9A-Za-z.])([0-9]{1,2})x([0-9]{2,3})(?![0-9A-Za-z])", re.IGNORECASE),
)
SEASON_FOLDER = re.compile(r"(?:.*[ ._-])?(?:season|series|s)[ ._-]*([0-9]{1,4})", re.IGNORECASE)
EPISODE_ALONE = re.compile(r"(?:^|[^A-Za-z])(?:e|ep|episode|chapter)[ ._-]*([0-9]{1,4})(?![0-9])", re.IGNORECASE)
NUMBER_FIRST = re.compile(r"([0-9]{1,3})(?=$|[ ._-])")


@dataclass
class EpisodeFile:
    """A file to read, and the season and episode its name gives; None where it gives none."""

    path: Path
    source: str
    season: int | None
    episode: int | None

    @property
    def kind(self) -> str:
        return self.path.suffix.lower()


def episode_code(text: str) -> tuple[int, int] | None:
    """Season and episode from S01E02, s1.e2, 1x02 or "Season 1 Episode 2" anywhere in the text."""
    for pattern in EPISODE_CODES:
        if found := pattern.search(text):
            return int(found[1]), int(found[2])
    return None


def source_of(path: Path, root: Path) -> str:
    """The name of a file or folder in the frame and in the report."""
    # A name that is not UTF-8 holds lone surrogates, which no frame and no report can store.
    return path.relative_to(root).as_posix().encode("utf-8", "replace").decode("utf-8")


def natural_order(name: str) -> list[tuple[float, str]]:
    """Sorting key: episode 2 before episode 10."""
    parts = (part for part in re.split(r"([0-9]+)", name.casefold()) if part)
    return [(int(part), "") if part.isdecimal() else (math.inf, part) for part in parts]


def locate_episode(path: Path, root: Path) -> EpisodeFile:
    """Season and episode from the file's name; the season also from a folder above it."""
    season, episode = episode_code(path.stem) or (None, None)
    if season is None:
        folders = [folder.name for folder in path.relative_to(root).parents if folder.name] + [root.resolve().name]
        season = next((int(found[1]) for name in folders if (found := SEASON_FOLDER.fullmatch(name))), None)
        found = EPISODE_ALONE.search(path.stem) or NUMBER_FIRST.match(path.stem)
        episode = int(found[1]) if found else None
    return EpisodeFile(path, source_of(path, root), season, episode)


def place_turns(readings: list[tuple[EpisodeFile, Reading]]) -> None:
    """Give every turn a season and an episode: its own, else the file's, else season 0 and a number by file order."""
    taken = {(file.season or 0, file.episode) for file, _ in readings}
    numbers: dict[tuple[int, str, int], int] = {}  # the transcript and the subtitles of one name are one episode
    twins: Counter[tuple[int, str, str]] = Counter()
    for file, reading in sorted(readings, key=lambda pair: natural_order(pair[0].source)):
        places = {turn[:2] for turn in reading.turns}
        missing = [name for at, name in enumerate(("season", "episode")) if any(place[at] is None for place in places)]
        lacking = [name for name in missing if getattr(file, name) is None]
        if lacking:
            reading.notes.insert(0, Note(file.source, 0, FLAGGED, f"no {' and '.join(lacking)} in the file name"))
        season = file.season or 0
        if "episode" in lacking:
            key = (season, file.path.stem, file.kind)
            twins[key] += 1
            file.episode = numbers.setdefault((season, file.path.stem, twins[key]), _next_free(season, taken))
            taken.add((season, file.episode))
        if missing:
            filled = {
                place: (
                    season if place[0] is None else place[0],
                    (file.episode or 0) if place[1] is None else place[1],
                )
                for place in places
            }
            reading.turns = [Turn._make(filled[turn[:2]] + turn[2:]) for turn in reading.turns]


def _next_free(season: int, taken: set[tuple[int, int | None]]) -> int:
    return next(number for number in range(1, len(taken) + 2) if (season, number) not in taken)


def first_place(reading: Reading) -> tuple[int, int]:
    """Season and episode where the file starts."""
    places = {turn[:2] for turn in reading.turns}
    return min(((season or 0, episode or 0) for season, episode in places), default=(0, 0))
