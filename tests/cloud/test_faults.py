"""What AWS says, and what the user reads: the kind, the code and the next command."""

from __future__ import annotations

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from aws import errors
from aws.faults import aws_errors, kind_of

KINDS = [
    (errors.CapacityError, "InsufficientInstanceCapacity InsufficientHostCapacity SpotMaxPriceTooLow Unsupported"),
    (errors.CapacityError, "InsufficientFreeAddressesInSubnet InsufficientVolumeCapacity"),
    (errors.QuotaError, "VcpuLimitExceeded InstanceLimitExceeded MaxSpotInstanceCountExceeded VolumeLimitExceeded"),
    (errors.QuotaError, "LimitExceededException ServiceQuotaExceededException SecurityGroupLimitExceeded"),
    (errors.ThrottleError, "RequestLimitExceeded Throttling ThrottlingException SlowDown TooManyRequestsException"),
    (errors.ThrottleError, "EC2ThrottledException RequestThrottled BandwidthLimitExceeded"),
    (errors.CredentialsError, "ExpiredToken ExpiredTokenException AuthFailure InvalidClientTokenId RequestExpired"),
    (errors.CredentialsError, "UnrecognizedClientException SignatureDoesNotMatch InvalidAccessKeyId"),
    (errors.PermissionDenied, "UnauthorizedOperation AccessDenied AccessDeniedException OptInRequired"),
    (errors.PermissionDenied, "OperationNotPermitted AuthFailure.ServiceLinkedRoleCreationNotPermitted"),
    (errors.ImageError, "InvalidAMIID.NotFound InvalidAMIID.Malformed InvalidAMIID.Unavailable"),
    (errors.NotFound, "InvalidInstanceID.NotFound NoSuchEntity ParameterNotFound ResourceNotFoundException"),
    (errors.NotFound, "InvalidKeyPair.NotFound InvalidGroup.NotFound NoSuchResourceException"),
    (errors.InvalidRequest, "InvalidParameterValue InvalidInstanceID.Malformed IdempotentParameterMismatch"),
    (errors.InvalidRequest, "IdempotentInstanceTerminated ValidationException UnsupportedOperation MissingParameter"),
    (errors.InvalidRequest, "InvalidKeyPair.Duplicate EntityAlreadyExists DependencyViolation"),
    (errors.ReplyLost, "InternalError InternalFailure ServiceUnavailable Unavailable 503"),
    (errors.CloudError, "SomethingNew"),
]


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in KINDS for code in codes.split()])
def test_kind_of_a_code(kind: type[errors.CloudError], code: str) -> None:
    assert kind_of(code) is kind


def test_unknown_code_of_a_broken_server_leaves_in_doubt() -> None:
    assert kind_of("SomethingNew", 500) is errors.ReplyLost
    assert kind_of("InsufficientInstanceCapacity", 500) is errors.CapacityError


def test_image_of_somebody_else_is_no_matter_of_credentials() -> None:
    assert kind_of("AuthFailure", 401, "Not authorized for images: [ami-1]") is errors.ImageError


def refused(code: str, message: str = "no", status: int = 400, **options: str) -> errors.CloudError:
    reply = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(errors.CloudError) as caught, aws_errors("launch g4dn.xlarge in us-east-1a", **options):
        raise ClientError(reply, "RunInstances")
    return caught.value


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("InsufficientInstanceCapacity", "--spot"),
        ("VcpuLimitExceeded", "--quota-code L-DB2E81BA --desired-value 4"),
        ("MaxSpotInstanceCountExceeded", "--quota-code L-3819A6DF"),
        ("ExpiredToken", "aws sso login"),
        ("InvalidAMIID.NotFound", "aws.training.image"),
        ("RequestLimitExceeded", "the same command"),
        ("InvalidKeyPair.NotFound", "python deploy_aws.py init"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "aws iam create-service-linked-role"),
        ("InternalError", "the same command"),
        ("IdempotentInstanceTerminated", "python deploy_aws.py list-instances"),
        ("InvalidParameterValue", "python training_pipeline.py settings"),
    ],
)
def test_every_refusal_names_the_next_command(code: str, command: str) -> None:
    error = refused(code)
    assert error.code == code
    assert "launch g4dn.xlarge in us-east-1a" in error.what
    assert any(command in typed for _, typed in error.remedies), str(error)


def test_quota_of_the_caller_is_named() -> None:
    assert "L-1216C47A" in str(refused("VcpuLimitExceeded", quota="L-1216C47A"))


def test_denial_names_the_right_without_the_encoded_part() -> None:
    message = (
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/ada is not authorized to perform:"
        f" iam:PassRole on resource: x. Encoded authorization failure message: {'aBc9' * 300}"
    )
    text = str(refused("UnauthorizedOperation", message, 403))
    assert "takes the right iam:PassRole" in text
    assert "docs/aws.md" in text
    assert "aBc9" not in text
    assert "takes the right RunInstances" in str(refused("UnauthorizedOperation", "no", 403))


def test_long_messages_are_cut() -> None:
    assert len(refused("InvalidParameterValue", "long " * 500).what) < 500


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (exceptions.NoCredentialsError(), errors.CredentialsError),
        (exceptions.SSOTokenLoadError(error_msg="old"), errors.CredentialsError),
        (exceptions.UnauthorizedSSOTokenError(), errors.CredentialsError),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="old"), errors.CredentialsError),
        (exceptions.LoginRefreshRequired(), errors.CredentialsError),
        (exceptions.ProfileNotFound(profile="x"), errors.CredentialsError),
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), errors.ReplyLost),
        (exceptions.ConnectTimeoutError(endpoint_url="https://x"), errors.ReplyLost),
        (exceptions.ReadTimeoutError(endpoint_url="https://x"), errors.ReplyLost),
        (exceptions.ConnectionClosedError(endpoint_url="https://x"), errors.ReplyLost),
        (exceptions.ResponseStreamingError(error="cut"), errors.ReplyLost),
        (exceptions.ParamValidationError(report="MinCount"), errors.InvalidRequest),
        (exceptions.UnknownServiceError(service_name="x", known_service_names="y"), errors.CloudError),
    ],
)
def test_what_botocore_raises_by_itself(raised: Exception, kind: type[errors.CloudError]) -> None:
    with pytest.raises(errors.CloudError) as caught, aws_errors("launch"):
        raise raised
    assert type(caught.value) is kind
    assert caught.value.code == ""
    assert caught.value.remedies
    assert caught.value.__cause__ is raised


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), aws_errors("launch"):
        raise ZeroDivisionError
    with pytest.raises(errors.NotFound, match="mine"), aws_errors("launch"):
        raise errors.NotFound("mine")
