"""The Locations tab: who is where, where each episode takes place, how good that is, and labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from character_chatbot.pages.downloads import connect_download
from dashboard.computing import Analyses, Progress
from dashboard.desk import Desk
from dashboard.display import plot_block, plot_board
from dashboard.figures import locations as figures
from dashboard.pages import locations_blocks as blocks
from dashboard.pages.labelling import LabelBoxes, lay_out_labelling
from dashboard.pages.locations_view import (
    RESULT_FILES,
    LocationView,
    SeriesLabels,
    locate,
    measure,
    save_results,
)
from dashboard.source import AnalysisSource, read_places
from utils.errors import DataError, SuiteError
from utils.lines import UNKNOWN

if TYPE_CHECKING:
    import gradio as gr

    from text_classification.evaluation import Evaluation

WAYS = ("As a map", "As a flow", "From scene to scene")
OPEN_FIRST = "Open the tab again first: these places are not at hand any more."
PARTS = ("notice", "shown", "method", "where", "episodes", "evaluation")

View = dict[str, Any]


class LocationsTab:
    """What happens on the tab beside labelling. Each act gives views: values or updates by the name of a part."""

    def __init__(self, desk: Desk, labels: SeriesLabels) -> None:
        self._desk, self._labels, self._settings = desk, labels, desk.settings
        self._analyses: Analyses[LocationView] = Analyses(desk.settings.dashboard.kept_results)
        self._evaluations: Analyses[Evaluation] = Analyses(desk.settings.dashboard.kept_results)

    def _name(self, source: AnalysisSource) -> str:
        places = [place.names for place in read_places(source)]
        state = self._labels.state() if source.folder is not None else ""
        return repr((source.key, state, places, self._settings.locations))

    async def show(
        self, chosen: AnalysisSource | None, way: str, shown: str
    ) -> AsyncGenerator[tuple[View, LocationView | None], None]:
        """The parts, and at the end the places where they are others than those ``shown``."""

        def work(source: AnalysisSource, progress: Progress) -> LocationView:
            return locate(source, self._labels, self._settings, progress)

        async with aclosing(self._desk.analyse(self._analyses, chosen, self._name, work)) as steps:
            async for step in steps:
                if isinstance(step, str):
                    yield {"notice": step}, None
                elif (key := self._name(step.result.source)) == shown:
                    yield {"notice": ""}, None
                else:
                    yield await asyncio.to_thread(self._show, step.result, key, way), step.result

    def _show(self, view: LocationView, key: str, way: str) -> View:
        return {
            "notice": "",
            "shown": key,
            "method": blocks.method_block(view),
            "where": draw_where(view, way, self._settings.dashboard.shown_characters),
            "episodes": plot_block(figures.plot_episodes(view.results.frame)),
            "evaluation": "",
        }

    def kept(self, shown: str) -> LocationView:
        """The places that the visitor looks at. Raises DataError: they are not kept any more."""
        found = self._analyses.get(shown)
        if found is None:
            raise DataError(OPEN_FIRST)
        return found.result

    def pick_way(self, shown: str, way: str) -> View:
        """Another picture of who is where."""
        where = draw_where(self.kept(shown), way, self._settings.dashboard.shown_characters)
        return {"notice": "", "where": where}

    async def evaluate(self, chosen: AnalysisSource | None) -> AsyncGenerator[View, None]:
        """How good the places are, on held-out episodes."""

        def work(source: AnalysisSource, progress: Progress) -> Evaluation:
            progress(0, 0)
            return measure(source, self._labels, self._settings)

        async with aclosing(self._desk.analyse(self._evaluations, chosen, self._name, work)) as steps:
            async for step in steps:
                yield {"evaluation": step if isinstance(step, str) else blocks.evaluation_block(step.result)}

    def save(self, shown: str, label: str) -> tuple[str, bytes]:
        """One of the files. Raises SuiteError."""
        return save_results(self.kept(shown), label)


def draw_where(view: LocationView, way: str, most: int) -> str:
    """Who is where, as a map or as a flow; or the moves."""
    if way == WAYS[2]:
        return plot_block(figures.plot_moves(view.results.moves()))
    where = view.results.who_is_where()
    where = where[where["speaker"] != UNKNOWN]
    if where.empty:
        return markup.hint("No place is known yet: mark them in the transcripts (a column location), or label scenes.")
    return plot_block(figures.plot_flows(where) if way == WAYS[1] else figures.plot_matrix(where, most))


def lay_out_locations(tab: gr.Tab, desk: Desk) -> None:
    """Fill the tab; it computes when it is opened."""
    import gradio as gr

    parts: dict[str, Any] = {"shown": gr.State("")}
    parts["notice"] = gr.HTML(js_on_load=None, elem_id="locations-notice")
    parts["method"] = gr.HTML(js_on_load=None, elem_id="locations-method")
    parts["way"] = gr.Radio(list(WAYS), value=WAYS[0], label="Who is where", elem_id="locations-way")
    parts["where"] = plot_board(elem_id="locations-where")
    parts["episodes"] = plot_board(elem_id="locations-episodes")
    with gr.Row(elem_classes="tool-bar"):
        parts["evaluate"] = gr.Button("How good is that?", elem_id="locations-evaluate", min_width=160)
        file = gr.Dropdown(list(RESULT_FILES), value=next(iter(RESULT_FILES)), label="Save", elem_id="locations-file",
                           min_width=180)  # fmt: skip
        save = gr.Button("Download", elem_id="locations-save", min_width=120)
    parts["evaluation"] = gr.HTML(js_on_load=None, elem_id="locations-evaluation")
    labels = SeriesLabels(desk.settings)
    acts = LocationsTab(desk, labels)
    labelling = lay_out_labelling(desk, labels)
    with gr.Row(elem_classes="tool-bar"):
        parts["again"] = gr.Button("Compute again", elem_id="locations-again", min_width=160)
    connect_download(save, parts["notice"], acts.save, [parts["shown"], file])
    _connect(tab, desk, parts, acts, labelling)


def _connect(tab: gr.Tab, desk: Desk, parts: dict[str, Any], acts: LocationsTab, labelling: LabelBoxes) -> None:
    import gradio as gr

    labels, boxes = labelling.acts, labelling.parts
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    whole = [desk.chosen, parts["way"], parts["shown"]]
    outputs = [parts[name] for name in PARTS] + list(boxes.values())

    async def show(*values: Any) -> AsyncGenerator[dict[Any, Any], None]:
        async with aclosing(acts.show(*values)) as views:
            async for view, now in views:
                begun = labels.begin(now) if now is not None else {}
                mine = {parts[name]: new for name, new in view.items()}
                yield mine | {boxes[name]: new for name, new in begun.items()}

    async def show_after(*values: Any) -> AsyncGenerator[dict[Any, Any], None]:
        async for view in show(*values):
            # What was just told stays. Gradio takes no empty dict.
            if left := {part: new for part, new in view.items() if part is not boxes["notice"]}:
                yield left

    async def measured(chosen: AnalysisSource | None) -> AsyncGenerator[dict[Any, Any], None]:
        async with aclosing(acts.evaluate(chosen)) as views:
            async for view in views:
                yield {parts[name]: new for name, new in view.items()}

    def pick_way(shown: str, way: str) -> dict[Any, Any]:
        try:
            view = acts.pick_way(shown, way)
        except SuiteError as error:
            view = {"notice": markup.problem_block(str(error))}
        return {parts[name]: new for name, new in view.items()}

    async def show_again(chosen: AnalysisSource | None, way: str) -> AsyncGenerator[dict[Any, Any], None]:
        async for view in show(chosen, way, ""):
            yield view

    gr.on([tab.select, desk.chosen.change], show, inputs=whole, outputs=outputs, trigger_mode="always_last", **private)
    parts["again"].click(show_again, inputs=whole[:2], outputs=outputs, trigger_mode="once", **private)
    for event in labelling.imported:
        event.then(show_after, inputs=whole, outputs=outputs, **private)
    ways = [parts["shown"], parts["way"]]
    parts["way"].input(pick_way, inputs=ways, outputs=[parts["where"], parts["notice"]], **private)
    parts["evaluate"].click(
        measured, inputs=[desk.chosen], outputs=[parts["evaluation"]], trigger_mode="once", **private
    )
