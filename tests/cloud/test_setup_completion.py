"""Half a set-up is completed: whatever one thing is taken away or spoilt, ``init`` makes that, and only that, again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from doubles.account import Account
from doubles.set_up import World

from aws.account.policies import service_trust
from aws.account.reaper_function import build_zip
from aws.account.setup import find_security_group
from aws.config import SERVING, TRAINING


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all: each test leaves the set as complete as it found it."""
    with Account() as account:
        made = World(account, tmp_path_factory.mktemp("keys"))
        made.init()
        yield made


def drop_role(world: World) -> None:
    iam, role = world.client("iam"), world.names.instance_role(TRAINING)
    iam.remove_role_from_instance_profile(InstanceProfileName=role, RoleName=role)
    iam.delete_role_policy(RoleName=role, PolicyName="stranger")
    iam.delete_role(RoleName=role)


def drop_profile(world: World) -> None:
    name = world.names.instance_role(SERVING)
    world.client("iam").remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    world.client("iam").delete_instance_profile(InstanceProfileName=name)


def put_foreign_role_into_profile(world: World) -> None:
    iam, name = world.client("iam"), world.names.instance_role(TRAINING)
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=world.names.reaper)


def drop_rule(world: World) -> None:
    group = find_security_group(world.sessions, world.names, SERVING)
    ec2 = world.client("ec2")
    rules = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    page = [rule for rule in rules if rule["FromPort"] == world.names.settings.serving.port]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=page)


def drop_security_group(world: World) -> None:
    group = find_security_group(world.sessions, world.names, TRAINING)
    world.client("ec2").delete_security_group(GroupId=group)


def weaken_rights(world: World) -> None:
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    role = world.names.instance_role(TRAINING)
    world.client("iam").put_role_policy(RoleName=role, PolicyName="stranger", PolicyDocument=document)


def drop_bucket_setting(call: str) -> Callable[[World], Any]:
    return lambda world: getattr(world.client("s3"), call)(Bucket=world.names.bucket)


def stop_versions(world: World) -> None:
    world.client("s3").put_bucket_versioning(Bucket=world.names.bucket, VersioningConfiguration={"Status": "Suspended"})


def change_code(world: World) -> None:
    other = build_zip().replace(b"whatever", b"wherever")
    world.client("lambda").update_function_code(FunctionName=world.names.reaper, ZipFile=other)


FAULTS: dict[str, tuple[Callable[[World], Any], str, str]] = {
    "bucket": (drop_bucket_setting("delete_bucket"), "made", "bucket"),
    "public access": (drop_bucket_setting("delete_public_access_block"), "completed", "bucket"),
    "encryption": (drop_bucket_setting("delete_bucket_encryption"), "completed", "bucket"),
    "versions": (stop_versions, "completed", "bucket"),
    "lifecycle": (drop_bucket_setting("delete_bucket_lifecycle"), "completed", "bucket"),
    "TLS": (drop_bucket_setting("delete_bucket_policy"), "completed", "bucket"),
    "bucket tags": (drop_bucket_setting("delete_bucket_tagging"), "completed", "bucket"),
    "role": (drop_role, "made", "role"),
    "inline policy": (
        lambda world: world.client("iam").delete_role_policy(RoleName=world.names.reaper, PolicyName="stranger"),
        "completed",
        "role",
    ),
    "weakened policy": (weaken_rights, "completed", "role"),
    "trust": (
        lambda world: world.client("iam").update_assume_role_policy(
            RoleName=world.names.scheduler_role,
            PolicyDocument=json.dumps(service_trust(world.names, "events")),
        ),
        "completed",
        "role",
    ),
    "instance profile": (drop_profile, "made", "instance profile"),
    "profile without role": (
        lambda world: world.client("iam").remove_role_from_instance_profile(
            InstanceProfileName=world.names.instance_role(TRAINING), RoleName=world.names.instance_role(TRAINING)
        ),
        "completed",
        "instance profile",
    ),
    "profile with another role": (put_foreign_role_into_profile, "completed", "instance profile"),
    "group rule": (drop_rule, "completed", "security group"),
    "security group": (drop_security_group, "made", "security group"),
    "key pair": (
        lambda world: world.client("ec2").delete_key_pair(KeyName=world.names.key_pair),
        "made",
        "key pair",
    ),
    "key file open to others": (lambda world: world.names.settings.key_file.chmod(0o644), "completed", "key pair"),
    "schedule group": (
        lambda world: world.client("scheduler").delete_schedule_group(Name=world.names.schedule_group),
        "made",
        "schedule group",
    ),
    "function": (
        lambda world: world.client("lambda").delete_function(FunctionName=world.names.reaper),
        "made",
        "function",
    ),
    "function's code": (change_code, "completed", "function"),
    "function's settings": (
        lambda world: world.client("lambda").update_function_configuration(FunctionName=world.names.reaper, Timeout=3),
        "completed",
        "function",
    ),
    "log group": (
        lambda world: world.client("logs").delete_log_group(logGroupName=f"/aws/lambda/{world.names.reaper}"),
        "made",
        "log group",
    ),
    "log kept for ever": (
        lambda world: world.client("logs").delete_retention_policy(logGroupName=f"/aws/lambda/{world.names.reaper}"),
        "completed",
        "log group",
    ),
    "token": (lambda world: world.client("ssm").delete_parameter(Name=world.names.hf_token), "made", "token"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_half_a_set_is_completed(world: World, fault: str) -> None:
    harm, action, what = FAULTS[fault]
    harm(world)
    steps = world.init()
    assert [step.what for step in steps if step.action == action] == [what]
    others = {step.action for step in steps if step.action != action}
    assert others <= ({"there", "completed"} if fault == "role" else {"there"})  # a new role goes back into its profile
    assert world.changes(world.init) == []
