"""Clients: made once, safe in threads, the right number of requests, all regions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from doubles.account import ACCOUNT_NUMBER, Account

from aws.errors import CloudError, CredentialsError, PermissionDenied, ThrottleError
from aws.faults import aws_errors
from aws.sessions import Sessions
from config import AwsSettings


def test_constructor_needs_no_boto3(run_program, tmp_path) -> None:
    program = tmp_path / "cheap.py"
    program.write_text(
        "import sys\nsys.path[:] = [sys.argv[1], *sys.path]\nfrom aws.ec2_manager import EC2Manager\n"
        "from aws.sessions import Sessions\nfrom config import AwsSettings\nEC2Manager(Sessions(AwsSettings()))\n"
        "print(sorted({'boto3', 'botocore', 'paramiko'} & set(sys.modules)))\n"
    )
    from conftest import PROJECT

    done = run_program(PROJECT, program=program)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_client_is_made_once_whatever_the_threads(sessions: Sessions) -> None:
    gate = threading.Barrier(8)

    def get(_: int) -> object:
        gate.wait()
        return sessions.client("ec2", "eu-west-1")

    with ThreadPoolExecutor(8) as pool:
        assert len({id(client) for client in pool.map(get, range(8))}) == 1


def test_region_of_the_settings_is_the_default(account: Account) -> None:
    client = Sessions(AwsSettings(region="eu-north-1")).client("ec2")
    assert client.meta.region_name == "eu-north-1"


@pytest.mark.parametrize(("options", "requests"), [({"single_try": True}, 1), ({"quick": True}, 2), ({}, 4)])
def test_number_of_requests_of_a_call_that_fails(
    account: Account, sessions: Sessions, options: dict[str, bool], requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    account.fail("DescribeVpcs", "InternalError", status=500, times=99)
    with pytest.raises(CloudError), aws_errors("list"):
        sessions.client("ec2", **options).describe_vpcs()
    assert len(account.calls_of("DescribeVpcs")) == requests


def test_who_calls_is_asked_once(account: Account, sessions: Sessions) -> None:
    assert sessions.account() == sessions.account() == ACCOUNT_NUMBER
    assert ACCOUNT_NUMBER in sessions.caller()
    assert len(account.calls_of("GetCallerIdentity")) == 1


def test_no_credentials(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CredentialsError, match="aws configure"):
        Sessions(AwsSettings()).account()


def test_unknown_profile_is_named(account: Account) -> None:
    with pytest.raises(CredentialsError, match="nobody"):
        Sessions(AwsSettings(profile="nobody")).client("ec2")


def test_regions_start_with_that_of_the_settings(account: Account) -> None:
    regions = Sessions(AwsSettings(region="us-west-2")).regions()
    assert regions[0] == "us-west-2"
    assert regions[1:] == sorted(regions[1:])
    assert "eu-west-1" in regions


def test_regions_that_are_not_enabled_are_left_out(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [("us-east-1", "opt-in-not-required"), ("af-south-1", "not-opted-in"), ("eu-south-1", "opted-in")]
    reply = {"Regions": [{"RegionName": name, "OptInStatus": status} for name, status in known]}
    monkeypatch.setattr(sessions.client("ec2"), "describe_regions", lambda **_: reply)
    assert sessions.regions() == ["us-east-1", "eu-south-1"]


def test_all_regions_tell_what_they_found_and_what_failed(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_regions", ["us-east-1", "eu-west-1", "ap-south-1"])

    def look(region: str) -> list[str]:
        if region == "eu-west-1":
            raise PermissionDenied("not there")
        return [region, region.upper()]

    found, errors = sessions.in_all_regions(look)
    assert found == ["us-east-1", "US-EAST-1", "ap-south-1", "AP-SOUTH-1"]
    assert {region: str(error) for region, error in errors.items()} == {"eu-west-1": "not there"}


def test_regions_are_asked_at_the_same_time(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"region-{number}" for number in range(17)]
    monkeypatch.setattr(sessions, "_regions", names)
    all_at_once = threading.Barrier(len(names), timeout=10)
    assert len(sessions.in_all_regions(lambda region: [all_at_once.wait()])[0]) == len(names)


def test_all_regions_fail_where_they_cannot_be_listed(account: Account, sessions: Sessions, monkeypatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    account.fail("DescribeRegions", "RequestLimitExceeded", status=503, times=9)
    with pytest.raises(ThrottleError):
        sessions.in_all_regions(lambda region: [region])
