"""Betweenness in bounded time: exact where that is affordable, else estimated from some of the people, and said so.

    values, told = measure_betweenness(graph, seed=1)     # told: "" where every value is exact

An edge's length is 1 / weight. Brandes' algorithm (2001, networkx) walks over every edge twice for each person it
starts from. Three steps, each taken only where the one before is too much:

1. from everybody, over all edges;
2. from everybody, over the edges that lie on a shortest path: a tie that is longer than a way around it carries
   nothing. Where everybody knows everybody, and some better, these are few, and the values are the same;
3. over these, from as many people as are affordable, drawn with a seed (Brandes and Pich 2007).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import networkx as nx

logger = logging.getLogger(__name__)

MOST_STEPS = 8_000_000  # over an edge; networkx takes 0.3 to 0.6 microseconds for one
LEAST_SOURCES = 10
ROUNDING = 1e-9  # two ways that differ by less are equally long


def measure_betweenness(graph: nx.Graph, seed: int) -> tuple[dict[str, float], str]:
    """The betweenness of each person, normalised to 0 … 1, and a sentence where it is an estimate."""
    import networkx as nx

    lengths = nx.Graph()
    lengths.add_nodes_from(graph)
    lengths.add_edges_from((a, b, {"length": 1.0 / weight}) for a, b, weight in graph.edges(data="weight"))
    people = len(graph)
    if _steps(lengths) > MOST_STEPS:
        carrying = _on_shortest_paths(lengths)
        logger.info(
            "Betweenness of %d people over those %d of %d ties that lie on a shortest path: the others carry nothing.",
            people, carrying.number_of_edges(), lengths.number_of_edges(),
        )  # fmt: skip
        lengths = carrying
    sources, told = None, ""
    if _steps(lengths) > MOST_STEPS:
        affordable = MOST_STEPS // (2 * lengths.number_of_edges())
        sources = min(people, max(LEAST_SOURCES, affordable))
        told = (
            f"Betweenness is an estimate from {sources} of {people} people: {lengths.number_of_edges():,} ties lie on"
            " shortest paths, too many to start from everybody."
        )
        logger.warning("%s", told)
    return dict(nx.betweenness_centrality(lengths, k=sources, weight="length", seed=seed)), told


def _steps(graph: nx.Graph) -> int:
    return 2 * len(graph) * int(graph.number_of_edges())


def _on_shortest_paths(graph: nx.Graph) -> nx.Graph:
    """The graph without the edges that are longer than the shortest path between their ends."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    index = {name: at for at, name in enumerate(graph)}
    edges = list(graph.edges(data="length"))
    first, second = (np.array([index[edge[end]] for edge in edges]) for end in (0, 1))
    lengths = np.array([edge[2] for edge in edges])
    matrix = coo_array((lengths, (first, second)), shape=(len(index), len(index))).tocsr()
    distances = shortest_path(matrix, directed=False)
    kept = lengths <= distances[first, second] * (1 + ROUNDING)
    found = graph.__class__()
    found.add_nodes_from(graph)
    found.add_edges_from((*edges[at][:2], {"length": edges[at][2]}) for at in np.flatnonzero(kept))
    return found
