"""Renard's co-occurrence step on speakers that are known: a program for the Python that has Renard (renard-pipeline).

    echo '{"distances": [1, 10], "plays": [[["A", "B", null, "A"]]]}' | python benchmarks/renard_side.py

Each turn is a sentence of one token, its speaker a mention in it; ``CoOccurrencesGraphExtractor`` takes
``(distance, "sentences")``, one graph for each episode. Nobody (null) is a sentence without a mention. Written is
``{"seconds": …, "plays": [[[a, b, weight], …]]}`` for each distance; the seconds are those of the extraction alone, of
all plays, after all imports.
``benchmarks/network.py --renard-python`` calls it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    from renard.pipeline.graph_extraction import CoOccurrencesGraphExtractor

    given = json.load(sys.stdin)
    plays = [[build_input(speakers) for speakers in episodes] for episodes in given["plays"]]
    answers = []
    for distance in given["distances"]:
        extractor = CoOccurrencesGraphExtractor(co_occurrences_dist=(distance, "sentences"))
        start = time.perf_counter()
        graphs = [[extractor(**each)["character_network"] for each in episodes] for episodes in plays]
        seconds = time.perf_counter() - start
        answers.append({"seconds": seconds, "plays": [list_edges(of_play) for of_play in graphs]})
    json.dump(answers, sys.stdout)
    return 0


def list_edges(graphs: list[Any]) -> list[list[Any]]:
    edges: Counter[tuple[str, str]] = Counter()
    for graph in graphs:
        for first, second, weight in graph.edges(data="weight"):
            low, high = sorted((first.longest_name(), second.longest_name()))
            edges[low, high] += int(weight)
    return [[*pair, weight] for pair, weight in edges.items()]


def build_input(speakers: list[str | None]) -> dict[str, Any]:
    """What the step takes: characters with their mentions, and sentences."""
    from renard.pipeline.character_unification import Character
    from renard.pipeline.ner import NEREntity

    mentions: dict[str, list[Any]] = {}
    for at, name in enumerate(speakers):
        if name is not None:
            mentions.setdefault(name, []).append(NEREntity([name], at, at + 1, "PER"))
    characters = {Character(frozenset({name}), found) for name, found in mentions.items()}
    return {"characters": characters, "sentences": [[name or "-"] for name in speakers]}


if __name__ == "__main__":
    raise SystemExit(main())
