"""What AWS and SSH refuse, as a tree; every message ends with the next command to type.

CloudError             AWS refused or cannot be reached
├── CapacityError      no machine of the type in the zone: try another zone, type or market
├── QuotaError         the account may not have so many: ask for more
├── ThrottleError      too many calls: the same again, later
├── CredentialsError   none, expired, or not known
├── PermissionDenied   the caller may not do it: names the action
├── ImageError         the AMI cannot be used
├── InvalidRequest     AWS does not accept a value
├── NotFound           there is no such thing
└── ReplyLost          the call may or may not have worked: repeat it with the same token
SshError               an instance cannot be talked to
├── HostKeyMismatch    somebody else answers at the address
└── RemoteError        a command failed on the instance
PlaceError             a job cannot be launched, followed or ended
"""

from __future__ import annotations

from utils.errors import SuiteError


class CloudError(SuiteError):
    """AWS refused or cannot be reached. ``code`` is AWS's own (empty: none came)."""

    code: str = ""


class CapacityError(CloudError):
    """No machine of this type is free in the zone."""


class QuotaError(CloudError):
    """The account may not have so many."""


class ThrottleError(CloudError):
    """Too many calls in too short a time."""


class CredentialsError(CloudError):
    """There are no credentials, or they have expired or are unknown."""


class PermissionDenied(CloudError):
    """The caller may not do this."""


class ImageError(CloudError):
    """The machine image cannot be found or used."""


class InvalidRequest(CloudError):
    """AWS does not accept a value."""


class NotFound(CloudError):
    """There is no such thing."""


class ReplyLost(CloudError):
    """No reply came: whether the call worked is not known."""


class SshError(SuiteError):
    """An instance cannot be talked to."""


class HostKeyMismatch(SshError):
    """The machine at the address does not have the host key that was expected."""


class RemoteError(SshError):
    """A command failed on the instance."""


class PlaceError(SuiteError):
    """A job cannot be launched, followed, collected or ended."""
