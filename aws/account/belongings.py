"""Everything of the project that is in the account, found by tag and by name, never from a list of our own.

    for each in find_belongings(sessions, names):
        print(each.kind, each.name, each.detail)

What bills by itself (instances, volumes, addresses, spot requests) is looked for in all enabled regions, the rest in
that of the settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws.account.policies import log_group
from aws.account.schedules import list_kills
from aws.account.steps import ask
from aws.config import CHECKPOINTS, CODE, DATA, JOURNAL, LOGS, MODELS, RESULTS, SERVING, TAG_PROJECT, TRAINING, Names
from aws.faults import aws_errors
from aws.machines.instances import from_description
from aws.pricing import storage_month

if TYPE_CHECKING:
    from aws.sessions import Sessions

INSTANCE, SPOT_REQUEST, VOLUME, ADDRESS = "instance", "spot request", "volume", "address"
SCHEDULE, GROUP, FUNCTION, LOG = "schedule", "schedule group", "function", "log group"
PROFILE, ROLE, SECURITY_GROUP, KEY_PAIR = "instance profile", "role", "security group", "key pair"
PARAMETER, BUCKET, KEY_FILE, REGION = "parameter", "bucket", "key file", "region"

PREFIXES = tuple(f"{prefix}/" for prefix in (DATA, CODE, CHECKPOINTS, LOGS, MODELS, RESULTS, JOURNAL))


@dataclass(frozen=True)
class Resource:
    """One thing in the account.

    Args:
        billable: it costs something while it is there.
        detail: what a reader wants to know of it.
        region: empty for what belongs to the whole account or to this machine.
        stays: it is named, and not removed.
    """

    kind: str
    name: str
    billable: bool = False
    detail: str = ""
    region: str = ""
    stays: bool = False


def find_belongings(sessions: Sessions, names: Names, *, with_data: bool = False) -> list[Resource]:
    """All of it, in the order in which it can be removed. Raises CloudError.

    Args:
        with_data: the bucket goes as well; otherwise it stays, with data and models.
    """
    return [
        *_in_all_regions(sessions, names),
        *_schedules(sessions, names),
        *_function(sessions, names),
        *_roles(sessions, names),
        *_network(sessions, names),
        *_parameters(sessions, names),
        *_bucket(sessions, names, with_data),
        *_key_file(names),
    ]


def _in_all_regions(sessions: Sessions, names: Names) -> Iterator[Resource]:
    found, errors = sessions.in_all_regions(lambda region: list(_billing(sessions, names, region)))
    for kind in (INSTANCE, SPOT_REQUEST, VOLUME, ADDRESS):
        yield from (each for each in found if each.kind == kind)
    for region, error in errors.items():
        yield Resource(REGION, region, True, f"could not be looked at: {error.what}", region, stays=True)


def _billing(sessions: Sessions, names: Names, region: str) -> Iterator[Resource]:
    ours = {"Name": f"tag:{TAG_PROJECT}", "Values": [names.settings.project]}
    ec2 = sessions.client("ec2", region)

    def pages(call: str, *more: Mapping[str, Any]) -> list[dict[str, Any]]:
        with aws_errors(f"look into {region}"):
            return list(ec2.get_paginator(call).paginate(Filters=[ours, *more]))

    for page in pages("describe_instances"):
        for each in (from_description(region, one) for group in page["Reservations"] for one in group["Instances"]):
            if each.is_live:
                yield Resource(INSTANCE, each.id, True, f"{each.type}, {each.state}, {each.run or each.name}", region)
    for page in pages("describe_spot_instance_requests", {"Name": "state", "Values": ["open"]}):
        for request in page["SpotInstanceRequests"]:
            yield Resource(SPOT_REQUEST, request["SpotInstanceRequestId"], True, "not fulfilled yet", region)
    for page in pages("describe_volumes", {"Name": "status", "Values": ["available"]}):
        for volume in page["Volumes"]:
            yield Resource(VOLUME, volume["VolumeId"], True, f"{volume['Size']} GB, of no instance", region)
    addresses = ask(f"list the addresses of {region}", ec2.describe_addresses, Filters=[ours])
    for address in addresses["Addresses"]:
        yield Resource(ADDRESS, address["AllocationId"], True, address["PublicIp"], region)


def _schedules(sessions: Sessions, names: Names) -> Iterator[Resource]:
    region, name = names.settings.region, names.schedule_group
    for kill in list_kills(sessions, names):
        when = kill.at.isoformat(" ", "minutes") if kill.at else "an unknown time"
        yield Resource(SCHEDULE, kill.name, detail=f"would end {kill.run} at {when}", region=region)
    get = sessions.client("scheduler").get_schedule_group
    found = ask(f"look at the schedule group {name}", get, "ResourceNotFoundException", Name=name)
    if found and found.get("State", "ACTIVE") == "ACTIVE":
        yield Resource(GROUP, name, region=region)


def _function(sessions: Sessions, names: Names) -> Iterator[Resource]:
    region, name, log = names.settings.region, names.reaper, log_group(names)
    get = sessions.client("lambda").get_function_configuration
    if ask(f"look at the function {name}", get, "ResourceNotFoundException", FunctionName=name):
        yield Resource(FUNCTION, name, region=region)
    groups = ask(f"look for the log {log}", sessions.client("logs").describe_log_groups, logGroupNamePrefix=log)
    if any(group["logGroupName"] == log for group in groups["logGroups"]):
        yield Resource(LOG, log, region=region)


def _roles(sessions: Sessions, names: Names) -> Iterator[Resource]:
    iam = sessions.client("iam")
    for name in (names.instance_role(purpose) for purpose in (TRAINING, SERVING)):
        if ask(f"look at {name}", iam.get_instance_profile, "NoSuchEntity", InstanceProfileName=name):
            yield Resource(PROFILE, name)
    for name in (
        *(names.instance_role(purpose) for purpose in (TRAINING, SERVING)),
        names.reaper,
        names.scheduler_role,
    ):
        if ask(f"look at {name}", iam.get_role, "NoSuchEntity", RoleName=name):
            yield Resource(ROLE, name)


def _network(sessions: Sessions, names: Names) -> Iterator[Resource]:
    region, ec2 = names.settings.region, sessions.client("ec2")
    ours = [{"Name": f"tag:{TAG_PROJECT}", "Values": [names.settings.project]}]
    groups = ask("list the security groups", ec2.describe_security_groups, Filters=ours)
    for group in groups["SecurityGroups"]:
        yield Resource(SECURITY_GROUP, group["GroupId"], detail=group["GroupName"], region=region)
    pairs = ask("list the key pairs", ec2.describe_key_pairs, Filters=ours)
    for pair in pairs["KeyPairs"]:
        yield Resource(KEY_PAIR, pair["KeyName"], region=region)


def _parameters(sessions: Sessions, names: Names) -> Iterator[Resource]:
    from aws.account.parameters import parameter_exists

    for name in (names.hf_token, names.app_password):
        if parameter_exists(sessions, name):
            yield Resource(PARAMETER, name, region=names.settings.region)


def _bucket(sessions: Sessions, names: Names, with_data: bool) -> Iterator[Resource]:
    """The bucket and what it costs; old versions cost as much as those that are seen."""
    s3, which = sessions.client("s3"), {"Bucket": names.bucket, "ExpectedBucketOwner": names.account}
    if not ask(f"look at the bucket {names.bucket}", s3.head_bucket, "404", "NoSuchBucket", **which):
        return
    count = size_bytes = others = 0
    for version in stored(s3, which):
        count += 1
        size_bytes += version.get("Size", 0)
        others += not version["Key"].startswith(PREFIXES)
    usd = storage_month(size_bytes)
    detail = f"{size_bytes / 1e9:.2f} GB in {count} objects and versions, about {usd:.2f} USD a month"
    if others:
        detail += f"; {others} of them are not of this project and stay, and with them the bucket"
    yield Resource(BUCKET, names.bucket, count > 0, detail, names.settings.region, stays=not with_data)


def stored(s3: Any, which: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Every version and delete marker of a bucket. Raises CloudError."""
    pages = iter(s3.get_paginator("list_object_versions").paginate(**which))
    while True:
        with aws_errors(f"list the bucket {which['Bucket']}"):
            page = next(pages, None)
        if page is None:
            return
        yield from page.get("Versions", [])
        yield from page.get("DeleteMarkers", [])


def _key_file(names: Names) -> Iterator[Resource]:
    file = names.settings.key_file.expanduser()
    if file.exists():
        yield Resource(KEY_FILE, str(file), detail="a private key: only its owner deletes it", stays=True)
