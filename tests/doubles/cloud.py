"""The cloud of a test in its own process: an account, a folder as bucket, machines, a tiny program to train with.

site = make_site(account, machines, folder)
result = site.train(TrainingOrder("llama"))
site.watcher.log
"""

from __future__ import annotations

import getpass
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from doubles.account import ACCOUNT_NUMBER, Account
from doubles.bad_store import BadStore
from doubles.machines import Machine, Machines, make_project
from doubles.set_up import shared_session

from aws.account.steps import tag_list
from aws.cloud import Cloud
from aws.config import SERVING, TRAINING, Names, to_iso
from aws.data.data_manifest import DataManifest, write_manifest
from aws.ec2_orchestrator import EC2Place
from aws.journal import Journal, Record
from aws.machines.instances import Instance
from aws.machines.launch import Launch
from aws.machines.launch import Machine as Wanted
from aws.operations.train import END, TrainingOrder, TrainingPlan, TrainingResult, plan_training, run_training
from aws.places import Job, Link, PlaceStatus
from aws.pricing import Prices
from aws.sessions import Sessions
from config import AwsSettings, PathSettings, Settings, TrainingMachineSettings
from utils.stores import Store
from utils.versions import FileSum

RUN = "llama-20261121-101530-3f2a"
LINES = b"one\ntwo\n"
LONGEST_SLEEP_SECONDS = 0.05
ASSUME = '{"Version": "2012-10-17", "Statement": []}'


@dataclass
class Watcher:
    """Remembers all it hears; ``answers`` are given to Ctrl-C, one after the other."""

    log: bytes = b""
    shown: list[PlaceStatus] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    asked: list[bool] = field(default_factory=list)
    on_write: Callable[[bytes], None] = lambda content: None
    on_show: Callable[[], None] = lambda: None

    def write(self, content: bytes) -> None:
        self.log += content
        self.on_write(content)

    def show(self, status: PlaceStatus) -> None:
        self.shown.append(status)
        self.on_show()

    def interrupted(self, handed_over: bool) -> str:
        self.asked.append(handed_over)
        return self.answers.pop(0) if self.answers else END


@dataclass
class Site:
    """``said``: every stage with its sentence; ``on_say`` hears them as they come."""

    account: Account
    machines: Machines
    cloud: Cloud
    store: BadStore
    project: Path
    said: list[tuple[str, str]]
    watcher: Watcher = field(default_factory=Watcher)
    on_say: list[Callable[[str], None]] = field(default_factory=list)

    @property
    def wanted(self) -> Wanted:
        return Wanted(("g4dn.xlarge", "g4dn.2xlarge"), 100)

    def place(self, machine: Wanted | None = None) -> EC2Place:
        return EC2Place(self.cloud, machine or self.wanted)

    def with_settings(self, **training: Any) -> Cloud:
        aws = self.cloud.settings.aws
        settings = replace(aws, training=replace(aws.training, **training))
        self.cloud = replace(self.cloud, settings=replace(self.cloud.settings, aws=settings))
        return self.cloud

    def program(self, *words: str, publishing: bool = False) -> None:
        """What the training program is called with besides."""
        make_project(self.project, *words, publishing=publishing)

    def begin(self, run: str = RUN, hours: float = 4.0) -> Job:
        """A run that is written down, and nothing more."""
        now = self.cloud.now()
        command = ("training_pipeline.py", "train", "llama", "--data", "{work}/data", "--registry", "{bucket}")
        job = Job(run, TRAINING, command, inputs=(Link("data", "data/training"),), log_key=f"logs/llama/{run}.log")
        deadline = to_iso(now + timedelta(hours=hours))
        self.cloud.journal.begin(Record(run, TRAINING, "", "test", to_iso(now), deadline, job.to_dict()))
        return job

    def launch(self, job: Job | None = None, wanted: Wanted | None = None) -> Instance:
        """From the job to its instance."""
        return Launch(self.cloud, wanted or self.wanted, job or self.begin()).instance()

    def plan(self, order: TrainingOrder | None = None) -> TrainingPlan:
        return plan_training(self.cloud, order or TrainingOrder("llama"))

    def train(self, order: TrainingOrder | None = None) -> TrainingResult:
        order = order or TrainingOrder("llama")
        return run_training(self.cloud, order, self.plan(order), self.watcher)

    @property
    def records(self) -> list[Record]:
        return list(self.cloud.journal.all())

    @property
    def record(self) -> Record:
        (record,) = self.records
        return record

    @property
    def live(self) -> list[str]:
        """Instances that cost something."""
        return [each.id for each in self.account.instances() if each.state != "terminated"]

    @property
    def schedules(self) -> list[str]:
        listed = self.cloud.sessions.client("scheduler").list_schedules()["Schedules"]
        return [each["Name"] for each in listed]

    def sentences(self, stage: str = "") -> str:
        return "\n".join(text for each, text in self.said if stage in ("", each))

    def steps(self) -> list[str]:
        """The steps of the program that the watcher has heard of."""
        return [row for row in self.watcher.log.decode().splitlines() if row.startswith("step ")]


def later(site: Site, text: str, act: Callable[[Machine], None], machine: int = 1) -> threading.Thread:
    """Do something to a machine once its log holds a text."""

    def wait_and_act() -> None:
        found = site.machines.wait(machine)
        found.wait_for(text)
        act(found)

    thread = threading.Thread(target=wait_and_act, daemon=True)
    thread.start()
    return thread


def on_step(site: Site, step: int, act: Callable[[], None]) -> None:
    """Do something, once, as soon as the watcher has heard of a step."""
    done: list[bool] = []

    def look() -> None:
        if f"step {step} of".encode() in site.watcher.log and not done:
            done.append(True)
            act()

    site.watcher.on_show = look


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def nothing_left(site: Site) -> bool:
    return site.live == [] and site.schedules == []


def make_site(account: Account, machines: Machines, folder: Path, **settings: Any) -> Site:
    """All that ``init`` and ``upload-data`` would have made, as far as a launch needs it."""
    aws = AwsSettings(
        key_file=machines.key_file or Path(), ssh_port=machines.port, training=TrainingMachineSettings(retries=3)
    )
    aws = replace(aws, **settings)
    names = Names(aws, ACCOUNT_NUMBER)
    sessions = Sessions(aws)
    sessions._session = shared_session()
    store, said, on_say = BadStore(folder / "bucket"), list[tuple[str, str]](), list[Callable[[str], None]]()

    def say(stage: str, text: str) -> None:
        said.append((stage, text))
        for call in on_say:
            call(text)

    cloud = Cloud(
        sessions,
        names,
        store,
        Journal(store),
        Prices(sessions),
        Settings(aws=aws, paths=PathSettings(runs=folder / "runs")),
        folder=str(machines.opt),
        say=say,
        clock=time.time,
        sleep=lambda seconds: time.sleep(min(seconds, LONGEST_SLEEP_SECONDS)),
    )
    _set_up(sessions, names)
    upload_lines(store)
    return Site(account, machines, cloud, store, make_project(folder / "project"), said, on_say=on_say)


def _set_up(sessions: Sessions, names: Names) -> None:
    ec2, iam = sessions.client("ec2"), sessions.client("iam")
    for purpose in (TRAINING, SERVING):
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName=names.security_group(purpose), Description=purpose, VpcId=vpc)
        tags = tag_list(names.tags(purpose))
        ec2.create_tags(Resources=[group["GroupId"]], Tags=tags)
        iam.create_instance_profile(InstanceProfileName=names.instance_role(purpose))
    iam.create_role(RoleName=names.scheduler_role, AssumeRolePolicyDocument=ASSUME)
    sessions.client("scheduler").create_schedule_group(Name=names.schedule_group)


def upload_lines(store: Store) -> None:
    store.put("data/training/lines.txt", LINES)
    sums = {"lines.txt": FileSum(hashlib.sha256(LINES).hexdigest(), len(LINES))}
    write_manifest(store, DataManifest(sums, "2026-11-21T10:00:00Z", "test"), None)


def local_names(project: Path) -> list[Any]:
    """What differs between an instance of EC2 and a machine of a test: its user, the code, and secrets by name."""
    user = getpass.getuser()
    return [
        mock.patch("aws.machines.images.login_user", lambda name: user),
        mock.patch("aws.machines.handover.PROJECT_FOLDER", project),
        mock.patch("aws.machines.handover.SYNC_SECONDS", 0.1),
        mock.patch.object(Names, "hf_token", ""),
    ]
