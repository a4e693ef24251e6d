"""A scene for each line, also where a file marks none.

scenes, unmarked = number_scenes(lines, scene_lines=20)
"""

from __future__ import annotations

import pandas as pd


def number_scenes(lines: pd.DataFrame, scene_lines: int) -> tuple[pd.Series, int]:
    """A scene for each line: as marked, and where an episode marks none, every ``scene_lines`` lines.

    A line without a scene in an episode that has some belongs to the scene before it.

    Returns:
        Whole numbers with the index of ``lines``, and the number of episodes that mark no scenes.
    """
    by_episode = [lines["season"], lines["episode"]]
    marked = lines["scene"].notna().groupby(by_episode).transform("any").astype(bool)
    windows = lines.groupby(["season", "episode"]).cumcount() // scene_lines + 1
    filled = lines["scene"].groupby(by_episode).transform(lambda scenes: scenes.ffill().bfill())
    scenes = filled.where(marked, windows).astype("int64")
    return scenes, len(lines.loc[~marked, ["season", "episode"]].drop_duplicates())
