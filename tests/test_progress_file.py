"""How far a run is: the line that others read, its pace, and that it never ends the run."""

from __future__ import annotations

import errno
import json
import math
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from aws.storage import open_registry
from character_chatbot.monitoring import progress_file
from character_chatbot.monitoring.progress_file import BASE, DONE, EVALUATING, STAGES, TRAINING, Progress
from character_chatbot.training.commands import render_outcome
from character_chatbot.training.outcome import RunOutcome, export_outcome
from character_chatbot.training.preparation import PreparedRun, RunRequest
from character_chatbot.training.run import run_training
from character_chatbot.version import open_version
from config import load_settings
from training_pipeline import build_parser
from utils import line_file
from utils.announcements import Announcements
from utils.errors import BaseModelError
from utils.exports import find_export

TINY: dict[str, object] = {
    "nano.hidden_size": 32, "nano.layers": 1, "nano.heads": 2, "nano.vocabulary": 400, "nano.epochs": 1,
    "nano.max_steps": 6, "training.max_steps": 2, "evaluation.max_replies": 8,
}  # fmt: skip


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def read(file: Path) -> dict[str, Any]:
    content = file.read_text(encoding="utf-8")
    assert content.endswith("\n")
    assert content.count("\n") == 1
    return json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "progress.json"


@pytest.fixture
def progress(file: Path, watch: Stopwatch) -> Progress:
    return Progress(file, clock=lambda: 1_700_000_000.0, stopwatch=watch)


def test_a_stage_is_written_at_once(progress: Progress, file: Path) -> None:
    for stage in STAGES:
        progress.begin(stage)
        assert read(file) == {
            "stage": stage, "step": 0, "steps": 0, "loss": None, "seconds_left": None, "at": "2023-11-14T22:13:20Z",
        }  # fmt: skip


def test_steps_are_written_once_a_second_and_the_last_one_always(
    progress: Progress, file: Path, watch: Stopwatch
) -> None:
    progress.begin(TRAINING)
    written = []
    for step in range(1, 11):
        watch.seconds += 0.4
        progress.step(step, 10, 3.0)
        written.append(read(file)["step"])
    assert written == [0, 0, 3, 3, 3, 6, 6, 6, 9, 10]


def test_the_time_left_follows_the_pace_of_this_process(progress: Progress, file: Path, watch: Stopwatch) -> None:
    progress.begin(TRAINING)
    watch.seconds = 60  # loading, and the slow first step
    progress.step(41, 100, 3.0)
    assert read(file)["seconds_left"] is None
    watch.seconds = 80
    progress.step(51, 100, 2.5)
    line = read(file)
    assert (line["step"], line["steps"], line["loss"], line["seconds_left"]) == (51, 100, 2.5, 98)


def test_losses_stay_until_they_are_of_another_model(progress: Progress, file: Path) -> None:
    progress.begin(BASE)
    progress.step(5, 5, 4.0)
    progress.begin(TRAINING)
    assert read(file)["loss"] is None
    progress.step(9, 9, 2.0)
    progress.begin(EVALUATING)
    progress.held_out(1.5)
    progress.begin(DONE)
    assert (read(file)["loss"], read(file)["held_out_loss"]) == (2.0, 1.5)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_none(progress: Progress, file: Path, loss: float) -> None:
    progress.step(1, 1, loss)
    assert read(file)["loss"] is None


def test_a_full_disk_is_said_once_and_may_get_better(
    progress: Progress, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    progress.begin(BASE)
    with monkeypatch.context() as patched:
        patched.setattr(line_file, "write_atomic", full)
        for step in range(1, 4):
            progress.begin(TRAINING)
            progress.step(step, step)
    assert read(file)["stage"] == BASE
    assert [record.message for record in caplog.records if "No space left" in record.message] == [
        f"{file} cannot be written: [Errno 28] No space left on device. The work goes on without it."
    ]
    progress.begin(DONE)
    assert read(file)["stage"] == DONE


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_file, "write_atomic", lambda *_: pytest.fail("written"))
    Progress().begin(TRAINING)


def test_the_flags_of_train() -> None:
    given = build_parser().parse_args(["train", "llama", "--progress", "p.json", "--by", "ann@laptop"])
    assert (given.progress, given.by) == (Path("p.json"), "ann@laptop")


class Recorder(Progress):
    """A progress that keeps all lines it would have written, however fast they come."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self._file.write = self.lines.append  # type: ignore[method-assign, assignment]


def test_a_run_tells_its_stages_and_records_the_size_of_its_base(
    sample_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_file, "SHORTEST_PAUSE_SECONDS", 0.0)
    settings = load_settings(flags=TINY | {"paths.data": str(sample_series)})
    registry, recorder = open_registry(settings), Recorder()
    request = RunRequest("llama", ("Pip",), "nano", actor="ann@laptop", export=True)
    outcome = run_training(request, settings, registry, Announcements(), recorder)

    assert list(dict.fromkeys(line["stage"] for line in recorder.lines)) == list(STAGES)
    last = {line["stage"]: line for line in recorder.lines}
    assert (last[BASE]["step"], last[BASE]["steps"]) == (6, 6)
    assert (last[TRAINING]["step"], last[TRAINING]["steps"]) == (2, 2)
    assert last[TRAINING]["loss"] == pytest.approx(outcome.metrics["training"]["last_loss"], abs=1e-3)
    assert (last[EVALUATING]["step"], last[EVALUATING]["steps"]) == (16, 16)  # 8 replies with the adapter, 8 without
    held_out = math.log(outcome.metrics["held_out"]["adapter_perplexity"])
    assert last[DONE]["held_out_loss"] == pytest.approx(held_out, abs=1e-3)

    shown = registry.show("llama", outcome.version)
    assert shown["history"][0]["actor"] == "ann@laptop"
    weights = shown["files"]["base/model.safetensors"]["size_bytes"]
    assert shown["run"]["base"]["parameters"] == pytest.approx(weights / 4, rel=0.05)  # float32, and a header

    folder = tmp_path / "older"
    shutil.copytree(registry.fetch("llama", outcome.version, tmp_path), folder)
    del shown["run"]["base"]["parameters"]  # as versions were before
    (folder / "run.json").write_text(json.dumps(shown["run"]))
    assert open_version(folder).base.kind == "nano"

    assert outcome.export == find_export(registry.store, "llama", outcome.version) is not None
    assert "Exported for CPUs in 8 bits" in render_outcome("llama", outcome, "runs")

    again = Recorder()
    repeated = run_training(request, settings, registry, Announcements(), again)
    assert (repeated.reused, repeated.export) == (True, outcome.export)
    assert again.lines[-1]["stage"] == DONE


def test_a_version_stays_published_where_no_export_of_it_can_be_made(
    sample_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RunRequest("llama", ("Pip",), "nano", export=True)
    settings = load_settings(flags=TINY | {"paths.data": str(sample_series)})
    run = PreparedRun(request, settings, Announcements(), Progress(), *[None] * 3)  # type: ignore[arg-type]
    for error in (BaseModelError("the export does not say what torch says."), OSError(28, "No space left on device")):
        monkeypatch.setattr("character_chatbot.export.exporting.export_version", Mock(side_effect=error))
        outcome = export_outcome(run, RunOutcome("20261121-074545", {}, reused=False), open_registry(settings))
        assert outcome.export is not None and str(error.args[-1]).rstrip(".") in outcome.export["problem"]
        told = render_outcome("llama", outcome, "runs")
        assert "Not exported for CPUs" in told
        assert "python training_pipeline.py export llama --version 20261121-074545" in told
