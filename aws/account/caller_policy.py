"""What whoever types the commands must be allowed to do: from ``init`` to ``destroy``, as narrow as AWS allows.

json.dumps(caller_policy(names))    # printed in docs/aws.md; fits into one managed policy
"""

from __future__ import annotations

from collections.abc import Mapping

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
    policy,
    role_arn,
)
from aws.config import TAG_PROJECT, Names

_LIST = "AWS knows no resource for it: what it lists is all or nothing"

# The only actions whose resource is "*", and why AWS has no narrower form.
NO_NARROWER_FORM: Mapping[str, str] = {
    "ec2:DescribeAddresses": _LIST,
    "ec2:DescribeAvailabilityZones": _LIST,
    "ec2:DescribeImages": _LIST,
    "ec2:DescribeInstanceTypeOfferings": _LIST,
    "ec2:DescribeInstanceTypes": _LIST,
    "ec2:DescribeInstances": _LIST,
    "ec2:DescribeKeyPairs": _LIST,
    "ec2:DescribeNetworkInterfaces": _LIST,
    "ec2:DescribeRegions": _LIST,
    "ec2:DescribeSecurityGroupRules": _LIST,
    "ec2:DescribeSecurityGroups": _LIST,
    "ec2:DescribeSpotInstanceRequests": _LIST,
    "ec2:DescribeSpotPriceHistory": _LIST,
    "ec2:DescribeSubnets": _LIST,
    "ec2:DescribeTags": _LIST,
    "ec2:DescribeVolumes": _LIST,
    "ec2:DescribeVpcs": _LIST,
    "pricing:GetProducts": "the price list is public and has no resources",
    "scheduler:ListSchedules": _LIST,
    "servicequotas:GetAWSDefaultServiceQuota": "AWS knows no resource for reading a quota",
    "servicequotas:GetServiceQuota": "AWS knows no resource for reading a quota",
}


def caller_policy(names: Names) -> Policy:
    """The policy for a user of this project: everything from ``init`` to ``destroy``, in one account.

    Reading and ending work in all regions, because a forgotten machine may be in any of them; what makes something
    works in the region of the settings only.
    """
    return policy(
        [
            allow(sorted(NO_NARROWER_FORM), "*"),
            *_caller_launches(names),
            *_caller_ends(names),
            *_caller_bucket(names),
            *_caller_roles(names),
            *_caller_services(names),
        ]
    )


def _caller_launches(names: Names) -> list[Statement]:
    new = [
        arn(names, "ec2", f"{what}/*") for what in ("instance", "volume", "network-interface", "spot-instances-request")
    ]
    old = [arn(names, "ec2", f"{what}/*") for what in ("subnet", "security-group", "key-pair")]
    image = arn(names, "ec2", "image/*", account="")
    makes = ["ec2:AllocateAddress", "ec2:CreateSecurityGroup", "ec2:ImportKeyPair"]
    made = [arn(names, "ec2", f"{what}/*") for what in ("elastic-ip", "security-group", "key-pair")]
    creating = [action.removeprefix("ec2:") for action in makes] + ["RunInstances"]
    tagged = {"StringEquals": {f"aws:RequestTag/{TAG_PROJECT}": names.settings.project}}
    return [
        allow("ec2:RunInstances", new, tagged),
        allow("ec2:RunInstances", [*old, image]),
        allow(makes, made, tagged),
        allow("ec2:CreateSecurityGroup", arn(names, "ec2", "vpc/*")),
        allow("ec2:CreateTags", arn(names, "ec2", "*/*"), {"StringEquals": {"ec2:CreateAction": creating}}),
    ]


def _caller_ends(names: Names) -> list[Statement]:
    """Only what carries the tag of the project, in whatever region it is."""
    actions = [
        "ec2:AssociateAddress",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:CancelSpotInstanceRequests",
        "ec2:CreateTags",
        "ec2:DeleteKeyPair",
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteVolume",
        "ec2:GetConsoleOutput",
        "ec2:ReleaseAddress",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:TerminateInstances",
    ]
    return [allow(actions, arn(names, "ec2", "*/*", region="*"), only_ours(names))]


def _caller_bucket(names: Names) -> list[Statement]:
    settings = ["BucketPolicy", "BucketPublicAccessBlock", "BucketTagging", "BucketVersioning"]
    settings += ["EncryptionConfiguration", "LifecycleConfiguration"]
    whole = [f"s3:{verb}{name}" for name in settings for verb in ("Get", "Put")]
    whole += ["s3:CreateBucket", "s3:DeleteBucket", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
    whole += ["s3:ListBucketVersions"]
    objects = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"]
    return [allow(sorted(whole), bucket_arn(names)), allow(objects, f"{bucket_arn(names)}/*")]


def _caller_roles(names: Names) -> list[Statement]:
    project, region = names.settings.project, names.settings.region
    roles, profiles = role_arn(names, f"{project}-{region}-*"), f"instance-profile/{project}-{region}-*"
    changes = ("Create", "Delete", "Get", "Tag")
    policies = ["DeleteRolePolicy", "GetRolePolicy", "ListRolePolicies", "PutRolePolicy", "UpdateAssumeRolePolicy"]
    policies += ["DetachRolePolicy", "ListAttachedRolePolicies", "ListInstanceProfilesForRole"]
    on_profiles = [f"{change}InstanceProfile" for change in changes]
    on_profiles += ["AddRoleToInstanceProfile", "RemoveRoleFromInstanceProfile"]
    services = [f"{service}.amazonaws.com" for service in ("ec2", "lambda", "scheduler")]
    spot = "role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
    return [
        allow([f"iam:{name}" for name in [*(f"{change}Role" for change in changes), *policies]], roles),
        allow([f"iam:{name}" for name in on_profiles], arn(names, "iam", profiles, region="")),
        allow("iam:PassRole", roles, {"StringEquals": {"iam:PassedToService": services}}),
        allow("iam:CreateServiceLinkedRole", arn(names, "iam", spot, region="")),  # of an account's first spot machine
    ]


def _caller_services(names: Names) -> list[Statement]:
    function = ["CreateFunction", "DeleteFunction", "GetFunctionConfiguration", "InvokeFunction", "TagResource"]
    function += ["UpdateFunctionCode", "UpdateFunctionConfiguration"]
    group = ["CreateScheduleGroup", "DeleteScheduleGroup", "GetScheduleGroup", "TagResource"]
    schedule = ["CreateSchedule", "DeleteSchedule", "GetSchedule", "UpdateSchedule"]
    parameter = ["AddTagsToResource", "DeleteParameter", "GetParameter", "PutParameter"]
    logs = ["CreateLogGroup", "DeleteLogGroup", "PutRetentionPolicy", "TagResource"]
    own = arn(names, "ssm", f"parameter/{names.settings.project}/*")
    own_log = arn(names, "logs", f"log-group:{log_group(names)}")
    return [
        allow([f"lambda:{name}" for name in function], function_arn(names)),
        # Deleting a group asks for the right to delete its schedules.
        allow([f"scheduler:{name}" for name in group], group_arn(names)),
        allow(
            [f"scheduler:{name}" for name in schedule], arn(names, "scheduler", f"schedule/{names.schedule_group}/*")
        ),
        allow([f"ssm:{name}" for name in parameter], own),
        allow("ssm:GetParameter", arn(names, "ssm", "parameter/aws/service/*", account="")),  # ids of public images
        allow([f"logs:{name}" for name in logs], [own_log, f"{own_log}:*"]),
        allow("logs:DescribeLogGroups", arn(names, "logs", "log-group:*")),
    ]
