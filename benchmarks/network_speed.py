"""The time from the files of a series to the page of its network: what ``benchmarks/network.py --speed`` measures.

The series is made up: 34 transcripts and 34 subtitle files of the same lines, 44,200 texts, 39 characters with 72
aliases, no scenes marked. Counted is everything after the imports: reading both kinds of files, finding scenes, names
and ties, all measures, the layout, the suggestions and the page's HTML.
"""

from __future__ import annotations

import csv
import json
import random
import statistics
import tempfile
import time
from itertools import product
from pathlib import Path

FIRST, LAST = ("Ka", "Mo", "Ri", "Te", "Su", "Bel", "Do", "Fa"), ("ran", "lin", "da", "vo", "mira")
WORDS = ("the", "door", "is", "open", "and", "we", "have", "to", "go", "now", "because", "it", "was", "never", "closed")
ROUNDS = 3


def measure_speed() -> None:
    """Seconds of each step, the median of three rounds, after all imports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = write_series(folder, random.Random(7))  # noqa: S311
        run_once(folder)  # what is imported and cached once is not counted
        rounds = [run_once(folder) for _ in range(ROUNDS)]
    reading, network, page = (statistics.median(seconds) for seconds in zip(*(r[:3] for r in rounds), strict=True))
    total = statistics.median(sum(r[:3]) for r in rounds)
    print(f"{texts} texts, {rounds[0][3]} people, page of {rounds[0][4] / 1e6:.2f} MB")
    print(f"reading {reading:.2f} s, network {network:.2f} s, page {page:.2f} s, together {total:.2f} s")


def run_once(folder: Path) -> tuple[float, float, float, int, int]:
    """Seconds of reading, of the network with its measures and of the page; people, and characters of the page."""
    from character_network.network import CharacterNetworkGenerator
    from character_network.page import build_page
    from character_network.places import load_place_names
    from character_network.recognizer import NamedEntityRecognizer
    from utils.series import load_lines, open_series, spoken_lines

    start = time.perf_counter()
    series = open_series(folder)
    spoken = spoken_lines(load_lines(series)[0])
    loaded = time.perf_counter()
    cast = series.characters.with_speakers(spoken["speaker"].value_counts())
    recognizer = NamedEntityRecognizer(cast, load_place_names(folder / "locations.jsonl"), spoken["line"].tolist())
    network = CharacterNetworkGenerator().generate(spoken, recognizer, "Speed")
    people = len(network.graph)
    generated = time.perf_counter()
    page = build_page(network)
    return loaded - start, generated - loaded, time.perf_counter() - generated, people, len(page)


def write_series(folder: Path, draw: random.Random, episodes: int = 34, rows: int = 650) -> int:
    """A series of invented people who say words: no scenes marked. Returns the number of texts."""
    names = [first + last for first, last in product(FIRST, LAST)][:39]
    cast = [
        {"name": name, "aliases": [f"{name} Holm{at}", name[:-1] + "y"][: 2 if at < 33 else 1]}
        for at, name in enumerate(names)
    ]
    (folder / "characters.jsonl").write_text("\n".join(map(json.dumps, cast)), encoding="utf-8")
    for kind in ("transcripts", "subtitles"):
        (folder / kind).mkdir()
    for episode in range(1, episodes + 1):
        said: list[tuple[str, str]] = []
        while len(said) < rows:
            present = draw.sample(names, draw.randint(2, 6))
            said += [(draw.choice(present), _sentence(draw, names)) for _ in range(draw.randint(8, 40))]
        _write_episode(folder, f"S{1 + episode // 9:02}E{episode:02}", said[:rows])
    return 2 * episodes * rows


def _write_episode(folder: Path, code: str, said: list[tuple[str, str]]) -> None:
    with (folder / "transcripts" / f"{code}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "line"), *said])
    cues = [
        f"{at}\n00:{at // 60:02}:{at % 60:02},000 --> 00:{at // 60:02}:{at % 60:02},900\n{line}\n"
        for at, (_, line) in enumerate(said, 1)
    ]
    (folder / "subtitles" / f"{code}.srt").write_text("\n".join(cues), encoding="utf-8")


def _sentence(draw: random.Random, names: list[str]) -> str:
    text = draw.choices(WORDS, k=draw.randint(4, 16))
    if draw.random() < 0.25:
        text.insert(draw.randint(1, len(text)), draw.choice(names))
    return f"{text[0].capitalize()} {' '.join(text[1:])}."
