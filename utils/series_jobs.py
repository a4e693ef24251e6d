"""A command over many series: which folders, on what engine, and what to say at the end.

add_series_arguments(parser)
if folders := several_folders(arguments):
    return run_series(make_network, folders, arguments, settings)
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from config import Settings, load_settings
from utils.command_line import DONE, FAILED
from utils.errors import DataError, UsageError
from utils.jobs import ENGINES, LOCAL, Outcome, run_jobs

logger = logging.getLogger(__name__)

LINES_OF = {".csv", ".srt"}
FOLDERS_OF = {"transcripts", "subtitles"}


def add_series_arguments(parser: argparse.ArgumentParser) -> None:
    """``--data`` with one folder or more, ``--series``, ``--engine``, ``--workers``."""
    parser.add_argument(
        "--data", type=Path, nargs="+", metavar="DIR",
        help="series folder (default: the setting paths.data); with several, each gets its own folder in --out",
    )  # fmt: skip
    parser.add_argument("--series", type=Path, metavar="FOLDER", help="every series folder in FOLDER")
    parser.add_argument("--engine", choices=ENGINES, default=LOCAL, help="where several series are computed")
    parser.add_argument("--workers", type=int, metavar="N", help="of the engine ray (default: one for each core)")


def one_folder(arguments: argparse.Namespace) -> Path | None:
    """The single folder of ``--data``."""
    return arguments.data[0] if arguments.data else None


def several_folders(arguments: argparse.Namespace) -> list[Path]:
    """The folders where there are several to do; empty where one series is meant.

    Raises:
        UsageError: two folders of the same name, ``--data`` and ``--series``, or a number of workers below one.
        DataError: no series in the folder of ``--series``.
    """
    if arguments.data and arguments.series:
        raise UsageError("--data and --series cannot be used together.")
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers is {arguments.workers}; it is 1 or more.")
    folders = find_series(arguments.series) if arguments.series else list(arguments.data or [])
    if len(folders) < 2 and not arguments.series:
        if arguments.engine != LOCAL:
            logger.info("One series alone is computed here.")
        return []
    names = [folder.resolve().name for folder in folders]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"several folders are named {', '.join(sorted(twice))}: their results would mix.")
    return folders


def find_series(folder: Path) -> list[Path]:
    """Folders in ``folder`` that hold lines, by name.

    Raises:
        DataError: no such folder, or none with lines in it.
    """
    if not folder.is_dir():
        remedy = ("Give series one by one", "with --data DIR DIR instead of --series")
        raise DataError(f"no folder {folder}.", remedies=[remedy])
    found = sorted(each for each in folder.iterdir() if not each.name.startswith(".") and _has_lines(each))
    if not found:
        raise DataError(
            f"no series in {folder}.", instead="A series is a folder with CSV or SRT files, or with transcripts/ in it."
        )
    return found


def _has_lines(folder: Path) -> bool:
    return folder.is_dir() and any(
        entry.suffix.lower() in LINES_OF or entry.name in FOLDERS_OF for entry in folder.iterdir()
    )


def settings_of(plain: Mapping[str, object]) -> Settings:
    """The settings whose ``to_dict`` was sent to this worker, with the secrets that it finds itself."""
    return load_settings(flags=plain)


def run_series(
    function: Callable[..., dict[str, Any]],
    folders: Sequence[Path],
    arguments: argparse.Namespace,
    settings: Settings,
    *more: Any,
) -> int:
    """Call ``function(folder, out, plain settings, *more)`` for each series, show what came of it, give the exit code.

    What it returns has ``line`` (for people), ``said`` (announcements) and ``result`` (for ``--json``).
    """
    from tqdm import tqdm

    plain, out = settings.to_dict(), arguments.out.resolve()
    jobs = {each.name: (str(each), str(out / each.name), plain, *more) for each in map(Path.resolve, folders)}
    with tqdm(total=len(jobs), desc="series", unit="series", disable=None) as bar:
        outcomes = run_jobs(function, jobs, arguments.engine, arguments.workers, lambda outcome: bar.update())
    (_show_json if arguments.json else _show)(outcomes)
    return _show_failures(outcomes)


def _show(outcomes: Sequence[Outcome]) -> None:
    done = [outcome for outcome in outcomes if not outcome.error]
    for outcome in done:
        print(f"{outcome.name:<32} {outcome.value['line']}")
    said = dict.fromkeys(sentence for outcome in done for sentence in outcome.value["said"])
    for sentence in said:
        print(f"\n{sentence}")


def _show_json(outcomes: Sequence[Outcome]) -> None:
    series = [{"name": outcome.name, **outcome.value["result"]} for outcome in outcomes if not outcome.error]
    failed = [{"name": outcome.name, "error": outcome.error} for outcome in outcomes if outcome.error]
    print(json.dumps({"series": series, "failed": failed}, ensure_ascii=False))


def _show_failures(outcomes: Sequence[Outcome]) -> int:
    from utils.logs import hide_secrets

    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return DONE
    print(f"Error: {len(failed)} of {len(outcomes)} series failed; the others are done.", file=sys.stderr)
    for outcome in failed:
        print(hide_secrets(f"  {outcome.name}: {outcome.error}"), file=sys.stderr)
    return FAILED
