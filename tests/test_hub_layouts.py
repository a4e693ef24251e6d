"""Models as the hub has them: loaded, scored, trained and evaluated by the real commands, without the hub."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from doubles.hub_layout import PARTS, save_distilbart, save_distilbert, to_pickle

import text_classification.__main__ as locations
import theme_classifier.__main__ as themes
from config import LocationSettings, ThemeSettings
from text_classification.base_models import choose_device, find_base
from text_classification.fine_tuning import FineTunedClassifier, base_of
from theme_classifier.entailment import EntailmentScorer
from theme_classifier.models import find_model
from theme_classifier.precision import available
from utils.command_line import run_command
from utils.errors import BaseModelError
from utils.hub import HubState

LINES = ["We will find him.", "The lamp is lost.", "Ada: soup oven salt bread", "Ada: boat rope nets fish"]
QUICK = {"EPOCHS": "1", "TEXTS_PER_BATCH": "4", "MINIMUM_LABELS": "4", "FOLDS": "2", "RESAMPLES": "20"}


def no_hub() -> HubState:
    return HubState(False, "the test has none")


@pytest.fixture(scope="module", params=["one part", "parts"])
def distilbart(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilbart")
    return save_distilbart(folder, LINES, **({"part": PARTS} if request.param == "parts" else {}))


@pytest.fixture(scope="module", params=["one part", "parts"])
def distilbert(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilbert")
    return save_distilbert(folder, LINES, **({"part": PARTS} if request.param == "parts" else {}))


@pytest.fixture
def marked(series_folder: Callable[..., Path]) -> Path:
    """A series of four episodes, each with a scene at each of two places."""
    rows = ["1,Kitchen,Ada,soup oven salt bread", "2,Harbour,Ada,boat rope nets fish"]
    text = "\n".join(["scene,location,name,line", *rows]) + "\n"
    return series_folder(episodes=0, files={f"S01E{episode:02}.csv": text for episode in range(1, 5)})


def test_themes_are_those_of_the_pipeline(
    distilbart: Path, series_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import pipeline

    given = ["--data", str(series_folder(episodes=1)), "--out", str(tmp_path), "--themes", "Hope,The sea"]
    assert run_command(themes.main, [*given, "--model", str(distilbart), "--precision", "float32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    found = pd.read_csv(tmp_path / "lines.csv")
    zero_shot = pipeline("zero-shot-classification", model=str(distilbart), device="cpu")
    for row in found.head(6).to_dict("records"):
        own = zero_shot(
            row["line"], ["Hope", "The sea"], hypothesis_template="This text is about {}.", multi_label=True
        )
        expected = dict(zip(own["labels"], own["scores"], strict=True))
        assert [row["Hope"], row["The sea"]] == pytest.approx([expected["Hope"], expected["The sea"]], abs=1e-3)
    assert found["Hope"].std() > 0.01  # a model that says the same of all would prove nothing


def test_a_distilbert_is_trained_evaluated_and_kept(
    distilbert: Path, marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in QUICK.items():
        monkeypatch.setenv(f"STRANGER_LOCATIONS__{name}", value)
    given = ["--data", str(marked), "--out", str(tmp_path), "--json"]
    assert run_command(locations.main, [*given, "--model", str(distilbert)]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["method"] == "a DistilBERT"  # nothing but the results
    assert "Epoch 1 of 1: held-out loss" in told.err
    assert base_of(tmp_path / "model") == str(distilbert)
    bases: list[Path] = []
    fit = FineTunedClassifier.fit

    def told_base(model: FineTunedClassifier, *rest: object) -> None:
        bases.append(model._base)
        fit(model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(FineTunedClassifier, "fit", told_base)
    assert run_command(locations.main, [*given, "--evaluate"]) == 0  # by the model that is kept
    models = json.loads(capsys.readouterr().out)["evaluation"]["models"]
    assert [each["model"] for each in models] == ["distilbert", "mentions", "majority"]
    assert bases == [distilbert] * 2  # the kept one has seen the episodes that it would be held against


def test_a_kept_model_without_its_base_is_not_evaluated(
    distilbert: Path, marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from config import PathSettings, Settings
    from text_classification import LocationClassifier

    model = FineTunedClassifier(distilbert, LocationSettings(epochs=1, texts_per_batch=4), "owner/gone")
    model.fit(LINES[2:] * 2, ["Kitchen", "Harbour"] * 2)
    model.save(tmp_path / "model", 1.0)
    settings = Settings(paths=PathSettings(data=marked), locations=LocationSettings(minimum_labels=4))
    classifier = LocationClassifier(None, settings, model=str(tmp_path / "model"), hub=no_hub)
    from utils.series import load_lines, open_series, spoken_lines

    with pytest.raises(BaseModelError, match="knows these scenes already, and its base owner/gone cannot be had"):
        classifier.evaluate(spoken_lines(load_lines(open_series(marked))[0]))


def test_a_long_scene_fits_a_base_whose_tokenizer_names_no_limit(distilbert: Path) -> None:
    model = FineTunedClassifier(distilbert, LocationSettings(epochs=1, texts_per_batch=4))
    model.fit([" ".join([line] * 20) for line in LINES[2:]] * 2, ["Kitchen", "Harbour"] * 2)
    assert model.predict_proba([LINES[2] * 30]).sum() == pytest.approx(1.0)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = to_pickle(save_distilbert(tmp_path / "old base", LINES))
    for find in (find_base, find_model):
        with pytest.raises(BaseModelError, match=r"pickle alone \(pytorch_model.bin\).* is not loaded") as caught:
            find(str(folder), no_hub)
    label, command = caught.value.remedies[1]
    assert label == "Or convert it here, tensors alone"
    python, option, program, *files = shlex.split(command)
    assert (python, option) == ("python", "-c")
    monkeypatch.setattr(sys, "argv", ["-c", *files])
    exec(program, {})  # noqa: S102 (the one that is told)
    assert find_base(str(folder), no_hub) == folder
    (folder / "pytorch_model.bin").write_bytes(b"no matter what")
    FineTunedClassifier(folder, LocationSettings(epochs=1)).fit(LINES[2:] * 2, ["Kitchen", "Harbour"] * 2)


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    folder = save_distilbart(tmp_path, LINES, PARTS)
    gone = sorted(folder.glob("model-*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(BaseModelError, match=f"lacks parts of its weights: {gone.name}"):
        find_model(str(folder), no_hub)


def test_a_pickle_in_the_cache_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("models--owner--nli", "models--old-base"):
        (tmp_path / name / "refs").mkdir(parents=True)
        (tmp_path / name / "refs" / "main").write_text("abc")
        (tmp_path / name / "snapshots" / "abc").mkdir(parents=True)
        for file in ("config.json", "pytorch_model.bin"):
            (tmp_path / name / "snapshots" / "abc" / file).write_text("{}")
    for found in (find_model("owner/nli", no_hub), find_base("old-base", no_hub)):
        assert isinstance(found, HubState)
        assert found.why == (
            "the test has none, and this machine has it as a pickle alone (pytorch_model.bin), which is not loaded"
        )


@pytest.mark.parametrize(("capability", "ways"), [((7, 5), []), ((9, 0), ["bfloat16"])])
def test_a_gpu_is_taken_where_there_is_one(
    distilbart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], ways: list[str]
) -> None:
    import torch

    devices: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(
        "theme_classifier.entailment.EntailmentModel", lambda tokenizer, model, settings, device: devices.append(device)
    )
    assert choose_device() == ("cuda", "Tesla T4: float32 there")
    assert available("cuda") == ways
    place = find_model(str(distilbart), no_hub)
    assert not isinstance(place, HubState)
    for precision in ("auto", "float32", "int8"):
        _ = EntailmentScorer(place, ThemeSettings(precision=precision), tmp_path / "cache")._loaded
    assert devices == ["cuda", "cuda", "cpu"]  # 8 bits are multiplied by the CPU alone


def test_without_labels_the_results_are_written_before_it_says_why(
    series_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = series_folder(episodes=2), tmp_path / "o"
    given = ["--data", str(folder), "--out", str(out), "--evaluate"]
    assert run_command(locations.main, given) == 1
    told = capsys.readouterr()
    assert f"Written: {out / 'locations.csv'}" in told.out
    assert "nothing to evaluate on: 0 scenes in 0 episodes have a known place" in told.err
    command = f"python -m text_classification --data {folder} --out {out}"
    assert f"See which to label:  {command} --label-next 10\n" in told.err
    assert f"  {command} --labels FILE.csv --evaluate\n" in told.err
    assert (out / "locations.csv").is_file()
    assert not (out / "evaluation.json").exists()
    assert run_command(locations.main, [*given, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["evaluation"] is None
