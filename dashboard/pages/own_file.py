"""Above each tab of the dashboard: what is looked at, a visitor's own files instead, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from character_chatbot import markup
from dashboard.desk import Desk
from dashboard.source import AnalysisSource
from dashboard.uploads import Upload, read_uploads, worth_a_look
from utils.errors import SuiteError

SHOWN_NOTES = 50
PARTS = ("told", "back")

Bar = dict[str, Any]
View = dict[str, Any]


def invite(desk: Desk) -> str:
    """What may be sent, and what becomes of it."""
    limits = desk.settings.dashboard
    return (
        '<p class="own-file-hint">CSV transcripts or SRT subtitles, up to '
        f"{limits.upload_files} files of {limits.upload_file_mb:g} MB and {limits.upload_rows:,} rows. They are read"
        " for you alone and kept in memory only, until you go back or for an hour after you close the page.</p>"
    )


def own_file_block(source: AnalysisSource) -> str:
    """What a visitor looks at, and what of it could not be read."""
    report = source.report
    rows = f", {report.rows_out:,} of {report.rows_in:,} rows" if report else ""
    told = f"You look at your own file: {source.title}{rows}. Only you see it; nothing of it is kept on the disk."
    notes = worth_a_look(report) if report else []
    table = ""
    if notes:
        shown = [(note.file, note.row or "all", note.reason, note.text) for note in notes[:SHOWN_NOTES]]
        caption = f"{len(notes):,} left out" + (f", the first {SHOWN_NOTES}" if len(notes) > SHOWN_NOTES else "")
        inner = markup.table(("File", "Row", "Why", "Text"), shown, caption)
        table = f"<details><summary>What was left out ({len(notes):,})</summary>{inner}</details>"
    return f'<div class="notice own-file" role="status"><p>{escape(told)}</p>{table}</div>'


def lay_out_own_file(desk: Desk, name: str) -> Bar:
    """The bar of one tab; ``connect_bars`` lets them act, all together."""
    import gradio as gr

    bar: Bar = {}
    with gr.Accordion("Look at your own file", open=False, elem_id=f"own-file-{name}", elem_classes="own-file-bar"):
        gr.HTML(invite(desk), js_on_load=None)
        bar["like"] = gr.Checkbox(False, label="It is of this series: use its names and places", elem_id=f"like-{name}")
        bar["upload"] = gr.UploadButton(
            "Choose CSV or SRT files", file_count="multiple", file_types=[".csv", ".srt"], elem_id=f"upload-{name}",
            min_width=200,
        )  # fmt: skip
    bar["told"] = gr.HTML(js_on_load=None, elem_id=f"own-file-told-{name}")
    bar["back"] = gr.Button("Back to the series", visible=False, elem_id=f"back-{name}", min_width=180)
    return bar


class OwnFile:
    """What the bars do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def take(
        self, chosen: AnalysisSource | None, files: Sequence[str] | None, is_like: bool
    ) -> tuple[AnalysisSource | None, str]:
        """What is looked at from now on, and a word about it. The uploaded files themselves do not stay."""
        paths = [Path(file) for file in files or []]
        try:
            uploads = self._read(paths)
            like = self._desk.sources.read() if is_like else None
            source = read_uploads(uploads, self._desk.settings.dashboard, like)
        except SuiteError as error:
            return chosen, markup.problem_block(str(error))
        finally:
            for path in paths:
                path.unlink(missing_ok=True)
        if chosen is not None and chosen.key != source.key:
            self._desk.forget(chosen)
        return source, own_file_block(source)

    def _read(self, paths: Sequence[Path]) -> list[Upload]:
        """The files; of one that is too large no more than shows that it is."""
        most = int(self._desk.settings.dashboard.upload_file_mb * 1e6)
        found = []
        for path in paths[: self._desk.settings.dashboard.upload_files + 1]:
            with path.open("rb") as file:
                found.append(Upload(path.name, file.read(most + 1)))
        return found

    def back(self, chosen: AnalysisSource | None) -> None:
        """Forget what was looked at."""
        self._desk.forget(chosen)


def connect_bars(desk: Desk, bars: Sequence[Bar]) -> None:
    """Whatever one bar does, all bars tell."""
    import gradio as gr

    acts = OwnFile(desk)
    outputs = [desk.chosen, *(bar[name] for bar in bars for name in PARTS)]
    options: dict[str, Any] = {"outputs": outputs, "api_visibility": "private", "show_progress": "hidden"}

    def show(source: AnalysisSource | None, told: str) -> dict[Any, Any]:
        is_own = source is not None
        return {desk.chosen: source} | {
            bar[name]: new
            for bar in bars
            for name, new in (("told", told), ("back", gr.update(visible=is_own)))
        }  # fmt: skip

    async def take(chosen: AnalysisSource | None, files: Any, is_like: bool) -> dict[Any, Any]:
        return show(*await asyncio.to_thread(acts.take, chosen, files, is_like))

    def back(chosen: AnalysisSource | None) -> dict[Any, Any]:
        acts.back(chosen)
        return show(None, "")

    for bar in bars:
        bar["upload"].upload(take, inputs=[desk.chosen, bar["upload"], bar["like"]], **options)
        bar["back"].click(back, inputs=[desk.chosen], **options)
