"""Makes a report: each section by itself, so that one that fails takes none of the others with it.

report = build_report(load_source(folder), settings)
write_report(report, Path("report.html"))
report.problems                                  # name and sentence of each section that failed
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from config import Settings
from dashboard.report.section import Order, Section
from dashboard.report.shared_network import SharedNetwork
from dashboard.source import AnalysisSource
from utils.errors import SuiteError
from utils.files import disk_errors, write_atomic

logger = logging.getLogger(__name__)

READING = "reading"
# Title, module and function of each section, in the order of the page.
SECTIONS = {
    "series": ("Series", "series_section", "fill_series"),
    "themes": ("Themes", "themes_section", "fill_themes"),
    "network": ("Network", "network_section", "fill_network"),
    "locations": ("Locations", "locations_section", "fill_locations"),
}
Progress = Callable[[str, int, int], None]  # name of the section, done, total; 0 of 0: it begins


@dataclass(frozen=True)
class Report:
    """All that stands in the file. ``sections``: in order, how the data was read first."""

    title: str
    logline: str
    sections: list[Section]
    written: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def problems(self) -> dict[str, str]:
        """Name of each section that failed, and why."""
        return {each.name: each.problem for each in self.sections if each.problem}

    @property
    def quoted(self) -> int:
        """Lines of the series that stand in it."""
        return sum(each.quoted for each in self.sections)


def build_report(
    source: AnalysisSource,
    settings: Settings,
    *,
    sections: Sequence[str] = tuple(SECTIONS),
    themes: Sequence[str] = (),
    logline: str = "",
    progress: Progress = lambda name, done, total: None,
    other_theme_model: Callable[[str], str] | None = None,
    other_location_model: Callable[[str], str] | None = None,
) -> Report:
    """A report of a series; what fails in a section is its ``problem``.

    Args:
        sections: names out of ``SECTIONS``.
        themes: names; empty: the first ``report.themes`` of the series.
        progress: told when a section begins, and how far it is; what it raises ends the report.
        other_theme_model, other_location_model: see ``Order``.
    """
    made = []
    shared = SharedNetwork(source, settings.network, "network" in sections)
    order = Order(
        source, settings, shared, tuple(themes),
        other_theme_model=other_theme_model, other_location_model=other_location_model,
    )  # fmt: skip
    for name in (each for each in SECTIONS if each in sections):
        progress(name, 0, 0)
        made.append(_build_section(name, order, progress))
    reading = Section(READING, "How the data was read")
    _fill(reading, "reading_section", "fill_reading", source, made)
    return Report(source.title, logline, [reading, *made])


def _build_section(name: str, order: Order, progress: Progress) -> Section:
    title, module, function = SECTIONS[name]
    section = Section(name, title)
    told = replace(order, progress=lambda done, total: progress(name, done, total))
    _fill(section, module, function, told)
    return section


def _fill(section: Section, module: str, function: str, *given: object) -> None:
    """Make a section; what goes wrong is written into it."""
    started = time.monotonic()
    try:
        getattr(import_module(f"dashboard.report.{module}"), function)(section, *given)
    except SuiteError as error:
        section.problem = str(error)
    except Exception as error:
        section.problem = f"{type(error).__name__}: {error}. This is a fault of the program."
        logger.warning("The section %s of the report failed: %s", section.name, error)
        logger.debug("failed", exc_info=error)
    section.seconds = time.monotonic() - started
    if section.problem:
        section.parts, section.contents, section.quoted = [], [], 0


def write_report(report: Report, path: Path) -> int:
    """Write the file, whole or not at all; its size in bytes. Raises StoreError: the disk says no."""
    from dashboard.report.document import build_document

    content = build_document(report).encode("utf-8", "replace")
    with disk_errors(path, "written"):
        write_atomic(path, content)
    return len(content)
