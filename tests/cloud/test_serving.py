"""What a page needs and which machine has it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aws.operations.serving import GIB, MACHINE_TYPES, Need, choose_machine, memory_need, version_need
from character_chatbot.export.shelf import publish_export
from config import FamilySettings, Settings, SuiteError
from utils.errors import RegistryError, UsageError
from utils.exports import MODEL_FILES, RECORD, TOKENIZER_FILES, base_export_name
from utils.registry import Registry
from utils.stores import FolderStore

LLAMA_3B, QWEN_05B, SMOL_135M = 3_212_749_824, 494_032_768, 134_515_008


def safetensors(floats: int) -> bytes:
    """A file of so many float32 zeros."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [floats], "data_offsets": [0, 4 * floats]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * floats)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(FolderStore(tmp_path / "registry"))


Publish = Callable[..., str]


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Publish:
    def publish(run: dict[str, Any] | None, family: str = "llama", *, carried: int = 0) -> str:
        folder = tmp_path / "version"
        (folder / "base").mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(safetensors(1000))
        if run is not None:
            (folder / "run.json").write_text(json.dumps(run))
        if carried:
            (folder / "base" / "model.safetensors").write_bytes(safetensors(carried))
        return registry.publish(family, folder, actor="test")

    return publish


def base(name: str, kind: str = "hub", **more: Any) -> dict[str, Any]:
    return {"base": {"kind": kind, "name": name} | more}


def need_of(parameters: int | None) -> Need:
    return Need("1", "some/base", parameters, memory_need(parameters or LLAMA_3B), "llama 1")


# memory


@pytest.mark.parametrize(
    ("parameters", "measured_peak_gib"),
    # Base, adapter, app and a reply to 2,000 tokens, anonymous memory; see the comment in aws/operations/serving.py.
    [(134_515_008, 1.22), (494_032_768, 2.5), (1_235_814_400, 5.73)],
)
def test_the_need_is_above_what_was_measured_and_not_far(parameters: int, measured_peak_gib: float) -> None:
    system_gib = 0.4
    need_gib = memory_need(parameters, adapter_bytes=20 * 2**20) / GIB
    assert measured_peak_gib + system_gib < need_gib < measured_peak_gib + system_gib + 0.6


def test_the_terms_of_the_need() -> None:
    assert memory_need(0) / GIB == pytest.approx(0.9)  # quotes: the app and the system
    assert memory_need(10**9, 2) < memory_need(10**9, 4)
    assert memory_need(10**9, 4, 5_000_000) - memory_need(10**9, 4) == 5_000_000


# what a version needs


def test_recorded_parameters_come_first(registry: Registry, publish: Publish) -> None:
    version = publish(base("meta-llama/Llama-3.2-3B-Instruct", parameters=2_000_000_000))
    need = version_need(registry, "llama", "latest")
    assert (need.version, need.base, need.parameters) == (version, "meta-llama/Llama-3.2-3B-Instruct", 2_000_000_000)
    adapter_bytes = registry.show("llama")["files"]["adapter_model.safetensors"]["size_bytes"]
    assert need.bytes == memory_need(2_000_000_000, 4, adapter_bytes)
    assert need.reason == f"llama {version}, an adapter on meta-llama/Llama-3.2-3B-Instruct (2.0B parameters)"


def test_a_base_that_travels_along_is_measured(registry: Registry, publish: Publish) -> None:
    publish(base("nano-llama-0123456789ab", "nano"), carried=250_000)
    parameters = version_need(registry, "llama").parameters
    assert parameters == pytest.approx(250_000, rel=0.001)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("meta-llama/Llama-3.2-3B-Instruct", LLAMA_3B),
        ("Qwen/Qwen2.5-0.5B-Instruct", QWEN_05B),
        ("somebody/Wonder-0.5B-Chat", 625_000_000),
        ("somebody/wonder-135m", 168_750_000),
        ("7B-club/wonder-chat", None),  # the owner is not the model
        ("somebody/Expert-8x7B", None),
        ("somebody/Wonder-2.5-chat", None),
        ("somebody/Wonder3Base", None),
    ],
)
def test_an_old_version_is_judged_by_the_name_of_its_base(
    registry: Registry, publish: Publish, name: str, parameters: int | None
) -> None:
    publish(base(name))
    assert version_need(registry, "llama").parameters == parameters


@pytest.mark.parametrize("run", [{}, None, {"base": "text"}, base("b", parameters=True), base("b", parameters=-1)])
def test_a_base_of_unknown_size_is_assumed_to_be_of_the_usual_one(
    registry: Registry, publish: Publish, run: dict[str, Any] | None
) -> None:
    publish(run)
    need = version_need(registry, "llama")
    assert need.parameters is None
    assert need.bytes > memory_need(LLAMA_3B)
    assert "of unknown size" in need.reason
    assert choose_machine(need).type.name == "t3.xlarge"
    assert "is not known" in choose_machine(need).reason
    assert "may not fit" in choose_machine(need, "t3.small").reason


def test_without_a_version_the_untrained_base_is_what_will_speak(registry: Registry) -> None:
    need = version_need(registry, "qwen")
    assert (need.version, need.base, need.parameters) == ("", "Qwen/Qwen2.5-0.5B-Instruct", QWEN_05B)
    assert "no version of qwen yet" in need.reason
    assert "python deploy_aws.py train qwen" in need.reason
    families = FamilySettings()
    families = replace(families, qwen=replace(families.qwen, fine_tuned="ann/Qwen2.5-3B-pirate"))
    other = replace(Settings(), families=families)
    assert version_need(registry, "qwen", "", other).base == "ann/Qwen2.5-3B-pirate"


def test_a_version_that_does_not_exist_is_refused(registry: Registry, publish: Publish) -> None:
    publish(base("b"))
    with pytest.raises(RegistryError, match="20200101-000000"):
        version_need(registry, "llama", "20200101-000000")


def test_a_base_in_a_folder_of_another_machine_is_said(registry: Registry, publish: Publish) -> None:
    publish(base("/home/ann/model", "path", parameters=10_000_000))
    assert "folder of the machine that trained it" in version_need(registry, "llama").reason


# what is exported


def export(registry: Registry, folder: Path, name: str, **record: object) -> None:
    """An export as large as one of Llama-3.2-3B, but for its files."""
    folder.mkdir(exist_ok=True)
    for file in (*MODEL_FILES, *TOKENIZER_FILES):
        (folder / file).write_text(file)
    sizes = {"weights_bytes": 1_830_000_000, "cache_token_bytes": 68_812.8, "parameters": LLAMA_3B, "bits": 4}
    (folder / RECORD).write_text(json.dumps(sizes | record))
    publish_export(registry.store, "llama", name, folder)


def test_an_exported_version_takes_a_smaller_machine(registry: Registry, publish: Publish, tmp_path: Path) -> None:
    version = publish(base("meta-llama/Llama-3.2-3B-Instruct", "path", parameters=LLAMA_3B))
    assert choose_machine(version_need(registry, "llama")).type.name == "t3.xlarge"
    export(registry, tmp_path / "export", version)

    need = version_need(registry, "llama")
    assert choose_machine(need).type.name == "t3.medium"
    assert choose_machine(need).reason.startswith("a 3.2B model in 4 bit needs 3.")
    assert need.reason.endswith("(3.2B parameters), exported in 4 bit")  # and nobody needs the folder of its base
    assert version_need(registry, "llama", settings=with_torch()).bytes > 14 * GIB


def test_an_adapter_on_an_exported_base_takes_more(registry: Registry, publish: Publish, tmp_path: Path) -> None:
    publish(base("meta-llama/Llama-3.2-3B-Instruct", parameters=LLAMA_3B))
    export(registry, tmp_path / "export", base_export_name("meta-llama/Llama-3.2-3B-Instruct"))
    assert choose_machine(version_need(registry, "llama")).type.name == "t3.large"


def test_an_exported_base_speaks_where_there_is_no_version(registry: Registry, tmp_path: Path) -> None:
    settings = Settings()
    name = settings.families["llama"].fine_tuned or settings.families["llama"].laptop
    export(registry, tmp_path / "export", base_export_name(name), parameters=SMOL_135M, bits=8)
    assert version_need(registry, "llama").bits == 8


def test_what_is_not_exported_tells_how(registry: Registry, publish: Publish) -> None:
    version = publish(base("meta-llama/Llama-3.2-3B-Instruct"))
    told = f"python training_pipeline.py export llama --version {version} --registry {registry.store.url}"
    assert version_need(registry, "llama").smaller == told
    assert version_need(registry, "llama", settings=with_torch()).smaller == ""


def test_an_export_that_does_not_tell_its_size_is_left_to_torch(
    registry: Registry, publish: Publish, tmp_path: Path
) -> None:
    version = publish(base("meta-llama/Llama-3.2-3B-Instruct"))
    export(registry, tmp_path / "export", version, weights_bytes=None)
    assert version_need(registry, "llama").bits == 32


def with_torch() -> Settings:
    settings = Settings()
    return replace(settings, chat=replace(settings.chat, engine="torch"))


# which machine


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (800_000, "t3.small"),
        (SMOL_135M, "t3.small"),
        (QWEN_05B, "t3.medium"),
        (1_235_814_400, "t3.large"),
        (LLAMA_3B, "t3.xlarge"),
        (6_738_415_616, "t3.2xlarge"),
    ],
)
def test_the_smallest_that_fits_is_taken_and_the_reason_given(parameters: int, name: str) -> None:
    need = need_of(parameters)
    choice = choose_machine(need)
    assert choice.type.name == name
    assert f"{need.gib:.1f} GiB; {name} with {choice.type.memory_gib:g} is the smallest" in choice.reason
    smaller = [each for each in MACHINE_TYPES if each.memory_gib < choice.type.memory_gib]
    assert all(each.memory_gib * GIB < need.bytes for each in smaller)


def test_one_asked_for_is_taken_if_it_is_large_enough() -> None:
    choice = choose_machine(need_of(QWEN_05B), "t3.xlarge")
    assert choice.type.name == "t3.xlarge"
    assert choice.reason.startswith("as asked; a 494M model in 32 bit needs 3.")


def test_what_cannot_fit_is_refused_with_what_would() -> None:
    with pytest.raises(SuiteError) as caught:
        choose_machine(need_of(LLAMA_3B), "t3.medium")
    assert str(caught.value) == (
        "a 3.2B model in 32 bit needs 14.2 GiB; t3.medium has 4.\n"
        "  The smallest that it fits in is t3.xlarge with 16 GiB.\n"
        "  Take that one:  python deploy_aws.py deploy-gradio --instance-type t3.xlarge"
    )


@pytest.mark.parametrize("asked", ["", "t3.medium", "t3.2xlarge"])
def test_what_fits_nowhere_is_said(asked: str) -> None:
    with pytest.raises(SuiteError, match=r"13\.0B model.*the largest machine for a page, t3\.2xlarge, has 32"):
        choose_machine(need_of(13_000_000_000), asked)


def test_a_type_that_is_not_in_the_table_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'t3\.xlrage'") as caught:
        choose_machine(need_of(QWEN_05B), "t3.xlrage")
    assert "Did you mean t3.xlarge?" in str(caught.value)
    assert isinstance(caught.value, UsageError)
