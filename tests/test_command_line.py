"""Commands as a user types them: exit codes, errors as sentences, Ctrl-C, closed pipes, secrets that stay secret."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from utils.command_line import DONE, FAILED, WRONG_USAGE, run_command
from utils.errors import DataError, RegistryError, UsageError
from utils.logs import set_up_logging

PROJECT = Path(__file__).resolve().parent.parent
TOKEN, PASSWORD = "hf_thisIsNoRealToken0123456789", "correct-horse-battery"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def clean_logging() -> Iterator[None]:
    """Handlers that a test sets up are closed and gone after it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []  # not closed: they are pytest's
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before, level


# Exit codes


def test_a_command_that_works_exits_with_0_and_prints_no_error(run_program: Run, sample_series: Path) -> None:
    done = run_program("data", "--data", sample_series)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The Pellan Light: 12 files")


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["trian", "llama"], {}, "'trian'.*'?train'?"),
        (["train", "gpt"], {}, "'gpt'.*'?llama'?"),
        (["data", "--dta", "x"], {}, "unrecognized arguments: --dta"),
        ([], {}, "required: COMMAND"),
        (["chat"], {}, "required: --character"),
        (["train", "llama", "--max-steps", "0"], {}, "0 is less than 1"),
        (["models", "show"], {}, "needs a family"),
        (["settings", "--config", "none.yaml"], {}, "no settings file none.yaml"),
        (["settings"], {"STRANGER_TRAINING__SEDE": "1"}, r"environment.*'training\.sede'(.|\n)*'training\.seed'"),
        (["settings"], {"STRANGER_TRAINING__SEED": "x"}, r"training\.seed is 'x', which is not a whole number"),
    ],
)
def test_wrong_usage_exits_with_2_and_one_sentence(
    run_program: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = run_program(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(rf"Error: .*{message}", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_and_an_empty_folder_exit_with_1(run_program: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, message in (("emptyy", "Error: no series folder .*emptyy"), ("empty", "Error: no transcript in .*empty")):
        done = run_program("data", "--data", tmp_path / name)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.match(message, done.stderr), done.stderr
        assert "python training_pipeline.py data" in done.stderr
        assert "Traceback" not in done.stderr


def test_debug_adds_the_traceback_and_keeps_code_and_sentence(run_program: Run, tmp_path: Path) -> None:
    done = run_program("data", "--data", tmp_path / "none", "--debug")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "\nError: no series folder " in done.stderr


def test_a_command_works_from_any_folder(run_program: Run, series_folder: Callable[..., Path], tmp_path: Path) -> None:
    series_folder("here")
    done = run_program("data", "--data", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The Slow Clock: 3 files, 36 rows in")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (DataError("no such thing."), FAILED, "Error: no such thing.\n"),
        (RegistryError("none.", remedies=[("Do", "this")]), FAILED, "Error: none.\n  Do:  this\n"),
        (UsageError("not so."), WRONG_USAGE, "Error: not so.\n"),
        (FileNotFoundError(2, "No such file", "x.csv"), FAILED, "Error: [Errno 2] No such file: 'x.csv'\n"),
        (
            ZeroDivisionError("by nothing"),
            FAILED,
            "Error: ZeroDivisionError: by nothing\n  This is a fault of the program. See where:  "
            "python test_command_line.py data --debug\n",
        ),
    ],
)
def test_every_error_has_a_code_and_a_sentence(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, text: str
) -> None:
    def main(given: object) -> int:
        raise error

    assert run_command(main, ["data"]) == code
    assert capsys.readouterr().err == text


def test_the_commands_own_code_is_returned() -> None:
    assert [run_command(len, words) for words in ([], ["a"], ["a", "b"])] == [DONE, 1, 2]


# Ctrl-C and closed pipes


def test_ctrl_c_in_a_conversation_exits_with_130(
    start_program: Callable[..., subprocess.Popen[str]], series_folder: Callable[..., Path]
) -> None:
    process = start_program("chat", "--source", "quotes", "--character", "Ada", "--data", series_folder())
    assert process.stderr
    for line in process.stderr:
        if line.startswith("You talk to Ada"):
            break
    process.send_signal(signal.SIGINT)
    rest, code = process.stderr.read(), process.wait(20)
    assert code == 130
    assert "Interrupted." in rest
    assert "Traceback" not in rest


def test_a_conversation_ends_with_its_input(run_program: Run, series_folder: Callable[..., Path]) -> None:
    folder = series_folder()
    words = ["chat", "--source", "quotes", "--character", "ada lock", "--data", folder]
    done = run_program(*words, stdin=None, input="Does the barn breathe?\nWhat does the spring want?")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n  (S01E0") == 2
    assert run_program(*words, stdin=None, input="\n").returncode == 0


@pytest.mark.parametrize("words", [["settings"], ["--help"], ["settings", "--json"]])
def test_a_closed_pipe_is_no_error(run_program: Run, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run_program(*words, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_head_takes_what_it_wants(sample_series: Path) -> None:
    command = f"{sys.executable} {PROJECT / 'training_pipeline.py'} data --json --data {sample_series} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_an_error_is_an_error_even_where_nobody_reads(run_program: Run, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run_program("data", "--data", tmp_path / "none", stdout=writer).returncode == 1
    finally:
        os.close(writer)


# Secrets


def test_a_secret_is_in_no_output_and_in_no_log(
    run_program: Run, monkeypatch: pytest.MonkeyPatch, own_environment: Path, series_folder: Callable[..., Path]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("APP_PASSWORD", PASSWORD)
    folder = series_folder()
    places = ["--data", folder, "--debug"]
    shown = ""
    for words in (
        ["settings", "--debug"],
        ["settings", "--json", "--debug"],
        ["status", "--source", "quotes", *places],
        ["chat", "--source", "quotes", "--character", "Ada", "--message", "Hello.", *places],
        ["chat", "--source", "quotes", "--character", "Nobody", "--message", "Hello.", *places],
    ):
        done = run_program(*words)
        shown += done.stdout + done.stderr
        assert done.returncode == (1 if "Nobody" in words else 0), done.stderr
    logs = "".join(file.read_text() for file in (own_environment / "logs").iterdir())
    assert "********" in shown  # the settings themselves
    assert "no character 'Nobody'" in logs
    for text in (shown, logs):
        assert TOKEN not in text
        assert PASSWORD not in text


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_secret_in_an_error_of_a_library_is_hidden(tmp_path: Path, own_environment: Path, debug: list[str]) -> None:
    program = f"""
import argparse, logging, sys
sys.path.insert(0, {str(PROJECT)!r})
from utils.command_line import add_common_arguments, build_settings, run_command

def main(given):
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    settings = build_settings(parser.parse_args(given), "program", {{}})
    header = "Bearer " + settings.secrets.hf_token.reveal() + " " + settings.secrets.app_password.reveal()
    logging.getLogger("library").warning("sent %s", header)
    raise RuntimeError(f"illegal header {{header}}")

sys.exit(run_command(main))
"""
    environment = os.environ | {"HF_TOKEN": TOKEN, "APP_PASSWORD": PASSWORD}
    command = [sys.executable, "-c", program, *debug]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    log = (own_environment / "logs" / "program.log").read_text()
    assert done.returncode == 1
    assert "illegal header Bearer ******** ********" in done.stderr
    assert "sent Bearer ******** ********" in log
    assert ("Traceback" in done.stderr, "Traceback" in log) == (bool(debug), bool(debug))
    for text in (done.stderr, log):
        assert TOKEN not in text
        assert PASSWORD not in text


# Logs


def test_the_console_gets_sentences_and_the_file_gets_time_and_module(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clean_logging: None
) -> None:
    set_up_logging(tmp_path / "logs", "program", debug=True)
    logging.getLogger("some.module").info("%d lines", 3)
    logging.getLogger("some.module").warning("none left")
    assert capsys.readouterr().err == "3 lines\nWarning: none left\n"
    lines = (tmp_path / "logs" / "program.log").read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO some\.module: 3 lines", lines[0])
    assert lines[1].endswith("WARNING some.module: none left")


def test_a_token_that_is_not_in_the_settings_is_hidden_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clean_logging: None
) -> None:
    set_up_logging(tmp_path, "program", ["a.b*c"], debug=True)
    logging.getLogger("library").info("%s and %s and a.bbc", f"xx{TOKEN}", "a.b*c")
    assert capsys.readouterr().err == "xx******** and ******** and a.bbc\n"


def test_a_log_folder_that_cannot_be_written_is_said_and_not_fatal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clean_logging: None
) -> None:
    (tmp_path / "logs").write_text("a file")
    set_up_logging(tmp_path / "logs", "program", debug=True)
    assert capsys.readouterr().err.startswith("Warning: no log file: ")
