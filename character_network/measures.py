"""Who is central: strength, betweenness, PageRank and communities of a network, in all, by season and by episode.

Strength is the sum of a person's edge weights. Betweenness takes 1 / weight as an edge's length (Newman 2001: strong
ties are short). PageRank (damping 0.85) and Louvain communities (Blondel et al. 2008) take the weights; Louvain is
seeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from character_network.betweenness import measure_betweenness
from character_network.ties import KINDS, weigh

if TYPE_CHECKING:
    import networkx as nx

MEASURES = ("strength", "betweenness", "pagerank", "community")


def build_graph(ties: pd.DataFrame, weights: Mapping[str, float], people: list[str] | None = None) -> nx.Graph:
    """The undirected network: edges with ``speaks, together, mentions, weight``. ``people``: nodes to have anyway."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(people or [])
    pairs, keys = weigh(ties, weights), (*KINDS, "weight")
    values = zip(*(pairs[key].tolist() for key in keys), strict=True)
    for first, second, row in zip(pairs["source"].tolist(), pairs["target"].tolist(), values, strict=True):
        graph.add_edge(first, second, **dict(zip(keys, row, strict=True)))
    return graph


def build_directed_graph(ties: pd.DataFrame, kind: str) -> nx.DiGraph:
    """One kind of edge with its directions; ``weight`` is the count."""
    import networkx as nx

    chosen = ties[ties["kind"] == kind].groupby(["source", "target"])["count"].sum()
    graph = nx.DiGraph()
    for row in chosen.reset_index().to_dict("records"):
        graph.add_edge(row["source"], row["target"], weight=int(row["count"]))
    return graph


def measure(graph: nx.Graph, seed: int) -> pd.DataFrame:
    """``person, strength, betweenness, pagerank, community``, the strongest first. Community 0 is the largest.

    Where betweenness is an estimate (see ``betweenness``), the graph's attribute of that name says so.
    """
    if not len(graph):
        return pd.DataFrame(columns=["person", *MEASURES])
    communities = find_communities(graph, seed)
    ranks, (between, told) = page_ranks(graph), measure_betweenness(graph, seed)
    if told:
        graph.graph["betweenness"] = told
    rows = [
        (name, float(s), between[name], ranks[name], communities[name]) for name, s in graph.degree(weight="weight")
    ]
    frame = pd.DataFrame.from_records(rows, columns=["person", *MEASURES])
    return frame.sort_values(["strength", "person"], ascending=[False, True], ignore_index=True)


def page_ranks(graph: nx.Graph) -> dict[str, float]:
    import networkx as nx

    if not graph.number_of_edges():
        return dict.fromkeys(graph, 1.0 / max(1, len(graph)))
    return dict(nx.pagerank(graph, weight="weight"))


def find_communities(graph: nx.Graph, seed: int) -> dict[str, int]:
    """The number of each person's community, 0 for the largest. Whoever has no edge is in community -1."""
    import networkx as nx

    linked = graph.subgraph([name for name, degree in graph.degree() if degree])
    groups = nx.community.louvain_communities(linked, weight="weight", seed=seed) if len(linked) else []
    ordered = sorted(groups, key=lambda group: (-len(group), min(group)))
    found = {name: number for number, group in enumerate(ordered) for name in group}
    return {name: found.get(name, -1) for name in graph}


def measure_episodes(ties: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """Who is central when: ``season, episode, person, strength, pagerank``, one row for each who has an edge there."""
    rows = []
    for (season, episode), part in ties.groupby(["season", "episode"], sort=True):
        graph = build_graph(part, weights)
        ranks = page_ranks(graph)
        strengths = sorted(graph.degree(weight="weight"), key=lambda pair: (-pair[1], pair[0]))
        rows += [(season, episode, name, float(strength), ranks[name]) for name, strength in strengths]
    return pd.DataFrame.from_records(rows, columns=["season", "episode", "person", "strength", "pagerank"])


def measure_seasons(ties: pd.DataFrame, weights: Mapping[str, float], seed: int) -> pd.DataFrame:
    """``season`` and the columns of ``measure``."""
    parts = [
        measure(build_graph(part, weights), seed).assign(season=season)
        for season, part in ties.groupby("season", sort=True)
    ]
    columns = ["season", "person", *MEASURES]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def pair_timeline(ties: pd.DataFrame, first: str, second: str, episodes: list[tuple[int, int]]) -> pd.DataFrame:
    """How a relation changes: ``season, episode, speaks, together, mentions``, a row for every episode of the
    series.
    """
    mine = ties[ties["source"].isin([first, second]) & ties["target"].isin([first, second])]
    table = mine.pivot_table(index=["season", "episode"], columns="kind", values="count", aggfunc="sum", fill_value=0)
    index = pd.MultiIndex.from_tuples(episodes, names=["season", "episode"])
    return table.reindex(index=index, columns=list(KINDS), fill_value=0).reset_index().rename_axis(columns=None)


def relation_changes(
    ties: pd.DataFrame, weights: Mapping[str, float], by: str = "season", episodes: Sequence[tuple[int, int]] = ()
) -> pd.DataFrame:
    """How relations change: what the weight of each pair is in a season or episode, and what it was in the one before.

    Args:
        by: ``season`` or ``episode``. The one before is the one before in the series; who did not meet there had 0.
        episodes: all of the series, as (season, episode). The weight of a season is that of its mean episode, so that
            a long season and a short one compare; without them the episodes that have ties are counted.

    Returns:
        ``season`` (and ``episode``), ``source, target, speaks, together, mentions, weight, before, change``: a row
        wherever a pair has or had a weight, the greatest change of each time first.
    """
    times = ["season"] if by == "season" else ["season", "episode"]
    places = [tuple(row) for row in ties[times].drop_duplicates().sort_values(times).to_numpy().tolist()]
    parts, last = [], pd.Series(dtype=float)
    for place in places:
        here = (ties[times] == list(place)).all(axis=1)
        now = weigh(ties[here], weights).set_index(["source", "target"])
        if by == "season":
            now["weight"] /= _count_episodes(place[0], ties[here], episodes)
        both = now.reindex(now.index.union(last.index)) if len(last) else now
        before = last.reindex(both.index).fillna(0.0)
        both = both.fillna(0.0).assign(before=before, change=both["weight"].fillna(0.0) - before)
        parts.append(both.reset_index().assign(**dict(zip(times, place, strict=True))))
        last = now["weight"]
    columns = [*times, "source", "target", *KINDS, "weight", "before", "change"]
    if not parts:
        return pd.DataFrame(columns=columns)
    found = pd.concat(parts, ignore_index=True)[columns].astype(dict.fromkeys(KINDS, "int64"))
    size = found["change"].abs()
    order = found.assign(size=size).sort_values(
        [*times, "size", "source", "target"], ascending=[*[True] * len(times), False, True, True]
    )
    return order.drop(columns="size").reset_index(drop=True)


def _count_episodes(season: int, ties: pd.DataFrame, episodes: Sequence[tuple[int, int]]) -> int:
    return sum(number == season for number, _ in episodes) or ties["episode"].nunique()
