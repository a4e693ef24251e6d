"""The report as one HTML file: style, script, plotly.js and all data inside, and a policy that forbids any request.

plotly.js is 4.8 MB; it lies in the file compressed, as base64, and the browser unpacks it (DecompressionStream: Chrome
80, Firefox 113, Safari 16.4). An older browser is told so and shows the words and tables.
"""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from character_network.svg import GROUND, INK, LINE, SOFT
from dashboard.display import plot_script, plot_style, plotly_gzip
from utils.palette import DARK, LIGHT

if TYPE_CHECKING:
    from dashboard.report.building import Report
    from dashboard.report.section import Section

HERE = Path(__file__).parent
STYLE_SHEETS = (HERE.parent / "pages" / "dashboard.css", HERE / "report.css")
# Nothing may be asked for, from anywhere; pictures are made in the page.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:;"
    " base-uri 'none'; form-action 'none'"
)
# Colours of the picture of the network (character_network/svg.py) by the variable that takes their place.
PICTURE_COLOURS = {INK: "--plot-ink", SOFT: "--plot-soft", GROUND: "--plot-paper", LINE: "--picture-line"}
NO_SCRIPT = "Plots and their numbers need JavaScript, which this browser does not run; words and tables are all here."
NO_PLOTS = "This browser cannot unpack the plots, and shows their words and numbers: open the file in a newer one."


def build_document(report: Report) -> str:
    """The whole file."""
    title = escape(report.title)
    body = "".join(_section_html(section) for section in report.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}: report</title><style>{_style()}</style></head>\n"
        f'<body><a class="skip" href="#content">Skip to the report</a>{_head(report)}{_contents(report)}'
        f'<main id="content">{body}</main>\n'
        f'<script type="text/plain" id="plotly-packed">{base64.b64encode(plotly_gzip()).decode()}</script>\n'
        f"<script>{plot_script()}\n{(HERE / 'report.js').read_text(encoding='utf-8')}</script></body></html>\n"
    )


def _style() -> str:
    sheets = [plot_style(), *(sheet.read_text(encoding="utf-8") for sheet in STYLE_SHEETS)]
    for colour, variable in PICTURE_COLOURS.items():
        sheets += [f'.picture [{what}="{colour}"] {{ {what}: var({variable}); }}' for what in ("fill", "stroke")]
    twins = zip(LIGHT, DARK, strict=True)
    sheets += [f'.dark .picture [fill="{light}"] {{ fill: {dark}; }}' for light, dark in twins if light != dark]
    return "\n".join(sheets)


def _head(report: Report) -> str:
    logline = f"<p>{escape(report.logline)}</p>" if report.logline else ""
    when = report.written.strftime("%Y-%m-%d %H:%M UTC")
    return (
        f'<header><h1>{escape(report.title)}</h1>{logline}<p class="written">Written {when}</p>'
        f'<noscript><p class="notice">{NO_SCRIPT}</p></noscript>'
        f'<p class="notice" id="no-plots" role="status" hidden>{NO_PLOTS}</p></header>'
    )


def _contents(report: Report) -> str:
    """A list of all sections and what is in them."""
    items = "".join(
        f'<li><a href="#{section.name}">{escape(section.title)}</a>{_inner(section)}</li>'
        for section in report.sections
    )
    return f'<nav aria-label="Contents"><h2>Contents</h2><ol>{items}</ol></nav>'


def _inner(section: Section) -> str:
    items = "".join(
        f'<li><a href="#{escape(to, quote=True)}">{escape(title)}</a></li>' for to, title in section.contents
    )
    return f"<ul>{items}</ul>" if items else ""


def _section_html(section: Section) -> str:
    inner = "".join(section.parts)
    if section.problem:
        inner = f'<p class="notice problem">This section could not be made: {escape(section.problem)}</p>'
    method = f'<p class="method">{escape(section.method)}</p>' if section.method and not section.problem else ""
    return (
        f'<section class="chapter" id="{section.name}" aria-labelledby="{section.name}-title">'
        f'<h2 id="{section.name}-title">{escape(section.title)}</h2>{method}{inner}</section>\n'
    )
