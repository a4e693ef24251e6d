"""A training that is killed at random moments ends as one that was left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles import forked_program
from doubles import killed_training as double

from character_chatbot.monitoring.metrics_file import METRICS, read_metrics
from character_chatbot.recovery.checkpoints import KEPT, list_checkpoints

CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
LONGEST_STOP_SECONDS = 20.0
LIFE_SECONDS = 0.6  # at most, from the first step on: some steps and their checkpoints
KILLED_BEFORE_FIRST_STEP = 0.1  # of all kills


class Lab:
    """Trains in processes of their own."""

    def __init__(self, series: Path, base: Path) -> None:
        self.series, self.base = series, base

    def start(self, folder: Path, **changes: Any) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / double.BEGUN).unlink(missing_ok=True)
        return forked_program.start_process(double.train, self.series, self.base, folder, **changes)

    def train(self, folder: Path, **changes: Any) -> dict[str, Any]:
        """Train to the end."""
        process = self.start(folder, **changes)
        process.join(120)
        assert process.exitcode == 0
        return json.loads((folder / double.ENDED).read_text())

    def kill(self, folder: Path, number: signal.Signals, moment: Callable[[], None], **changes: Any) -> bool:
        """Train until the moment has come, and kill; whether the training was still running then."""
        process = self.start(folder, **changes)
        until = time.monotonic() + 60
        while not (folder / double.BEGUN).exists() and process.is_alive() and time.monotonic() < until:
            time.sleep(0.002)
        moment()
        if not process.is_alive():
            return False
        os.kill(process.pid, number)
        asked = time.monotonic()
        process.join(60)
        assert time.monotonic() - asked < LONGEST_STOP_SECONDS
        if process.exitcode == 0:  # it had ended meanwhile
            return False
        assert process.exitcode == CODES[number]
        return True


@pytest.fixture
def lab(series_folder: Callable[..., Path], nano_folder: Callable[..., Path]) -> Iterator[Lab]:
    yield Lab(series_folder(episodes=4), nano_folder())
    for process in multiprocessing.active_children():
        process.kill()


def last_step(folder: Path) -> int:
    return max((line["step"] for line in read_metrics(folder / METRICS)), default=0)


def is_same(ended: dict[str, Any], reference: dict[str, Any]) -> bool:
    """Every loss, and the weights: dropout, data order, optimizer and schedule have gone on where they were."""
    return ended["losses"] == [[step, pytest.approx(loss, abs=1e-4)] for step, loss in reference["losses"]] and ended[
        "weights"
    ] == pytest.approx(reference["weights"], abs=1e-4)


def kill_often(lab: Lab, folder: Path, kills: int, draw: random.Random) -> dict[str, Any]:
    """So many kills, with a new training whenever one has ended; what the last one came to, and some counts."""
    reference = lab.train(folder / "left alone")
    counts = {"kills": 0, "runs": 0, "while writing": 0, "most steps lost": 0}
    while counts["kills"] < kills:
        run = folder / f"run {counts['runs']}"
        counts["runs"] += 1
        while counts["kills"] < kills:
            number = draw.choice([signal.SIGKILL] * 8 + [signal.SIGTERM, signal.SIGINT])
            life = draw.uniform(0, LIFE_SECONDS)
            first = draw.random() < KILLED_BEFORE_FIRST_STEP

            def moment(life: float = life, first: bool = first, run: Path = run, before: int = last_step(run)) -> None:
                until = time.monotonic() + 30
                while not first and last_step(run) <= before and time.monotonic() < until:
                    time.sleep(0.002)
                    if (run / double.ENDED).exists():
                        return
                time.sleep(life)

            if not lab.kill(run, number, moment):
                break
            counts["kills"] += 1
            counts["while writing"] += any((run / double.CHECKPOINTS).glob(".tmp-*"))
            lost = last_step(run) - double.newest_step(run)
            counts["most steps lost"] = max(counts["most steps lost"], lost)
            assert len(list_checkpoints(run / double.CHECKPOINTS)) <= KEPT + 1  # killed before the oldest was removed
        ended = lab.train(run)
        assert is_same(ended, reference)
        assert [line["step"] for line in read_metrics(run / METRICS)] == list(range(1, reference["steps"] + 1))
    return counts


def test_a_signal_in_the_middle_of_a_step_saves_the_last_whole_one(lab: Lab, tmp_path: Path) -> None:
    changes = {"sequences_per_step": 8, "sequences_per_batch": 1, "checkpoint_steps": 0}
    reference = lab.train(tmp_path / "left alone", **changes)
    for number in (signal.SIGTERM, signal.SIGINT):
        run = tmp_path / number.name

        def moment(run: Path = run) -> None:
            until = time.monotonic() + 30
            while not last_step(run) and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(0.06)  # into the next step: it has eight passes

        assert lab.kill(run, number, moment, **changes), number
        assert double.newest_step(run) == last_step(run) > 0
        ended = lab.train(run, **changes)
        assert ended["from"] > 0
        assert is_same(ended, reference), number


def test_some_kills_at_random_moments(lab: Lab, tmp_path: Path) -> None:
    counts = kill_often(lab, tmp_path / "kills", 6, random.Random(11))
    assert counts["most steps lost"] <= 1


@pytest.mark.slow
def test_a_hundred_kills_at_random_moments(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = kill_often(lab, tmp_path / "kills", 100, random.Random(12))
    with capsys.disabled():
        print(f"\n{counts}")
    assert counts["kills"] == 100
    assert counts["most steps lost"] <= 1
    assert counts["while writing"] > 0
