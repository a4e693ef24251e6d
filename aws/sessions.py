"""The clients that talk to AWS: one session for the whole process, made at the first use.

    sessions = Sessions(settings.aws)
    sessions.client("ec2").describe_vpcs()
    found, errors = sessions.in_all_regions(lambda region: sessions.client("ec2", region).describe_…)

Credentials come from boto3's chain (environment, ``~/.aws``, sign-in, instance role) or from ``aws.profile``.
``AWS_ENDPOINT_URL`` is honoured by boto3 itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from aws.errors import CloudError
from aws.faults import aws_errors
from config import AwsSettings

if TYPE_CHECKING:
    from botocore.config import Config

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 10.0, 30.0
QUICK_TIMEOUT_SECONDS = 4.0  # for what is nice to know and has something to fall back to
ATTEMPTS, QUICK_ATTEMPTS = 4, 2
REGIONS_AT_ONCE = 20
# All that aws/ calls; a test compares.
EC2_OPERATIONS = (
    "AllocateAddress", "AssociateAddress", "AuthorizeSecurityGroupIngress", "CancelSpotInstanceRequests",
    "CreateSecurityGroup", "DeleteKeyPair", "DeleteSecurityGroup", "DeleteVolume", "DescribeAddresses",
    "DescribeImages", "DescribeInstanceTypeOfferings", "DescribeInstanceTypes", "DescribeInstances",
    "DescribeKeyPairs", "DescribeRegions", "DescribeSecurityGroups", "DescribeSpotInstanceRequests",
    "DescribeSpotPriceHistory", "DescribeSubnets", "DescribeTags", "DescribeVolumes", "DescribeVpcs",
    "GetConsoleOutput", "ImportKeyPair", "ReleaseAddress", "RevokeSecurityGroupIngress", "RunInstances",
    "TerminateInstances",
)  # fmt: skip


class Sessions:
    """Clients by service and region, each made once; safe to share between threads."""

    def __init__(self, settings: AwsSettings) -> None:
        self.settings = settings
        self._clients: dict[tuple[str, str, bool, bool], Any] = {}
        self._session: Any = None
        self._identity: dict[str, str] = {}
        self._regions: list[str] = []
        self._lock = threading.RLock()

    def client(self, service: str, region: str = "", *, single_try: bool = False, quick: bool = False) -> Any:
        """A boto3 client; ``region`` defaults to that of the settings.

        Args:
            single_try: exactly one request per call: nothing is repeated behind the caller's back.
            quick: short timeouts and few repeats.

        Raises:
            CredentialsError: there is no such profile. Calls of the client raise botocore's own errors: put them into
                :func:`aws.faults.aws_errors`.
        """
        key = (service, region or self.settings.region, single_try, quick)
        client = self._clients.get(key)
        if client is None:
            # Making a client is work for the processor, not the network: threads would only be in each other's way.
            with self._lock, aws_errors(f"open {service}"):
                client = self._clients.get(key) or self._make(*key)
                self._clients[key] = client
        return client

    def account(self) -> str:
        """The number of the account. Raises CredentialsError, CloudError."""
        return self._caller()["Account"]

    def caller(self) -> str:
        """The ARN of who calls. Raises CredentialsError, CloudError."""
        return self._caller()["Arn"]

    def regions(self) -> list[str]:
        """The enabled regions, that of the settings first. Raises CloudError."""
        with self._lock:
            if not self._regions:
                with aws_errors("list the regions of the account"):
                    reply = self.client("ec2").describe_regions(AllRegions=False)
                enabled = [each["RegionName"] for each in reply["Regions"] if each.get("OptInStatus") != "not-opted-in"]
                self._regions = sorted(enabled, key=lambda name: (name != self.settings.region, name))
            return list(self._regions)

    def in_all_regions(self, call: Callable[[str], list[T]]) -> tuple[list[T], dict[str, CloudError]]:
        """What ``call`` finds in each enabled region, in the order of :meth:`regions`, and what failed where.

        Raises:
            CloudError: the regions cannot be listed.
        """
        regions = self.regions()
        with ThreadPoolExecutor(min(REGIONS_AT_ONCE, len(regions))) as pool:
            answers = list(pool.map(lambda region: _attempt(call, region), regions))
        found = [item for answer in answers if isinstance(answer, list) for item in answer]
        errors = {
            region: answer for region, answer in zip(regions, answers, strict=True) if isinstance(answer, CloudError)
        }
        return found, errors

    def _caller(self) -> dict[str, str]:
        with self._lock:
            if not self._identity:
                with aws_errors("tell who you are"):
                    self._identity = self.client("sts").get_caller_identity()
            return self._identity

    def _make(self, service: str, region: str, single_try: bool, quick: bool) -> Any:
        if self._session is None:
            import boto3
            import botocore.session

            plain = botocore.session.Session()
            plain.register_component("data_loader", _Loader(plain.get_component("data_loader")))
            self._session = boto3.session.Session(profile_name=self.settings.profile or None, botocore_session=plain)
        return self._session.client(service, region_name=region, config=_client_config(single_try, quick))


class _Loader:
    """botocore's loader of service descriptions, which tells of EC2 only what is used here.

    A client makes a method for each of EC2's 830 operations, and there is a client for each region: with all of them
    five times the work.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_service_model(self, service: str, kind: str, api_version: str | None = None) -> Any:
        model = self._loader.load_service_model(service, kind, api_version)
        if (service, kind) != ("ec2", "service-2"):
            return model
        return {**model, "operations": {name: model["operations"][name] for name in EC2_OPERATIONS}}


def _client_config(single_try: bool, quick: bool) -> Config:
    from botocore.config import Config

    # `max_attempts: 1` would still send twice: it counts the repeats.
    attempts = 1 if single_try else QUICK_ATTEMPTS if quick else ATTEMPTS
    return Config(
        connect_timeout=QUICK_TIMEOUT_SECONDS if quick else CONNECT_TIMEOUT_SECONDS,
        read_timeout=QUICK_TIMEOUT_SECONDS if quick else READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )


def _attempt(call: Callable[[str], list[T]], region: str) -> list[T] | CloudError:
    try:
        return call(region)
    except CloudError as error:
        return error
