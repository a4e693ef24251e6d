"""Scenes and edges against truth, beside Renard's co-occurrence step, and the time from files to a network page.

    python benchmarks/network.py --data DIR          # DIR: series folders with scenes.csv and copresence.csv
    python benchmarks/network.py --data DIR --renard-python renard/bin/python     # a Python that has renard-pipeline
    python benchmarks/network.py --speed             # a made-up series of 34 transcripts and 34 subtitle files

A series folder has beside its flat transcripts scenes.csv (episode,row,scene) and copresence.csv
(source,target,scenes). Printed are the median and the mean of the series, and how many borders are found in the sample
series, whose scenes its transcripts mark, with the marks hidden. "All" and other names of several at once are nobody,
on both sides. --weights measures other weights than the project's; --half even|odd takes every second series by name,
so that weights which were fitted on one half can be measured on the other.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from character_network.agreement import Pair, copresence, edge_f1, p_k, window_diff  # noqa: E402
from character_network.name_forms import is_collective  # noqa: E402
from character_network.scene_finding import find_scenes, load_scene_model  # noqa: E402
from utils.lines import UNKNOWN  # noqa: E402
from utils.series import load_lines, open_series, spoken_lines  # noqa: E402
from utils.text import tidy_name  # noqa: E402


@dataclass(frozen=True)
class Episode:
    speakers: list[str | None]
    lines: list[str]
    scenes: list[int]


@dataclass(frozen=True)
class Play:
    name: str
    episodes: list[Episode]
    edges: Counter[Pair]


SAMPLE = PROJECT / "data" / "sample_series"
RENARD_DISTANCES = (1, 5, 10)  # turns; 1 sentence is the default of Renard's co_occurrence_pipeline
Division = Callable[[Episode], Sequence[int]]
Scores = tuple[float, float, float, float]  # of a series: weighted F1, F1, Pk, WindowDiff


def main() -> int:
    arguments = build_parser().parse_args()
    if arguments.data:
        measure_scenes(arguments)
    if arguments.speed:
        from benchmarks.network_speed import measure_speed

        measure_speed()
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of series folders with their truth")
    parser.add_argument(
        "--half", choices=("all", "even", "odd"), default="all", help="which series, by place in the list"
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="other weights of the scene model")
    parser.add_argument("--bias", type=float, default=0.0, help="added to the score of a cut (default: 0)")
    parser.add_argument("--each", action="store_true", help="also a line for each series")
    parser.add_argument("--renard-python", type=Path, metavar="FILE", help="a Python that has renard-pipeline")
    parser.add_argument("--speed", action="store_true", help="time a made-up series")
    return parser


def measure_scenes(arguments: argparse.Namespace) -> None:
    folders = sorted(folder for folder in arguments.data.iterdir() if (folder / "copresence.csv").exists())
    folders = {"all": folders, "even": folders[::2], "odd": folders[1::2]}[arguments.half]
    plays = [load_play(folder) for folder in folders]
    model = load_scene_model(arguments.weights) if arguments.weights else load_scene_model()
    model = replace(model, cut=(model.cut[0], model.cut[1] + arguments.bias))
    ways: dict[str, Division] = {
        "cut where 6 lines share nobody": cut_where_disjoint,
        "scenes found": lambda episode: find_scenes(episode.speakers, episode.lines, model=model),
        "true scenes": lambda episode: episode.scenes,
    }
    print(f"{len(plays)} series, median\n{'':<34}{'weighted F1':>12}{'F1':>8}{'Pk':>8}{'WindowDiff':>12}")
    for size in (5, 10):
        scores = [edge_f1(within(play, size), play.edges, weighted=False) for play in plays]
        print(f"{f'window of {size} lines':<34}{'-':>12}{statistics.median(scores):>8.3f}{'-':>8}{'-':>12}")
    if arguments.renard_python:
        measure_renard(arguments.renard_python, plays)
    for name, divide in ways.items():
        start = time.perf_counter()
        divided = [[divide(episode) for episode in play.episodes] for play in plays]
        seconds = time.perf_counter() - start
        rows = [score(play, scenes) for play, scenes in zip(plays, divided, strict=True)]
        print_rows(name, rows, f"   {seconds:.1f} s for all")
        if arguments.each:
            for play, row in zip(plays, rows, strict=True):
                print_rows(f"  {play.name}", [row])
    sample = load_marked_series(SAMPLE)
    print_borders("the sample series", sample, [ways["scenes found"](episode) for episode in sample.episodes])


def print_rows(name: str, rows: Sequence[Scores], note: str = "") -> None:
    """The median of each column, and the mean of the first where there are several rows."""
    columns = zip(zip(*rows, strict=True), (12, 8, 8, 12), strict=True)
    medians = "".join(f"{statistics.median(column):>{width}.3f}" for column, width in columns)
    mean = f"   mean {statistics.mean(row[0] for row in rows):.3f}" if len(rows) > 1 else ""
    print(f"{name:<34}{medians}{mean}{note}")


def print_borders(name: str, play: Play, divided: Sequence[Sequence[int]]) -> None:
    """How many borders of a series are found, how many of those that are found are wrong, and its scores."""
    right = found = true = 0
    for episode, scenes in zip(play.episodes, divided, strict=True):
        borders = set(find_borders(episode.scenes))
        cuts = find_borders(scenes)
        right, found, true = right + len(borders.intersection(cuts)), found + len(cuts), true + len(borders)
    print_rows(name, [score(play, divided)], f"   {right} of {true} borders found, {found - right} of {found} wrong")


def find_borders(scenes: Sequence[int]) -> list[int]:
    return [at for at, (first, second) in enumerate(itertools.pairwise(scenes), 1) if first != second]


def load_play(folder: Path) -> Play:
    lines = spoken_lines(load_lines(folder)[0])
    with (folder / "scenes.csv").open(encoding="utf-8", newline="") as rows:
        scenes = {(row["episode"][-2:], int(row["row"])): int(row["scene"]) for row in csv.DictReader(rows)}
    episodes = []
    for number, part in lines.groupby("episode"):
        true = [scenes[f"{number:02}", position] for position in part["position"]]
        episodes.append(Episode([person(name) for name in part["speaker"]], part["line"].tolist(), true))
    edges: Counter[Pair] = Counter()
    with (folder / "copresence.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            # The truth writes names as the source does; ours are read as the loader reads them.
            pair = sorted(person(row[end]) or "" for end in ("source", "target"))
            if pair[0] and pair[0] != pair[1]:
                edges[pair[0], pair[1]] = max(edges[pair[0], pair[1]], int(row["scenes"]))
    return Play(folder.name, episodes, edges)


def load_marked_series(folder: Path) -> Play:
    """The episodes of a series whose transcripts mark scenes; the truth is made from the marks."""
    series = open_series(folder)
    lines = spoken_lines(load_lines(series)[0])
    lines = lines[lines["scene"].notna()]
    episodes, edges = [], Counter[Pair]()
    for _, part in lines.groupby(["season", "episode"]):
        people = [series.characters.resolve(name) for name in part["speaker"]]
        speakers = [None if name == UNKNOWN else name for name in people]
        episodes.append(Episode(speakers, part["line"].tolist(), part["scene"].astype(int).tolist()))
        edges += copresence(speakers, episodes[-1].scenes)
    return Play(folder.name, episodes, edges)


def person(name: str) -> str | None:
    tidy = tidy_name(name)[0]
    return None if tidy in ("", UNKNOWN) or is_collective(tidy) else tidy


def cut_where_disjoint(episode: Episode, size: int = 6) -> list[int]:
    scenes = [1]
    for gap in range(1, len(episode.speakers)):
        before = {name for name in episode.speakers[max(0, gap - size) : gap] if name}
        after = {name for name in episode.speakers[gap : gap + size] if name}
        scenes.append(scenes[-1] + (not before & after))
    return scenes


def within(play: Play, size: int) -> Counter[Pair]:
    """Pairs who speak within so many lines, as tools do that know no scenes."""
    found: Counter[Pair] = Counter()
    for episode in play.episodes:
        for at in range(len(episode.speakers) - size + 1):
            names = sorted({name for name in episode.speakers[at : at + size] if name})
            found.update(itertools.combinations(names, 2))
    return found


def measure_renard(python: Path, plays: Sequence[Play]) -> None:
    """Renard's co-occurrence step on the same speakers, at its default of one sentence and at wider ones."""
    given = {
        "distances": RENARD_DISTANCES,
        "plays": [[episode.speakers for episode in play.episodes] for play in plays],
    }
    command = [str(python), str(Path(__file__).with_name("renard_side.py"))]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    for distance, answer in zip(RENARD_DISTANCES, json.loads(done.stdout), strict=True):
        found = [Counter({(a, b): weight for a, b, weight in edges}) for edges in answer["plays"]]
        scores = [edge_f1(edges, play.edges, weighted=False) for edges, play in zip(found, plays, strict=True)]
        name = f"Renard, {distance} turn{'s' if distance > 1 else ''} on either side"
        seconds = f"   {answer['seconds']:.1f} s for all"
        print(f"{name:<34}{'-':>12}{statistics.median(scores):>8.3f}{'-':>8}{'-':>12}{seconds}")


def score(play: Play, divided: Sequence[Sequence[int]]) -> Scores:
    """Weighted and unweighted F1 of the edges, Pk and WindowDiff, of the scenes of each episode."""
    found: Counter[Pair] = Counter()
    for episode, scenes in zip(play.episodes, divided, strict=True):
        found += copresence(episode.speakers, scenes)
    pairs = [(episode.scenes, scenes) for episode, scenes in zip(play.episodes, divided, strict=True)]
    errors = [statistics.mean(measure(true, scenes) for true, scenes in pairs) for measure in (p_k, window_diff)]
    return edge_f1(found, play.edges), edge_f1(found, play.edges, weighted=False), errors[0], errors[1]


if __name__ == "__main__":
    raise SystemExit(main())
