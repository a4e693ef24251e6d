"""How many vCPUs the account may run, and whether that is enough for an instance type.

    check_quota(sessions, "spot", "g4dn.xlarge")     # "The account may run 8 vCPUs …"; QuotaError if too few

New accounts often have 0 for machines with a GPU; spot and on-demand are separate quotas.
Codes: ``aws service-quotas list-service-quotas --service-code ec2``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from aws.errors import CloudError, NotFound, QuotaError
from aws.faults import GPU_QUOTA, GPU_SPOT_QUOTA, aws_errors
from aws.sessions import Sessions

# https://aws.amazon.com/ec2/instance-types, November 2026
VCPUS = {
    "g4dn.xlarge": 4, "g4dn.2xlarge": 8, "g4dn.4xlarge": 16, "g4dn.8xlarge": 32,
    "g5.xlarge": 4, "g5.2xlarge": 8, "g5.4xlarge": 16,
    "g6.xlarge": 4, "g6.2xlarge": 8, "g6.4xlarge": 16,
    "t3.micro": 2, "t3.small": 2, "t3.medium": 2, "t3.large": 2, "t3.xlarge": 4, "t3.2xlarge": 8,
}  # fmt: skip
NAMES = {
    "L-DB2E81BA": "Running On-Demand G and VT instances",
    "L-3819A6DF": "All G and VT Spot Instance Requests",
    "L-417A185B": "Running On-Demand P instances",
    "L-7212CCBC": "All P4, P3 and P2 Spot Instance Requests",
    "L-1216C47A": "Running On-Demand Standard instances",
    "L-34B43A08": "All Standard Spot Instance Requests",
}
GPU_CODES = {"on-demand": GPU_QUOTA, "spot": GPU_SPOT_QUOTA}
SMALLEST_GPU = "g4dn.xlarge"
P_CODES = {"on-demand": "L-417A185B", "spot": "L-7212CCBC"}
STANDARD_CODES = {"on-demand": "L-1216C47A", "spot": "L-34B43A08"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quota:
    """A quota of the account in the region of the settings. ``vcpus`` is None if it cannot be read."""

    code: str
    name: str
    vcpus: float | None

    def __str__(self) -> str:
        """``Running On-Demand G and VT instances (L-DB2E81BA): 8 vCPUs``."""
        allowed = "cannot be read" if self.vcpus is None else f"{self.vcpus:.0f} vCPUs"
        return f"{self.name} ({self.code}): {allowed}"


def gpu_quota(sessions: Sessions, market: str) -> Quota:
    """The quota for G and VT instances (g4dn, g5, g6) of a market, ``on-demand`` or ``spot``."""
    return _quota(sessions, GPU_CODES[market])


def tell_gpu_quota(sessions: Sessions, market: str) -> str:
    """The quota for machines with a GPU as a sentence, with the command that asks for more where it is too small."""
    quota, needed = gpu_quota(sessions, market), VCPUS[SMALLEST_GPU]
    if quota.vcpus is None or quota.vcpus >= needed:
        return f"{quota}."
    command = _request_command(quota.code, needed, sessions.settings.region)
    return f"{quota}; {SMALLEST_GPU} takes {needed}.\n  Ask for more:  {command}"


def quota_code(instance_type: str, market: str) -> str:
    """The code of the quota that an instance type counts against."""
    family = instance_type.partition(".")[0]
    if family.startswith(("g", "vt")):
        return GPU_CODES[market]
    return (P_CODES if family.startswith("p") else STANDARD_CODES)[market]


def check_quota(sessions: Sessions, market: str, instance_type: str) -> str:
    """A sentence on whether the account may run an instance type.

    What runs already is not subtracted: AWS does that at the launch.

    Raises:
        QuotaError: it is known that it may not.
        NotFound: there is no such instance type.
    """
    quota = _quota(sessions, quota_code(instance_type, market))
    needed = vcpus(sessions, instance_type)
    if quota.vcpus is None:
        return f"Whether the account may run {needed} vCPUs as {market} cannot be told: {quota.code} cannot be read."
    if quota.vcpus < needed:
        raise _too_small(sessions, quota, instance_type, needed, market)
    return f"The account may run {quota.vcpus:.0f} vCPUs as {market}; {instance_type} takes {needed} ({quota.code})."


def used_up(sessions: Sessions, instance_type: str, market: str, refusal: CloudError) -> QuotaError:
    """What AWS refused at the launch, though the quota is large enough for one: what runs already counts as well."""
    quota = _quota(sessions, quota_code(instance_type, market))
    needed, region = vcpus(sessions, instance_type), sessions.settings.region
    error = QuotaError(
        refusal.what,
        instead=f"{quota} as {market} in {region}, what runs already counted; {instance_type} takes {needed}.",
        remedies=[
            ("See what runs", "python deploy_aws.py list-instances"),
            ("Ask for more", _request_command(quota.code, int(quota.vcpus or 0) + needed, region)),
            ("Another region", "--region us-west-2"),
        ],
    )
    error.code = refusal.code
    return error


def vcpus(sessions: Sessions, instance_type: str) -> int:
    """Of an instance type; AWS is asked where the table does not know it. Raises NotFound, CloudError."""
    if instance_type in VCPUS:
        return VCPUS[instance_type]
    try:
        with aws_errors(f"describe {instance_type}"):
            reply = sessions.client("ec2").describe_instance_types(InstanceTypes=[instance_type])
            return int(reply["InstanceTypes"][0]["VCpuInfo"]["DefaultVCpus"])
    except (CloudError, IndexError) as error:
        if isinstance(error, CloudError) and not error.code.startswith("InvalidInstanceType"):
            raise
        raise NotFound(
            f"there is no instance type '{instance_type}' in {sessions.settings.region}.",
            instead=f"For example {', '.join(sorted(VCPUS)[:4])}.",
            remedies=[("See all", f"aws ec2 describe-instance-types --region {sessions.settings.region}")],
        ) from error


def _quota(sessions: Sessions, code: str) -> Quota:
    try:
        return Quota(code, NAMES[code], _read(sessions, code))
    except CloudError as error:  # not allowed, not served: the launch itself will tell
        log.info("%s", error.what)
        return Quota(code, NAMES[code], None)


def _read(sessions: Sessions, code: str) -> float:
    client = sessions.client("service-quotas", quick=True)
    with aws_errors(f"read the quota {code}"):
        try:
            reply = client.get_service_quota(ServiceCode="ec2", QuotaCode=code)
        except client.exceptions.NoSuchResourceException:  # nobody has ever changed it
            reply = client.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=code)
        return float(reply["Quota"]["Value"])


def _request_command(code: str, vcpus: int, region: str) -> str:
    words = "aws service-quotas request-service-quota-increase --service-code ec2"
    return f"{words} --quota-code {code} --desired-value {vcpus} --region {region}"


def _too_small(sessions: Sessions, quota: Quota, instance_type: str, needed: int, market: str) -> QuotaError:
    region = sessions.settings.region
    other = "without --spot" if market == "spot" else "--spot"
    return QuotaError(
        f"{instance_type} takes {needed} vCPUs, and the account may run {quota.vcpus:.0f} as {market} in {region}"
        f" ({quota.name}).",
        instead="AWS answers a request for more within hours or days.",
        remedies=[
            ("Ask for more", _request_command(quota.code, needed, region)),
            ("Other quota", other),
            ("Other region", "--region us-west-2"),
        ],
    )
