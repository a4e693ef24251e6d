"""Exporting a version: packed numbers, the graph against torch, agreement, the shelf, and who speaks afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aws.storage import open_registry
from character_chatbot.corpus import load_corpus
from character_chatbot.engines.base import Sampling
from character_chatbot.engines.choice import choose_engine, version_speaker
from character_chatbot.engines.openvino_engine import OpenVinoEngine
from character_chatbot.engines.peft_engine import PeftEngine
from character_chatbot.export import exporting
from character_chatbot.export.agreement import Agreement, measure_agreement
from character_chatbot.export.architecture import Architecture, read_architecture
from character_chatbot.export.compression import choose_group, pack_eight_bits, pack_four_bits, unpack
from character_chatbot.export.exporting import ExportRequest, choose_bits, export_version, write_model
from character_chatbot.export.footprint import check_export_fits
from character_chatbot.export.shelf import fetch_export
from character_chatbot.export.weights import Weights
from character_chatbot.sources import SourceFinder
from character_chatbot.training.preparation import RunRequest
from character_chatbot.training.run import run_training
from character_chatbot.version import open_version
from config import ExportSettings, Settings, load_settings
from utils.announcements import Announcements
from utils.errors import BaseModelError, RegistryError
from utils.exports import Footprint, base_export_name, find_export
from utils.registry import Registry

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample_series"
NANO = {"hidden_size": 32, "layers": 1, "heads": 2, "vocabulary": 400, "epochs": 1}
GREEDY = Sampling(max_new_tokens=10, temperature=0, repetition_penalty=1.0)
ASKED = [{"role": "user", "content": "Ada: Hello."}]


def read_settings(data: Path, **paths: Path) -> Settings:
    flags: dict[str, object] = {f"nano.{name}": value for name, value in NANO.items()}
    numbers = {"training.max_steps": 2, "evaluation.max_replies": 2, "training.evaluations_per_epoch": 0}
    flags |= numbers | {"export.compared_replies": 3, "paths.data": str(data)}
    return load_settings(flags=flags | {f"paths.{name}": str(path) for name, path in paths.items()})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A version, and the folder of the registry that has it: made once, copied for each test."""
    folder = tmp_path_factory.mktemp("trained")
    names = ("registry", "runs", "cache", "logs")
    settings = read_settings(SAMPLE, **{name: folder / name for name in names})
    request = RunRequest("llama", ("Pip",), "nano", actor="test")
    version = run_training(request, settings, open_registry(settings), Announcements()).version
    return version, folder / "registry"


@pytest.fixture
def settings(sample_series: Path) -> Settings:
    return read_settings(sample_series)


@pytest.fixture
def version(trained: tuple[str, Path], settings: Settings) -> str:
    """In the registry of the test's settings."""
    shutil.copytree(trained[1], settings.paths.registry)
    return trained[0]


@pytest.mark.parametrize(("columns", "group"), [(256, 128), (192, 64), (336, 16)])
def test_four_bits_are_at_most_half_a_step_off(columns: int, group: int) -> None:
    weight = np.random.default_rng(1).normal(0, 0.02, (7, columns)).astype(np.float32)
    weight[3] = 0
    packed = pack_four_bits(weight, choose_group(columns) or 0)
    assert packed.group == group
    grouped = weight.reshape(7, -1, group)
    step = (grouped.max(-1) - grouped.min(-1)) / 15
    error = np.abs(unpack(packed) - weight).reshape(grouped.shape).max(-1)
    assert (error <= step * 1.01 + 1e-7).all()
    assert packed.size_bytes < weight.nbytes / 5


def test_eight_bits_are_at_most_half_a_step_off() -> None:
    weight = np.random.default_rng(1).normal(0, 0.02, (5, 33)).astype(np.float32)
    step = np.abs(weight).max(-1, keepdims=True) / 127
    assert (np.abs(unpack(pack_eight_bits(weight)) - weight) <= step * 0.6).all()
    assert choose_group(33) is None


def save_random(folder: Path, family: str, **numbers: object) -> object:
    """A base with random weights, untrained, in bfloat16; its torch model in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    shape = {"vocab_size": 90, "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen": (Qwen2Config, Qwen2ForCausalLM)}
    config, model = kinds[family]
    torch.manual_seed(1)
    made = model(config(**{**shape, **heads, **numbers}))
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif "norm" in name:
            torch.nn.init.normal_(parameter, mean=1, std=0.2)
        else:
            torch.nn.init.normal_(parameter, std=0.15)
    made.to(torch.bfloat16).save_pretrained(folder)
    return model.from_pretrained(folder, dtype=torch.float32).eval()


LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("family", "numbers"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 32}, "head_dim": 32}),
        ("qwen", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
    ],
)
def test_graph_computes_what_torch_computes(tmp_path: Path, family: str, numbers: dict[str, object]) -> None:
    model = save_random(tmp_path / "base", family, **numbers)
    (tmp_path / "out").mkdir()
    shape = read_architecture(tmp_path / "base")
    write_model(tmp_path / "out", tmp_path / "base", shape, Weights.open(tmp_path / "base"), 8)
    draw = np.random.default_rng(2)
    pairs = [(draw.integers(0, 90, 40).tolist(), draw.integers(0, 90, 12).tolist()) for _ in range(2)]
    found = measure_agreement(tmp_path / "out", model, pairs)
    assert found.divergence < 0.003
    assert found.tokens == 24
    broken = replace(shape, rope={"rope_theta": 3.0})
    write_model(tmp_path / "out", tmp_path / "base", broken, Weights.open(tmp_path / "base"), 8)
    assert measure_agreement(tmp_path / "out", model, pairs).divergence > 0.02


def test_foreign_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    with pytest.raises(BaseModelError, match="'mamba' is not exported"):
        read_architecture(tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(BaseModelError, match="cannot be read"):
        Weights.open(tmp_path)
    with pytest.raises(BaseModelError, match="holds no weights"):
        Weights.open(tmp_path / "nothing")


def test_export_speaks_like_torch_merged_and_at_run_time(settings: Settings, version: str) -> None:
    registry = open_registry(settings)
    outcome = export_version(ExportRequest("llama"), settings, registry)
    assert outcome.name == version
    assert outcome.record["agreement"]["divergence"] < 0.01
    assert outcome.record["agreement"]["tokens"] > 0
    assert export_version(ExportRequest("llama"), settings, registry).reused
    merged = find_source(settings, registry)
    assert "on OpenVINO" in merged.label
    torch_reply = speak(find_source(with_engine(settings, "torch"), registry))
    assert speak(merged) == torch_reply
    base = export_version(ExportRequest("llama", runtime_adapter=True), settings, registry)
    assert base.name.startswith("base-")
    exported = Path(settings.paths.registry) / "models" / "exported" / "llama"
    (exported / version / "manifest.json").unlink()
    at_run_time = find_source(settings, registry)
    assert "on OpenVINO" in at_run_time.label
    assert speak(at_run_time) == torch_reply


def test_exported_base_speaks_without_the_hub_and_without_torch(settings: Settings, version: str) -> None:
    registry = open_registry(settings)
    nano = Path(settings.paths.registry) / "models/trained/llama" / version / "base"
    laptop = replace(settings.families.llama, laptop=str(nano))
    on_it = replace(settings, families=replace(settings.families, llama=laptop))
    outcome = export_version(ExportRequest("llama", base=str(nano)), on_it, registry)
    assert outcome.record["version"] is None
    assert outcome.record["agreement"]["divergence"] < 0.01
    finder = SourceFinder("llama", on_it, registry, Announcements(), load_corpus(on_it.paths.data))
    source = finder.find("base")
    assert source.rung == "base"
    assert "on OpenVINO" in source.label
    assert speak(source)


def test_versions_on_one_exported_base_are_compared_in_one_process(settings: Settings, version: str) -> None:
    registry = open_registry(settings)
    export_version(ExportRequest("llama", runtime_adapter=True), settings, registry)
    served = find_source(settings, registry)
    trained_version = open_version(registry.fetch("llama", version, settings.paths.cache / "versions"))
    other = replace(version_speaker("llama", trained_version), version="20260101-000000")
    beside = served.engine("Pip")
    second = choose_engine(settings, registry, other, lambda: False, beside).engine
    assert second is not None
    assert second.process_id == beside.process_id
    assert "".join(second.reply(ASKED, GREEDY)) == "".join(beside.reply(ASKED, GREEDY))
    second.close()
    speak(served)
    alone = choose_engine(settings, registry, other, lambda: False).engine
    assert alone is not None
    assert alone.process_id != beside.process_id
    alone.close()


def with_engine(settings: Settings, engine: str) -> Settings:
    return replace(settings, chat=replace(settings.chat, engine=engine))


def find_source(settings: Settings, registry: Registry, heard: Announcements | None = None):  # type: ignore[no-untyped-def]
    corpus = load_corpus(settings.paths.data)
    return SourceFinder("llama", settings, registry, Announcements() if heard is None else heard, corpus).find()


def speak(source) -> str:  # type: ignore[no-untyped-def]
    engine = source.engine("Pip")
    reply = "".join(engine.reply(ASKED, GREEDY))
    if isinstance(engine, OpenVinoEngine):
        engine.close()
    return reply


def test_damaged_export_is_not_loaded_and_said(settings: Settings, version: str) -> None:
    registry = open_registry(settings)
    export_version(ExportRequest("llama"), settings, registry)
    file = Path(settings.paths.registry) / "models/exported/llama" / version / "openvino_model.bin"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RegistryError, match=r"damaged: openvino_model\.bin"):
        fetch_export(registry.store, "llama", version, settings.paths.cache)
    heard = Announcements()
    source = find_source(settings, registry, heard)
    assert isinstance(source.engine("Pip"), PeftEngine)
    (announcement,) = heard
    assert (announcement.got, announcement.remedy) == (
        "torch",
        f"python training_pipeline.py export llama --version {version} --again",
    )


def test_export_that_disagrees_is_not_published(
    settings: Settings, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_registry(settings)
    real = exporting.read_architecture

    def bent(folder: Path) -> Architecture:
        return replace(real(folder), epsilon=50.0)

    monkeypatch.setattr(exporting, "read_architecture", bent)
    strict = replace(settings, export=replace(settings.export, max_divergence=0.001, max_perplexity_rise=0.0001))
    with pytest.raises(BaseModelError, match="does not say what torch says"):
        export_version(ExportRequest("llama"), strict, registry)
    assert find_export(registry.store, "llama", version) is None


def test_limits_of_agreement() -> None:
    found = Agreement(1, 10, 1.0, 0.01, 0.01, 10.0, 10.1)
    assert not found.problems(ExportSettings())
    assert len(replace(found, divergence=1.0, perplexity=20.0).problems(ExportSettings())) == 2
    assert replace(found, divergence=float("nan")).problems(ExportSettings())


def test_size_chooses_the_bits() -> None:
    assert (choose_bits(0, 3_000_000_000), choose_bits(0, 1_000_000), choose_bits(8, 3_000_000_000)) == (4, 8, 8)
    with pytest.raises(BaseModelError, match="not 5"):
        choose_bits(5, 1)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    save_random(tmp_path, "llama")
    with pytest.raises(BaseModelError, match="GiB are free"):
        check_export_fits(Weights.open(tmp_path), 4, tmp_path, 2**20)
    check_export_fits(Weights.open(tmp_path), 4, tmp_path, None)
    footprint = Footprint(weights=2 * 2**30, cache_token=60_000)
    assert footprint.fitting_tokens(16 * 2**30, 16_384) == 16_384
    assert 1024 <= footprint.fitting_tokens(3 * 2**30, 16_384) < 16_384
    assert footprint.fitting_tokens(2 * 2**30, 16_384) == 0


def test_machine_too_small_for_the_export_says_what_would_fit(
    settings: Settings, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from character_chatbot.engines import choice

    registry = open_registry(settings)
    export_version(ExportRequest("llama"), settings, registry)
    monkeypatch.setattr(choice, "free_host_bytes", lambda: 100 * 2**20)
    heard = Announcements()
    source = find_source(settings, registry, heard)
    assert source.rung == "quotes" or isinstance(source.engine("Pip"), PeftEngine)
    assert any("GiB" in announcement.why for announcement in heard)


def test_export_from_the_command_line(run_program: Callable[..., object], settings: Settings) -> None:
    done = run_program("export", "llama", "--registry", settings.paths.registry)
    assert done.returncode == 1  # type: ignore[attr-defined]
    assert "no version of llama" in done.stderr  # type: ignore[attr-defined]


def test_names_of_exports() -> None:
    assert base_export_name("Qwen/Qwen2.5-3B-Instruct") == base_export_name("Qwen/Qwen2.5-3B-Instruct")
    assert base_export_name("a") != base_export_name("b")
