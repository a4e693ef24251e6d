"""Where the scenes of a series take place, from the shell.

python -m text_classification --data data/sample_series --out results/locations
python -m text_classification --data data/sample_series --out results/locations --evaluate
python -m text_classification --data data --out results/locations --label-next 10
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config import Settings, SuiteError
from utils.announcements import Announcements
from utils.command_line import DONE, Parser, add_common_arguments, build_settings, run_command
from utils.retyping import retype

if TYPE_CHECKING:
    from text_classification.evaluation import Evaluation
    from text_classification.labels import LabelStore
    from text_classification.results import LocationResults
    from text_classification.uncertainty import UncertainScene
    from utils.places import Places
    from utils.series import Series

PROGRAM = "text_classification"
TRAINED = "model"  # in the folder of results: a DistilBERT that was trained there


def build_parser() -> Parser:
    parser = Parser(prog=f"python -m {PROGRAM}", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", metavar="DIR", type=Path, help="series folder (default: paths.data)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder for locations.csv, lines.csv, locations.json, evaluation.json",
    )
    parser.add_argument(
        "--model", default="", metavar="NAME|PATH",
        help="tfidf, distilbert, mentions, majority, or a folder with a model (default: locations.model)",
    )  # fmt: skip
    parser.add_argument("--labels", type=Path, metavar="FILE.csv", help="take these labels over, then go on")
    parser.add_argument("--allow-new-places", action="store_true", help="labels may name places not in locations.jsonl")
    parser.add_argument("--evaluate", action="store_true", help="also on held-out episodes, beside the base lines")
    parser.add_argument("--label-next", type=_count, default=0, metavar="N", help="show the N least sure scenes")
    parser.add_argument("--scene-lines", type=int, metavar="N", help="lines of a stretch where no scenes are marked")
    parser.add_argument("--json", action="store_true", help="print everything as JSON instead of a table")
    add_common_arguments(parser)
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 10000")
    return int(text)


def main(given: Sequence[str]) -> int:
    arguments = build_parser().parse_args(given)
    flags = {
        "paths.data": arguments.data,
        "locations.scene_lines": arguments.scene_lines,
        "locations.allow_new_places": arguments.allow_new_places or None,
    }
    return locate(arguments, build_settings(arguments, PROGRAM, flags), given)


def locate(arguments: argparse.Namespace, settings: Settings, given: Sequence[str]) -> int:
    from text_classification.classifier import COMMAND, LocationClassifier
    from text_classification.uncertainty import most_uncertain
    from utils.places import load_places
    from utils.series import load_lines, open_series, spoken_lines

    series = open_series(settings.paths.data)
    places = load_places(series.folder / "locations.jsonl")
    lines, _ = load_lines(series)
    store = _open_labels(arguments, settings, series, places)
    # The notes of the result repeat what was announced, so that a file of results says it, too.
    classifier = LocationClassifier(
        places, settings, model=arguments.model, trained=arguments.out / TRAINED,
        resolve=series.characters.resolve, announcements=Announcements(),
        other_model=lambda model: retype(COMMAND, given, ["--model", model]),
    )  # fmt: skip
    spoken, labels = spoken_lines(lines), store.list()
    results = classifier.classify(spoken, labels)
    files, failed = results.save(arguments.out), None  # an evaluation may take long, or not be possible
    if arguments.evaluate:
        try:
            results.evaluation = classifier.evaluate(spoken, labels)
            files = results.save(arguments.out)
        except SuiteError as error:
            failed = error
    cases = most_uncertain(results, arguments.label_next)
    if arguments.json:
        print(json.dumps({**results.to_dict(), "label_next": [case.to_dict() for case in cases]}, ensure_ascii=False))
    else:
        _print_all(series.title, results, cases, store)
        print(f"\nWritten: {', '.join(map(str, files))}", flush=True)
    if failed:
        raise failed
    return DONE


def _open_labels(arguments: argparse.Namespace, settings: Settings, series: Series, places: Places) -> LabelStore:
    """The labels of the series, those of ``--labels`` taken over."""
    from text_classification.labels import LabelStore, choose_label_file

    file = choose_label_file(series.folder, arguments.out)
    store = LabelStore(file, places, settings.locations.allow_new_places)
    if arguments.labels:
        taken = store.import_csv(arguments.labels)
        told = f"{taken.added} labels added to {file}, {len(taken.changed)} changed, {taken.same} as before."
        print("\n  ".join([told, *taken.changed]), file=sys.stderr)
    return store


def _print_all(title: str, results: LocationResults, cases: list[UncertainScene], store: LabelStore) -> None:
    _print_results(title, results)
    if results.evaluation:
        _print_evaluation(results.evaluation)
    if cases:
        _print_cases(cases, store)


def _print_results(title: str, results: LocationResults) -> None:
    print(f"Locations of {title}, by {results.method}\n\n{results.summary()}\n")
    print("\n".join(results.notes[:12]))
    print(f"{results.coverage:.0%} of the predicted scenes are over the threshold of {results.threshold:g}.")
    moves = results.moves()
    if len(moves):
        first = [f"{row['from']} to {row['to']} ({row['count']})" for row in moves.head(3).to_dict("records")]
        print(f"Most frequent moves: {', '.join(first)}")


def _print_evaluation(evaluation: Evaluation) -> None:
    found = evaluation
    print(f"\nOn held-out episodes: {found.scenes} known scenes of {found.episodes} episodes; "
          f"{found.learnable:.0%} are at a place that another episode has, too.\n\n{found.table()}")  # fmt: skip
    print("\nplace, scenes, F1:  " + ", ".join(f"{p.place} {p.scenes} {p.f1:.2f}" for p in found.places))
    if found.confusions:
        wrong = [f"{pair.place} for {pair.predicted} ({pair.scenes})" for pair in found.confusions[:5]]
        print("most confused, true for predicted:  " + ", ".join(wrong))


def _print_cases(cases: list[UncertainScene], store: LabelStore) -> None:
    print("\nLabel these next:")
    for case in cases:
        likeliest = ", ".join(f"{place} {share:.2f}" for place, share in case.likeliest[:3])
        print(f"\n{case.scene.code} (first position {case.scene.first_position}): {likeliest}")
        print("\n".join(f"    {row}" for row in case.scene.text.split("\n")[:6]))
    season, episode, scene = cases[0].scene.key
    print(f"\nPut rows like these into a CSV file and give it with --labels; they are kept in {store.file}")
    print("season,episode,scene,first_position,location")
    print(f"{season},{episode},{scene},{cases[0].scene.first_position},{cases[0].guess}")


if __name__ == "__main__":
    sys.exit(run_command(main))
