"""The ``report`` command: a series as one page in one file."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from config import ENVIRONMENT_PREFIX, Settings
from utils.command_line import DONE, FAILED
from utils.errors import StoreError, UsageError, nearest
from utils.retyping import retype
from utils.terminal import Terminal

if TYPE_CHECKING:
    from dashboard.report.building import Report
    from dashboard.source import AnalysisSource

SECTION_NAMES = ("series", "themes", "network", "locations")  # as in building.py, which is not imported for --help
COMMAND = "python training_pipeline.py"
LOCATION_MODEL = f"{ENVIRONMENT_PREFIX}LOCATIONS__MODEL"
ENDS = (".html", ".htm")
LARGEST_BYTES = 5_000_000


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, which sections and themes, by which model."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.html", help="the file; an older one is replaced"
    )
    parser.add_argument("--sections", default="", metavar="A,B", help=f"only these of {', '.join(SECTION_NAMES)}")
    parser.add_argument(
        "--themes", default="", metavar="A,B", help="default: the first ones of the series (report.themes)"
    )
    parser.add_argument(
        "--theme-model", metavar="NAME|PATH", help='or "lexical": seed words, at once (default: themes.model)'
    )
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run_report_action(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write the report; the exit code, 1 where a section failed. Raises SuiteError: there is no report."""
    names, themes = read_sections(arguments.sections), _parts(arguments.themes)
    check_place(arguments.out)
    terminal, started = Terminal(), time.monotonic()
    report, source = _build(arguments, settings, names, themes, terminal)
    from dashboard.report.building import write_report

    size = write_report(report, arguments.out)
    terminal.clear()
    summary = summarise(report, source, arguments.out, size, time.monotonic() - started)
    print(json.dumps(summary, ensure_ascii=False, indent=2) if arguments.json else _told(summary))
    for name, problem in report.problems.items():
        print(f"Error: the section {name} could not be made: {problem}", file=sys.stderr)
    if size > LARGEST_BYTES:
        print(f"The file has {size / 1e6:.1f} MB: a smaller report.table_rows makes it smaller.", file=sys.stderr)
    return FAILED if report.problems else DONE


def _build(
    arguments: argparse.Namespace,
    settings: Settings,
    names: tuple[str, ...],
    themes: tuple[str, ...],
    terminal: Terminal,
) -> tuple[Report, AnalysisSource]:
    from dashboard.report.building import build_report
    from dashboard.source import load_source
    from theme_classifier.themes import choose_themes
    from utils.series import open_series

    logline = open_series(settings.paths.data).logline
    source = load_source(settings.paths.data)
    if themes:
        choose_themes(themes, source.folder)  # a name that cannot be is known before anything is computed
    terminal.say("read", f"{source.title}, {len(source.lines):,} lines")
    show = show_progress(terminal)
    given = command_words(arguments)
    report = build_report(
        source, settings, sections=names, themes=themes, logline=logline, progress=show,
        other_theme_model=lambda model: retype(COMMAND, given, ["--theme-model", model]),
        # No flag chooses it here: a variable of the environment is a setting, too.
        other_location_model=lambda model: f"{LOCATION_MODEL}={shlex.quote(model)} {retype(COMMAND, given, [])}",
    )  # fmt: skip
    terminal.say("made", f"{len(report.sections) - len(report.problems)} of {len(report.sections)} sections")
    return report, source


def command_words(arguments: argparse.Namespace) -> list[str]:
    """The words behind the program's name that give this report."""
    flags = {name: getattr(arguments, name, None) for name in ("config", "data", "out", "sections", "themes")}
    named = [word for name, value in flags.items() if value for word in (f"--{name}", str(value))]
    model = arguments.theme_model
    return ["report", *named, *(["--theme-model", model] if model else []), *(["--json"] if arguments.json else [])]


def show_progress(terminal: Terminal) -> Callable[[str, int, int], None]:
    """A line when a section begins, and one that moves while it is made."""

    def show(name: str, done: int, total: int) -> None:
        if not total:
            terminal.say("make", name)
        else:
            terminal.move(f"{name}: {done:,} of {total:,} ({100 * done / total:.0f} %)")

    return show


def read_sections(text: str) -> tuple[str, ...]:
    """The sections of ``--sections``; all where it is empty. Raises UsageError: there is no such section."""
    names = _parts(text)
    for name in names:
        if name not in SECTION_NAMES:
            near = nearest(name, SECTION_NAMES)
            raise UsageError(
                f"no section '{name}' in a report.",
                instead=(f"Did you mean {near}? " if near else "") + f"There are: {', '.join(SECTION_NAMES)}",
                remedies=[("All of them", f"--sections {','.join(SECTION_NAMES)}")],
            )
    return names or SECTION_NAMES


def _parts(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := " ".join(part.split()))))


def check_place(file: Path) -> None:
    """Whether a report can be written there, before anything is computed.

    Raises:
        UsageError: it is a folder, or its name is not that of a page. StoreError: the disk says no.
    """
    from utils.files import disk_errors

    if file.is_dir():
        remedy = ("Name a file in it", f"--out {file / 'report.html'}")
        raise UsageError(f"{file} is a folder, and a report is a file.", remedies=[remedy])
    if file.suffix.lower() not in ENDS:
        remedy = ("Name it so", f"--out {file}.html")
        raise UsageError(f"{file} is not the name of a page.", instead="It ends with .html.", remedies=[remedy])
    if file.exists() and not file.is_file():
        raise StoreError(f"{file} is no plain file.", remedies=[("Name another", "--out report.html")])
    with disk_errors(file, "written"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass


def summarise(report: Report, source: AnalysisSource, file: Path, size: int, seconds: float) -> dict[str, object]:
    """What was written, ready for JSON."""
    return {
        "file": str(file),
        "bytes": size,
        "title": report.title,
        "lines": len(source.lines),
        "quoted_lines": report.quoted,
        "seconds": round(seconds, 2),
        "sections": [
            {
                "name": each.name, "title": each.title, "seconds": round(each.seconds, 2), "method": each.method,
                "contents": [title for _, title in each.contents], "problem": each.problem,
                "announcements": [step.to_dict() for step in each.announcements],
            }
            for each in report.sections
        ],
    }  # fmt: skip


def _told(summary: dict[str, object]) -> str:
    made = [each["name"] for each in summary["sections"] if not each["problem"]]  # type: ignore[attr-defined]
    return (
        f"{summary['title']}: {', '.join(made)}; {summary['quoted_lines']} of {summary['lines']:,} lines quoted.\n"
        f"Written: {summary['file']} ({summary['bytes'] / 1e6:.1f} MB)"  # type: ignore[operator]
    )
