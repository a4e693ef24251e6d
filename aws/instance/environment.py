"""The environment of a job: what requirements.txt names, installed once for each content of that file.

A machine with a GPU gets what requirements-gpu.txt names as well: training goes without, in half precision.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from aws.errors import PlaceError
from aws.instance.child import DISK_FULL, Ended

INSTALLED = ".installed"
ONLY_GPU = "requirements-gpu.txt"
DRIVER = "nvidia-smi"
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--progress-bar", "off")
# What pip says when a download broke off; its own retries do not cover the body of a large wheel.
BROKEN_OFF = ("ReadTimeoutError", "IncompleteRead", "Connection broken", "ConnectionResetError", "ProtocolError")

Run = Callable[[Sequence[str]], Ended]


def install_requirements(venv: Path, code: Path, torch_index: str, run: Run, say: Callable[[str], None]) -> None:
    """Complete the environment. torch goes first: the other packages must not choose a build of their own.

    Args:
        torch_index: where pip looks for torch; empty: its default index.
        run: starts a program and waits for it.

    Raises:
        PlaceError: its text is the line in which pip says why.
    """
    if (venv / INSTALLED).exists():
        say("the environment is there already")
        return
    python, requirements = str(venv / "bin" / "python"), code / "requirements.txt"
    torch = _torch_requirement(requirements)
    if torch:
        _install_torch(python, torch, torch_index, run, say)
    _pip([python, *PIP, "-r", str(requirements)], run, say)
    if (code / ONLY_GPU).exists() and shutil.which(DRIVER):
        _install_for_gpu([python, *PIP, "-r", str(code / ONLY_GPU)], run, say)
    (venv / INSTALLED).touch()


def _install_for_gpu(command: Sequence[str], run: Run, say: Callable[[str], None]) -> None:
    try:
        _pip(command, run, say)
    except PlaceError as error:
        say(f"{ONLY_GPU} is not installed, so no base is trained in 4 bits, because of: {error.what}")


def _install_torch(python: str, torch: str, index: str, run: Run, say: Callable[[str], None]) -> None:
    if index:
        try:
            _pip([python, *PIP, torch, "--index-url", index], run, say)
            return
        except PlaceError as error:
            say(f"torch comes from pip's default index instead of {index}, because of: {error.what}")
    _pip([python, *PIP, torch], run, say)


def _pip(command: Sequence[str], run: Run, say: Callable[[str], None]) -> None:
    ended = run(command)
    if ended.exit_status and any(sign in line for line in ended.lines for sign in BROKEN_OFF):
        say("a download broke off; once more")
        ended = run(command)
    if ended.exit_status:
        raise PlaceError(pip_problem(ended))


def pip_problem(ended: Ended) -> str:
    """pip's own line for what went wrong."""
    full = [line.strip() for line in ended.lines if any(sign in line for sign in DISK_FULL)]
    return full[-1] if full else ended.last_line("ERROR:", "error:")


def _torch_requirement(requirements: Path) -> str:
    """``torch==2.13.0``; empty where the file does not name it."""
    try:
        rows = requirements.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PlaceError(f"{requirements} cannot be read: {error.strerror}.") from None
    return next((row.partition("#")[0].strip() for row in rows if row.startswith("torch==")), "")
