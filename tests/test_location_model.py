"""The fine-tuned model of locations: loss, training, early end, parts of long scenes, the folder it is kept in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from doubles.text_model import save_text_model

from config import LocationSettings, Settings
from text_classification import LocationClassifier
from text_classification.base_models import find_base
from text_classification.fine_tuning import DESCRIPTION, FineTunedClassifier, _split, load_trained
from text_classification.weighted_trainer import WeightedTrainer, class_weights
from utils.announcements import Announcements
from utils.errors import BaseModelError
from utils.hub import HubState
from utils.lines import build_frame

NAN = float("nan")
WARM, WET = "soup oven salt bread", "boat rope nets fish"
TEXTS = [f"Ada: {words}" for words in (WARM, WET, WARM, WET, WARM, WET)]
PLACES = ["Kitchen", "Harbour"] * 3
EPISODES = [1, 1, 2, 2, 3, 3]
QUICK = LocationSettings(epochs=6, learning_rate=5e-3, texts_per_batch=4, minimum_labels=4, patience=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_model(tmp_path_factory.mktemp("base"), TEXTS, positions=16)


def test_class_weights_are_those_of_scikit_learn() -> None:
    assert class_weights([0, 0, 0, 1], 2) == pytest.approx([4 / 6, 2.0])
    assert class_weights([1, 1], 3) == [0.0, 1.0, 0.0]


def test_the_loss_is_the_weighted_cross_entropy() -> None:
    logits = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    trainer = SimpleNamespace(_weights=torch.tensor([0.5, 2.0]))
    inputs = {"input_ids": None, "labels": torch.tensor([0, 0]), "row_weights": torch.tensor([1.0, 3.0])}
    loss = WeightedTrainer.compute_loss(trainer, lambda **_: SimpleNamespace(logits=logits), inputs)  # type: ignore[arg-type]
    nats = -torch.log_softmax(logits, dim=1)[:, 0]
    assert float(loss) == pytest.approx(float((nats * 0.5 * torch.tensor([1.0, 3.0])).mean()))


def test_what_is_held_out_is_whole_episodes_whose_places_are_learnt() -> None:
    learn, check = _split([0, 1, 0, 1, 0, 2], EPISODES)
    assert len(check) == 2
    assert 5 in learn  # place 2 is nowhere else
    assert len({EPISODES[at] for at in check}) == 1
    assert sorted(learn + check) == list(range(6))
    assert _split([0, 1], None) == ([0, 1], [])


def test_it_learns_ends_is_kept_and_comes_back(base: Path, tmp_path: Path) -> None:
    model = FineTunedClassifier(base, QUICK)
    model.fit(TEXTS, PLACES, None, EPISODES)
    found = model.predict_proba(TEXTS)
    assert [model.classes[at] for at in found.argmax(axis=1)] == PLACES
    assert found.sum(axis=1) == pytest.approx(np.ones(6))
    fitted = model.calibrated()
    assert 1 <= model.epochs_done <= QUICK.epochs
    assert "cores" in fitted.notes[0] or "float32" in fitted.notes[0]
    long = "Ada: " + " ".join([WARM] * 20)  # 80 words for a model that reads 16
    assert model.classes[int(model.predict_proba([long])[0].argmax())] == "Kitchen"
    model.save(tmp_path / "kept", 1.5)
    assert json.loads((tmp_path / "kept" / DESCRIPTION).read_text())["places"] == ["Harbour", "Kitchen"]
    assert not [file for file in (tmp_path / "kept").iterdir() if file.suffix in {".bin", ".pt", ".pkl"}]
    again = load_trained(tmp_path / "kept", QUICK)
    assert again.temperature == 1.5
    assert again.model.predict_proba(TEXTS) == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"places": [], "temperature": 1}', '{"places": ["A"], "temperature": 0}']
)
def test_a_folder_without_a_trained_model_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / DESCRIPTION).write_text(content)
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_trained(tmp_path, QUICK)


def test_a_base_is_a_folder_or_of_the_hub(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text_classification.base_models.fetch_model", lambda name, token: Path("hub", name, token))
    offline = HubState(False, "no hub here")
    assert find_base(str(base), lambda: offline) == base.resolve()
    assert find_base("distilbert-base-uncased", lambda: offline) == offline
    assert find_base("distilbert-base-uncased", lambda: HubState(True), "t") == Path("hub/distilbert-base-uncased/t")
    with pytest.raises(BaseModelError, match="holds no model"):
        find_base(str(tmp_path), lambda: offline)


def test_the_classifier_trains_it_and_uses_it_the_next_time(base: Path, tmp_path: Path) -> None:
    rows = [
        (1, episode, scene, scene - 1, "Ada", words, NAN, NAN, "a.csv", place if episode < 4 else "")
        for episode in (1, 2, 3, 4)
        for scene, (words, place) in enumerate([(WARM, "Kitchen"), (WET, "Harbour")], 1)
    ]
    settings = Settings(locations=LocationSettings(**{**vars(QUICK), "base": os.fspath(base)}))
    options = {"trained": tmp_path / "model", "hub": lambda: HubState(False, "no hub")}
    first = LocationClassifier(None, settings, model="distilbert", **options).classify(build_frame(rows))  # type: ignore[arg-type]
    assert first.frame["guess"].tolist()[-2:] == ["Kitchen", "Harbour"]
    heard = Announcements(quiet=True)
    again = LocationClassifier(None, settings, announcements=heard, **options).classify(build_frame(rows))  # type: ignore[arg-type]
    assert again.probabilities.to_numpy() == pytest.approx(first.probabilities.to_numpy(), abs=1e-4)
    assert again.method == "a DistilBERT"
    assert len(heard) == 0  # what was wanted is there
