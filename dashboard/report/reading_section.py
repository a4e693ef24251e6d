"""The first section: how the files were read, by which means the others were made, and what was not to be had."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from character_chatbot import markup
from dashboard.pages.series_blocks import quality_block
from dashboard.report.section import Section
from dashboard.source import AnalysisSource

COPYRIGHT = (
    "Lines of a series belong to whoever wrote them. This report quotes {quoted} of {lines} lines, each with its place,"
    " to show what a number means; report.quoted_lines sets how many at most."
)


def fill_reading(section: Section, source: AnalysisSource, others: Sequence[Section]) -> None:
    """Known last, shown first."""
    # No path of this machine: a report is sent on.
    section.add(quality_block(source.report, "python training_pipeline.py data --data DIR"))
    if source.report and source.report.skipped:
        rows = [(note.file, note.reason) for note in source.report.skipped]
        section.add(markup.table(("File", "Reason"), rows, "Files without lines"))
    section.add_titled("methods", "How each section was made", _methods(others))
    section.add_titled("steps-down", "What was wanted and could not be had", _steps(others))
    quoted = sum(each.quoted for each in others)
    told = COPYRIGHT.format(quoted=f"{quoted:,}", lines=f"{len(source.lines):,}")
    section.add_titled("quotations", "Quotations", f"<p>{escape(told)}</p>")


def _methods(sections: Sequence[Section]) -> str:
    items = "".join(
        f"<div><dt>{escape(each.title)}</dt><dd>{escape(each.problem or each.method or 'As told there.')}"
        f" <small>{each.seconds:,.1f} s</small></dd></div>"
        for each in sections
    )
    return f'<dl class="methods">{items}</dl>'


def _steps(sections: Sequence[Section]) -> str:
    steps = dict.fromkeys(each for section in sections for each in section.announcements)
    if not steps:
        return "<p>Nothing: everything was made by the means that the settings ask for.</p>"
    items = "".join(
        f"<div><dt>{escape(each.feature[:1].upper() + each.feature[1:])}</dt><dd>Used: {escape(each.got)}. Wanted:"
        f" {escape(each.wanted)}. Why not: {escape(each.why)}. To change that: <code>{escape(each.remedy)}</code>"
        "</dd></div>"
        for each in steps
    )
    return f'<dl class="methods">{items}</dl>'
