"""Pieces of HTML of the Themes tab. Every text from data or a visitor is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from character_chatbot import markup
from dashboard.pages.theme_scoring import ThemeView

SHOWN_SCENES = 5


def method_block(view: ThemeView, seconds: float) -> str:
    """Who scored, how long it took, what is not as it was wanted and what to do about it."""
    took = "at once" if seconds < 1 else f"in {seconds:,.0f} s"
    lines = len(view.scores.lines)
    told = f"<p>{lines:,} lines, {len(view.scores.themes)} themes, scored {took} by {escape(view.scores.method)}.</p>"
    announced = [str(each) for each in view.announcements]
    notes = [note for note in view.scores.notes if note not in announced]
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<div class="method">{told}{markup.banner(view.announcements)}{f"<ul>{items}</ul>" if items else ""}</div>'


def scenes_block(scenes: pd.DataFrame, theme: str, place: str) -> str:
    """Scenes with the lines that carry the theme. ``scenes``: as ``theme_scenes.find_scenes`` gives them."""
    title = f'<h3 id="theme-scenes-title">{escape(theme)} in {escape(place)}</h3>'
    if scenes.empty:
        return f'<section class="scenes">{title}<p>No scene here carries this theme.</p></section>'
    items = "".join(_scene(row) for row in scenes.to_dict("records"))
    return f'<section class="scenes" aria-labelledby="theme-scenes-title">{title}<ol>{items}</ol></section>'


def _scene(row: dict[Any, Any]) -> str:
    lines: Sequence[dict[str, Any]] = row["lines"]
    said = "".join(
        f"<li><b>{escape(str(line['speaker']))}</b> {escape(str(line['line']))}"
        f" <small>line {int(line['position']) + 1}, {line['score']:.2f}</small></li>"
        for line in lines
    )
    head = f"{escape(str(row['code']))}, scene {int(row['scene'])}"
    return f"<li><h4>{head} <small>score {row['score']:.3f}</small></h4><ul>{said}</ul></li>"
