"""Launching once, finding by tag, and ending with proof."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from doubles.account import Account, Call

from aws.config import Names
from aws.ec2_manager import Candidate, EC2Manager, Instance, LaunchRequest, find_everywhere, launch_token
from aws.errors import (
    CapacityError,
    CloudError,
    CredentialsError,
    ImageError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PlaceError,
    QuotaError,
    ReplyLost,
    ThrottleError,
)
from aws.faults import TOKEN_USED_UP
from aws.machines.images import resolve_image
from aws.sessions import Sessions

RUN = "llama-20261121-101530-3f2a"
DEADLINE = datetime(2026, 11, 21, 14, tzinfo=UTC)


class Clock:
    """Time that passes only while somebody sleeps; ``at_pause`` is called with the number of each pause."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []
        self.at_pause: Callable[[int], object] = lambda number: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        self.at_pause(len(self.pauses))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manager(sessions: Sessions, clock: Clock) -> EC2Manager:
    return EC2Manager(sessions, clock=clock, sleep=clock.sleep)


@pytest.fixture
def request_(account: Account, sessions: Sessions, names: Names) -> LaunchRequest:
    """A launch of what training asks for."""
    group = sessions.client("ec2").create_security_group(GroupName="training", Description="training")["GroupId"]
    return LaunchRequest(
        run=RUN,
        purpose="training",
        region="us-east-1",
        instance_types=("g4dn.xlarge", "g4dn.2xlarge"),
        markets=("on-demand",),
        image=resolve_image(sessions, "training"),
        volume_gb=100,
        key_name="ada",
        security_groups=(group,),
        profile="",
        user_data="#!/bin/bash\n",
        tags=names.tags("training", run=RUN, deadline=DEADLINE),
    )


@pytest.fixture
def launch(manager: EC2Manager, request_: LaunchRequest) -> Callable[..., Instance]:
    """Launches one: ``launch()``, ``launch("spot", run="…")``."""
    attempts: Iterator[int] = iter(range(1, 100))

    def run(market: str = "on-demand", run: str = RUN) -> Instance:
        tags = {**request_.tags, "stranger:run": run}
        request = replace(request_, markets=(market,), run=run, tags=tags)
        candidate = manager.candidates(request)[0]
        return manager.run(request, candidate, launch_token(run, next(attempts), candidate))

    return run


def first(manager: EC2Manager, request: LaunchRequest) -> tuple[Candidate, str]:
    candidate = manager.candidates(request)[0]
    return candidate, launch_token(RUN, 1, candidate)


def flat(call: Call) -> dict[str, Any]:
    return dict(call.parameters)


# Candidates


def test_candidates_are_markets_then_types_then_zones(manager: EC2Manager, request_: LaunchRequest) -> None:
    found = manager.candidates(replace(request_, markets=("spot", "on-demand")))
    assert list(dict.fromkeys((each.market, each.type) for each in found)) == [
        ("spot", "g4dn.xlarge"), ("spot", "g4dn.2xlarge"), ("on-demand", "g4dn.xlarge"), ("on-demand", "g4dn.2xlarge"),
    ]  # fmt: skip
    order = {"spot": 0, "on-demand": 1}, {"g4dn.xlarge": 0, "g4dn.2xlarge": 1}
    assert found == sorted(found, key=lambda each: (order[0][each.market], order[1][each.type], each.zone))
    assert len({each.zone for each in found}) > 1


def test_candidates_leave_out_zones_that_do_not_offer_the_type(
    manager: EC2Manager, sessions: Sessions, request_: LaunchRequest
) -> None:
    offers = sessions.client("ec2").describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["g4dn.xlarge"]}]
    )["InstanceTypeOfferings"]
    found = manager.candidates(replace(request_, instance_types=("g4dn.xlarge",)))
    assert {each.zone for each in found} == {each["Location"] for each in offers}
    assert "us-east-1e" not in {each.zone for each in found}


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "RequestLimitExceeded", "InternalError"])
def test_a_dry_run_that_says_nothing_of_permission_is_sent_once_and_forgotten(
    account: Account, manager: EC2Manager, request_: LaunchRequest, code: str
) -> None:
    account.fail("RunInstances", code, status=500)
    manager.check_permission(request_)
    assert len(account.calls_of("RunInstances")) == 1


def test_candidates_use_the_subnets_of_the_vpc(
    account: Account, manager: EC2Manager, sessions: Sessions, request_: LaunchRequest
) -> None:
    assert {each.subnet for each in manager.candidates(request_)} <= set(account.subnets().values())
    client = boto3.client("ec2")
    vpc = client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    made = [
        client.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{part}.0/{size}", AvailabilityZone="us-east-1a")["Subnet"]
        for part, size in ((1, 28), (2, 24))
    ]
    found = manager.candidates(replace(request_, vpc=vpc, instance_types=("g4dn.xlarge",)))
    assert [each.subnet for each in found] == [made[1]["SubnetId"]]  # the one with more room
    client.modify_subnet_attribute(SubnetId=made[0]["SubnetId"], MapPublicIpOnLaunch={"Value": True})
    found = manager.candidates(replace(request_, vpc=vpc, instance_types=("g4dn.xlarge",)))
    assert [each.subnet for each in found] == [made[0]["SubnetId"]]  # the public one


def test_no_zone_offers_the_type(manager: EC2Manager, request_: LaunchRequest) -> None:
    with pytest.raises(CapacityError, match=r"us-east-1 does not offer p9\.xlarge"):
        manager.candidates(replace(request_, instance_types=("p9.xlarge",)))


def test_no_vpc_and_no_subnet(manager: EC2Manager, sessions: Sessions, request_: LaunchRequest, monkeypatch) -> None:
    vpc = boto3.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    with pytest.raises(NotFound, match=f"{vpc} has no subnet"):
        manager.candidates(replace(request_, vpc=vpc))
    monkeypatch.setattr(sessions.client("ec2"), "describe_vpcs", lambda **_: {"Vpcs": []})
    with pytest.raises(NotFound, match="aws ec2 create-default-vpc --region us-east-1"):
        manager.candidates(request_)


# The launch


def test_launch_says_everything_in_one_call(account: Account, manager: EC2Manager, request_: LaunchRequest) -> None:
    candidate, token = first(manager, request_)
    instance = manager.run(request_, candidate, token)
    calls = account.calls_of("RunInstances")
    asked = flat(calls[0])
    assert len(calls) == 1
    assert not account.calls_of("CreateTags")
    assert (asked["ClientToken"], asked["MinCount"], asked["MaxCount"]) == (token, "1", "1")
    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert (asked["MetadataOptions.HttpTokens"], asked["MetadataOptions.HttpPutResponseHopLimit"]) == ("required", "1")
    disk = {key.rpartition(".")[2]: value for key, value in asked.items() if key.startswith("BlockDeviceMapping.1.Ebs")}
    assert disk == {"VolumeSize": "100", "VolumeType": "gp3", "Encrypted": "true", "DeleteOnTermination": "true"}
    kinds = [asked[key] for key in sorted(asked) if key.endswith("ResourceType")]
    assert kinds == ["instance", "volume", "network-interface"]
    assert asked["NetworkInterface.1.AssociatePublicIpAddress"] == "true"
    assert not any(key.startswith(("InstanceMarketOptions", "CreditSpecification")) for key in asked)
    assert (instance.run, instance.purpose, instance.deadline) == (RUN, "training", DEADLINE)
    assert (instance.market, instance.zone, instance.token) == ("on-demand", candidate.zone, token)


def test_tags_are_on_instance_volume_and_interface(
    sessions: Sessions, launch: Callable[..., Instance], request_: LaunchRequest
) -> None:
    instance = launch("spot")
    client = boto3.client("ec2")
    wanted = [{"Name": "tag:stranger:run", "Values": [RUN]}]
    assert [
        each["InstanceId"] for r in client.describe_instances(Filters=wanted)["Reservations"] for each in r["Instances"]
    ]
    assert [each["VolumeId"] for each in client.describe_volumes(Filters=wanted)["Volumes"]] == list(instance.volumes)
    assert len(client.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]) == 1
    spot = client.describe_spot_instance_requests()["SpotInstanceRequests"]
    assert {each["Key"]: each["Value"] for each in spot[0]["Tags"]} == dict(request_.tags)


def test_spot_is_one_time_and_ends_with_the_interruption(account: Account, launch: Callable[..., Instance]) -> None:
    instance = launch("spot")
    asked = flat(account.calls_of("RunInstances")[0])
    assert asked["InstanceMarketOptions.MarketType"] == "spot"
    assert asked["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
    assert asked["InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior"] == "terminate"
    assert "spot-instances-request" in asked.values()
    assert (instance.market, instance.spot_request[:4]) == ("spot", "sir-")


def test_burstable_types_do_not_bill_surplus_credits(account: Account, manager, request_: LaunchRequest) -> None:
    request = replace(request_, instance_types=("t3.medium",), volume_gb=8)
    manager.run(request, *first(manager, request))
    asked = flat(account.calls_of("RunInstances")[0])
    assert asked["CreditSpecification.CpuCredits"] == "standard"
    assert asked["BlockDeviceMapping.1.Ebs.VolumeSize"] == "65"  # what the image needs


def test_token_is_short_and_differs_by_all_that_matters() -> None:
    base = Candidate("spot", "g4dn.xlarge", "us-east-1a", "subnet-1")
    others = [replace(base, market="on-demand"), replace(base, type="t3.large"), replace(base, zone="us-east-1b")]
    tokens = {launch_token(RUN, 1, each) for each in (base, *others)} | {launch_token(RUN, 2, base)}
    assert len(tokens) == 5
    assert launch_token(RUN, 1, base) == launch_token(RUN, 1, base)
    long = launch_token("x" * 100, 1, base)
    assert len(long) <= 64
    assert long.isascii()


@pytest.mark.parametrize(
    "refusal",
    [
        ("InsufficientInstanceCapacity", 500, CapacityError),
        ("Unsupported", 400, CapacityError),
        ("VcpuLimitExceeded", 400, QuotaError),
        ("InvalidAMIID.NotFound", 400, ImageError),
        ("ExpiredToken", 400, CredentialsError),
        ("UnauthorizedOperation", 403, PermissionDenied),
        ("InvalidParameterValue", 400, InvalidRequest),
        ("InvalidKeyPair.NotFound", 400, NotFound),
    ],
)
def test_refusal_is_told_after_a_single_request(
    account: Account, manager: EC2Manager, request_: LaunchRequest, clock: Clock, refusal: tuple[str, int, type]
) -> None:
    account.fail("RunInstances", refusal[0], status=refusal[1], times=99)
    with pytest.raises(CloudError) as caught:
        manager.run(request_, *first(manager, request_))
    assert type(caught.value) is refusal[2]
    assert len(account.calls_of("RunInstances")) == 1
    assert clock.pauses == []


def test_walk_over_zones_reaches_the_third(account: Account, manager: EC2Manager, request_: LaunchRequest) -> None:
    zones = [each.zone for each in manager.candidates(request_)][:3]
    for zone in zones[:2]:
        account.fail("RunInstances", "InsufficientInstanceCapacity", status=500, times=99, matching=(zone,))
    for candidate in manager.candidates(request_):
        try:
            instance = manager.run(request_, candidate, launch_token(RUN, 1, candidate))
            break
        except CapacityError as error:
            assert candidate.zone in error.what
    assert instance.zone == zones[2]
    assert len(account.calls_of("RunInstances")) == 3
    assert len(account.instances()) == 1


def test_quota_error_names_the_quota_of_the_market(account: Account, manager: EC2Manager, request_) -> None:
    account.fail("RunInstances", "MaxSpotInstanceCountExceeded")
    request = replace(request_, markets=("spot",))
    with pytest.raises(QuotaError, match="L-3819A6DF"):
        manager.run(request, *first(manager, request))


def test_throttling_is_waited_for(account: Account, manager: EC2Manager, request_, clock: Clock) -> None:
    account.fail("RunInstances", "RequestLimitExceeded", status=503, times=4)
    manager.run(request_, *first(manager, request_))
    assert len(account.instances()) == 1
    assert clock.pauses == [1, 2, 4, 8]
    assert len({call.parameters["ClientToken"] for call in account.calls_of("RunInstances")}) == 1


def test_throttling_without_end_is_told(account: Account, manager: EC2Manager, request_, clock: Clock) -> None:
    account.fail("RunInstances", "RequestLimitExceeded", status=503, times=99)
    with pytest.raises(ThrottleError):
        manager.run(request_, *first(manager, request_))
    assert len(account.calls_of("RunInstances")) == 6
    assert clock.now < 1_100


def test_new_profile_is_waited_for(account: Account, manager: EC2Manager, request_, clock: Clock) -> None:
    text = "Value (p) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
    account.fail("RunInstances", "InvalidParameterValue", message=text, times=3)
    manager.run(request_, *first(manager, request_))
    assert clock.pauses == [2, 3, 5]
    account.fail("RunInstances", "InvalidParameterValue", message=text, times=99)
    with pytest.raises(InvalidRequest, match="Invalid IAM Instance Profile"):
        manager.run(request_, *first(manager, request_))


# The reply is lost


@pytest.mark.parametrize("times", [1, 2, 3])
def test_lost_reply_launches_one_instance(account: Account, manager: EC2Manager, request_, times: int) -> None:
    account.lose_reply("RunInstances", times=times)
    instance = manager.run(request_, *first(manager, request_))
    assert [each.id for each in account.instances()] == [instance.id]
    calls = account.calls_of("RunInstances")
    assert len(calls) == times + 1
    assert len({call.parameters["ClientToken"] for call in calls}) == 1


def test_lost_reply_and_failing_repeats_find_the_instance(account: Account, manager: EC2Manager, request_) -> None:
    account.lose_reply("RunInstances")
    account.cut("RunInstances", times=99)
    instance = manager.run(request_, *first(manager, request_))
    assert [each.id for each in account.instances()] == [instance.id]
    assert len(account.calls_of("RunInstances")) == 4


def test_lost_reply_and_no_capacity_for_the_repeat_find_the_instance(account: Account, manager, request_) -> None:
    account.lose_reply("RunInstances")
    account.fail("RunInstances", "InsufficientInstanceCapacity", status=500, times=99)
    assert manager.run(request_, *first(manager, request_)).id == account.instances()[0].id


def test_instance_that_shows_late_is_found(account: Account, manager: EC2Manager, request_) -> None:
    account.hide_new_instances(looks=2)
    account.lose_reply("RunInstances")
    account.cut("RunInstances", times=99)
    assert manager.run(request_, *first(manager, request_)).id == account.instances()[0].id


def test_instance_of_another_attempt_is_not_taken_for_it(
    account: Account, manager: EC2Manager, request_, launch
) -> None:
    other = launch()
    account.cut("RunInstances", times=99)
    candidate = manager.candidates(request_)[1]
    with pytest.raises(ReplyLost):
        manager.run(request_, candidate, launch_token(RUN, 2, candidate))
    assert [each.id for each in account.instances()] == [other.id]


def test_nothing_gets_through(account: Account, manager: EC2Manager, request_, clock: Clock) -> None:
    account.cut("RunInstances", times=99)
    with pytest.raises(ReplyLost, match="the same command"):
        manager.run(request_, *first(manager, request_))
    assert len(account.calls_of("RunInstances")) == 4
    assert account.instances() == []


def test_server_error_is_repeated_with_the_same_token(account: Account, manager: EC2Manager, request_) -> None:
    account.fail("RunInstances", "InternalError", status=500, times=2)
    manager.run(request_, *first(manager, request_))
    assert len(account.instances()) == 1
    assert len({call.parameters["ClientToken"] for call in account.calls_of("RunInstances")}) == 1


def test_same_token_again_gives_the_same_instance(account: Account, manager: EC2Manager, request_) -> None:
    """A program killed after its call does the same again."""
    candidate, token = first(manager, request_)
    assert manager.run(request_, candidate, token).id == manager.run(request_, candidate, token).id
    assert len(account.instances()) == 1


def test_same_token_with_other_words_gives_the_instance_that_runs(account: Account, manager, request_) -> None:
    candidate, token = first(manager, request_)
    instance = manager.run(request_, candidate, token)
    changed = replace(request_, user_data="#!/bin/bash\n# another deadline\n")
    assert manager.run(changed, candidate, token).id == instance.id
    assert len(account.instances()) == 1


def test_token_that_is_used_up_is_told_by_its_code(account: Account, manager: EC2Manager, request_) -> None:
    candidate, token = first(manager, request_)
    instance = manager.run(request_, candidate, token)
    manager.terminate([instance.id])
    with pytest.raises(InvalidRequest) as caught:
        manager.run(request_, candidate, token)
    assert caught.value.code == TOKEN_USED_UP
    assert len(account.instances()) == 1


# Permission


def test_permission_is_asked_for_without_a_launch(account: Account, manager: EC2Manager, request_) -> None:
    manager.check_permission(request_)
    assert account.calls_of("RunInstances")[0].parameters["DryRun"] == "true"
    assert account.instances() == []


def test_lack_of_permission_is_explained(account: Account, manager: EC2Manager, request_) -> None:
    text = "You are not authorized to perform this operation. User is not authorized to perform: ec2:RunInstances"
    account.fail("RunInstances", "UnauthorizedOperation", status=403, message=text)
    with pytest.raises(PermissionDenied, match="the right ec2:RunInstances"):
        manager.check_permission(request_)


# Describe, wait, console, find


def test_new_instance_may_be_invisible(account: Account, manager: EC2Manager, launch, clock: Clock) -> None:
    account.hide_new_instances(looks=3)
    instance = launch()
    assert manager.describe(instance.id, patient=True).id == instance.id
    assert len(clock.pauses) == 3


def test_unknown_instance_is_told_at_once_or_after_a_minute(manager: EC2Manager, clock: Clock) -> None:
    with pytest.raises(NotFound, match=r"deploy_aws\.py list-instances"):
        manager.describe("i-0123456789abcdef0")
    assert clock.pauses == []
    with pytest.raises(NotFound):
        manager.describe("i-0123456789abcdef0", patient=True)
    assert 60 <= sum(clock.pauses) <= 65


def test_wait_until_it_runs_with_an_address(account: Account, manager: EC2Manager, launch, clock: Clock) -> None:
    instance = launch()
    account.set_state(instance.id, "pending")
    clock.at_pause = lambda number: number == 4 and account.set_state(instance.id, "running")
    running = manager.wait_running(instance.id)
    assert (running.state, len(clock.pauses)) == ("running", 4)
    assert running.address == account.instance(instance.id).public_ip


def test_wait_tells_why_it_ended(account: Account, manager: EC2Manager, launch, clock: Clock) -> None:
    instance = launch()
    message = "Client.VolumeLimitExceeded: Volume limit exceeded"
    account.set_state(instance.id, "terminated", reason="Client.VolumeLimitExceeded", message=message)
    with pytest.raises(PlaceError, match=r"Client\.VolumeLimitExceeded: Volume limit exceeded") as caught:
        manager.wait_running(instance.id)
    assert not isinstance(caught.value, CapacityError)


def test_wait_takes_a_full_zone_for_what_it_is(account: Account, manager: EC2Manager, launch) -> None:
    instance = launch()
    code = "Server.InsufficientInstanceCapacity"
    account.set_state(instance.id, "shutting-down", reason=code, message=f"{code}: none left")
    with pytest.raises(CapacityError, match=code):
        manager.wait_running(instance.id)


def test_wait_ends(account: Account, manager: EC2Manager, launch, clock: Clock) -> None:
    instance = launch()
    account.set_state(instance.id, "pending")
    with pytest.raises(PlaceError, match=f"terminate {instance.id}"):
        manager.wait_running(instance.id, timeout_seconds=30)
    assert 30 <= sum(clock.pauses) <= 34


def test_console_is_text(manager: EC2Manager, sessions: Sessions, launch, monkeypatch) -> None:
    instance = launch()
    assert isinstance(manager.console(instance.id), str)
    monkeypatch.setattr(sessions.client("ec2"), "get_console_output", lambda **_: {"InstanceId": instance.id})
    assert manager.console(instance.id) == ""


def test_console_of_a_type_without_the_latest(account: Account, manager: EC2Manager, launch) -> None:
    instance = launch()
    account.fail("GetConsoleOutput", "UnsupportedOperation", matching=("Latest",), times=9)
    assert manager.console(instance.id)
    account.fail("GetConsoleOutput", "UnauthorizedOperation", status=403)
    with pytest.raises(PermissionDenied):
        manager.console(instance.id)


def test_find_by_tag_only_ours(account: Account, manager: EC2Manager, sessions: Sessions, launch) -> None:
    ours, other = launch(), launch(run="qwen-20261121-101530-0000")
    sessions.client("ec2").run_instances(ImageId=account.image("noble"), MinCount=1, MaxCount=1)
    assert {each.id for each in manager.find()} == {ours.id, other.id}
    assert [each.id for each in manager.find(run=RUN)] == [ours.id]
    assert {each.id for each in manager.find(run="", purpose="training")} == {ours.id, other.id}
    assert manager.find(purpose="serving") == []
    with pytest.raises(KeyError):
        manager.find(colour="red")


def test_find_reads_all_pages(account: Account, manager: EC2Manager, request_, sessions: Sessions) -> None:
    tags = [{"Key": key, "Value": value} for key, value in request_.tags.items()]
    for _ in range(101):
        sessions.client("ec2").run_instances(
            ImageId=request_.image.id, MinCount=1, MaxCount=1, InstanceType="t3.micro",
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )  # fmt: skip
    assert len(manager.find(run=RUN)) == 101
    assert len(account.calls_of("DescribeInstances")) == 2


def test_found_in_every_region(account: Account, sessions: Sessions, launch, request_, monkeypatch) -> None:
    monkeypatch.setattr(sessions, "_regions", ["us-east-1", "eu-west-1", "us-west-2"])
    here = launch()
    account.add_images("eu-west-1")
    tags = [{"Key": key, "Value": value} for key, value in request_.tags.items()]
    there = sessions.client("ec2", "eu-west-1").run_instances(
        ImageId=resolve_in("eu-west-1", account), MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"][0]["InstanceId"]  # fmt: skip
    account.fail("DescribeInstances", "UnauthorizedOperation", status=403, region="us-west-2")
    found, errors = find_everywhere(sessions, run=RUN)
    assert {(each.id, each.region) for each in found} == {(here.id, "us-east-1"), (there, "eu-west-1")}
    assert list(errors) == ["us-west-2"]
    assert isinstance(errors["us-west-2"], PermissionDenied)


def resolve_in(region: str, account: Account) -> str:
    from config import AwsSettings

    return resolve_image(Sessions(AwsSettings(region=region)), "serving").id


def test_overdue_is_live_past_its_deadline(launch: Callable[..., Instance]) -> None:
    instance = launch()
    assert not instance.is_overdue(DEADLINE - timedelta(seconds=1))
    assert instance.is_overdue(DEADLINE + timedelta(seconds=1))
    assert replace(instance, state="stopped").is_overdue(DEADLINE + timedelta(seconds=1))
    for state in ("shutting-down", "terminated"):
        assert not replace(instance, state=state).is_overdue(DEADLINE + timedelta(days=1))
    assert not replace(instance, deadline=None).is_overdue(DEADLINE + timedelta(days=1))
    assert replace(instance, state="shutting-down").is_live
    assert not replace(instance, state="terminated").is_live


# The end


def test_end_is_proven(account: Account, manager: EC2Manager, sessions: Sessions, launch) -> None:
    instance = launch("spot")
    [end] = manager.terminate([instance.id])
    assert (end.proof, end.already, end.problem) == (True, False, "")
    assert (end.volumes_gone, end.spot_cancelled, end.known) == (True, True, True)
    assert account.instance(instance.id).state == "terminated"
    assert sessions.client("ec2").describe_volumes()["Volumes"] == []
    states = [
        each["State"] for each in sessions.client("ec2").describe_spot_instance_requests()["SpotInstanceRequests"]
    ]
    assert states == ["cancelled"]
    order = [call.operation for call in account.calls if call.operation.startswith(("Cancel", "Terminate"))]
    assert order == ["CancelSpotInstanceRequests", "TerminateInstances"]


def test_ending_twice_is_silent(manager: EC2Manager, launch, account: Account) -> None:
    instance = launch()
    manager.terminate([instance.id])
    [end] = manager.terminate([instance.id])
    assert (end.proof, end.already, end.problem) == (True, True, "")
    assert len(account.calls_of("TerminateInstances")) == 1


def test_no_ids(manager: EC2Manager, account: Account) -> None:
    assert manager.terminate([]) == []
    assert account.calls == []


def test_wrong_ids_do_not_spare_the_others(account: Account, manager: EC2Manager, launch) -> None:
    instance, other = launch(), launch()
    ends = manager.terminate(["i-0123456789abcdef0", instance.id, "nonsense", other.id, instance.id])
    assert [end.instance_id for end in ends] == ["i-0123456789abcdef0", instance.id, "nonsense", other.id, instance.id]
    assert [(end.proof, end.known) for end in ends] == [
        (True, False), (True, True), (False, False), (True, True), (True, True),
    ]  # fmt: skip
    assert "is not the id of an instance" in ends[2].problem
    assert {each.state for each in account.instances()} == {"terminated"}


def test_one_that_is_protected_does_not_spare_the_others(account: Account, manager, launch, clock: Clock) -> None:
    protected, other = launch(), launch()
    account.instance(protected.id).disable_api_termination = True
    bad, good = manager.terminate([protected.id, other.id])
    assert (good.proof, bad.proof) == (True, False)
    assert "OperationNotPermitted" in bad.problem
    assert account.instance(other.id).state == "terminated"
    assert sum(clock.pauses) < 10


def test_those_of_others_are_refused(account: Account, manager: EC2Manager, sessions: Sessions, launch) -> None:
    reply = sessions.client("ec2").run_instances(ImageId=account.image("noble"), MinCount=1, MaxCount=1)
    foreign, ours = reply["Instances"][0]["InstanceId"], launch().id
    refused, ended = manager.terminate([foreign, ours])
    assert (refused.proof, ended.proof) == (False, True)
    assert "does not belong to stranger-things" in refused.problem
    assert account.instance(foreign).state == "running"
    assert manager.terminate([foreign], force=True)[0].proof


def test_one_of_another_project_is_refused(manager: EC2Manager, sessions: Sessions, launch, account: Account) -> None:
    instance = launch()
    tags = [{"Key": "stranger:project", "Value": "another"}]
    boto3.client("ec2").create_tags(Resources=[instance.id], Tags=tags)
    assert not manager.terminate([instance.id])[0].proof
    assert account.instance(instance.id).state == "running"


def test_end_of_a_pending_one_takes_its_time(account: Account, manager: EC2Manager, launch, clock: Clock) -> None:
    instance = launch()
    account.set_state(instance.id, "pending")
    moto_ends = account.instance(instance.id).terminate

    def slow() -> Any:
        previous = account.instance(instance.id)._state
        account.set_state(instance.id, "shutting-down")
        return previous

    account.instance(instance.id).terminate = slow
    clock.at_pause = lambda number: number == 5 and moto_ends()
    [end] = manager.terminate([instance.id])
    assert (end.proof, len(clock.pauses)) == (True, 5)
    assert len(account.calls_of("TerminateInstances")) == 1


def test_end_that_never_comes_is_told(account: Account, manager: EC2Manager, launch, clock: Clock) -> None:
    instance = launch()

    def never() -> Any:
        account.set_state(instance.id, "shutting-down")
        return account.instance(instance.id)._state

    account.instance(instance.id).terminate = never
    [end] = manager.terminate([instance.id], timeout_seconds=60)
    assert not end.proof
    assert "not gone after 60 s (shutting-down" in end.problem
    assert 60 <= sum(clock.pauses) <= 64


def test_volume_that_stays_is_told(account: Account, manager: EC2Manager, sessions: Sessions, launch) -> None:
    instance = launch()
    account.instance(instance.id).block_device_mapping["/dev/sda1"].delete_on_termination = False
    [end] = manager.terminate([instance.id], timeout_seconds=20)
    assert (end.proof, end.volumes_gone, end.spot_cancelled) == (False, False, True)
    assert instance.volumes[0] in end.problem


def test_spot_request_that_stays_open_is_told(account: Account, manager, launch, monkeypatch) -> None:
    instance = launch("spot")
    monkeypatch.setattr("doubles.account.RequestBehind.state", "active")
    [end] = manager.terminate([instance.id], timeout_seconds=20)
    assert (end.proof, end.volumes_gone, end.spot_cancelled) == (False, True, False)
    assert instance.spot_request in end.problem


def test_new_one_that_is_not_visible_is_ended(account: Account, manager: EC2Manager, launch) -> None:
    account.hide_new_instances(looks=3)
    instance = launch()
    [end] = manager.terminate([instance.id], patient=True)
    assert (end.proof, end.known) == (True, True)
    assert account.instance(instance.id).state == "terminated"


@pytest.mark.parametrize(
    "fault",
    [
        lambda account: account.lose_reply("TerminateInstances"),
        lambda account: account.cut("TerminateInstances", times=5),
        lambda account: account.fail("TerminateInstances", "RequestLimitExceeded", status=503, times=5),
        lambda account: account.fail("DescribeInstances", "RequestLimitExceeded", status=503, times=5),
        lambda account: account.fail("DescribeVolumes", "InternalError", status=500, times=5),
        lambda account: account.fail("DescribeSpotInstanceRequests", "Unavailable", status=503, times=5),
        lambda account: account.fail("TerminateInstances", "InvalidInstanceID.NotFound", times=2),
    ],
)
def test_passing_faults_do_not_stop_the_end(
    account: Account, manager: EC2Manager, launch, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Account], object]
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    instance = launch("spot")
    fault(account)
    [end] = manager.terminate([instance.id])
    assert (end.proof, end.problem) == (True, "")
    assert account.instance(instance.id).state == "terminated"


def test_volumes_that_may_not_be_looked_at_do_not_stop_the_end(account: Account, manager, launch, clock: Clock) -> None:
    instance = launch()
    account.fail("DescribeVolumes", "UnauthorizedOperation", status=403, times=99)
    [end] = manager.terminate([instance.id])
    assert account.instance(instance.id).state == "terminated"
    assert (end.proof, end.volumes_gone) == (False, False)
    assert "UnauthorizedOperation" in end.problem
    assert sum(clock.pauses) < 10


def test_expired_credentials_are_told(account: Account, manager: EC2Manager, launch) -> None:
    instance = launch()
    account.fail("DescribeInstances", "ExpiredToken", times=99)
    with pytest.raises(CredentialsError):
        manager.terminate([instance.id])


def test_parameters_hold_no_more_than_was_given(account: Account, launch: Callable[..., Instance]) -> None:
    """What is readable by everybody who may see the instance."""
    launch()
    text = json.dumps(flat(account.calls_of("RunInstances")[0]))
    assert "AWS_" not in text
    assert "SECRET" not in text.upper()
