"""From a job to its instance: zones, types and markets, replies that are lost, and what is written down before."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from doubles.cloud import RUN, Site
from doubles.machines import Conduct
from doubles.sshd import needs_sshd

from aws.config import TAG_DEADLINE, TAG_PROJECT, TAG_RUN, from_iso
from aws.errors import CapacityError, CloudError, NotFound, PermissionDenied, QuotaError
from aws.machines.launch import KILL_GRACE, Machine
from utils.errors import StoreError

pytestmark = needs_sshd
NO_ROOM = "InsufficientInstanceCapacity"
BOTH = Machine(("g4dn.xlarge", "g4dn.2xlarge"), 100, ("spot", "on-demand"))


def asked(site: Site) -> list[str]:
    """Zone, type and market of every RunInstances call, in order."""
    zones = {subnet: zone for zone, subnet in site.account.subnets().items()}
    return [
        " ".join(
            [
                zones[call.parameters["NetworkInterface.1.SubnetId"]][-1],
                call.parameters["InstanceType"],
                call.parameters.get("InstanceMarketOptions.MarketType", "on-demand"),
            ]
        )
        for call in site.account.calls_of("RunInstances")
        if call.parameters.get("DryRun") != "true"
    ]


def zones_with(site: Site, kind: str) -> list[str]:
    reply = site.cloud.sessions.client("ec2").describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [kind]}]
    )
    return sorted(each["Location"] for each in reply["InstanceTypeOfferings"])


# capacity and quota


def test_two_zones_are_full_and_the_third_has_room(site: Site) -> None:
    site.account.fail("RunInstances", NO_ROOM, times=2, status=500)
    instance = site.launch()
    zones = zones_with(site, "g4dn.xlarge")
    assert [each.split()[0] for each in asked(site)] == [zone[-1] for zone in zones[:3]]
    assert instance.zone == zones[2]
    attempt = site.record.attempts[0]
    assert (attempt.instance, attempt.zone, attempt.number) == (instance.id, zones[2], 1)
    assert site.sentences().count(f"{NO_ROOM}, ") == 2


def test_nobody_has_room(site: Site) -> None:
    site.account.fail("RunInstances", NO_ROOM, times=100, status=500)
    with pytest.raises(CapacityError) as raised:
        site.launch(wanted=BOTH)
    zones = {kind: [zone[-1] for zone in zones_with(site, kind)] for kind in BOTH.instance_types}
    assert asked(site) == [
        f"{zone} {kind} {market}" for market in BOTH.markets for kind in BOTH.instance_types for zone in zones[kind]
    ]
    assert "nobody has a free g4dn.xlarge or g4dn.2xlarge (spot or on-demand)" in str(raised.value)
    assert f"{len(asked(site))} tries" in str(raised.value)
    assert "--region us-west-2" in str(raised.value)
    assert raised.value.code == NO_ROOM
    assert site.live == []


def test_the_spot_market_is_empty_and_on_demand_has_room(site: Site) -> None:
    site.account.fail("RunInstances", NO_ROOM, times=100, status=500, matching=("spot",))
    instance = site.launch(wanted=BOTH)
    assert instance.market == "on-demand"
    assert site.record.attempts[0].market == "on-demand"
    assert site.record.attempts[0].price_usd_per_hour > 0.5


def test_a_quota_of_zero_says_how_to_ask_for_more(site: Site) -> None:
    site.account.fail("RunInstances", "VcpuLimitExceeded", times=100)
    with pytest.raises(QuotaError, match="request-service-quota-increase") as raised:
        site.launch()
    assert "L-DB2E81BA" in str(raised.value)
    assert site.live == []


def test_a_quota_that_is_used_up_is_told_with_more_than_there_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aws.machines.quotas._read", lambda sessions, code: 4.0)
    site.account.fail("RunInstances", "VcpuLimitExceeded", times=100)
    with pytest.raises(QuotaError) as raised:
        site.launch()
    told = str(raised.value)
    assert "4 vCPUs as on-demand in us-east-1, what runs already counted; g4dn.xlarge takes 4" in told
    assert "--quota-code L-DB2E81BA --desired-value 8 --region us-east-1" in told  # 4 are there and not enough
    assert "python deploy_aws.py list-instances" in told and raised.value.code == "VcpuLimitExceeded"


def test_a_machine_that_aws_takes_back_at_once_is_asked_for_again(site: Site) -> None:
    job = site.begin()
    site.machines.plan(Conduct(on_launch=lambda: site.machines.last.end(f"Server.{NO_ROOM}")))
    place = site.place()
    place.launch(job)
    place.close()
    first, second = site.record.attempts
    assert first.instance == site.machines.all[0].instance.id
    assert first.ended_at
    assert second.handed_over
    assert site.live == [second.instance]


# replies


def test_a_lost_reply_launches_once(site: Site) -> None:
    site.account.lose_reply("RunInstances", times=2)
    instance = site.launch()
    assert site.live == [instance.id]
    assert len(asked(site)) == 3
    assert len({call.parameters["ClientToken"] for call in site.account.calls_of("RunInstances")}) == 1
    assert site.record.attempts[0].instance == instance.id


def test_all_replies_are_lost_and_the_machine_is_found_by_its_tag(site: Site) -> None:
    site.account.lose_reply("RunInstances", times=100)
    instance = site.launch()
    assert site.live == [instance.id]
    assert site.record.attempts[0].instance == instance.id


def test_throttling_waits(site: Site) -> None:
    site.account.fail("RunInstances", "RequestLimitExceeded", times=3, status=503)
    site.launch()
    assert len(asked(site)) == 4
    assert len(set(asked(site))) == 1


def test_an_instance_that_is_not_visible_at_first(site: Site) -> None:
    job = site.begin()
    site.account.hide_new_instances(looks=3)
    place = site.place()
    place.launch(job)
    place.close()
    assert site.record.attempts[0].handed_over
    assert len(site.live) == 1


def test_launching_twice_gives_the_same_machine(site: Site) -> None:
    job = site.begin()
    first, second = site.launch(job), site.launch(job)
    assert first.id == second.id
    assert len(asked(site)) == 1
    assert "launched before; going on with it" in site.sentences()


def test_a_machine_that_nobody_heard_of_is_found_again(site: Site) -> None:
    job = site.begin()
    instance = site.launch(job)
    site.cloud.journal.change_attempt(RUN, instance="")  # as if the program had been killed before it wrote that
    assert site.launch(job).id == instance.id
    assert site.record.attempts[0].instance == instance.id


def test_the_token_of_a_machine_that_has_ended_is_not_used_again(site: Site) -> None:
    job = site.begin()
    first = site.launch(job)
    site.machines.last.end()
    site.cloud.journal.change_attempt(RUN, instance="")
    second = site.launch(job)
    assert second.id != first.id
    assert [each.instance for each in site.record.attempts] == ["", second.id]
    assert site.live == [second.id]


def test_the_candidate_in_doubt_is_asked_first(site: Site) -> None:
    job = site.begin()
    zones = zones_with(site, "g4dn.xlarge")
    site.account.fail("RunInstances", NO_ROOM, times=1, status=500)
    site.account.fail("RunInstances", "UnauthorizedOperation", times=1)
    with pytest.raises(PermissionDenied):
        site.launch(job)  # it ended in the second zone
    site.launch(job)
    assert [each.split()[0] for each in asked(site)][-1] == zones[1][-1]


# belts


def test_what_ends_the_machine_is_there_before_it(site: Site) -> None:
    instance = site.launch()
    names = [call.operation for call in site.account.calls]
    assert names.index("CreateSchedule") < names.index("RunInstances")
    (call,) = site.account.calls_of("CreateSchedule")
    deadline = from_iso(site.record.deadline)
    assert call.parameters["ScheduleExpression"] == f"at({deadline + KILL_GRACE:%Y-%m-%dT%H:%M:%S})"
    assert json.loads(call.parameters["Target"]["Input"])["run"] == RUN
    assert site.schedules == [site.record.schedule] == [RUN]
    assert instance.deadline == deadline
    assert {TAG_DEADLINE, TAG_PROJECT, TAG_RUN} <= set(instance.tags)
    assert call.parameters["ActionAfterCompletion"] == "DELETE"


def test_without_a_schedule_nothing_is_launched(site: Site) -> None:
    site.account.fail("CreateSchedule", "ResourceNotFoundException", status=404, times=9)
    with pytest.raises(NotFound, match=r"deploy_aws\.py init"):
        site.launch()
    assert asked(site) == []


def test_a_call_is_written_down_before_it_is_made(site: Site) -> None:
    job = site.begin()
    site.account.fail("RunInstances", "UnauthorizedOperation", times=1)
    with pytest.raises(PermissionDenied):
        site.launch(job)
    attempt = site.record.attempts[0]
    assert attempt.token == site.account.calls_of("RunInstances")[0].parameters["ClientToken"]
    assert attempt.zone
    assert attempt.instance == ""


def test_a_bucket_that_takes_nothing_launches_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = site.begin()

    def refuse(*_: object) -> str:
        raise StoreError("S3 cannot serve it: 503.")

    monkeypatch.setattr(site.store, "compare_and_swap", refuse)
    with pytest.raises(StoreError):
        site.launch(job)
    assert asked(site) == []
    assert site.schedules == []


def test_a_server_that_nobody_has_confirmed_has_its_set_up_time_only(site: Site) -> None:
    job = site.begin()
    site.cloud.journal.change(RUN, lambda each: replace(each, deadline=""))
    now = site.cloud.now()
    site.launch(job)
    (call,) = site.account.calls_of("CreateSchedule")
    moment = now + timedelta(minutes=site.cloud.settings.aws.setup_minutes) + KILL_GRACE
    assert call.parameters["ScheduleExpression"][:19] == f"at({moment:%Y-%m-%dT%H:%M}"[:19]


def test_other_errors_end_the_walk(site: Site) -> None:
    site.account.fail("RunInstances", "InvalidAMIID.NotFound", times=100)
    with pytest.raises(CloudError, match="image"):
        site.launch()
    assert len(asked(site)) == 1
