"""Removes what the project has in the account, in an order that works, and tells what is left. ``destroy`` does this.

    plan = plan_destroy(sessions, names, with_data=False)
    removals = destroy(sessions, names, plan)

What cannot be removed does not spare the rest. Data, models and the private key on this machine stay unless they are
asked for; the key even then.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws.account.belongings import (
    ADDRESS,
    BUCKET,
    FUNCTION,
    GROUP,
    INSTANCE,
    KEY_PAIR,
    LOG,
    PARAMETER,
    PREFIXES,
    PROFILE,
    ROLE,
    SCHEDULE,
    SECURITY_GROUP,
    SPOT_REQUEST,
    VOLUME,
    Resource,
    find_belongings,
    stored,
)
from aws.account.steps import Site, ask, insist
from aws.config import Names
from aws.errors import CloudError
from aws.faults import aws_errors

if TYPE_CHECKING:
    from aws.sessions import Sessions

__all__ = ["Removal", "Resource", "destroy", "plan_destroy"]

IN_USE_SECONDS = 180.0  # until the network of an ended instance has let go of its security group
IN_USE = ("DependencyViolation", "InvalidGroup.InUse", "InvalidIPAddress.InUse", "VolumeInUse", "DeleteConflict")
DELETED_AT_ONCE = 1000  # objects in one DeleteObjects
MOST_PASSES = 1000
# In this order: each kind builds on those behind it.
ORDER = (
    INSTANCE, SPOT_REQUEST, VOLUME, ADDRESS, SCHEDULE, GROUP, FUNCTION, LOG, PROFILE, ROLE, SECURITY_GROUP, KEY_PAIR,
    PARAMETER, BUCKET,
)  # fmt: skip


@dataclass(frozen=True)
class Removal:
    """How the removal of one thing went. ``problem``: why it is still there; empty if it is gone."""

    resource: Resource
    gone: bool
    problem: str = ""


def plan_destroy(sessions: Sessions, names: Names, *, with_data: bool = False) -> list[Resource]:
    """What there is, in the order of its removal; what stays says so. Raises CloudError."""
    return find_belongings(sessions, names, with_data=with_data)


def destroy(
    sessions: Sessions,
    names: Names,
    plan: Sequence[Resource],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    say: Callable[[Removal], None] = lambda removal: None,
) -> list[Removal]:
    """Remove what the plan names, except for what stays.

    Args:
        plan: of :func:`plan_destroy`, as it was confirmed.
        clock, sleep: in seconds.
        say: hears of each removal.

    Returns:
        One entry for each thing of the plan that was to go. What AWS refuses stands in ``problem``, it is not raised.
    """
    remover = _Remover(sessions, names, clock, sleep)
    removals = []
    for kind in ORDER:
        for removal in remover.remove(kind, [each for each in plan if each.kind == kind and not each.stays]):
            say(removal)
            removals.append(removal)
    return removals


class _Remover:
    """One method for each kind of thing; each is silent where the thing is gone already."""

    def __init__(
        self, sessions: Sessions, names: Names, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._sessions, self._names, self._clock, self._sleep = sessions, names, clock, sleep
        self._site = Site(sessions, names, sleep=sleep)
        self._ways: dict[str, Callable[[Resource], None]] = {
            SPOT_REQUEST: self._spot_request,
            VOLUME: self._volume,
            ADDRESS: self._address,
            SCHEDULE: self._schedule,
            GROUP: self._schedule_group,
            FUNCTION: self._function,
            LOG: self._log,
            PROFILE: self._profile,
            ROLE: self._role,
            SECURITY_GROUP: self._security_group,
            KEY_PAIR: self._key_pair,
            PARAMETER: self._parameter,
            BUCKET: self._bucket,
        }

    def remove(self, kind: str, resources: Sequence[Resource]) -> Iterator[Removal]:
        if kind == INSTANCE:
            yield from self._instances(resources)
            return
        for each in resources:
            try:
                self._ways[kind](each)
                yield Removal(each, True)
            except CloudError as error:
                yield Removal(each, False, error.what)

    def _instances(self, resources: Sequence[Resource]) -> Iterator[Removal]:
        from aws.ec2_manager import EC2Manager

        for region, group in itertools.groupby(
            sorted(resources, key=lambda each: each.region), lambda each: each.region
        ):
            by_id = {each.name: each for each in group}
            manager = EC2Manager(self._sessions, region, clock=self._clock, sleep=self._sleep)
            try:
                for ended in manager.terminate(list(by_id)):
                    yield Removal(by_id[ended.instance_id], ended.proof, ended.problem)
            except CloudError as error:
                yield from (Removal(each, False, error.what) for each in by_id.values())

    def _spot_request(self, each: Resource) -> None:
        call = self._ec2(each).cancel_spot_instance_requests
        ask(f"cancel {each.name}", call, "InvalidSpotInstanceRequestID.NotFound", SpotInstanceRequestIds=[each.name])

    def _volume(self, each: Resource) -> None:
        call = self._ec2(each).delete_volume
        self._patiently(each, lambda: call(VolumeId=each.name), "InvalidVolume.NotFound")

    def _address(self, each: Resource) -> None:
        call = self._ec2(each).release_address
        self._patiently(each, lambda: call(AllocationId=each.name), "InvalidAllocationID.NotFound")

    def _schedule(self, each: Resource) -> None:
        from aws.account.schedules import remove_kill

        remove_kill(self._sessions, self._names, each.name)

    def _schedule_group(self, each: Resource) -> None:
        call = self._site.client("scheduler").delete_schedule_group
        ask(f"delete the schedule group {each.name}", call, "ResourceNotFoundException", Name=each.name)

    def _function(self, each: Resource) -> None:
        call = self._site.client("lambda").delete_function
        ask(f"delete the function {each.name}", call, "ResourceNotFoundException", FunctionName=each.name)

    def _log(self, each: Resource) -> None:
        call = self._site.client("logs").delete_log_group
        ask(f"delete the log {each.name}", call, "ResourceNotFoundException", logGroupName=each.name)

    def _profile(self, each: Resource) -> None:
        iam, which, absent = self._site.client("iam"), {"InstanceProfileName": each.name}, "NoSuchEntity"
        found = ask(f"look at {each.name}", iam.get_instance_profile, absent, **which)
        for role in found["InstanceProfile"]["Roles"] if found else []:
            ask(f"empty {each.name}", iam.remove_role_from_instance_profile, absent, **which, RoleName=role["RoleName"])
        ask(f"delete the instance profile {each.name}", iam.delete_instance_profile, absent, **which)

    def _role(self, each: Resource) -> None:
        """A role can go once nothing hangs on it, whoever hung it there."""
        iam, which, absent = self._site.client("iam"), {"RoleName": each.name}, "NoSuchEntity"
        doing = f"delete the role {each.name}"
        attached = ask(doing, iam.list_attached_role_policies, absent, **which)
        for policy in attached["AttachedPolicies"] if attached else []:
            ask(doing, iam.detach_role_policy, absent, **which, PolicyArn=policy["PolicyArn"])
        inline = ask(doing, iam.list_role_policies, absent, **which)
        for name in inline["PolicyNames"] if inline else []:
            ask(doing, iam.delete_role_policy, absent, **which, PolicyName=name)
        profiles = ask(doing, iam.list_instance_profiles_for_role, absent, **which)
        for profile in profiles["InstanceProfiles"] if profiles else []:
            name = profile["InstanceProfileName"]
            ask(doing, iam.remove_role_from_instance_profile, absent, **which, InstanceProfileName=name)
        ask(doing, iam.delete_role, absent, **which)

    def _security_group(self, each: Resource) -> None:
        call = self._ec2(each).delete_security_group
        self._patiently(each, lambda: call(GroupId=each.name), "InvalidGroup.NotFound")

    def _key_pair(self, each: Resource) -> None:
        ask(f"delete the key pair {each.name}", self._ec2(each).delete_key_pair, KeyName=each.name)

    def _parameter(self, each: Resource) -> None:
        from aws.account.parameters import delete_parameter

        delete_parameter(self._sessions, each.name)

    def _bucket(self, each: Resource) -> None:
        try:
            self._empty_and_delete(each)
        except CloudError as error:
            if error.code != "NoSuchBucket":
                raise

    def _empty_and_delete(self, each: Resource) -> None:
        """All versions of all that is ours; the bucket itself only if nothing else is in it."""
        s3, which = self._site.client("s3"), {"Bucket": each.name, "ExpectedBucketOwner": self._names.account}
        for _ in range(MOST_PASSES):  # a list whose place is deleted meanwhile may end early
            if not _delete_ours(s3, which):
                break
        for upload in _uploads(s3, which):
            ask(f"abort the upload of {upload['Key']}", s3.abort_multipart_upload, "NoSuchUpload", **which, **upload)
        others = sum(1 for _ in stored(s3, which))
        if others:
            raise CloudError(f"the bucket {each.name} stays: {others} objects in it are not of this project.")
        ask(f"delete the bucket {each.name}", s3.delete_bucket, **which)

    def _ec2(self, each: Resource) -> Any:
        return self._sessions.client("ec2", each.region)

    def _patiently(self, each: Resource, call: Callable[[], Any], *absent: str) -> None:
        """What an ended instance still holds on to is let go within a minute or two."""
        try:
            insist(
                self._site,
                f"delete the {each.kind} {each.name}",
                call,
                on=lambda error: error.code in IN_USE,
                seconds=IN_USE_SECONDS,
            )
        except CloudError as error:
            if error.code not in absent:
                raise


def _batches(items: Iterable[dict[str, str]], size: int) -> Iterator[list[dict[str, str]]]:
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def _delete_ours(s3: Any, which: dict[str, str]) -> bool:
    """Delete what the bucket's list shows of ours; whether there was anything. Raises CloudError: one is refused."""
    found = False
    ours = (version for version in stored(s3, which) if version["Key"].startswith(PREFIXES))
    for batch in _batches(({"Key": one["Key"], "VersionId": one["VersionId"]} for one in ours), DELETED_AT_ONCE):
        _delete_objects(s3, which, batch)
        found = True
    return found


def _delete_objects(s3: Any, which: dict[str, str], batch: list[dict[str, str]]) -> None:
    doing = f"empty the bucket {which['Bucket']}"
    answer = ask(doing, s3.delete_objects, **which, Delete={"Objects": batch, "Quiet": True})
    for error in answer.get("Errors", []):
        refusal = CloudError(f"AWS cannot {doing}: {error['Key']}: {error['Code']}, {error.get('Message', '')}.")
        refusal.code = error["Code"]
        raise refusal


def _uploads(s3: Any, which: dict[str, str]) -> Iterator[dict[str, str]]:
    with aws_errors(f"list the uploads of {which['Bucket']}"):
        pages = list(s3.get_paginator("list_multipart_uploads").paginate(**which))
    for page in pages:
        for upload in page.get("Uploads", []):
            if upload["Key"].startswith(PREFIXES):
                yield {"Key": upload["Key"], "UploadId": upload["UploadId"]}
