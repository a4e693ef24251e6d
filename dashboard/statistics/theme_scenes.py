"""Which scenes carry a theme, in an episode, a season or the whole series."""

from __future__ import annotations

import pandas as pd

from dashboard.statistics.speech import episode_codes, season_name


def find_scenes(scores: pd.DataFrame, theme: str, place: str, most: int) -> pd.DataFrame:
    """The scenes that carry a theme most, the strongest first; none with a score of 0.

    Args:
        scores: as ``ThemeScores.frame``.
        theme: one of its themes.
        place: an episode's code, a season's name, or anything else for the whole series.
        most: so many at most.

    Returns:
        The rows of these scenes, with ``code`` of their episode.
    """
    scenes = scores[scores["scene"].notna() & (scores["theme"] == theme)]
    scenes = scenes.assign(code=episode_codes(scenes), among=scenes["season"].map(season_name))
    for column in ("code", "among"):
        if (scenes[column] == place).any():
            scenes = scenes[scenes[column] == place]
    found = scenes[scenes["score"] > 0].sort_values("score", ascending=False, kind="stable").head(most)
    return found.drop(columns="among").reset_index(drop=True)
