"""From lines to scenes, episodes and seasons: the mean of the lines' scores, weighted by their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LEVELS = {"scene": ["season", "episode", "scene"], "episode": ["season", "episode"], "season": ["season"]}
COLUMNS = ["season", "episode", "scene", "theme", "score", "lines"]


def roll_up(lines: pd.DataFrame, scores: pd.DataFrame, by: Sequence[str], top_lines: int = 0) -> pd.DataFrame:
    """Score of each theme in each group of lines.

    Args:
        lines: lines frame.
        scores: of each line, same index, a column for each theme, 0 … 1.
        by: columns of ``lines`` that make a group, such as season and episode, or speaker.
        top_lines: lines to keep with each score, the highest first, each text once, none with a score of 0.

    Returns:
        ``by``, theme, score, lines (a list of dicts with season, episode, position, speaker, line and score).
    """
    import numpy as np
    import pandas as pd

    keys = lines[list(by)]
    weights = lines["line"].map(lambda line: max(1, len(line.split()))).astype(float)
    grouped = scores.mul(weights, axis=0).groupby([keys[name] for name in by], sort=True).sum()
    totals = weights.groupby([keys[name] for name in by], sort=True).sum()
    means = grouped.div(totals, axis=0)
    frame = means.index.to_frame(index=False).loc[np.arange(len(means)).repeat(scores.shape[1])].reset_index(drop=True)
    frame = frame.assign(theme=list(scores.columns) * len(means), score=means.to_numpy().ravel())
    carrying = _top_lines(lines, scores, by, top_lines) if top_lines else {}
    groups = zip(*(frame[name] for name in [*by, "theme"]), strict=True)
    return frame.assign(lines=pd.Series([carrying.get(group, []) for group in groups], dtype=object))


def _top_lines(
    lines: pd.DataFrame, scores: pd.DataFrame, by: Sequence[str], top_lines: int
) -> dict[tuple[object, ...], list[dict[str, object]]]:
    found: dict[tuple[object, ...], list[dict[str, object]]] = {}
    shown = ["season", "episode", "position", "speaker", "line"]
    for theme in scores.columns:
        scored = lines[list(dict.fromkeys([*by, *shown]))].assign(_score=scores[theme])
        scored = scored[scored["_score"] > 0].sort_values("_score", ascending=False, kind="stable")
        scored = scored.drop_duplicates([*by, "line"]).groupby(list(by), sort=False).head(top_lines)
        for row in scored.to_dict("records"):
            entry = {name: row[name] for name in shown} | {"score": round(float(row["_score"]), 6)}
            found.setdefault((*(row[name] for name in by), theme), []).append(entry)
    return found
