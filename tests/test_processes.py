"""Several processes train as one does: same losses, one writer, one decision; one that dies is started again."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles import joint_training as double
from safetensors.torch import load_file

from character_chatbot.monitoring.metrics_file import METRICS, read_metrics
from character_chatbot.recovery.checkpoints import list_checkpoints, newest_checkpoint
from character_chatbot.recovery.stopping import StopOnSignal
from character_chatbot.training import processes, sharding
from character_chatbot.training.dealing import Deal
from utils.errors import TrainingError

PROJECT = Path(__file__).resolve().parent.parent


class Joint:
    """Trainings of several processes each."""

    def __init__(self, series: Path, base: Path) -> None:
        self.series, self.base = series, base
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["doubles.joint_training"])

    def train(self, folder: Path, count: int, *, own_disks: bool = False, **changes: Any) -> dict[str, Any]:
        """Train to the end with so many processes. ``own_disks``: as on so many machines."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        folders = [folder / f"disk {rank}" if own_disks and rank else folder for rank in range(count)]
        for each in folders:
            each.mkdir(parents=True, exist_ok=True)
        started = [
            self._context.Process(
                target=double.start,
                args=(rank, count, port, 0 if own_disks else rank, self.series, self.base, folders[rank]),
                kwargs=changes,
            )
            for rank in range(count)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join(120)
        assert [process.exitcode for process in started] == [0] * count
        return json.loads((folder / "ended.json").read_text())


@pytest.fixture
def joint(
    series_folder: Callable[..., Path], nano_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Joint]:
    tests = Path(__file__).resolve().parent
    monkeypatch.setenv("PYTHONPATH", f"{tests}:{tests.parent}")
    yield Joint(series_folder(episodes=4), nano_folder())
    for process in multiprocessing.active_children():
        process.kill()


def assert_same(ended: dict[str, Any], reference: dict[str, Any]) -> None:
    assert ended["losses"] == [[step, pytest.approx(loss, abs=1e-5)] for step, loss in reference["losses"]]
    assert ended["weights"] == pytest.approx([reference["weights"][0]] * len(ended["weights"]), abs=1e-4)


def test_two_processes_learn_what_one_does(joint: Joint, tmp_path: Path) -> None:
    # 19 sequences, 4 a step: the last step of an epoch has 3, so that one process gets one and a silent one
    one = joint.train(tmp_path / "one", 1, sequences_per_batch=4)
    two = joint.train(tmp_path / "two", 2, sequences_per_batch=1)
    assert len(one["losses"]) == 10
    assert_same(two, one)
    lines = read_metrics(tmp_path / "two" / METRICS)
    assert [line["step"] for line in lines] == list(range(1, 11))
    newest = newest_checkpoint(tmp_path / "two" / "checkpoints")
    assert newest is not None
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= {file.name for file in newest.iterdir()}
    assert not list((tmp_path / "two" / "checkpoints").glob(".tmp*"))


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2), (3, 2)])
def test_goes_on_with_any_number_of_processes(joint: Joint, tmp_path: Path, before: int, after: int) -> None:
    reference = joint.train(tmp_path / "one", 1)
    joint.train(tmp_path / "run", before)
    for checkpoint in list_checkpoints(tmp_path / "run" / "checkpoints")[1:]:  # step 8 of 10 stays
        shutil.rmtree(checkpoint)
    ended = joint.train(tmp_path / "run", after)
    assert ended["from"] == 8
    assert_same(ended, reference)


@pytest.mark.slow
def test_a_machine_without_the_checkpoint_gets_it_from_another(joint: Joint, tmp_path: Path) -> None:
    reference = joint.train(tmp_path / "run", 2, own_disks=True)
    for checkpoint in list_checkpoints(tmp_path / "run" / "checkpoints")[1:]:
        shutil.rmtree(checkpoint)
    ended = joint.train(tmp_path / "run", 2, own_disks=True)
    assert ended["from"] == 8
    assert_same(ended, reference)
    assert not list_checkpoints(tmp_path / "run" / "disk 1" / "checkpoints")[1:]


@pytest.mark.slow
def test_a_sharded_base_learns_the_same(joint: Joint, tmp_path: Path) -> None:
    one = joint.train(tmp_path / "one", 1)
    sharded = joint.train(tmp_path / "sharded", 2, sharded=True)
    assert sharded["sharded"] and not one["sharded"]
    assert sharded["losses"] == [[step, pytest.approx(loss, abs=1e-4)] for step, loss in one["losses"]]
    adapters = [load_file(tmp_path / name / double.ADAPTER) for name in ("one", "sharded")]
    newest = newest_checkpoint(tmp_path / "sharded" / "checkpoints")
    assert newest is not None
    for adapter in (adapters[1], load_file(newest / "adapter_model.safetensors")):  # any PEFT can load it
        assert adapter.keys() == adapters[0].keys()
        assert all(torch.allclose(adapter[name], each, atol=1e-4) for name, each in adapters[0].items())
    for checkpoint in list_checkpoints(tmp_path / "sharded" / "checkpoints")[1:]:
        shutil.rmtree(checkpoint)
    ended = joint.train(tmp_path / "sharded", 2, sharded=True)
    assert ended["from"] == 8
    assert ended["losses"] == [[step, pytest.approx(loss, abs=1e-4)] for step, loss in one["losses"]]


@pytest.mark.parametrize(
    ("sequences", "batch", "count"), [(8, 2, 2), (8, 4, 2), (8, 3, 3), (7, 2, 2), (3, 1, 5), (5, 5, 1), (8, 3, 1)]
)
@pytest.mark.parametrize("given", [8, 3, 1])
def test_a_step_is_dealt_whole(sequences: int, batch: int, count: int, given: int) -> None:
    step = list(range(min(given, sequences)))
    shares = [Deal(sequences, batch, count, rank).share(step, silent=-1) for rank in range(count)]
    dealt = [index for share in shares for each in share for index in each]
    assert sorted(index for index in dealt if index >= 0) == step
    assert len({len(share) for share in shares}) == 1  # as many batches in each process, or one would wait for ever
    assert all(0 < len(each) <= batch for share in shares for each in share)


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # some clusters set it for every program
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    with processes.joined(), processes.first_of_machine():
        assert processes.first_decides(lambda: 7) == 7
        assert processes.exchange([1, 2]) == [[1, 2]]
        assert processes.gather("x") == ["x"]


def test_of_several_none_stops_by_itself() -> None:
    with StopOnSignal(together=True) as stop:
        with stop.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
            reached = True
        assert reached
        assert stop.received == signal.SIGTERM


def test_sharding_needs_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="one process"):
        sharding.choose_parallel("fsdp", "cuda")
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="no GPU"):
        sharding.choose_parallel("fsdp", "cpu")
    assert sharding.choose_parallel("auto", "cuda", fits=False) == "fsdp"
    assert sharding.choose_parallel("auto", "cuda", fits=True) == "ddp"
    assert sharding.choose_parallel("auto", "cuda") == "ddp"


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_goes_on(tmp_path: Path) -> None:
    tiny = {"HIDDEN_SIZE": 32, "LAYERS": 2, "HEADS": 2, "VOCABULARY": 600, "EPOCHS": 2}
    environment = os.environ | {f"STRANGER_NANO__{name}": str(value) for name, value in tiny.items()}
    environment |= {"STRANGER_TRAINING__CHECKPOINT_STEPS": "3", "STRANGER_PATHS__CACHE": str(tmp_path / "cache")}
    words = [
        "train",
        "llama",
        "--data",
        str(PROJECT / "data" / "sample_series"),
        "--base",
        "nano",
        "--character",
        "Pip",
    ]
    program = [str(PROJECT / "training_pipeline.py"), *words, "--max-steps", "20", "--json"]

    def start(name: str, *launcher: str) -> subprocess.Popen[str]:
        places = {each: str(tmp_path / name / each.lower()) for each in ("RUNS", "LOGS", "REGISTRY")}
        own = environment | {f"STRANGER_PATHS__{each}": place for each, place in places.items()}
        with (tmp_path / f"{name}.txt").open("w") as said:
            return subprocess.Popen(
                [sys.executable, *launcher, *program], env=own, stdout=subprocess.PIPE, stderr=said, text=True
            )

    def end(running: subprocess.Popen[str]) -> list[float]:
        told, _ = running.communicate(timeout=300)
        assert running.returncode == 0
        return [loss for _, loss in json.loads(told)["metrics"]["training"]["losses"]]

    alone = end(start("alone"))
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2")
    running = start("killed", *torchrun)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("killed/runs/llama/*/checkpoints/checkpoint-6")) and time.monotonic() < until:
        time.sleep(0.02)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert end(running) == pytest.approx(alone, abs=1e-4)
    assert "going on from step" in (tmp_path / "killed.txt").read_text()
