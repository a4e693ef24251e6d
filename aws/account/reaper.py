"""The function in the account that ends what is past its deadline, wherever the laptop is. Runs on AWS Lambda.

A one-shot schedule calls it with ``{"run": ..., "project": ...}``: it ends the machines of that run, whatever their
deadline, and any other machine of the project that is past its own. It imports nothing of ours: this file is all
that is sent. Called twice it does no harm; where something could not be ended it raises, and Lambda calls it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

# The same as in aws/config.py, which is not sent along; a test compares them.
TAG_PROJECT = "stranger:project"
TAG_RUN = "stranger:run"
TAG_DEADLINE = "stranger:deadline"
DEADLINE_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

LIVE = ("pending", "running", "stopping", "stopped")  # a stopped machine's disk costs as well
WAITING = ("open", "active")  # spot requests that may still become a machine, or are one

logger = logging.getLogger()
logger.setLevel(logging.INFO)


def handler(
    event: Mapping[str, Any], context: object, client: Any = None, clock: Callable[[], float] = time.time
) -> Any:
    """What Lambda calls.

    Args:
        event: ``project``, whose machines; ``run``, which of them must go now (may be empty).
        context: of Lambda, not used.
        client: EC2; default: that of the function's own region.
        clock: seconds since 1970.

    Returns:
        ``terminated`` and ``cancelled``: ids; ``volumes``: ids of disks that lie about unattached;
        ``problems``: sentences.

    Raises:
        KeyError: the event names no project.
        RuntimeError: something that must go could not be ended; everything else was.
    """
    ec2 = client or _client()
    report: dict[str, list[str]] = {"terminated": [], "cancelled": [], "volumes": [], "problems": []}
    project, run = event["project"], event.get("run", "")
    now = datetime.fromtimestamp(clock(), UTC)
    # Requests first: one of them could still become a machine after the machines were counted.
    requests = _due(_requests(ec2, project), "SpotInstanceRequestId", run, now, report["problems"])
    failed = _each(
        requests, lambda key: ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[key]), report, "cancelled"
    )
    instances = _due(_instances(ec2, project), "InstanceId", run, now, report["problems"])
    failed += _each(instances, lambda key: ec2.terminate_instances(InstanceIds=[key]), report, "terminated")
    report["volumes"] = [volume["VolumeId"] for volume in _volumes(ec2, project)]
    logger.info("%s", report)
    if failed:
        raise RuntimeError(f"{', '.join(failed)} could not be ended: {'; '.join(report['problems'])}")
    return report


def _client() -> Any:
    import boto3

    return boto3.client("ec2")


def _due(found: Iterable[Mapping[str, Any]], key: str, run: str, now: datetime, problems: list[str]) -> list[str]:
    """The ids of those that must go: of the run, or past their deadline."""
    due = []
    for each in found:
        tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", [])}
        deadline = tags.get(TAG_DEADLINE, "")
        if (run and tags.get(TAG_RUN) == run) or (deadline and _is_past(each[key], deadline, now, problems)):
            due.append(each[key])
    return due


def _is_past(owner: str, deadline: str, now: datetime, problems: list[str]) -> bool:
    try:
        return datetime.strptime(deadline, DEADLINE_FORMAT).replace(tzinfo=UTC) <= now
    except ValueError:  # somebody changed the tag: to end their machine is not for us to decide
        problems.append(f"{owner} has the deadline {deadline!r}, which is no time")
        return False


def _each(ids: Iterable[str], end: Callable[[str], Any], report: dict[str, list[str]], done: str) -> list[str]:
    """End one after the other, because one bad id in a call spares all the others; the ids that failed."""
    failed = []
    for each in ids:
        try:
            end(each)
            report[done].append(each)
        except Exception as error:  # whatever it is, the next one must have its turn
            failed.append(each)
            report["problems"].append(f"{each}: {error}")
    return failed


def _instances(ec2: Any, project: str) -> Iterator[Mapping[str, Any]]:
    filters = [*_of(project), {"Name": "instance-state-name", "Values": list(LIVE)}]
    for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


def _requests(ec2: Any, project: str) -> Iterator[Mapping[str, Any]]:
    filters = [*_of(project), {"Name": "state", "Values": list(WAITING)}]
    for page in ec2.get_paginator("describe_spot_instance_requests").paginate(Filters=filters):
        yield from page["SpotInstanceRequests"]


def _volumes(ec2: Any, project: str) -> Iterator[Mapping[str, Any]]:
    filters = [*_of(project), {"Name": "status", "Values": ["available"]}]
    for page in ec2.get_paginator("describe_volumes").paginate(Filters=filters):
        yield from page["Volumes"]


def _of(project: str) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{TAG_PROJECT}", "Values": [project]}]
