"""The kill in the cloud: made once, moved, listed and removed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from doubles.account import ACCOUNT_NUMBER, Account
from doubles.set_up import shared_session

from aws.account.schedules import Kill, list_kills, make_kill, remove_kill
from aws.config import Names
from aws.errors import CloudError, NotFound
from aws.sessions import Sessions

RUN, OTHER = "llama-20261121-101530-3f2a", "qwen-20261121-101530-0001"
AT = datetime(2026, 11, 21, 16, 5, 7, tzinfo=UTC)


@pytest.fixture
def scheduler(sessions: Sessions, names: Names) -> Any:
    """The client, with the group that init makes."""
    sessions._session = shared_session()
    client = sessions.client("scheduler")
    client.create_schedule_group(Name=names.schedule_group)
    return client


def test_a_kill_is_a_one_shot_call_of_the_reaper(scheduler: Any, sessions: Sessions, names: Names) -> None:
    name = make_kill(sessions, names, RUN, AT.astimezone(timezone(timedelta(hours=5))))
    assert name == RUN
    found = scheduler.get_schedule(Name=name, GroupName=names.schedule_group)
    assert found["ScheduleExpression"] == "at(2026-11-21T16:05:07)"
    assert found["ScheduleExpressionTimezone"] == "UTC"
    assert found["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert found["ActionAfterCompletion"] == "DELETE"
    target = found["Target"]
    assert target["Arn"] == f"arn:aws:lambda:us-east-1:{ACCOUNT_NUMBER}:function:{names.reaper}"
    assert target["RoleArn"] == f"arn:aws:iam::{ACCOUNT_NUMBER}:role/{names.scheduler_role}"
    assert json.loads(target["Input"]) == {"run": RUN, "project": "stranger-things"}
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 86_400


def test_made_again_it_moves(scheduler: Any, sessions: Sessions, names: Names) -> None:
    make_kill(sessions, names, RUN, AT)
    make_kill(sessions, names, RUN, AT + timedelta(hours=1))
    assert list_kills(sessions, names) == [Kill(RUN, RUN, AT + timedelta(hours=1))]


def test_all_kills_are_listed(
    account: Account, scheduler: Any, sessions: Sessions, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        make_kill(sessions, names, f"llama-20261121-101530-000{number}", AT)
    original = scheduler.list_schedules
    monkeypatch.setattr(scheduler, "list_schedules", lambda **options: original(**options, MaxResults=3))
    assert [kill.run[-1] for kill in list_kills(sessions, names)] == list("0123456")
    assert len(account.calls_of("ListSchedules")) == 3


def test_one_that_somebody_else_made_is_listed_without_a_time(scheduler: Any, sessions: Sessions, names: Names) -> None:
    scheduler.create_schedule(
        Name="theirs", GroupName=names.schedule_group, ScheduleExpression="rate(1 hour)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:sqs:us-east-1:1:q", "RoleArn": "arn:aws:iam::1:role/r"},
    )  # fmt: skip
    assert list_kills(sessions, names) == [Kill("theirs", "theirs", None)]


def test_one_that_fires_while_they_are_listed_is_left_out(
    account: Account, scheduler: Any, sessions: Sessions, names: Names
) -> None:
    make_kill(sessions, names, RUN, AT)
    make_kill(sessions, names, OTHER, AT)
    account.fail("GetSchedule", "ResourceNotFoundException", status=404)
    assert len(list_kills(sessions, names)) == 1


def test_removed_it_is_gone_and_again_is_silent(scheduler: Any, sessions: Sessions, names: Names) -> None:
    make_kill(sessions, names, RUN, AT)
    make_kill(sessions, names, OTHER, AT)
    remove_kill(sessions, names, RUN)
    remove_kill(sessions, names, RUN)
    assert [kill.run for kill in list_kills(sessions, names)] == [OTHER]


def test_without_the_set_up_the_error_names_init(account: Account, sessions: Sessions, names: Names) -> None:
    account.fail("CreateSchedule", "ResourceNotFoundException", status=404)
    with pytest.raises(NotFound, match=r"python deploy_aws\.py init"):
        make_kill(sessions, names, RUN, AT)
    assert list_kills(sessions, names) == []
    remove_kill(sessions, names, RUN)


def test_a_role_that_was_just_made_is_waited_for(
    account: Account, scheduler: Any, sessions: Sessions, names: Names
) -> None:
    message = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    account.fail("CreateSchedule", "ValidationException", times=2, message=message)
    slept: list[float] = []
    make_kill(sessions, names, RUN, AT, sleep=slept.append)
    assert slept == [2.0, 2.0]
    assert len(list_kills(sessions, names)) == 1


def test_another_refusal_is_raised_at_once(account: Account, scheduler: Any, sessions: Sessions, names: Names) -> None:
    account.fail("CreateSchedule", "ValidationException", message="Invalid Schedule Expression")
    with pytest.raises(CloudError, match="Invalid Schedule Expression"):
        make_kill(sessions, names, RUN, AT, sleep=lambda seconds: pytest.fail("waited"))
