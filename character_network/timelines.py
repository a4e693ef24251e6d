"""How things change over the episodes, as still pictures: a pair, and who is central when.

    (folder / "pair.svg").write_text(timeline_svg(network, "Kit", "Grell"))
    (folder / "central.svg").write_text(central_svg(network))

The same as data: ``network.timeline(first, second)``, ``network.central_by_episode`` and ``network.changes()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from character_network.picture import short
from character_network.svg import INK, LINE, SOFT, svg, text
from character_network.ties import KINDS
from utils.palette import LIGHT_SCALE

if TYPE_CHECKING:
    import pandas as pd

    from character_network.network import Network

KIND_COLOURS = dict(zip(KINDS, ("#0072b2", "#e69f00", "#009e73"), strict=True))
KIND_TITLES = dict(zip(KINDS, ("speaks to", "together in scenes", "mentions"), strict=True))
CENTRAL_PEOPLE = 12  # rows of "who is central when"
CELL, ROW, NAMES, TOP = 46, 26, 190, 84  # pixels
EPISODES_WITH_NUMBERS = 60  # more are drawn narrower and without numbers


def timeline_svg(network: Network, first: str, second: str) -> str:
    """How often two people speak to each other, meet and name each other, episode by episode.

    Raises:
        UnknownCharacter: one of them is not in the network.
    """
    table = network.timeline(network.find_person(first), network.find_person(second))
    width, low, left = max(480, 70 * len(table) + 80), 250, 60
    most = max(1, int(table[list(KINDS)].to_numpy().max()))
    parts = [text(left, 28, f"{network.find_person(first)} and {network.find_person(second)}", 18, weight=600)]
    for at, kind in enumerate(KINDS):
        x = left + 150 * at
        parts.append(f'<rect x="{x}" y="40" width="12" height="12" fill="{KIND_COLOURS[kind]}"/>')
        parts.append(text(x + 18, 51, KIND_TITLES[kind], 13, fill=SOFT))
    parts.append(f'<line x1="{left}" y1="{low}" x2="{width - 20}" y2="{low}" stroke="{LINE}"/>')
    parts += [
        text(left - 8, 80, str(most), 12, fill=SOFT, anchor="end"),
        text(left - 8, low, "0", 12, fill=SOFT, anchor="end"),
    ]
    for at, row in enumerate(table.to_dict("records")):
        x = left + 10 + 70 * at
        for number, kind in enumerate(KINDS):
            tall = (low - 72) * row[kind] / most
            parts.append(
                f'<rect x="{x + 16 * number}" y="{low - tall:.1f}" width="15" height="{tall:.1f}"'
                f' fill="{KIND_COLOURS[kind]}"><title>{KIND_TITLES[kind]}: {row[kind]}</title></rect>'
            )
        parts.append(text(x + 24, low + 20, f"S{row['season']:02}E{row['episode']:02}", 12, fill=SOFT, anchor="middle"))
    return svg(width, low + 36, parts)


def central_shares(network: Network, people: int = CENTRAL_PEOPLE) -> pd.DataFrame:
    """Who is central when: of all strength in an episode, the share of each of the strongest people.

    Returns:
        Shares from 0 to 1; a row for each person, the strongest of the series first, a column for each episode
        ``(season, episode)`` of the series. The rows do not add up to 1: the others are left out.
    """
    found = network.central_by_episode
    totals = found.groupby(["season", "episode"])["strength"].transform("sum")
    table = found.assign(share=found["strength"] / totals).pivot_table(
        index="person", columns=["season", "episode"], values="share", aggfunc="sum", fill_value=0.0
    )
    names = [name for name in network.people["person"] if name in table.index][:people]
    return table.reindex(index=names, columns=network.episodes, fill_value=0.0)


def central_svg(network: Network, people: int = CENTRAL_PEOPLE) -> str:
    """The strongest people by episode: a cell is the percentage of all strength in it, darker is more."""
    shares = central_shares(network, people)
    cell = CELL if len(network.episodes) <= EPISODES_WITH_NUMBERS else 12
    most = max(0.01, float(shares.to_numpy().max(initial=0)))
    parts = [
        text(20, 30, f"{network.title}: who is central when", 18, weight=600),
        text(20, 52, "Percent of all strength in the episode; darker is more.", 13, fill=SOFT),
    ]
    for at, (season, episode) in enumerate(network.episodes):
        if cell == CELL or not at or network.episodes[at - 1][0] != season:
            label = f"S{season:02}E{episode:02}" if cell == CELL else f"S{season}"
            parts.append(text(NAMES + at * cell + cell / 2, TOP - 8, label, 10, fill=SOFT, anchor="middle"))
    for row, name in enumerate(shares.index):
        parts.append(text(NAMES - 8, TOP + row * ROW + 17, short(str(name)), 13, anchor="end"))
        for at, share in enumerate(shares.loc[name]):
            parts += _cell(NAMES + at * cell, TOP + row * ROW, cell, float(share), most)
    return svg(NAMES + len(network.episodes) * cell + 24, TOP + len(shares) * ROW + 20, parts)


def _cell(x: float, y: float, width: float, share: float, most: float) -> list[str]:
    depth = min(len(LIGHT_SCALE) - 1, round(share / most * (len(LIGHT_SCALE) - 1)))
    fill = f'<rect x="{x}" y="{y}" width="{width - 1}" height="{ROW - 1}" fill="{LIGHT_SCALE[depth]}"/>'
    if width < CELL or share < 0.005:
        return [fill]
    ink = "#ffffff" if depth > 2 else INK
    return [fill, text(x + width / 2, y + 17, str(round(100 * share)), 12, fill=ink, anchor="middle")]
