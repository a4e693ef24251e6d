"""The network as files that other programs open: CSV, GraphML, GEXF (Gephi), JSON in node-link form (networkx, D3).

export_network(network, Path("results/network"))      # [Path("results/network/nodes.csv"), …]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from character_network.network import Network
from character_network.ties import KINDS

if TYPE_CHECKING:
    import networkx as nx


def export_network(network: Network, folder: Path) -> list[Path]:
    """Write all formats into a folder, which is made. GraphML, GEXF and JSON hold the undirected network."""
    folder.mkdir(parents=True, exist_ok=True)
    return list(_write(network, folder))


def _write(network: Network, folder: Path) -> Iterator[Path]:
    import networkx as nx

    tables = {
        "nodes.csv": network.people,
        "edges.csv": network.pairs,
        "ties.csv": network.ties,
        "central_by_episode.csv": network.central_by_episode,
        "central_by_season.csv": network.central_by_season,
        "changes_by_season.csv": network.changes(),
        "changes_by_episode.csv": network.changes("episode"),
    }
    for name, table in tables.items():
        table.to_csv(folder / name, index=False)
        yield folder / name
    graph = plain_graph(network.graph)
    nx.write_graphml(graph, folder / "network.graphml")
    yield folder / "network.graphml"
    nx.write_gexf(graph, folder / "network.gexf", version="1.2draft")  # what Gephi reads since 0.8
    yield folder / "network.gexf"
    content = nx.node_link_data(graph, edges="edges")
    (folder / "network.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    yield folder / "network.json"


def plain_graph(graph: nx.Graph) -> nx.Graph:
    """A copy with plain numbers, which every format can hold, and a ``label`` for Gephi."""
    import networkx as nx

    plain = nx.Graph()
    for name, values in graph.nodes(data=True):
        whole = {key: int(values[key]) for key in ("community", "lines")}
        plain.add_node(name, label=name, **whole, **{key: float(v) for key, v in values.items() if key not in whole})
    for first, second, values in graph.edges(data=True):
        plain.add_edge(first, second, weight=float(values["weight"]), **{kind: int(values[kind]) for kind in KINDS})
    return plain
