"""Quotas: enough, too few, not to be read."""

from __future__ import annotations

import pytest
from doubles.account import Account

from aws.errors import NotFound, QuotaError
from aws.machines.quotas import VCPUS, Quota, check_quota, gpu_quota, quota_code, vcpus
from aws.sessions import Sessions


def test_quota_of_each_market(account: Account, sessions: Sessions) -> None:
    account.quotas |= {"L-DB2E81BA": 4.0, "L-3819A6DF": 16.0}
    assert gpu_quota(sessions, "on-demand") == Quota("L-DB2E81BA", "Running On-Demand G and VT instances", 4.0)
    assert gpu_quota(sessions, "spot").vcpus == 16.0


@pytest.mark.parametrize(
    ("instance_type", "market", "code"),
    [
        ("g4dn.xlarge", "on-demand", "L-DB2E81BA"),
        ("g6.xlarge", "spot", "L-3819A6DF"),
        ("t3.medium", "on-demand", "L-1216C47A"),
        ("t3.medium", "spot", "L-34B43A08"),
        ("p3.2xlarge", "on-demand", "L-417A185B"),
    ],
)
def test_which_quota_a_type_counts_against(instance_type: str, market: str, code: str) -> None:
    assert quota_code(instance_type, market) == code


def test_enough(account: Account, sessions: Sessions) -> None:
    account.quotas["L-DB2E81BA"] = 4.0
    assert "may run 4 vCPUs as on-demand; g4dn.xlarge takes 4" in check_quota(sessions, "on-demand", "g4dn.xlarge")


@pytest.mark.parametrize(("market", "code"), [("on-demand", "L-DB2E81BA"), ("spot", "L-3819A6DF")])
def test_too_few(account: Account, sessions: Sessions, market: str, code: str) -> None:
    account.quotas[code] = 0.0
    with pytest.raises(QuotaError, match=f"--quota-code {code} --desired-value 8") as caught:
        check_quota(sessions, market, "g4dn.2xlarge")
    assert "takes 8 vCPUs, and the account may run 0" in caught.value.what


def test_quota_that_may_not_be_read_stops_nothing(account: Account, sessions: Sessions) -> None:
    account.quotas["L-DB2E81BA"] = None
    assert gpu_quota(sessions, "on-demand").vcpus is None
    assert "cannot be told" in check_quota(sessions, "on-demand", "g4dn.xlarge")


def test_default_counts_where_nobody_has_changed_the_quota(account: Account, sessions: Sessions, monkeypatch) -> None:
    del account.quotas["L-DB2E81BA"]
    client = sessions.client("service-quotas", quick=True)
    reply = {"Quota": {"Value": 0.0}}
    monkeypatch.setattr(client, "get_aws_default_service_quota", lambda **_: reply)
    assert gpu_quota(sessions, "on-demand").vcpus == 0.0


def test_table_agrees_with_aws_and_aws_is_asked_for_the_rest(account: Account, sessions: Sessions) -> None:
    reply = sessions.client("ec2").describe_instance_types(InstanceTypes=list(VCPUS))
    assert {each["InstanceType"]: each["VCpuInfo"]["DefaultVCpus"] for each in reply["InstanceTypes"]} == VCPUS
    assert vcpus(sessions, "g4dn.12xlarge") == 48
    with pytest.raises(NotFound, match=r"p9\.xlarge"):
        vcpus(sessions, "p9.xlarge")
