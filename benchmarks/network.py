"""Scenes and edges against truth, and the time from files to a network page.

    python benchmarks/network.py --data DIR          # DIR: series folders with scenes.csv and copresence.csv
    python benchmarks/network.py --speed             # a made-up series of 34 transcripts and 34 subtitle files

A series folder has beside its flat transcripts scenes.csv (episode,row,scene) and copresence.csv
(source,target,scenes). Printed is the median of the series. "All" and other names of several at once are nobody, on
both sides. --weights measures other weights than the project's; --half even|odd takes every second series by name,
so that weights which were fitted on one half can be measured on the other.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402

from character_network.agreement import Pair, copresence, edge_f1, p_k, window_diff  # noqa: E402
from character_network.name_forms import is_collective  # noqa: E402
from character_network.scene_finding import SceneModel, find_scenes, load_scene_model  # noqa: E402
from utils.lines import UNKNOWN  # noqa: E402
from utils.series import load_lines, spoken_lines  # noqa: E402
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


Division = Callable[[Episode], Sequence[int]]


def main() -> int:
    arguments = build_parser().parse_args()
    if arguments.data:
        measure_scenes(arguments)
    if arguments.speed:
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
    parser.add_argument("--speed", action="store_true", help="time a made-up series")
    return parser


def measure_scenes(arguments: argparse.Namespace) -> None:
    folders = sorted(folder for folder in arguments.data.iterdir() if (folder / "copresence.csv").exists())
    folders = {"all": folders, "even": folders[::2], "odd": folders[1::2]}[arguments.half]
    plays = [load_play(folder) for folder in folders]
    model = read_model(arguments.weights) if arguments.weights else load_scene_model()
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
    for name, divide in ways.items():
        rows = [score(play, divide) for play in plays]
        print(f"{name:<34}" + "".join(f"{statistics.median(c):>{w}.3f}" for c, w in zip(zip(*rows), (12, 8, 8, 12))))  # noqa: B905
        if arguments.each:
            for play, row in zip(plays, rows, strict=True):
                print(
                    f"  {play.name:<32}"
                    + "".join(f"{value:>{w}.3f}" for value, w in zip(row, (12, 8, 8, 12), strict=True))
                )


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


def person(name: str) -> str | None:
    tidy = tidy_name(name)[0]
    return None if tidy in ("", UNKNOWN) or is_collective(tidy) else tidy


def read_model(file: Path) -> SceneModel:
    content = json.loads(file.read_text(encoding="utf-8"))
    first, second = content["cut"]
    arrays = {key: np.array(content[key]) for key in ("gap", "scene", "pair")}
    return SceneModel(least=content["least"], cut=(first, second), **arrays)


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


def score(play: Play, divide: Division) -> tuple[float, float, float, float]:
    divided = [divide(episode) for episode in play.episodes]
    found: Counter[Pair] = Counter()
    for episode, scenes in zip(play.episodes, divided, strict=True):
        found += copresence(episode.speakers, scenes)
    pairs = [(episode.scenes, scenes) for episode, scenes in zip(play.episodes, divided, strict=True)]
    errors = [statistics.mean(measure(true, scenes) for true, scenes in pairs) for measure in (p_k, window_diff)]
    return edge_f1(found, play.edges), edge_f1(found, play.edges, weighted=False), errors[0], errors[1]


def measure_speed() -> None:
    """Seconds of each step, the best of three, after all imports."""
    import jinja2  # noqa: F401
    import networkx  # noqa: F401
    import pyvis.network  # noqa: F401

    from character_network.network import CharacterNetworkGenerator
    from character_network.page import build_page
    from character_network.places import load_place_names
    from character_network.recognizer import NamedEntityRecognizer
    from utils.series import open_series

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = write_series(folder, random.Random(7))  # noqa: S311
        best = (9e9, 9e9, 9e9)
        for _ in range(3):
            start = time.perf_counter()
            series = open_series(folder)
            spoken = spoken_lines(load_lines(series)[0])
            loaded = time.perf_counter()
            cast = series.characters.with_speakers(spoken["speaker"].value_counts())
            recognizer = NamedEntityRecognizer(
                cast, load_place_names(folder / "locations.jsonl"), spoken["line"].tolist()
            )
            network = CharacterNetworkGenerator().generate(spoken, recognizer, "Speed")
            made = len(network.graph)
            generated = time.perf_counter()
            page = build_page(network)
            best = min(best, (loaded - start, generated - loaded, time.perf_counter() - generated), key=sum)
    print(f"{texts} texts, {made} people, page of {len(page) / 1e6:.2f} MB")
    print(f"reading {best[0]:.2f} s, network {best[1]:.2f} s, page {best[2]:.2f} s, together {sum(best):.2f} s")


def write_series(folder: Path, draw: random.Random, episodes: int = 34, rows: int = 650) -> int:
    """A series of invented people who say words: no scenes marked. Returns the number of texts."""
    names = [
        f"{first}{last}"
        for first in ("Ka", "Mo", "Ri", "Te", "Su", "Bel", "Do", "Fa")
        for last in ("ran", "lin", "da", "vo", "mira")
    ]
    cast = [
        {"name": name, "aliases": [f"{name} Holm{at}", name[:3] + "y"][: 2 if at < 33 else 1]}
        for at, name in enumerate(names[:39])
    ]
    words = [
        "the",
        "door",
        "is",
        "open",
        "and",
        "we",
        "have",
        "to",
        "go",
        "now",
        "because",
        "it",
        "was",
        "never",
        "closed",
    ]
    (folder / "transcripts").mkdir()
    (folder / "subtitles").mkdir()
    people = [
        {"name": row["name"], "aliases": row["aliases"][:1] if at else row["aliases"]} for at, row in enumerate(cast)
    ]
    (folder / "characters.jsonl").write_text("\n".join(map(json.dumps, people)), encoding="utf-8")
    for episode in range(1, episodes + 1):
        code, said = f"S{1 + episode // 9:02}E{episode:02}", []
        while len(said) < rows:
            present = draw.sample(names[:39], draw.randint(2, 6))
            said += [(draw.choice(present), _sentence(draw, words, names[:39])) for _ in range(draw.randint(8, 40))]
        with (folder / "transcripts" / f"{code}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("name", "line"), *said])
        cues = [
            f"{at}\n00:{at // 60:02}:{at % 60:02},000 --> 00:{at // 60:02}:{at % 60:02},900\n{line}\n"
            for at, (_, line) in enumerate(said, 1)
        ]
        (folder / "subtitles" / f"{code}.srt").write_text("\n".join(cues), encoding="utf-8")
    return 2 * episodes * rows


def _sentence(draw: random.Random, words: list[str], names: list[str]) -> str:
    text = draw.choices(words, k=draw.randint(4, 16))
    if draw.random() < 0.25:
        text.insert(draw.randint(1, len(text)), draw.choice(names))
    return " ".join(text).capitalize() + "."


if __name__ == "__main__":
    raise SystemExit(main())
