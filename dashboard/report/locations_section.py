"""The Locations section: who is where, where each episode takes place, and how far that can be believed."""

from __future__ import annotations

from html import escape

from dashboard.figures import locations as figures
from dashboard.pages.locations_blocks import evaluation_block
from dashboard.pages.locations_view import SeriesLabels, build_classifier, locate, read_labels
from dashboard.report.section import Order, Section
from utils.announcements import Announcements
from utils.errors import DataError
from utils.lines import UNKNOWN

NO_PLACES = (
    "No place of this series is known. Places come from locations.jsonl in the series' folder, from transcripts that"
    " mark them, and from labels: python -m text_classification --help"
)


def fill_locations(section: Section, order: Order) -> None:
    """Predict the place of every scene that has none, and measure how good that is on held-out episodes."""
    labels = SeriesLabels(order.settings)
    view = locate(order.source, labels, order.settings, lambda done, total: None, order.other_location_model)
    results = view.results
    section.announcements = tuple(view.announcements)
    sources = results.frame["source"].value_counts().to_dict()
    parts = ", ".join(f"{int(count):,} {name}" for name, count in sources.items())
    section.method = " ".join(
        [
            f"{len(results.scenes):,} scenes: {parts}. Places are predicted by {results.method}; below a probability of"
            f" {results.threshold:g} a place is {UNKNOWN}.",
            *results.notes,
        ]
    )
    order.progress(1, 2)
    if not results.places:
        section.add(f"<p>{escape(NO_PLACES)}</p>")
        return
    rows = order.settings.report.table_rows
    section.add_plot(figures.plot_matrix(results.who_is_where(), order.settings.dashboard.shown_characters), rows)
    section.add_plot(figures.plot_episodes(results.frame), rows)
    section.add_titled("locations-evaluation", "How good the answers are", _evaluation(order, labels))


def _evaluation(order: Order, labels: SeriesLabels) -> str:
    """The table of models, or why nothing can be measured."""
    known = read_labels(order.source, labels)
    try:
        quiet = Announcements(quiet=True)
        classifier = build_classifier(order.source, order.settings, quiet, order.other_location_model)
        found = classifier.evaluate(order.source.lines, known)
    except DataError as error:
        return f'<p class="unmeasured">Not measured: {escape(str(error))}</p>'
    return evaluation_block(found)
