"""The EC2 calls: launch, find, describe and end instances. It knows nothing of jobs.

manager = EC2Manager(sessions)
for candidate in manager.candidates(request):              # markets → types → zones
    instance = manager.run(request, candidate, launch_token(run, attempt, candidate))
manager.wait_running(instance.id)
manager.terminate([instance.id])                           # until AWS says that it is gone
find_everywhere(sessions, run=run)                         # all enabled regions, by tag
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from aws.config import TAG_BY, TAG_PROJECT, TAG_PURPOSE, TAG_RUN
from aws.errors import (
    CapacityError,
    CloudError,
    InvalidRequest,
    NotFound,
    PlaceError,
    ReplyLost,
    ThrottleError,
)
from aws.faults import TOKEN_MISMATCH, aws_errors
from aws.machines.instances import (
    LIVE_STATES,
    ON_DEMAND,
    PENDING,
    RUNNING,
    SHUTTING_DOWN,
    SPOT,
    TERMINATED,
    Candidate,
    Instance,
    LaunchRequest,
    from_description,
    launch_parameters,
    launch_token,
)
from aws.machines.quotas import quota_code
from aws.machines.termination import Termination, Terminator
from aws.sessions import Sessions

__all__ = [
    "LIVE_STATES",
    "ON_DEMAND",
    "PENDING",
    "RUNNING",
    "SHUTTING_DOWN",
    "SPOT",
    "TERMINATED",
    "Candidate",
    "EC2Manager",
    "Instance",
    "LaunchRequest",
    "Termination",
    "find_everywhere",
    "launch_token",
]

VISIBLE_SECONDS = 60.0  # for so long AWS may not know an instance that it has just launched
REPLY_PAUSES = (1.0, 3.0, 8.0)  # before the same call again, with the same token
THROTTLE_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
PROFILE_PAUSES = (2.0, 3.0, 5.0, 10.0, 10.0)  # a new instance profile is known to EC2 some seconds later
LOOK_PAUSES = (0.0, 2.0, 5.0)  # for what a lost reply may have launched
FIRST_POLL_SECONDS, POLL_SECONDS = 0.5, 3.0
TAG_OF_FILTER = {"run": TAG_RUN, "purpose": TAG_PURPOSE, "by": TAG_BY, "name": "Name"}
ENDED_BY_CAPACITY = "Server.InsufficientInstanceCapacity"

log = logging.getLogger(__name__)


class EC2Manager:
    """The instances of the project in one region (that of the settings if none is given)."""

    def __init__(
        self,
        sessions: Sessions,
        region: str = "",
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.region = region or sessions.settings.region
        self._sessions = sessions
        self._clock = clock
        self._sleep = sleep

    def check_permission(self, request: LaunchRequest) -> None:
        """Ask AWS whether the launch would be allowed, without launching (DryRun).

        Raises:
            PermissionDenied: names the right that lacks.
            CloudError: the request would be refused for another reason.
        """
        candidate = self.candidates(request)[0]
        parameters = launch_parameters(request, candidate, launch_token(request.run, 0, candidate))
        try:
            with aws_errors(f"launch {candidate.type} in {self.region}"):
                self._launcher.run_instances(**parameters, DryRun=True)
        except (CapacityError, ReplyLost, ThrottleError) as error:  # nothing about permission: the launch will tell
            log.debug("the dry run says nothing: %s", error.what)
        except CloudError as error:
            if error.code != "DryRunOperation":  # the request would have worked
                raise

    def candidates(self, request: LaunchRequest) -> list[Candidate]:
        """Markets, in each the types, in each the zones that offer the type and have a subnet of the VPC.

        Raises:
            NotFound: no VPC or no subnet.
            CapacityError: no zone of the region offers any of the types.
        """
        subnets = self._subnets(request.vpc)
        offered = self._offers(request.instance_types)
        found = [
            Candidate(market, kind, zone, subnet)
            for market in request.markets
            for kind in request.instance_types
            for zone, subnet in sorted(subnets.items())
            if (kind, zone) in offered
        ]
        if not found:
            raise CapacityError(
                f"{self.region} does not offer {' or '.join(request.instance_types)}.",
                instead=f"Zones with a subnet: {', '.join(sorted(subnets))}.",
                remedies=[("See who does", _offerings_command(request.instance_types[0])), ("Go there", "--region R")],
            )
        return found

    def run(self, request: LaunchRequest, candidate: Candidate, token: str) -> Instance:
        """Launch one instance: never two, however often this is called with the same token.

        Nothing is repeated but what is known to be safe: a lost reply with the same token, a call too many after a
        pause, a new instance profile that EC2 does not know yet. If no reply comes at all, the instance is looked for
        by its run and token.

        Raises:
            CapacityError, QuotaError: this candidate cannot be had; another may.
            ReplyLost: neither a reply nor an instance: the same call with the same token is safe at any time.
            InvalidRequest: with ``code`` :data:`aws.faults.TOKEN_USED_UP`, what the token launched has ended.
            CloudError: refused.
        """
        parameters = launch_parameters(request, candidate, token)
        pauses = {kind: iter(each) for kind, each in _pauses().items()}
        in_doubt = False
        while True:
            try:
                return self._launch(parameters, candidate)
            except CloudError as error:
                in_doubt = in_doubt or isinstance(error, ReplyLost) or error.code == TOKEN_MISMATCH
                pause = next(pauses.get(_repeatable(error), iter(())), None)
                if pause is None:
                    found = self._launched(request.run, token) if in_doubt else None
                    if found is None:
                        raise
                    return found
                log.info("%s Again in %.0f s.", error.what, pause)
                self._sleep(pause)

    def describe(self, instance_id: str, *, patient: bool = False) -> Instance:
        """One instance. ``patient``: it was launched just now, and AWS may not know it yet.

        Raises:
            NotFound: there is no such instance in the region, or it ended an hour ago.
        """
        until = self._clock() + (VISIBLE_SECONDS if patient else 0.0)
        pauses = _polls()
        while True:
            found = self.listed([instance_id]).get(instance_id)
            if found:
                return found
            if self._clock() >= until:
                raise NotFound(
                    f"there is no instance {instance_id} in {self.region}.",
                    remedies=[("See what there is", "python deploy_aws.py list-instances")],
                )
            self._sleep(next(pauses))

    def wait_running(self, instance_id: str, timeout_seconds: float = 600.0) -> Instance:
        """Wait until a new instance runs and has an address.

        Raises:
            CapacityError: AWS ended it at once because its zone is full.
            PlaceError: it ended, with AWS's reason, or did not start in time.
        """
        until = self._clock() + timeout_seconds
        pauses = _polls()
        while True:
            instance = self.describe(instance_id, patient=True)
            if instance.state == RUNNING and instance.address:
                return instance
            if instance.state not in (PENDING, RUNNING):
                raise _ended(instance)
            if self._clock() >= until:
                raise PlaceError(
                    f"{instance_id} is still {instance.state} after {timeout_seconds:.0f} s, without an address.",
                    remedies=[("End it", f"python deploy_aws.py terminate {instance_id}")],
                )
            self._sleep(next(pauses))

    def console(self, instance_id: str) -> str:
        """What the instance has written to its console so far; may lag by minutes, empty if nothing came yet."""
        with aws_errors(f"read the console of {instance_id}"):
            try:
                reply = self._client.get_console_output(InstanceId=instance_id, Latest=True)
            except self._client.exceptions.ClientError as error:
                # Older types have no serial console: they are asked for what AWS keeps.
                if not error.response["Error"]["Code"].startswith(("Unsupported", "InvalidParameter")):
                    raise
                reply = self._client.get_console_output(InstanceId=instance_id)
        return str(reply.get("Output") or "")

    def find(self, **filters: str) -> list[Instance]:
        """The project's instances by tag (``run=``, ``purpose=``, ``by=``, ``name=``), oldest first.

        Those that ended within the last hour are among them: look at ``is_live``.
        """
        wanted = {TAG_PROJECT: self._sessions.settings.project}
        wanted |= {TAG_OF_FILTER[name]: value for name, value in filters.items() if value}
        asked = [{"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()]
        return sorted(self._describe(asked), key=lambda each: (each.launched_at, each.id))

    def listed(self, instance_ids: Iterable[str]) -> dict[str, Instance]:
        """Those of the instances that AWS knows; unlike a call by id, a wrong id does not spoil the others."""
        ids = list(instance_ids)
        found = self._describe([{"Name": "instance-id", "Values": ids}]) if ids else iter(())
        return {each.id: each for each in found}

    def terminate(
        self, ids: Sequence[str], timeout_seconds: float = 300.0, *, force: bool = False, patient: bool = False
    ) -> list[Termination]:
        """End instances and wait for the proof: instance terminated, volumes gone, spot request cancelled.

        One that cannot be ended does not spare the others. Instances without the project's tag are refused unless
        ``force``. ``patient``: launched just now, AWS may not know them yet. Returns one entry per id, in order.

        Raises:
            CloudError: the instances cannot be looked at.
        """
        terminator = Terminator(
            self._client, self.listed, self._sessions.settings.project, clock=self._clock, sleep=self._sleep
        )
        return terminator.terminate(
            ids, timeout_seconds, force=force, visible_seconds=VISIBLE_SECONDS if patient else 0.0
        )

    @property
    def _launcher(self) -> Any:
        """No capacity is a 500 to botocore, which would repeat the call for each zone: this client sends it once."""
        return self._sessions.client("ec2", self.region, single_try=True)

    @property
    def _client(self) -> Any:
        return self._sessions.client("ec2", self.region)

    def _describe(self, filters: list[dict[str, Any]]) -> Iterator[Instance]:
        with aws_errors(f"list instances in {self.region}"):
            for page in self._client.get_paginator("describe_instances").paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    for each in reservation["Instances"]:
                        yield from_description(self.region, each)

    def _launch(self, parameters: dict[str, Any], candidate: Candidate) -> Instance:
        quota = quota_code(candidate.type, candidate.market)
        with aws_errors(f"launch {candidate.type} ({candidate.market}) in {candidate.zone}", quota=quota):
            reply = self._launcher.run_instances(**parameters)
        return from_description(self.region, reply["Instances"][0])

    def _launched(self, run: str, token: str) -> Instance | None:
        """What a call with this token did launch, though nobody heard of it."""
        for pause in LOOK_PAUSES:
            self._sleep(pause)
            try:
                found = [
                    each for each in self.find(run=run) if each.token == token and each.state in (PENDING, RUNNING)
                ]
            except CloudError as error:
                log.warning("%s", error.what)
                continue
            if found:
                return found[-1]
        return None

    def _subnets(self, vpc: str) -> dict[str, str]:
        """Zone to the subnet that suits best: public by itself, with the most free addresses."""
        with aws_errors(f"list the subnets in {self.region}"):
            vpc = vpc or self._default_vpc()
            pages = self._client.get_paginator("describe_subnets").paginate(
                Filters=[{"Name": "vpc-id", "Values": [vpc]}]
            )
            subnets = [each for page in pages for each in page["Subnets"]]
        if not subnets:
            raise NotFound(
                f"the VPC {vpc} has no subnet in {self.region}.",
                remedies=[("See your VPCs", f"aws ec2 describe-vpcs --region {self.region}"), ("Set one", "aws.vpc")],
            )
        subnets.sort(key=lambda each: (each["MapPublicIpOnLaunch"], each["AvailableIpAddressCount"]))
        return {each["AvailabilityZone"]: each["SubnetId"] for each in subnets}

    def _default_vpc(self) -> str:
        reply = self._client.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])
        if not reply["Vpcs"]:
            raise NotFound(
                f"{self.region} has no default VPC.",
                remedies=[
                    ("Make it", f"aws ec2 create-default-vpc --region {self.region}"),
                    ("Or name one", "STRANGER_AWS__VPC=vpc-…"),
                ],
            )
        return str(reply["Vpcs"][0]["VpcId"])

    def _offers(self, instance_types: Sequence[str]) -> set[tuple[str, str]]:
        asked = [{"Name": "instance-type", "Values": list(instance_types)}]
        with aws_errors(f"list the instance types of {self.region}"):
            paginator = self._client.get_paginator("describe_instance_type_offerings")
            pages = paginator.paginate(LocationType="availability-zone", Filters=asked)
            return {
                (each["InstanceType"], each["Location"]) for page in pages for each in page["InstanceTypeOfferings"]
            }


def find_everywhere(sessions: Sessions, **filters: str) -> tuple[list[Instance], dict[str, CloudError]]:
    """The project's instances in all enabled regions (see :meth:`EC2Manager.find`), and the regions that failed."""
    return sessions.in_all_regions(lambda region: EC2Manager(sessions, region).find(**filters))


def _pauses() -> dict[str, tuple[float, ...]]:
    return {"reply": REPLY_PAUSES, "throttle": THROTTLE_PAUSES, "profile": PROFILE_PAUSES}


def _repeatable(error: CloudError) -> str:
    """Which pauses are for an error; empty: the same call will not do better."""
    if isinstance(error, ReplyLost):
        return "reply"
    if isinstance(error, ThrottleError):
        return "throttle"
    if isinstance(error, InvalidRequest) and "iaminstanceprofile" in error.what.lower().replace(" ", ""):
        return "profile"
    return ""


def _polls() -> Iterator[float]:
    """Pauses between looks: short ones first."""
    pause = FIRST_POLL_SECONDS
    while True:
        yield pause
        pause = min(POLL_SECONDS, pause * 1.5)


def _ended(instance: Instance) -> CloudError | PlaceError:
    what = f"{instance.id} ended before it ran: {instance.reason or instance.state}."
    if instance.reason.startswith(ENDED_BY_CAPACITY):
        return CapacityError(what, remedies=[("Try again", "the same command takes the next zone")])
    return PlaceError(
        what,
        remedies=[("See it", f"aws ec2 describe-instances --instance-ids {instance.id} --region {instance.region}")],
    )


def _offerings_command(instance_type: str) -> str:
    return f"aws ec2 describe-instance-type-offerings --filters Name=instance-type,Values={instance_type} --region R"
