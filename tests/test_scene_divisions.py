"""The fast sums of scene finding against slow and plain ones: windows, words, empty stages, the best division."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest

from character_network.divisions import PAIR_FEATURES, SCENE_FEATURES, Divisions, SceneModel
from character_network.gap_features import CAST_WINDOWS, gap_features
from character_network.gap_wording import WORD_WINDOWS, cohesion
from character_network.wording import read_wording, split_words

NAMES = ("Ada", "Ben", "Cy", "Dot", "Eve", None)
EMPTY, EMPTY_INSIDE = 9, 10  # columns of the scene features


def invent(seed: int, lines: int = 70) -> list[str | None]:
    """Speakers of an episode in which the cast changes now and then."""
    draw, found = random.Random(seed), list[str | None]()
    while len(found) < lines:
        cast = draw.sample(NAMES, 3)
        found += [draw.choice(cast) for _ in range(draw.randint(3, 15))]
    return found[:lines]


def invent_model(seed: int, least: float = -1.0) -> SceneModel:
    draw = np.random.default_rng(seed)
    return SceneModel(np.ones(1), least, (1.0, 0.3), draw.normal(size=SCENE_FEATURES), draw.normal(size=PAIR_FEATURES))


def invent_divisions(seed: int, lines: int = 70) -> Divisions:
    scores = np.random.default_rng(seed).normal(-1, 2, lines - 1)
    return Divisions(invent(seed, lines), scores, invent_model(seed))


@pytest.mark.parametrize("seed", range(3))
def test_shares_of_the_cast_are_those_of_the_windows(seed: int) -> None:
    speakers = invent(seed)
    features = gap_features(speakers, ["We go on."] * len(speakers))
    columns = {2: 1, 3: 3, 4: 5, 6: 7, 9: 9, 13: 11, 20: 14, 35: 17}
    assert tuple(columns) == CAST_WINDOWS
    for size, column in columns.items():
        for gap in range(1, len(speakers)):
            was = set(speakers[max(0, gap - size) : gap]) - {None}
            will_be = set(speakers[gap : gap + size]) - {None}
            share = len(was & will_be) / max(1, len(was | will_be))
            assert features[gap - 1, column] == pytest.approx(share)
            assert features[gap - 1, column + 1] == (not was & will_be)


def test_words_are_numbered_as_they_are_split() -> None:
    lines = ["Let's go, GO!", "", "One\nline’s two rows", "…", "go"]
    wording = read_wording(lines)
    words = list(wording.numbers)
    found = [
        [words[at] for at in wording.words[start:end]] for start, end in zip(wording.starts, wording.ends, strict=True)
    ]
    assert found == [split_words(line) for line in lines]
    assert found[2] == ["one", "lines", "two", "rows"]
    known = wording.counts({"go", "lets", "never"}, wording.starts, wording.ends)
    assert known.tolist() == [3, 0, 0, 0, 1]


def test_cohesion_is_the_cosine_of_rare_words() -> None:
    draw = random.Random(5)
    lines = [
        " ".join(draw.choices(("boat", "sea", "storm", "captain", "sail", f"word{'abcdefghijkl'[at]}"), k=6))
        for at in range(12)
    ]
    counts = [Counter(word for word in line.split() if len(word) > 3) for line in lines]
    spread = Counter(word for line in counts for word in line)
    rare = {word: np.log(len(lines) / number) for word, number in spread.items() if number > 1}
    assert len(rare) == 4 < len(spread)

    def weights(part: list[Counter[str]]) -> list[float]:
        return [sum(line[word] for line in part) * weight for word, weight in rare.items()]

    values = cohesion(read_wording(lines))
    for gap in range(1, len(lines)):
        for column, size in enumerate(WORD_WINDOWS):
            before, after = weights(counts[max(0, gap - size) : gap]), weights(counts[gap : gap + size])
            cosine = np.dot(before, after) / max(1e-9, np.linalg.norm(before) * np.linalg.norm(after))
            assert values[gap - 1, column] == pytest.approx(cosine)


def test_cohesion_of_a_topic_and_of_none() -> None:
    lines = ["The boat sank slowly."] * 6 + ["Bread needs flour."] * 6
    values = cohesion(read_wording(lines))[:, 0]
    assert values[1] == pytest.approx(1) and values[5] == 0
    assert not cohesion(read_wording(["…", "!", "a b"])).any()
    assert np.isfinite(gap_features(["Ada", "Ben", None], ["…", "!", ""])).all()


@pytest.mark.parametrize("seed", range(4))
def test_empty_stages_are_counted(seed: int) -> None:
    speakers, divisions = invent(seed, 40), invent_divisions(seed, 40)
    features, places = divisions.scene_features(), divisions.places
    for a, b in itertools.combinations(range(len(places)), 2):
        start, end = places[a], places[b]
        empty = [gap for gap in range(start + 1, end) if not set(speakers[start:gap]) & set(speakers[gap:end]) - {None}]
        inside = [gap for gap in empty if start + 3 <= gap < end - 2]
        assert features[a, b, EMPTY] == pytest.approx(np.log1p(len(empty)))
        assert features[a, b, EMPTY_INSIDE] == pytest.approx(np.log1p(len(inside)))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_division_is_the_best_of_all(seed: int) -> None:
    divisions, model = invent_divisions(seed, 60), invent_model(seed)
    scenes, pairs, size = divisions.scene_features(), divisions.pair_features(), len(divisions.places)
    assert 6 <= size <= 10

    def score(at: tuple[int, ...]) -> float:
        found = sum(scenes[a, b] @ model.scene for a, b in itertools.pairwise(at))
        found += sum(pairs[b, a, c] @ model.pair for a, b, c in zip(at, at[1:], at[2:], strict=False))
        return float(found + sum(divisions.gap_scores[b] * model.cut[0] + model.cut[1] for b in at[1:-1]))

    inner = [cuts for n in range(size - 1) for cuts in itertools.combinations(range(1, size - 1), n)]
    every = {(0, *cuts, size - 1): score((0, *cuts, size - 1)) for cuts in inner}
    best = max(every, key=lambda at: every[at])
    assert divisions.best_cuts() == divisions.places[list(best[1:-1])].tolist()
    likely = {at: np.exp(value - every[best]) for at, value in every.items()}
    expected, total = np.zeros((size, size)), sum(likely.values())
    for at, value in likely.items():
        for a, b in itertools.pairwise(at):
            expected[a, b] += value / total
    found = np.triu(divisions.scene_probabilities(), 1)
    assert found == pytest.approx(expected, abs=1e-9)
