"""A training whose memory runs out goes on in smaller parts, to the same end, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from character_chatbot.recovery.out_of_memory import InHalves, is_out_of_memory, split
from character_chatbot.training.adapter import TrainingResult
from utils.announcements import Announcements
from utils.errors import TrainingError

NO_ROOM = "[enforce fail at alloc_cpu.cpp:133] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate"


@pytest.fixture
def trained(series_folder: Callable[..., Path], nano_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """Trains four steps on the tiny series; ``name`` is that of the folder for checkpoints."""
    from doubles import killed_training as double

    from character_chatbot.machine.devices import choose_device
    from character_chatbot.training.adapter import train_adapter

    series, base = series_folder(episodes=4), nano_folder()
    numbers = {"max_steps": 4, "checkpoint_steps": 0, "lora_dropout": 0.0}
    settings = replace(double.SETTINGS, **numbers, sequences_per_step=8, sequences_per_batch=4)

    def train(name: str, announcements: Announcements | None = None, **changes: Any) -> TrainingResult:
        model, tokenizer, examples = double.load(series, base)
        return train_adapter(
            model, tokenizer, examples, settings=replace(settings, **changes), device=choose_device(),
            folder=tmp_path / name, announcements=announcements,
        )  # fmt: skip

    return train


class Memory:
    """Room for ``at_once`` sequences; from batch ``start`` on more raise what torch raises, half-way back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at_once: int, start: int = 0, always: bool = False) -> None:
        from character_chatbot.training import reply_trainer

        self.at_once, self.start, self.always, self.calls, self.refused = at_once, start, always, 0, 0
        self._real = reply_trainer.reply_nats
        monkeypatch.setattr(reply_trainer, "reply_nats", self.reply_nats)

    def reply_nats(self, model: Any, inner: Any, inputs: Any) -> Any:
        nats, logits = self._real(model, inner, inputs)
        self.calls += 1
        dialogues = {(r, s) for r, row in enumerate(inputs["segment"].tolist()) for s in row if s >= 0}
        personas = {(r, p) for r, row in enumerate(inputs["persona"].tolist()) for p in row if p >= 0}
        full = len(dialogues - personas) > self.at_once or (self.always and not inner.is_activation_checkpointing)
        if self.calls > self.start and full:
            self.refused += 1
            nats.register_hook(self._fail_after_a_layer(inner))
        return nats, logits

    def _fail_after_a_layer(self, inner: Any) -> Any:
        def fail(gradient: torch.Tensor) -> None:
            for parameter in inner.parameters():  # some gradients are there already: they must not count twice
                if parameter.requires_grad:
                    parameter.grad = torch.full_like(parameter, 3.0)
                    break
            raise RuntimeError(f"{NO_ROOM} 8388608 bytes. Error code 12 (Cannot allocate memory)")

        return fail


@pytest.mark.parametrize(("at_once", "start"), [pytest.param(2, 0, marks=pytest.mark.slow), (1, 3)])
def test_a_step_without_room_is_done_again_in_parts(
    trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, at_once: int, start: int
) -> None:
    whole = trained("whole")
    memory, announcements = Memory(monkeypatch, at_once, start), Announcements()
    parts = trained("parts", announcements)
    assert memory.refused == {2: 1, 1: 2}[at_once]
    assert [step for step, _ in parts.losses] == [1, 2, 3, 4]
    assert [loss for _, loss in parts.losses] == pytest.approx([loss for _, loss in whole.losses], abs=1e-5)
    ours, theirs = (dict(each.model.named_parameters()) for each in (parts, whole))
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name], atol=1e-5, rtol=1e-4)
    notes = list(announcements)
    assert len(notes) == memory.refused
    assert notes[-1].got.startswith(f"{at_once} at once")
    assert f"in step {start // 2 + 1} (" in notes[0].why


def test_one_sequence_alone_gets_activation_checkpointing(
    trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained("whole")
    Memory(monkeypatch, at_once=4, always=True)
    announcements = Announcements()
    parts = trained("parts", announcements)
    assert [loss for _, loss in parts.losses] == pytest.approx([loss for _, loss in whole.losses], abs=1e-5)
    assert [each.feature for each in announcements] == 2 * ["sequences in memory at once"] + ["activations of a step"]


def test_where_nothing_smaller_is_left_the_run_ends_with_what_to_change(
    trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory(monkeypatch, at_once=0)
    with pytest.raises(TrainingError, match="with 1 sequences at once") as caught:
        trained("none", sequences_per_batch=2)
    assert "--base" in str(caught.value)


@pytest.mark.slow
def test_dropout_is_drawn_from_where_the_step_began(
    trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts draw other dropout than the whole, but the same run out of memory twice comes to the same."""
    results = []
    for name in ("one", "other"):
        with monkeypatch.context() as patch:
            Memory(patch, at_once=2, start=1)
            results.append([loss for _, loss in trained(name, lora_dropout=0.1).losses])
    assert results[0] == pytest.approx(results[1])


def test_other_errors_are_no_want_of_memory(trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InHalves, "_do", lambda *_: (_ for _ in ()).throw(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trained("other")


def test_what_torch_raises_without_room_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(("count", "parts"), [(8, 2), (7, 4), (3, 8), (1, 2)])
def test_parts_hold_everything_once(count: int, parts: int) -> None:
    found = split(range(count), parts)
    assert [each for part in found for each in part] == list(range(count))
    assert all(len(part) in {count // min(parts, count), -(-count // parts)} for part in found)
