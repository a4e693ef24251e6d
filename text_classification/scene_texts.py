"""What is classified: the scenes of a series with their turns; stretches of lines where a file marks no scenes.

The location that a file marks is kept beside the text and is no part of it: no feature is made from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.lines import UNKNOWN
from utils.places import Places

if TYPE_CHECKING:
    import pandas as pd

PLACE = ["season", "episode", "scene"]
SPEAKER_END = ": "
Key = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """One scene. ``first_position``: of its first line in the file. ``turns``: speaker and line.

    ``marked``: the file marks its scenes; else it is a stretch of lines. ``location``: as marked, under the name of the
    list of places; "" where it is not.
    """

    season: int
    episode: int
    scene: int
    first_position: int
    turns: tuple[tuple[str, str], ...]
    marked: bool = True
    location: str = ""

    @property
    def key(self) -> Key:
        return self.season, self.episode, self.scene

    @property
    def code(self) -> str:
        return f"S{self.season:02d}E{self.episode:02d} scene {self.scene}"

    @property
    def text(self) -> str:
        """Its turns, one a row, "speaker: line"; the line alone where nobody knows who speaks."""
        return "\n".join(line if who == UNKNOWN else f"{who}{SPEAKER_END}{line}" for who, line in self.turns)


def split_turns(text: str) -> tuple[list[str], list[str]]:
    """Speakers and lines of :attr:`Scene.text`."""
    speakers, lines = [], []
    for row in text.split("\n"):
        who, mark, line = row.partition(SPEAKER_END)
        speakers += [who] if mark else []
        lines.append(line if mark else row)
    return speakers, lines


def build_scenes(
    lines: pd.DataFrame, places: Places, scene_lines: int, resolve: Callable[[str], str] = str
) -> tuple[list[Scene], pd.Series]:
    """The scenes in order, and the scene number of each line.

    Args:
        lines: a lines frame that has each episode once (:func:`utils.series.spoken_lines`).
        places: marked locations get their names from here.
        scene_lines: of a stretch where an episode marks no scenes.
        resolve: the name of a speaker (``Cast.resolve``).
    """
    numbers, is_marked = _number(lines, scene_lines)
    keys = [lines["season"], lines["episode"], numbers]
    scenes = []
    for key, group in lines.groupby(keys, sort=True):
        marks = [places.resolve(mark) for mark in group["location"] if mark]
        season, episode, scene = (int(str(part)) for part in key)
        scenes.append(
            Scene(
                season,
                episode,
                scene,
                int(group["position"].iloc[0]),
                tuple(zip(map(resolve, group["speaker"]), group["line"], strict=True)),
                bool(is_marked[group.index[0]]),
                Counter(marks).most_common(1)[0][0] if marks else "",
            )
        )
    return scenes, numbers


def _number(lines: pd.DataFrame, scene_lines: int) -> tuple[pd.Series, pd.Series]:
    """A scene for each line, and whether a scene or a location of the file says so."""
    from utils.scenes import number_scenes

    numbers, _ = number_scenes(lines, scene_lines)
    numbers = numbers.rename("scene")
    by_episode = [lines["season"], lines["episode"]]
    has_scenes = lines["scene"].notna().groupby(by_episode).transform("any").astype(bool)
    has_places = (lines["location"] != "").groupby(by_episode).transform("any").astype(bool) & ~has_scenes
    for _, group in lines[has_places].groupby(["season", "episode"]):
        numbers.loc[group.index] = _runs(group["location"].tolist(), scene_lines)
    return numbers, has_scenes | has_places


def _runs(locations: list[str], scene_lines: int) -> list[int]:
    """A new scene wherever the location changes; lines without one are cut into stretches."""
    numbers, number, since = [], 0, 0
    for at, location in enumerate(locations):
        changed = at == 0 or location.casefold() != locations[at - 1].casefold()
        if changed or (not location and at - since >= scene_lines):
            number, since = number + 1, at
        numbers.append(number)
    return numbers
