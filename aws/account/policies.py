"""Who may do what: every IAM policy of this project, as narrow as AWS allows.

    training_policy(names)    # of the role of training instances
    caller_policy(names)      # what whoever types the commands needs; printed in docs/aws.md

A resource is ``*`` only for the actions in NO_NARROWER_FORM. Checked against the Service Authorization Reference,
https://docs.aws.amazon.com/service-authorization/latest/reference/ .
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws.account.caller_policy import NO_NARROWER_FORM, caller_policy
from aws.account.policy_language import (
    Policy,
    Statement,
    allow,
    arn,
    bucket_arn,
    function_arn,
    group_arn,
    log_group,
    only_ours,
    partition,
    policy,
    role_arn,
)
from aws.config import CHECKPOINTS, CODE, DATA, LOGS, MODELS, RESULTS, Names

__all__ = [
    "NO_NARROWER_FORM",
    "bucket_policy",
    "caller_policy",
    "function_arn",
    "group_arn",
    "log_group",
    "reaper_policy",
    "role_arn",
    "scheduler_policy",
    "scheduler_trust",
    "service_trust",
    "serving_policy",
    "training_policy",
]

_SEEN_BY_THE_REAPER = ("ec2:DescribeInstances", "ec2:DescribeSpotInstanceRequests", "ec2:DescribeVolumes")


# Whom the roles trust


def service_trust(names: Names, service: str, condition: Mapping[str, Any] | None = None) -> Policy:
    """A trust policy: the service may take the role."""
    suffix = "amazonaws.com.cn" if service == "ec2" and partition(names) == "aws-cn" else "amazonaws.com"
    statement: Statement = {
        "Effect": "Allow",
        "Principal": {"Service": f"{service}.{suffix}"},
        "Action": "sts:AssumeRole",
    }
    return policy([statement | ({"Condition": dict(condition)} if condition else {})])


def scheduler_trust(names: Names) -> Policy:
    """Only schedules of our own group in our own account: no other account's schedule can borrow the role."""
    own = {"aws:SourceAccount": names.account, "aws:SourceArn": group_arn(names)}
    return service_trust(names, "scheduler", {"StringEquals": own})


# What the roles may


def training_policy(names: Names) -> Policy:
    """Of training instances: they read the data, and write what a training makes."""
    reads = (DATA, CODE, CHECKPOINTS, MODELS, LOGS, RESULTS)  # logs and results: a second machine goes on with them
    writes = (CHECKPOINTS, LOGS, RESULTS, MODELS)
    return policy(
        [
            _objects(names, "s3:GetObject", reads),
            _objects(names, ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], writes),
            _list_below(names, reads),
            _read_parameters(names, [names.hf_token]),
        ]
    )


def serving_policy(names: Names) -> Policy:
    """Of serving instances: they read versions and data, and write only how they are doing."""
    reads, writes = (MODELS, DATA, CODE, LOGS, RESULTS), (LOGS, RESULTS)
    return policy(
        [
            _objects(names, "s3:GetObject", reads),
            _objects(names, ["s3:PutObject", "s3:AbortMultipartUpload"], writes),
            _list_below(names, reads),
            _read_parameters(names, [names.hf_token, names.app_password]),
        ]
    )


def reaper_policy(names: Names) -> Policy:
    """Of the function that ends what is past its deadline: it sees all machines and ends only ours."""
    ends = {
        "ec2:TerminateInstances": "instance/*",
        "ec2:CancelSpotInstanceRequests": "spot-instances-request/*",
    }
    return policy(
        [
            allow(list(_SEEN_BY_THE_REAPER), "*"),
            *(allow(action, arn(names, "ec2", what), only_ours(names)) for action, what in ends.items()),
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], arn(names, "logs", f"log-group:{log_group(names)}:*")),
        ]
    )


def scheduler_policy(names: Names) -> Policy:
    """Of the schedules: they call the reaper and nothing else."""
    return policy([allow("lambda:InvokeFunction", function_arn(names))])


def bucket_policy(names: Names) -> Policy:
    """Of the bucket: nobody reads or writes it over an unencrypted connection."""
    bucket = bucket_arn(names)
    return policy(
        [
            {
                "Sid": "StrangerOnlyEncrypted",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [bucket, f"{bucket}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ]
    )


def _objects(names: Names, action: str | list[str], prefixes: Sequence[str]) -> Statement:
    return allow(action, [f"{bucket_arn(names)}/{prefix}/*" for prefix in prefixes])


def _list_below(names: Names, prefixes: Sequence[str]) -> Statement:
    """Listing below the prefixes. It also makes S3 answer 404 and not 403 for an object that is not there yet.

    For such an answer S3 takes the object's key as s3:prefix; ``IfExists`` covers the calls that carry no prefix at
    all, at the price that the names (not the content) of all objects can be listed.
    """
    below = [f"{prefix}/*" for prefix in prefixes]
    return allow("s3:ListBucket", bucket_arn(names), {"StringLikeIfExists": {"s3:prefix": below}})


def _read_parameters(names: Names, parameters: Sequence[str]) -> Statement:
    return allow("ssm:GetParameter", [arn(names, "ssm", f"parameter{name}") for name in parameters])
