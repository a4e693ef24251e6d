"""Checkpoints: whole or not there, room on the disk, handed over in the background, and fetched from a store."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doubles.bad_store import BadStore

from character_chatbot.recovery import checkpoints
from character_chatbot.recovery.checkpoint_store import CheckpointStore
from character_chatbot.recovery.checkpoints import (
    KEPT,
    MARK,
    SIDE,
    checkpoint_step,
    is_complete,
    list_checkpoints,
    newest_checkpoint,
    writing,
)
from character_chatbot.recovery.handover import Handover
from character_chatbot.recovery.stopping import StopOnSignal, Stopped, ending_on_sigterm
from config import ConfigError, load_settings
from utils.errors import StoreError, TrainingError
from utils.stores import FolderStore

PREFIX = "checkpoints/llama/0123456789abcdef"


def write(folder: Path, step: int, content: bytes = b"weights", needed_bytes: int = 0) -> Path:
    with writing(folder, step, needed_bytes) as side:
        (side / "deep").mkdir()
        (side / "deep" / "a.safetensors").write_bytes(content)
        (side / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    return folder / f"checkpoint-{step}"


# on the disk


def test_a_checkpoint_is_whole_from_the_moment_it_is_there(tmp_path: Path) -> None:
    with writing(tmp_path, 3, 0) as side:
        (side / "a").write_text("x")
        assert list_checkpoints(tmp_path) == []
        assert side.name.startswith(".")
    assert is_complete(tmp_path / "checkpoint-3")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["checkpoint-3"]


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(ValueError, match="no"), writing(tmp_path, 2, 0) as side:
        (side / "a").write_text("x")
        raise ValueError("no")
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint-1"]


def test_at_most_three_stay_and_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    for step in range(1, 12):
        write(tmp_path, step)
    assert [checkpoint_step(each) for each in list_checkpoints(tmp_path)] == [9, 10, 11]
    assert KEPT == 3
    (tmp_path / SIDE).mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-11"
    assert not (tmp_path / SIDE).exists()


def test_a_damaged_checkpoint_is_written_again(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (write(tmp_path, 2) / "deep" / "a.safetensors").write_bytes(b"weightx")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    write(tmp_path, 2)
    (tmp_path / "checkpoint-2" / MARK).unlink()
    assert is_complete(write(tmp_path, 2))


@pytest.mark.parametrize("mark", ["", "[]", "{}", '{"a": 1}', '{"a": [1]}', '{"../a": [1, "x"]}'])
def test_a_mark_that_is_none_counts_for_nothing(tmp_path: Path, mark: str) -> None:
    (write(tmp_path, 1) / MARK).write_text(mark)
    assert newest_checkpoint(tmp_path) is None


# a full disk


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1, b"x" * 10_000)
    usage = shutil.disk_usage(tmp_path)._replace(free=10_500)  # the last one and a tenth of it are more
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(TrainingError) as caught:
        write(tmp_path, 2)
    text = str(caught.value)
    for part in (f"the disk of {tmp_path} is full", "step 2 takes about 11,", "10,500 are free", "step 1 is kept"):
        assert part in text
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-1"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("how", ["plain", "torch", "safetensors"])
def test_a_disk_that_fills_up_keeps_the_last_checkpoint(small_disk: Path, how: str) -> None:
    import torch
    from safetensors.torch import save_file

    write(small_disk, 1)
    content = torch.zeros(100_000)
    with pytest.raises(TrainingError, match="was written only in part") as caught, writing(small_disk, 2, 0) as side:
        if how == "plain":
            (side / "a").write_bytes(bytes(400_000))
        elif how == "torch":
            torch.save(content, side / "a.pt")
        else:
            save_file({"a": content}, side / "a.safetensors")
    text = str(caught.value)
    assert str(small_disk) in text
    assert "step 1 is kept" in text
    del caught  # torch's writer hangs on the traceback, and with it the room that its file takes
    gc.collect()
    assert newest_checkpoint(small_disk) == small_disk / "checkpoint-1"
    write(small_disk, 2)  # there is room again


# handed over


class SlowSink:
    def __init__(self) -> None:
        self.taken: list[str] = []
        self.go = threading.Event()
        self.began = threading.Event()

    def take(self, checkpoint: Path) -> None:
        self.began.set()
        self.go.wait(20)
        self.taken.append(checkpoint.name)
        if checkpoint.name.endswith("-1"):
            raise StoreError("the bucket is gone.")


def test_the_newest_waits_and_nobody_else_does(caplog: pytest.LogCaptureFixture) -> None:
    sink = SlowSink()
    handover = Handover(sink)
    started = time.monotonic()
    handover.offer(Path("checkpoint-1"))
    assert sink.began.wait(10)
    for step in range(2, 6):
        handover.offer(Path(f"checkpoint-{step}"))
    assert time.monotonic() - started < 1
    assert not handover.close(0.05)
    sink.go.set()
    assert handover.close(10)
    assert sink.taken == ["checkpoint-1", "checkpoint-5"]
    assert "checkpoint-1 could not be handed over: the bucket is gone." in caplog.text
    assert "was not handed over within" in caplog.text


def test_nobody_wants_anything() -> None:
    handover = Handover(None)
    handover.offer(Path("checkpoint-1"))
    assert handover.close(30)


# in a store


def test_a_run_goes_on_elsewhere(tmp_path: Path) -> None:
    store = CheckpointStore(FolderStore(tmp_path / "bucket"), PREFIX)
    assert store.restore(tmp_path / "there") is None
    for step in range(1, 6):
        store.take(write(tmp_path / "here", step))
    kept = {key.split("/")[3] for key, _ in FolderStore(tmp_path / "bucket").list("checkpoints/")}
    assert kept == {"checkpoint-3", "checkpoint-4", "checkpoint-5"}
    there = tmp_path / "there"
    assert store.restore(there) == there / "checkpoint-5"
    assert newest_checkpoint(there) == there / "checkpoint-5"
    assert store.restore(there) is None  # its own are taken
    other = CheckpointStore(FolderStore(tmp_path / "bucket"), "checkpoints/llama/other")
    assert other.restore(tmp_path / "elsewhere") is None


def test_a_copy_that_broke_off_or_is_damaged_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = BadStore(tmp_path / "bucket")
    store = CheckpointStore(bad, PREFIX)
    for step in (1, 2):
        store.take(write(tmp_path / "here", step))
    bad.fail(1)
    with pytest.raises(StoreError):
        store.take(write(tmp_path / "here", 3))
    (tmp_path / "bucket" / PREFIX / "checkpoint-2" / "trainer_state.json").write_text("{}")
    assert store.restore(tmp_path / "there") == tmp_path / "there" / "checkpoint-1"
    assert "checkpoint-2 in" in caplog.text
    bad.fail(1, "list")
    with pytest.raises(StoreError):
        store.restore(tmp_path / "elsewhere")


def test_a_checkpoint_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "here", 1)
    shutil.rmtree(checkpoint)
    CheckpointStore(FolderStore(tmp_path / "bucket"), PREFIX).take(checkpoint)
    assert not (tmp_path / "bucket").exists()


# signals


def test_a_signal_is_heard_at_once_only_where_that_is_safe() -> None:
    with StopOnSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == signal.SIGTERM
        with pytest.raises(Stopped), stop.at_once():
            pytest.fail("went on")
        with pytest.raises(SystemExit) as caught:
            stop.leave()
    assert caught.value.code == 143
    with StopOnSignal() as stop:
        with pytest.raises(Stopped), stop.at_once():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        with pytest.raises(KeyboardInterrupt):
            stop.leave()


def test_a_backward_pass_is_broken_off_between_two_layers() -> None:
    import torch

    from character_chatbot.recovery.stopping import let_signals_in

    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, given: torch.Tensor) -> torch.Tensor:
            return given.clone()

        @staticmethod
        def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
            passed.append(1)
            if len(passed) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return gradient

    class Layer(torch.nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return Slow.apply(given)

    passed: list[int] = []
    layers = torch.nn.ModuleList([Layer() for _ in range(6)])
    let_signals_in(torch.nn.Sequential(layers))
    with StopOnSignal() as stop, pytest.raises(Stopped), stop.at_once():
        value = torch.ones(2, requires_grad=True)
        for layer in layers:
            value = layer(value)
        value.sum().backward()
    assert len(passed) == 2


def test_sigterm_outside_of_the_steps_ends_with_143() -> None:
    with pytest.raises(SystemExit) as caught, ending_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert caught.value.code == 143


# the setting


def test_when_checkpoints_are_written_is_a_setting(tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text("training:\n  checkpoint_steps: 20\n", encoding="utf-8")
    settings = load_settings(old, tmp_path / "none", {})
    assert (settings.training.checkpoint_steps, settings.training.checkpoint_minutes) == (20, 5.0)
    with pytest.raises(ConfigError, match="checkpoint_minutes"):
        load_settings(flags={"training.checkpoint_minutes": -1})


@pytest.fixture
def trained(series_folder: Callable[..., Path], nano_folder: Callable[..., Path]) -> Callable[..., Any]:
    """Trains two epochs of the tiny series with these settings; which steps were saved."""
    from doubles import killed_training as double

    from character_chatbot.machine.devices import choose_device
    from character_chatbot.training.adapter import train_adapter

    model, tokenizer, examples = double.load(series_folder(episodes=4), nano_folder())

    def train(folder: Path, **changes: Any) -> list[int]:
        class Sink:
            def __init__(self) -> None:
                self.steps: list[int] = []

            def take(self, checkpoint: Path) -> None:
                self.steps.append(checkpoint_step(checkpoint))

        sink, settings = Sink(), replace(double.SETTINGS, epochs=2.0, **changes)
        train_adapter(model, tokenizer, examples, settings=settings, device=choose_device(), folder=folder, sink=sink)
        return sink.steps

    return train


def test_a_checkpoint_follows_each_epoch_and_the_clock(trained: Callable[..., Any], tmp_path: Path) -> None:
    each_epoch = trained(tmp_path / "epochs", checkpoint_steps=0, checkpoint_minutes=0)
    assert len(each_epoch) == 2
    assert each_epoch[1] == 2 * each_epoch[0]


def test_a_checkpoint_follows_the_clock(trained: Callable[..., Any], tmp_path: Path) -> None:
    trained(tmp_path / "clock", checkpoint_steps=0, checkpoint_minutes=1e-6)
    kept = [checkpoint_step(each) for each in list_checkpoints(tmp_path / "clock")]
    assert kept == [kept[-1] - 2, kept[-1] - 1, kept[-1]]
