"""Which ties the page of a network carries: all of an ordinary one; of a crowd those that a page can show.

    chosen = choose_page_ties(network)
    chosen.ties, chosen.pairs, chosen.all_pairs, chosen.note

Where everybody knows everybody, ties are by the hundred thousand, and a picture draws a few thousand. Then the page
carries the strongest: of each person, of the whole, and of each season and kind. What it tells of a pair that it
carries is whole, in every episode; strengths of people count all ties (``count_strengths``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from character_network.ties import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from character_network.network import Network

MOST_ROWS = 100_000  # of ties, by kind and episode: about 2 MB of the page
DRAWN = 4000  # lines of one view, as page.js has it
OF_EACH = 10  # strongest of each person, as page.js lists them
OF_EACH_FIRST = 3  # these go before all others
CORE = 60  # strongest people: all ties among them
FILES = "ties.csv and network.graphml have all"


@dataclass(frozen=True)
class PageTies:
    """``ties``: rows of ``Network.ties``. ``pairs``: how many pairs they join, of ``all_pairs``."""

    ties: pd.DataFrame
    pairs: int
    all_pairs: int

    @property
    def is_whole(self) -> bool:
        return self.pairs == self.all_pairs

    @property
    def note(self) -> str:
        """What is left out, for people; empty where nothing is."""
        if self.is_whole:
            return ""
        return f"The page carries {self.pairs:,} of {self.all_pairs:,} ties, the strongest; {FILES}."


def choose_page_ties(network: Network) -> PageTies:
    """The ties of people of the network, or the strongest of them."""
    names = network.people["person"]
    ties = network.ties[network.ties["source"].isin(names) & network.ties["target"].isin(names)]
    pairs = network.pairs
    if len(ties) <= MOST_ROWS:
        return PageTies(ties, len(pairs), len(pairs))
    numbers = _number_pairs(ties, pairs)
    ties, numbers = ties[numbers >= 0], numbers[numbers >= 0]
    priorities = _priorities(network, ties, numbers)
    order = np.argsort(priorities, kind="stable")  # equal ones: the strongest first
    rows = np.bincount(numbers, minlength=len(pairs))[order].cumsum()
    kept = np.zeros(len(pairs), dtype=bool)
    kept[order[np.isfinite(priorities[order]) & (rows <= MOST_ROWS)]] = True
    return PageTies(ties[kept[numbers]], int(kept.sum()), len(pairs))


def count_strengths(ties: pd.DataFrame) -> pd.DataFrame:
    """``kind, person, season, episode, count``: the ties of each person, whoever is at the other end."""
    keys = ["kind", "person", "season", "episode"]
    ends = [ties.rename(columns={end: "person"})[[*keys, "count"]] for end in ("source", "target")]
    return pd.concat(ends).groupby(keys)["count"].sum().reset_index()


def _number_pairs(ties: pd.DataFrame, pairs: pd.DataFrame) -> NDArray[np.intp]:
    """The row of ``pairs`` of each tie; -1 for those without a weight."""
    ends = pd.concat([pairs["source"], ties["source"], pairs["target"], ties["target"]]).to_numpy(dtype=object)
    codes, names = pd.factorize(ends)
    first, second = np.split(codes, 2)
    keys = np.minimum(first, second) * len(names) + np.maximum(first, second)
    return np.asarray(pd.Index(keys[: len(pairs)]).get_indexer(pd.Index(keys[len(pairs) :])))


def _priorities(network: Network, ties: pd.DataFrame, numbers: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of each pair, the lower the sooner; infinite: not on the page."""
    pairs = network.pairs
    found = np.full(len(pairs), np.inf)
    ends = pd.concat([pairs["source"], pairs["target"]]).sort_index(kind="stable")
    among = ends.groupby(ends).cumcount().groupby(level=0).min().to_numpy()  # place among the strongest of an end
    core = set(network.people["person"].head(CORE))
    classes = [
        among < OF_EACH_FIRST,
        (pairs["source"].isin(core) & pairs["target"].isin(core)).to_numpy(),
        np.arange(len(pairs)) < DRAWN,
        among < OF_EACH,
    ]
    for priority, chosen in reversed(list(enumerate(classes))):
        found[chosen] = priority
    for view in _views(network, ties, numbers):
        first = view[:DRAWN]
        found[first] = np.minimum(found[first], len(classes) + np.arange(len(first)))
    return found


def _views(network: Network, ties: pd.DataFrame, numbers: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The pairs of each kind, each season and each kind in a season, the strongest first."""
    weights = ties["count"].to_numpy(dtype=float) * ties["kind"].map(network.weights).to_numpy(dtype=float)
    counts, kinds = ties["count"].to_numpy(dtype=float), ties["kind"].to_numpy()
    seasons = ties["season"].to_numpy()
    for season in (None, *np.unique(seasons)):
        there = np.ones(len(ties), dtype=bool) if season is None else seasons == season
        if season is not None:
            yield _strongest(numbers[there], weights[there])
        for kind in KINDS:
            chosen = there & (kinds == kind)
            yield _strongest(numbers[chosen], counts[chosen])


def _strongest(numbers: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.intp]:
    sums = np.bincount(numbers, weights=values)
    order = np.argsort(-sums, kind="stable")
    return order[sums[order] > 0]
