"""A section of the report, and the pieces of HTML that all sections are made of. Every text from data is escaped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING

from dashboard.display import plot_block

if TYPE_CHECKING:
    from config import Settings
    from dashboard.plot import Plot
    from dashboard.report.shared_network import SharedNetwork
    from dashboard.source import AnalysisSource
    from utils.announcements import Announcement

Progress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class Order:
    """What every section is made from. ``themes``: names of themes; empty: the first ones of the series.

    ``other_theme_model``, ``other_location_model``: tell how to have a report with another model, where one fails.
    """

    source: AnalysisSource
    settings: Settings
    shared: SharedNetwork
    themes: tuple[str, ...] = ()
    progress: Progress = lambda done, total: None
    other_theme_model: Callable[[str], str] | None = None
    other_location_model: Callable[[str], str] | None = None


@dataclass
class Section:
    """A section while it is made and when it is done.

    ``method``: in sentences, how its numbers were made. ``quoted``: lines of the series in it. ``problem``: why it
    could not be made; then ``parts`` are not shown.
    """

    name: str
    title: str
    parts: list[str] = field(default_factory=list)
    contents: list[tuple[str, str]] = field(default_factory=list)  # id and title of each plot, for the contents
    method: str = ""
    announcements: tuple[Announcement, ...] = ()
    quoted: int = 0
    problem: str = ""
    seconds: float = 0.0

    def add(self, html: str) -> None:
        """A piece of HTML."""
        self.parts.append(html)

    def add_titled(self, name: str, title: str, html: str) -> None:
        """A piece of HTML under a heading that the contents lead to."""
        self.contents.append((name, title))
        self.parts.append(f'<section class="part" id="{name}"><h3>{escape(title)}</h3>{html}</section>')

    def add_plot(self, plot: Plot, rows: int, name: str = "") -> None:
        """A plot as it is in a file: nothing to click, and ``rows`` of its numbers at most.

        Args:
            name: instead of the plot's own, which has to be unique in the report.
        """
        shown = fit_plot(plot, rows, name)
        self.contents.append((f"plot-{shown.name}", shown.title))
        self.parts.append(plot_block(shown))


def fit_plot(plot: Plot, rows: int, name: str = "") -> Plot:
    """The plot without its click, and with the first ``rows`` of its numbers, which its note says."""
    note = "" if plot.clickable else plot.note
    if len(plot.table) > rows:
        note = f"{note} Numbers: the first {rows:,} of {len(plot.table):,} rows.".strip()
    return replace(plot, name=name or plot.name, table=plot.table.head(rows), note=note, clickable=False)
