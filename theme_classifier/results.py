"""The scores of a series: one frame for all levels, files for other programs, a small table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theme_classifier.aggregation import COLUMNS, LEVELS, roll_up
from utils.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

JSON_FILE, CSV_FILE, LINES_FILE = "themes.json", "themes.csv", "lines.csv"
DECIMALS = 6
MOST_EPISODES_SHOWN = 60


@dataclass
class ThemeScores:
    """Scores between 0 and 1.

    ``frame``: season, episode, scene, theme, score, lines (those that carry the score). Scene and episode are <NA> in
    the rows of a whole episode or season. ``line_scores``: a row for each of ``lines``, a column for each theme.
    ``method``, ``notes``: how it was done, in sentences.
    """

    frame: pd.DataFrame
    lines: pd.DataFrame
    line_scores: pd.DataFrame
    method: str
    notes: list[str] = field(default_factory=list)

    @property
    def themes(self) -> list[str]:
        return [str(name) for name in self.line_scores.columns]

    @property
    def scenes(self) -> pd.DataFrame:
        return self.frame[self.frame["scene"].notna()].reset_index(drop=True)

    @property
    def episodes(self) -> pd.DataFrame:
        return self.frame[self.frame["scene"].isna() & self.frame["episode"].notna()].reset_index(drop=True)

    @property
    def seasons(self) -> pd.DataFrame:
        return self.frame[self.frame["episode"].isna()].reset_index(drop=True)

    def by(self, columns: Sequence[str], top_lines: int = 0) -> pd.DataFrame:
        """Scores of other groups of lines, such as ``["speaker"]``: these columns, theme, score, lines."""
        return roll_up(self.lines, self.line_scores, columns, top_lines)

    def to_dict(self) -> dict[str, object]:
        """Everything but the scores of single lines, ready for JSON."""
        return {
            "method": self.method,
            "notes": self.notes,
            "themes": self.themes,
            "scores": [_plain(row) for row in self.frame.to_dict("records")],
        }

    def save(self, folder: Path) -> list[Path]:
        """Write themes.json, themes.csv and lines.csv (scores of every line). Raises OSError."""
        table = self.frame.assign(
            score=self.frame["score"].round(DECIMALS),
            lines=[" | ".join(f"{line['speaker']}: {line['line']}" for line in rows) for rows in self.frame["lines"]],
        )
        places = ["season", "episode", "scene", "position", "speaker", "line"]
        taken = {theme: f"{theme} (theme)" for theme in places}  # a theme may be named so, too
        scored = self.lines[places].join(self.line_scores.round(DECIMALS).rename(columns=taken))
        contents = {
            JSON_FILE: json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n",
            CSV_FILE: table.to_csv(index=False),
            LINES_FILE: scored.to_csv(index=False),
        }
        for name, content in contents.items():
            write_atomic(folder / name, content)
        return [folder / name for name in contents]

    def summary(self) -> str:
        """The two strongest themes of each episode, and the line that carries the first."""
        strongest = self.episodes.sort_values("score", ascending=False, kind="stable").groupby(["season", "episode"])
        rows = [_summary_row(place, group) for place, group in strongest]
        more = len(rows) - MOST_EPISODES_SHOWN
        table = [("episode", "strongest", "second", "carried by"), *rows[:MOST_EPISODES_SHOWN]]
        widths = [max(len(row[at]) for row in table) for at in range(3)]
        text = ["  ".join([*(row[at].ljust(widths[at]) for at in range(3)), row[3]]).rstrip() for row in table]
        return "\n".join([*text, *([f"and {more} more"] if more > 0 else [])])


def build_scores(
    lines: pd.DataFrame, line_scores: pd.DataFrame, top_lines: int, method: str, notes: list[str]
) -> ThemeScores:
    """Scores of all levels. ``lines``: with a scene for each line; ``line_scores``: same index."""
    import pandas as pd

    parts = [roll_up(lines, line_scores, by, top_lines) for by in LEVELS.values()]
    frame = pd.concat([part.reindex(columns=COLUMNS) for part in parts], ignore_index=True)
    frame = frame.astype({"season": "Int64", "episode": "Int64", "scene": "Int64", "score": "float64"})
    return ThemeScores(frame, lines, line_scores, method, notes)


def _plain(row: dict[Any, Any]) -> dict[str, object]:
    import pandas as pd

    numbers = ("season", "episode", "scene")
    plain: dict[str, Any] = {
        str(name): (None if name in numbers and pd.isna(value) else value) for name, value in row.items()
    }
    plain |= {name: int(plain[name]) for name in numbers if plain[name] is not None}
    return plain | {"score": round(float(row["score"]), DECIMALS)}


def _summary_row(place: object, group: pd.DataFrame) -> tuple[str, str, str, str]:
    season, episode = place if isinstance(place, tuple) else (0, 0)
    carried = group[group["score"].round(3) > 0].head(2)  # what is shown as 0.000 is not the strongest of anything
    named = [f"{row.theme} {row.score:.3f}" for row in carried.itertuples()] or ["none"]
    first = group.iloc[0]["lines"] if len(carried) else []
    quote = f"{first[0]['speaker']}: {first[0]['line']}" if first else ""
    quote = quote if len(quote) <= 60 else f"{quote[:59]}…"
    return f"S{season:02d}E{episode:02d}", named[0], named[1] if len(named) > 1 else "", quote
