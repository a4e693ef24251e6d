"""A GPU that torch cannot use ends the job; a machine without one goes on, and both are said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aws.errors import PlaceError
from aws.instance.gpu import check_gpu

CARD = "Tesla T4, 580.95.05"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, says: str, status: int = 0) -> str:
    file = folder / name
    file.write_text(f"#!{sys.executable}\nprint({says!r})\nraise SystemExit({status})\n")
    file.chmod(0o755)
    return str(file)


def test_no_driver_is_no_fault(programs: Path) -> None:
    said: list[str] = []
    check_gpu(program(programs, "python", "never asked", 1), said.append)
    assert said == ["this machine has no NVIDIA driver: the program runs on its processor"]


def test_a_driver_without_a_card_is_no_fault(programs: Path) -> None:
    said: list[str] = []
    program(programs, "nvidia-smi", "No devices were found", 6)
    check_gpu(program(programs, "python", "never asked", 1), said.append)
    assert "No devices were found" in said[0]


def test_a_card_that_torch_uses_is_named(programs: Path) -> None:
    said: list[str] = []
    program(programs, "nvidia-smi", CARD)
    check_gpu(program(programs, "python", "2.13.0+cu130 13.0"), said.append)
    assert said == [f"GPU: {CARD}; torch 2.13.0+cu130 13.0"]


def test_a_card_that_torch_cannot_use_ends_the_job(programs: Path) -> None:
    program(programs, "nvidia-smi", CARD)
    python = program(programs, "python", "2.13.0+cu130 13.0", 1)
    with pytest.raises(PlaceError, match=r"torch 2\.13\.0.*Tesla T4.*aws\.training\.image"):
        check_gpu(python, print)
