"""Themes of a series, from the shell.

python -m theme_classifier --data data/sample_series --out results/themes
python -m theme_classifier --data data/sample_series --out results/themes --themes Hope,Despair --json
python -m theme_classifier --series FOLDER --out results/themes --engine ray     # every series folder in FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from config import THEME_PRECISIONS, Settings
from theme_classifier.classifier import COMMAND, ThemeClassifier
from utils.announcements import Announcements
from utils.command_line import DONE, Parser, add_common_arguments, build_settings, run_command
from utils.retyping import retype
from utils.series_jobs import add_series_arguments, one_folder, run_series, several_folders

PROGRAM = "theme_classifier"


def build_parser() -> Parser:
    parser = Parser(prog=COMMAND, description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_series_arguments(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for themes.json, themes.csv, lines.csv"
    )
    parser.add_argument("--themes", metavar="A,B", default="", help="default: those of the series' themes.json")
    parser.add_argument(
        "--model", default="", metavar="NAME|PATH",
        help='an NLI or GLiClass model, or "lexical": seed words alone (default: themes.model)',
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=THEME_PRECISIONS, help="default: auto, the fastest that ranks lines alike"
    )
    parser.add_argument("--scene-lines", type=int, metavar="N", help="lines of a stretch where no scenes are marked")
    parser.add_argument("--json", action="store_true", help="print all scores as JSON instead of a table")
    add_common_arguments(parser)
    return parser


def main(given: Sequence[str]) -> int:
    arguments = build_parser().parse_args(given)
    flags = {
        "paths.data": one_folder(arguments),
        "themes.precision": arguments.precision,
        "themes.scene_lines": arguments.scene_lines,
    }
    settings = build_settings(arguments, PROGRAM, flags)
    names = [name for part in arguments.themes.split(",") if (name := part.strip())]
    if folders := several_folders(arguments):
        from theme_classifier.series_job import score_series

        job = partial(score_series, given=tuple(given))
        return run_series(job, folders, arguments, settings, names, arguments.model)
    return classify(arguments, settings, names, given)


def classify(arguments: argparse.Namespace, settings: Settings, names: Sequence[str], given: Sequence[str]) -> int:
    from utils.series import load_lines, open_series, spoken_lines

    series = open_series(settings.paths.data)
    # The notes of the result repeat what was announced, so that a file of results says it, too.
    classifier = ThemeClassifier(
        names, settings, model=arguments.model, folder=series.folder, announcements=Announcements(),
        other_model=lambda model: retype(COMMAND, given, ["--model", model]),
    )  # fmt: skip
    lines, _ = load_lines(series)
    scores = classifier.score(spoken_lines(lines))
    files = scores.save(arguments.out)
    if arguments.json:
        print(json.dumps(scores.to_dict(), ensure_ascii=False))
        return DONE
    print(f"Themes of {series.title}, by {scores.method}\n\n{scores.summary()}\n")
    print(f"Written: {', '.join(map(str, files))}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main))
