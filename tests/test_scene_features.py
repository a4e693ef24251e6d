"""The features of gaps and scenes that are counted in arrays, against plain counts: talk, sentences, halves."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from character_network.divisions import PAIR_FEATURES, SCENE_FEATURES
from character_network.gap_features import gap_features
from character_network.gap_talk import NO_RATIO, STRANGERS, TALK, TALK_MEAN, TALK_PRIOR, talk_elsewhere
from character_network.gap_wording import announced, sentence_features
from character_network.scene_finding import load_scene_model
from character_network.scene_shape import LONG_SCENE, NO_GAP, compare_halves, weigh_gaps_inside
from character_network.wording import read_wording


def count_talk(ids: list[int], one: int, other: int, gap: int) -> float:
    """Talk between two people, without what crosses the gap within two lines on either side."""
    pairs = [(a, b) for a, b in combinations(range(len(ids)), 2) if b - a <= 3 and {ids[a], ids[b]} == {one, other}]
    return sum(TALK[b - a - 1] for a, b in pairs if not (gap - 2 <= a < gap <= b < gap + 2))


def describe_talk(ids: list[int], gap: int) -> list[float]:
    """The columns of one gap, counted."""
    amounts, ratios, first = list[float](), list[float](), 0.0
    for a in (gap - 1, gap - 2):
        for b in (gap, gap + 1):
            if a < 0 or b >= len(ids) or min(ids[a], ids[b]) < 0 or ids[a] == ids[b]:
                continue
            amounts.append(count_talk(ids, ids[a], ids[b], gap))
            chance = ids.count(ids[a]) * ids.count(ids[b]) / sum(each >= 0 for each in ids) * TALK_MEAN
            ratios.append(float(np.log((amounts[-1] + TALK_PRIOR) / (chance + TALK_PRIOR))))
            first = ratios[-1] if (a, b) == (gap - 1, gap) else first
    if not amounts:
        return [0, 0, 0, 0, NO_RATIO, 0, 0]
    logs, strangers = np.log1p(amounts), [amount < STRANGERS for amount in amounts]
    highest = max(*ratios, NO_RATIO)
    return [first, float(logs.mean()), float(np.mean(ratios)), float(logs.max()), highest, float(np.mean(strangers)), 1]


@pytest.mark.parametrize("seed", range(3))
def test_talk_elsewhere_is_what_two_say_away_from_the_gap(seed: int) -> None:
    draw = random.Random(seed)
    ids = [draw.choice((-1, 0, 1, 2)) for _ in range(25)] + [draw.choice((2, 3, 4)) for _ in range(25)] + [-1] * 6
    found = talk_elsewhere(np.array(ids), 5)
    assert found == pytest.approx(np.array([describe_talk(ids, gap) for gap in range(1, len(ids))]))


def test_the_weights_fit_the_features() -> None:
    speakers = ["Ada", "Ben", None, "Ada", "Cy", "Ada", "Ben", "Ben", "Cy"]
    found, model = gap_features(speakers, ["We go."] * 9), load_scene_model()
    assert found.shape == (8, len(model.gap)) and len(model.scene) == SCENE_FEATURES
    assert len(model.pair) == PAIR_FEATURES
    assert found[:, -8:-1] == pytest.approx(talk_elsewhere(np.array([0, 1, -1, 0, 2, 0, 1, 1, 2]), 3))


def test_talk_of_nobody_and_of_two_lines() -> None:
    assert talk_elsewhere(np.array([-1, -1]), 0).tolist() == [[0, 0, 0, 0, NO_RATIO, 0, 0]]
    assert talk_elsewhere(np.array([0, 1]), 2)[0, 5] == 1  # they talk nowhere but over the gap


def test_sentences_of_lines() -> None:
    lines = ["Well? I go. Come home", "No", "…", "You, sir! I am. ", "One?\nTwo—three", ""]
    wording = read_wording(lines)
    words = list(wording.numbers)
    text = [words[at] for at in wording.words]
    firsts = [text[a:b] for a, b in zip(wording.starts, wording.first_ends, strict=True)]
    lasts = [text[a:b] for a, b in zip(wording.last_starts, wording.ends, strict=True)]
    assert firsts == [["well"], ["no"], [], ["you", "sir"], ["one"], []]
    assert lasts == [["come", "home"], ["no"], [], ["i", "am"], ["three"], []]
    assert wording.marks.tolist() == [2, 0, 0, 2, 2, 0]
    assert wording.asks.tolist() == [True, False, False, False, True, False]
    columns = sentence_features(wording).T
    assert columns[2].tolist() == [1, 0, 0, 0, 0]  # "Come home" is an order
    assert columns[3].tolist() == [0, 0, 0, 0.5, 0]  # "I am"
    assert columns[5].tolist() == [0, 0, 1, 0, 0]  # "You, sir!" after the gap


def test_who_is_announced() -> None:
    lines = ["See, here comes Kit!", "Here comes.", "He came here", "Kit comes", "Here", "comes Kit", "Who is there?"]
    early = "Here comes Kit, " + "and so on " * 10
    assert announced(read_wording([*lines, early])).tolist() == [True, True, False, False, False, False, True, False]
    assert not announced(read_wording(["…", ""])).any()


def test_halves_of_a_scene() -> None:
    draw = random.Random(3)
    speakers = [draw.choice((0, 1, 2)) for _ in range(14)] + [draw.choice((2, 3)) for _ in range(10)] + [4] * 9
    spoken, places = np.array(speakers) == np.arange(5)[:, None], np.array([0, 6, 15, 20, 27, 33])
    share, cosine, apart = compare_halves(spoken, places)
    for a, b in combinations(range(len(places)), 2):
        start, end = places[a], places[b]
        middle = (start + end) // 2
        first, second = speakers[start:middle], speakers[middle:end]
        long = end - start > LONG_SCENE
        assert share[a, b] == pytest.approx(len({*first} & {*second}) / len({*first, *second}) * long)
        assert apart[a, b] == (long and not {*first} & {*second})
        left, right = (np.bincount(half, minlength=5) for half in (first, second))
        assert cosine[a, b] == pytest.approx(left @ right / np.linalg.norm(left) / np.linalg.norm(right) * long)
    assert 0 < apart.sum() < 6 and not np.tril(share).any()


def test_gaps_that_a_scene_passes_over() -> None:
    scores = np.array([0.0, -2.0, 1.5, 0.5, -4.0, 0.0])
    found = weigh_gaps_inside(scores)
    for a, b in combinations(range(len(scores)), 2):
        inside = sorted([NO_GAP, NO_GAP, *scores[a + 1 : b]], reverse=True)
        total = np.log1p(np.exp(scores[a + 1 : b])).sum()
        expected = [(inside[0] + 5) / 5, max(inside[0], 0) / 2, (inside[1] + 5) / 5, total / 3, np.log1p(total)]
        assert [column[a, b] for column in found] == pytest.approx(expected)
