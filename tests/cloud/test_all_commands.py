"""What all commands of deploy_aws.py have in common: dry runs, JSON, wrong words, and secrets that stay secret."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doubles.console import PAGE, RUN, Console

from aws.config import SERVING
from aws.errors import PlaceError
from utils.command_line import FAILED, INTERRUPTED, WRONG_USAGE

TOKEN, PASSWORD = "hf_" + "Q7x" * 10, "correct-horse-battery"

Series = Callable[..., Path]


# all of them


COMMANDS: dict[str, tuple[str, ...]] = {
    "init": (),
    "upload-data": ("--data", "{series}"),
    "train": ("llama", "--new"),
    "deploy-gradio": (),
    "terminate": ("--all",),
    "doctor": ("--reap",),
    "destroy": ("--with-data",),
    "models promote": ("llama", "20261120-101530"),
    "models rollback": ("llama",),
    "models pull": ("llama",),
    "models push": ("llama", "20261121-101530"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dry_run_changes_nothing(console: Console, series_folder: Series, own_environment: Path, name: str) -> None:
    series = series_folder()
    console.set_up(series)
    console.publish("20261120-101530", "20261121-101530")
    if name == "models push":
        assert console("models", "pull", "llama").code == 0
    console.launch(PAGE, hours=-1, purpose=SERVING)
    files = {file: file.read_bytes() for file in own_environment.rglob("*") if file.is_file()}
    settings = console.config.read_text()
    words = [word.format(series=series) for word in COMMANDS[name]]
    for form in ([], ["--json"]):
        done = console(*name.split(), *words, "--dry-run", *form)
        assert done.code == (3 if name == "doctor" else 0), done.err
        assert done.changes == []
        assert done.out and (not form or done.json is not None)
    assert console.config.read_text() == settings
    logs = own_environment / "logs"
    assert {file: file.read_bytes() for file in files if file.parent != logs} == {
        file: content for file, content in files.items() if file.parent != logs
    }


LOOKS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("list-instances",),
    ("logs", RUN),
    ("cost",),
    ("doctor",),
    ("models", "list"),
    ("models", "show", "llama"),
    ("models", "verify", "llama"),
)


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_json_is_alone_on_standard_output(console: Console, busy: dict[str, str], words: tuple[str, ...]) -> None:
    console.publish("20261120-101530")
    done = console(*words, "--json")
    assert done.code in (0, 3), done.err
    assert done.json is not None
    assert done.changes == []


def test_wrong_words_are_sentences(console: Console) -> None:
    for words, message in (
        (["trian", "llama"], "'trian'"),
        (["train", "gpt"], "'gpt'"),
        (["status", "--lines", "0"], "0 is less than 1"),
        (["deploy-gradio", "--max-hours", "-1"], "it goes from 0.1"),
        (["logs"], "required: RUN"),
        (["models", "show"], "needs a family"),
    ):
        done = console(*words)
        assert (done.code, done.out) == (WRONG_USAGE, "")
        assert done.err.startswith("Error: ") and message in done.err


def test_sigterm_ends_a_command_as_ctrl_c_does(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    console.set_up()
    monkeypatch.setattr(
        "aws.commands.looking.time.sleep", lambda seconds: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(1))
    )
    assert console("status", "--watch").code == INTERRUPTED


# secrets


def objects(console: Console) -> str:
    """All that lies in the bucket, in one text."""
    return "".join(f"{key}\n{console.store.get(key)[0].decode(errors='replace')}" for key, _ in console.store.list(""))


def test_a_secret_is_in_no_output_no_log_no_call_and_no_object(
    console: Console, series_folder: Series, own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("APP_PASSWORD", PASSWORD)

    def refuse(*_: Any, **__: Any) -> None:
        raise PlaceError(f"the machine said {TOKEN} and {PASSWORD}.")

    monkeypatch.setattr("aws.machines.handover.HandOver.hand_over", refuse)
    series, shown = series_folder(), ""
    for words in (
        ["init", "--yes"],
        ["upload-data", "--data", str(series)],
        ["train", "llama", "--yes"],
        ["deploy-gradio", "--yes"],
        ["status"],
        ["status", "--json"],
        ["doctor", "--json"],
        ["cost"],
        ["logs", "nobody"],
        ["terminate", "--all", "--yes"],
        ["destroy", "--dry-run"],
    ):
        done = console(*words, "--debug")
        shown += done.out + done.err
        if words[0] in ("train", "deploy-gradio"):
            assert done.code == FAILED and "Traceback" in done.err and "the machine said ********" in done.err
    calls = "".join(call.text() for call in console.account.calls if call.operation != "PutParameter")
    logs = "".join(file.read_text() for file in (own_environment / "logs").iterdir())
    disks = "".join(file.read_text(errors="replace") for file in own_environment.rglob("*") if file.is_file())
    assert len(console.account.calls_of("RunInstances")) >= 2  # they got as far as that
    assert len(console.account.calls_of("PutParameter")) == 2  # where they belong
    for text in (shown, calls, logs, disks, objects(console), console.config.read_text()):
        assert TOKEN not in text
        assert PASSWORD not in text


def test_debug_shows_where_it_failed(console: Console) -> None:
    done = console("logs", "nobody", "--debug")
    assert done.code == WRONG_USAGE and "Traceback (most recent call last)" in done.err
    assert "\nError: 'nobody' is not the name of a run." in done.err
    assert "Traceback" not in console("logs", "nobody").err
