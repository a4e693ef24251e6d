"""The kill in the cloud: a one-shot schedule for each run, which calls the reaper whatever has become of the laptop.

    make_kill(sessions, names, run, deadline)     # before the launch; again: moves it
    remove_kill(sessions, names, run)             # with the run

EventBridge Scheduler calls within a minute of the time, and deletes the schedule afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws.account.policies import function_arn, role_arn
from aws.account.steps import Site, ask, insist
from aws.config import Names
from aws.errors import CloudError, NotFound

if TYPE_CHECKING:
    from aws.sessions import Sessions

TIME_FORMAT = "at(%Y-%m-%dT%H:%M:%S)"  # of EventBridge Scheduler, in the time zone of the schedule
# Its own longest: it tries for a day, because a machine that outlives its deadline bills until somebody sees it.
RETRY = {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}
ABSENT, THERE = "ResourceNotFoundException", "ConflictException"


@dataclass(frozen=True)
class Kill:
    """A schedule that will end a run. ``at``: None where the schedule is not of our making."""

    name: str
    run: str
    at: datetime | None


def make_kill(
    sessions: Sessions, names: Names, run: str, at: datetime, *, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Have a run ended at a time, to the second in UTC; one that is there already is moved to it.

    Returns:
        The schedule's name.

    Raises:
        NotFound: the set-up has not been made; CloudError.
    """
    scheduler, schedule = sessions.client("scheduler"), _schedule(names, run, at)
    doing = f"schedule the end of {run}"
    site = Site(sessions, names, sleep=sleep)
    try:
        try:
            insist(site, doing, lambda: scheduler.create_schedule(**schedule), on=_is_new_role)
        except CloudError as error:
            if error.code != THERE:
                raise
            ask(doing, scheduler.update_schedule, **schedule)
    except CloudError as error:
        if error.code == ABSENT:
            raise _no_group(names, error) from error
        raise
    return str(schedule["Name"])


def remove_kill(sessions: Sessions, names: Names, run: str) -> None:
    """Remove the schedule of a run; silent if there is none. Raises CloudError."""
    which = {"Name": names.schedule(run), "GroupName": names.schedule_group}
    ask(f"remove the schedule of {run}", sessions.client("scheduler").delete_schedule, ABSENT, **which)


def list_kills(sessions: Sessions, names: Names) -> list[Kill]:
    """Every schedule of the project, by name; none where the set-up has not been made. Raises CloudError."""
    kills = (_kill(sessions, names, name) for name in list(_names(sessions, names)))
    return sorted((kill for kill in kills if kill), key=lambda kill: kill.name)


def _schedule(names: Names, run: str, at: datetime) -> dict[str, Any]:
    return {
        "Name": names.schedule(run),
        "GroupName": names.schedule_group,
        "Description": f"ends {run} at its deadline",
        "ScheduleExpression": at.astimezone(UTC).strftime(TIME_FORMAT),
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "State": "ENABLED",
        "Target": {
            "Arn": function_arn(names),
            "RoleArn": role_arn(names, names.scheduler_role),
            "Input": json.dumps({"run": run, "project": names.settings.project}),
            "RetryPolicy": RETRY,
        },
    }


def _names(sessions: Sessions, names: Names) -> Iterator[str]:
    options: dict[str, str] = {"GroupName": names.schedule_group}
    while True:
        page = ask("list the schedules", sessions.client("scheduler").list_schedules, ABSENT, **options)
        yield from (each["Name"] for each in (page or {}).get("Schedules", []))
        if not page or not page.get("NextToken"):
            return
        options["NextToken"] = page["NextToken"]


def _kill(sessions: Sessions, names: Names, name: str) -> Kill | None:
    """One schedule; None if it is gone since. The list says nothing of times."""
    which = {"Name": name, "GroupName": names.schedule_group}
    found = ask(f"look at the schedule {name}", sessions.client("scheduler").get_schedule, ABSENT, **which)
    if not found:
        return None
    try:
        at = datetime.strptime(found["ScheduleExpression"], TIME_FORMAT).replace(tzinfo=UTC)
        return Kill(name, str(json.loads(found["Target"]["Input"])["run"]), at)
    except (ValueError, KeyError, TypeError):
        return Kill(name, name, None)


def _is_new_role(error: CloudError) -> bool:
    """The set-up has just made the role, and the scheduler does not see it yet."""
    return error.code == "ValidationException" and "assume" in error.what


def _no_group(names: Names, error: CloudError) -> NotFound:
    found = NotFound(
        f"there is no schedule group {names.schedule_group} in {names.settings.region}.",
        instead="Without it nothing would end a forgotten machine, so none is launched.",
        remedies=[("Make what is missing", "python deploy_aws.py init")],
    )
    found.code = error.code
    return found
