"""The doctor: each fault is found, what can be mended is, and a healthy account has none. No network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from doubles.account import ACCOUNT_NUMBER, Account
from moto.ec2 import ec2_backends
from moto.ec2.models.spot_requests import SpotInstanceRequest

from aws.account.schedules import list_kills, make_kill
from aws.books import findings as kinds
from aws.books.doctor import Finding, Reaped, examine, reap
from aws.config import SERVING, TAG_DEADLINE, TAG_PROJECT, TRAINING, Names, to_iso
from aws.journal import ENDED, Attempt, Journal, Record
from aws.sessions import Sessions
from aws.storage import S3Store
from config import AwsSettings
from utils.registry import Registry
from utils.stores import FolderStore

HOME, FAR = "us-east-1", "eu-west-1"
RUN, OTHER = "llama-20261121-060000-3f2a", "qwen-20261121-070000-0001"
HOUR = timedelta(hours=1)
CANCEL = "CancelSpotInstanceRequests"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two regions are enough, and nothing here pulls the plug."""
    monkeypatch.setattr(Sessions, "regions", lambda _self: [HOME, FAR])
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@dataclass
class World:
    """An account with a bucket, and what the tests put into it. Time is told: ``now`` is an hour after all was made."""

    account: Account
    sessions: Sessions
    names: Names
    journal: Journal
    registry: Registry
    made: datetime

    @property
    def now(self) -> datetime:
        return self.made + HOUR

    def ec2(self, region: str = HOME) -> Any:
        return boto3.client("ec2", region or None)

    def tags(self, kind: str, **about: Any) -> list[dict[str, Any]]:
        tags = self.names.tags(about.pop("purpose", TRAINING), **about)
        return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]

    def launch(self, run: str = RUN, hours: float | None = 4, purpose: str = TRAINING, region: str = HOME) -> str:
        deadline = self.made + hours * HOUR if hours is not None else None
        if region != HOME:
            self.account.add_images(region)
        image = self.ec2(region).describe_images()["Images"][-1]["ImageId"]
        reply = self.ec2(region).run_instances(
            ImageId=image,
            InstanceType="t3.large",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=self.tags("instance", run=run, deadline=deadline, purpose=purpose),
        )
        return str(reply["Instances"][0]["InstanceId"])

    def begin(self, run: str = RUN, *instances: str, **changes: Any) -> Record:
        """An open run of an hour ago with these machines (empty: none came)."""
        at = to_iso(self.made)
        attempts = tuple(Attempt(number, HOME, at=at, instance=each) for number, each in enumerate(instances, 1))
        deadline = to_iso(self.made + 4 * HOUR)
        usual = Record(run, TRAINING, "words", "ann@desk", at, deadline, {}, attempts=attempts)
        return self.journal.begin(replace(usual, **changes))

    def schedule(self, run: str = RUN) -> None:
        make_kill(self.sessions, self.names, run, self.made + 5 * HOUR, sleep=lambda _: None)

    def examine(self, later: timedelta = timedelta()) -> list[Finding]:
        return examine(self.sessions, self.names, self.journal, self.registry, self.now + later)

    def one(self, kind: str, later: timedelta = timedelta()) -> Finding:
        """The only finding there is."""
        (found,) = self.examine(later)
        assert found.kind == kind, found
        return found

    def reap(self, *found: Finding, later: timedelta = timedelta()) -> list[Reaped]:
        told = (self.now + later).timestamp()
        everything = (self.sessions, self.names, self.journal, self.registry)
        return reap(*everything, found or self.examine(later), clock=lambda: told, sleep=lambda _: None)

    def live(self, region: str = HOME) -> list[str]:
        reservations = self.ec2(region).describe_instances()["Reservations"]
        found = [each for reservation in reservations for each in reservation["Instances"]]
        return [each["InstanceId"] for each in found if each["State"]["Name"] == "running"]


@pytest.fixture
def world(account: Account, sessions: Sessions, names: Names, tmp_path: Path) -> World:
    sessions.client("s3").create_bucket(Bucket=names.bucket)
    sessions.client("scheduler").create_schedule_group(Name=names.schedule_group)
    store = FolderStore(tmp_path / "bucket")  # to these two it is the same as a bucket, and quicker
    made = datetime.now(UTC).replace(microsecond=0)
    return World(account, sessions, names, Journal(store), Registry(store), made)


def test_an_empty_account(world: World) -> None:
    assert world.examine() == [] and world.reap() == []


def test_a_healthy_account(world: World, tmp_path: Path) -> None:
    world.begin(RUN, "i-0000000000000000a", world.launch())
    world.schedule(RUN)
    world.begin(OTHER, world.launch(OTHER, None, SERVING), purpose=SERVING, deadline="")
    gone = "llama-20261120-060000-0002"
    world.begin(gone, "i-0000000000000000b", state=ENDED, stage="done")
    ec2 = world.ec2()
    for purpose in (TRAINING, SERVING):
        group = ec2.create_security_group(
            GroupName=world.names.security_group(purpose),
            Description="ours",
            TagSpecifications=world.tags("security-group"),
        )["GroupId"]
        for port, block in ((22, "203.0.113.7/32"), (443, "0.0.0.0/0")):
            ec2.authorize_security_group_ingress(
                GroupId=group, IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp=block
            )
    for name in (world.names.key_pair, "stranger-things-somebody-else"):
        ec2.create_key_pair(KeyName=name, TagSpecifications=world.tags("key-pair"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    world.registry.publish("llama", adapter, actor="ann")
    before = len(world.account.calls)
    assert world.examine() == []
    verbs = ("Describe", "List", "Get", "Head")
    assert all(call.operation.startswith(verbs) for call in world.account.calls[before:])


def test_what_is_not_of_the_project_is_not_seen(world: World) -> None:
    image = world.ec2().describe_images()["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": TAG_DEADLINE, "Value": to_iso(world.made)}]}]
    world.ec2().run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.large", TagSpecifications=tags)
    world.ec2().create_volume(AvailabilityZone="us-east-1a", Size=1)
    world.ec2().allocate_address(Domain="vpc")
    assert world.examine(timedelta(days=9)) == []


class TestInstances:
    @pytest.mark.parametrize("region", [HOME, FAR])
    def test_past_its_deadline(self, world: World, region: str) -> None:
        late, well = world.launch(hours=0.5, region=region), world.launch(OTHER, region=region)
        world.begin(OTHER, well)
        world.schedule(OTHER)
        world.begin(RUN, late)
        world.schedule(RUN)
        found = world.one(kinds.OVERDUE)
        assert (found.id, found.region, found.overdue, found.billable) == (late, region, True, True)
        assert f"python deploy_aws.py terminate {late}" == found.remedy and "past its deadline" in found.problem
        (done,) = world.reap(found)
        assert done.done and done.text == "terminated, volumes gone" and world.live(region) == [well]
        assert world.one(kinds.LOST_MACHINE).id == RUN  # what it had done can be gone on with

    def test_a_deadline_that_was_moved_meanwhile(self, world: World) -> None:
        world.begin(RUN, instance := world.launch(hours=0.5))
        world.schedule()
        found = world.one(kinds.OVERDUE)
        later = [{"Key": TAG_DEADLINE, "Value": to_iso(world.now + HOUR)}]
        world.ec2().create_tags(Resources=[instance], Tags=later)
        (result,) = world.reap(found)
        assert not result.done and "its deadline is" in result.text and world.live() == [instance]

    def test_the_deadline_of_the_journal_counts_too(self, world: World) -> None:
        world.begin(RUN, world.launch(hours=None), deadline=to_iso(world.made + HOUR / 2))
        world.schedule()
        assert world.one(kinds.OVERDUE).overdue

    def test_training_without_a_deadline(self, world: World) -> None:
        world.begin(RUN, instance := world.launch(hours=None))
        world.schedule()
        found = world.one(kinds.NO_DEADLINE)
        assert found.id == instance and found.billable and not found.overdue
        (result,) = world.reap(found)
        assert not result.done and "left alone" in result.text and world.live() == [instance]

    def test_of_a_run_that_has_ended(self, world: World) -> None:
        world.begin(RUN, instance := world.launch(), state=ENDED, stage="done")
        found = world.one(kinds.RUN_ENDED)
        assert found.id == instance and found.overdue and "(done)" in found.problem
        assert [result.done for result in world.reap(found)] == [True] and world.live() == []
        assert world.examine() == []

    def test_of_a_run_that_goes_on_again(self, world: World) -> None:
        world.begin(RUN, instance := world.launch(), state=ENDED, stage="failed")
        found = world.one(kinds.RUN_ENDED)
        world.journal.change(RUN, lambda record: replace(record, state="open"))
        (result,) = world.reap(found)
        assert not result.done and "goes on again" in result.text and world.live() == [instance]

    def test_in_no_journal(self, world: World) -> None:
        instance = world.launch("")
        found = world.one(kinds.NO_RECORD)
        assert found.id == instance and not found.overdue
        assert not world.reap(found)[0].done and world.live() == [instance]
        assert examine(world.sessions, world.names, world.journal, world.registry, world.made) == []  # just launched

    def test_one_that_cannot_be_ended_does_not_spare_the_others(self, world: World) -> None:
        first, second = world.launch(hours=0.1), world.launch(OTHER, hours=0.1)
        world.begin(RUN, first)
        world.begin(OTHER, second)
        for run in (RUN, OTHER):
            world.schedule(run)
        world.account.fail("TerminateInstances", "OperationNotPermitted", times=9, matching=(first,))
        results = {result.finding.id: result for result in world.reap()}
        assert not results[first].done and "OperationNotPermitted" in results[first].text
        assert results[second].done and world.live() == [first]


class TestRuns:
    def test_its_machine_is_gone(self, world: World) -> None:
        world.begin(RUN, "i-0123456789abcdef0")
        found = world.one(kinds.LOST_MACHINE)
        assert found.remedy == f"python deploy_aws.py train llama --resume {RUN}" and not found.billable
        assert not world.reap(found)[0].done and world.journal.read(RUN).state != ENDED

    def test_a_server_is_gone(self, world: World) -> None:
        world.begin(RUN, "i-0123456789abcdef0", purpose=SERVING)
        assert world.one(kinds.LOST_MACHINE).remedy == "python deploy_aws.py deploy-gradio"

    def test_a_region_in_the_dark_is_no_proof(self, world: World) -> None:
        world.begin(RUN, "i-0123456789abcdef0")
        world.account.fail("DescribeInstances", "AuthFailure", times=99, region=HOME)
        assert kinds.LOST_MACHINE not in {each.kind for each in world.examine()}

    @pytest.mark.parametrize(("attempt", "kind"), [(1, kinds.NOT_COLLECTED), (7, kinds.LOST_MACHINE)])
    def test_it_ended_and_nobody_looked(self, world: World, attempt: int, kind: str) -> None:
        world.begin(RUN, "i-0123456789abcdef0")
        end = {"stage": "done", "attempt": attempt}
        world.registry.store.put(f"results/{RUN}/exit.json", json.dumps(end).encode())
        found = world.one(kind)
        assert not world.reap(found)[0].done
        if kind == kinds.NOT_COLLECTED:
            assert found.remedy == "python deploy_aws.py status"

    @pytest.mark.parametrize("asked", [True, False])
    def test_a_launch_that_made_nothing(self, world: World, asked: bool) -> None:
        world.begin(RUN, *([""] if asked else []), schedule=RUN)
        world.schedule()
        assert examine(world.sessions, world.names, world.journal, world.registry, world.made + HOUR / 10) == []
        found = world.one(kinds.LOST_ATTEMPT)
        assert "costs nothing" in found.problem and not found.billable
        assert world.reap(found)[0].text == "closed: it never had a machine"
        record = world.journal.read(RUN)
        assert (record.state, record.stage, record.schedule, record.cost_usd) == (ENDED, "gone", "", 0)
        assert [each.ended_at for each in record.attempts] == [to_iso(world.made)] * asked
        assert world.examine() == [] and list_kills(world.sessions, world.names) == []

    def test_a_launch_whose_machine_came_after_all(self, world: World) -> None:
        world.begin(RUN, "")
        found = world.one(kinds.LOST_ATTEMPT)
        world.launch()
        (result,) = world.reap(found)
        assert not result.done and "has its machine" in result.text and world.journal.read(RUN).state != ENDED

    def test_a_launch_that_goes_on(self, world: World) -> None:
        world.begin(RUN, "")
        found = world.one(kinds.LOST_ATTEMPT)
        world.journal.change_attempt(RUN, at=to_iso(world.now))
        assert not world.reap(found)[0].done and world.journal.read(RUN).state != ENDED

    def test_a_damaged_record(self, world: World) -> None:
        world.registry.store.put(f"journal/{RUN}.json", b"{")
        found = world.one(kinds.DAMAGED_RECORD)
        assert found.id == RUN and not world.reap(found)[0].done


class TestSchedules:
    @pytest.mark.parametrize("recorded", [True, False])
    def test_of_a_run_that_is_over(self, world: World, recorded: bool) -> None:
        if recorded:
            world.begin(RUN, "i-0123456789abcdef0", state=ENDED)
        world.schedule()
        found = world.one(kinds.STALE_SCHEDULE)
        assert found.id == RUN and f"--name {RUN}" in found.remedy
        assert world.reap(found)[0].done and world.examine() == []

    def test_of_a_run_that_goes_on_again(self, world: World) -> None:
        world.begin(RUN, "i-0123456789abcdef0", state=ENDED)
        world.schedule()
        found = world.one(kinds.STALE_SCHEDULE)
        world.journal.change(RUN, lambda record: replace(record, state="open"))
        assert not world.reap(found)[0].done and len(list_kills(world.sessions, world.names)) == 1

    def test_a_run_without_one(self, world: World) -> None:
        world.begin(RUN, world.launch())
        found = world.one(kinds.NO_SCHEDULE)
        assert found.id == RUN and "--resume" in found.remedy and not world.reap(found)[0].done


class TestLeftOvers:
    def volume(self, world: World, region: str = FAR) -> str:
        tags = world.tags("volume", run=RUN, deadline=world.made + HOUR / 2)
        made = world.ec2(region).create_volume(AvailabilityZone=f"{region}a", Size=100, TagSpecifications=tags)
        return str(made["VolumeId"])

    def test_a_volume(self, world: World) -> None:
        volume = self.volume(world)
        found = world.one(kinds.LOOSE_VOLUME)
        assert (found.id, found.region, found.overdue, found.billable) == (volume, FAR, True, True)
        assert found.remedy == f"aws ec2 delete-volume --volume-id {volume} --region {FAR}"
        assert world.reap(found)[0].text == "deleted" and world.ec2(FAR).describe_volumes()["Volumes"] == []

    def test_a_new_volume_may_yet_be_used(self, world: World) -> None:
        self.volume(world)
        assert examine(world.sessions, world.names, world.journal, world.registry, world.made) == []

    def test_a_volume_that_lost_its_tag(self, world: World) -> None:
        found = Finding(kinds.LOOSE_VOLUME, self.volume(world), FAR, "attached to nothing")
        world.ec2(FAR).delete_tags(Resources=[found.id], Tags=[{"Key": TAG_PROJECT}])
        (result,) = world.reap(found)
        assert not result.done and "tag" in result.text and len(world.ec2(FAR).describe_volumes()["Volumes"]) == 1

    def test_an_address(self, world: World) -> None:
        address = world.ec2().allocate_address(Domain="vpc", TagSpecifications=world.tags("elastic-ip"))
        found = world.one(kinds.LOOSE_ADDRESS)
        assert found.id == address["AllocationId"] and found.billable and not found.overdue
        assert world.reap(found)[0].done and world.examine() == []

    def test_an_address_that_is_used(self, world: World) -> None:
        address = world.ec2().allocate_address(Domain="vpc", TagSpecifications=world.tags("elastic-ip"))
        world.begin(RUN, instance := world.launch())
        world.schedule()
        world.ec2().associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
        assert world.examine() == []

    def test_the_address_of_a_domain_is_kept(self, world: World) -> None:
        tags = world.tags("elastic-ip")
        tags[0]["Tags"].append({"Key": "stranger:domain", "Value": "talk.example.org"})
        world.ec2().allocate_address(Domain="vpc", TagSpecifications=tags)
        found = world.one(kinds.LOOSE_ADDRESS)
        assert "kept for talk.example.org" in found.problem and found.billable
        (result,) = world.reap(found)
        assert not result.done and "talk.example.org" in result.text and len(world.examine()) == 1

    def test_a_spot_request(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        request = self.open_request(world, monkeypatch)
        found = world.one(kinds.LOOSE_REQUEST)
        assert found.id == request and found.billable
        assert world.reap(found)[0].text == "cancelled"
        assert [each.parameters["SpotInstanceRequestId.1"] for each in world.account.calls_of(CANCEL)] == [request]

    @staticmethod
    def open_request(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
        """moto answers every request at once; this one waits."""
        monkeypatch.setattr(SpotInstanceRequest, "launch_instance", lambda _self: None)
        monkeypatch.setattr(SpotInstanceRequest, "instance_id", None)
        launch = {"ImageId": world.account.image("24.04"), "InstanceType": "t3.large"}
        reply = world.ec2().request_spot_instances(
            SpotPrice="0.1",
            InstanceCount=1,
            LaunchSpecification=launch,
            TagSpecifications=world.tags("spot-instances-request", run=RUN),
        )
        request = reply["SpotInstanceRequests"][0]["SpotInstanceRequestId"]
        ec2_backends[ACCOUNT_NUMBER][HOME].spot_instance_requests[request].state = "open"
        return str(request)

    def test_an_upload(self, world: World) -> None:
        s3, bucket = world.sessions.client("s3"), world.names.bucket
        upload = s3.create_multipart_upload(Bucket=bucket, Key="checkpoints/x")["UploadId"]
        found = world.one(kinds.LOOSE_UPLOAD, timedelta(days=2))
        assert found.id == "checkpoints/x" and found.facts["upload"] == upload and found.billable
        assert world.reap(found)[0].done and "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)

    def test_a_version(self, world: World) -> None:
        claim = {"actor": "ben@far", "at": to_iso(world.made - 30 * HOUR), "token": "0"}
        world.registry.store.put("models/trained/llama/claims/20261120-070000.json", json.dumps(claim).encode())
        world.registry.store.put("models/trained/llama/20261120-070000/run.json", b"{}")
        found = world.one(kinds.UNFINISHED_VERSION)
        assert found.id == "llama/20261120-070000" and "ben@far" in found.problem
        assert world.reap(found)[0].done and world.examine() == []
        assert list(world.registry.store.list("models/")) == []


class TestGroupsAndKeys:
    def group(self, world: World, name: str, **rule: Any) -> str:
        ec2 = world.ec2()
        made = ec2.create_security_group(
            GroupName=name, Description="ours", TagSpecifications=world.tags("security-group")
        )
        if rule:
            ec2.authorize_security_group_ingress(GroupId=made["GroupId"], IpPermissions=[rule])
        return str(made["GroupId"])

    def test_a_group_that_nobody_knows(self, world: World) -> None:
        group = self.group(world, "stranger-things-of-old")
        found = world.one(kinds.UNKNOWN_GROUP)
        assert found.id == group and "stranger-things-of-old" in found.problem and not found.billable
        assert world.reap(found)[0].done and world.examine() == []

    @pytest.mark.parametrize(
        ("rule", "ports"),
        [
            ({"FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "22"),
            ({"FromPort": 1, "ToPort": 99, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "1-99"),
            ({"FromPort": 22, "ToPort": 22, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}, "22"),
        ],
    )
    def test_a_group_that_is_open_to_everybody(self, world: World, rule: dict[str, Any], ports: str) -> None:
        self.group(world, world.names.security_group(SERVING), IpProtocol="tcp", **rule)
        found = world.one(kinds.OPEN_GROUP)
        assert f"port {ports} is open to everybody" in found.problem
        assert not world.reap(found)[0].done and len(world.examine()) == 1

    def test_a_group_that_somebody_wanted_open(self, world: World) -> None:
        world.names = Names(AwsSettings(open_to=("0.0.0.0/0",)), world.names.account)
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        self.group(world, world.names.security_group(TRAINING), **rule)
        assert world.examine() == []

    def test_an_old_key_of_another_machine(self, world: World) -> None:
        for name in ("stranger-things-old", world.names.key_pair):
            world.ec2().create_key_pair(KeyName=name, TagSpecifications=world.tags("key-pair"))
        assert world.examine() == []
        found = world.one(kinds.OLD_KEY, timedelta(days=181))
        assert "stranger-things-old" in found.problem and not found.billable
        assert not world.reap(found)[0].done and len(world.ec2().describe_key_pairs()["KeyPairs"]) == 2


class TestInTheDark:
    def test_a_region_that_does_not_answer(self, world: World) -> None:
        world.begin(RUN, world.launch(hours=0.5))
        world.schedule()
        world.account.fail("DescribeInstances", "AuthFailure", times=99, region=FAR)
        overdue, dark = world.examine()
        assert overdue.kind == kinds.OVERDUE and dark.kind == kinds.UNREADABLE
        assert dark.region == FAR and dark.problem.startswith("eu-west-1 could not be read: ")
        assert [result.done for result in world.reap(overdue, dark)] == [True, False]

    @pytest.mark.parametrize(
        ("operation", "what"),
        [
            ("DescribeVolumes", "the volumes of eu-west-1"),
            ("DescribeAddresses", "the addresses of eu-west-1"),
            ("ListSchedules", "the schedules"),
            ("ListMultipartUploads", "stranger-things-"),
        ],
    )
    def test_one_thing_that_may_not_be_read(self, world: World, operation: str, what: str) -> None:
        region = FAR if operation.startswith("Describe") else ""
        address = world.ec2(FAR).create_volume  # something else is there to be found
        address(AvailabilityZone=f"{FAR}a", Size=1, TagSpecifications=world.tags("volume"))
        world.account.fail(operation, "AccessDenied", times=99, status=403, region=region)
        found = {each.kind: each for each in world.examine()}
        assert (
            found[kinds.UNREADABLE].problem.startswith(what) and "could not be read" in found[kinds.UNREADABLE].problem
        )
        assert (kinds.LOOSE_VOLUME in found) is (operation != "DescribeVolumes")

    def test_no_bucket(self, world: World) -> None:
        store = S3Store(world.names.bucket_url, HOME)
        world.journal, world.registry = Journal(store), Registry(store)
        world.sessions.client("s3").delete_bucket(Bucket=world.names.bucket)
        instance = world.launch(hours=0.5)
        found = world.examine()
        assert found[0].id == instance and found[0].kind == kinds.OVERDUE
        assert {each.kind for each in found[1:]} == {kinds.UNREADABLE}
        assert all("there is no bucket" in each.problem for each in found[1:])


def test_ready_for_json_and_for_people(world: World) -> None:
    world.begin(RUN, "i-0123456789abcdef0")
    (found,) = world.examine()
    assert json.loads(json.dumps(found.to_dict()))["kind"] == kinds.LOST_MACHINE
    assert str(found).endswith(f"\n  python deploy_aws.py train llama --resume {RUN}")
    (result,) = world.reap(found)
    assert str(result).startswith(f"{RUN}: left alone")


def test_every_kind_is_mended_or_says_why_not() -> None:
    from aws.books import reaping

    mended: Callable[[str], bool] = lambda kind: kind not in reaping.LEFT_ALONE  # noqa: E731
    every = {value for name, value in vars(kinds).items() if name.isupper()}
    assert len(every) == 19 and reaping.LEFT_ALONE.keys() <= every
    assert sum(map(mended, every)) == 10
