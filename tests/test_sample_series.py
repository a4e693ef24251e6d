"""The series that come with the project: the sample is whole, and both descriptions are sound."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from character_chatbot.corpus import Corpus, load_corpus
from config import Settings
from utils.characters import load_cast
from utils.lines import DROPPED, FLAGGED, REPAIRED, UNKNOWN
from utils.series import load_lines, open_series

PROJECT = Path(__file__).resolve().parent.parent
DATA, SAMPLE = PROJECT / "data", PROJECT / "data" / "sample_series"
README = (SAMPLE / "README.md").read_text(encoding="utf-8")
THEMES = {"Hope", "Despair", "Trust", "Isolation", "Rebellion", "Danger", "Love", "Guilt"}
MAIN = ("Kit", "Grell", "Pip", "Dr Varga", "Rosa", "Denny", "Judge Hale", "Mabel")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus(SAMPLE)


def read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in file.read_text(encoding="utf-8").splitlines()]


def plain(text: str) -> str:
    """Lower-case words alone."""
    return " ".join(re.findall(r"\w+", text.casefold()))


# What the sample's README says


def without_repeats(corpus: Corpus) -> Any:
    """The lines as the README counts them: exact duplicates of the row above are not lines."""
    spoken = corpus.spoken
    same = spoken[["source", "speaker", "line"]].eq(spoken[["source", "speaker", "line"]].shift()).all(axis=1)
    return spoken[~same]


def test_the_sample_has_the_lines_that_its_readme_counts(corpus: Corpus) -> None:
    rows = re.findall(r"^\| S(\d\d)E(\d\d) \|.*\| `(.+?)` \|.*\| (\d+) \| (\d+) \|$", README, re.MULTILINE)
    assert len(rows) == 10
    lines = without_repeats(corpus)
    assert len(lines) == int(re.findall(r"^(\d+) spoken lines in 10 episodes", README, re.MULTILINE)[0]) == 1505
    for season, episode, file, scenes, count in rows:
        found = lines[(lines["season"] == int(season)) & (lines["episode"] == int(episode))]
        assert set(found["source"]) == {f"transcripts/{file}"}
        assert len(found) == int(count)
        assert found["scene"].nunique() in {0, int(scenes)}  # four files do not mark them
    assert lines.groupby(["season", "episode"])["scene"].nunique().eq(0).sum() == 4


def test_the_sample_has_the_speakers_that_its_readme_counts(corpus: Corpus) -> None:
    pairs = re.findall(r"\| ([A-Z(][\w ()]+?) \| (\d+) (?=\|)", README)
    counted = {name: int(count) for name, count in pairs if name in corpus.cast or name in (UNKNOWN, "(empty)")}
    counted[UNKNOWN] += counted.pop("(empty)")
    assert Counter(map(corpus.cast.resolve, without_repeats(corpus)["speaker"])) == counted


def test_the_sample_is_large_enough_to_train_on(corpus: Corpus) -> None:
    assert corpus.spoken.groupby(["season", "episode"]).ngroups >= 8
    assert len(corpus.spoken) >= 1000
    assert set(corpus.speakers(100)) == set(MAIN)
    dialogues = corpus.build_dialogues(Settings())
    assert set(MAIN) <= set(dialogues.characters)
    assert len(dialogues.training) > 800
    assert len(dialogues.held_out) > 100
    assert len(dialogues.held_out_episodes) == 2


def test_every_speaker_is_in_the_cast_or_unknown(corpus: Corpus) -> None:
    cast = load_cast(SAMPLE / "characters.jsonl")
    assert {cast.resolve(name) for name in corpus.spoken["speaker"]} == {*cast.names, UNKNOWN}


def test_the_dirt_of_the_sample_is_found_and_nothing_else_is_lost() -> None:
    _, report = load_lines(open_series(SAMPLE))
    counts = report.counts()
    transcripts = Counter((note.kind, note.reason) for note in report.notes if note.file.endswith(".csv"))
    assert transcripts[DROPPED, "heading row"] == 2
    assert transcripts[DROPPED, "empty line"] == 2
    assert sum(count for (kind, _), count in transcripts.items() if kind == DROPPED) == 4
    assert transcripts[REPAIRED, "no name"] == 8
    assert transcripts[REPAIRED, "more columns than the heading"] == 6
    assert transcripts[REPAIRED, "not UTF-8, read as cp1252"] == 1
    assert transcripts[FLAGGED, "same as the row before"] == 8
    assert transcripts[FLAGGED, "longer than one turn of speech"] == 1
    assert report.rows_in == report.rows_out + report.rows_dropped
    assert sum(counts[DROPPED].values()) == report.rows_dropped
    assert report.skipped == []


def test_example_lines_are_not_in_the_transcripts(corpus: Corpus) -> None:
    said = plain(" ".join(corpus.spoken["line"]))
    for character in load_cast(SAMPLE / "characters.jsonl"):
        for line in character.example_lines:
            assert plain(line) not in said, line


# Both descriptions


@pytest.mark.parametrize("folder", [DATA, SAMPLE], ids=["Stranger Things", "sample"])
class TestDescription:
    def test_names_and_aliases_belong_to_one_character(self, folder: Path) -> None:
        rows = read_rows(folder / "characters.jsonl")
        owners: dict[str, set[str]] = {}
        for row in rows:
            for name in (row["name"], *row["aliases"]):
                owners.setdefault(plain(name), set()).add(row["name"])
        assert {name: who for name, who in owners.items() if len(who) > 1} == {}
        assert len(load_cast(folder / "characters.jsonl")) == len(rows)  # the loader finds none either

    def test_personas_speak_to_the_character(self, folder: Path) -> None:
        for character in load_cast(folder / "characters.jsonl"):
            assert character.persona.startswith("You are "), character.name
            assert len(character.persona) < 1000, character.name

    def test_the_themes_are_the_eight(self, folder: Path) -> None:
        themes = json.loads((folder / "themes.json").read_text(encoding="utf-8"))["themes"]
        assert len(themes) == 8
        assert {theme["name"] for theme in themes} == THEMES
        for theme in themes:
            assert theme["description"]
            assert len(theme["seed_words"]) >= 8
            assert len(set(theme["seed_words"])) == len(theme["seed_words"])

    def test_locations_are_described_once(self, folder: Path) -> None:
        rows = read_rows(folder / "locations.jsonl")
        names = [name for row in rows for name in {plain(name) for name in (row["name"], *row["aliases"])}]
        assert len(rows) >= 10
        assert len(set(names)) == len(names)
        assert all(row["description"] for row in rows)

    def test_title_and_logline_are_there(self, folder: Path) -> None:
        series = open_series(folder)
        assert series.title in {"Stranger Things", "The Pellan Light"}
        assert len(series.logline) > 40


def test_stranger_things_has_its_people_under_their_names() -> None:
    cast = load_cast(DATA / "characters.jsonl")
    assert len(cast) >= 25
    assert {cast.resolve(name) for name in ("Eleven", "El", "Jane Hopper", "el", "JANE HOPPER")} == {"Eleven"}
    hopper = {cast.resolve(name) for name in ("Jim Hopper", "Hopper", "Hop", "Chief", "Chief Hopper", "hop")}
    assert len(hopper) == 1
    assert hopper != {"Eleven"}
    assert hopper < set(cast.names)
