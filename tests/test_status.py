"""The status: plain data that never fails for what is missing, and its text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from character_chatbot.markup import status_blocks
from character_chatbot.sources import Source
from character_chatbot.status import build_status, render_status, seconds_text, size_text
from config import PROJECT_FOLDER, Settings, load_settings
from utils.announcements import Announcement
from utils.characters import Cast
from utils.errors import StoreError
from utils.registry import Registry
from utils.stores import FolderStore

SAMPLE = PROJECT_FOLDER / "data" / "sample_series"
VERSION = "20260101-120000"
RUN = {
    "family": "llama",
    "title": "Pellan",
    "characters": ["Kit", "Rosa"],
    "base": {"kind": "nano", "name": "nano-llama"},
    "training_dialogues": 1200,
    "held_out_episodes": ["S01E03"],
}
METRICS = {
    "training": {"steps": 3, "first_loss": 4.5, "last_loss": 3.25, "losses": [[1, 4.5], [3, 3.25]], "seconds": 75.2},
    "held_out": {"replies": 20, "tokens": 400, "base_perplexity": 30.0, "adapter_perplexity": 20.5},
}


def make_settings(folder: Path = SAMPLE) -> Settings:
    return load_settings(env_file=Path("/none"), environment={}, flags={"paths.data": folder})


def publish(registry: Registry, folder: Path, metrics: object, run: object = RUN, version: str = VERSION) -> None:
    folder.mkdir(exist_ok=True)
    files: Mapping[str, object] = {"adapter_config.json": {}, "run.json": run, "metrics.json": metrics}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    registry.publish("llama", folder, version=version, actor="ann")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(FolderStore(tmp_path / "registry"))


def test_a_version_with_its_run_and_the_data(registry: Registry, tmp_path: Path) -> None:
    publish(registry, tmp_path / "adapter", METRICS)
    status = build_status("llama", make_settings(), registry)
    assert json.loads(json.dumps(status)) == status
    (version,) = status["registry"]["versions"]
    assert (version["base_perplexity"], version["adapter_perplexity"], version["is_latest"]) == (30.0, 20.5, True)
    run = status["run"]
    assert (run["steps"], run["seconds"], run["held_out_replies"]) == (3, 75.2, 20)
    assert run["losses"] == [[1, 4.5], [3, 3.25]]
    assert status["data"]["lines"] > 1000
    text = render_status(status)
    for part in (
        VERSION,
        "base 30.00 → adapter 20.50",
        "1 min 15 s",
        "The Pellan Light",
        "repaired: 29 × markup removed",
    ):
        assert part in text


def test_what_was_not_measured_is_absent(registry: Registry, tmp_path: Path) -> None:
    training = {"steps": 3, "first_loss": 4.5, "last_loss": 3.25, "losses": [[1, 4.5]]}
    publish(registry, tmp_path / "adapter", {"training": training})
    status = build_status("llama", make_settings(tmp_path), registry)
    assert not {"seconds", "base_perplexity", "adapter_perplexity", "held_out_replies"} & set(status["run"])
    assert "base_perplexity" not in status["registry"]["versions"][0]
    assert "Perplexity" not in render_status(status)
    assert "not measured" in status_blocks(status)[0]


def test_an_empty_registry_and_no_folder_are_sentences(registry: Registry, tmp_path: Path) -> None:
    status = build_status("qwen", make_settings(tmp_path / "nowhere"), registry)
    assert status["run"] is None
    assert "no series folder" in status["data"]["problem"]
    text = render_status(status)
    assert "no version yet. Train one:  python training_pipeline.py train qwen" in text
    assert "no series folder" in text
    assert all(isinstance(block, str) for block in status_blocks(status))


def test_a_registry_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    class Unreachable(FolderStore):
        def list(self, prefix: str) -> Any:
            raise StoreError("s3://b cannot be reached.", remedies=[("Check", "aws s3 ls")])

    status = build_status("llama", make_settings(tmp_path), Registry(Unreachable(tmp_path)))
    assert "cannot be reached" in status["registry"]["problem"]
    assert "aws s3 ls" in render_status(status)
    assert "cannot be reached" in status_blocks(status)[0]


def test_a_damaged_version_is_a_sentence_beside_the_others(registry: Registry, tmp_path: Path) -> None:
    publish(registry, tmp_path / "adapter", METRICS, version="20260101-110000")
    publish(registry, tmp_path / "adapter", METRICS)
    file = next((tmp_path / "registry").rglob(f"{VERSION}/metrics.json"))
    file.write_text("{}", encoding="utf-8")
    status = build_status("llama", make_settings(tmp_path), registry)
    newer, older = status["registry"]["versions"]
    assert newer["problem"]
    assert older["base_perplexity"] == 30.0
    assert status["run"]["problem"]
    assert VERSION in render_status(status)


@pytest.mark.parametrize(
    ("run", "metrics"), [({"base": []}, {}), (RUN, {"held_out": 3}), ({"base": "x"}, {"training": {"losses": 1}})]
)
def test_a_foreign_run_is_a_sentence(run: Any, metrics: Any, registry: Registry, tmp_path: Path) -> None:
    publish(registry, tmp_path / "adapter", metrics, run)
    status = build_status("llama", make_settings(tmp_path), registry)
    assert status["run"]["problem"]
    assert render_status(status)
    assert all(status_blocks(status))


def test_what_speaks_and_what_was_wanted(registry: Registry, tmp_path: Path) -> None:
    publish(registry, tmp_path / "adapter", METRICS, version="20260101-110000")
    publish(registry, tmp_path / "adapter", METRICS)
    source = Source(
        "version", "llama old", "Pellan", Cast(), ("Kit",), lambda name: None, ("Kit",), RUN, "20260101-110000"  # type: ignore[arg-type, return-value]
    )  # fmt: skip
    step = Announcement("chat", "the newest", "an older one", "it was asked for", "--version latest")
    status = build_status("llama", make_settings(tmp_path), registry, [step], source=source, no_corpus="not here")
    assert status["run"]["version"] == "20260101-110000"
    assert status["speaking"]["base"] == "nano-llama"
    assert status["data"]["problem"] == "not here"
    text = render_status(status)
    assert "Speaking: llama old" in text
    assert "--version latest" in text
    assert "--version latest" in status_blocks(status)[0]


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (5e12, "5000.0 GB")])
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
