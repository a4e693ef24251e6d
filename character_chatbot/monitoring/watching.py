"""A training seen from outside, by the files in its run folder: which one is newest, how far it is, whether it runs.

training = read_training(settings.paths.runs)      # plain data, ready for JSON; None: nothing to see
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from character_chatbot.monitoring.curve import thin
from character_chatbot.monitoring.metrics_file import METRICS, read_metrics
from config import FAMILIES

LOCK_FILE, PUBLISHED = "lock", "published.json"  # in the run's folder; see run.py


def read_training(runs: Path) -> dict[str, Any] | None:
    """The newest training below a folder of runs; None where there is none, or where it has become a version.

    ``losses``: step and loss, thinned out. ``held_out``: step and loss on held-out replies, where it was measured.
    ``last``: the last line of its metrics. ``running``: by this machine.
    """
    files = [file for family in FAMILIES for file in (runs / family).glob(f"*/{METRICS}")]
    try:
        newest = max(files, key=lambda file: file.stat().st_mtime)
        at = datetime.fromtimestamp(newest.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OSError):  # none, or removed meanwhile
        return None
    folder, lines = newest.parent, read_metrics(newest)
    running = is_running(folder)
    if not lines or (not running and (folder / PUBLISHED).exists()):
        return None
    return {
        "family": folder.parent.name,
        "run": folder.name,
        "running": running,
        "at": at,
        "losses": [list(point) for point in thin(_losses(lines))],
        "held_out": [list(point) for point in _held_out(lines)],
        "last": {name: value for name, value in lines[-1].items() if isinstance(value, int | float)},
    }


def is_running(folder: Path) -> bool:
    """Whether a process holds the lock of a run: it is let go of by whoever dies."""
    try:
        import fcntl

        with (folder / LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ModuleNotFoundError):  # never locked, or not to be seen from here
        return False
    return False


def _losses(lines: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(line["step"], float(line["loss"])) for line in lines if isinstance(line.get("loss"), int | float)]


def _held_out(lines: list[dict[str, Any]]) -> list[tuple[float, float]]:
    points = {line.get("held_out_step"): line.get("held_out_loss") for line in lines}
    return [
        (step, float(loss)) for step, loss in points.items() if isinstance(step, int) and isinstance(loss, int | float)
    ]
