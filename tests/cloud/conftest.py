"""An AWS account of its own for each test that asks for it, see tests/doubles/account.py."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from doubles.account import ACCOUNT_NUMBER, Account
from doubles.cloud import Site, local_names, make_site
from doubles.console import FAR, PAGE, RUN, Console
from doubles.machines import Machines

from aws.config import SERVING, Names
from aws.sessions import Sessions
from config import AwsSettings


@pytest.fixture
def account() -> Iterator[Account]:
    """An empty account with the public images; nothing leaves this process."""
    with Account() as made:
        yield made


@pytest.fixture
def sessions(account: Account) -> Sessions:
    """Clients of the account with the default settings."""
    return Sessions(AwsSettings())


@pytest.fixture
def names() -> Names:
    """What things are called in the account."""
    return Names(AwsSettings(), ACCOUNT_NUMBER)


@pytest.fixture
def machines(account: Account, tmp_path: Path) -> Iterator[Machines]:
    """A machine behind every instance of the account."""
    with Machines(account, tmp_path / "machines") as made:
        yield made


@pytest.fixture
def site(account: Account, machines: Machines, tmp_path: Path) -> Iterator[Site]:
    """The account with its set-up, training data, machines and a tiny program to train with."""
    with ExitStack() as stack:
        for patch in local_names(tmp_path / "project"):
            stack.enter_context(patch)
        yield make_site(account, machines, tmp_path)


@pytest.fixture
def console(
    account: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Console]:
    """Handlers of logs and signals are as they were after it."""
    root, handler = logging.getLogger(), signal.getsignal(signal.SIGTERM)
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    yield Console(account, tmp_path, capsys, monkeypatch)
    for each in root.handlers:
        each.close()
    root.handlers[:] = before
    root.setLevel(level)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def busy(console: Console) -> dict[str, str]:
    """A training at home, and a page abroad that is past its deadline."""
    console.set_up()
    training, page = console.launch(RUN), console.launch(PAGE, hours=-1, purpose=SERVING, region=FAR)
    command = ["training_pipeline.py", "train", "llama"]
    record = console.begin(RUN, training)
    assert record.job["command"] == command
    console.save(RUN, "state", stage="running", message=" ".join(command), attempt=1,
                 progress={"stage": "training", "step": 20, "steps": 90, "loss": 2.5, "seconds_left": 600})  # fmt: skip
    console.store.put(f"logs/llama/{RUN}.log", b"one\ntwo\nthree\n")
    console.begin(PAGE, page, region=FAR, purpose=SERVING, deadline="", outcome={"url": "http://127.0.0.1:9"})
    announcement = {"feature": "Chat", "wanted": "version", "got": "base", "why": "none is there", "remedy": "train"}
    progress = {"label": "the base", "announcements": [announcement]}
    console.save(PAGE, "state", stage="running", message="", attempt=1, progress=progress)
    return {"training": training, "page": page}
