"""The shell of an instance, run by a real bash with a systemd that only writes down what it is told."""

from __future__ import annotations

import getpass
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles.commands import Commands, system

from aws.machines.job_unit import UNIT, build_finish, build_unit
from aws.machines.userdata import (
    LARGEST_USER_DATA_BYTES,
    Poll,
    build_user_data,
    parse_poll,
    poll_command,
    start_command,
)
from utils.errors import UsageError

USER = getpass.getuser()
LATER = datetime.now(UTC) + timedelta(hours=4)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return system(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "opt" / "stranger"


def scripts() -> list[str]:
    return [
        build_user_data(LATER, 30, "ubuntu"),
        build_user_data(None, 30, "admin"),
        start_command("/opt/stranger", restart=False, user="ubuntu"),
        start_command("/opt/stranger", restart=True, user="ec2-user"),
        build_finish("/opt/stranger"),
        poll_command("/opt/stranger", 12, 100),
    ]


# the first boot


@pytest.mark.parametrize("script", scripts())
def test_bash_understands_it(script: str) -> None:
    checked = subprocess.run(["/bin/bash", "-n", "-c", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", scripts())
def test_shellcheck_finds_nothing(script: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script)
    subprocess.run(["shellcheck", "-s", "bash", str(tmp_path / "script")], check=True)


def test_it_is_small_and_starts_with_what_runs_it() -> None:
    script = build_user_data(LATER, 30, "ubuntu")
    assert script.startswith("#!/bin/bash\n")
    assert len(script.encode()) < LARGEST_USER_DATA_BYTES


def test_the_belts_come_before_the_folder(commands: Commands, folder: Path) -> None:
    done = commands.run(build_user_data(datetime(2036, 11, 21, 14, 30, tzinfo=UTC), 25, USER, str(folder)))
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "ready").exists()
    assert not (folder / "failed").exists()
    assert (folder / "work").owner() == USER
    assert commands.calls() == [
        "systemctl daemon-reload",
        "systemctl enable --now stranger-deadline.timer stranger-force.timer",
        "systemctl daemon-reload",
        "systemctl enable --now stranger-idle.timer",
    ]
    assert "OnCalendar=2036-11-21 14:30:00 UTC" in commands.unit("stranger-deadline.timer")
    assert "OnCalendar=2036-11-21 14:40:00 UTC" in commands.unit("stranger-force.timer")
    assert "Persistent=true" in commands.unit("stranger-deadline.timer")
    service = commands.unit("stranger-deadline.service")
    assert service.index(f"systemctl stop {UNIT}") < service.index("shutdown -h now")
    assert "OnActiveSec=25min" in commands.unit("stranger-idle.timer")


def test_a_deadline_in_another_zone_is_the_same_moment(commands: Commands, folder: Path) -> None:
    from zoneinfo import ZoneInfo

    moment = datetime(2036, 11, 21, 14, 30, tzinfo=UTC).astimezone(ZoneInfo("America/New_York"))
    commands.run(build_user_data(moment, 25, USER, str(folder)))
    assert "OnCalendar=2036-11-21 14:30:00 UTC" in commands.unit("stranger-deadline.timer")


def test_a_deadline_that_has_passed_ends_the_machine_at_once(commands: Commands, folder: Path) -> None:
    commands.run(build_user_data(datetime(2026, 1, 1, tzinfo=UTC), 25, USER, str(folder)))
    assert "shutdown -h now" in commands.calls()


def test_a_server_has_no_deadline_but_must_be_wanted(commands: Commands, folder: Path) -> None:
    commands.run(build_user_data(None, 30, USER, str(folder)))
    assert (folder / "ready").exists()
    assert {file.name for file in (commands.folder / "units").iterdir()} == {
        "stranger-idle.service",
        "stranger-idle.timer",
    }


@pytest.mark.parametrize(
    ("confirmed", "started", "ends"),
    [(False, False, True), (True, False, True), (False, True, True), (True, True, False)],
)
def test_a_machine_without_work_ends(
    commands: Commands, folder: Path, confirmed: bool, started: bool, ends: bool
) -> None:
    commands.run(build_user_data(None, 30, USER, str(folder)))
    if confirmed:
        (folder / "confirmed").touch()
    if started:
        (commands.folder / "units" / UNIT).touch()
    row = next(row for row in commands.unit("stranger-idle.service").splitlines() if row.startswith("ExecStart="))
    commands.run(row.removeprefix("ExecStart="))
    assert ("shutdown -h now" in commands.calls()) is ends


def test_a_set_up_that_fails_says_why_and_ends(commands: Commands, folder: Path) -> None:
    commands.fake("systemctl", "exit 1\n")
    done = commands.run(build_user_data(LATER, 30, USER, str(folder)))
    assert done.returncode == 1
    assert "systemctl daemon-reload" in (folder / "failed").read_text()
    assert not (folder / "ready").exists()
    assert "systemd-run --quiet --on-active=10min --unit=stranger-failed shutdown -h now" in commands.calls()


def test_a_set_up_that_fails_without_systemd_ends_as_well(commands: Commands, folder: Path) -> None:
    commands.fake("systemctl", "exit 1\n")
    commands.fake("systemd-run", "exit 1\n")
    commands.run(build_user_data(LATER, 30, USER, str(folder)))
    assert "shutdown -h +10" in commands.calls()


def test_an_unknown_owner_is_a_failed_set_up(commands: Commands, folder: Path) -> None:
    commands.run(build_user_data(LATER, 30, "nobody-of-that-name", str(folder)))
    assert "install" in (folder / "failed").read_text()


@pytest.mark.parametrize("user", ["", "a b", "$(reboot)", "x;y", "ROOT"])
def test_a_user_is_a_name(user: str) -> None:
    with pytest.raises(UsageError, match="not the name of a user"):
        build_user_data(None, 30, user)
    with pytest.raises(UsageError):
        start_command("/opt/stranger", restart=False, user=user)


# the start of a job


def test_starting_twice_is_starting_once(commands: Commands, folder: Path) -> None:
    folder.mkdir(parents=True)
    command = start_command(str(folder), restart=False, user=USER)
    for _ in range(2):
        done = commands.run(command)
        assert (done.returncode, done.stderr) == (0, "")
    assert commands.calls()[1:] == [
        "systemctl daemon-reload",
        f"systemctl enable --quiet {UNIT}",
        f"systemctl start {UNIT}",
        commands.calls()[0],
        f"systemctl enable --quiet {UNIT}",
        f"systemctl start {UNIT}",
    ]
    assert (folder / "log").owner() == USER
    assert commands.unit(UNIT) == build_unit(str(folder), False, USER) + "\n"


def test_the_unit_of_a_job_ends_its_machine_and_that_of_a_server_does_not() -> None:
    job, server = build_unit("/opt/stranger", False, "ubuntu"), build_unit("/opt/stranger", True, "ubuntu")
    assert "ExecStopPost=+/opt/stranger/bin/finish" in job
    assert "Restart=on-abnormal" in job
    assert "ExecStopPost" not in server
    assert "Restart=always" in server
    for unit in (job, server):
        for row in ("User=ubuntu", "EnvironmentFile=-/etc/environment", "KillMode=mixed", "TimeoutStopSec=180"):
            assert row in unit.splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("restart", [False, True])
def test_systemd_understands_the_units(commands: Commands, folder: Path, restart: bool) -> None:
    commands.run(build_user_data(LATER, 30, USER, str(folder)))
    commands.run(start_command(str(folder), restart=restart, user=USER))
    units = [str(file) for file in (commands.folder / "units").iterdir()]
    assert len(units) == 7
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    own = [row for row in checked.stderr.splitlines() if "stranger-" in row and "not executable" not in row]
    assert own == []


# the end of a job


@pytest.fixture
def finish(commands: Commands, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "finish").write_text(build_finish(str(folder)))
    return folder / "finish"


def ended(commands: Commands) -> bool:
    return any(call.startswith("systemd-run --quiet --on-active=45 ") for call in commands.calls())


def test_after_a_job_the_machine_ends(commands: Commands, folder: Path, finish: Path) -> None:
    (folder / "exit.json").write_text('{"stage": "done", "kept": false, "saved": true}\n')
    commands.run(str(finish.read_text()), SERVICE_RESULT="success")
    assert ended(commands)


def test_a_machine_that_is_kept_stays(commands: Commands, folder: Path, finish: Path) -> None:
    (folder / "exit.json").write_text('{"stage": "failed", "kept": true, "saved": true}\n')
    commands.run(finish.read_text(), SERVICE_RESULT="success")
    assert commands.calls() == []


def test_a_killed_runner_is_started_again_three_times(commands: Commands, folder: Path, finish: Path) -> None:
    for _ in range(3):
        commands.run(finish.read_text(), SERVICE_RESULT="signal")
        assert not ended(commands)
    commands.run(finish.read_text(), SERVICE_RESULT="signal")
    assert ended(commands)
    assert json.loads((folder / "exit.json").read_text())["stage"] == "failed"


@pytest.mark.parametrize(("result", "stage"), [("exit-code", "failed"), ("success", "interrupted")])
def test_a_runner_without_last_words_gets_some(
    commands: Commands, folder: Path, finish: Path, result: str, stage: str
) -> None:
    commands.run(finish.read_text(), SERVICE_RESULT=result)
    written = json.loads((folder / "exit.json").read_text())
    assert (written["stage"], written["failing_line"]) == (stage, f"the runner ended without a word: {result}")
    assert ended(commands)


def test_without_systemd_run_the_machine_ends_too(commands: Commands, folder: Path, finish: Path) -> None:
    commands.fake("systemd-run", "exit 1\n")
    (folder / "exit.json").write_text('{"stage": "done", "kept": false, "saved": true}\n')
    commands.run(finish.read_text())
    assert "shutdown -h +1" in commands.calls()


# one look


def look(folder: Path, offset: int, limit: int = 1000) -> Poll:
    command = poll_command(str(folder), offset, limit)
    return parse_poll(subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True).stdout)


def test_a_look_shows_exit_state_and_log(tmp_path: Path) -> None:
    assert look(tmp_path, 0) == Poll({}, {}, b"")
    (tmp_path / "state.json").write_text('{"stage": "running", "message": "it\'s \\"fine\\""}\n')
    (tmp_path / "log").write_bytes(b"one\ntwo\nthree")
    assert look(tmp_path, 4) == Poll({}, {"stage": "running", "message": 'it\'s "fine"'}, b"two\nthree")
    assert look(tmp_path, 4, 5).log == b"two\nt"
    assert look(tmp_path, 13).log == b""
    assert look(tmp_path, 0, 0).log == b""
    (tmp_path / "exit.json").write_text('{"stage": "done"}')  # without an end of line, as by hand
    assert look(tmp_path, 4).exit == {"stage": "done"}


def test_a_log_of_any_bytes_comes_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2000
    (tmp_path / "log").write_bytes(content)
    (tmp_path / "state.json").write_text("{}\n")
    pieces, offset = b"", 0
    while piece := look(tmp_path, offset, 100_000).log:
        pieces, offset = pieces + piece, offset + len(piece)
    assert pieces == content


@pytest.mark.parametrize("answer", [b"", b"\n\n", b"nonsense\n[]\n", b"{"])
def test_an_answer_that_is_none_is_empty(answer: bytes) -> None:
    poll = parse_poll(answer)
    assert (poll.exit, poll.state) == ({}, {})
