"""Scenes where a file does not mark them: cast change and text cohesion, weighed over whole scenes.

    scenes = find_scenes(speakers, lines)     # [1, 1, 1, 2, 2, …]

Method. 1. Each gap between two lines is described by who goes and comes, by words that go on and by words of parting
(``gap_features``); a logistic model gives it a score, and gaps that are hardly likely fall away. 2. Among the rest the
best division is found by dynamic programming over pairs of neighbouring scenes (``divisions``). All weights lie in
``scene_weights.json``; ``benchmarks/fit_scene_weights.py`` fits them, ``benchmarks/network.py`` measures the result,
docs/network.md has the figures.

Where hardly anybody is known to speak (subtitles) scenes end at the longest pauses. That is a guess and was not
measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from character_network.divisions import Divisions, SceneModel
from character_network.gap_features import gap_features
from utils.lines import UNKNOWN

WEIGHT_FILE = Path(__file__).with_name("scene_weights.json")
LEAST_KNOWN = 0.2  # share of lines with a known speaker, below which the cast says nothing
PAUSE_SCENE_LINES = 40  # of a scene that is found by pauses, on average
SHORTEST = 8  # lines of a scene that is found by pauses


@cache
def load_scene_model(file: Path = WEIGHT_FILE) -> SceneModel:
    """The model of a file of weights: the one that comes with the project."""
    content = json.loads(file.read_text(encoding="utf-8"))
    first, second = content["cut"]
    arrays = {key: np.array(content[key]) for key in ("gap", "scene", "pair")}
    return SceneModel(least=content["least"], cut=(first, second), **arrays)


def add_scenes(frame: pd.DataFrame) -> tuple[pd.DataFrame, frozenset[tuple[int, int]]]:
    """The frame with a scene for every line, and the episodes whose scenes were marked.

    Args:
        frame: lines with ``person`` (who speaks; "Unknown": nobody in particular), every episode once.
    """
    scenes, marked = np.zeros(len(frame), np.int64), set[tuple[int, int]]()
    is_marked = frame["scene"].notna().to_numpy()
    people, lines, starts = (frame[column].tolist() for column in ("person", "line", "start_seconds"))
    episodes: Any = frame.groupby(["season", "episode"]).indices
    for (season, episode), rows in episodes.items():
        if is_marked[rows].mean() > 0.5:
            marked.add((int(season), int(episode)))
            scenes[rows] = frame["scene"].iloc[rows].ffill().bfill().astype("int64")
        else:
            speakers = [None if people[row] == UNKNOWN else people[row] for row in rows]
            scenes[rows] = find_scenes(speakers, [lines[row] for row in rows], [starts[row] for row in rows])
    return frame.assign(scene=scenes), frozenset(marked)


def find_scenes(
    speakers: Sequence[str | None], lines: Sequence[str], starts: Sequence[float] = (), model: SceneModel | None = None
) -> list[int]:
    """The number of each line's scene, from 1. ``speakers``: None for nobody. ``starts``: seconds, for subtitles."""
    if len(lines) < 2:
        return [1] * len(lines)
    if sum(name is not None for name in speakers) < LEAST_KNOWN * len(lines):
        cuts = _cut_at_pauses(lines, starts)
    else:
        chosen = model or load_scene_model()
        cuts = Divisions(speakers, gap_features(speakers, lines) @ chosen.gap, chosen).best_cuts()
    starts_scene = np.zeros(len(lines), int)
    starts_scene[cuts] = 1
    return [int(number) for number in starts_scene.cumsum() + 1]


def _cut_at_pauses(lines: Sequence[str], starts: Sequence[float]) -> list[int]:
    """Lines before which the longest pauses are, one in ``PAUSE_SCENE_LINES``; without times every so many lines."""
    count = round(len(lines) / PAUSE_SCENE_LINES)
    if len(starts) != len(lines) or any(math.isnan(start) for start in starts):
        return list(range(PAUSE_SCENE_LINES, len(lines) - SHORTEST, PAUSE_SCENE_LINES))
    cuts: list[int] = []
    for gap in np.argsort(-np.diff(np.array(starts)), kind="stable") + 1:
        if len(cuts) < count - 1 and all(abs(gap - other) >= SHORTEST for other in (0, len(lines), *cuts)):
            cuts.append(int(gap))
    return sorted(cuts)
