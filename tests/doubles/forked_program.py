"""training_pipeline.py in a process of its own that has the libraries already: forked from a server that imports once.

    done = run(["train", "llama"], environment, folder)          done.returncode, done.stdout, done.stderr
    process = start(["train", "llama"], environment, folder)     process.send_signal(…), process.wait(…), process.kill()

To import torch and what stands on it takes a new interpreter seconds; all else is as in a process that a shell starts:
its arguments, environment, working folder, signals, standard streams and exit code. What is read from the environment
while a library is imported (HF_ENDPOINT, HF_HOME) is the server's. torch computes on one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

TESTS = Path(__file__).resolve().parent.parent
PRELOADED = [
    "doubles.killed_training",
    "training_pipeline",
    "character_chatbot.training.run",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
]


def server() -> Any:
    """The context whose processes are forked from the server; one server for all tests of this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def start_process(target: Any, *given: Any, **named: Any) -> Any:
    """A process that calls a function of a module of the tests."""
    process = server().Process(target=target, args=given, kwargs=named, daemon=True)  # a failed test may leave it
    # The server gets no sys.path; it is started with the first process.
    with mock.patch.dict(os.environ, {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}):
        process.start()
    return process


class Program:
    """A program that has been started; its words go to files."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._words = list(words)
        self._said = Path(tempfile.mkdtemp(dir=folder, prefix=".said-"))
        self._process = start_process(act, self._words, dict(environment), folder, self._said)

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self._words, timeout)
        return int(self._process.exitcode)

    def done(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Wait for its end; what it said."""
        code = self.wait(timeout)
        out, err = ((self._said / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(self._words, code, out, err)


def act(words: Sequence[str], environment: Mapping[str, str], folder: Path, said: Path) -> None:
    """Be the program, in the process that was forked."""
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        file = os.open(said / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream.fileno())
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["training_pipeline.py", *words]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    import torch

    import training_pipeline
    from utils.command_line import run_command

    torch.set_num_threads(1)  # the server's threads have not come along, and OpenMP would wait for them
    sys.exit(run_command(training_pipeline.main, words))
