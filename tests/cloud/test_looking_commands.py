"""deploy_aws.py as a user types it: what only looks (status, list-instances, logs, ssh, cost) and the models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from doubles.console import FAR, OTHER, PAGE, RUN, Console

from aws.journal import ENDED
from utils.command_line import FAILED, INTERRUPTED, WRONG_USAGE
from utils.terminal import RED

# status and list-instances


def test_status_tells_all_and_exits_with_3(console: Console, busy: dict[str, str]) -> None:
    console.publish("20261120-101530")
    done = console("status")
    assert done.code == 3, done.err
    assert done.err == "" and RED not in done.out
    assert f"{busy['training']}  training  {RUN}  running, running\n" in done.out
    assert "step 20 of 90, loss 2.500, 10 min left" in done.out
    assert "training_pipeline.py" not in done.out  # the command is no news
    assert "0.50 USD" not in done.out and "USD so far (0.5000 an hour), by" in done.out
    assert "PAST ITS DEADLINE" in done.out and f"end it:  python deploy_aws.py terminate {busy['page']}" in done.out
    assert "http://127.0.0.1:9  unreachable: " in done.out
    assert "serves the base" in done.out
    assert "Chat: base instead of version, because none is there. To change that: train" in done.out
    assert "Versions in the registry:\n  llama  20261120-101530  latest" in done.out


def test_status_as_json_with_the_ends_of_the_logs(console: Console, busy: dict[str, str]) -> None:
    done = console("status", "--json", "--logs", "--lines", "2")
    assert done.code == 3
    assert [row["id"] for row in done.json["instances"]] == [busy["training"], busy["page"]]
    assert done.json["overdue"] == [busy["page"]]
    assert done.json["logs"] == {RUN: "two\nthree", PAGE: ""}
    assert "Log of" in console("status", "--logs").out


def test_what_is_overdue_is_red_where_somebody_looks(
    console: Console, busy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.terminal.Terminal.red", lambda terminal, text: f"<red>{text}</red>")
    assert "<red>PAST ITS DEADLINE" in console("status").out
    assert f"<red>{busy['page']}" in console("list-instances").out


def test_list_instances(console: Console, busy: dict[str, str]) -> None:
    done = console("list-instances")
    assert done.code == 3
    title, *rows = done.out.splitlines()
    assert title.split() == ["instance", "region", "for", "state", "type", "market", "address", "launched", "ends",
                             "by", "run"]  # fmt: skip
    assert [row.split()[0] for row in rows] == [busy["training"], busy["page"]]
    assert rows[1].endswith("PAST ITS DEADLINE") and FAR in rows[1]
    assert rows[0].index(RUN) == title.index("run")
    done = console("list-instances", "--json")
    assert done.code == 3 and [row["overdue"] for row in done.json] == [False, True]


def test_before_init_status_and_list_say_that_nothing_is_there(console: Console) -> None:
    done = console("status")
    assert done.code == 0
    assert done.out.startswith("Nothing of stranger-things runs in account 123456789012.")
    assert "python deploy_aws.py init" in done.out and done.out.count("there is no bucket") == 1
    assert "\n  python deploy_aws.py init --config " in console("doctor").out
    assert console("status", "--json").json["instances"] == []
    done = console("list-instances")
    assert (done.code, done.out) == (0, "Nothing of stranger-things runs in account 123456789012.\n")
    assert console("list-instances", "--json").json == []


def test_a_region_that_cannot_be_read_is_named(console: Console, busy: dict[str, str]) -> None:
    console.account.fail("DescribeInstances", "UnauthorizedOperation", region=FAR, times=9, status=403)
    done = console("status")
    assert done.code == 0
    assert f"{FAR} could not be read: " in done.out and busy["training"] in done.out
    done = console("list-instances", "--json")
    assert len(done.json) == 1 and f"{FAR} could not be read" in done.err


def test_an_instance_of_which_nobody_knows_the_price(console: Console) -> None:
    console.set_up()
    console.launch(RUN, kind="m5.large")
    done = console("status")
    assert done.code == 0, done.err
    assert "price unknown" in done.out
    assert console("status", "--json").json["instances"][0]["cost_usd"] is None


def test_a_run_without_its_machine_and_one_that_is_done(console: Console) -> None:
    console.set_up()
    console.begin(RUN, "i-0000000000000000a")
    console.begin(OTHER, "i-0000000000000000b")
    console.save(OTHER, "exit", stage="done", attempt=1, output={"version": "20261121-101530"})
    done = console("status")
    assert (
        f"{RUN}  no machine runs for it\n  Go on:  python deploy_aws.py train llama --resume {RUN} --config "
        in done.out
    )
    assert f"Close it:  python deploy_aws.py terminate --run {RUN}" in done.out
    assert f"{OTHER}  done: 20261121-101530 is published" in done.out
    assert console.journal.read(OTHER).state == ENDED
    assert OTHER not in console("status").out


def test_watch_looks_again_until_ctrl_c(
    console: Console, busy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("aws.commands.looking.time.sleep", sleep)
    done = console("status", "--watch", "--json")
    assert (done.code, pauses) == (INTERRUPTED, [10.0, 10.0])
    assert [len(json.loads(line)["instances"]) for line in done.out.splitlines()] == [2, 2]
    assert "Interrupted." in done.err


# logs


def test_the_log_of_an_ended_run_comes_from_the_bucket(console: Console) -> None:
    console.set_up()
    console.begin(RUN, "i-0000000000000000a", "i-0000000000000000b")
    first = "first machine\n" * 20_000  # more than one piece
    console.store.put(f"logs/llama/{RUN}.log", (first + "second machine: naïve\n").encode())
    done = console("logs", RUN)
    assert (done.code, done.err) == (0, "")
    assert done.out == first + "second machine: naïve\n"
    assert console("logs", RUN, "--lines", "2").out == "first machine\nsecond machine: naïve\n"
    assert console("logs", RUN, "--json", "--lines", "1").json == {"run": RUN, "log": "second machine: naïve"}


def test_following_an_ended_run_ends_with_its_stage(console: Console) -> None:
    console.set_up()
    console.begin(RUN, "i-0000000000000000a")
    console.store.put(f"logs/llama/{RUN}.log", "naïve\n".encode())
    console.save(RUN, "exit", stage="failed", attempt=1, failing_line="no space left")
    done = console("logs", RUN, "--follow")
    assert (done.code, done.out) == (FAILED, "naïve\n")
    assert done.err == f"{RUN}: failed: no space left\n"
    done = console("logs", RUN, "--follow", "--json")
    assert done.json == {"run": RUN, "stage": "failed", "message": "no space left"}
    console.save(RUN, "exit", stage="done", attempt=1)
    assert console("logs", RUN, "--follow").code == 0


@pytest.mark.parametrize("run", ["llama", OTHER])
def test_the_log_of_an_unknown_run(console: Console, run: str) -> None:
    console.set_up()
    done = console("logs", run)
    assert (done.code, done.out) == (WRONG_USAGE, "")
    assert "python deploy_aws.py status" in done.err


def test_a_log_that_is_empty_so_far(console: Console) -> None:
    console.set_up()
    console.begin(RUN, "i-0000000000000000a")
    assert console("logs", RUN).err == f"{RUN} has said nothing yet.\n"


# ssh


FAKE_SSH = """#!/bin/sh
for word in "$@"; do
  echo "$word"
  case "$word" in UserKnownHostsFile=*) cat "${word#*=}";; esac
done
exit 7
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(FAKE_SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def test_ssh_accepts_the_host_key_of_the_journal_only(console: Console, fake_ssh: None) -> None:
    console.set_up()
    instance = console.launch(RUN)
    console.begin(RUN, instance)
    console.journal.change_attempt(RUN, host_keys=("ssh-ed25519 AAAA",), user="ec2-user")
    address = console.account.instance(instance).public_ip
    for wanted in (instance, RUN):
        done = console("ssh", wanted, "--json", "--", "ls", "-l")
        assert done.code == 7 and done.json["exit_status"] == 7, done.err
        words = done.json["stdout"].splitlines()
        assert f"{address} ssh-ed25519 AAAA" in words
        assert {"StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "IdentitiesOnly=yes"} <= set(words)
        assert words[-3:] == [f"ec2-user@{address}", "ls", "-l"]
        assert words[words.index("-i") + 1] == str(console.world.names.settings.key_file)


def test_ssh_gives_the_terminal_to_ssh(console: Console, fake_ssh: None, tmp_path: Path) -> None:
    console.set_up()
    console.begin(RUN, console.launch(RUN))
    console.journal.change_attempt(RUN, host_keys=("ssh-ed25519 AAAA",))
    (tmp_path / "bin" / "ssh").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called; kill -9 $$\n')
    done = console("ssh", RUN, "uptime")
    assert (done.code, done.out) == (128 + 9, "")
    assert " uptime\n" in (tmp_path / "called").read_text()


def test_ssh_to_what_cannot_be_reached(console: Console, fake_ssh: None) -> None:
    console.set_up()
    done = console("ssh", "i-0000000000000000f")
    assert done.code == FAILED and "no running machine is called 'i-0000000000000000f'" in done.err
    assert "None runs." in done.err and "python deploy_aws.py list-instances" in done.err
    console.launch(RUN)
    console.world.names.settings.key_file.unlink()
    done = console("ssh", RUN)
    assert done.code == FAILED and "is not on this machine" in done.err and f"logs {RUN}" in done.err
    assert console("ssh", RUN, "--json").code == WRONG_USAGE


# models


def test_models_of_the_bucket(console: Console) -> None:
    console.set_up()
    done = console("models", "list")
    assert done.code == 0 and "python deploy_aws.py train llama" in done.out
    first, second = "20261120-101530", "20261121-101530"
    console.publish(first, second)
    assert f"llama  {second}" in console("models", "list").out
    assert [row["version"] for row in console("models", "list", "--json").json] == [first, second]
    assert console("models", "show", "llama", "--json").json["version"] == second
    assert console("models", "verify", "llama", first).out == "Every file matches the manifest.\n"
    done = console("models", "rollback", "llama", "--dry-run")
    assert (done.out, done.changes) == (f"latest of llama would move: {second} -> {first}. Nothing was moved.\n", [])
    assert console("models", "rollback", "llama").out == f"latest of llama: {second} -> {first}\n"
    done = console("models", "promote", "llama", second, "--dry-run", "--json")
    assert done.json == {"dry_run": True, "family": "llama", "from": first, "to": second} and done.changes == []
    assert console("models", "promote", "llama", second, "--json").json["to"] == second
    assert console("models", "promote", "llama", "20200101-000000", "--dry-run").code == FAILED


def test_models_come_and_go(console: Console, tmp_path: Path) -> None:
    console.set_up()
    version = "20261120-101530"
    console.publish(version)
    here = ("--registry", tmp_path / "here")
    done = console("models", "pull", "llama", *here, "--dry-run")
    assert (done.code, done.changes) == (0, []) and "would go: s3://" in done.out
    assert not (tmp_path / "here").exists()
    done = console("models", "pull", "llama", *here, "--json")
    assert done.code == 0 and done.json["copied"] is True and done.json["is_latest"] is True
    for key, _ in list(console.store.list("models/")):
        console.store.delete(key)
    assert console("models", "push", "llama", *here).code == 0
    assert [each.version for each in console.registry.list("llama")] == [version]
    assert "is in s3://" in console("models", "push", "llama", version, *here).out


# cost


def test_cost(console: Console, busy: dict[str, str]) -> None:
    done = console("cost")
    assert done.code == 0, done.err
    assert RUN in done.out and "By run:" in done.out and "In all " in done.out and "Traffic: " in done.out
    done = console("cost", "--json", "--since", "2026-11-01")
    assert {row["run"] for row in done.json["rows"]} == {RUN, PAGE}
    assert done.json["total_usd"] > 0
    console.account.fail("DescribeInstances", "UnauthorizedOperation", region=FAR, times=9, status=403)
    assert any(FAR in sentence for sentence in console("cost", "--json").json["unseen"])


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "21.11.2026"])
def test_a_wrong_day(console: Console, day: str) -> None:
    done = console("cost", f"--since={day}")
    assert (done.code, done.out) == (WRONG_USAGE, "") and "One looks like 2026-11-21." in done.err


def test_a_version_that_is_not_there_is_answered_with_commands_for_the_bucket(console: Console) -> None:
    console.set_up()
    assert "\n  Train one:  python deploy_aws.py train llama --config " in console("models", "show", "llama").err
    console.publish("20261120-101530")
    shown = console("models", "show", "llama", "20200101-000000")
    assert "Take it:  python deploy_aws.py models show llama 20261120-101530 --config " in shown.err
    served = console("deploy-gradio", "--version", "20200101-000000", "--yes")
    assert served.code == 1 and served.changes == []
    assert served.err.rstrip().endswith("--yes --version 20261120-101530") and "Take it:  python " in served.err
