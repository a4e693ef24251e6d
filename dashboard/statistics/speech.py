"""Who says how much, when: counts of lines and words by speaker, episode and scene.

words = count_words(lines)               # of each line
build_cast_table(lines)                  # speaker, lines, words, share, episodes, first, last
count_by_episode(lines)                  # season, episode, speaker, lines, words
find_longest_scenes(lines)               # season, episode, scene, lines, words, speakers, begins
"""

from __future__ import annotations

import pandas as pd

from utils.lines import UNKNOWN

CAST_COLUMNS = ["speaker", "lines", "words", "share", "episodes", "first", "last"]
SCENE_COLUMNS = ["season", "episode", "scene", "lines", "words", "speakers", "begins"]
NAMED_SPEAKERS = 6  # of a scene; the others are counted


def episode_code(season: int, episode: int) -> str:
    """S01E02."""
    return f"S{season:02d}E{episode:02d}"


def season_name(number: int) -> str:
    """A season as it is called in choices and on axes."""
    return f"Season {number}"


def episode_codes(frame: pd.DataFrame) -> pd.Series:
    """The code of each row's episode; a frame has few different ones."""
    pairs = pd.MultiIndex.from_frame(frame[["season", "episode"]])
    codes, places = pairs.factorize()
    named = pd.Series([episode_code(int(season), int(episode)) for season, episode in places], dtype="str")
    return named.reindex(codes).set_axis(frame.index)


def count_words(lines: pd.DataFrame) -> pd.Series:
    """Words of each line, parted by white space; whole numbers with the index of ``lines``."""
    return pd.Series([len(line.split()) for line in lines["line"].tolist()], index=lines.index, dtype="int64")


def known_lines(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines of which is known who says them."""
    return lines[lines["speaker"] != UNKNOWN]


def build_cast_table(lines: pd.DataFrame) -> pd.DataFrame:
    """Who speaks, the most talkative first.

    Returns:
        ``speaker``; ``lines``, ``words``; ``share`` of all words whose speaker is known, 0 … 1; ``episodes`` in which
        they speak; ``first`` and ``last`` of these as codes. "Unknown" is nobody and not in it.
    """
    known = known_lines(lines)
    if known.empty:
        return pd.DataFrame({name: [] for name in CAST_COLUMNS})
    counted = known[["speaker", "season", "episode"]].assign(words=count_words(known), code=episode_codes(known))
    counted = counted.sort_values(["season", "episode"], kind="stable")
    table = counted.groupby("speaker", sort=False).agg(
        lines=("words", "size"),
        words=("words", "sum"),
        episodes=("code", "nunique"),
        first=("code", "first"),
        last=("code", "last"),
    )
    table["share"] = table["words"] / max(int(table["words"].sum()), 1)
    table = table.reset_index().sort_values(["words", "speaker"], ascending=[False, True], ignore_index=True)
    return table[CAST_COLUMNS]


def count_by_episode(lines: pd.DataFrame) -> pd.DataFrame:
    """``season, episode, speaker, lines, words``: a row for each speaker in each episode that has them."""
    known = known_lines(lines)
    counted = known[["season", "episode", "speaker"]].assign(words=count_words(known))
    groups = counted.groupby(["season", "episode", "speaker"], as_index=False, sort=True)
    return groups.agg(lines=("words", "size"), words=("words", "sum"))


def find_longest_scenes(lines: pd.DataFrame, most: int) -> pd.DataFrame:
    """The scenes with the most words, the longest first.

    Args:
        lines: with a scene for every line.
        most: so many at most.

    Returns:
        ``season, episode, scene, lines, words``; ``speakers``: who speaks in it, the most lines first; ``begins``: its
        first line.
    """
    by = ["season", "episode", "scene"]
    counted = lines[[*by, "line"]].assign(words=count_words(lines)).groupby(by, as_index=False, sort=True)
    scenes = counted.agg(lines=("words", "size"), words=("words", "sum"), begins=("line", "first"))
    longest = scenes.sort_values("words", ascending=False, kind="stable").head(most).reset_index(drop=True)
    members = lines.merge(longest[by].assign(place=longest.index), on=by)
    named = members[members["speaker"] != UNKNOWN].groupby("place")["speaker"].agg(_name_speakers)
    return longest.assign(speakers=named.reindex(longest.index).fillna("nobody by name"))[SCENE_COLUMNS]


def _name_speakers(speakers: pd.Series) -> str:
    names = [str(name) for name in speakers.value_counts().index]
    more = f" and {len(names) - NAMED_SPEAKERS} more" if len(names) > NAMED_SPEAKERS else ""
    return ", ".join(names[:NAMED_SPEAKERS]) + more
