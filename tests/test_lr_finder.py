"""The learning-rate range test: what it reads off a curve, and that it leaves everything as it was."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from character_chatbot.monitoring.curve import SIZE, draw_rates
from character_chatbot.training.lr_finder import (
    HIGHEST,
    LOWEST,
    STEPS,
    describe_search,
    has_broken_out,
    rate_at,
    read_search,
    smooth_centred,
)
from utils.errors import TrainingError


def curve(falls_at: float, breaks_at: float, steps: int = STEPS) -> list[tuple[float, float]]:
    """A loss that falls from 5 to 3 around one rate, and breaks out at another."""
    points = []
    for step in range(steps):
        rate = rate_at(step)
        fallen = 2 / (1 + (falls_at / rate) ** 2)
        noise = 0.05 * (-1) ** step
        points.append((rate, 5 - fallen + noise + 3 * max(0.0, math.log10(rate / breaks_at))))
    return points


def test_the_rate_grows_by_the_same_factor() -> None:
    rates = [rate_at(step) for step in range(STEPS)]
    assert (rates[0], rates[-1]) == (LOWEST, pytest.approx(HIGHEST))
    factors = [later / earlier for earlier, later in pairwise(rates)]
    assert factors == [pytest.approx(factors[0])] * (STEPS - 1)


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    search = read_search(curve(1e-3, 0.1))
    assert search.steepest == pytest.approx(1e-3, rel=0.5)
    assert search.diverges is not None
    assert 0.1 < search.diverges < 1
    assert search.suggestion == pytest.approx(search.steepest, rel=0.05)


def test_a_lucky_first_batch_is_no_fall_of_the_loss() -> None:
    (rate, loss), *others = [(rate, 4 + (loss - 4) / 20) for rate, loss in curve(1e-3, 10)]
    lucky = read_search([(rate, loss - 1.5), *others])
    assert min(lucky.smoothed, key=lambda point: point[1])[0] == rate, "the lowest loss is the first"
    assert lucky.steepest == pytest.approx(1e-3, rel=0.5)


def test_the_suggestion_keeps_away_from_where_the_loss_breaks_out() -> None:
    search = read_search(curve(1e-2, 1.5e-2))
    assert search.diverges is not None
    assert search.suggestion == pytest.approx(search.diverges / 10, rel=0.05)
    assert search.suggestion < search.steepest


def test_a_loss_that_is_no_number_is_too_high_a_rate() -> None:
    points = curve(1e-3, 1.0)[:60]
    search = read_search([*points, (rate_at(60), math.nan)])
    assert search.diverges == rate_at(60)
    assert len(search.smoothed) == 60
    with pytest.raises(TrainingError, match="only 0 of 20 losses are numbers"):
        read_search([(rate_at(step), math.nan) for step in range(20)])


def test_smoothing_does_not_shift_the_curve() -> None:
    line = [(float(at), 2.0 * at) for at in range(40)]
    assert smooth_centred(line)[10:30] == [(rate, pytest.approx(loss)) for rate, loss in line[10:30]]
    assert [loss for _, loss in smooth_centred([(1, 3.0), (2, 3.0)])] == [3.0, 3.0]


def test_what_breaks_out_ends_the_test() -> None:
    calm = [(rate_at(step), 5.0 - step / 20) for step in range(40)]
    assert not any(has_broken_out(calm[: at + 1]) for at in range(40))
    assert has_broken_out([*calm, (1.0, math.inf)])
    assert has_broken_out([*calm, *[(1.0, 9.0)] * 6])
    assert not has_broken_out([*calm, (1.0, 9.0)])


def test_it_is_told_as_a_flag() -> None:
    text = "\n".join(describe_search(read_search(curve(1e-3, 0.1))))
    assert "--learning-rate 9." in text or "--learning-rate 1." in text
    assert "diverges from" in text
    assert 12 <= len(text.splitlines()) <= 20
    assert "does not diverge up to 1." in "\n".join(describe_search(read_search(curve(1e-3, 1e9))))


def test_the_picture_is_one() -> None:
    from PIL import Image

    search = read_search([*curve(1e-3, 0.1), (1.0, math.nan)])
    content = draw_rates(search.points, search.smoothed, search.suggestion, search.diverges)
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == SIZE
        assert len(image.getcolors(100_000) or ()) > 5


def test_a_test_leaves_no_weights_no_checkpoint_and_no_version(
    series_folder: Callable[..., Path],
    own_environment: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from training_pipeline import main

    tiny = {"HIDDEN_SIZE": 32, "LAYERS": 1, "HEADS": 2, "VOCABULARY": 400, "EPOCHS": 1, "MAX_STEPS": 20}
    for name, value in tiny.items():
        monkeypatch.setenv(f"STRANGER_NANO__{name}", str(value))
    series = series_folder(episodes=4)
    words = ["train", "llama", "--base", "nano", "--data", str(series), "--character", "Ada", "--find-lr", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert LOWEST <= found["suggestion"] <= HIGHEST
    rates = [rate for rate, _ in found["points"]]
    assert len(rates) <= STEPS
    assert rates == [pytest.approx(rate_at(step)) for step in range(len(rates))]
    picture = Path(found["picture"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in picture.parent.iterdir()] == ["learning_rate.png"]
    assert not list(own_environment.glob("registry/**/manifest.json"))
