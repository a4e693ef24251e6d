"""The Series section: who speaks, how much, where, with which words; the longest scenes. It quotes no line."""

from __future__ import annotations

from dataclasses import replace

from dashboard.figures import series as figures
from dashboard.pages.series_blocks import cast_block, fact_tiles
from dashboard.report.section import Order, Section
from dashboard.statistics import speech
from dashboard.statistics.vocabulary import count_vocabulary, mark_words

ALL = "All seasons"
NOBODY = "Nobody speaks by name in this series, so nothing can be told of characters."


def fill_series(section: Section, order: Order) -> None:
    """Count everything; scenes are found where the files mark none."""
    lines, settings = order.source.lines, order.settings
    shown, rows = settings.dashboard.shown_characters, settings.report.table_rows
    cast = speech.build_cast_table(lines)
    section.method = "Counted; words are parted by white space, and lines by nobody known belong to nobody."
    section.add(fact_tiles(lines, cast))
    if cast.empty:
        section.add(f"<p>{NOBODY}</p>")
    else:
        section.add(cast_block(cast.head(rows)))
        section.add_plot(figures.plot_lines_by_episode(speech.count_by_episode(lines), cast, shown), rows)
        section.add_plot(figures.plot_speech_shares(cast, ALL, shown), rows)
        _add_words(section, order, [str(name) for name in cast["speaker"].head(settings.report.characters)])
    order.progress(1, 2)
    _add_scenes(section, order)


def _add_words(section: Section, order: Order, speakers: list[str]) -> None:
    """The words that mark the most talkative, beside each other."""
    settings = order.settings.dashboard
    counts = count_vocabulary(order.source.lines, speakers)
    section.add('<div class="side-by-side">')
    for number, speaker in enumerate(speakers, 1):
        words = mark_words(counts, speaker, prior_words=settings.prior_words, minimum_count=settings.minimum_word_count)
        plot = figures.plot_marking_words(words[words["z"] > 0], speaker, "")
        section.add_plot(plot, 2 * figures.SHOWN_WORDS, f"marking-words-{number}")
    section.add(
        "</div><p>Marking words: log-odds ratio of the word here and in all other speech, over its standard error"
        f" (Monroe, Colaresi and Quinn 2008; prior of {settings.prior_words:,.0f} words). Right of the dotted line"
        f" (1.96) chance alone is unlikely. Counted are words said at least {settings.minimum_word_count} times.</p>"
    )


def _add_scenes(section: Section, order: Order) -> None:
    lines = order.source.lines
    with_scenes, marked = order.shared.lines_with_scenes
    episodes = len(lines[["season", "episode"]].drop_duplicates())
    found = speech.find_longest_scenes(with_scenes, order.settings.dashboard.longest_scenes).assign(begins="")
    note = "Scenes are those that the files mark."
    if found_in := episodes - len(marked):
        note = (
            f"{found_in} of {episodes} episodes mark no scenes: there they were found by who speaks and which words"
            " come back."
        )
    section.method += f" {note}"
    plot = figures.plot_longest_scenes(found, note)
    section.add_plot(replace(plot, table=plot.table.drop(columns="begins")), order.settings.report.table_rows)
