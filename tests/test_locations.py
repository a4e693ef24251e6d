"""Locations: the column of the lines, scenes and their marks, models, calibration, evaluation, results, the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from config import LocationSettings, Settings
from text_classification import LocationClassifier, most_uncertain
from text_classification.__main__ import main
from text_classification.calibration import (
    expected_calibration_error,
    fit_calibrated,
    fit_temperature,
    grouped_folds,
    held_out,
    scale,
)
from text_classification.evaluation import confusion_matrix, interval, is_known, macro_f1
from text_classification.labels import Label
from text_classification.majority import MajorityClassifier
from text_classification.mentions import MentionClassifier, PlaceFinder
from text_classification.scene_texts import build_scenes, split_turns
from text_classification.tfidf import TfidfClassifier
from text_classification.uncertainty import measure_uncertainty
from utils.announcements import Announcements
from utils.command_line import run_command
from utils.errors import BaseModelError, DataError, UsageError
from utils.hub import HubState
from utils.lines import UNKNOWN, build_frame
from utils.places import Place, Places, load_places
from utils.series import load_lines, spoken_lines

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE, DATA = PROJECT / "data" / "sample_series", PROJECT / "data"
OFFLINE = HubState(False, "the test has no hub")
NAN = float("nan")
PLACES = Places([Place("Kitchen", ("the kitchen",)), Place("Harbour", ("The Quay",)), Place("Attic")])
SAID = {
    "Kitchen": ["Stir the soup.", "The oven is hot.", "More salt in the soup.", "Bread from the oven."],
    "Harbour": ["The boat is in.", "Pull the rope.", "Nets and rope and fish.", "The boat leaves."],
}


def settings(**changes: Any) -> Settings:
    return Settings(
        locations=LocationSettings(**({"resamples": 50, "minimum_labels": 4, "folds": 2, "inner_folds": 2} | changes))
    )


def series_frame(episodes: int = 4, marked: int = 4) -> pd.DataFrame:
    """Two scenes an episode, one in the kitchen and one at the harbour; the first ``marked`` episodes say so."""
    rows = [
        (1, episode, scene, 2 * (scene - 1) + at, who, said[(episode + at) % 4], NAN, NAN, f"{episode}.csv",
         place if episode <= marked else "")
        for episode in range(1, episodes + 1)
        for scene, (place, said) in enumerate(SAID.items(), 1)
        for at, who in enumerate(["Ada", "Bo"])
    ]  # fmt: skip
    return build_frame(rows)


# The column


def read(tmp_path: Path, text: str) -> tuple[pd.DataFrame, Any]:
    (tmp_path / "S01E01.csv").write_text(text, encoding="utf-8")
    return load_lines(tmp_path)


@pytest.mark.parametrize("heading", ["location", "Place", "setting"])
def test_the_location_of_a_row_is_read_and_shared_within_its_scene(tmp_path: Path, heading: str) -> None:
    lines, report = read(
        tmp_path, f"scene,{heading},name,line\n1, The  Quay ,A,Hi.\n1,,B,Yes.\n2,,A,No.\n2,Attic,B,O.\n"
    )
    assert lines["location"].tolist() == ["The Quay", "The Quay", "Attic", "Attic"]
    assert list(lines.columns)[-1] == "location"
    assert not report.notes


def test_two_locations_in_one_scene_are_flagged_and_kept(tmp_path: Path) -> None:
    lines, report = read(tmp_path, "scene,location,name,line\n1,Quay,A,Hi.\n1,Attic,B,Yes.\n1,,A,No.\n1,QUAY,B,Oh.\n")
    assert lines["location"].tolist() == ["Quay", "Attic", "", "QUAY"]
    assert [(note.reason, note.text) for note in report.notes] == [
        ("two locations in one scene", "scene 1: Quay, Attic")
    ]


def test_without_a_column_and_in_subtitles_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "S01E02.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello.\n", encoding="utf-8")
    lines, _ = read(tmp_path, "name,line\nA,Hi.\n")
    assert lines["location"].tolist() == ["", ""]
    assert build_frame([(1, 1, None, 0, "A", "Hi.", NAN, NAN, "a.csv")])["location"].tolist() == [""]


def test_the_sample_marks_five_episodes_with_known_places() -> None:
    lines = spoken_lines(load_lines(SAMPLE)[0])
    places = load_places(SAMPLE / "locations.jsonl")
    marked = lines[lines["location"] != ""]
    assert marked.groupby(["season", "episode"]).ngroups == 5
    assert all(map(places.knows, marked["location"]))
    assert (marked.groupby(["season", "episode", "scene"])["location"].nunique() == 1).all()


# Places and scenes


def test_places_answer_to_all_their_names(tmp_path: Path) -> None:
    assert PLACES.resolve("the  QUAY") == "Harbour"
    assert PLACES.resolve("Old  Mill") == "Old Mill"
    assert PLACES.nearest("kitchn") == "Kitchen"
    assert len(load_places(tmp_path / "none")) == 0
    (tmp_path / "bad").write_text('{"name": "A"}\n[1]\n')
    with pytest.raises(DataError, match="bad, row 2"):
        load_places(tmp_path / "bad")


def test_scenes_hold_their_turns_and_never_their_mark() -> None:
    scenes, numbers = build_scenes(series_frame(1), PLACES, 20)
    assert [scene.location for scene in scenes] == ["Kitchen", "Harbour"]
    assert numbers.tolist() == [1, 1, 2, 2]
    assert scenes[1].first_position == 2
    assert scenes[0].text == "Ada: The oven is hot.\nBo: More salt in the soup."
    assert split_turns(scenes[0].text) == (["Ada", "Bo"], ["The oven is hot.", "More salt in the soup."])
    assert not any("Kitchen" in scene.text for scene in scenes)


def test_the_mark_changes_no_feature() -> None:
    marked, bare = (build_scenes(series_frame(4, count), PLACES, 20)[0] for count in (4, 0))
    assert [scene.text for scene in marked] == [scene.text for scene in bare]


def test_where_no_scenes_are_marked_lines_and_locations_make_them() -> None:
    frame = series_frame(2).assign(scene=pd.array([pd.NA] * 8, dtype="Int64"))
    scenes, _ = build_scenes(frame, PLACES, 20)
    assert [(scene.scene, scene.location, scene.marked) for scene in scenes[:2]] == [
        (1, "Kitchen", True), (2, "Harbour", True),
    ]  # fmt: skip
    stretches, _ = build_scenes(frame.assign(location=""), PLACES, 3)
    assert [(s.episode, s.scene, len(s.turns), s.marked) for s in stretches] == [
        (1, 1, 3, False), (1, 2, 1, False), (2, 1, 3, False), (2, 2, 1, False),
    ]  # fmt: skip
    assert all(scene.text.count("\n") == len(scene.turns) - 1 for scene in stretches)


# Models


def test_names_of_places_are_found_by_the_stated_rules() -> None:
    finder = PlaceFinder(
        Places([Place("The Lab", ("the lab", "Hawkins Lab")), Place("Mike's Basement"), Place("Gate")])
    )
    assert finder.count("Back to THE LAB and Hawkins Lab!") == {"The Lab": 2}
    assert finder.count("the labour of Gateshead, an open gate, they bathe lab rats, a FloodGate") == {}
    assert finder.count("In Mike’s Basement. The Gate's open.") == {"Mike's Basement": 1, "Gate": 1}
    longest = PlaceFinder(Places([Place("House"), Place("House of Ada")]))
    assert longest.count("The House Of Ada") == {"House of Ada": 1}
    assert PlaceFinder(Places()).count("anywhere") == {}


def test_mentions_give_the_stated_probability() -> None:
    model = MentionClassifier(PLACES)
    found = dict(
        zip(model.classes, model.predict_proba(["Ada: To The Quay, and the kitchen, The Quay!"])[0], strict=True)
    )
    third = 1 / 3
    expected = {"Attic": third / 4, "Harbour": (2 + third) / 4, "Kitchen": (1 + third) / 4}
    assert found == pytest.approx(expected)
    assert model.predict_proba(["Kitchen: Hello."])[0].tolist() == pytest.approx([third] * 3)  # a speaker's name


def training() -> tuple[list[str], list[str], list[int]]:
    scenes, _ = build_scenes(series_frame(4), PLACES, 20)
    return [s.text for s in scenes], [s.location for s in scenes], [s.episode for s in scenes]


def test_tfidf_learns_and_never_invents_a_place() -> None:
    texts, labels, _ = training()
    model = TfidfClassifier(10.0)
    model.fit(texts, labels)
    assert model.classes == ["Harbour", "Kitchen"]
    found = model.predict_proba(["Cy: A boat and a rope.", "Cy: Hot soup."])
    assert found.argmax(axis=1).tolist() == [0, 1]
    assert found.sum(axis=1) == pytest.approx([1, 1])


def test_as_many_places_as_scenes_are_no_warning() -> None:
    texts = [f"{text} {number}" for number, text in enumerate(training()[0] * 3)]
    places = [f"place {number:02}" for number in range(len(texts))]
    model = TfidfClassifier(10.0)
    model.fit(texts, places)  # warnings are errors here
    assert model.classes == places
    plain = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000)
    with pytest.warns(UserWarning, match="number of unique classes"):
        plain.fit(model._span.scenes, places)
    assert model.predict_proba(texts) == pytest.approx(plain.predict_proba(model._span.scenes), abs=1e-3)


def test_tfidf_in_the_span_of_the_scenes_is_the_regression_on_the_features() -> None:
    texts, labels, _ = training()
    model = TfidfClassifier(10.0, PLACES)
    model.fit(texts, labels)
    union = model._build_features()
    plain = LogisticRegression(C=10.0, class_weight="balanced", max_iter=5000, tol=1e-8)
    plain.fit(union.fit_transform(texts), labels)
    asked = ["Ada: The boat, the rope.", "Cy: Salt, and the kitchen."]
    assert model.predict_proba(asked) == pytest.approx(plain.predict_proba(union.transform(asked)), abs=1e-3)


def test_weights_count() -> None:
    model = MajorityClassifier()
    model.fit(["a", "b", "c"], ["X", "Y", "Y"], [6.0, 1.0, 1.0])
    assert model.predict_proba([""]).tolist() == [[0.75, 0.25]]


# Calibration


def test_temperature_makes_a_model_that_is_too_sure_less_sure() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 4))
    honest = scale(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1.0)
    truth = np.array([rng.choice(4, p=row) for row in honest])
    sure = scale(honest, 1 / 3)
    assert fit_temperature(sure, truth) == pytest.approx(3.0, rel=0.1)
    assert fit_temperature(sure[:4], truth[:4]) == 1.0
    assert (sure.argmax(axis=1) == honest.argmax(axis=1)).all()
    right = sure.argmax(axis=1) == truth
    assert expected_calibration_error(honest.max(axis=1), right) < 0.03
    assert expected_calibration_error(sure.max(axis=1), right) > 0.15
    assert scale(np.array([[1.0, 0.0]]), 20.0).tolist() == [[1.0, 0.0]]


def test_folds_keep_episodes_whole() -> None:
    groups = ["a", "b", "a", "c", "d", "a"]
    folds = grouped_folds(groups, 2)
    assert sorted(at for fold in folds for at in fold) == list(range(6))
    assert all(
        {groups[at] for at in fold}.isdisjoint(groups[at] for at in folds[1 - n]) for n, fold in enumerate(folds)
    )
    assert len(grouped_folds(groups, 9)) == 4


class Memory:
    """Knows the texts it was fitted to and nothing else: right on held-out texts means that they leaked."""

    name = "memory"

    def __init__(self) -> None:
        self.classes: list[str] = []

    def fit(self, texts: Any, labels: Any, weights: Any = None, groups: Any = None) -> None:
        self.classes, self._known = sorted(set(labels)), dict(zip(texts, labels, strict=True))

    def predict_proba(self, texts: Any) -> np.ndarray:
        even = np.full(len(self.classes), 1 / len(self.classes))
        rows = [
            np.eye(len(self.classes))[self.classes.index(self._known[t])] if t in self._known else even for t in texts
        ]
        return np.array(rows)


def test_what_is_held_out_is_not_seen() -> None:
    texts = [f"text {number}" for number in range(8)]
    labels, groups = ["X", "Y"] * 4, [0, 0, 1, 1, 2, 2, 3, 3]
    found, truth = held_out(Memory, texts, labels, groups, 4)
    assert found.tolist() == [[0.5, 0.5]] * 8
    assert truth.tolist() == [0, 1] * 4
    assert held_out(Memory, texts, ["Z", *labels[1:]], groups, 4)[0].shape[0] == 7  # Z is nowhere else


def test_the_penalty_is_chosen_on_held_out_episodes() -> None:
    texts, labels, groups = training()
    makers = [lambda: TfidfClassifier(1e-4), lambda: TfidfClassifier(10.0)]
    fitted = fit_calibrated(makers, texts, labels, groups, 4)
    assert fitted.model.strength == 10.0  # type: ignore[attr-defined]
    assert "held-out" in " ".join(fitted.notes)


# Evaluation


def test_macro_f1_by_hand() -> None:
    truth, guess = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    matrix = confusion_matrix(truth, guess, 4)
    assert macro_f1(matrix) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)  # class 3 does not occur in the truth
    low, high = interval(truth, guess, ["a", "a", "b", "b"], places=4, resamples=200, seed=1)
    assert low <= macro_f1(matrix) <= high
    assert interval(truth, guess, ["a", "a", "b", "b"], places=4, resamples=200, seed=1) == (low, high)


def test_a_tie_and_what_is_under_the_threshold_are_not_known() -> None:
    rows = np.array([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.2, 0.5, 0.3]])
    assert is_known(rows, 0.45).tolist() == [False, False, True]


def test_an_evaluation_stands_beside_the_base_lines_and_is_repeatable() -> None:
    frame = series_frame(4)
    found = LocationClassifier(PLACES, settings(), model="tfidf").evaluate(frame)
    assert [model.model for model in found.models] == ["tfidf", "mentions", "majority"]
    assert found.models[0].macro_f1 > found.models[2].macro_f1
    assert found.models[2].accuracy == 0.5
    assert all(model.low <= model.macro_f1 <= model.high for model in found.models)
    assert (found.scenes, found.episodes, found.learnable) == (8, 4, 1.0)
    again = LocationClassifier(PLACES, settings(), model="tfidf").evaluate(frame)
    assert again.to_dict() == found.to_dict()
    json.dumps(found.to_dict())


def test_nothing_to_evaluate_is_said() -> None:
    with pytest.raises(DataError, match="0 scenes"):
        LocationClassifier(PLACES, settings(), model="mentions").evaluate(series_frame(2, 0))


# The classifier


def test_marks_labels_and_predictions_are_told_apart() -> None:
    heard = Announcements(quiet=True)
    labels = [Label(1, 1, 1, None, "Attic"), Label(1, 5, 1, 0, "the kitchen"), Label(1, 9, 1, None, "Attic")]
    results = LocationClassifier(PLACES, settings(), announcements=heard).classify(series_frame(6), labels)
    frame = results.frame.set_index(["episode", "scene"])
    assert frame.loc[(1, 1), ["location", "source"]].tolist() == ["Attic", "labelled"]  # a label wins over a mark
    assert frame.loc[(5, 1), ["location", "source"]].tolist() == ["Kitchen", "labelled"]
    assert frame.loc[(2, 2), ["location", "source"]].tolist() == ["Harbour", "marked"]
    assert frame.loc[(6, 2), "source"] == "predicted"
    assert frame.loc[(6, 2), "guess"] == "Harbour"
    assert any("S01E09 scene 1 (Attic) fits no scene" in note for note in results.notes)
    assert [each.feature for each in heard] == ["locations"]
    command, then = next(iter(heard)).remedy.split("; ")
    assert command == "python -m text_classification --data data --out results/locations --model distilbert"
    assert then == "then set locations.model to results/locations/model"
    assert results.probabilities.sum(axis=1).tolist() == pytest.approx([1] * 12)


def test_below_the_threshold_it_is_unknown_and_coverage_says_so() -> None:
    results = LocationClassifier(PLACES, settings(least_probability=1.0), model="tfidf").classify(series_frame(6))
    predicted = results.frame[results.frame["source"] == "predicted"]
    assert set(predicted["location"]) == {UNKNOWN}
    assert results.coverage == 0.0
    assert set(predicted["guess"]) == {"Kitchen", "Harbour"}


def test_without_labels_the_names_of_places_answer() -> None:
    heard = Announcements(quiet=True)
    frame = series_frame(2, 0)
    frame.loc[0, "line"] = "Come into the kitchen."
    results = LocationClassifier(PLACES, settings(), announcements=heard).classify(frame)
    assert results.frame["location"].tolist() == ["Kitchen", UNKNOWN, UNKNOWN, UNKNOWN]
    told = next(iter(heard))
    assert told.got == "the places that are named"
    assert "--label-next" in told.remedy
    empty = LocationClassifier(None, settings(), announcements=heard).classify(frame)
    assert set(empty.frame["location"]) == {UNKNOWN}
    assert any("locations.jsonl" in note for note in empty.notes)
    json.dumps(empty.to_dict())


def test_a_model_that_was_asked_for_must_be_had() -> None:
    with pytest.raises(DataError, match="0 scenes have a known place"):
        LocationClassifier(PLACES, settings(), model="tfidf").classify(series_frame(2, 0))
    wanted = LocationClassifier(PLACES, settings(), model="distilbert", hub=lambda: OFFLINE)
    with pytest.raises(BaseModelError, match="distilbert-base-uncased cannot be had: the test has no hub"):
        wanted.classify(series_frame(4))
    with pytest.raises(BaseModelError, match="nosuch cannot be had") as caught:
        LocationClassifier(PLACES, settings(), model="nosuch", hub=lambda: OFFLINE).classify(series_frame(4))
    assert "tfidf" in str(caught.value)
    with pytest.raises(BaseModelError, match="no model"):
        LocationClassifier(PLACES, settings(), model="./nowhere/here").classify(series_frame(4))


def test_a_model_of_the_settings_steps_down() -> None:
    heard = Announcements(quiet=True)
    chosen = LocationClassifier(PLACES, settings(model="distilbert"), announcements=heard, hub=lambda: OFFLINE)
    assert chosen.classify(series_frame(4)).method == "TF-IDF with logistic regression"
    assert "the test has no hub" in str(next(iter(heard)))


# Results


def test_who_is_where_and_moves() -> None:
    results = LocationClassifier(PLACES, settings(), model="mentions").classify(series_frame(3, 2))
    who = results.who_is_where()
    assert who.iloc[0].to_dict() == {"speaker": "Ada", "location": "Harbour", "lines": 2, "share": pytest.approx(2 / 6)}
    assert results.who_is_where(unknown=True)["lines"].sum() == 12
    assert results.moves().to_dict("records") == [
        {"from": "Kitchen", "to": "Harbour", "count": 2}
    ]  # none across episodes
    assert results.by_line()["location"].tolist() == [*(["Kitchen"] * 2 + ["Harbour"] * 2) * 2, *[UNKNOWN] * 4]


def test_the_least_sure_come_first() -> None:
    results = LocationClassifier(PLACES, settings(), model="tfidf").classify(series_frame(6))
    cases = most_uncertain(results, 3)
    assert [case.scene.episode > 4 for case in cases] == [True] * 3
    uncertain = [round(case.uncertainty, 6) for case in cases]
    assert uncertain == sorted(uncertain, reverse=True)
    assert cases[0].guess in cases[0].to_dict()["likeliest"]  # type: ignore[operator]
    assert cases[0].to_dict()["text"] == cases[0].scene.text
    assert cases[0].label("Attic").location == "Attic"
    shares = np.array([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]])
    assert measure_uncertainty(shares, "entropy")[:2].tolist() == pytest.approx([0, 1])
    assert measure_uncertainty(shares, "margin").tolist() == pytest.approx([0, 1, 0.2])
    with pytest.raises(UsageError, match="entropy, margin"):
        most_uncertain(results, 1, "size")


# The command


def write_series(folder: Path, marked: int = 4) -> Path:
    folder.mkdir()
    for episode, group in series_frame(5, marked).groupby("episode"):
        table = group[["scene", "location", "speaker", "line"]]
        (folder / f"S01E0{episode}.csv").write_text(table.to_csv(index=False), encoding="utf-8")
    rows = [{"name": place.name, "aliases": list(place.aliases)} for place in PLACES]
    (folder / "locations.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"MINIMUM_LABELS": 4, "FOLDS": 2, "INNER_FOLDS": 2, "RESAMPLES": 50}.items():
        monkeypatch.setenv(f"STRANGER_LOCATIONS__{name}", str(value))


def test_the_command_writes_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_series(tmp_path / "series"), tmp_path / "out"
    assert run_command(main, ["--data", str(data), "--out", str(out), "--evaluate", "--label-next", "1"]) == 0
    told = capsys.readouterr().out
    assert "macro F1" in told
    assert "Label these next" in told
    assert len(pd.read_csv(out / "locations.csv")) == 10
    lines = pd.read_csv(out / "lines.csv")
    assert list(lines.columns) == ["season", "episode", "scene", "speaker", "line", "location"]
    assert len(lines) == 20
    assert json.loads((out / "evaluation.json").read_text())["scenes"] == 8
    assert json.loads((out / "locations.json").read_text())["scenes"][0]["source"] == "marked"


def test_labels_are_taken_over_kept_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_series(tmp_path / "series", 0), tmp_path / "out"
    (tmp_path / "mine.csv").write_text("season,episode,scene,location\n1,1,1,Attic\n1,2,1,\n")
    given = ["--data", str(data), "--out", str(out), "--json"]
    assert run_command(main, [*given, "--labels", str(tmp_path / "mine.csv")]) == 0
    first = json.loads(capsys.readouterr().out)["scenes"][0]
    assert (first["location"], first["source"]) == ("Attic", "labelled")
    assert run_command(main, given) == 0  # they are kept in the folder of results
    assert json.loads(capsys.readouterr().out)["scenes"][0]["source"] == "labelled"


def test_what_a_user_gets_wrong_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_series(tmp_path / "series"), tmp_path / "out"
    (tmp_path / "mine.csv").write_text("season,episode,scene,location\n1,1,1,Atic\n")
    given = ["--data", str(data), "--out", str(out)]
    assert run_command(main, [*given, "--labels", "mine.csv"]) == 1
    told = capsys.readouterr().err
    assert all(part in told for part in ("mine.csv, row 2", "Did you mean Attic?", "--allow-new-places"))
    assert run_command(main, [*given, "--labels", "mine.csv", "--allow-new-places", "--model", "mentions"]) == 0
    with pytest.raises(SystemExit) as ended:
        main([*given, "--label-next", "x"])
    assert ended.value.code == 2
    assert run_command(main, ["--data", "none", "--out", str(out)]) == 1


def test_help_imports_nothing_heavy() -> None:
    heavy = ("pandas", "sklearn", "scipy", "torch", "transformers", "numpy")
    code = f"import sys; import text_classification.__main__; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
