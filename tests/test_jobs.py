"""Many series: the same results one by one and on Ray, errors that stop nobody else, workers that are killed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from doubles import jobs

from character_network.__main__ import main as network
from config import load_settings
from theme_classifier.__main__ import main as themes
from utils.command_line import run_command
from utils.errors import DataError, UsageError
from utils.jobs import Outcome, run_jobs
from utils.series_jobs import find_series, settings_of

PROJECT = Path(__file__).resolve().parent.parent
Make = Callable[..., Path]
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}  # as in /proc/net/tcp


@pytest.fixture
def shelf(tmp_path: Path, series_folder: Make) -> Path:
    """A folder with two series, one folder that is none, and one whose lines cannot be read."""
    for name in ("shelf/first", "shelf/second"):
        series_folder(name, episodes=1)
    (tmp_path / "shelf" / "notes").mkdir()
    return tmp_path / "shelf"


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


# Here


def test_outcomes_come_in_order_and_an_error_stops_nobody() -> None:
    told: list[Outcome] = []
    found = run_jobs(jobs.divide, {"a": (6, 3), "b": (1, 0), "c": (8, 2), "d": (1, -1)}, told=told.append)
    assert [outcome.value for outcome in found] == [2, None, 4, None]
    assert found == told
    assert "ZeroDivisionError" in found[1].error and "fault of the program" in found[1].error
    assert found[3].error == "nothing below zero."


def test_an_interruption_is_none_of_them() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs.interrupt, {"a": ()})


def test_settings_arrive_without_secrets() -> None:
    settings = load_settings(environment={"HF_TOKEN": "hf_secret"}, flags={"themes.scene_lines": 7})
    plain = json.loads(json.dumps(settings.to_dict()))
    assert "hf_secret" not in str(plain)
    assert settings_of(plain).to_dict() == settings.to_dict()


def test_series_are_folders_with_lines(shelf: Path) -> None:
    assert [folder.name for folder in find_series(shelf)] == ["first", "second"]
    (shelf / "third").mkdir()
    (shelf / "third" / "S01E01.srt").write_text("")
    assert [folder.name for folder in find_series(shelf)] == ["first", "second", "third"]
    for nothing in (shelf / "notes", shelf / "none"):
        with pytest.raises(DataError):
            find_series(nothing)


def test_several_series_are_as_each_alone(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--themes", "Hope,Fear", "--model", "lexical"]
    assert run_command(themes, ["--series", str(shelf), "--out", str(tmp_path / "all"), *words]) == 0
    shown = capsys.readouterr().out
    assert "first " in shown and "second " in shown
    for name in ("first", "second"):
        alone = tmp_path / f"alone_{name}"
        assert run_command(themes, ["--data", str(shelf / name), "--out", str(alone), *words]) == 0
        assert files(alone) == files(tmp_path / "all" / name)
        assert set(files(alone)) == {"themes.json", "themes.csv", "lines.csv"}


def test_one_that_cannot_be_read_does_not_lose_the_others(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shelf / "first" / "characters.jsonl").write_text("no JSON")
    given = ["--data", str(shelf / "first"), str(shelf / "second"), "--out", str(tmp_path / "out"), "--json"]
    assert run_command(network, given) == 1
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert [row["name"] for row in found["series"]] == ["second"]
    assert [row["name"] for row in found["failed"]] == ["first"]
    assert "1 of 2 series failed" in shown.err and "characters.jsonl" in shown.err and "Traceback" not in shown.err
    assert (tmp_path / "out" / "second" / "network.html").exists()


def test_wrong_use_of_several_is_a_sentence(
    shelf: Path, series_folder: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    same = series_folder("other/first", episodes=1)
    for wrong, words in {
        ("--series", str(shelf), "--data", str(same)): "cannot be used together",
        ("--series", str(shelf), "--workers", "0"): "--workers is 0",
        ("--data", str(shelf / "first"), str(same)): "several folders are named first",
        ("--series", str(shelf), "--pair", "Ada", "Bo"): "--pair is for one series",
    }.items():
        assert run_command(network, [*wrong, *out]) == 2
        assert words in capsys.readouterr().err
    assert run_command(themes, ["--series", str(shelf / "notes"), *out]) == 1
    assert "no series in" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_it_is_said_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"not installed.\n.*pip install -r requirements-ray.txt"):
        run_jobs(jobs.divide, {"a": (6, 3)}, "ray")


# On Ray


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("ray") is None:  # not imported here: it reads its environment when it is
        pytest.skip("ray is not installed")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT / "tests"))


def command(*words: str, program: str = "theme_classifier") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", program, *words], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("program", ["theme_classifier", "character_network"])
def test_one_worker_and_four_write_what_is_written_here(ray: None, shelf: Path, tmp_path: Path, program: str) -> None:
    shutil.copytree(PROJECT / "data" / "sample_series", shelf / "pellan")
    (shelf / "bad").mkdir()
    (shelf / "bad" / "S01E01.csv").write_text("a,b\n1,2\n")
    # The same folder each time: what is printed names it.
    printed, written = set(), []
    for words in (["local"], ["ray", "--workers", "1"], ["ray", "--workers", "4"]):
        done = command("--series", str(shelf), "--out", str(tmp_path / "out"), "--json", "--engine", *words,
                       program=program)  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "1 of 4 series failed" in done.stderr
        printed.add(done.stdout)
        written.append(files(tmp_path / "out"))
        shutil.rmtree(tmp_path / "out")
    assert len(printed) == 1
    assert written[0] == written[1] == written[2]
    assert len(json.loads(printed.pop())["series"]) == 3


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(ray: None, tmp_path: Path) -> None:
    given = {str(number): (str(tmp_path), number) for number in range(4)}
    found = run_jobs(jobs.die_once, given, "ray", workers=2, told=lambda outcome: None)
    assert [outcome.value for outcome in found] == [0, 1, 4, 9]
    assert [outcome.error for outcome in found] == [""] * 4
    assert len(list(tmp_path.glob("killed-*"))) == 4  # each was killed in the middle, by another process


@pytest.mark.slow
def test_one_that_always_dies_is_told_and_the_others_are_done(ray: None) -> None:
    found = run_jobs(jobs.die_if_odd, {"a": (2,), "b": (3,)}, "ray", workers=1)
    assert (found[0].value, found[0].error) == (2, "")
    assert "its worker died" in found[1].error


@pytest.mark.slow
def test_ray_listens_on_this_machine_alone_and_sends_nothing(ray: None) -> None:
    (outcome,) = run_jobs(jobs.listening, {"a": ()}, "ray", workers=1)
    places, usage = outcome.value
    assert usage == "0"
    assert places and set(places) <= LOOPBACK
    assert os.environ["RAY_AUTH_MODE"] == "token"
