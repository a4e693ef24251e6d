"""How much memory a training takes: what is counted, what the machine has, and how a training is made to fit."""

from __future__ import annotations

import logging
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from character_chatbot.machine.devices import Device
from character_chatbot.machine.machine_memory import available_host_bytes
from character_chatbot.machine.memory import (
    NF4_BYTES,
    Demand,
    MemoryEstimate,
    Plan,
    Way,
    count_parameters,
    plan_training,
)
from character_chatbot.training.examples import IGNORED, Example
from config import TrainingSettings
from utils.errors import TrainingError

CPU, GPU = Device("cpu", "float32", "a test"), Device("cuda", "float16", "a test")
SHAPE = {
    "vocab_size": 500,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def shape(layers: int = 3, **changes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**SHAPE | {"num_hidden_layers": layers, "tie_word_embeddings": True} | changes)


def examples(count: int = 12, tokens: int = 60) -> list[Example]:
    ids = tuple(range(tokens))
    return [Example(ids, (*[IGNORED] * (tokens - 9), *ids[-9:]), 20) for _ in range(count)]


def demand(device: Device = CPU, batch: int = 8, **changes: Any) -> Demand:
    settings = TrainingSettings(lora_rank=4, **changes)
    return Demand(shape(), examples(), settings, device, batch)


# counting


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_exactly(tied: bool) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = shape(tie_word_embeddings=tied)
    counts, model = count_parameters(config, 4), AutoModelForCausalLM.from_config(config)
    assert counts.parameters == model.num_parameters()
    linear = [each for name, each in model.named_modules() if isinstance(each, torch.nn.Linear) and name != "lm_head"]
    assert counts.quantisable == sum(each.weight.numel() for each in linear)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert counts.trainable == sum(each.numel() for each in adapted.parameters() if each.requires_grad)


def test_weights_in_four_bits_take_four_bits_and_their_scales() -> None:
    counts = count_parameters(shape(), 4)
    rest = counts.parameters - counts.quantisable
    assert counts.weight_bytes(2, True) == int(counts.quantisable * NF4_BYTES) + 2 * rest
    assert pytest.approx(4.127, abs=0.001) == NF4_BYTES * 8


def test_what_a_step_keeps_is_what_autograd_keeps() -> None:
    """Held against real tensors: the storages that a real forward pass keeps for the way back."""
    import torch

    from character_chatbot.machine.activations import LiveBytes

    layer = torch.nn.Linear(64, 32, bias=False)
    given = torch.zeros(10, 64, requires_grad=True)
    with LiveBytes([layer.weight, given]) as live:
        made = torch.relu(layer(given))
        assert live.live == 10 * 32 * 4  # relu's result; its input is dropped
        made.sum().backward()
    assert live.peak >= 10 * 32 * 4 * 2


@pytest.mark.parametrize("kept", ["after the way there", "at most"])
def test_attention_on_fake_tensors_takes_what_attention_takes(kept: str) -> None:
    """Held against the real one on real tensors: a row with a persona and two dialogues, and a shorter row."""
    import torch

    from character_chatbot.machine.activations import LiveBytes
    from character_chatbot.machine.attention_memory import attend_counted
    from character_chatbot.training.attention import attend, find_pieces

    segment = torch.tensor([[0] * 30 + [1] * 150 + [2] * 60, [0] * 20 + [1] * 100 + [-1] * 120])
    persona = torch.where(segment >= 0, 0, -1)
    found = []
    for each in (attend, attend_counted):
        given = [torch.zeros(2, heads, 240, 16, requires_grad=True) for heads in (4, 2, 2)]
        with LiveBytes(given) as live:
            seen, _ = each(torch.nn.Module(), *given, None, packed_pieces=find_pieces(segment, persona), scaling=0.5)
            between = live.live
            seen.sum().backward()
        found.append(between if kept == "after the way there" else live.peak)
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_an_estimate_grows_with_what_makes_a_training_large() -> None:
    small = demand().estimate(Way(2))
    assert demand().estimate(Way(8)).parts["activations"] > small.parts["activations"]
    assert demand().estimate(Way(2, checkpointing=True)).parts["activations"] < small.parts["activations"]
    longer = replace(demand(), examples=examples(tokens=200)).estimate(Way(2))
    assert longer.parts["activations"] > small.parts["activations"]
    deeper = replace(demand(), config=shape(12)).estimate(Way(2)).parts
    assert deeper["activations"] == pytest.approx(4 * small.parts["activations"], rel=0.35)
    assert deeper["optimizer"] == 4 * small.parts["optimizer"] == 2 * deeper["adapter"]


def test_depths_are_a_straight_line() -> None:
    from character_chatbot.machine.activations import StepOptions, _run, largest_batch, step_bytes

    batch, options = largest_batch(examples(), 4, 7), StepOptions(4, 0.05, "float32")
    assert step_bytes(shape(6), batch, options) == pytest.approx(_run(shape(6), batch, options), rel=0.01)


def test_the_line_names_the_parts() -> None:
    estimate = MemoryEstimate({"weights": 2**29, "logits": 2**30}, 23 * 2**30)
    assert str(estimate) == "memory: about 1.5 of 23.0 GiB: weights 0.5, logits 1.0"


# fitting


def test_with_room_nothing_is_changed() -> None:
    assert plan_training(demand(), 2**40).way == Way(8)
    assert plan_training(demand(), None).way == Way(8)
    assert plan_training(demand(), None).reasons == ()


def between(smaller: Way, larger: Way, of: Demand) -> int:
    """So much memory that one way fits with comfort and the other does not."""
    low, high = of.estimate(smaller).total, of.estimate(larger).total
    assert low < high
    return int((low + high) / 2 / 0.9)


def test_fewer_at_once_where_that_fits_and_then_checkpointing() -> None:
    wide = replace(demand(), examples=examples(tokens=500), config=shape(12, intermediate_size=2048))
    plan = plan_training(wide, between(Way(4), Way(8), wide))
    assert plan.way == Way(4)
    assert "4 instead of 8 sequences at once" in plan.reasons[0]
    plan = plan_training(wide, between(Way(8, True), Way(1), wide))
    assert plan.way == Way(8, True)
    assert "activation checkpointing is on" in plan.reasons[0]
    assert plan.apply(wide.settings).activation_checkpointing == "on"


def test_what_is_set_is_not_changed() -> None:
    wide = replace(demand(sequences_per_batch=8, activation_checkpointing="off"), examples=examples(tokens=500))
    with pytest.raises(TrainingError, match=r"takes about 0\.\d GiB") as caught:
        plan_training(wide, int(wide.estimate(Way(1)).total * 1.01))
    assert "training.sequences_per_batch: 1" in str(caught.value)


def test_what_cannot_fit_is_refused_with_a_change_that_fits() -> None:
    long = replace(demand(activation_checkpointing="off"), examples=[*examples(tokens=100), *examples(tokens=500)])
    short = replace(long, examples=examples(tokens=100))
    room = (long.estimate(Way(1)).total + short.estimate(Way(1)).total) // 2
    with pytest.raises(TrainingError) as caught:
        plan_training(long, room)
    assert ("Shorter dialogues", "training.max_length: 256 in aws_config.yaml") in caught.value.remedies
    with pytest.raises(TrainingError, match="--base") as caught:
        plan_training(long, 2**20)
    assert [label for label, _ in caught.value.remedies] == ["A smaller base"]


LARGE = {"hidden_size": 1024, "intermediate_size": 4096}


def test_a_gpu_gets_four_bits_where_half_precision_takes_more_than_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("character_chatbot.machine.memory.is_installed", lambda: True)
    large = replace(demand(GPU), config=shape(4, **LARGE))
    half = large.estimate(Way(8)).total
    roomy, tight = plan_training(large, half * 3), plan_training(large, int(half * 1.5))
    assert (roomy.way.quantised, tight.way.quantised) == (False, True)
    assert "float16" in tight.reasons[0]
    assert tight.apply(large.settings).quantise == "nf4"
    kept = replace(large, settings=replace(large.settings, quantise="none"))
    assert not plan_training(kept, int(half * 1.5)).way.quantised


def test_a_gpu_without_bitsandbytes_trains_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("character_chatbot.training.quantisation.find_spec", lambda name: None)
    large = replace(demand(GPU), config=shape(4, **LARGE))
    plan = plan_training(large, int(large.estimate(Way(8)).total * 1.5))
    assert not plan.way.quantised
    assert plan.apply(large.settings).quantise == "none"
    assert plan.reasons == ("no bitsandbytes: float16; for a base in 4 bits: pip install bitsandbytes==0.50.2",)
    with pytest.raises(TrainingError) as caught:
        plan_training(large, large.estimate(Way(1, quantised=True)).total)
    assert ("A base in 4 bits", "pip install bitsandbytes==0.50.2, then --quantise nf4") in caught.value.remedies


def test_what_cannot_be_estimated_is_trained_as_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("character_chatbot.machine.activations._run", lambda *_: 1 // 0)
    caplog.set_level(logging.DEBUG)
    odd = replace(demand(), config=shape(7))
    plan = plan_training(odd, 2**40)
    assert plan == Plan(Way(8), None, plan.reasons)
    assert "llama cannot be estimated (ZeroDivisionError)" in plan.reasons[0]


@pytest.mark.slow
def test_the_command_line_refuses_before_weights_are_read(nano_folder: Callable[..., Path], tmp_path: Path) -> None:
    """A folder with a tokenizer and a config of 400 billion parameters, and no weights at all."""
    base, project = nano_folder(), Path(__file__).resolve().parent.parent
    (base / "model.safetensors").unlink()
    large = {"hidden_size": 131072, "intermediate_size": 524288, "num_attention_heads": 1024, "num_key_value_heads": 8}
    shape(2, **large, architectures=["LlamaForCausalLM"]).save_pretrained(base)
    data = project / "data" / "sample_series"
    command = ["train", "llama", "--base", str(base), "--data", str(data), "--registry", "reg"]
    done = subprocess.run(
        [sys.executable, str(project / "training_pipeline.py"), *command],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"Error: this training takes about \d+\.\d GiB, and \d+\.\d can be had\.", done.stderr)
    assert "A smaller base:" in done.stderr
    assert "Traceback" not in done.stderr


# the machine


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """``/proc`` and ``/sys/fs/cgroup`` with 8 GiB to be had, 1 GiB of it this process's own, and these files."""

    def make(groups: str, files: dict[str, str]) -> tuple[Path, Path]:
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {7 * 2**20} kB\n")
        (proc / "self" / "status").write_text(f"Name: python\nRssAnon:\t {2**20} kB\n")
        (proc / "self" / "cgroup").write_text(groups)
        for name, text in files.items():
            (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
            (cgroups / name).write_text(text)
        return proc, cgroups

    return make


GIB = 2**30
V2 = {"a/memory.max": str(4 * GIB), "a/memory.current": str(3 * GIB), "a/memory.stat": f"anon 1\ninactive_file {GIB}\n"}
V1 = {
    "memory/memory.limit_in_bytes": str(5 * GIB),
    "memory/memory.usage_in_bytes": str(3 * GIB),
    "memory/memory.stat": "",
}


@pytest.mark.parametrize(
    ("groups", "files", "gib"),
    [
        ("0::/\n", {}, 8),
        ("0::/a/b\n", V2, 3),
        ("0::/a\n", V2 | {"a/memory.max": "max"}, 8),
        ("4:memory:/docker/of/the/host\n0::/\n", V1, 3),
        ("4:memory:/\n", V1 | {"memory/memory.limit_in_bytes": "9223372036854771712"}, 8),
        ("5:cpu:/a\n", V2, 8),
    ],
)
def test_the_least_limit_counts(
    machine: Callable[..., tuple[Path, Path]], groups: str, files: dict[str, str], gib: int
) -> None:
    assert available_host_bytes(1, *machine(groups, files)) == gib * GIB


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert available_host_bytes(1, tmp_path, tmp_path) is None


def test_processes_of_one_machine_share_what_is_left(
    machine: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two gets half of the 7 GiB that nobody has, beside its own 1 GiB."""
    from character_chatbot.machine import machine_memory

    proc, cgroups = machine("0::/\n", {})
    real = machine_memory.available_host_bytes
    monkeypatch.setattr(machine_memory, "available_host_bytes", lambda sharers: real(sharers, proc, cgroups))
    assert machine_memory.available_bytes("cpu") == 8 * GIB
    for name, number in {"LOCAL_RANK": 1, "WORLD_SIZE": 6, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(number))
    assert machine_memory.available_bytes("cpu") == 4.5 * GIB


# four bits, on the CPU


@pytest.mark.slow
def test_a_base_in_four_bits_is_trained_in_float32(
    series_folder: Callable[..., Path], nano_folder: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    import torch
    from doubles import killed_training as double

    from character_chatbot.bases import load_model, nano_base
    from character_chatbot.training.adapter import train_adapter

    folder, device = nano_folder(), Device("cpu", "bfloat16", "a test")
    _, tokenizer, given = double.load(series_folder(episodes=4), folder)
    model = load_model(nano_base(folder), device, quantised=True)
    assert model.is_loaded_in_4bit
    settings = replace(double.SETTINGS, max_steps=2, checkpoint_steps=0)
    found = train_adapter(model, tokenizer, given, settings=settings, device=device, folder=tmp_path / "checkpoints")
    assert [math.isfinite(loss) for _, loss in found.losses] == [True, True]
    assert {each.dtype for each in found.model.parameters() if each.requires_grad} == {torch.float32}


def test_four_bits_without_bitsandbytes_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from character_chatbot.training import quantisation

    monkeypatch.setattr(quantisation, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install bitsandbytes"):
        quantisation.build_quantisation(GPU)
