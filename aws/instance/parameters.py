"""Secrets of a job: fetched by name from the Parameter Store of SSM, into the environment of its program only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aws.faults import aws_errors
from config import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    FetchSecret = Callable[[str], Secret | None]


def fetch_secret(name: str, region: str = "") -> Secret | None:
    """The decrypted value of a parameter; None if there is none. Raises CloudError."""
    with aws_errors(f"read the parameter {name}"):
        import boto3
        from botocore.exceptions import ClientError

        # A session of its own: one that was made before the instance had credentials never gets any.
        client = boto3.session.Session(region_name=region or None).client("ssm")
        try:
            answer = client.get_parameter(Name=name, WithDecryption=True)
        except ClientError as error:
            if error.response["Error"].get("Code") in ("ParameterNotFound", "ParameterVersionNotFound"):
                return None
            raise
    return Secret(answer["Parameter"]["Value"])


def fetch_secrets(wanted: Mapping[str, str], fetch: FetchSecret) -> tuple[dict[str, Secret], list[str]]:
    """Values by variable, and the names of the parameters that do not exist. Raises CloudError."""
    found = {variable: fetch(name) for variable, name in wanted.items()}
    missing = [wanted[variable] for variable, value in found.items() if value is None]
    return {variable: value for variable, value in found.items() if value is not None}, missing
