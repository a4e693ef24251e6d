"""What lies in the account beside instances: volumes, addresses, security groups, keys, spot requests, by project tag.

    things, problems = take_inventory(sessions, names)     # all enabled regions
    uploads, problems = unfinished_uploads(sessions, names)

Nothing here changes anything, and one thing that cannot be read does not hide the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws.config import TAG_PROJECT, Names
from aws.errors import CloudError
from aws.faults import aws_errors

if TYPE_CHECKING:
    from aws.sessions import Sessions

VOLUME, ADDRESS, GROUP, KEY, REQUEST = "volume", "address", "security group", "key pair", "spot request"
NO_BUCKET = "NoSuchBucket"


@dataclass(frozen=True)
class Thing:
    """Something with the project's tag. ``made_at``: None where AWS does not tell. ``content``: as AWS describes it."""

    kind: str
    id: str
    region: str
    tags: Mapping[str, str]
    made_at: datetime | None
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Kind:
    """How things of a kind are listed: call, list in the answer, id, time; ``None``: no such field."""

    name: str
    operation: str
    items: str
    id: str
    time: str | None = None

    @property
    def plural(self) -> str:
        return self.name + ("es" if self.name.endswith("s") else "s")


KINDS = (
    Kind(VOLUME, "describe_volumes", "Volumes", "VolumeId", "CreateTime"),
    Kind(ADDRESS, "describe_addresses", "Addresses", "AllocationId"),
    Kind(GROUP, "describe_security_groups", "SecurityGroups", "GroupId"),
    Kind(KEY, "describe_key_pairs", "KeyPairs", "KeyPairId", "CreateTime"),
    Kind(REQUEST, "describe_spot_instance_requests", "SpotInstanceRequests", "SpotInstanceRequestId", "CreateTime"),
)


@dataclass(frozen=True)
class Upload:
    """Parts of an object whose upload was begun and not finished; they are billed, and no listing shows them."""

    key: str
    id: str
    begun_at: datetime


def take_inventory(sessions: Sessions, names: Names) -> tuple[list[Thing], list[tuple[str, str]]]:
    """All things of the project, and what could not be read: region and sentence.

    Raises:
        CloudError: the regions cannot be listed.
    """
    problems: list[tuple[str, str]] = []

    def look(region: str) -> list[Thing]:
        found: list[Thing] = []
        for kind in KINDS:
            try:
                found += _list(sessions, names, kind, region)
            except CloudError as error:
                problems.append((region, f"the {kind.plural} of {region} could not be read: {error.what}"))
        return found

    things, _ = sessions.in_all_regions(look)
    return things, sorted(problems)


def unfinished_uploads(sessions: Sessions, names: Names) -> list[Upload]:
    """Those of the bucket; none where there is no bucket. Raises CloudError."""
    found: list[Upload] = []
    try:
        with aws_errors(f"list the unfinished uploads in {names.bucket}"):
            pages = sessions.client("s3").get_paginator("list_multipart_uploads").paginate(Bucket=names.bucket)
            for page in pages:
                found += [Upload(each["Key"], each["UploadId"], each["Initiated"]) for each in page.get("Uploads", [])]
    except CloudError as error:
        if error.code != NO_BUCKET:
            raise
    return found


def open_ports(group: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Ports of a security group, such as ``22`` or ``1-80``, and the blocks of addresses that may connect to them."""
    for rule in group.get("IpPermissions", []):
        first, last = rule.get("FromPort", -1), rule.get("ToPort", -1)
        ports = "all" if first == -1 else str(first) if first == last else f"{first}-{last}"
        for block in _blocks(rule):
            yield ports, block


def _blocks(rule: Mapping[str, Any]) -> list[str]:
    return [each["CidrIp"] for each in rule.get("IpRanges", [])] + [
        each["CidrIpv6"] for each in rule.get("Ipv6Ranges", [])
    ]


def _list(sessions: Sessions, names: Names, kind: Kind, region: str) -> Iterator[Thing]:
    filters = [{"Name": f"tag:{TAG_PROJECT}", "Values": [names.settings.project]}]
    client = sessions.client("ec2", region)
    with aws_errors(f"list the {kind.plural} of {region}"):
        for page in _pages(client, kind.operation, filters):
            for each in page[kind.items]:
                yield _thing(kind, region, each)


def _pages(client: Any, operation: str, filters: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """All pages; calls that know no pages answer with one."""
    if client.can_paginate(operation):
        yield from client.get_paginator(operation).paginate(Filters=filters)
    else:
        call: Callable[..., Mapping[str, Any]] = getattr(client, operation)
        yield call(Filters=filters)


def _thing(kind: Kind, region: str, content: Mapping[str, Any]) -> Thing:
    made = content.get(kind.time) if kind.time else None
    tags = {tag["Key"]: tag["Value"] for tag in content.get("Tags", [])}
    return Thing(kind.name, str(content[kind.id]), region, tags, _utc(made), content)


def _utc(moment: Any) -> datetime | None:
    if not isinstance(moment, datetime):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
