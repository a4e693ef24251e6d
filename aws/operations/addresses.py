"""The address of a domain: an Elastic IP that stays while the machines behind it come and go."""

from __future__ import annotations

from typing import Any

from aws.cloud import Cloud
from aws.config import SERVING, TAG_PROJECT
from aws.faults import aws_errors

TAG_DOMAIN = "stranger:domain"


def give_address(cloud: Cloud, domain: str, instance: str) -> str:
    """Let the domain's address lead to an instance; allocated at the first call. Returns the IPv4 address.

    A public IPv4 address costs the same in use or not (aws.pricing.ADDRESS_USD_PER_HOUR). Raises CloudError.
    """
    client = cloud.sessions.client("ec2")
    with aws_errors(f"give {domain} an address"):
        found = _find(cloud, client, domain) or _allocate(cloud, client, domain)
        client.associate_address(AllocationId=found["AllocationId"], InstanceId=instance, AllowReassociation=True)
    return str(found["PublicIp"])


def _find(cloud: Cloud, client: Any, domain: str) -> dict[str, Any] | None:
    filters = [
        {"Name": f"tag:{TAG_PROJECT}", "Values": [cloud.settings.aws.project]},
        {"Name": f"tag:{TAG_DOMAIN}", "Values": [domain]},
    ]
    found: list[dict[str, Any]] = client.describe_addresses(Filters=filters)["Addresses"]
    return found[0] if found else None


def _allocate(cloud: Cloud, client: Any, domain: str) -> dict[str, Any]:
    tags = cloud.names.tags(SERVING) | {TAG_DOMAIN: domain}
    made: dict[str, Any] = client.allocate_address(
        Domain="vpc",
        TagSpecifications=[
            {"ResourceType": "elastic-ip", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )
    return made
