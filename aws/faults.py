"""From what boto3 raises to what a user can mend: one place that knows AWS's error codes.

    with aws_errors("launch g4dn.xlarge in us-east-1a"):
        client.run_instances(…)             # raises CapacityError, QuotaError, … (see aws/errors.py)

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and CommonErrors of each service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aws.errors import (
    CapacityError,
    CloudError,
    CredentialsError,
    ImageError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    QuotaError,
    ReplyLost,
    ThrottleError,
)

Remedies = list[tuple[str, str]]

TOKEN_USED_UP = "IdempotentInstanceTerminated"  # noqa: S105 - a code of AWS: what the token launched has ended
TOKEN_MISMATCH = "IdempotentParameterMismatch"  # noqa: S105 - a code: the token was used for another request
GPU_QUOTA, GPU_SPOT_QUOTA = "L-DB2E81BA", "L-3819A6DF"  # "Running On-Demand G and VT", "All G and VT Spot"
SPOT_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"

# The first pattern that matches the whole code decides.
KINDS: tuple[tuple[str, type[CloudError]], ...] = (
    (r"InvalidAMI.*|UnavailableAMI.*", ImageError),
    (r"SpotMaxPriceTooLow|Unsupported|Insufficient.*|ReservationCapacityExceeded", CapacityError),
    (
        r"RequestLimitExceeded|.*Thrott.*|SlowDown|TooManyRequests.*|BandwidthLimitExceeded|LimitExceededException\.Rate"
        r"|PriorRequestNotComplete|TransactionInProgressException|ProvisionedThroughputExceededException",
        ThrottleError,
    ),
    (r".*LimitExceeded(Exception|Fault)?|MaxSpot.*Exceeded|.*QuotaExceeded.*|.*CountExceeded", QuotaError),
    (
        r"ExpiredToken.*|AuthFailure|InvalidClientTokenId|UnrecognizedClientException|SignatureDoesNotMatch"
        r"|InvalidAccessKeyId|InvalidToken|InvalidSignature.*|IncompleteSignature.*|MissingAuthenticationToken.*"
        r"|RequestExpired|RequestTimeTooSkewed|TokenRefreshRequired|AuthorizationHeaderMalformed"
        r"|InvalidIdentityToken.*",
        CredentialsError,
    ),
    (
        r"UnauthorizedOperation|AccessDenied.*|Unauthorized.*|NotAuthorized.*|OptInRequired|PendingVerification"
        r"|Blocked|OperationNotPermitted|AuthFailure\..+|AllAccessDisabled|Forbidden|403|KMSAccessDenied.*",
        PermissionDenied,
    ),
    (r".*NotFound.*|NoSuch.*|ParameterVersionNotFound|404", NotFound),
    (r"Internal(Error|Failure|ServerError|Exception)|ServiceUnavailable.*|Unavailable|5\d\d|ServerInternal", ReplyLost),
    (
        r"Invalid.*|.*\.Malformed|Idempotent.*|Validation.*|Missing.*|Malformed.*|UnknownParameter|Incorrect.*"
        r"|Unsupported.*|ParameterAlreadyExists|.*Exists.*|.*Conflict.*|DependencyViolation|BadRequest.*",
        InvalidRequest,
    ),
)
SIGN_IN: Remedies = [("Sign in again", "aws sso login"), ("Or set keys", "aws configure")]
WHO_AM_I = "aws sts get-caller-identity"
LIST_INSTANCES = "python deploy_aws.py list-instances"
MAKE_SPOT_ROLE = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
SERVER_ERROR = 500
LONGEST_MESSAGE = 300  # the encoded part of UnauthorizedOperation has a thousand characters


@contextmanager
def aws_errors(doing: str, *, quota: str = GPU_QUOTA) -> Iterator[None]:
    """Turn what boto3 raises into a :class:`CloudError` with a sentence, the next command and AWS's ``code``.

    Args:
        doing: completes "AWS cannot …": ``launch g4dn.xlarge in us-east-1a``.
        quota: the code of the quota that a refusal for quota would be about.
    """
    from boto3.exceptions import Boto3Error
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _refusal(doing, error, quota) from error
    except (
        exceptions.CredentialRetrievalError,
        exceptions.LoginError,
        exceptions.NoAuthTokenError,
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.ProfileNotFound,
        exceptions.RefreshWithMFAUnsupportedError,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
        exceptions.UnknownCredentialError,
    ) as error:
        raise _unknown_caller(doing, _sentence(error)) from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError) as error:
        raise _no_reply(doing, _sentence(error)) from error
    except (exceptions.ParamValidationError, exceptions.BaseEndpointResolverError) as error:
        raise InvalidRequest(f"AWS cannot {doing}: {_sentence(error)}.", remedies=_show_settings()) from error
    except (exceptions.BotoCoreError, Boto3Error) as error:
        raise CloudError(f"AWS cannot {doing}: {_sentence(error)}.", remedies=_show_settings()) from error


def kind_of(code: str, status: int = 0, message: str = "") -> type[CloudError]:
    """The class of an error by AWS's code, the HTTP status (0: not known) and its message."""
    if code == "AuthFailure" and "image" in message.lower():  # "Not authorized for images: [ami-…]"
        return ImageError
    for pattern, kind in KINDS:
        if re.fullmatch(pattern, code):
            return kind
    return ReplyLost if status >= SERVER_ERROR else CloudError


def _refusal(doing: str, error: Any, quota: str) -> CloudError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = _short(str(error.response.get("Error", {}).get("Message", "")))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    kind = kind_of(code, status, message)
    if kind is CredentialsError:
        refusal: CloudError = _unknown_caller(doing, f"{code}, {message}")
    elif kind is ReplyLost:
        refusal = _no_reply(doing, f"{code}, {message}")
    else:
        instead, remedies = _explanation(kind, code, message, error.operation_name, quota)
        refusal = kind(f"AWS cannot {doing}: {code}, {message}.", instead=instead, remedies=remedies)
    refusal.code = code
    return refusal


def _explanation(kind: type[CloudError], code: str, message: str, operation: str, quota: str) -> tuple[str, Remedies]:
    """What exists instead and the next commands, by the code and then by the kind of the error."""
    by_code = {
        SPOT_ROLE: ("The first spot instance of an account needs a role.", [("Make it", MAKE_SPOT_ROLE)]),
        TOKEN_USED_UP: ("What was launched with this token has ended.", [("See it", LIST_INSTANCES)]),
    }
    right = _action(message) or operation
    spot_quota = GPU_SPOT_QUOTA if "Spot" in code and quota == GPU_QUOTA else quota
    by_kind: dict[type[CloudError], tuple[str, Remedies]] = {
        CapacityError: ("", _other_machines()),
        QuotaError: ("", _more_quota(spot_quota)),
        ThrottleError: ("Too many calls at once, of this program or of others.", [("Try again", "the same command")]),
        PermissionDenied: (f"It takes the right {right}; docs/aws.md lists them all.", [("See who you are", WHO_AM_I)]),
        ImageError: ("", [("Use the newest one", "leave aws.training.image and aws.serving.image empty")]),
        NotFound: ("", [("Make what is missing", "python deploy_aws.py init")]),
    }
    return by_code.get(code) or by_kind.get(kind) or ("", _show_settings())


def _other_machines() -> Remedies:
    return [
        ("Another type", "STRANGER_AWS__TRAINING__INSTANCE_TYPES=g5.xlarge,g6.xlarge"),
        ("Another market", "with --spot, or without it"),
        ("Another region", "--region us-west-2"),
    ]


def _more_quota(quota: str) -> Remedies:
    words = f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {quota}"
    return [("Ask for more", f"{words} --desired-value 4"), ("Another region", "--region us-west-2")]


def _show_settings() -> Remedies:
    return [("See the settings", "python training_pipeline.py settings")]


def _unknown_caller(doing: str, why: str) -> CredentialsError:
    return CredentialsError(
        f"AWS cannot {doing}: the credentials of this machine do not work: {why}.", remedies=SIGN_IN
    )


def _no_reply(doing: str, why: str) -> ReplyLost:
    return ReplyLost(
        f"AWS cannot {doing}: no reply came: {why}.",
        remedies=[("Check the network", WHO_AM_I), ("Try again", "the same command")],
    )


def _action(message: str) -> str:
    """The right that lacks, where the message names it."""
    found = re.search(r"to perform:? ([a-z0-9-]+:[A-Za-z]+)", message)
    return found[1] if found else ""


def _short(message: str) -> str:
    text = _sentence(message.partition("Encoded authorization failure message")[0])
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}…"


def _sentence(error: Exception | str) -> str:
    return " ".join(str(error).split()).rstrip(".")
