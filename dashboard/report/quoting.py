"""The few lines that a report quotes: the best of each theme first, the same number of each, none twice."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SpokenLine = dict[str, Any]
Place = tuple[int, int, int]  # season, episode, position of a line


def choose_quotes(scenes: Mapping[str, pd.DataFrame], most: int) -> dict[str, list[list[SpokenLine]]]:
    """Share ``most`` quotations among the themes: by turns a line each, from the strongest scene on.

    Args:
        scenes: for each theme its scenes, as ``theme_scenes.find_scenes`` gives them.

    Returns:
        For each theme, for each of its scenes, the lines to quote. A line is quoted for one theme only.
    """
    waiting = {theme: _in_order(frame) for theme, frame in scenes.items()}
    chosen: dict[str, list[list[SpokenLine]]] = {
        theme: [[] for _ in range(len(frame))] for theme, frame in scenes.items()
    }
    taken: set[Place] = set()
    while len(taken) < most and any(waiting.values()):
        for theme, lines in waiting.items():
            fresh = next((at for at, (_, place, _) in enumerate(lines) if place not in taken), None)
            if fresh is None or len(taken) >= most:
                lines.clear()
                continue
            scene, place, line = lines[fresh]
            del lines[: fresh + 1]
            taken.add(place)
            chosen[theme][scene].append(line)
    return chosen


def _in_order(frame: pd.DataFrame) -> list[tuple[int, Place, SpokenLine]]:
    """Number of the scene, place and line: the first line of each scene, then the second of each."""
    found = [
        (rank, number, (int(row["season"]), int(row["episode"]), int(line["position"])), line)
        for number, row in enumerate(frame.to_dict("records"))
        for rank, line in enumerate(row["lines"])
        if line["score"] > 0
    ]
    return [each[1:] for each in sorted(found, key=lambda each: each[:2])]


def quote_html(line: SpokenLine, most_characters: int) -> str:
    """A line with its speaker; a long one is cut."""
    said = " ".join(str(line["line"]).split())
    if len(said) > most_characters:
        said = f"{said[: most_characters - 1].rstrip()}…"
    return (
        f"<li><b>{escape(str(line['speaker']))}</b> {escape(said)}"
        f" <small>line {int(line['position']) + 1}, {line['score']:.2f}</small></li>"
    )
