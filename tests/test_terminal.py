"""Talking at the terminal: questions and their defaults, the moving line, colours; with a real pseudo-terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config import Secret
from utils.errors import UsageError
from utils.terminal import CLEAR_LINE, PLAIN, RED, Terminal

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(Terminal, "is_interactive", property(lambda terminal: True))
    return Terminal()


def types(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


class Screen(io.StringIO):
    """Takes what is written, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


# nobody is there


def test_with_nobody_there_questions_are_errors_and_choices_take_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    types(monkeypatch, "y", "y", "y")
    terminal = Terminal()
    assert not terminal.is_interactive
    for ask in (
        lambda: terminal.confirm("Launch it?"),
        lambda: terminal.text("Region?", "us-east-1"),
        lambda: terminal.typed("Gone.", "word"),
    ):
        with pytest.raises(UsageError, match="nobody is there to answer") as caught:
            ask()
        assert caught.value.remedies == [("Answer beforehand", "--yes")]  # completed by run_command
    assert terminal.choose("What?", {"d": "detach", "e": "end"}, "e") == "e"
    assert terminal.secret("Token:") == Secret("")


def test_yes_answers_everything_without_asking(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(yes=True)
    assert terminal.confirm("Launch it?") and terminal.confirm("End them?", default=False)
    assert terminal.text("Region?", "us-east-1") == "us-east-1"
    assert terminal.typed("Gone.", "word")
    assert terminal.choose("What?", {"d": "detach", "e": "end"}, "d") == "d"
    assert not terminal.secret("Token:")
    assert capsys.readouterr() == ("", "")


# somebody is


@pytest.mark.parametrize(
    ("answer", "default", "wanted"),
    [
        ("", True, True), ("", False, False), ("y", False, True), ("YES", False, True), ("n", True, False),
        ("no", True, False), ("maybe", True, False), (" y ", False, True),
    ],
)  # fmt: skip
def test_yes_and_no(
    somebody: Terminal, monkeypatch: pytest.MonkeyPatch, answer: str, default: bool, wanted: bool
) -> None:
    types(monkeypatch, answer)
    assert somebody.confirm("Sure?", default=default) is wanted


def test_texts_words_and_choices(
    somebody: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    types(monkeypatch, "", " eu-west-1 ", "destroy", "word", "x", "detach", "")
    assert somebody.text("Region?", "us-east-1") == "us-east-1"
    assert somebody.text("Region?", "us-east-1") == "eu-west-1"
    assert not somebody.typed("Gone.", "word")
    assert somebody.typed("Gone.", "word")
    answers = {"d": "detach, it goes on", "e": "end it"}
    assert somebody.choose("Not over.", answers, "e") == "d"  # after one that was none
    assert somebody.choose("Not over.", answers, "e") == "e"
    told = capsys.readouterr()
    assert told.out == ""  # questions never get into what a pipe reads
    assert "Region? [us-east-1] " in told.err and "Type word to go on: " in told.err
    assert told.err.count("Not over. d: detach, it goes on, e: end it [e] ") == 3


def test_the_end_of_the_input_is_an_interruption(somebody: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    types(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        somebody.confirm("Sure?")


def test_a_secret_is_read_unseen(somebody: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt, stream: asked.append(prompt) or " hf_1 ")
    assert somebody.secret("Token:").reveal() == "hf_1"
    assert asked == ["Token: "]


# lines


def test_a_stage_has_the_time_since_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(_started=time.monotonic() - 754)
    terminal.say("starting", "asking for g4dn.xlarge")
    assert capsys.readouterr().err == "[ 12:34] starting: asking for g4dn.xlarge\n"


def test_the_moving_line_is_for_terminals_and_is_cleared_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal().move("step 1")
    assert capsys.readouterr().err == ""
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    terminal = Terminal()
    terminal.move("step 1")
    terminal.move("step 2")
    terminal.line("done")
    terminal.clear()
    assert screen.getvalue() == f"{CLEAR_LINE}step 1{CLEAR_LINE}step 2{CLEAR_LINE}done\n"


def test_a_moving_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    Terminal().move("x" * 100)
    assert screen.getvalue() == CLEAR_LINE + "x" * 19


def test_red_only_where_standard_output_is_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Terminal().red("late") == "late"
    monkeypatch.setattr("sys.stdout", Screen())
    assert Terminal().red("late") == f"{RED}late{PLAIN}"


# a real one


PROGRAM = """
from utils.terminal import Terminal
terminal = Terminal()
terminal.move("working")
print(terminal.confirm("Launch it?", default=False), terminal.red("late"), len(terminal.secret("Token:").reveal()))
"""


def test_at_a_pseudo_terminal() -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=PROJECT, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    seen = _read_until(leader, "[y/N] ")
    os.write(leader, b"y\n")
    seen += _read_until(leader, "Token: ")
    os.write(leader, b"hf_12345\n")
    seen += _read_until(leader, "\n", after="True")
    assert process.wait(20) == 0
    os.close(leader)
    assert f"{CLEAR_LINE}working{CLEAR_LINE}Launch it? [y/N] " in seen
    assert re.search(rf"True {re.escape(RED)}late{re.escape(PLAIN)} 8", seen)
    assert "hf_12345" not in seen


def _read_until(descriptor: int, text: str, after: str = "", seconds: float = 20) -> str:
    seen, end = "", time.monotonic() + seconds
    while text not in seen[max(0, seen.find(after)) :] or after not in seen:
        ready, _, _ = select.select([descriptor], [], [], end - time.monotonic())
        assert ready, f"{text!r} did not come: {seen!r}"
        try:
            seen += os.read(descriptor, 4096).decode()
        except OSError:  # the program has ended
            break
    return seen
