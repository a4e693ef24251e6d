"""What an instance is to this project, and what is said to AWS to get one: plain data, no calls.

instance = from_description(region, description)        # of DescribeInstances or RunInstances
parameters = launch_parameters(request, candidate, launch_token(request.run, 1, candidate))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aws.config import TAG_BY, TAG_DEADLINE, TAG_PURPOSE, TAG_RUN, from_iso
from aws.machines.images import Image

ON_DEMAND, SPOT = "on-demand", "spot"
PENDING, RUNNING, SHUTTING_DOWN, TERMINATED = "pending", "running", "shutting-down", "terminated"
LIVE_STATES = (PENDING, RUNNING, "stopping", "stopped", SHUTTING_DOWN)
TOKEN_LENGTH = 64  # ASCII characters that RunInstances takes as a client token
BURSTABLE = ("t2.", "t3.", "t3a.", "t4g.")


@dataclass(frozen=True)
class Instance:
    """An EC2 instance as AWS described it last. ``address`` is its public IP, empty while it has none.

    ``reason`` is why AWS gave it its state, ``token`` the client token of the call that launched it; ``volume_gb`` is 0
    where it is not known. Times are UTC.
    """

    id: str
    region: str
    zone: str
    type: str
    state: str
    market: str
    purpose: str
    run: str
    by: str
    name: str
    launched_at: datetime
    deadline: datetime | None
    address: str
    private_address: str
    image: str
    volumes: tuple[str, ...]
    spot_request: str
    tags: Mapping[str, str] = field(default_factory=dict)
    volume_gb: int = 0
    reason: str = ""
    token: str = ""

    @property
    def is_live(self) -> bool:
        """It exists and may cost something."""
        return self.state in LIVE_STATES

    def is_overdue(self, now: datetime) -> bool:
        """It should have ended and nothing has ended it."""
        live = self.is_live and self.state != SHUTTING_DOWN
        return live and self.deadline is not None and self.deadline < now


@dataclass(frozen=True)
class Candidate:
    """One way to get a machine: each is one call."""

    market: str
    type: str
    zone: str
    subnet: str


@dataclass(frozen=True)
class LaunchRequest:
    """The machine that a run asks for.

    Args:
        instance_types, markets: tried in this order.
        volume_gb: of the root disk; at least what the image needs is taken.
        security_groups: ids.
        profile: name of the instance profile; may be empty.
        user_data: the script of the first start, as text.
        tags: of all that the launch makes.
        vpc: id; empty: the default VPC of the region.
        ends_with_shutdown: a shutdown from inside ends the instance for good (and its bill), else it only stops it.
    """

    run: str
    purpose: str
    region: str
    instance_types: tuple[str, ...]
    markets: tuple[str, ...]
    image: Image
    volume_gb: int
    key_name: str
    security_groups: tuple[str, ...]
    profile: str
    user_data: str
    tags: Mapping[str, str]
    vpc: str = ""
    ends_with_shutdown: bool = True


def launch_token(run: str, attempt: int, candidate: Candidate) -> str:
    """The client token of a launch: the same for the same run, attempt and candidate, on any machine."""
    words = (run, str(attempt), candidate.market, candidate.type, candidate.zone, candidate.subnet)
    return f"{run[: TOKEN_LENGTH - 17]}-{hashlib.sha256('|'.join(words).encode()).hexdigest()[:16]}"


def launch_parameters(request: LaunchRequest, candidate: Candidate, token: str) -> dict[str, Any]:
    """What RunInstances is given. Everything that makes the instance end, and be found, is in this one call."""
    parameters: dict[str, Any] = {
        "ClientToken": token,
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": request.image.id,
        "InstanceType": candidate.type,
        "InstanceInitiatedShutdownBehavior": "terminate" if request.ends_with_shutdown else "stop",
        # Hop limit 1: what runs in a container on the instance cannot reach the role's credentials.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "Placement": {"AvailabilityZone": candidate.zone},
        "NetworkInterfaces": [_interface(request, candidate)],
        "BlockDeviceMappings": [{"DeviceName": request.image.root_device, "Ebs": _root_disk(request)}],
        "TagSpecifications": _tag_specifications(request, candidate),
        "UserData": request.user_data,
    }
    if request.key_name:
        parameters["KeyName"] = request.key_name
    if request.profile:
        parameters["IamInstanceProfile"] = {"Name": request.profile}
    if candidate.type.startswith(BURSTABLE):  # their default, unlimited, bills what is used beyond the credits
        parameters["CreditSpecification"] = {"CpuCredits": "standard"}
    if candidate.market == SPOT:
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        parameters["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return parameters


def from_description(region: str, description: Mapping[str, Any]) -> Instance:
    """An instance from an entry of DescribeInstances or RunInstances."""
    tags = {each["Key"]: each["Value"] for each in description.get("Tags", [])}
    disks = [each["Ebs"]["VolumeId"] for each in description.get("BlockDeviceMappings", []) if "Ebs" in each]
    return Instance(
        id=description["InstanceId"],
        region=region,
        zone=description.get("Placement", {}).get("AvailabilityZone", ""),
        type=description.get("InstanceType", ""),
        state=description.get("State", {}).get("Name", PENDING),
        market=SPOT if description.get("InstanceLifecycle") == "spot" else ON_DEMAND,
        purpose=tags.get(TAG_PURPOSE, ""),
        run=tags.get(TAG_RUN, ""),
        by=tags.get(TAG_BY, ""),
        name=tags.get("Name", ""),
        launched_at=description["LaunchTime"].astimezone(UTC),
        deadline=_deadline(tags.get(TAG_DEADLINE, "")),
        address=description.get("PublicIpAddress") or "",
        private_address=description.get("PrivateIpAddress") or "",
        image=description.get("ImageId", ""),
        volumes=tuple(disks),
        spot_request=description.get("SpotInstanceRequestId") or "",
        tags=tags,
        reason=_reason(description),
        token=description.get("ClientToken") or "",
    )


def _interface(request: LaunchRequest, candidate: Candidate) -> dict[str, Any]:
    """The public address is asked for here: not every subnet gives one by itself."""
    return {
        "DeviceIndex": 0,
        "SubnetId": candidate.subnet,
        "Groups": list(request.security_groups),
        "AssociatePublicIpAddress": True,
        "DeleteOnTermination": True,
    }


def _root_disk(request: LaunchRequest) -> dict[str, Any]:
    size = max(request.volume_gb, request.image.minimum_gb)
    return {"VolumeSize": size, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}


def _tag_specifications(request: LaunchRequest, candidate: Candidate) -> list[dict[str, Any]]:
    tags = [{"Key": key, "Value": value} for key, value in request.tags.items()]
    kinds = ["instance", "volume", "network-interface"] + ["spot-instances-request"] * (candidate.market == SPOT)
    return [{"ResourceType": kind, "Tags": tags} for kind in kinds]


def _reason(description: Mapping[str, Any]) -> str:
    """``Client.UserInitiatedShutdown: User initiated shutdown``; empty if none is told."""
    told = description.get("StateReason", {})
    code, message = told.get("Code", ""), told.get("Message", "")
    return message if message.startswith(code) else f"{code}: {message}"


def _deadline(text: str) -> datetime | None:
    try:
        return from_iso(text)
    except ValueError:  # no tag, or one that somebody changed by hand
        return None
