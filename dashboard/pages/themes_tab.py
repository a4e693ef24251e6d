"""The Themes tab: what the series is about, where, and in whose mouth; a click leads to the scenes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from character_chatbot.pages.downloads import connect_download
from dashboard.computing import Analyses, Done, Progress
from dashboard.desk import Desk
from dashboard.display import plot_block, plot_board
from dashboard.figures import themes as figures
from dashboard.pages.theme_scoring import (
    LONGEST_BOX,
    MODEL,
    SEED_WORDS,
    ThemeView,
    check_model,
    join_themes,
    read_names,
    read_own,
    score_key,
    score_themes,
)
from dashboard.pages.themes_blocks import SHOWN_SCENES, method_block, scenes_block
from dashboard.source import AnalysisSource
from dashboard.statistics.speech import build_cast_table, episode_codes, season_name
from dashboard.statistics.theme_scenes import find_scenes
from theme_classifier.models import LEXICAL
from theme_classifier.results import CSV_FILE, JSON_FILE
from utils.errors import DataError, SuiteError

if TYPE_CHECKING:
    import gradio as gr

WHOLE = "the whole series"
FIRST_THEMES = 10  # of the list, chosen at first
FIRST_CHARACTERS = 2  # in the radar at first
MOST_CHARACTERS = 5
PRESS = "Press Compute: the model reads every line, which takes a while the first time."
STOPPED = "Stopped. What the model has scored is kept: computing again goes on from there."
COMPUTE_FIRST = "Press Compute first: these scores are not at hand any more."
PARTS = ("notice", "shown", "themes", "way", "stop", "method", "plots", "theme", "place", "scenes", "who", "radar")

View = dict[str, Any]


class ThemesTab:
    """What happens on the tab. Each act gives views: values or updates by the name of a part."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._settings = desk, desk.settings
        self._analyses: Analyses[ThemeView] = Analyses(desk.settings.dashboard.kept_results)

    def kept(self, shown: str) -> ThemeView:
        """The scores that the visitor looks at. Raises DataError: they are not kept any more."""
        found = self._analyses.get(shown)
        if found is None:
            raise DataError(COMPUTE_FIRST)
        return found.result

    async def open(
        self, chosen: AnalysisSource | None, themes: list[str], own: str, way: str, shown: str
    ) -> AsyncGenerator[View, None]:
        """The choices, and scores by seed words at once; nothing where the same series is shown already."""
        import gradio as gr

        try:
            source = await asyncio.to_thread(self._desk.sources.read, chosen)
            now = self._analyses.get(shown)
            if now is not None and now.result.source.key == source.key:
                return
            names = read_names(source)
        except SuiteError as error:
            yield {"notice": markup.problem_block(str(error))}
            return
        why_not = await asyncio.to_thread(check_model, self._settings)
        picked = [name for name in themes if name in names] or names[:FIRST_THEMES]
        only_words = self._settings.themes.model == LEXICAL
        way = LEXICAL if only_words or not why_not else MODEL  # a model that cannot be had is announced
        first: View = {
            "themes": gr.update(choices=names, value=picked),
            "way": gr.update(value=way, visible=not only_words),
        }
        async with aclosing(self._score(chosen, picked, own, way)) as views:
            async for view in views:
                yield first | view
                first = {}

    async def compute(
        self, chosen: AnalysisSource | None, themes: list[str], own: str, way: str
    ) -> AsyncGenerator[View, None]:
        """Score by the way that is chosen."""
        async with aclosing(self._score(chosen, themes, own, way)) as views:
            async for view in views:
                yield view

    async def change(
        self, chosen: AnalysisSource | None, themes: list[str], own: str, way: str
    ) -> AsyncGenerator[View, None]:
        """Another choice: scored at once by seed words, and by a model where it is known."""
        if way == MODEL:
            try:
                source = await asyncio.to_thread(self._desk.sources.read, chosen)
                key = score_key(source, self._names(themes, own), way, self._settings)
            except SuiteError as error:
                yield {"notice": markup.problem_block(str(error))}
                return
            if self._analyses.get(key) is None:
                yield {"notice": markup.hint(PRESS)}
                return
        async with aclosing(self._score(chosen, themes, own, way)) as views:
            async for view in views:
                yield view

    def _names(self, themes: list[str], own: str) -> list[str]:
        names = join_themes(themes, read_own(own or "", self._settings.dashboard.own_themes))
        if not names:
            raise DataError("no theme is chosen.", instead="Choose some, or type your own.")
        return names

    async def _score(
        self, chosen: AnalysisSource | None, themes: list[str], own: str, way: str
    ) -> AsyncGenerator[View, None]:
        import gradio as gr

        try:
            names = self._names(themes, own)
        except SuiteError as error:
            yield {"notice": markup.problem_block(str(error))}
            return

        def name(source: AnalysisSource) -> str:
            return score_key(source, names, way, self._settings)

        def work(source: AnalysisSource, progress: Progress) -> ThemeView:
            return score_themes(source, names, way, self._settings, progress)

        running = False
        async with aclosing(self._desk.analyse(self._analyses, chosen, name, work)) as steps:
            async for step in steps:
                running = isinstance(step, str)
                if isinstance(step, str):
                    yield {"notice": step, "stop": gr.update(interactive=True)}
                else:
                    yield self._show(step, name(step.result.source)) | {"stop": gr.update(interactive=False)}
        if running:  # it has failed
            yield {"stop": gr.update(interactive=False)}

    def _show(self, done: Done[ThemeView], key: str) -> View:
        import gradio as gr

        view, names = done.result, done.result.scores.themes
        people = build_cast_table(view.source.lines)["speaker"].head(self._settings.dashboard.shown_characters).tolist()
        first = people[:FIRST_CHARACTERS]
        theme = str(view.everybody.idxmax())
        plots = plot_block(figures.plot_arcs(view.scores.episodes, names))
        plots += plot_block(figures.plot_seasons(view.scores.frame, names))
        return {
            "notice": "",
            "shown": key,
            "method": method_block(view, done.seconds),
            "plots": plots,
            "theme": gr.update(choices=names, value=theme, visible=True),
            "place": gr.update(choices=places_of(view), value=WHOLE, visible=True),
            "scenes": draw_scenes(view, theme, WHOLE),
            "who": gr.update(choices=people, value=first, visible=bool(people)),
            "radar": draw_radar(view, first),
        }

    def pick(self, shown: str, point: object) -> View:
        """The scenes of a point that was clicked: [theme, code of an episode or name of a season]."""
        import gradio as gr

        view = self.kept(shown)
        if not (isinstance(point, list) and len(point) == 2 and all(isinstance(part, str) for part in point)):
            return {"notice": ""}
        theme, place = point
        if theme not in view.scores.themes or place not in places_of(view):
            return {"notice": ""}
        return {
            "theme": gr.update(value=theme),
            "place": gr.update(value=place),
            "scenes": draw_scenes(view, theme, place),
        }

    def look(self, shown: str, theme: str, place: str) -> View:
        """The scenes of a theme in a place."""
        return {"scenes": draw_scenes(self.kept(shown), theme, place), "notice": ""}

    def compare(self, shown: str, who: list[str]) -> View:
        """The radar of other characters."""
        return {"radar": draw_radar(self.kept(shown), who[:MOST_CHARACTERS]), "notice": ""}

    def save(self, shown: str, name: str) -> tuple[str, bytes]:
        """A file of the scores, as the command line writes it: its name and content."""
        with tempfile.TemporaryDirectory() as folder:
            self.kept(shown).scores.save(Path(folder))
            return name, (Path(folder) / name).read_bytes()


def places_of(view: ThemeView) -> list[str]:
    """Where scenes can be looked for: everywhere, in a season, in an episode."""
    episodes = view.scores.episodes.drop_duplicates(["season", "episode"]).sort_values(["season", "episode"])
    seasons = [season_name(int(number)) for number in episodes["season"].unique()]
    return [WHOLE, *(seasons if len(seasons) > 1 else []), *episode_codes(episodes)]


def draw_scenes(view: ThemeView, theme: str, place: str) -> str:
    """The scenes that carry a theme, with their lines."""
    return scenes_block(find_scenes(view.scores.frame, theme, place, SHOWN_SCENES), theme, place)


def draw_radar(view: ThemeView, who: list[str]) -> str:
    """What these characters speak about."""
    if len(view.scores.themes) < 3:
        return markup.hint("With three themes or more, a radar shows here what the characters speak about.")
    return plot_block(figures.plot_radar(view.speakers, view.scores.themes, who, view.everybody))


def lay_out_themes(tab: gr.Tab, desk: Desk) -> None:
    """Fill the tab; it computes when it is opened."""
    import gradio as gr

    parts: dict[str, Any] = {"shown": gr.State("")}
    parts["themes"] = gr.Dropdown([], label="Themes", multiselect=True, value=[], elem_id="themes-chosen")
    with gr.Row(elem_classes="tool-bar"):
        parts["own"] = gr.Textbox(
            label="Own themes, with commas between them", max_lines=2, max_length=LONGEST_BOX, min_width=240,
            placeholder="for instance: Homesickness, Debt", elem_id="themes-own", scale=2,
        )  # fmt: skip
        choices = [(SEED_WORDS, LEXICAL), (f"Model {Path(desk.settings.themes.model).name}", MODEL)]
        parts["way"] = gr.Radio(choices, value=LEXICAL, label="Scored by", elem_id="themes-way", min_width=280, scale=2)
    with gr.Row(elem_classes="tool-bar"):
        compute = gr.Button("Compute", variant="primary", elem_id="themes-compute", min_width=140)
        parts["stop"] = gr.Button("Stop", interactive=False, elem_id="themes-stop", min_width=90)
        saving = {
            name: gr.Button(label, elem_id=f"themes-save-{label[-4:].strip().lower()}", min_width=140)
            for name, label in ((CSV_FILE, "Scores as CSV"), (JSON_FILE, "Scores as JSON"))
        }
    parts["notice"] = gr.HTML(js_on_load=None, elem_id="themes-notice")
    parts["method"] = gr.HTML(js_on_load=None, elem_id="themes-method")
    parts["plots"] = plot_board(elem_id="themes-plots")
    with gr.Row(elem_classes="tool-bar"):
        parts["theme"] = gr.Dropdown([], label="Scenes about", visible=False, elem_id="themes-theme", min_width=200)
        parts["place"] = gr.Dropdown([], label="in", visible=False, elem_id="themes-place", min_width=200)
    parts["scenes"] = gr.HTML(js_on_load=None, elem_id="themes-scenes")
    parts["who"] = gr.Dropdown(
        [], label="Characters in the radar", multiselect=True, max_choices=MOST_CHARACTERS, value=[], visible=False,
        elem_id="themes-who",
    )  # fmt: skip
    parts["radar"] = plot_board(elem_id="themes-radar")
    acts = ThemesTab(desk)
    for name, button in saving.items():
        connect_download(button, parts["notice"], _saver(acts, name), [parts["shown"]])
    _connect(tab, desk, parts, compute, acts)


def _saver(acts: ThemesTab, name: str) -> Callable[[str], tuple[str, bytes]]:
    return lambda shown: acts.save(shown, name)


def _connect(tab: gr.Tab, desk: Desk, parts: dict[str, Any], compute: gr.Button, acts: ThemesTab) -> None:
    import gradio as gr

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    options = {**private, "outputs": [parts[name] for name in PARTS]}
    choice = [desk.chosen, parts["themes"], parts["own"], parts["way"]]

    def by_part(act: Callable[..., AsyncGenerator[View, None]]) -> Any:
        async def run(*values: Any) -> AsyncGenerator[dict[Any, Any], None]:
            async with aclosing(act(*values)) as views:
                async for view in views:
                    yield {parts[name]: new for name, new in view.items()}

        return run

    def told(act: Callable[..., View]) -> Any:
        def run(*values: Any) -> dict[Any, Any]:
            try:
                view = act(*values)
            except SuiteError as error:
                view = {"notice": markup.problem_block(str(error))}
            return {parts[name]: new for name, new in view.items()}

        return run

    def pick(shown: str, clicked: Any) -> dict[Any, Any]:
        data = clicked._data if isinstance(clicked._data, dict) else {}
        found: dict[Any, Any] = told(acts.pick)(shown, data.get("point"))
        return found

    pick.__annotations__ = {"clicked": gr.EventData}
    opened = gr.on([tab.select, desk.chosen.change], by_part(acts.open), inputs=[*choice, parts["shown"]], **options)
    pressed = gr.on([compute.click, parts["own"].submit], by_part(acts.compute), inputs=choice, trigger_mode="once",
                    **options)  # fmt: skip
    changed = gr.on([parts["themes"].input, parts["way"].input], by_part(acts.change), inputs=choice,
                    trigger_mode="always_last", **options)  # fmt: skip
    stopped = {parts["notice"]: markup.hint(STOPPED), parts["stop"]: gr.update(interactive=False)}
    parts["stop"].click(lambda: stopped, outputs=[parts["notice"], parts["stop"]],
                        cancels=[opened, pressed, changed], **private)  # fmt: skip
    parts["plots"].pick(pick, inputs=[parts["shown"]], **options)
    gr.on([parts["theme"].input, parts["place"].input], told(acts.look),
          inputs=[parts["shown"], parts["theme"], parts["place"]], **options)  # fmt: skip
    parts["who"].input(told(acts.compare), inputs=[parts["shown"], parts["who"]], **options)
