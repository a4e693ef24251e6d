"""The command that scores themes, killed and interrupted in the middle, goes on where it was."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from doubles.nli_model import save_nli_model

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE = PROJECT / "data" / "sample_series"
LONGEST_WAIT_SECONDS = 120
MARK = 77.0  # a logit that no model gives


def rows(file: Path, condition: str = "1") -> int:
    """Scores in the cache; none while there is no file or it is being made."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM scores WHERE {condition}").fetchone()[0])  # noqa: S608
    except sqlite3.OperationalError:
        return 0


def stop_in_the_middle(command: list[str], file: Path, sent: signal.Signals) -> tuple[int, int, str]:
    """Send a signal once there is a new score; the exit status, the scores then, and what was said."""
    before = rows(file)
    running = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    while rows(file) <= before and running.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    running.send_signal(sent)
    said, _ = running.communicate(timeout=LONGEST_WAIT_SECONDS)
    return running.returncode, rows(file), said


@pytest.mark.slow
def test_a_run_that_is_killed_or_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGER_PATHS__CACHE", str(tmp_path / "cache"))
    file = tmp_path / "cache" / "themes.sqlite"
    model = save_nli_model(tmp_path / "nli", positions=256)
    command = [sys.executable, "-m", "theme_classifier", "--data", str(SAMPLE), "--out", str(tmp_path / "out")]
    command += ["--model", str(model), "--precision", "float32"]

    status, killed, _ = stop_in_the_middle(command, file, signal.SIGKILL)
    assert status == -signal.SIGKILL
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE scores SET entailment = ?", (MARK,))

    status, interrupted, said = stop_in_the_middle(command, file, signal.SIGINT)
    assert status == 130
    assert "Interrupted." in said and "Traceback" not in said
    assert "%|" not in said  # a bar is for a terminal
    assert 0 < killed < interrupted

    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert rows(file, f"entailment = {MARK}") == killed  # none of them was computed again
    assert rows(file) > interrupted
    assert rows(file) % 20 == 0  # every text with each of the twenty themes
    assert (tmp_path / "out" / "themes.json").exists()
