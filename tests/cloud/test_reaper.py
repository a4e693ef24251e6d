"""The reaper, called directly: what must go goes, everything else stays."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from doubles.account import Account

from aws import config
from aws.account import reaper
from aws.config import to_iso

RUN, OTHER = "llama-20261121-101530-3f2a", "qwen-20261121-101530-0001"
NOW = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)
EVENT = {"run": RUN, "project": "stranger-things"}


@pytest.fixture
def ec2(account: Account) -> Any:
    return boto3.client("ec2", region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")


def launch(account: Account, ec2: Any, *, project: str = "stranger-things", run: str = "", hours: float | None = None,
           deadline: str = "", spot: bool = False) -> str:  # fmt: skip
    """An instance; ``hours`` from now to its deadline."""
    tags = {"stranger:project": project, "stranger:run": run, "stranger:deadline": deadline}
    if hours is not None:
        tags["stranger:deadline"] = to_iso(NOW + timedelta(hours=hours))
    tag_list = [{"Key": key, "Value": value} for key, value in tags.items() if value]
    specifications = [{"ResourceType": "instance", "Tags": tag_list}]
    options: dict[str, Any] = {}
    if spot:
        specifications.append({"ResourceType": "spot-instances-request", "Tags": tag_list})
        options["InstanceMarketOptions"] = {"MarketType": "spot"}
    reply = ec2.run_instances(
        ImageId=account.image("24.04"), InstanceType="g4dn.xlarge", MinCount=1, MaxCount=1,
        TagSpecifications=specifications, **options,
    )  # fmt: skip
    return str(reply["Instances"][0]["InstanceId"])


def reap(ec2: Any, event: dict[str, str] | None = None) -> Any:
    return reaper.handler(event or EVENT, None, client=ec2, clock=NOW.timestamp)


def state(account: Account, instance: str) -> str:
    return str(account.instance(instance).state)


def test_the_run_ends_whatever_its_deadline_and_others_of_the_project_after_theirs(account: Account, ec2: Any) -> None:
    mine = launch(account, ec2, run=RUN, hours=5)
    without = launch(account, ec2, run=RUN)
    overdue = launch(account, ec2, run=OTHER, hours=-0.1)
    reply = reap(ec2)
    assert set(reply["terminated"]) == {mine, without, overdue}
    assert reply["problems"] == []


def test_never_anything_else(account: Account, ec2: Any) -> None:
    safe = [
        launch(account, ec2, run=OTHER, hours=1),
        launch(account, ec2, run=OTHER),  # a server, without a deadline
        launch(account, ec2, project="other-show", run=RUN, hours=-5),
        launch(account, ec2, project="", run=RUN, hours=-5),
    ]
    assert reap(ec2)["terminated"] == []
    assert {state(account, each) for each in safe} == {"running"}
    assert account.calls_of("TerminateInstances") == []


def test_without_a_run_it_ends_what_is_overdue_only(account: Account, ec2: Any) -> None:
    launch(account, ec2, run="")
    overdue = launch(account, ec2, hours=0)  # to the second
    assert reap(ec2, {"project": "stranger-things"})["terminated"] == [overdue]


@pytest.mark.parametrize("present", ["pending", "running", "stopping", "stopped"])
def test_whatever_state_costs_something(account: Account, ec2: Any, present: str) -> None:
    mine = launch(account, ec2, run=RUN)
    account.set_state(mine, present)
    assert reap(ec2)["terminated"] == [mine]


def test_twice_does_no_harm(account: Account, ec2: Any) -> None:
    launch(account, ec2, run=RUN)
    assert len(reap(ec2)["terminated"]) == 1
    assert reap(ec2)["terminated"] == []


def test_all_pages_are_read(account: Account, ec2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [launch(account, ec2, run=RUN) for _ in range(7)]
    original = ec2.get_paginator

    class Small:
        def __init__(self, name: str) -> None:
            self.pages = original(name)

        def paginate(self, **options: Any) -> Any:
            return self.pages.paginate(**options, PaginationConfig={"PageSize": 5})

    monkeypatch.setattr(ec2, "get_paginator", Small)
    assert set(reap(ec2)["terminated"]) == set(mine)
    assert len(account.calls_of("DescribeInstances")) > 1


def test_one_that_cannot_be_ended_does_not_spare_the_others(account: Account, ec2: Any) -> None:
    mine = [launch(account, ec2, run=RUN) for _ in range(3)]
    account.fail("TerminateInstances", "OperationNotPermitted", matching=(mine[1],), times=9)
    with pytest.raises(RuntimeError, match=mine[1]):  # so that Lambda calls again
        reap(ec2)
    assert [state(account, each) for each in mine] == ["terminated", "running", "terminated"]


def test_a_broken_deadline_is_reported_and_not_fatal(account: Account, ec2: Any) -> None:
    broken = launch(account, ec2, run=OTHER, deadline="tomorrow")
    overdue = launch(account, ec2, run=OTHER, hours=-1)
    reply = reap(ec2)
    assert reply["terminated"] == [overdue]
    assert reply["problems"] == [f"{broken} has the deadline 'tomorrow', which is no time"]
    assert state(account, broken) == "running"


def test_a_broken_deadline_does_not_save_the_run(account: Account, ec2: Any) -> None:
    mine = launch(account, ec2, run=RUN, deadline="tomorrow")
    assert reap(ec2)["terminated"] == [mine]


def test_a_spot_request_goes_with_its_machine(account: Account, ec2: Any) -> None:
    mine = launch(account, ec2, run=RUN, spot=True)
    reply = reap(ec2)
    assert reply["terminated"] == [mine]
    assert len(reply["cancelled"]) == 1


class Waiting:
    """EC2 with spot requests that no machine has been found for yet, which moto does not have."""

    def __init__(self, requests: list[dict[str, Any]]) -> None:
        self.requests, self.cancelled, self.filters = requests, list[str](), list[Any]()

    def get_paginator(self, name: str) -> Any:
        pages = {
            "describe_spot_instance_requests": {"SpotInstanceRequests": self.requests},
            "describe_instances": {"Reservations": []},
            "describe_volumes": {"Volumes": [{"VolumeId": "vol-1"}]},
        }
        outer = self

        class Pages:
            def paginate(self, Filters: Any) -> list[Any]:
                outer.filters.append(Filters)
                return [pages[name]]

        return Pages()

    def cancel_spot_instance_requests(self, SpotInstanceRequestIds: list[str]) -> None:
        self.cancelled += SpotInstanceRequestIds


def test_a_spot_request_that_waits_is_cancelled() -> None:
    tags = [{"Key": "stranger:run", "Value": RUN}]
    ec2 = Waiting([{"SpotInstanceRequestId": "sir-1", "Tags": tags}, {"SpotInstanceRequestId": "sir-2"}])
    reply = reap(ec2)
    assert (ec2.cancelled, reply["cancelled"]) == (["sir-1"], ["sir-1"])
    assert reply["volumes"] == ["vol-1"]
    assert {"Name": "tag:stranger:project", "Values": ["stranger-things"]} in ec2.filters[0]
    assert all({"Name": "tag:stranger:project", "Values": ["stranger-things"]} in each for each in ec2.filters)


def test_without_a_project_nothing_is_looked_at(account: Account, ec2: Any) -> None:
    with pytest.raises(KeyError, match="project"):
        reap(ec2, {"run": RUN})
    assert account.calls == []


def test_its_client_is_that_of_the_functions_region(
    account: Account, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    overdue = launch(account, ec2, deadline="2020-01-01T00:00:00Z")
    assert reaper.handler(EVENT, None)["terminated"] == [overdue]


def test_it_is_sent_alone_and_knows_the_tags() -> None:
    source = Path(reaper.__file__).read_text(encoding="utf-8")
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", source, re.MULTILINE))
    assert imported == {"__future__", "logging", "time", "collections", "datetime", "typing", "boto3"}
    for name in ("TAG_PROJECT", "TAG_RUN", "TAG_DEADLINE"):
        assert getattr(reaper, name) == getattr(config, name)
    assert datetime.strptime(to_iso(NOW), reaper.DEADLINE_FORMAT).replace(tzinfo=UTC) == NOW
