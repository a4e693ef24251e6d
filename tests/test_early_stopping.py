"""The held-out loss during a training: when, on what, the best weights kept, the early end, and all of it resumed."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from character_chatbot.monitoring.metrics_file import METRICS, MetricsFile, read_metrics
from character_chatbot.monitoring.watching import read_training
from character_chatbot.recovery.checkpoint_store import CheckpointStore
from character_chatbot.recovery.checkpoints import KEPT, checkpoint_step, list_checkpoints, writing
from character_chatbot.training.adapter import TrainingResult
from character_chatbot.training.early_stopping import (
    best_evaluation,
    best_step,
    describe_stop,
    is_no_use,
    read_evaluations,
)
from character_chatbot.training.evaluation import ENOUGH_TO_SPLIT, evaluate_perplexity, split_held_out
from character_chatbot.training.examples import Example
from config import TrainingSettings
from utils.stores import FolderStore


def history(*losses: float) -> list[dict[str, float]]:
    """A trainer's history with an evaluation every ten steps."""
    return [{"step": 10 * at, "loss": 9.0} for at in range(1, 9)] + [
        {"step": 10 * at, "eval_loss": loss} for at, loss in enumerate(losses, 1)
    ]


# the decision


@pytest.mark.parametrize(
    ("losses", "patience", "best", "over"),
    [
        ((5.0, 4.0, 4.5, 4.4), 3, 20, False),
        ((5.0, 4.0, 4.5, 4.4, 4.3), 3, 20, True),
        ((5.0, 4.0, 4.5, 4.4, 3.9), 3, 50, False),
        ((4.0, 4.0, 4.0, 4.0), 3, 10, True),  # as good is no better
        ((5.0, 4.0, 4.5, 4.4, 4.3, 4.2, 4.1), 0, 20, False),
        ((math.nan, math.nan), 2, None, True),
        ((), 1, None, False),
    ],
)
def test_the_end_comes_after_so_many_evaluations_without_a_better_one(
    losses: tuple[float, ...], patience: int, best: int | None, over: bool
) -> None:
    evaluations = read_evaluations(history(*losses))
    found = best_evaluation(evaluations)
    assert (found.step if found else None) == best
    assert is_no_use(evaluations, patience) == over


def test_an_early_end_is_told() -> None:
    told = describe_stop(read_evaluations(history(5.0, 4.31, 4.5, 4.4)), 120)
    assert told == "stopped early at step 40 of 120: held-out loss 4.310 has not improved since step 20"


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"log_history": 3}', '{"log_history": [{"eval_loss": "x"}]}'])
def test_a_checkpoint_that_knows_of_no_evaluation(tmp_path: Path, state: str) -> None:
    (tmp_path / "trainer_state.json").write_text(state)
    assert best_step(tmp_path) is None
    assert best_step(tmp_path / "none") is None


def test_the_loss_is_measured_at_equal_parts_of_an_epoch_and_at_the_end() -> None:
    from character_chatbot.training.held_out import HeldOutClock

    def steps(per_epoch: int, in_epoch: int, count: int) -> list[int]:
        clock = HeldOutClock(None, TrainingSettings(evaluations_per_epoch=per_epoch), in_epoch)  # type: ignore[arg-type]
        return [step for step in range(count + 1) if clock.is_due(step, count)]

    assert steps(2, 15, 40) == [8, 15, 23, 30, 38, 40]
    assert steps(1, 10, 20) == [10, 20]
    assert steps(2, 1, 3) == [1, 2, 3]
    assert steps(2, 100, 8) == [8]


# which replies


def example(number: int) -> Example:
    return Example((number, number + 1), (-100, number + 1))


def test_replies_that_choose_are_not_those_that_are_reported() -> None:
    many = [example(number) for number in range(100)]
    selection, reported = split_held_out(many, 64, 7)
    assert (len(selection), len(reported)) == (33, 67)
    assert set(selection) | set(reported) == set(many)
    assert split_held_out(many, 20, 7)[1] != reported
    assert [len(part) for part in split_held_out(many, 20, 7)] == [20, 80]
    assert split_held_out(many, 64, 7) == (selection, reported) != split_held_out(many, 64, 8)
    few = many[: ENOUGH_TO_SPLIT - 1]
    assert split_held_out(few, 64, 7) == (few, few)
    assert [len(part) for part in split_held_out(few, 10, 7)] == [10, len(few)]


# checkpoints


def write(folder: Path, step: int, *losses: float) -> Path:
    with writing(folder, step, 0) as side:
        (side / "weights").write_text(str(step))
        (side / "trainer_state.json").write_text(json.dumps({"log_history": history(*losses)}))
    return folder / f"checkpoint-{step}"


def steps_in(folder: Path) -> list[int]:
    return [checkpoint_step(each) for each in list_checkpoints(folder)]


def test_the_best_stays_beside_the_newest_until_there_is_a_better_one(tmp_path: Path) -> None:
    losses = (5.0, 4.0, 4.5, 4.4, 4.3, 4.2, 3.0, 3.1)
    for at in range(1, 8):
        write(tmp_path, 10 * at, *losses[:at])
        assert len(steps_in(tmp_path)) <= 4
        assert best_step(tmp_path / f"checkpoint-{10 * at}") in steps_in(tmp_path)
    assert steps_in(tmp_path) == [50, 60, 70]
    write(tmp_path, 75, *losses[:7])
    write(tmp_path, 80, *losses)
    write(tmp_path, 85, *losses)
    assert steps_in(tmp_path) == [70, 75, 80, 85]


def test_a_store_keeps_the_best_and_gives_it_back(tmp_path: Path) -> None:
    losses, here, there = (5.0, 4.0, 4.5, 4.4, 4.3, 4.2), tmp_path / "here", tmp_path / "there"
    store = CheckpointStore(FolderStore(tmp_path / "store"), "checkpoints/llama/run")
    for at in (1, 2, 3, 4, 5, 6):
        newest = write(here, 10 * at, *losses[:at])
        if at != 2:  # the best is passed over: something newer came while another was being copied
            store.take(newest)
    marks = (tmp_path / "store" / "checkpoints" / "llama" / "run").glob("*/complete.json")
    assert sorted(mark.parent.name for mark in marks) == [
        "checkpoint-20",
        "checkpoint-40",
        "checkpoint-50",
        "checkpoint-60",
    ]
    assert store.restore(there) == there / "checkpoint-60"
    assert steps_in(there) == [20, 60]
    assert store.restore(there) is None
    (there / "checkpoint-20" / "weights").write_text("damaged")
    store.restore(there)
    assert (there / "checkpoint-20" / "weights").read_text() == "20"


def test_a_best_one_that_is_nowhere_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointStore(FolderStore(tmp_path / "store"), "checkpoints/llama/run")
    store.take(write(tmp_path / "here", 30, 5.0, 4.0, 4.5))
    assert store.restore(tmp_path / "there") is not None
    assert "the checkpoint of step 20, the best so far, is not in" in caplog.text


# the metrics


def test_the_line_of_a_step_tells_what_was_measured_after_it(tmp_path: Path) -> None:
    file = tmp_path / METRICS
    metrics = MetricsFile(file)
    metrics.begin(30, 80, history(5.0, 4.0))
    metrics.held_out(30, 4.5)
    lines = {line["step"]: line for line in read_metrics(file)}
    assert list(lines) == [10, 20, 30]
    assert (lines[20]["held_out_loss"], lines[20]["held_out_step"]) == (4.0, 20)
    assert (lines[30]["held_out_loss"], lines[30]["loss"]) == (4.5, 9.0)


def test_a_training_shows_its_held_out_losses(tmp_path: Path) -> None:
    from character_chatbot.markup import training_block

    run = tmp_path / "llama" / "0123"
    run.mkdir(parents=True)
    MetricsFile(run / METRICS).begin(30, 80, history(5.0, 4.0))
    training = read_training(tmp_path)
    assert training is not None
    assert training["held_out"] == [[10, 5.0], [20, 4.0]]
    assert 'class="held-out"' in training_block(training)
    assert "held-out loss 4.00 at step 20" in training_block(training)


# a real training


class Trainings:
    """Trains the smallest model on a tiny series; a quarter of the replies are held out, and soon learnt against."""

    def __init__(self, series: Path, base: Path) -> None:
        from doubles import killed_training as double

        self._load = lambda: double.load(series, base)
        self._settings = replace(
            double.SETTINGS, checkpoint_steps=0, learning_rate=0.02, epochs=4.0, evaluations_per_epoch=2, patience=2
        )

    def run(self, folder: Path, *, watched: bool = True, **changes: Any) -> TrainingResult:
        from character_chatbot.machine.devices import choose_device
        from character_chatbot.training.adapter import train_adapter

        model, tokenizer, examples = self._load()
        found = train_adapter(
            model, tokenizer, [each for at, each in enumerate(examples) if at % 4],
            settings=replace(self._settings, **changes), device=choose_device(), folder=folder,
            held_out=examples[::4] if watched else (), metrics=MetricsFile(folder / METRICS),
        )  # fmt: skip
        assert len(steps_in(folder)) <= KEPT + 1
        return found

    def held_out_loss(self, result: TrainingResult) -> float:
        """Of the weights that were kept, by the function that measures versions."""
        measured = evaluate_perplexity(result.model, self._load()[2][::4], "test")
        assert measured is not None
        return math.log(measured.value)


@pytest.fixture
def trainings(series_folder: Callable[..., Path], nano_folder: Callable[..., Path]) -> Trainings:
    return Trainings(series_folder(episodes=4), nano_folder())


def as_told(result: TrainingResult) -> tuple[Any, ...]:
    """What another run must come to, too."""
    evaluations = [(each.step, pytest.approx(each.loss, abs=1e-4)) for each in result.evaluations]
    losses = [(step, pytest.approx(loss, abs=1e-4)) for step, loss in result.losses]
    return result.steps, result.kept_step, result.stopped_early, evaluations, losses


def plain(result: TrainingResult) -> tuple[Any, ...]:
    evaluations = [(each.step, each.loss) for each in result.evaluations]
    return result.steps, result.kept_step, result.stopped_early, evaluations, list(result.losses)


def test_the_best_weights_are_kept_and_measuring_changes_nothing(trainings: Trainings, tmp_path: Path) -> None:
    result = trainings.run(tmp_path / "best", patience=0, epochs=6.0, learning_rate=0.05)
    best = best_evaluation(result.evaluations)
    assert best is not None
    assert best.step == result.kept_step < result.steps
    assert best_step(tmp_path / "best" / f"checkpoint-{result.steps}") == best.step
    assert trainings.held_out_loss(result) == pytest.approx(best.loss, abs=1e-5)
    assert result.to_dict()["kept_held_out_loss"] == best.loss
    lines = read_metrics(tmp_path / "best" / METRICS)
    measured = {line["step"]: line["held_out_loss"] for line in lines if line.get("held_out_step") == line["step"]}
    assert measured == {each.step: pytest.approx(each.loss, rel=1e-5) for each in result.evaluations}

    unwatched = trainings.run(tmp_path / "unwatched", watched=False, epochs=6.0, learning_rate=0.05)
    assert unwatched.losses == result.losses
    assert (unwatched.evaluations, unwatched.kept_step, unwatched.stopped_early) == ((), unwatched.steps, False)
    assert "kept_step" not in unwatched.to_dict()

    # the same run goes on without what it needs, and keeps what it has
    (tmp_path / "best" / f"checkpoint-{best.step}" / "adapter_model.safetensors").write_bytes(b"")
    again = trainings.run(tmp_path / "best", patience=0, epochs=6.0, learning_rate=0.05)
    others = [each for each in result.evaluations if (tmp_path / "best" / f"checkpoint-{each.step}").exists()]
    assert again.kept_step == best_evaluation([each for each in others if each != best]).step  # type: ignore[union-attr]


def test_the_last_weights_are_kept_where_that_is_asked_for(trainings: Trainings, tmp_path: Path) -> None:
    last = trainings.run(tmp_path, keep="last", epochs=2.0, patience=0)
    assert last.kept_step == last.steps
    assert trainings.held_out_loss(last) == pytest.approx(last.evaluations[-1].loss, abs=1e-5)


def test_a_training_of_no_more_use_stops_and_stays_stopped(
    trainings: Trainings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    result = trainings.run(tmp_path)
    assert result.stopped_early
    assert result.steps == result.evaluations[-1].step == result.losses[-1][0]
    assert result.kept_step == result.evaluations[-3].step
    assert f"stopped early at step {result.steps} of " in caplog.text
    again = trainings.run(tmp_path)
    assert (again.steps, again.kept_step, again.evaluations) == (result.steps, result.kept_step, result.evaluations)
    assert trainings.held_out_loss(again) == pytest.approx(trainings.held_out_loss(result), abs=1e-6)


@pytest.mark.parametrize("which", [2, pytest.param(-1, marks=pytest.mark.slow)])
def test_a_signal_during_an_evaluation_changes_nothing_in_the_end(
    trainings: Trainings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """The second evaluation lies in the middle; the last one says that more is no use."""
    from character_chatbot.training import held_out

    result = trainings.run(tmp_path / "left alone")
    evaluation = result.evaluations[which]
    score, calls = held_out.score, SimpleNamespace(count=0)

    def killed(*given: Any) -> Any:
        calls.count += 1
        if calls.count == result.evaluations.index(evaluation) + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return score(*given)

    monkeypatch.setattr(held_out, "score", killed)
    with pytest.raises(SystemExit):
        trainings.run(tmp_path / "stopped")
    assert steps_in(tmp_path / "stopped")[-1] == evaluation.step
    assert plain(trainings.run(tmp_path / "stopped")) == as_told(result)
    lines = read_metrics(tmp_path / "stopped" / METRICS)
    assert [line["step"] for line in lines] == [step for step, _ in result.losses]


@pytest.mark.slow
def test_a_run_that_lost_its_newest_checkpoints_ends_the_same(trainings: Trainings, tmp_path: Path) -> None:
    result = trainings.run(tmp_path)
    for step in [each for each in steps_in(tmp_path) if each > result.kept_step]:
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    assert plain(trainings.run(tmp_path)) == as_told(result)
