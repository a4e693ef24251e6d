"""What the page of a crowd carries: a part of the ties, said on it, and true in what it tells."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from character_network import page_ties
from character_network.network import CharacterNetworkGenerator, Network
from character_network.page import build_page_data
from character_network.page_ties import choose_page_ties
from character_network.recognizer import NamedEntityRecognizer
from character_network.summary import build_summary, print_summary
from character_network.ties import KINDS
from utils.announcements import Announcements
from utils.characters import Cast
from utils.lines import build_frame

NAN = float("nan")
PEOPLE = 60


@pytest.fixture(scope="module")
def crowd() -> Network:
    """Two seasons: everybody in one scene, then a few of them again and again."""
    said = [(1, 1, 1, f"P{at:02} Q") for at in range(PEOPLE)]
    said += [(1, 1, scene, f"P{(scene * 7 + at) % 20:02} Q") for scene in range(2, 12) for at in (0, 1, 3)]
    said += [(2, 1, scene, f"P{(scene + at) % 9 + 50:02} Q") for scene in range(1, 9) for at in (0, 1, 2)]
    rows = [
        (season, episode, scene, at, who, "Well now.", NAN, NAN, "a.csv")
        for at, (season, episode, scene, who) in enumerate(said)
    ]
    frame = build_frame(rows)
    cast = Cast([]).with_speakers(frame["speaker"].value_counts())
    return CharacterNetworkGenerator().generate(frame, NamedEntityRecognizer(cast), "Crowd")


def limit(monkeypatch: pytest.MonkeyPatch, rows: int = 400) -> None:
    for name, value in {"MOST_ROWS": rows, "DRAWN": 100, "OF_EACH": 3, "OF_EACH_FIRST": 1, "CORE": 6}.items():
        monkeypatch.setattr(page_ties, name, value)


def pairs_of(ties: pd.DataFrame) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in zip(ties["source"], ties["target"], strict=True)}


def test_an_ordinary_network_is_whole(crowd: Network) -> None:
    chosen = choose_page_ties(crowd)
    assert (chosen.is_whole, chosen.note, len(chosen.ties)) == (True, "", len(crowd.ties))
    assert "strengths" not in build_page_data(crowd)


def test_a_crowd_carries_the_strongest_of_all_and_of_each(crowd: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch)
    chosen = choose_page_ties(crowd)
    carried = pairs_of(chosen.ties)
    assert len(chosen.ties) <= 400 < len(crowd.ties)
    assert chosen.pairs == len(carried) < chosen.all_pairs == len(crowd.pairs)
    assert {name for pair in carried for name in pair} == set(crowd.people["person"])
    ordered = [frozenset(pair) for pair in crowd.pairs[["source", "target"]].itertuples(index=False)]
    assert set(ordered[:100]) <= carried
    for name in crowd.people["person"]:
        assert next(pair for pair in ordered if name in pair) in carried
    second = crowd.ties[crowd.ties["season"] == 2]
    assert pairs_of(second) <= carried  # the season slider has its own strongest
    whole = crowd.ties[[frozenset(pair) in carried for pair in crowd.ties[["source", "target"]].to_numpy().tolist()]]
    pd.testing.assert_frame_equal(chosen.ties, whole)  # of a pair all kinds and episodes


def test_few_rows_are_kept_to(crowd: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 50)
    assert 30 < len(choose_page_ties(crowd).ties) <= 50


def test_strengths_count_what_is_not_carried(crowd: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch)
    data = json.loads(json.dumps(build_page_data(crowd)))
    strengths: Counter[str] = Counter()
    for kind, who, _, count in data["strengths"]:
        strengths[data["people"][who]["label"]] += count * data["weights"][KINDS[kind]]
    assert strengths == crowd.people.set_index("person")["strength"].to_dict()
    assert data["carried"] == {"pairs": choose_page_ties(crowd).pairs, "all": len(crowd.pairs)}
    assert f"of {len(crowd.pairs):,} ties" in data["note"]


def test_the_command_tells_what_the_page_leaves_out(
    crowd: Network, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit(monkeypatch)
    print_summary(build_summary(crowd, [Path("ties.csv")], Announcements()), "accept")
    chosen = choose_page_ties(crowd)
    told = (
        f"The page carries {chosen.pairs:,} of {chosen.all_pairs:,} ties, the strongest; ties.csv and network.graphml"
    )
    assert told in capsys.readouterr().out
