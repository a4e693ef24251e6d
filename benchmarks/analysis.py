"""The analyses measured: themes against transformers' pipeline, the network against Renard, lines read per second.

    python benchmarks/analysis.py [--quick] [--only themes|network|loader] [--plays DIR] [--renard-python FILE]

It calls benchmarks/themes.py (what it prints is told there; a model of the shape of DistilBART with random weights is
made on the spot) and, with --plays, a folder of series with scenes.csv and copresence.csv, benchmarks/network.py;
Renard is measured where --renard-python names a Python that has renard-pipeline. Lines are read from a made-up series
of 34 transcripts and 34 subtitle files. --quick takes seconds, to see that all of it runs; its ratios mean nothing.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import network
import themes
from network_speed import write_series

from utils.series import load_lines
from utils.subtitles import read_subtitles
from utils.transcripts import read_transcript

PARTS = ("themes", "network", "loader")
EPISODES, QUICK_EPISODES = 34, 2
ROUNDS = 5


def main() -> int:
    arguments = build_parser().parse_args()
    parts = {"themes": measure_themes, "network": measure_network, "loader": measure_loader}
    for name, measure in parts.items():
        if arguments.only in ("", name):
            print(f"\n## {name}\n", flush=True)
            measure(arguments)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small models and few files")
    parser.add_argument("--only", choices=PARTS, default="", help="one of the three")
    parser.add_argument("--lines", type=int, default=24, help="scored for themes")
    parser.add_argument("--rounds", type=int, default=3, help="of the themes")
    parser.add_argument("--plays", type=Path, metavar="DIR", help="series folders with their truth, for the network")
    parser.add_argument("--renard-python", type=Path, metavar="FILE", help="a Python that has renard-pipeline")
    return parser


def measure_themes(arguments: argparse.Namespace) -> None:
    words = ["--lines", str(arguments.lines), "--rounds", str(arguments.rounds), "--pipeline-share", "3"]
    words += ["--quick"] if arguments.quick else []
    themes.measure(themes.build_parser().parse_args(words))


def measure_network(arguments: argparse.Namespace) -> None:
    if not arguments.plays:
        print("left out: it needs --plays DIR, series with scenes.csv and copresence.csv")
        return
    words = ["--data", str(arguments.plays)]
    words += ["--renard-python", str(arguments.renard_python)] if arguments.renard_python else []
    network.measure_scenes(network.build_parser().parse_args(words))


def measure_loader(arguments: argparse.Namespace) -> None:
    """Lines a second, the best of some rounds: our readers, and for scale readers that clean and report nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        episodes = QUICK_EPISODES if arguments.quick else EPISODES
        texts = write_series(folder, random.Random(7), episodes)  # noqa: S311
        tables, cues = sorted(folder.rglob("*.csv")), sorted(folder.rglob("*.srt"))
        ways: dict[str, tuple[int, Callable[[], int]]] = {
            "transcripts, ours": (texts // 2, lambda: sum(_turns(tables))),
            "transcripts, csv.DictReader": (texts // 2, lambda: sum(map(_rows_of_csv, tables))),
            "transcripts, pandas.read_csv": (texts // 2, lambda: sum(map(_rows_of_pandas, tables))),
            "subtitles, ours": (texts // 2, lambda: sum(len(read_subtitles(file, file.name).turns) for file in cues)),
            "subtitles, split at blank lines": (texts // 2, lambda: sum(map(_rows_of_split, cues))),
            "the whole series into one frame": (texts, lambda: len(load_lines(folder)[0])),
        }
        print(f"{len(tables)} transcripts, {len(cues)} subtitle files, {texts} texts\n")
        print("| reader | lines/s | lines |\n| --- | --- | --- |")
        for label, (number, read) in ways.items():
            seconds, found = _best(read)
            print(f"| {label} | {number / seconds:,.0f} | {found} |")


def _turns(files: Sequence[Path]) -> list[int]:
    return [len(read_transcript(file, file.name).turns) for file in files]


def _rows_of_csv(file: Path) -> int:
    with file.open(encoding="utf-8", newline="") as rows:
        return sum(1 for _ in csv.DictReader(rows))


def _rows_of_pandas(file: Path) -> int:
    import pandas as pd

    return len(pd.read_csv(file))


def _rows_of_split(file: Path) -> int:
    return sum(1 for block in file.read_text(encoding="utf-8").split("\n\n") if "-->" in block)


def _best(read: Callable[[], int]) -> tuple[float, int]:
    """Seconds of the fastest of some rounds, and what was found."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = read()
        seconds.append(time.perf_counter() - started)
    return min(seconds), found


if __name__ == "__main__":
    sys.exit(main())
