"""destroy: everything of the project goes, in an order that works, and what stays is named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from doubles.account import Account
from doubles.set_up import World

from aws.account.belongings import Resource
from aws.account.destroy import Removal, destroy, plan_destroy
from aws.account.parameters import make_password, put_parameter
from aws.account.schedules import list_kills, make_kill
from aws.account.setup import find_security_group
from aws.config import TAG_PROJECT, TRAINING

RUN = "llama-20261121-101530-3f2a"
REGIONS = ("us-east-1", "eu-west-1", "ap-south-1", "eu-north-1")  # of the 17 that moto has: each takes its time
AT = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def world(account: Account, tmp_path: Path) -> World:
    made = World(account, tmp_path)
    made.sessions._regions = list(REGIONS)
    made.init()
    return made


class Removing:
    """Runs destroy with a clock that the pauses move."""

    def __init__(self, world: World) -> None:
        self.world, self.now, self.slept = world, 1_800_000_000.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)

    def run(self, *, with_data: bool = False, **options: Any) -> list[Removal]:
        world = self.world
        plan = plan_destroy(world.sessions, world.names, with_data=with_data)
        return destroy(world.sessions, world.names, plan, clock=lambda: self.now, sleep=self.sleep, **options)


def launch(world: World, *, region: str = "us-east-1", project: str = "stranger-things") -> str:
    ec2 = boto3.client("ec2", region or None)
    world.account.add_images(region)
    tags = [{"Key": TAG_PROJECT, "Value": project}, {"Key": "stranger:run", "Value": RUN}]
    image = next(
        each["ImageId"] for each in ec2.describe_images(Owners=["099720109477"])["Images"] if "noble" in each["Name"]
    )
    reply = ec2.run_instances(
        ImageId=image, InstanceType="t3.medium", MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )  # fmt: skip
    return str(reply["Instances"][0]["InstanceId"])


def tagged(project: str = "stranger-things", kind: str = "volume") -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": TAG_PROJECT, "Value": project}]}]


def kinds(resources: list[Resource]) -> list[str]:
    return list(dict.fromkeys(each.kind for each in resources))


def put(world: World, *keys: str, size_bytes: int = 10) -> None:
    for key in keys:
        world.client("s3").put_object(Bucket=world.names.bucket, Key=key, Body=b"x" * size_bytes)


def test_the_plan_is_in_the_order_of_the_removal(world: World) -> None:
    launch(world)
    make_kill(world.sessions, world.names, RUN, AT)
    world.client("ec2").create_volume(AvailabilityZone="us-east-1a", Size=8, TagSpecifications=tagged())
    world.client("ec2").allocate_address(Domain="vpc", TagSpecifications=tagged(kind="elastic-ip"))
    plan = plan_destroy(world.sessions, world.names)
    assert kinds(plan) == [
        "instance", "volume", "address", "schedule", "schedule group", "function", "log group", "instance profile",
        "role", "security group", "key pair", "parameter", "bucket", "key file",
    ]  # fmt: skip
    assert [each.kind for each in plan if each.billable] == ["instance", "volume", "address"]
    assert [each.kind for each in plan if each.stays] == ["bucket", "key file"]


def test_everything_goes_but_bucket_and_key_file(world: World) -> None:
    instance = launch(world)
    make_kill(world.sessions, world.names, RUN, AT)
    put_parameter(world.sessions, world.names, world.names.app_password, make_password())
    put(world, "models/trained/llama/latest.json")
    heard: list[Removal] = []
    removals = Removing(world).run(say=heard.append)
    assert heard == removals
    assert [each for each in removals if not each.gone] == []
    assert world.account.instance(instance).state == "terminated"
    assert list_kills(world.sessions, world.names) == []
    left = plan_destroy(world.sessions, world.names)
    assert kinds(left) == ["bucket", "key file"]
    assert world.names.settings.key_file.exists()


def test_with_data_the_bucket_goes_with_all_versions_and_uploads(world: World) -> None:
    s3, bucket = world.client("s3"), world.names.bucket
    put(world, "models/trained/llama/latest.json", "data/training/a", "journal/x.json")
    put(world, "models/trained/llama/latest.json")  # a second version
    s3.delete_object(Bucket=bucket, Key="data/training/a")  # a delete marker
    s3.create_multipart_upload(Bucket=bucket, Key="models/unfinished")
    removals = Removing(world).run(with_data=True)
    assert [each for each in removals if not each.gone] == []
    assert kinds(plan_destroy(world.sessions, world.names, with_data=True)) == ["key file"]


def test_many_objects_are_deleted_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aws.account.destroy.DELETED_AT_ONCE", 3)
    put(world, *(f"logs/{number}" for number in range(8)))
    assert all(each.gone for each in Removing(world).run(with_data=True))
    assert len(world.account.calls_of("DeleteObjects")) == 3


def test_many_versions_of_one_object_go_although_the_list_loses_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored(s3: Any, which: dict[str, str]) -> Iterator[dict[str, Any]]:
        for page in s3.get_paginator("list_object_versions").paginate(**which, PaginationConfig={"PageSize": 3}):
            yield from page.get("Versions", [])

    monkeypatch.setattr("aws.account.destroy.DELETED_AT_ONCE", 3)
    monkeypatch.setattr("aws.account.destroy.stored", stored)
    for _ in range(8):  # such as results/RUN/state.json, which is written every half minute
        put(world, "results/run/state.json")
    assert [each.problem for each in Removing(world).run(with_data=True) if not each.gone] == []


def test_objects_that_are_not_ours_stay_and_keep_the_bucket(world: World) -> None:
    put(world, "models/x", "photos/cat.jpg")
    plan = plan_destroy(world.sessions, world.names, with_data=True)
    assert "1 of them are not of this project" in next(each.detail for each in plan if each.kind == "bucket")
    removal = next(each for each in Removing(world).run(with_data=True) if each.resource.kind == "bucket")
    assert not removal.gone
    assert "1 objects in it are not of this project" in removal.problem
    listed = world.client("s3").list_objects_v2(Bucket=world.names.bucket)["Contents"]
    assert [each["Key"] for each in listed] == ["photos/cat.jpg"]


def test_a_bucket_that_stays_says_what_it_costs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aws.pricing.STORAGE_USD_PER_GB_MONTH", 23_000.0 * 2**30 / 1e9)
    put(world, "models/x", size_bytes=1_000_000)
    put(world, "models/x", size_bytes=1_000_000)  # the old version costs as much
    bucket = next(each for each in plan_destroy(world.sessions, world.names) if each.kind == "bucket")
    assert bucket.stays and bucket.billable
    assert bucket.detail == "0.00 GB in 2 objects and versions, about 46.00 USD a month"


def test_orphans_in_other_regions_are_found_and_go(world: World) -> None:
    far = launch(world, region="eu-west-1")
    ec2 = boto3.client("ec2", "ap-south-1")
    volume = ec2.create_volume(AvailabilityZone="ap-south-1a", Size=8, TagSpecifications=tagged())["VolumeId"]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged(kind="elastic-ip"))["AllocationId"]
    plan = plan_destroy(world.sessions, world.names)
    assert {(each.kind, each.name, each.region) for each in plan if each.billable} == {
        ("instance", far, "eu-west-1"), ("volume", volume, "ap-south-1"), ("address", address, "ap-south-1"),
    }  # fmt: skip
    assert all(each.gone for each in Removing(world).run())
    assert world.account.instance(far, "eu-west-1").state == "terminated"
    assert ec2.describe_volumes()["Volumes"] == []
    assert ec2.describe_addresses()["Addresses"] == []


def test_what_belongs_to_others_stays(world: World, tmp_path: Path) -> None:
    other = World(world.account, tmp_path, project="other-show", key_file=tmp_path / "other.pem")
    other.init()
    machine = launch(world, project="other-show")
    world.client("ec2").create_volume(
        AvailabilityZone="us-east-1a", Size=8, TagSpecifications=tagged(project="other-show")
    )
    assert all(each.gone for each in Removing(world).run(with_data=True))
    assert world.account.instance(machine).state == "running"
    assert other.changes(other.init) == []
    assert (
        len(world.client("ec2").describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])["Volumes"]) == 1
    )


def test_a_region_that_cannot_be_looked_at_is_named(world: World) -> None:
    world.account.fail("DescribeVolumes", "UnauthorizedOperation", region="eu-north-1", times=9)
    region = next(each for each in plan_destroy(world.sessions, world.names) if each.kind == "region")
    assert (region.name, region.stays) == ("eu-north-1", True)
    assert "could not be looked at" in region.detail


def test_a_security_group_is_waited_for(world: World) -> None:
    group = find_security_group(world.sessions, world.names, TRAINING)
    rule = world.account.fail("DeleteSecurityGroup", "DependencyViolation", times=4, matching=(group,))
    removing = Removing(world)
    assert all(each.gone for each in removing.run())
    assert rule.hits == 4
    assert removing.slept == [2.0] * 4


def test_what_is_refused_does_not_spare_the_rest(world: World) -> None:
    world.account.fail("DeleteFunction", "AccessDeniedException", times=9)
    failed = [each for each in Removing(world).run() if not each.gone]
    assert [each.resource.kind for each in failed] == ["function"]
    assert "AccessDeniedException" in failed[0].problem
    assert kinds(plan_destroy(world.sessions, world.names)) == ["function", "bucket", "key file"]
    world.account.clear()
    assert all(each.gone for each in Removing(world).run())


def test_a_security_group_in_use_is_given_up_after_some_minutes(world: World) -> None:
    group = find_security_group(world.sessions, world.names, TRAINING)
    world.account.fail("DeleteSecurityGroup", "DependencyViolation", times=9999, matching=(group,))
    removing = Removing(world)
    failed = [each for each in removing.run() if not each.gone]
    assert [each.resource.name for each in failed] == [group]
    assert sum(removing.slept) == pytest.approx(180)


def test_policies_that_others_hung_on_a_role_do_not_keep_it(world: World) -> None:
    iam, role = world.client("iam"), world.names.instance_role(TRAINING)
    document = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]}'
    )
    policy = iam.create_policy(PolicyName="theirs", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=policy)
    iam.create_instance_profile(InstanceProfileName="theirs")
    iam.add_role_to_instance_profile(InstanceProfileName="theirs", RoleName=role)
    assert all(each.gone for each in Removing(world).run())


def test_a_waiting_spot_request_is_cancelled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    request = Resource("spot request", "sir-1", True, region="us-east-1")
    client = world.client("ec2")

    def cancel(SpotInstanceRequestIds: list[str]) -> None:
        asked.extend(SpotInstanceRequestIds)

    monkeypatch.setattr(client, "cancel_spot_instance_requests", cancel)
    assert destroy(world.sessions, world.names, [request]) == [Removal(request, True)]
    assert asked == ["sir-1"]


def test_in_an_empty_account_there_is_nothing_to_do(account: Account, tmp_path: Path) -> None:
    world = World(account, tmp_path)  # in all regions that there are
    assert plan_destroy(world.sessions, world.names, with_data=True) == []
    assert len({call.region for call in account.calls_of("DescribeVolumes")}) > 10


def test_gone_meanwhile_is_gone(world: World) -> None:
    """Two who destroy at once: what the other has removed is no fault."""
    plan = plan_destroy(world.sessions, world.names, with_data=True)
    first = destroy(world.sessions, world.names, plan)
    world.account.fail("DeleteScheduleGroup", "ResourceNotFoundException", status=404)  # where moto fails itself
    second = destroy(world.sessions, world.names, plan)
    assert all(each.gone for each in first)
    assert [each.resource.kind for each in second if not each.gone] == []


def test_a_dry_plan_changes_nothing(world: World) -> None:
    assert world.changes(lambda: plan_destroy(world.sessions, world.names, with_data=True)) == []
