"""Scenes that a file does not mark, against those that the sample series marks; and the measures of agreement."""

from __future__ import annotations

import pytest

from character_network.agreement import copresence, edge_f1, p_k, window_diff
from character_network.scene_finding import add_scenes, find_scenes
from utils.lines import UNKNOWN
from utils.series import load_lines, open_series, spoken_lines

from conftest import SAMPLE  # isort: skip


def test_agreement_of_edges_by_hand() -> None:
    true = copresence(["A", "B", "C", "A", "B", None], [1, 1, 1, 2, 2, 2])
    assert true == {("A", "B"): 2, ("A", "C"): 1, ("B", "C"): 1}
    found = copresence(["A", "B", "C", "A", "B", None], [1, 1, 2, 2, 2, 2])
    assert found == {("A", "B"): 2, ("A", "C"): 1, ("B", "C"): 1}
    assert edge_f1({("A", "B"): 1, ("B", "D"): 1}, true) == pytest.approx(2 * 1 / (2 + 4))
    assert edge_f1({("A", "B"): 1, ("B", "D"): 1}, true, weighted=False) == pytest.approx(2 * 1 / (2 + 3))
    assert edge_f1({}, {}) == 1


def test_agreement_of_borders_by_hand() -> None:
    true = [1, 1, 1, 1, 2, 2, 2, 2]
    assert p_k(true, true) == window_diff(true, true) == 0
    assert p_k(true, [1] * 8) == pytest.approx(2 / 6)  # the two windows over the border
    assert window_diff(true, [1, 1, 1, 2, 3, 3, 3, 3]) == pytest.approx(2 / 6)


def test_a_change_of_the_whole_cast_is_a_scene() -> None:
    speakers = ["A", "B", "C"] * 8 + ["D", "E"] * 12 + ["F", "G", "H"] * 8
    lines = ["We talk of the old boat again."] * 23 + ["Farewell, let us go."] + ["The king is angry."] * 23 + ["Away!"]
    lines += ["Now the storm is here."] * 24
    found = find_scenes(speakers, lines)
    assert found == [1] * 24 + [2] * 24 + [3] * 24


def test_short_and_silent_episodes() -> None:
    assert find_scenes([], []) == []
    assert find_scenes(["A"], ["Hello."]) == [1]
    assert len(find_scenes(["A", "B"], ["Hello.", "Hello."])) == 2
    silent = find_scenes([None] * 100, ["Hello."] * 100, [float(at + 60 * (at >= 30)) for at in range(100)])
    assert silent == [1] * 30 + [2] * 70
    assert max(find_scenes([None] * 100, ["Hello."] * 100)) > 1


def test_found_scenes_of_the_sample_agree_with_the_marked_ones() -> None:
    lines, _ = load_lines(SAMPLE)
    spoken = spoken_lines(lines)
    spoken["person"] = spoken["speaker"].map(open_series(SAMPLE).characters.resolve)
    marked = spoken[spoken["scene"].notna()]
    kept, known = add_scenes(marked)
    assert kept["scene"].tolist() == marked["scene"].tolist() and len(known) == 6
    hidden, known = add_scenes(marked.assign(scene=marked["scene"].where(marked["scene"] < 0)))
    assert not known
    right = found = true = 0
    for _, part in hidden.assign(true=marked["scene"]).groupby(["season", "episode"]):
        cuts, borders = part["scene"].diff().to_numpy()[1:] > 0, part["true"].diff().to_numpy()[1:] > 0
        right, found, true = right + int((cuts & borders).sum()), found + int(cuts.sum()), true + int(borders.sum())
        assert part["scene"].is_monotonic_increasing
    assert UNKNOWN in set(marked["person"])  # nobody in particular does not stop the search
    assert right >= 0.85 * found  # 17 of 18 when the weights were fitted, to these episodes too
    assert right >= 0.35 * true  # 17 of 41
