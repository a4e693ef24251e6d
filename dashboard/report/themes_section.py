"""The Themes section: arcs, seasons, the scenes that carry each theme with a few of their lines, and a radar."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from dashboard.figures import themes as figures
from dashboard.pages.theme_scoring import MODEL, ThemeView, read_names, score_themes
from dashboard.report.quoting import choose_quotes, quote_html
from dashboard.report.section import Order, Section
from dashboard.statistics.speech import build_cast_table
from dashboard.statistics.theme_scenes import find_scenes
from theme_classifier.models import LEXICAL

if TYPE_CHECKING:
    import pandas as pd

WHOLE = "the whole series"
LEAST_AXES = 3  # of a radar


def fill_themes(section: Section, order: Order) -> None:
    """Score every line, by the model of the settings where it can be had, which is announced where it cannot."""
    settings = order.settings
    names = list(order.themes) or read_names(order.source)[: settings.report.themes]
    way = LEXICAL if settings.themes.model == LEXICAL else MODEL
    view = score_themes(order.source, names, way, settings, order.progress, other_model=order.other_theme_model)
    announced = [str(each) for each in view.announcements]
    notes = [note for note in view.scores.notes if note not in announced]
    section.announcements = tuple(view.announcements)
    section.method = " ".join([f"Scored by {view.scores.method}.", *notes])
    rows = settings.report.table_rows
    section.add_plot(figures.plot_arcs(view.scores.episodes, names), rows)
    section.add_plot(figures.plot_seasons(view.scores.frame, names), rows)
    _add_scenes(section, view, order)
    _add_radar(section, view, order)


def _add_scenes(section: Section, view: ThemeView, order: Order) -> None:
    settings = order.settings.report
    ranked = [str(name) for name in view.everybody.sort_values(ascending=False, kind="stable").index]
    scenes = {name: find_scenes(view.scores.frame, name, WHOLE, settings.scenes) for name in ranked}
    quotes = choose_quotes(scenes, settings.quoted_lines)
    section.quoted = sum(len(lines) for found in quotes.values() for lines in found)
    cut = settings.quote_characters
    blocks = "".join(
        _theme_html(name, scenes[name], ["".join(quote_html(line, cut) for line in lines) for lines in quotes[name]])
        for name in ranked
    )
    section.add_titled("theme-scenes", "Scenes that carry each theme", f'<div class="side-by-side">{blocks}</div>')


def _theme_html(theme: str, scenes: pd.DataFrame, quotes: list[str]) -> str:
    items = "".join(
        f"<li><h5>{escape(str(row['code']))}, scene {int(row['scene'])} <small>score {row['score']:.3f}</small></h5>"
        f"{f'<ul>{said}</ul>' if said else ''}</li>"
        for row, said in zip(scenes.to_dict("records"), quotes, strict=True)
    )
    found = f"<ol>{items}</ol>" if items else "<p>No scene carries this theme.</p>"
    return f'<section class="scenes"><h4>{escape(theme)}</h4>{found}</section>'


def _add_radar(section: Section, view: ThemeView, order: Order) -> None:
    names = view.scores.themes
    if len(names) < LEAST_AXES:
        section.add(f"<p>A radar of the characters needs {LEAST_AXES} themes or more.</p>")
        return
    people = build_cast_table(view.source.lines)["speaker"].head(order.settings.report.radar_characters).tolist()
    section.add_plot(figures.plot_radar(view.speakers, names, people, view.everybody), order.settings.report.table_rows)
