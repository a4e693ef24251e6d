"""The Characters tab: who they are, edited and saved; cards of other programs, imported and exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from character_chatbot import markup
from character_chatbot.editing.cast_editor import SERIES, CastEditor, Form, may_edit
from character_chatbot.pages import tool_blocks
from character_chatbot.pages.downloads import connect_download
from character_chatbot.pages.tab_events import find_tab
from character_chatbot.service import Service
from utils.errors import SuiteError, UsageError

FIELDS = ("name", "aliases", "persona", "personality", "scenario", "greeting", "examples")
LABELS = {  # of a character, and of a card
    "name": ("Name", "Name"),
    "aliases": ("Other names, one a line", "Nickname"),
    "persona": ("Persona: how they are, for the prompt", "Description"),
    "personality": ("Personality", "Personality"),
    "scenario": ("Scenario", "Scenario"),
    "greeting": ("Greeting", "Greeting"),
    "examples": ("Example lines, one a line", "Example conversations"),
}
LINES = {"name": 1, "aliases": 3, "persona": 7, "personality": 2, "scenario": 2, "greeting": 3, "examples": 4}
CARD_ONLY = ("personality", "scenario", "greeting")
NOT_ALLOWED = (
    "You can look at the characters here. They are edited where everybody is known: on this machine, or behind a "
    "password (app.editing)."
)

View = dict[str, Any]
Views = Iterator[View]


class Characters:
    """What happens on the tab. Each act gives views: values or properties by the name of a part.

    ``changed``: called after something was saved, so that the service takes the new cast.
    """

    def __init__(self, service: Service, changed: Callable[[], None]) -> None:
        self._service, self._changed = service, changed
        self._editor = CastEditor(service.settings)
        self.allowed = may_edit(service.settings)

    def look(self, entry: str | None) -> View:
        """The list of characters, and the one that was chosen, or the first."""
        try:
            entries = self._entries()
            chosen = entry if entry in entries else next(iter(entries), f"{SERIES}:")
            return self._list(entries, chosen) | self._show(self._open(chosen))
        except SuiteError as error:
            return _problem(error)

    def open(self, entry: str | None) -> View:
        """Another character."""
        try:
            return self._show(self._open(entry or f"{SERIES}:"))
        except SuiteError as error:
            return _problem(error)

    def begin(self) -> View:
        """A new character."""
        return {"entry": None} | self.open(f"{SERIES}:")

    def save(self, form: Form | None, *texts: str) -> View:
        """Write what is in the boxes."""
        try:
            self._check_allowed()
            if form is None:
                raise UsageError("choose a character first.")
            given = {name: text or "" for name, text in zip(FIELDS, texts, strict=True) if _has(form, name)}
            saved = self._editor.save(form, given, self._service.corpus, self._source)
            return self._after(saved, f"{saved.texts['name']} is saved.")
        except SuiteError as error:
            return _problem(error)

    def import_card(self, file: str | None) -> View:
        """Put an uploaded card on the shelf; the uploaded file itself does not stay."""
        if not file:
            return {"notice": ""}
        uploaded = Path(file)
        try:
            self._check_allowed()
            try:
                form = self._editor.import_card(uploaded.read_bytes())
            finally:
                uploaded.unlink(missing_ok=True)
            return self._after(form, f"{form.texts['name']} is imported.")
        except SuiteError as error:
            return _problem(error)

    def ask_delete(self) -> View:
        """Deleting takes a second click."""
        return {"delete": {"visible": False}, "sure": {"visible": self.allowed}}

    def delete(self, form: Form | None) -> View:
        """Take an imported card off the shelf."""
        try:
            self._check_allowed()
            self._editor.delete_card(form.entry if form else "")
            self._changed()
            return self.look(None) | {"notice": tool_blocks.done_line("The card is deleted.")}
        except SuiteError as error:
            return _problem(error)

    def export(self, form: Form | None, kind: str, spec: str) -> tuple[str, bytes]:
        """A character as a card. Raises SuiteError."""
        if form is None or form.entry == f"{SERIES}:":
            raise UsageError("save the character first.")
        return self._editor.export(form.entry, kind, spec)

    @property
    def _source(self) -> Any:
        service = self._service
        return None if service.loading or service.problem else service.source

    def _entries(self) -> dict[str, str]:
        return self._editor.entries(self._service.corpus, self._source)

    def _open(self, entry: str) -> Form:
        return self._editor.open(entry, self._service.corpus, self._source)

    def _after(self, form: Form, done: str) -> View:
        self._changed()
        return self._list(self._entries(), form.entry) | self._show(form) | {"notice": tool_blocks.done_line(done)}

    def _list(self, entries: dict[str, str], chosen: str) -> View:
        choices = [(label, entry) for entry, label in entries.items()]
        return {"entry": {"choices": choices, "value": chosen if chosen in entries else None}}

    def _show(self, form: Form) -> View:
        """The boxes of a form."""
        is_card = form.card is not None
        view: View = {"form": form, "notice": "" if self.allowed else markup.hint(NOT_ALLOWED)}
        view["notes"] = tool_blocks.notes_block(form.notes)
        view["preview"] = tool_blocks.card_preview(form.card)
        view |= {"delete": {"visible": is_card and self.allowed}, "sure": {"visible": False}}
        for name in FIELDS:
            fixed = name == "name" and form.name_fixed
            view[name] = {
                "value": form.texts.get(name, ""),
                "label": LABELS[name][is_card],
                "info": form.name_fixed if fixed else "",
                "visible": _has(form, name),
                "interactive": self.allowed and not fixed,
            }
        return view

    def _check_allowed(self) -> None:
        if not self.allowed:
            raise UsageError("characters are not edited on this page.", instead=NOT_ALLOWED)


def lay_out_characters(service: Service, changed: Callable[[], None] = lambda: None) -> None:
    """The tab, inside ``with gr.Tab(...) as tab``. ``changed``: lets the service take the new cast."""
    import gradio as gr

    acts = Characters(service, changed)
    parts: dict[str, Any] = {"form": gr.State(None)}
    with gr.Row(elem_classes="tool-bar"):
        parts["entry"] = gr.Dropdown([], label="Character", filterable=True, scale=3, elem_id="edited", min_width=200)
        parts["new"] = gr.Button("New character", interactive=acts.allowed, min_width=140, elem_id="new-character")
        parts["import"] = gr.UploadButton(
            "Import a card",
            file_types=[".json", ".png"],
            interactive=acts.allowed,
            min_width=140,
            elem_id="import-card",
        )
    parts["notice"] = gr.HTML()
    parts["notes"] = gr.HTML()
    with gr.Group(elem_id="character-form"):
        for name in FIELDS:
            parts[name] = gr.Textbox(
                label=LABELS[name][0], lines=LINES[name], max_lines=max(1, 3 * LINES[name]) if LINES[name] > 1 else 1,
                visible=name not in CARD_ONLY, interactive=acts.allowed, elem_id=f"character-{name}",
            )  # fmt: skip
    with gr.Row(elem_classes="tool-bar"):
        parts["save"] = gr.Button("Save", variant="primary", interactive=acts.allowed, elem_id="save-character")
        parts["delete"] = gr.Button("Delete this card", visible=False, elem_id="delete-card")
        parts["sure"] = gr.Button("Delete it for good", variant="stop", visible=False, elem_id="delete-for-good")
    parts["preview"] = gr.HTML()
    _lay_out_export(parts, acts)
    _connect(parts, acts)


def _lay_out_export(parts: dict[str, Any], acts: Characters) -> None:
    import gradio as gr

    with gr.Accordion("Take it along as a card", open=False, elem_id="export-card"), gr.Row(elem_classes="tool-bar"):
        kind = gr.Radio([("JSON", "json"), ("PNG picture", "png")], value="json", label="File", min_width=160)
        spec = gr.Radio([("V3", "v3"), ("V2", "v2")], value="v3", label="Specification", min_width=120)
        download = gr.Button("Download", elem_id="download-card", min_width=120)
    connect_download(download, parts["notice"], acts.export, [parts["form"], kind, spec])


def _connect(parts: dict[str, Any], acts: Characters) -> None:
    import gradio as gr

    shown = ("form", "entry", "notice", "notes", *FIELDS, "preview", "delete", "sure")
    outputs = [parts[name] for name in shown]

    def bind(act: Callable[..., View]) -> dict[str, Any]:
        def run(*values: Any) -> Any:
            view = act(*values)
            return {parts[name]: gr.update(**new) if isinstance(new, dict) else new for name, new in view.items()}

        return {"fn": run, "outputs": outputs, "show_progress": "hidden", "api_visibility": "private"}

    tab = find_tab()
    if tab is not None:
        tab.select(inputs=[parts["entry"]], **bind(acts.look))
    parts["entry"].input(inputs=[parts["entry"]], **bind(acts.open))
    parts["new"].click(**bind(acts.begin))
    parts["save"].click(inputs=[parts["form"], *(parts[name] for name in FIELDS)], **bind(acts.save))
    parts["delete"].click(**bind(acts.ask_delete))
    parts["sure"].click(inputs=[parts["form"]], **bind(acts.delete))
    parts["import"].upload(inputs=[parts["import"]], **bind(acts.import_card))


def _has(form: Form, name: str) -> bool:
    return form.card is not None or name not in CARD_ONLY


def _problem(error: SuiteError) -> View:
    return {"notice": markup.problem_block(str(error))}
