"""IAM policies: no wider than AWS forces us to be, and wide enough for what the code calls."""

from __future__ import annotations

import ast
import fnmatch
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from doubles.account import ACCOUNT_NUMBER
from doubles.set_up import World

from aws.account import policies
from aws.account.destroy import destroy, plan_destroy
from aws.config import TAG_PROJECT, Names
from aws.sessions import EC2_OPERATIONS
from config import AwsSettings

PROJECT = Path(__file__).resolve().parents[2]
NAMES = Names(AwsSettings(), ACCOUNT_NUMBER)
BUCKET = f"arn:aws:s3:::{NAMES.bucket}"
RIGHTS: dict[str, Callable[[Names], dict[str, Any]]] = {
    name: getattr(policies, name)
    for name in ("training_policy", "serving_policy", "reaper_policy", "scheduler_policy", "caller_policy")
}
LONGEST_MANAGED_POLICY = (
    6144  # characters without white space, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
)
# Operations whose right has another name.
RIGHT_OF = {
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
}
PREFIX = {"service-quotas": "servicequotas", "cloudwatch-logs": "logs"}
FREE = ("sts:GetCallerIdentity",)  # needs no right


def statements(policy: dict[str, Any]) -> Iterator[tuple[list[str], list[str], dict[str, Any]]]:
    """Actions, resources and condition of each statement that allows something."""
    for each in policy["Statement"]:
        if each["Effect"] == "Allow":
            actions, resources = each["Action"], each.get("Resource", [])
            yield (
                [actions] if isinstance(actions, str) else actions,
                [resources] if isinstance(resources, str) else resources,
                each.get("Condition", {}),
            )


def allows(policy: dict[str, Any], action: str, resource: str) -> bool:
    """Whether a statement allows it, whatever its conditions say."""
    return any(
        action in actions and any(fnmatch.fnmatchcase(resource, pattern) for pattern in resources)
        for actions, resources, _ in statements(policy)
    )


@pytest.mark.parametrize("name", RIGHTS)
def test_a_star_stands_only_where_aws_has_no_narrower_form(name: str) -> None:
    for actions, resources, _ in statements(RIGHTS[name](NAMES)):
        assert not [action for action in actions if "*" in action]
        if "*" in resources:
            assert resources == ["*"]
            assert [action for action in actions if action not in policies.NO_NARROWER_FORM] == []


def test_every_exception_has_its_reason_and_is_used() -> None:
    used = {
        action
        for build in RIGHTS.values()
        for actions, resources, _ in statements(build(NAMES))
        if "*" in resources
        for action in actions
    }
    assert used == set(policies.NO_NARROWER_FORM)
    assert all(len(reason) > 20 for reason in policies.NO_NARROWER_FORM.values())


@pytest.mark.parametrize("name", RIGHTS)
def test_every_resource_is_of_this_account_or_this_bucket(name: str) -> None:
    public = ("arn:aws:ec2:us-east-1::image/*", "arn:aws:ssm:us-east-1::parameter/aws/service/*")
    for _, resources, _ in statements(RIGHTS[name](NAMES)):
        for each in resources:
            assert each in ("*", *public) or f":{ACCOUNT_NUMBER}:" in each or each.startswith(BUCKET)


def test_a_machine_or_disk_is_ended_only_with_the_tag_of_the_project() -> None:
    ours = {"StringEquals": {f"aws:ResourceTag/{TAG_PROJECT}": NAMES.settings.project}}
    for build in (policies.reaper_policy, policies.caller_policy):
        for actions, _, condition in statements(build(NAMES)):
            ending = ("ec2:Terminate", "ec2:Delete", "ec2:Cancel", "ec2:Release")
            if any(action.startswith(ending) for action in actions):
                assert condition == ours


def test_training_reads_data_and_writes_what_it_makes() -> None:
    policy = policies.training_policy(NAMES)
    for key in (
        "data/training/S01E01.csv",
        "code/a.tar.gz",
        "checkpoints/llama/run/x",
        "models/trained/llama/latest.json",
    ):
        assert allows(policy, "s3:GetObject", f"{BUCKET}/{key}")
    for key in ("checkpoints/x", "logs/llama/run.log", "results/run/state.json", "models/trained/llama/latest.json"):
        assert allows(policy, "s3:PutObject", f"{BUCKET}/{key}")
        assert allows(policy, "s3:DeleteObject", f"{BUCKET}/{key}")
        assert allows(policy, "s3:AbortMultipartUpload", f"{BUCKET}/{key}")
    for key in ("data/training/S01E01.csv", "code/a.tar.gz", "journal/run.json", "other"):
        assert not allows(policy, "s3:PutObject", f"{BUCKET}/{key}")
    assert not allows(policy, "s3:GetObject", f"{BUCKET}/journal/run.json")
    parameter = f"arn:aws:ssm:us-east-1:{ACCOUNT_NUMBER}:parameter"
    assert allows(policy, "ssm:GetParameter", f"{parameter}{NAMES.hf_token}")
    assert not allows(policy, "ssm:GetParameter", f"{parameter}{NAMES.app_password}")


def test_serving_reads_versions_and_writes_no_models() -> None:
    policy = policies.serving_policy(NAMES)
    assert allows(policy, "s3:GetObject", f"{BUCKET}/models/trained/llama/latest.json")
    assert allows(policy, "s3:PutObject", f"{BUCKET}/logs/app/run.log")
    assert not allows(policy, "s3:PutObject", f"{BUCKET}/models/trained/llama/latest.json")
    assert not allows(policy, "s3:DeleteObject", f"{BUCKET}/logs/app/run.log")
    parameter = f"arn:aws:ssm:us-east-1:{ACCOUNT_NUMBER}:parameter"
    for name in (NAMES.hf_token, NAMES.app_password):
        assert allows(policy, "ssm:GetParameter", f"{parameter}{name}")


@pytest.mark.parametrize("build", [policies.training_policy, policies.serving_policy])
def test_instances_list_below_their_prefixes(build: Callable[[Names], dict[str, Any]]) -> None:
    found = [condition for actions, _, condition in statements(build(NAMES)) if actions == ["s3:ListBucket"]]
    prefixes = found[0]["StringLikeIfExists"]["s3:prefix"]
    assert any(fnmatch.fnmatchcase("models/trained/llama/latest.json", pattern) for pattern in prefixes)
    assert not any(fnmatch.fnmatchcase("journal/run.json", pattern) for pattern in prefixes)


def test_the_scheduler_calls_one_function_and_only_for_our_own_group() -> None:
    assert list(statements(policies.scheduler_policy(NAMES))) == [
        (["lambda:InvokeFunction"], [f"arn:aws:lambda:us-east-1:{ACCOUNT_NUMBER}:function:{NAMES.reaper}"], {})
    ]
    trust = policies.scheduler_trust(NAMES)["Statement"][0]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"]["StringEquals"]["aws:SourceAccount"] == ACCOUNT_NUMBER
    assert trust["Condition"]["StringEquals"]["aws:SourceArn"].endswith(":schedule-group/stranger-things")


def test_the_callers_policy_fits_into_a_managed_one() -> None:
    longest = Names(AwsSettings(project="a" * 30, region="ap-southeast-2"), ACCOUNT_NUMBER)
    assert len(json.dumps(policies.caller_policy(longest), separators=(",", ":"))) <= LONGEST_MANAGED_POLICY


def test_roles_are_passed_to_the_three_services_only() -> None:
    passing = [each for each in statements(policies.caller_policy(NAMES)) if each[0] == ["iam:PassRole"]]
    assert len(passing) == 1
    services = ["ec2.amazonaws.com", "lambda.amazonaws.com", "scheduler.amazonaws.com"]
    assert passing[0][2] == {"StringEquals": {"iam:PassedToService": services}}
    assert passing[0][1] == [f"arn:aws:iam::{ACCOUNT_NUMBER}:role/stranger-things-us-east-1-*"]


def test_other_partitions() -> None:
    names = Names(AwsSettings(region="us-gov-west-1"), ACCOUNT_NUMBER)
    assert policies.function_arn(names).startswith("arn:aws-us-gov:lambda:us-gov-west-1:")


# What the code calls


def rights_of_the_caller() -> set[str]:
    return {action for actions, _, _ in statements(policies.caller_policy(NAMES)) for action in actions}


def right(service: str, operation: str) -> str:
    found = f"{PREFIX.get(service, service)}:{operation}"
    return RIGHT_OF.get(found, found)


def test_init_and_destroy_call_only_what_the_caller_may(account: Any, tmp_path: Path) -> None:
    world = World(account, tmp_path)
    world.sessions._regions = ["us-east-1"]
    world.init()
    world.client("s3").put_object(Bucket=world.names.bucket, Key="logs/x", Body=b"x")
    destroy(
        world.sessions, world.names, plan_destroy(world.sessions, world.names, with_data=True), sleep=world.slept.append
    )
    called = {right(call.service, call.operation) for call in account.calls}
    assert len(called) > 50
    assert sorted(called - rights_of_the_caller()) == []


def test_all_that_the_code_calls_is_in_the_callers_policy() -> None:
    """Every name in aws/ that is an operation of a service we use; instances and the reaper have roles of their own."""
    session = botocore.session.get_session()
    known: dict[str, set[str]] = {}
    for service in ("ec2", "iam", "lambda", "scheduler", "ssm", "s3", "logs", "pricing", "service-quotas", "sts"):
        for operation in session.get_service_model(service).operation_names:
            known.setdefault(xform_name(operation), set()).add(right(service, operation))
    files = [file for file in sorted((PROJECT / "aws").rglob("*.py")) if not is_elsewhere(file)]
    rights = rights_of_the_caller() | set(FREE)
    lacking = {
        f"{file.name}: {name}"
        for file in files
        for name in operations(file)
        if name in known and not known[name] & rights
    }
    assert lacking == set()


def test_the_clients_know_every_operation_of_ec2_that_the_code_calls() -> None:
    names = botocore.session.get_session().get_service_model("ec2").operation_names
    known = {xform_name(operation): operation for operation in names}
    files = [file for file in sorted((PROJECT / "aws").rglob("*.py")) if not is_elsewhere(file)]
    called = {known[name] for file in files for name in operations(file) if name in known}
    assert called == set(EC2_OPERATIONS)


def is_elsewhere(file: Path) -> bool:
    return file.name == "reaper.py" or file.parent.name == "instance"


def operations(file: Path) -> Iterator[str]:
    """Names that are called on a client, passed on, or given to a paginator."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
