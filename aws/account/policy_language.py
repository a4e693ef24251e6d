"""The words that IAM policies are made of: statements and the ARNs of what this project has.

policy([allow("s3:GetObject", f"{bucket_arn(names)}/models/*")])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws.config import TAG_PROJECT, Names

Policy = dict[str, Any]
Statement = dict[str, Any]

VERSION = "2012-10-17"  # of the policy language


def policy(statements: Sequence[Statement]) -> Policy:
    return {"Version": VERSION, "Statement": list(statements)}


def allow(action: str | list[str], resource: str | list[str], condition: Mapping[str, Any] | None = None) -> Statement:
    statement: Statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return statement | ({"Condition": dict(condition)} if condition else {})


def only_ours(names: Names) -> Mapping[str, Any]:
    return {"StringEquals": {f"aws:ResourceTag/{TAG_PROJECT}": names.settings.project}}


def partition(names: Names) -> str:
    region = names.settings.region
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def arn(names: Names, service: str, resource: str, *, region: str | None = None, account: str | None = None) -> str:
    """The ARN of a resource in the account and region of the names. ``""`` leaves a part out."""
    where = names.settings.region if region is None else region
    return f"arn:{partition(names)}:{service}:{where}:{names.account if account is None else account}:{resource}"


def role_arn(names: Names, role: str) -> str:
    return arn(names, "iam", f"role/{role}", region="")


def function_arn(names: Names) -> str:
    """Of the reaper."""
    return arn(names, "lambda", f"function:{names.reaper}")


def group_arn(names: Names) -> str:
    """Of the schedule group."""
    return arn(names, "scheduler", f"schedule-group/{names.schedule_group}")


def log_group(names: Names) -> str:
    """Where the reaper's log goes; Lambda knows it by this name."""
    return f"/aws/lambda/{names.reaper}"


def bucket_arn(names: Names) -> str:
    return arn(names, "s3", names.bucket, region="", account="")
