"""kill -9 of the real program at every stage: nothing of ours is without its end, and the same words go on."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from doubles.account import HOME, Account
from doubles.cloud import upload_lines
from doubles.machines import Conduct, Machines, make_project
from doubles.set_up import World
from doubles.sshd import needs_sshd
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.scheduler.models import EventBridgeSchedulerBackend

from aws.config import TAG_DEADLINE, TAG_RUN
from aws.journal import ENDED, Journal, Record
from aws.places import DONE
from aws.storage import S3Store
from config import PROJECT_FOLDER
from utils.registry import Registry

pytestmark = needs_sshd
TIMEOUT_SECONDS = 60
WORDS = ("train", "llama", "--yes", "--max-steps", "2")
LAUNCHED = "launched in|was launched before"  # the latter: the call was made before the kill that was to prevent it
# A line of each stage, in the order in which they come: the program is killed as soon as it has been seen.
STAGES = (
    "Launch one g4dn.xlarge", "asking for g4dn.xlarge", LAUNCHED, "reading the host keys", "connecting to",
    "files, ", "on its own", "step 2 of", "done: llama training",
)  # fmt: skip
# With nothing but a record and a schedule, with a machine, with the code half there, with the job at work.
SOME_STAGES = ("asking for g4dn.xlarge", LAUNCHED, "files, ", "step 2 of")


@dataclass
class Bench:
    """An account that is reached over HTTP, and a copy of the project whose training program is a tiny one."""

    account: Account
    machines: Machines
    project: Path
    environment: dict[str, str]
    store: S3Store
    world: World
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-u", str(self.project / "deploy_aws.py"), *WORDS]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=self.project, env=self.environment, **pipes)
        self.processes.append(process)
        return process

    def kill_at(self, line: str) -> None:
        """Start the program and kill it when it has printed this, or one of several things."""
        process, said = self.start(), b""
        for row in process.stdout or ():
            said += row
            if any(each in row for each in line.encode().split(b"|")):
                break
        else:
            raise AssertionError(f"{line!r} did not come: {said.decode()}")
        process.kill()
        process.wait(TIMEOUT_SECONDS)

    def run(self) -> str:
        """Start it again and let it come to its end."""
        said = self.start().communicate(timeout=TIMEOUT_SECONDS)[0].decode()
        assert self.processes[-1].returncode == 0, said
        return said

    @property
    def records(self) -> list[Record]:
        return list(Journal(self.store).all())

    @property
    def live(self) -> list[Any]:
        return [each for each in self.account.instances() if each.state != "terminated"]

    @property
    def schedules(self) -> list[str]:
        return [each["Name"] for each in self.world.client("scheduler").list_schedules()["Schedules"]]

    def check_nothing_is_without_an_end(self) -> None:
        """Every instance has its deadline, its schedule, and is known to the journal."""
        known = {record.run: record for record in self.records}
        for instance in self.live:
            tags = {each["key"]: each["value"] for each in instance.get_tags()}
            record = known[tags[TAG_RUN]]
            assert tags[TAG_DEADLINE] == record.deadline
            assert record.schedule in self.schedules
            assert record.attempts[-1].token == instance.client_token
            assert instance.instance_initiated_shutdown_behavior == "terminate"
        assert len(self.live) <= 1
        assert self.machines.overlaps == []

    def check_done(self, machines: int = 1) -> None:
        (record,) = self.records
        assert (record.state, record.stage, record.schedule) == (ENDED, DONE, "")
        assert len(self.machines.all) == len(record.attempts) == machines
        assert self.live == self.schedules == []
        assert len(Registry(self.store).list("llama")) == 1
        assert record.outcome["version"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        account = stack.enter_context(Account())
        world = World(account, tmp_path)
        world.init(open_to=["203.0.113.7/32"])
        store = S3Store(world.names.bucket_url, HOME)
        upload_lines(store)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        stack.callback(server.stop)
        reached = {
            "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": HOME,
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull,
        }  # fmt: skip
        machines = stack.enter_context(Machines(account, tmp_path / "machines", reached, world.names.settings.key_file))
        settings = {
            "STRANGER_AWS__KEY_FILE": str(world.names.settings.key_file),
            "STRANGER_AWS__SSH_PORT": str(machines.port),
            "STRANGER_AWS__OPEN_TO": "203.0.113.7/32",
        }
        project = copy_project(tmp_path / "project", str(machines.opt))
        environment = {**os.environ, **reached, **settings}
        made = Bench(account, machines, project, environment, store, world)
        yield made
        for process in made.processes:
            with process:
                process.kill()


def copy_project(folder: Path, opt: str) -> Path:
    """The programs as they are, but for the user of an instance, its folder, and pauses."""
    ignore = shutil.ignore_patterns("__pycache__")
    folder.mkdir()
    for name in ("aws", "utils"):
        shutil.copytree(PROJECT_FOLDER / name, folder / name, ignore=ignore)
    for name in ("config.py", "deploy_aws.py"):
        shutil.copy(PROJECT_FOLDER / name, folder / name)
    user = getpass.getuser()
    changes = {
        "aws/machines/images.py": [('("ubuntu", "ubuntu")', f'("ubuntu", "{user}")')],
        "aws/config.py": [('INSTANCE_FOLDER = "/opt/stranger"', f'INSTANCE_FOLDER = "{opt}"')],
        "aws/machines/handover.py": [
            ("SYNC_SECONDS = 30", "SYNC_SECONDS = 0.2"),
            ("PAUSE_SECONDS = 2.0", "PAUSE_SECONDS = 0.1"),
        ],
        "aws/operations/follow.py": [("PAUSE_SECONDS = 1.0", "PAUSE_SECONDS = 0.1")],
        "aws/machines/termination.py": [("POLL_SECONDS = 0.5, 3.0", "POLL_SECONDS = 0.05, 0.2")],
        "aws/ec2_manager.py": [("POLL_SECONDS = 0.5, 3.0", "POLL_SECONDS = 0.05, 0.2")],
        "aws/ssh.py": [("PAUSE_SECONDS = 3.0", "PAUSE_SECONDS = 0.2")],
    }
    for name, pairs in changes.items():
        text = (folder / name).read_text()
        for old, new in pairs:
            assert old in text, f"{name} no longer says {old}"
            text = text.replace(old, new)
        (folder / name).write_text(text)
    return make_project(folder, "--steps", "3", "--pace", "0.2", publishing=True)


@pytest.mark.parametrize(
    "stages", [SOME_STAGES, pytest.param(STAGES, marks=pytest.mark.slow)], ids=["some", "every one"]
)
def test_killed_at_one_stage_after_the_other(bench: Bench, stages: tuple[str, ...]) -> None:
    for stage in stages:
        bench.kill_at(stage)
        bench.check_nothing_is_without_an_end()
        assert len(bench.machines.all) <= 1, stage
        assert len(bench.records) <= 1, stage
    bench.run()
    bench.check_done()


def test_killed_between_two_machines(bench: Bench) -> None:
    """The first was interrupted; it ends, and the one after it goes on from its checkpoint."""
    thread = threading.Thread(target=lambda: interrupt(bench))
    thread.start()
    bench.kill_at("a new machine goes on")
    thread.join()
    bench.check_nothing_is_without_an_end()
    bench.kill_at(LAUNCHED)
    bench.check_nothing_is_without_an_end()
    bench.run()
    bench.check_done(machines=2)
    log = bench.machines.last.log()
    assert (log.count("from step 0"), log.count("step 1 of 3\n")) == (1, 1)


def interrupt(bench: Bench) -> None:
    machine = bench.machines.wait(seconds=TIMEOUT_SECONDS)
    machine.wait_for("step 1 of", TIMEOUT_SECONDS)
    machine.interrupt()


# What "scheduling" leaves is what a kill before the launch leaves: a schedule, and no machine.
@pytest.mark.parametrize("stage", ["launching", pytest.param("scheduling", marks=pytest.mark.slow), "ending"])
def test_killed_inside_a_call(bench: Bench, stage: str) -> None:
    """The call works, and nobody is there to hear of it."""

    def kill() -> None:
        bench.processes[-1].kill()

    with ExitStack() as stack:
        if stage == "launching":
            bench.machines.plan(Conduct(on_launch=kill))
        else:
            name = "create_schedule" if stage == "scheduling" else "delete_schedule"
            original = getattr(EventBridgeSchedulerBackend, name)
            stack.enter_context(mock.patch.object(EventBridgeSchedulerBackend, name, then(original, kill)))
        bench.start().wait(TIMEOUT_SECONDS)
    assert bench.processes[-1].returncode == -9
    bench.check_nothing_is_without_an_end()
    assert len(bench.live) == (1 if stage == "launching" else 0)
    bench.run()
    bench.check_done()


def then(original: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    def call(*positional: Any, **named: Any) -> Any:
        answer = original(*positional, **named)
        act()
        return answer

    return call
