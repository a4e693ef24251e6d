"""The page in the cloud: what the plan says, what is opened, when the old one ends, and what a failure leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.account import Account
from doubles.set_up import World

from aws.account.parameters import get_parameter
from aws.account.schedules import list_kills
from aws.cloud import Cloud
from aws.config import SERVING, from_iso
from aws.ec2_orchestrator import EC2Place
from aws.errors import PlaceError
from aws.journal import ENDED, OPEN, Journal, Record
from aws.machines.launch import Launch
from aws.operations.addresses import give_address
from aws.operations.deploy import Deployed, DeployOrder, deploy, plan_deployment, serving_password
from aws.operations.page_health import PageHealth
from aws.places import Job, LogPiece, PlaceStatus
from aws.pricing import Prices
from config import PathSettings, Secret, SecretSettings, Settings
from utils.errors import ConfigError, SuiteError, UsageError
from utils.registry import Registry
from utils.stores import FolderStore

OPEN_TO = ("203.0.113.7/32",)
LARGE = "meta-llama/Llama-3.2-3B-Instruct"
PASSWORD = Secret("correct-horse-battery")
HEADER = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)


@dataclass
class Story:
    """What happened, in its order, and how the page of this test behaves."""

    told: list[str] = field(default_factory=list)
    answers: list[PageHealth] = field(default_factory=list)  # the rest: ready
    stage: str = "running"
    message: str = ""
    fail_at: str = ""  # a step that does not work

    def tell(self, text: str) -> None:
        self.told.append(text)
        if self.fail_at and text.startswith(self.fail_at):
            raise PlaceError(f"{self.fail_at} does not work.")

    def of(self, word: str) -> list[str]:
        return [each for each in self.told if each.startswith(word)]


class FakePlace(EC2Place):
    """Launches and ends instances of the account; what would be said over SSH is only written down."""

    story: Story

    def launch(self, job: Job) -> None:
        assert self.machine
        self.story.tell(f"launch {job.name}")
        instance = Launch(self.cloud, self.machine, job).instance()
        self.cloud.journal.change_attempt(job.name, instance=instance.id, handed_over=True)

    def confirm(self, name: str) -> None:
        self.story.tell(f"confirm {name}")

    def run(self, name: str, command: str, timeout_seconds: float = 30.0) -> str:
        self.story.tell(f"run {command}")
        if "/health" in command and self.story.answers:
            return json.dumps({"state": self.story.answers.pop(0).state})
        return '{"state": "ready"}' if "/health" in command else ""

    def status(self, name: str) -> PlaceStatus:
        return PlaceStatus(name, self.story.stage, {}, self.story.message)

    def logs(self, name: str, offset: int = 0) -> LogPiece:
        return LogPiece(b"" if offset else b"starting\n", 9)

    def terminate(self, name: str) -> None:
        self.story.tell(f"terminate {name}")
        super().terminate(name)


class Watcher:
    """Hears the log and the status."""

    def __init__(self) -> None:
        self.log, self.shown = b"", list[PlaceStatus]()

    def write(self, content: bytes) -> None:
        self.log += content

    def show(self, status: PlaceStatus) -> None:
        self.shown.append(status)

    def interrupted(self, handed_over: bool) -> str:
        return "e"


@dataclass
class Site:
    world: World
    cloud: Cloud
    story: Story
    watcher: Watcher

    def plan(self, **order: Any) -> Any:
        return plan_deployment(self.cloud, DeployOrder("llama", **order))

    def deploy(self, **order: Any) -> Deployed:
        wanted = DeployOrder("llama", **order)
        return deploy(self.cloud, wanted, plan_deployment(self.cloud, wanted), PASSWORD, self.watcher)

    def publish(self, version: str, base: str) -> None:
        folder = self.cloud.settings.paths.runs / version
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
        (folder / "adapter_config.json").write_text('{"r": 16}')
        (folder / "run.json").write_text(json.dumps({"base": {"kind": "hub", "name": base}}))
        Registry(self.cloud.store).publish("llama", folder, version=version, actor="ann@desk")

    @property
    def records(self) -> list[Record]:
        return sorted(self.cloud.journal.all(), key=lambda each: each.attempts[0].at if each.attempts else "")

    @property
    def live(self) -> list[str]:
        return [each.id for each in self.world.account.instances() if each.state == "running"]

    @property
    def kills(self) -> list[str]:
        return [each.run for each in list_kills(self.cloud.sessions, self.cloud.names)]


@pytest.fixture
def site(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    world = World(account, tmp_path, open_to=OPEN_TO)
    world.init()
    store, story = FolderStore(tmp_path / "bucket"), Story()
    settings = Settings(aws=world.names.settings, paths=PathSettings(runs=tmp_path / "runs"))
    cloud = Cloud(
        world.sessions,
        world.names,
        store,
        Journal(store),
        Prices(world.sessions),
        settings,
        say=lambda stage, text: story.told.append(f"[{stage}] {text}"),
        sleep=lambda seconds: None,
    )
    place = type("StoryPlace", (FakePlace,), {"story": story})
    monkeypatch.setattr("aws.operations.deploy.EC2Place", place)
    monkeypatch.setattr("aws.operations.deploy.wait_for_page", _waiter(story))
    yield Site(world, cloud, story, Watcher())


def _waiter(story: Story) -> Callable[..., PageHealth]:
    """wait_for_page, which looks at the machine, and then gets an answer of the story."""

    def wait(url: str, user: str, password: Secret, *, still_there: Callable[[], None], **_: Any) -> PageHealth:
        assert password == PASSWORD
        still_there()
        story.tell(f"visit {url} as {user}")
        return PageHealth("ready", seconds=42.0)

    return wait


# the plan


def test_the_plan_tells_machine_reason_price_and_who_may_connect(site: Site) -> None:
    before = len(site.world.account.calls)
    model, choice, price, who = site.plan().lines()
    assert model.startswith("Serve HuggingFaceTB/SmolLM2-135M-Instruct (135M parameters) with the persona")
    assert choice.startswith("t3.small: a 135M model in 32 bit needs 1.9 GiB") or choice.startswith("t3.medium: ")
    assert "USD an hour (" in price and price.endswith("USD a month until it is ended")
    assert who == "Open to 203.0.113.7/32"
    asked = [call for call in site.world.account.calls[before:] if call.operation == "RunInstances"]
    assert [call.parameters["DryRun"] for call in asked] == ["true"]
    assert site.records == []


def test_a_plan_with_an_end_and_a_domain_says_so(site: Site) -> None:
    lines = "\n".join(site.plan(max_hours=2, domain="talk.example.org").lines())
    assert "ends after 2 h: 0." in lines and "USD at most" in lines and "until it is ended" not in lines
    assert "Open to 0.0.0.0/0" in lines
    assert "Caddy with TLS for talk.example.org" in lines and "0.005 USD an hour also when nothing runs" in lines


def test_the_largest_model_takes_a_larger_machine_and_is_refused_on_a_small_one(site: Site) -> None:
    site.publish("20261120-101530", LARGE)
    assert site.plan().choice.type.name == "t3.xlarge"
    with pytest.raises(SuiteError, match=r"a 3\.2B model in 32 bit needs 1\d\.\d GiB; t3\.medium has 4") as caught:
        site.plan(instance_type="t3.medium")
    assert ("Take that one", "python deploy_aws.py deploy-gradio --instance-type t3.xlarge") in caught.value.remedies
    assert site.records == [] and site.live == []


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({"domain": "talk"}, UsageError),
        ({"domain": "x.amazonaws.com"}, UsageError),
        ({"open_to": ("everybody",)}, ConfigError),
        ({"version": "20200101-000000"}, SuiteError),
        ({"instance_type": "g4dn.xlarge"}, UsageError),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    site: Site, order: Mapping[str, Any], error: type[SuiteError]
) -> None:
    def refused() -> None:
        with pytest.raises(error):
            site.plan(**order)

    assert site.world.changes(refused) == []


# the way


def test_the_page_serves(site: Site) -> None:
    done = site.deploy()
    (record,) = site.records
    run, (instance,) = record.run, site.live
    address = site.world.account.instance(instance).public_ip
    assert (done.url, done.seconds, done.replaced) == (f"http://{address}:7860", 42.0, ())
    assert [text for text in site.story.told if not text.startswith("[")] == [
        f"launch {run}", f"visit http://{address}:7860 as guest", f"confirm {run}",
    ]  # fmt: skip
    assert (record.purpose, record.state, record.deadline, record.schedule) == (SERVING, OPEN, "", "")
    assert record.outcome["url"] == done.url
    assert site.kills == []  # what would have ended an unfinished one is gone
    assert site.watcher.log == b"starting\n" and site.watcher.shown
    assert site.world.open_to(SERVING) >= {(22, "203.0.113.7/32"), (7860, "203.0.113.7/32")}
    command = record.job["command"]
    assert "--require-password" in command and "--host 0.0.0.0 --port 7860" in " ".join(command)
    assert PASSWORD.reveal() not in json.dumps(record.job)


def test_a_new_one_replaces_the_old_one_once_it_answers(site: Site) -> None:
    first = site.deploy()
    (old,) = site.live
    plan = site.plan(version="")
    assert f"Replaces {first.record.run} once it answers" in plan.lines()
    second = site.deploy()
    assert second.replaced == (first.record.run,)
    (new,) = site.live
    assert new != old and site.world.account.instance(old).state == "terminated"
    steps = [text.split()[0] for text in site.story.told if not text.startswith("[")]
    assert steps == ["launch", "visit", "confirm", "launch", "visit", "confirm", "terminate"]
    assert site.cloud.journal.read(first.record.run).state == ENDED
    assert site.cloud.journal.read(second.record.run).state == OPEN


@pytest.mark.parametrize("step", ["visit", "confirm"])
def test_one_that_does_not_answer_is_ended_and_the_old_one_stays(site: Site, step: str) -> None:
    first = site.deploy()
    (old,) = site.live
    site.story.fail_at = step
    with pytest.raises(PlaceError, match=f"{step} does not work"):
        site.deploy()
    assert site.live == [old]
    assert site.cloud.journal.read(first.record.run).state == OPEN
    (failed,) = [each for each in site.records if each.run != first.record.run]
    assert (failed.state, failed.schedule) == (ENDED, "") and site.kills == []
    assert site.story.of("[ending]")


def test_a_program_that_gives_up_is_not_waited_for(site: Site) -> None:
    site.story.stage, site.story.message = "failed", "no space left"
    with pytest.raises(PlaceError, match=r"the page did not start on app-.*: no space left") as caught:
        site.deploy()
    assert caught.value.remedies[0][1].startswith("python deploy_aws.py logs app-")
    assert site.live == []


def test_the_same_words_after_a_crash_go_on_with_what_was_begun(site: Site) -> None:
    site.story.fail_at = "visit"

    def crash(place: FakePlace, name: str) -> None:
        raise PlaceError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakePlace, "terminate", crash)
        with pytest.raises(PlaceError, match="killed"):
            site.deploy()
    (instance,) = site.live
    site.story.fail_at = ""
    (record,) = site.records
    assert f"Goes on with {record.run}, begun {record.created}" in site.plan().lines()
    assert site.deploy().record.run == record.run
    assert site.live == [instance] and len(site.records) == 1


def test_with_max_hours_it_has_a_deadline_and_keeps_its_schedule(site: Site) -> None:
    done = site.deploy(max_hours=2)
    left = from_iso(done.record.deadline) - site.cloud.now()
    assert timedelta(hours=1, minutes=58) < left <= timedelta(hours=2)
    assert done.record.schedule and site.kills == [done.record.run]
    tags = {tag["key"]: tag["value"] for tag in site.world.account.instance(site.live[0]).get_tags()}
    assert tags["stranger:deadline"] == done.record.deadline


def test_a_deployment_whose_time_is_up_gets_a_new_deadline_with_its_next_machine(site: Site) -> None:
    site.story.fail_at = "launch"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakePlace, "terminate", lambda place, name: None)
        with pytest.raises(PlaceError):
            site.deploy(max_hours=2)
    (record,) = site.records
    site.cloud.journal.change(record.run, lambda each: replace(each, deadline="2026-01-01T00:00:00Z"))
    site.story.fail_at = ""
    done = site.deploy(max_hours=2)
    assert done.record.run == record.run
    assert from_iso(done.record.deadline) > site.cloud.now()


# a domain


def test_a_domain_gets_caddy_and_an_address_that_stays(site: Site) -> None:
    site.story.answers = [PageHealth("loading"), PageHealth("loading")]
    done = site.deploy(domain="talk.example.org")
    assert done.url == "https://talk.example.org"
    commands = site.story.of("run ")
    assert len([each for each in commands if "http://127.0.0.1:7860/health" in each]) == 3
    assert any("apt-get" in each and "install caddy" in each for each in commands)
    assert any("talk.example.org {" in each for each in commands)
    order = [text for text in site.story.told if text.startswith(("run sudo systemctl restart caddy", "confirm"))]
    assert order[0].startswith("confirm")
    assert {(80, "0.0.0.0/0"), (443, "0.0.0.0/0")} <= site.world.open_to(SERVING)
    command = done.record.job["command"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    (found,) = site.world.client("ec2").describe_addresses()["Addresses"]
    assert (found["PublicIp"], found["InstanceId"]) == (done.address, site.live[0])
    assert any(done.address in text for text in site.story.of("[domain]"))

    again = site.deploy(domain="talk.example.org")
    (found,) = site.world.client("ec2").describe_addresses()["Addresses"]
    assert (again.address, found["InstanceId"]) == (done.address, site.live[0])
    assert len(site.live) == 1


def test_the_domain_leads_to_the_old_machine_again_where_the_new_one_fails_at_last(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy(domain="talk.example.org")
    (old,) = site.live

    def refuse(*_: Any) -> None:
        raise PlaceError("the schedule stays.")

    with monkeypatch.context() as patch:
        patch.setattr("aws.account.schedules.remove_kill", refuse)
        patch.setattr("aws.ec2_orchestrator.settle", lambda cloud, record: record)
        with pytest.raises(PlaceError, match="the schedule stays"):
            site.deploy(domain="talk.example.org")
    assert site.live == [old]
    (found,) = site.world.client("ec2").describe_addresses()["Addresses"]
    assert found["InstanceId"] == old


def test_a_page_behind_a_domain_that_never_gets_ready(site: Site) -> None:
    site.story.answers = [PageHealth("loading")] * 2000
    ticks = iter(range(0, 10_000_000, 100))
    began = site.cloud.clock()
    site.cloud = replace(site.cloud, clock=lambda: began + next(ticks))
    with pytest.raises(PlaceError, match="is not ready after 1200 s"):
        site.deploy(domain="talk.example.org")
    assert site.live == []
    assert site.world.client("ec2").describe_addresses()["Addresses"] == []


def test_each_domain_has_an_address_of_its_own(site: Site) -> None:
    site.deploy()
    (instance,) = site.live
    first = give_address(site.cloud, "a.example.org", instance)
    assert give_address(site.cloud, "a.example.org", instance) == first
    assert give_address(site.cloud, "b.example.org", instance) != first
    found = site.world.client("ec2").describe_addresses()["Addresses"]
    tags = [{tag["Key"]: tag["Value"] for tag in each["Tags"]} for each in found]
    assert {each["stranger:domain"] for each in tags} == {"a.example.org", "b.example.org"}
    assert {each["stranger:project"] for each in tags} == {"stranger-things"}
    assert len(site.world.account.calls_of("AllocateAddress")) == 2


# the password


def with_password(cloud: Cloud, value: str) -> Cloud:
    secrets = SecretSettings(app_password=Secret(value))
    return replace(cloud, settings=replace(cloud.settings, secrets=secrets))


def test_a_password_is_made_once_and_taken_again(site: Site) -> None:
    made, new = serving_password(site.cloud)
    assert new and len(made.reveal()) >= 20
    assert serving_password(site.cloud) == (made, False)
    assert get_parameter(site.cloud.sessions, site.cloud.names.app_password) == made


def test_a_password_of_the_settings_is_stored_and_wins(site: Site) -> None:
    serving_password(site.cloud)
    given = Secret("correct-horse-battery")
    assert serving_password(with_password(site.cloud, given.reveal())) == (given, False)
    assert get_parameter(site.cloud.sessions, site.cloud.names.app_password) == given
    assert serving_password(site.cloud) == (given, False)
    cloud = with_password(site.cloud, given.reveal())
    assert site.world.changes(lambda: serving_password(cloud)) == []
