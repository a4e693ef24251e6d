"""The Series tab: who speaks, how much, where and with which words; the longest scenes; how the data was read."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from character_chatbot import markup
from config import DashboardSettings
from dashboard.computing import Analyses, Done, Progress
from dashboard.desk import Desk
from dashboard.display import plot_block, plot_board
from dashboard.figures import series as figures
from dashboard.pages.series_blocks import cast_block, fact_tiles, quality_block
from dashboard.source import AnalysisSource
from dashboard.statistics import speech
from dashboard.statistics.vocabulary import WordCounts, count_vocabulary, english_stop_words, mark_words

if TYPE_CHECKING:
    import gradio as gr

ALL = "All seasons"
STATUS, OWN = "on the Status tab", "at the top of this tab"  # where each row stands that was dropped
PARTS = ("notice", "top", "season", "shares", "character", "words", "scenes", "quality")


@dataclass(frozen=True)
class SeriesView:
    """What is counted at once."""

    source: AnalysisSource
    cast: pd.DataFrame
    by_episode: pd.DataFrame
    words: WordCounts


@dataclass(frozen=True)
class SceneView:
    """The longest scenes. ``marked``: episodes whose scenes the files mark; those of the others were found."""

    scenes: pd.DataFrame
    marked: int
    episodes: int


def build_view(source: AnalysisSource, settings: DashboardSettings, progress: Progress) -> SeriesView:
    """Count everything; 44,000 lines take half a second."""
    cast = speech.build_cast_table(source.lines)
    progress(1, 2)
    words = count_vocabulary(source.lines, cast["speaker"].head(settings.shown_characters).tolist())
    return SeriesView(source, cast, speech.count_by_episode(source.lines), words)


def build_scenes(source: AnalysisSource, settings: DashboardSettings) -> SceneView:
    """Find scenes where none are marked, which takes some seconds in a long series, and the longest of all."""
    from character_network.scene_finding import add_scenes

    with_scenes, marked = add_scenes(source.lines.assign(person=source.lines["speaker"]))
    longest = speech.find_longest_scenes(with_scenes, settings.longest_scenes)
    return SceneView(longest, len(marked), len(source.lines[["season", "episode"]].drop_duplicates()))


def draw_top(view: SeriesView, settings: DashboardSettings) -> str:
    """Facts, cast and heat map."""
    heat = figures.plot_lines_by_episode(view.by_episode, view.cast, settings.shown_characters)
    return fact_tiles(view.source.lines, view.cast) + cast_block(view.cast) + plot_block(heat)


def draw_shares(view: SeriesView, season: str, settings: DashboardSettings) -> str:
    """The shares of one season, or of all."""
    lines = view.source.lines
    known = {speech.season_name(number): number for number in seasons_of(lines)}
    cast = speech.build_cast_table(lines[lines["season"] == known[season]]) if season in known else view.cast
    plot = figures.plot_speech_shares(cast, season if season in known else ALL, settings.shown_characters)
    name = f"speech-shares-season-{known[season]}" if season in known else plot.name
    return plot_block(replace(plot, name=name))


def draw_words(view: SeriesView, speaker: str, without_common: bool, settings: DashboardSettings) -> str:
    """The words that mark a speaker."""
    if speaker not in view.words.speakers:
        return markup.hint("Nobody speaks by name in this series, so no word marks anybody.")
    stop_words = english_stop_words() if without_common else frozenset[str]()
    words = mark_words(
        view.words, speaker,
        prior_words=settings.prior_words, minimum_count=settings.minimum_word_count, stop_words=stop_words,
    )  # fmt: skip
    left_out = " 318 common English words are left out." if without_common else " No word is left out as too common."
    note = (
        "Log-odds ratio of the word here and in all other speech, over its standard error (Monroe, Colaresi and Quinn"
        f" 2008; prior of {settings.prior_words:,.0f} words). Right of the dotted line (1.96) chance alone is unlikely."
        f" Counted are words said at least {settings.minimum_word_count} times in all.{left_out}"
    )
    return plot_block(figures.plot_marking_words(words, speaker, note))


def draw_scenes(view: SceneView) -> str:
    """The longest scenes, and where they come from."""
    found = view.episodes - view.marked
    note = "Scenes are those that the files mark."
    if found:
        note = (
            f"{found} of {view.episodes} episodes mark no scenes: there they were found by who speaks and which words"
            " come back (docs/network.md)."
        )
    return plot_block(figures.plot_longest_scenes(view.scenes, note))


def seasons_of(lines: pd.DataFrame) -> list[int]:
    """The numbers of the seasons."""
    return [int(number) for number in sorted(lines["season"].unique())]


class SeriesTab:
    """What happens on the tab."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._settings = desk, desk.settings.dashboard
        self._analyses: Analyses[SeriesView] = Analyses(self._settings.kept_results)
        self._scenes: Analyses[SceneView] = Analyses(self._settings.kept_results)

    async def _follow(self, chosen: AnalysisSource | None) -> AsyncGenerator[str | Done[SeriesView], None]:
        def work(source: AnalysisSource, progress: Progress) -> SeriesView:
            return build_view(source, self._settings, progress)

        async for step in self._desk.analyse(self._analyses, chosen, lambda source: source.key, work):
            yield step

    async def show(
        self, chosen: AnalysisSource | None, season: str, character: str | None, without_common: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Views of all parts: progress, an error, or the whole tab; the scenes come last."""
        async for step in self._follow(chosen):
            if isinstance(step, str):
                yield {"notice": step}
                continue
            yield self._show(step.result, season, character, without_common)

            def work(source: AnalysisSource, progress: Progress) -> SceneView:
                return build_scenes(source, self._settings)

            async for found in self._desk.analyse(self._scenes, chosen, lambda source: source.key, work):
                yield {"scenes": found if isinstance(found, str) else draw_scenes(found.result)}

    def _show(self, view: SeriesView, season: str, character: str | None, without_common: bool) -> dict[str, Any]:
        import gradio as gr

        settings, names = self._settings, view.words.speakers
        seasons = [ALL, *map(speech.season_name, seasons_of(view.source.lines))]
        season = season if season in seasons else ALL
        who = character if character in names else next(iter(names), None)
        return {
            "notice": "",
            "top": draw_top(view, settings),
            "season": gr.update(choices=seasons, value=season, visible=len(seasons) > 2),
            "shares": draw_shares(view, season, settings),
            "character": gr.update(choices=names, value=who, visible=bool(names)),
            "words": draw_words(view, who or "", without_common, settings),
            "quality": quality_block(view.source.report, STATUS if view.source.folder else OWN),
        }

    async def pick_season(self, chosen: AnalysisSource | None, season: str) -> AsyncGenerator[dict[str, Any], None]:
        """The shares of another season."""
        async for step in self._follow(chosen):
            if isinstance(step, str):
                yield {"notice": step}
            else:
                yield {"notice": "", "shares": draw_shares(step.result, season, self._settings)}

    async def pick_character(
        self, chosen: AnalysisSource | None, character: str | None, without_common: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The words of another character."""
        async for step in self._follow(chosen):
            if isinstance(step, str):
                yield {"notice": step}
            else:
                yield {"notice": "", "words": draw_words(step.result, character or "", without_common, self._settings)}


def lay_out_series(tab: gr.Tab, desk: Desk) -> None:
    """Fill the tab; it computes when it is opened."""
    import gradio as gr

    parts: dict[str, Any] = {"notice": gr.HTML(js_on_load=None, elem_id="series-notice")}
    parts["top"] = plot_board(elem_id="series-top")
    with gr.Row(elem_classes="tool-bar"):
        parts["season"] = gr.Dropdown(
            [ALL], value=ALL, label="Shares of", filterable=False, visible=False, elem_id="series-season"
        )
    parts["shares"] = plot_board(elem_id="series-shares")
    with gr.Row(elem_classes="tool-bar"):
        parts["character"] = gr.Dropdown([], label="Words of", visible=False, elem_id="series-character", min_width=220)
        common = gr.Checkbox(False, label="Leave out common words", elem_id="series-common", min_width=220)
    parts["words"] = plot_board(elem_id="series-words")
    parts["scenes"] = plot_board(elem_id="series-scenes")
    parts["quality"] = gr.HTML(js_on_load=None, elem_id="series-quality")
    _connect(tab, desk, parts, common)


def _connect(tab: gr.Tab, desk: Desk, parts: dict[str, Any], common: gr.Checkbox) -> None:
    import gradio as gr

    acts = SeriesTab(desk)

    def by_part(act: Any) -> Any:
        async def run(*values: Any) -> AsyncGenerator[dict[Any, Any], None]:
            async for view in act(*values):
                yield {parts[name]: new for name, new in view.items()}

        return run

    options: dict[str, Any] = {
        "outputs": [parts[name] for name in PARTS], "api_visibility": "private", "show_progress": "hidden",
        "trigger_mode": "always_last",
    }  # fmt: skip
    whole = [desk.chosen, parts["season"], parts["character"], common]
    gr.on([tab.select, desk.chosen.change], by_part(acts.show), inputs=whole, **options)
    parts["season"].input(by_part(acts.pick_season), inputs=[desk.chosen, parts["season"]], **options)
    gr.on(
        [parts["character"].input, common.input], by_part(acts.pick_character),
        inputs=[desk.chosen, parts["character"], common], **options,
    )  # fmt: skip
