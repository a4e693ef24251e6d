"""The log of a run as text: pieces that are cut anywhere, bytes that are no text."""

from __future__ import annotations

import io

import pytest
from doubles.console import RUN, Console

from aws.cloud import open_cloud
from aws.commands.output import LogStream
from aws.commands.watcher import TerminalWatcher
from aws.operations.logs import last_lines, whole_log
from aws.places import PlaceStatus
from config import load_settings
from utils.terminal import CLEAR_LINE, Terminal


def test_a_log_with_bytes_that_are_no_text(console: Console) -> None:
    console.set_up()
    console.begin(RUN, "i-0000000000000000a")
    console.store.put(f"logs/llama/{RUN}.log", b"one\n\xff two\nthree")
    cloud = open_cloud(load_settings(console.config))
    assert whole_log(cloud, RUN) == "one\n\ufffd two\nthree"
    assert last_lines(cloud, RUN, 2) == "\ufffd two\nthree"
    assert last_lines(cloud, RUN, 9) == whole_log(cloud, RUN)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_piece_may_end_within_a_character(size: int) -> None:
    stream, content = io.StringIO(), "naïve – 東京\n".encode()
    log = LogStream(stream)
    for place in range(0, len(content), size):
        log.write(content[place : place + size])
    assert stream.getvalue().encode() == content
    assert log.at_line_start


class Screen(io.StringIO):
    """Takes what is written, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_moving_line_waits_for_the_end_of_the_logs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    watcher = TerminalWatcher(Terminal(), RUN, 0.5)
    status = PlaceStatus(RUN, "running", {"step": 1, "steps": 9})
    watcher.write(b"half a")
    watcher.show(status)
    watcher.write(b" line\n")
    watcher.show(status)
    watcher.write(b"next\n")
    moving = "running: step 1 of 9, 0.00 USD so far"
    assert screen.getvalue() == f"half a line\n{CLEAR_LINE}{moving}{CLEAR_LINE}next\n"


@pytest.mark.parametrize(("handed_over", "wanted"), [(True, "d"), (False, "e")])
def test_ctrl_c_with_nobody_to_ask(handed_over: bool, wanted: str) -> None:
    assert TerminalWatcher(Terminal(), RUN, 0.5).interrupted(handed_over) == wanted
