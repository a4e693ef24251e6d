"""A training seen while it runs: its metrics file, its curve, the status and the page."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from character_chatbot import markup
from character_chatbot.monitoring import curve, metrics_file
from character_chatbot.monitoring.metrics_file import METRICS, Measured, MetricsFile, read_metrics
from character_chatbot.monitoring.progress_file import TRAINING, Progress
from character_chatbot.monitoring.watching import is_running, read_training
from character_chatbot.status import build_status, render_status
from config import Settings, load_settings
from utils.registry import Registry
from utils.stores import FolderStore


def measure(step: int, **more: Any) -> Measured:
    return Measured(step, 100, loss=4 - step / 100, tokens_per_second=812.3456789, **more)


# the metrics file


def test_a_resumed_run_repeats_no_step(tmp_path: Path) -> None:
    file = tmp_path / METRICS
    first = MetricsFile(file)
    first.begin(0, 100)
    for step in range(1, 6):
        first.add(measure(step))
    with file.open("a") as opened:
        opened.write('{"step": 6, "los')  # a process that died here
    again = MetricsFile(file)
    again.begin(3, 100)
    again.add(measure(4))
    lines = read_metrics(file)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0] == {"step": 1, "steps": 100, "loss": 3.99, "tokens_per_second": 812.346}
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_a_run_that_comes_from_elsewhere_brings_its_losses(tmp_path: Path) -> None:
    file = tmp_path / "deep" / METRICS
    MetricsFile(file).begin(2, 9, [{"step": 1, "loss": 3.5}, {"step": 2, "loss": 3.0}, {"step": 2, "eval_loss": 1.0}])
    second = {"step": 2, "steps": 9, "loss": 3.0, "held_out_loss": 1.0, "held_out_step": 2}
    assert read_metrics(file) == [{"step": 1, "steps": 9, "loss": 3.5}, second]


def test_what_is_no_number_is_none(tmp_path: Path) -> None:
    assert Measured(1, 2, loss=math.nan, tokens_per_second=math.inf).to_dict() == {"step": 1, "steps": 2, "loss": None}


def test_a_full_disk_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metrics_file, "write_atomic", full)
    file = MetricsFile(tmp_path / "none" / METRICS)
    file.begin(0, 9)
    file.add(measure(1))
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1
    MetricsFile().begin(0, 9)
    MetricsFile().add(measure(1))


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"step": "1"}', "\x00\xff", '{"step": 1'])
def test_other_lines_are_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / METRICS).write_text(text, encoding="utf-8")
    assert read_metrics(tmp_path / METRICS) == []


def test_the_progress_file_tells_what_a_step_measured(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "p.json")
    progress.begin(TRAINING)
    progress.measured(measure(100, peak_memory_bytes=5, held_out_loss=2.0, learning_rate=1.0))
    line = json.loads((tmp_path / "p.json").read_text())
    assert (line["step"], line["loss"], line["held_out_loss"]) == (100, 3.0, 2.0)
    assert (line["tokens_per_second"], line["peak_memory_bytes"]) == (812.346, 5)
    progress.begin("evaluating")
    assert "tokens_per_second" not in json.loads((tmp_path / "p.json").read_text())


# the curve


def test_a_long_curve_is_thinned_out_and_keeps_its_end() -> None:
    points = [(step, 1.0 if step % 2 else 3.0) for step in range(1, 10_001)] + [(10_001, math.nan)]
    thinned = curve.thin(points)
    assert len(thinned) <= curve.MOST_POINTS
    assert thinned[-1] == (10_000, 2.0)
    assert curve.smooth([(1, 2.0), (2, 2.0)]) == [(1, 2.0), (2, pytest.approx(2.0))]


@pytest.mark.parametrize("losses", [[2.0], [2.0, 2.0], [4.51, 1.49], [0.001, 0.002], [900.0, 1.0]])
def test_the_axis_holds_all_losses(losses: list[float]) -> None:
    low, high = curve.bounds(losses)
    assert low < high
    assert all(0 <= y <= 1 for _, y in curve.place([(1, loss) for loss in losses], 1, low, high))


@pytest.mark.parametrize(
    "losses", [[(1, 3.0)], [(step, 4 / step) for step in range(1, 900)], [(1, math.nan), (2, 1.0)]]
)
@pytest.mark.parametrize("held_out", [None, 2.5])
def test_the_png_is_a_picture(losses: list[tuple[float, float]], held_out: float | None) -> None:
    from PIL import Image

    content = curve.draw_png(losses, 900, held_out)
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == curve.SIZE
        assert len(image.getcolors(100_000) or []) > 10
    assert len(content) < 100_000


# the status


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = {"paths.runs": tmp_path / "runs", "paths.data": tmp_path / "no data"}
    return load_settings(env_file=Path("/none"), environment={}, flags=flags)


@pytest.fixture
def run(settings: Settings) -> Iterator[Path]:
    """The folder of a training that runs, after 40 of 100 steps."""
    folder = settings.paths.runs / "llama" / "0123456789abcdef"
    file = MetricsFile(folder / METRICS)
    file.begin(0, 100)
    for step in range(1, 41):
        file.add(measure(step, seconds_left=61, peak_memory_bytes=1_200_000_000, supervised_tokens_per_second=94.0))
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def test_a_running_training_is_seen(run: Path, settings: Settings) -> None:
    older = settings.paths.runs / "qwen" / "a"
    MetricsFile(older / METRICS).begin(1, 9, [{"step": 1, "loss": 1.0}])
    os.utime(older / METRICS, (1, 1))
    status = build_status("llama", settings, Registry(FolderStore(settings.paths.runs / "registry")))
    training = status["training"]
    assert json.loads(json.dumps(training)) == training
    assert (training["run"], training["running"], len(training["losses"])) == ("0123456789abcdef", True, 40)
    text = render_status(status)
    for part in ("40 of 100 (40%)", "812 tokens/s, of them 94 supervised", "1 min 1 s", "1.2 GB", "3.600"):
        assert part in text
        assert part in markup.training_block(training)
    assert "stopped" not in text


def test_a_stopped_training_says_how_it_goes_on_and_a_published_one_is_gone(run: Path, settings: Settings) -> None:
    with (run / "lock").open("a") as other:
        assert is_running(run)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (run / "lock").rename(run / "old")  # its holder has died
    (run / "lock").touch()
    training = read_training(settings.paths.runs)
    assert training is not None
    assert not training["running"]
    assert "the same command goes on" in markup.training_block(training)
    assert "Time left" not in markup.training_block(training)
    (run / "published.json").write_text("{}")
    assert read_training(settings.paths.runs) is None


def test_nothing_runs(tmp_path: Path) -> None:
    assert read_training(tmp_path / "none") is None
    assert not is_running(tmp_path)
    assert markup.training_block(None) == ""


def test_foreign_text_stays_text(settings: Settings) -> None:
    folder = settings.paths.runs / "llama" / "<b>x"
    folder.mkdir(parents=True)
    line = {"step": 1, "steps": 2, "loss": 1.0, "held_out_loss": "<script>", "seconds_left": "<i>"}
    (folder / METRICS).write_text(json.dumps(line))
    block = markup.training_block(read_training(settings.paths.runs))
    assert "<b>x" not in block
    assert "<script>" not in block
    assert "<polyline" in block
