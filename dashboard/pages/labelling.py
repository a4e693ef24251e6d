"""Labelling scenes on the Locations tab: one after the other, the least sure first; saved, skipped, taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from character_chatbot.editing.cast_editor import may_edit
from character_chatbot.pages.downloads import connect_download
from character_chatbot.pages.tool_blocks import done_line
from dashboard.desk import Desk
from dashboard.pages import locations_blocks as blocks
from dashboard.pages.locations_view import QUEUE, LocationView, SeriesLabels
from dashboard.source import read_places
from text_classification.labels import Label
from utils.errors import DataError, SuiteError, UsageError
from utils.places import Places

if TYPE_CHECKING:
    import gradio as gr

    from text_classification.uncertainty import UncertainScene

LONGEST_PLACE = 100  # characters, as in a file of labels
PARTS = ("work", "notice", "scene", "place", "other", "buttons", "undo")

View = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A scene that was dealt with. ``label``: None where it was skipped; ``before``: the label that it had."""

    case: UncertainScene
    label: Label | None = None
    before: Label | None = None


@dataclass(frozen=True, eq=False)
class Work:
    """What a visitor has before them, and what they have done."""

    queue: tuple[UncertainScene, ...] = ()
    done: tuple[Done, ...] = ()
    places: tuple[str, ...] = ()


class Labelling:
    """Each act gives views: values or updates by the name of a part (``PARTS``)."""

    def __init__(self, desk: Desk, labels: SeriesLabels) -> None:
        self._desk, self._labels = desk, labels
        self.allowed = may_edit(desk.settings)

    def begin(self, view: LocationView) -> View:
        """The first of the least sure scenes."""
        import gradio as gr

        from text_classification.uncertainty import most_uncertain

        is_own = view.source.folder is not None
        if not (self.allowed and is_own):
            hidden = {name: gr.update(visible=False) for name in ("place", "other", "buttons", "undo")}
            hint = markup.hint(blocks.NOT_ALLOWED if is_own else blocks.OF_UPLOAD)
            return {"work": Work(), "notice": hint, "scene": "", **hidden}
        work = Work(tuple(most_uncertain(view.results, QUEUE)), (), tuple(view.places))
        return {"notice": "", **self._show(work)}

    def save(self, work: Work, place: str | None, other: str | None) -> View:
        """Write where the scene is: what is typed counts before what is chosen."""
        self._check_allowed()
        name = " ".join((other or "").split()) or place or ""
        if not work.queue:
            raise UsageError("there is no scene to label.")
        if not name:
            raise UsageError("choose a place, or type where else it is.")
        if len(name) > LONGEST_PLACE or not name.isprintable():
            raise UsageError(f"{name[:40]!r} is no name of a place.", instead=f"At most {LONGEST_PLACE} characters.")
        case, places = work.queue[0], self._places()
        label = case.label(places.resolve(name))
        before = self._labels.add(label, places)
        told = done_line(f"{case.scene.code} is at {label.location}. Compute again to see what that changes.")
        known = work.places if label.location in work.places else (*work.places, label.location)
        return {"notice": told, **self._next(replace(work, places=known), Done(case, label, before))}

    def skip(self, work: Work) -> View:
        """The next scene; nothing is written."""
        if not work.queue:
            raise UsageError("there is no scene to skip.")
        return {"notice": "", **self._next(work, Done(work.queue[0]))}

    def undo(self, work: Work) -> View:
        """Back to the scene before, as it was before."""
        self._check_allowed()
        if not work.done:
            raise UsageError("there is nothing to take back.")
        last = work.done[-1]
        if last.label is not None:
            self._labels.take_back(last.label, last.before, self._places())
        told = done_line(f"{last.case.scene.code} is as it was before.")
        return {"notice": told, **self._show(Work((last.case, *work.queue), work.done[:-1], work.places))}

    def take_over(self, file: str | None) -> View:
        """The labels of a visitor's CSV file; the uploaded file itself does not stay."""
        if not file:
            return {"notice": ""}
        uploaded = Path(file)
        try:
            self._check_allowed()
            most = self._desk.settings.dashboard.upload_file_mb
            if uploaded.stat().st_size > most * 1e6:
                raise DataError(f"{uploaded.name} is larger than {most:g} MB.", instead="That is no file of labels.")
            taken = self._labels.take_over(uploaded.read_bytes(), uploaded.name, self._places())
        finally:
            uploaded.unlink(missing_ok=True)
        return {"notice": blocks.imported_line(taken)}

    def export(self) -> tuple[str, bytes]:
        """Name and content of the file of labels. Raises SuiteError."""
        self._check_allowed()
        return self._labels.export(self._places())

    def _places(self) -> Places:
        return read_places(self._desk.sources.read())

    def _next(self, work: Work, done: Done) -> View:
        return self._show(Work(work.queue[1:], (*work.done, done), work.places))

    def _show(self, work: Work) -> View:
        import gradio as gr

        case = work.queue[0] if work.queue else None
        left = max(0, len(work.queue) - 1) or len(work.done)
        return {
            "work": work,
            "scene": blocks.scene_block(case, len(work.queue) - 1 if case else left),
            "place": gr.update(choices=list(work.places), value=(case.guess or None) if case else None,
                               visible=case is not None),
            "other": gr.update(value="", visible=case is not None),
            "buttons": gr.update(visible=case is not None),
            "undo": gr.update(visible=bool(work.done)),
        }  # fmt: skip

    def _check_allowed(self) -> None:
        if not self.allowed:
            raise UsageError("scenes are not labelled on this page.", instead=blocks.NOT_ALLOWED)


@dataclass(frozen=True)
class LabelBoxes:
    """What the tab is told about labelling. ``imported``: events after which places are to be computed anew."""

    acts: Labelling
    parts: dict[str, Any]
    imported: list[Any]


def lay_out_labelling(desk: Desk, labels: SeriesLabels) -> LabelBoxes:
    """Lay out and connect all of it."""
    import gradio as gr

    acts = Labelling(desk, labels)
    parts: dict[str, Any] = {"work": gr.State(Work())}
    gr.HTML("<h3>Tell where scenes are</h3>", js_on_load=None, elem_classes="part-title")
    parts["notice"] = gr.HTML(js_on_load=None, elem_id="label-notice")
    parts["scene"] = gr.HTML(js_on_load=None, elem_id="label-scene")
    with gr.Row(elem_classes="tool-bar"):
        parts["place"] = gr.Dropdown([], label="It is at", visible=False, elem_id="label-place", min_width=200)
        parts["other"] = gr.Textbox(
            label="Or somewhere else", visible=False, max_lines=1, max_length=LONGEST_PLACE, elem_id="label-other",
            min_width=200,
        )  # fmt: skip
    with gr.Row(elem_classes="tool-bar"):
        with gr.Row(elem_classes="tool-bar", visible=False) as parts["buttons"]:
            save = gr.Button("Save", variant="primary", elem_id="label-save", min_width=100)
            skip = gr.Button("Skip", elem_id="label-skip", min_width=100)
        parts["undo"] = gr.Button("Undo", visible=False, elem_id="label-undo", min_width=100)
    with gr.Row(elem_classes="tool-bar"):
        upload = gr.UploadButton("Import labels (CSV)", file_types=[".csv"], interactive=acts.allowed,
                                 elem_id="label-import", min_width=180)  # fmt: skip
        export = gr.Button("Export labels (CSV)", interactive=acts.allowed, elem_id="label-export", min_width=180)
    connect_download(export, parts["notice"], acts.export, [])
    return LabelBoxes(acts, parts, _connect(acts, parts, save, skip, upload))


def _connect(acts: Labelling, parts: dict[str, Any], save: gr.Button, skip: gr.Button, upload: Any) -> list[Any]:
    work = parts["work"]
    options: dict[str, Any] = {
        "outputs": [parts[name] for name in PARTS], "api_visibility": "private", "show_progress": "hidden",
    }  # fmt: skip

    def told(act: Callable[..., View]) -> Any:
        async def run(*values: Any) -> View:
            try:
                view = await asyncio.to_thread(act, *values)
            except SuiteError as error:
                view = {"notice": markup.problem_block(str(error))}
            return {parts[name]: new for name, new in view.items()}

        return run

    chosen = [work, parts["place"], parts["other"]]
    save.click(told(acts.save), inputs=chosen, trigger_mode="once", **options)
    parts["other"].submit(told(acts.save), inputs=chosen, trigger_mode="once", **options)
    skip.click(told(acts.skip), inputs=[work], **options)
    parts["undo"].click(told(acts.undo), inputs=[work], **options)
    return [upload.upload(told(acts.take_over), inputs=[upload], **options)]
