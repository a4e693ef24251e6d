"""Pieces of HTML of the Series tab. Every text from data is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from character_chatbot import markup
from utils.lines import UNKNOWN, LoadReport

if TYPE_CHECKING:
    import pandas as pd


def fact_tiles(lines: pd.DataFrame, cast: pd.DataFrame) -> str:
    """The size of the series at a glance."""
    unknown = int((lines["speaker"] == UNKNOWN).sum())
    facts = [
        ("seasons", f"{lines['season'].nunique():,}"),
        ("episodes", f"{len(lines[['season', 'episode']].drop_duplicates()):,}"),
        ("lines", f"{len(lines):,}"),
        ("words", f"{int(cast['words'].sum()):,}"),
        ("speakers", f"{len(cast):,}"),
        ("lines by nobody known", f"{unknown:,}"),
    ]
    tiles = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="tiles">{tiles}</dl>'


def cast_block(cast: pd.DataFrame) -> str:
    """The cast as a table."""
    heading = ("Character", "Lines", "Words", "Share", "Episodes", "First", "Last")
    rows = [
        (row["speaker"], f"{row['lines']:,}", f"{row['words']:,}", f"{100 * row['share']:.1f} %", row["episodes"],
         row["first"], row["last"])
        for row in cast.to_dict("records")
    ]  # fmt: skip
    return f'<div class="cast">{markup.table(heading, rows, f"Cast, {len(rows):,} who speak")}</div>'


def quality_block(report: LoadReport | None, rows_where: str = "on the Status tab") -> str:
    """How the data was read, in a sentence and a table of reasons. ``rows_where``: where each row stands."""
    if report is None:
        return ""
    changed = {kind: sum(reasons.values()) for kind, reasons in report.counts().items()}
    told = (
        f"{len(report.files):,} files, {report.rows_in:,} rows: {report.rows_out:,} kept,"
        f" {report.rows_dropped:,} dropped."
        f" Of the rows, {changed['repaired']:,} were repaired and {changed['flagged']:,} are worth a look."
    )
    if report.skipped:
        told += f" {len(report.skipped):,} files hold no lines."
    rows = [
        (kind, reason, f"{count:,}") for kind, reasons in report.counts().items() for reason, count in reasons.items()
    ]
    table = markup.table(("What", "Why", "Rows"), rows, "Repaired, flagged and dropped") if rows else ""
    return (
        f'<section class="quality"><h3>Data quality</h3><p>{escape(told)}</p>{table}'
        f"<p>Row by row: {escape(rows_where)}.</p></section>"
    )
