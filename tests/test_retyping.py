"""Errors tell the whole next command, whichever program they come from."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from config import LocationSettings, PathSettings, Settings, ThemeSettings
from dashboard.pages import locations_view, theme_scoring
from dashboard.report.commands import add_report_arguments, command_words
from dashboard.source import AnalysisSource, load_source
from dashboard.uploads import Upload, read_uploads
from text_classification.classifier import LocationClassifier
from theme_classifier.classifier import ThemeClassifier
from utils.announcements import Announcements
from utils.command_line import FAILED, run_command
from utils.errors import BaseModelError, DataError
from utils.hub import HubState
from utils.places import Places
from utils.retyping import program_of, retype

OFFLINE = HubState(False, "the test has no hub")


@pytest.mark.parametrize(
    ("given", "flags", "command"),
    [
        (["--data", "my show"], ["--model", "lexical"], "run --data 'my show' --model lexical"),
        (["--model", "x", "--json"], ["--model", "lexical"], "run --json --model lexical"),
        (["--model=x", "--json"], ["--model", "lexical"], "run --json --model lexical"),
        (["--data", "a", "b", "--json"], ["--data", "c", "d"], "run --json --data c d"),
        (["--out", "x", "llama"], ["--yes"], "run --out x llama --yes"),
        (["--out", "x", "llama"], ["--out", "y"], "run llama --out y"),
    ],
)
def test_a_flag_takes_the_place_of_the_one_that_was_typed(given: list[str], flags: list[str], command: str) -> None:
    assert retype("run", given, flags) == command


def test_a_program_is_named_as_it_is_started() -> None:
    import training_pipeline
    from theme_classifier import __main__ as themes

    assert program_of(training_pipeline.main) == "python training_pipeline.py"
    assert program_of(themes.main) == "python -m theme_classifier"
    assert program_of(len) == ""


def test_a_remedy_that_is_a_flag_is_told_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    def main(given: Sequence[str]) -> int:
        raise DataError("no.", remedies=[("So", "--engine local"), ("Or", "pip install x"), ("Or", "--it's")])

    assert run_command(main, ["--series", "my shows", "--engine", "ray"]) == FAILED
    said = capsys.readouterr().err
    assert "So:  python test_retyping.py --series 'my shows' --engine local\n" in said
    assert "Or:  pip install x\n  Or:  --it's\n" in said


def test_the_theme_command_tells_itself_with_seed_words(
    series_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from theme_classifier.__main__ import main

    given = ["--data", str(series_folder(episodes=1, scenes=1)), "--out", str(tmp_path / "o"), "--themes", "Hope,Fear"]
    assert run_command(main, [*given, "--model", "./nowhere/here"]) == FAILED
    told = f"Go without:  python -m theme_classifier {' '.join(given)} --model lexical"
    assert told in capsys.readouterr().err


def test_the_location_command_tells_itself_with_tfidf(
    sample_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from text_classification.__main__ import main

    given = ["--data", str(sample_series), "--out", str(tmp_path / "o"), "--evaluate"]
    assert run_command(main, [*given, "--model", "./nowhere/here"]) == FAILED
    assert f"Go without:  python -m text_classification {' '.join(given)} --model tfidf" in capsys.readouterr().err


def test_without_a_command_line_the_commands_for_the_series_are_told(tmp_path: Path) -> None:
    settings = Settings(paths=PathSettings(data=Path("my show"), cache=tmp_path))
    themes = ThemeClassifier(["Hope"], settings, model="owner/nli", hub=lambda: OFFLINE)
    with pytest.raises(BaseModelError) as caught:
        themes.score_texts(["Hope."])
    command = "python -m theme_classifier --data 'my show' --out results/themes --model"
    assert caught.value.remedies == [
        ("To have it", f"check the connection, or give a folder with the model: {command} FOLDER"),
        ("Go without", f"{command} lexical"),
    ]
    places = LocationClassifier(Places(), settings, model=str(tmp_path))
    frame = marked_lines()
    with pytest.raises(BaseModelError) as caught:
        places.classify(frame)
    command = "python -m text_classification --data 'my show' --out results/locations --model"
    assert caught.value.remedies == [("Go without", f"{command} tfidf")]


def marked_lines() -> pd.DataFrame:
    rows = [(1, at // 8 + 1, at + 1, at, "Ann", f"Line {at}.", ("Attic", "Quay")[at % 2]) for at in range(16)]
    return pd.DataFrame(rows, columns=["season", "episode", "scene", "position", "speaker", "line", "location"])


@pytest.fixture
def source(series_folder: Callable[..., Path]) -> AnalysisSource:
    return load_source(series_folder(episodes=2, scenes=2))


def test_the_page_tells_what_to_do_there(source: AnalysisSource, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    settings = Settings(paths=PathSettings(cache=tmp_path), themes=ThemeSettings(model=str(tmp_path / "empty")))
    with pytest.raises(BaseModelError) as caught:
        theme_scoring.score_themes(source, ["Hope"], theme_scoring.MODEL, settings, lambda done, total: None)
    assert caught.value.remedies == [("Go without", 'choose "Seed words, at once"')]
    assert locations_view.other_model_of_page("tfidf") == (
        "set locations.model to tfidf in aws_config.yaml, then start the page again"
    )
    settings = Settings(locations=LocationSettings(model=str(tmp_path / "empty"), minimum_labels=1))
    with pytest.raises(BaseModelError) as caught:
        classifier = locations_view.build_classifier(source, settings, Announcements())
        classifier.classify(marked_lines())
    assert [command for _, command in caught.value.remedies] == [locations_view.other_model_of_page("tfidf")]


def test_a_report_tells_its_own_command(
    series_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import training_pipeline

    folder, out = series_folder(episodes=1, scenes=1), tmp_path / "r.html"
    given = ["report", "--data", str(folder), "--out", str(out), "--sections", "themes"]
    assert run_command(training_pipeline.main, [*given, "--theme-model", "./nowhere/here"]) == FAILED
    command = f"python training_pipeline.py {' '.join(given)} --theme-model lexical"
    assert f"Go without:  {command}" in capsys.readouterr().err
    assert run_command(training_pipeline.main, [*given[:4], str(tmp_path)]) == 2
    told = f"python training_pipeline.py report --data {folder} --out {tmp_path / 'report.html'}"
    assert f"Name a file in it:  {told}\n" in capsys.readouterr().err


def test_the_words_of_a_report_are_those_that_were_typed() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    add_report_arguments(parser)
    words = ["--data", "d", "--out", "r.html", "--themes", "A,B", "--theme-model", "lexical", "--json"]
    assert command_words(parser.parse_args(words)) == ["report", *words]


def test_a_visitors_own_file_is_told_no_command_for_the_series_of_the_page() -> None:
    upload = read_uploads([Upload("S01E01.csv", b"name,line\nAnn,Hello there.\nBo,Good day.\n")], Settings().dashboard)
    labels = locations_view.SeriesLabels(Settings())
    view = locations_view.locate(upload, labels, Settings(), lambda done, total: None)
    (step,) = view.announcements
    assert step.remedy == "put the files into a folder and start the page with it: python gradio_app.py --data FOLDER"
    assert not any("--label" in note for note in view.results.notes)
