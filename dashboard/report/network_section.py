"""The Network section: the picture, measures, communities, the strongest pairs, changes, and who is central when."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from character_chatbot import markup
from dashboard.figures import network as figures
from dashboard.pages.network_blocks import COLOURS, people_block
from dashboard.pages.network_view import SHOWN_CENTRAL
from dashboard.report.section import Order, Section

if TYPE_CHECKING:
    from character_network.network import Network

NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'  # which SVG within HTML does without
NO_TIES = "Nobody here speaks with anybody by name, so there is no network."
PAIR_HEADING = ("Pair", "Weight", "Turns to each other", "Scenes together", "Times named")


def fill_network(section: Section, order: Order) -> None:
    """Count who speaks to whom, who is together and who names whom; draw it."""
    from character_network.page import scene_note
    from character_network.timelines import central_shares

    network = order.shared.network
    section.announcements = tuple(order.shared.announcements)
    weights = ", ".join(f"{kind} {weight:g}" for kind, weight in network.weights.items())
    section.method = (
        f"{len(network.graph):,} people, {len(network.pairs):,} ties, {len(network.scenes):,} scenes."
        f" Weights: {weights}. {scene_note(network)}"
    )
    order.progress(1, 2)
    if not len(network.pairs):
        section.add(f"<p>{NO_TIES}</p>")
        return
    rows = order.settings.report.table_rows
    section.add_titled("network-picture", "Who belongs with whom", picture_html(network))
    section.add_titled("network-measures", "Measures", people_block(network.people.head(rows)))
    section.add_titled("network-communities", "Communities", _communities(network))
    _add_pairs(section, network, order)
    _add_changes(section, network, rows)
    section.add_plot(figures.plot_central(central_shares(network, SHOWN_CENTRAL)), rows)


def picture_html(network: Network) -> str:
    """The picture, with words for those who do not see it; its colours are exchanged by the style sheet."""
    from character_network.picture import draw, network_svg

    drawing = draw(network)
    strongest = ", ".join(str(name) for name in network.people["person"].head(5))
    told = f"The {len(drawing.circles):,} strongest people and the ties among them. Strongest: {strongest}."
    svg = network_svg(replace(drawing, title="")).replace(NAMESPACE, "", 1)
    return (
        f"<p>{escape(told)}</p>"
        f'<div class="picture" tabindex="0" role="img" aria-label="{escape(told, quote=True)}">{svg}</div>'
    )


def _communities(network: Network) -> str:
    groups: dict[int, list[str]] = {}
    for name, number in zip(network.people["person"], network.people["community"].astype(int), strict=True):
        groups.setdefault(number, []).append(str(name))
    items = "".join(
        f'<li><i class="community community-{number if number < COLOURS else "more"}" aria-hidden="true"></i>'
        f"<b>{number + 1}</b> {escape(_names(groups[number]))}</li>"
        for number in sorted(groups)
        if number >= 0
    )
    return f'<ol class="communities">{items}</ol><p>Found by Louvain\'s method, seeded; the strongest first.</p>'


def _names(names: list[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _add_pairs(section: Section, network: Network, order: Order) -> None:
    """The strongest pairs, and the timelines of the first ones."""
    pairs = network.pairs.head(order.settings.report.pairs).to_dict("records")
    rows = [
        (f"{row['source']} – {row['target']}", f"{row['weight']:,.0f}", row["speaks"], row["together"], row["mentions"])
        for row in pairs
    ]
    table = markup.table(PAIR_HEADING, rows, f"The strongest {len(rows)} of {len(network.pairs):,} pairs")
    section.add_titled("network-pairs", "Strongest pairs", f'<div class="pairs">{table}</div>')
    section.add('<div class="side-by-side">')
    for number, row in enumerate(pairs[: order.settings.report.pair_timelines], 1):
        first, second = str(row["source"]), str(row["target"])
        plot = figures.plot_pair(network.timeline(first, second), first, second)
        section.add_plot(plot, order.settings.report.table_rows, f"pair-{number}")
    section.add("</div>")


def _add_changes(section: Section, network: Network, rows: int) -> None:
    by = "season" if len({season for season, _ in network.episodes}) > 1 else "episode"
    changes = network.changes(by)
    if len(changes):
        section.add_plot(figures.plot_relations(changes, by), rows)
