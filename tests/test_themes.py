"""Themes of a series: seed words, scenes, episodes, seasons, files, the command, and what is said without a model."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from doubles.nli_model import save_nli_model

from config import ConfigError, PathSettings, Settings, ThemeSettings, load_settings
from theme_classifier import ThemeClassifier
from theme_classifier.__main__ import build_parser, main
from theme_classifier.aggregation import roll_up
from theme_classifier.classifier import to_scores
from theme_classifier.lexical import score_by_words, word_forms
from theme_classifier.themes import COMMON, Theme, choose_themes, read_themes
from utils.command_line import run_command
from utils.errors import BaseModelError, DataError, UsageError
from utils.hub import HubState
from utils.lines import build_frame
from utils.scenes import number_scenes

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE = PROJECT / "data" / "sample_series"
OFFLINE = HubState(False, "the test has no hub")
SAID = [
    (1, 1, 1, "Ada", "We hope to find him and bring him home tonight."),
    (1, 1, 1, "Bo", "Nobody comes back from there."),
    (1, 1, 2, "Ada", "Hope!"),
    (1, 2, None, "Bo", "The lamp is lit."),
    (1, 2, None, "Ada", "I am afraid of the dark, so afraid."),
    (1, 2, None, "Bo", "The lamp is lit."),
    (2, 1, None, "Ada", "Goodbye."),
]


@pytest.fixture
def lines() -> pd.DataFrame:
    nan = float("nan")
    return build_frame([(*row[:3], at, *row[3:], nan, nan, "a.csv") for at, row in enumerate(SAID)])


def settings(tmp_path: Path, **changes: Any) -> Settings:
    themes = replace(ThemeSettings(), **({"precision": "float32"} | changes))
    return Settings(paths=PathSettings(cache=tmp_path / "cache"), themes=themes)


# Themes and seed words


def test_the_common_themes_are_there_with_words_of_their_own() -> None:
    themes = {theme.name: theme for theme in read_themes(COMMON)}
    wanted = "Hope,Despair,Friendship,Betrayal,Family,Love,Loss,Fear,Courage,Sacrifice,Growing up,Secrets,Power"
    assert {*wanted.split(","), "Good against evil", "Science and the unknown"} <= set(themes)
    assert all(10 <= len(theme.seed_words) <= 25 and theme.description for theme in themes.values())
    assert all(word == word.casefold() for theme in themes.values() for word in theme.seed_words)


def test_a_series_brings_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "themes.json").write_text(
        '{"themes": [{"name": "Hope", "seed_words": ["Lamp", "lamp", " the  sea "]}]}'
    )
    assert choose_themes(folder=tmp_path) == [Theme("Hope", "", ("lamp", "the sea"))]
    named = choose_themes(["hope", "Fear", "Weather"], tmp_path)
    assert [theme.name for theme in named] == ["Hope", "Fear", "Weather"]
    assert named[0].seed_words == ("lamp", "the sea")
    assert "afraid" in named[1].seed_words
    assert named[2] == Theme("Weather")
    assert len(choose_themes()) >= 15


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"themes": []}', '{"themes": [{"name": 3}]}', '{"themes": [{"name": ""}]}', '{"themes": ["Hope"]}',
     '{"themes": [{"name": "Hope", "seed_words": "hope"}]}', '{"themes": [{"name": "Hope"}, {"name": "HOPE"}]}'],
)  # fmt: skip
def test_a_themes_file_that_is_none_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "themes.json").write_text(content)
    with pytest.raises(DataError, match=r"themes\.json"):
        choose_themes(folder=tmp_path)


@pytest.mark.parametrize("names", [["Hope", "hope "], [""], ["x" * 101], ["a\x00b"]])
def test_a_theme_that_cannot_be_is_said(names: list[str]) -> None:
    with pytest.raises(DataError):
        ThemeClassifier(names)


def test_the_lexical_score_is_the_stated_formula() -> None:
    texts = ["hope and fear", "nothing here at all", "hope hope"]
    found = score_by_words(texts, [Theme("Hope", "", ("hope", "miracle"))])[:, 0]
    rarity = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)) / np.log(1 + 3.5 / 0.5)
    for score, hits, words in zip(found, [1, 0, 2], [3, 4, 2], strict=True):
        assert score == pytest.approx(hits * rarity / (hits * rarity + 1.2 * (0.25 + 0.75 * words / 3)))


def test_forms_phrases_and_borders_of_words() -> None:
    theme = Theme("T", "", ("hope", "cry", "give up", "kiss"))

    def hit(text: str) -> bool:
        return bool(score_by_words([text, "other"], [theme])[0, 0] > 0)

    assert all(map(hit, ["HOPING", "we hoped", "she cries", "Give up!", "kisses", "hope's end"]))
    assert not any(map(hit, ["hopeless", "give it up", "crypt", "", "♪"]))
    assert hit("no hope")  # negation is ignored, as is said
    assert "studied" in word_forms("study")
    assert score_by_words([], [theme]).shape == (0, 1)


def test_a_theme_without_words_counts_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    classifier = ThemeClassifier(["Weather"], model="lexical")
    assert classifier.score_texts(["The weather turns.", "Well."])["Weather"].tolist()[0] > 0
    assert "No seed words for Weather" in caplog.text


# Scenes, episodes, seasons


def test_scenes_are_those_of_the_file_or_stretches(lines: pd.DataFrame) -> None:
    scenes, unmarked = number_scenes(lines, 2)
    assert scenes.tolist() == [1, 1, 2, 1, 1, 2, 1]
    assert unmarked == 2
    lines.loc[1, "scene"] = pd.NA
    lines.loc[0, "scene"] = pd.NA
    assert number_scenes(lines, 2)[0].tolist()[:3] == [2, 2, 2]


def test_a_group_has_the_mean_weighted_by_words_and_its_top_lines(lines: pd.DataFrame) -> None:
    scores = pd.DataFrame({"Hope": [0.5, 0.0, 1.0, 0.2, 0.1, 0.2, 0.0]}, index=lines.index)
    found = roll_up(lines, scores, ["season", "episode"], 2)
    assert found["score"].tolist() == pytest.approx([(10 * 0.5 + 1 * 1.0) / 16, (4 * 0.2 * 2 + 8 * 0.1) / 16, 0.0])
    assert [line["line"] for line in found.loc[0, "lines"]] == ["Hope!", SAID[0][4]]
    assert [line["line"] for line in found.loc[1, "lines"]] == ["The lamp is lit.", SAID[4][4]]  # each text once
    assert found.loc[2, "lines"] == []
    assert found.loc[0, "lines"][0] == {
        "season": 1, "episode": 1, "position": 2, "speaker": "Ada", "line": "Hope!", "score": 1.0
    }  # fmt: skip


def test_all_levels_come_in_one_frame(lines: pd.DataFrame) -> None:
    scores = ThemeClassifier(["Hope", "Fear"], model="lexical").score(lines)
    assert list(scores.frame.columns) == ["season", "episode", "scene", "theme", "score", "lines"]
    assert (len(scores.scenes), len(scores.episodes), len(scores.seasons)) == (4 * 2, 3 * 2, 2 * 2)
    assert scores.frame["score"].between(0, 1).all()
    assert scores.themes == ["Hope", "Fear"]
    speakers = scores.by(["speaker"], 1).set_index(["speaker", "theme"])
    assert speakers.loc[("Ada", "Fear"), "score"] > speakers.loc[("Bo", "Fear"), "score"] == 0
    assert any("2 episodes mark no scenes" in note for note in scores.notes)


def test_a_theme_may_be_named_as_a_column(lines: pd.DataFrame, tmp_path: Path) -> None:
    scores = ThemeClassifier(["season", "line", "score"], model="lexical").score(lines)
    assert set(scores.frame["theme"]) == {"season", "line", "score"}
    scores.save(tmp_path)
    assert "line (theme)" in pd.read_csv(tmp_path / "lines.csv").columns


def test_scenes_found_elsewhere_are_taken(lines: pd.DataFrame) -> None:
    classifier = ThemeClassifier(["Hope"], model="lexical")
    scores = classifier.score(lines, scenes=[7, 7, 7, 1, 2, 3, 1])
    assert scores.scenes["scene"].tolist() == [7, 1, 2, 3, 1]
    assert scores.notes == []
    with pytest.raises(ValueError, match="2 scenes for 7 lines"):
        classifier.score(lines, scenes=[1, 2])


def test_one_theme_or_many_of_one_whole() -> None:
    logits = np.array([[[2.0, 1.0], [0.0, 3.0]]])
    assert to_scores(logits, True)[0] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(3))])
    assert to_scores(logits, False)[0] == pytest.approx([np.exp(2) / (np.exp(2) + 1), 1 / (np.exp(2) + 1)])
    assert to_scores(logits[:, :1], False)[0] == pytest.approx([1 / (1 + np.exp(-1))])
    assert np.isfinite(to_scores(np.array([[[900.0, 0], [-900.0, 0]]]), False)).all()


# What scores


def test_making_one_loads_and_asks_nothing() -> None:
    def never() -> HubState:
        raise AssertionError("asked the hub")

    classifier = ThemeClassifier(["Hope", "Despair"], hub=never)
    assert classifier.names == ["Hope", "Despair"]
    assert classifier.method == "not yet chosen"
    program = "import sys; from theme_classifier import ThemeClassifier; ThemeClassifier(['Hope']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "pandas", "numpy"} & set(done.stdout.split()) == set()


def test_without_a_hub_seed_words_are_used_and_it_is_said(lines: pd.DataFrame, tmp_path: Path) -> None:
    classifier = ThemeClassifier(["Hope"], settings(tmp_path), hub=lambda: OFFLINE)
    scores = classifier.score(lines)
    (announcement,) = classifier.announcements
    assert announcement.wanted == "valhalla/distilbart-mnli-12-3"
    assert announcement.why == "the test has no hub"
    assert classifier.method == scores.method == "seed words"
    assert str(announcement) in scores.notes
    assert not (tmp_path / "cache").exists()


def test_a_model_asked_for_by_name_must_be_had(tmp_path: Path) -> None:
    classifier = ThemeClassifier(["Hope"], settings(tmp_path), model="owner/nli", hub=lambda: OFFLINE)
    with pytest.raises(BaseModelError, match="owner/nli cannot be had: the test has no hub"):
        classifier.score_texts(["Hope."])


def test_a_model_in_a_folder_scores(tmp_path: Path, lines: pd.DataFrame) -> None:
    folder = save_nli_model(tmp_path / "nli")
    classifier = ThemeClassifier(["Hope", "Fear"], settings(tmp_path, model=str(folder)), hub=lambda: OFFLINE)
    scores = classifier.score(lines)
    assert scores.method == f"{folder}, float32"
    assert len(classifier.announcements) == 0
    assert scores.line_scores.nunique().min() == len({row[4] for row in SAID})


@pytest.mark.parametrize("template", ["about nothing", "{} and {}", "{0}", "{"])
def test_a_template_without_a_place_is_said(tmp_path: Path, template: str) -> None:
    with pytest.raises(UsageError, match="hypothesis_template"):
        ThemeClassifier(["Hope"], settings(tmp_path, hypothesis_template=template))


class LabelPipeline:
    """As gliclass has it: for each text a list of labels with scores; those under the threshold are left out."""

    calls: list[list[str]] = []  # noqa: RUF012

    def __init__(self, model: object, tokenizer: object, **options: object) -> None:
        assert options["classification_type"] == "multi-label"

    def __call__(
        self, texts: list[str], labels: list[str], threshold: float, batch_size: int
    ) -> list[list[dict[str, Any]]]:
        self.calls.append(texts)
        return [[{"label": label, "score": len(text) / 100} for label in labels[:1]] for text in texts]


def label_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "GLiClass"}')
    return folder


def test_a_label_model_without_its_package_is_said(tmp_path: Path) -> None:
    folder = label_model(tmp_path / "labels")
    classifier = ThemeClassifier(["Hope"], settings(tmp_path, model=str(folder)), hub=lambda: OFFLINE)
    classifier.score_texts(["Hope."])
    (announcement,) = classifier.announcements
    assert announcement.remedy == "pip install gliclass"


def test_a_label_model_reads_each_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    from theme_classifier import single_pass

    def tokenize(text: str, **options: object) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    found = types.SimpleNamespace(from_pretrained=lambda *given, **named: types.SimpleNamespace(eval=lambda: None))
    words = types.SimpleNamespace(from_pretrained=lambda *given, **named: tokenize)
    package = types.SimpleNamespace(GLiClassModel=found, ZeroShotClassificationPipeline=LabelPipeline)
    monkeypatch.setitem(sys.modules, "gliclass", package)
    monkeypatch.setattr(single_pass, "is_installed", lambda: True)
    monkeypatch.setattr(transformers, "AutoTokenizer", words)
    monkeypatch.setattr(single_pass, "LONGEST", 9)  # leaves three words for the text
    monkeypatch.setattr(LabelPipeline, "calls", [])
    folder, texts = label_model(tmp_path / "labels"), ["x" * 30, "y" * 60, "x" * 30]
    for _ in range(2):
        classifier = ThemeClassifier(["Hope", "Fear"], settings(tmp_path, model=str(folder)), hub=lambda: OFFLINE)
        assert classifier.score_texts(texts)["Hope"].tolist() == pytest.approx([0.3, 0.6, 0.3])
        assert classifier.score_texts(texts)["Fear"].tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert LabelPipeline.calls == [texts[:2]]
    long = ThemeClassifier(["Hope", "Fear"], settings(tmp_path, model=str(folder)), hub=lambda: OFFLINE)
    mean = 1 / (1 + np.exp(-(3 * np.log(0.1 / 0.9) + np.log(0.2 / 0.8)) / 4))
    assert long.score_texts(["aaa bbb cc " + "d" * 20])["Hope"].tolist() == pytest.approx([mean])
    assert LabelPipeline.calls[1:] == [["aaa bbb cc", "d" * 20]]


# Files and the command


def test_the_command_writes_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--data", str(SAMPLE), "--out", str(tmp_path / "out"), "--themes", "Hope, Fear", "--model", "lexical"]
    assert run_command(main, given) == 0
    shown = capsys.readouterr().out
    assert "S01E01" in shown and "S02E02" in shown and "seed words" in shown
    table = pd.read_csv(tmp_path / "out" / "themes.csv")
    assert list(table.columns) == ["season", "episode", "scene", "theme", "score", "lines"]
    assert set(table["theme"]) == {"Hope", "Fear"}
    assert set(pd.read_csv(tmp_path / "out" / "lines.csv").columns) >= {"speaker", "line", "Hope", "Fear"}
    written = json.loads((tmp_path / "out" / "themes.json").read_text())
    assert run_command(main, [*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written
    assert len(written["scores"]) == len(table)
    season = next(row for row in written["scores"] if row["episode"] is None)
    assert season["scene"] is None and season["lines"]


def test_the_command_takes_a_model_from_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_nli_model(tmp_path / "nli", positions=256)
    given = ["--data", str(SAMPLE), "--out", str(tmp_path), "--themes", "Hope", "--model", str(folder)]
    assert run_command(main, [*given, "--precision", "float32"]) == 0
    assert "float32" in capsys.readouterr().out


def test_wrong_use_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--data", str(SAMPLE), "--out", str(tmp_path)]
    assert run_command(main, [*given, "--model", "nonsense"]) == 1
    assert run_command(main, ["--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 1
    assert run_command(main, [*given, "--scene-lines", "0"]) == 2
    shown = capsys.readouterr().err
    assert "no model 'nonsense'" in shown and "no series folder" in shown and "Traceback" not in shown
    with pytest.raises(ConfigError, match="int4"):
        load_settings(flags={"themes.precision": "int4"})


def test_help_is_quick_to_import() -> None:
    program = "import sys, theme_classifier.__main__ as m; m.build_parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "pandas", "numpy", "tqdm"} & set(done.stdout.split()) == set()
    assert "--themes" in build_parser().format_help()
