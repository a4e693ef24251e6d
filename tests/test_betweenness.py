"""Betweenness of networks where nearly everybody knows everybody: the same values in less time, or said to be less."""

from __future__ import annotations

import itertools
import random

import networkx as nx
import pytest

from character_network import betweenness
from character_network.measures import measure

PEOPLE = 40


@pytest.fixture
def dense() -> nx.Graph:
    """Everybody knows everybody; a few are far closer than others."""
    draw = random.Random(3)
    graph = nx.Graph()
    for first, second in itertools.combinations(range(PEOPLE), 2):
        graph.add_edge(f"p{first:02}", f"p{second:02}", weight=1 + int(draw.paretovariate(1.0)))
    return graph


def exact(graph: nx.Graph) -> dict[str, float]:
    lengths = nx.Graph()
    lengths.add_edges_from((a, b, {"length": 1 / weight}) for a, b, weight in graph.edges(data="weight"))
    return dict(nx.betweenness_centrality(lengths, weight="length"))


def test_ties_that_carry_nothing_are_left_out_and_no_value_changes(
    dense: nx.Graph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(betweenness, "MOST_STEPS", 20_000)  # all 780 ties would take 62,400
    with caplog.at_level("INFO"):
        found, told = betweenness.measure_betweenness(dense, seed=1)
    assert "of 780 ties that lie on a shortest path" in caplog.text
    assert told == ""
    assert max(found.values()) > 0.2
    assert found == pytest.approx(exact(dense), abs=1e-12)


def test_what_is_too_much_is_estimated_and_said(dense: nx.Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(betweenness, "MOST_STEPS", 10)
    found, told = betweenness.measure_betweenness(dense, seed=1)
    assert told.startswith(f"Betweenness is an estimate from 10 of {PEOPLE} people")
    assert found == betweenness.measure_betweenness(dense, seed=1)[0]
    best = max(exact(dense).items(), key=lambda pair: pair[1])[0]
    assert max(found.items(), key=lambda pair: pair[1])[0] == best
    measure(dense, 1)
    assert dense.graph["betweenness"] == told
    assert dense.edges["p00", "p01"].keys() == {"weight"}


def test_an_affordable_network_is_exact(dense: nx.Graph) -> None:
    found, told = betweenness.measure_betweenness(dense, seed=1)
    assert (found, told) == (exact(dense), "")
