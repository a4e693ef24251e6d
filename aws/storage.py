"""Where objects lie: a folder of this machine or a bucket, behind the same few methods.

    store = open_store("s3://my-bucket/stranger-things", region="us-east-1")

Rights that the bucket's user needs below the prefix: s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject.
"""

from __future__ import annotations

import functools
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from config import Settings
from utils.errors import ConflictError, DataError, StoreError, UsageError
from utils.files import check_key, disk_errors, replacing
from utils.registry import Registry
from utils.stores import FolderStore, OnBytes, Store

SWAP_ATTEMPTS = 5  # while S3 answers that another write of the same object is under way
CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0
SET_UP = ("Make that of deploy_aws.py", "python deploy_aws.py init")
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

NO_OBJECT = {"NoSuchKey", "404", "NotFound"}
LOST_RACE = {"PreconditionFailed", "412"}
UNDER_WAY = {"ConditionalRequestConflict", "OperationAborted", "409"}
DENIED = {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}
BAD_CREDENTIALS = {
    "AuthorizationHeaderMalformed", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId",
    "InvalidClientTokenId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip


def open_registry(settings: Settings) -> Registry:
    """The registry that the settings name; nothing is read yet. Raises UsageError."""
    return Registry(open_store(settings.paths.registry, settings.aws.region, settings.aws.profile))


def open_store(url: str, region: str | None = None, profile: str | None = None) -> Store:
    """The store at an address: a path, ``file:///path`` or ``s3://bucket/prefix``. Touches neither disk nor network.

    Raises:
        UsageError: no such kind of store, or a broken address.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "s3" and separator:
        return S3Store(url, region, profile)
    if scheme == "file" and separator and rest.startswith("/"):
        return FolderStore(Path(unquote(urlsplit(url).path)))
    if not url.strip() or separator or url.startswith(("s3:", "file:")):
        raise UsageError(
            f"'{url}' is not a place for a registry.",
            instead="It is a folder such as runs/registry, or a bucket such as s3://BUCKET/PREFIX.",
        )
    return FolderStore(Path(url).expanduser())


class S3Store:
    """A bucket, or the part of it below a prefix.

    Args:
        url: ``s3://bucket`` or ``s3://bucket/prefix``.
        region: of the bucket; None or empty: what the AWS settings of this machine say.
        profile: of ``~/.aws``; None or empty: the default chain of credentials.

    Raises:
        UsageError: the address is broken.
    """

    def __init__(self, url: str, region: str | None = None, profile: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._region, self._profile = region or None, profile or None
        _check_address(url, self.bucket, prefix)

    def put(self, key: str, content: bytes | Path, on_bytes: OnBytes | None = None) -> None:
        """Write an object, whole or not at all; a large file in parts. Raises DataError, StoreError."""
        if isinstance(content, bytes):
            with self._errors(key):
                self.client.put_object(Bucket=self.bucket, Key=self._full(key), Body=content)
        else:  # boto3's timeouts are OSErrors too: they are taken first, inside
            with disk_errors(content, "read"), content.open("rb") as file, self._errors(key):
                self.client.upload_fileobj(file, self.bucket, self._full(key), Callback=on_bytes)

    def get(self, key: str) -> tuple[bytes, str]:
        """Content and etag. Raises DataError, KeyError, StoreError."""
        with self._errors(key):
            answer = self.client.get_object(Bucket=self.bucket, Key=self._full(key))
            with answer["Body"] as body:
                return body.read(), answer["ETag"]

    def fetch(self, key: str, file: Path, on_bytes: OnBytes | None = None) -> None:
        """Download an object to ``file``, whole or not at all. Raises DataError, KeyError, StoreError."""
        with disk_errors(file, "written"), replacing(file) as target, self._errors(key):
            try:
                self.client.download_fileobj(self.bucket, self._full(key), target, Callback=on_bytes)
            except self.client.exceptions.ClientError as error:
                if _code(error) in NO_OBJECT:  # this answer has no body: a bucket that is missing looks the same
                    self.client.list_objects_v2(Bucket=self.bucket, Prefix=self._full(key), MaxKeys=1)
                raise

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys that start with ``prefix`` and their sizes in bytes, sorted by key. Raises StoreError."""
        with self._errors(prefix):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):  # the console makes such objects for folders
                        yield item["Key"].removeprefix(self._prefix), item["Size"]

    def delete(self, key: str) -> None:
        """Remove an object; silent if there is none. Raises DataError, StoreError."""
        with self._errors(key):
            self.client.delete_object(Bucket=self.bucket, Key=self._full(key))

    def compare_and_swap(self, key: str, content: bytes, expected: str | None) -> str:
        """Write if the etag is still ``expected`` (None: if there is no object); the new etag.

        Raises:
            ConflictError: somebody else wrote first, or others keep writing this object.
            DataError, StoreError: it could not be written.
        """
        for attempt in range(SWAP_ATTEMPTS):
            etag = self._swap_once(key, content, expected)
            if etag is not None:
                return etag
            time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - spreads writers, guards nothing
            if self._etag(key) != expected:
                break
        raise ConflictError(f"somebody else wrote {key} in {self.url} first.")

    def local_path(self, key: str) -> None:
        """Nothing of a bucket lies on this machine."""

    @functools.cached_property
    def client(self) -> Any:
        """The S3 client; made at the first use, which reads the settings of AWS but does not call it."""
        with self._errors(""):
            import boto3
            from botocore.config import Config

            session = boto3.session.Session(profile_name=self._profile, region_name=self._region)
            config = Config(
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=READ_TIMEOUT_SECONDS,
                retries={"mode": "standard"},
            )
            return session.client("s3", config=config)

    def _swap_once(self, key: str, content: bytes, expected: str | None) -> str | None:
        """The new etag; None if S3 says that another write is under way."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        with self._errors(key):
            try:
                answer = self.client.put_object(Bucket=self.bucket, Key=self._full(key), Body=content, **condition)
            except self.client.exceptions.ClientError as error:
                if _code(error) in UNDER_WAY:
                    return None
                if _code(error) not in LOST_RACE | (NO_OBJECT if expected else set()):
                    raise
                return self._own_write(key, content, error)
        return str(answer["ETag"])

    def _own_write(self, key: str, content: bytes, error: Any) -> str:
        """The etag if the race was lost against ourselves: a retry after an answer that got lost on its way."""
        if error.response["ResponseMetadata"].get("RetryAttempts"):
            current, etag = self.get(key)
            if current == content:
                return etag
        raise ConflictError(f"somebody else wrote {key} in {self.url} first.")

    def _etag(self, key: str) -> str | None:
        try:
            return self.get(key)[1]
        except KeyError:
            return None

    def _full(self, key: str) -> str:
        return check_key(self._prefix + check_key(key))

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn what boto3 raises into a sentence; KeyError for an object that is not there."""
        from boto3.exceptions import Boto3Error
        from botocore import exceptions

        try:
            yield
        except exceptions.ClientError as error:
            if _code(error) in NO_OBJECT:
                raise KeyError(key) from None
            raise self._refusal(key, error) from error
        except (
            exceptions.CredentialRetrievalError,
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.ProfileNotFound,
            exceptions.SSOError,
            exceptions.TokenRetrievalError,
        ) as error:
            raise self._unusable(error) from error
        except (exceptions.BotoCoreError, Boto3Error) as error:
            raise self._unreachable(error) from error

    def _refusal(self, key: str, error: Any) -> StoreError:
        code, message = _code(error), error.response["Error"].get("Message", "")
        if code == "NoSuchBucket":
            return StoreError(
                f"there is no bucket {self.bucket}.",
                remedies=[("See yours", "aws s3 ls"), ("Make it", f"aws s3 mb s3://{self.bucket}"), SET_UP],
            )
        if code in DENIED:
            return StoreError(
                f"S3 denies access to {self.url}/{key}.",
                instead="It takes s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix.",
                remedies=[("See who you are", "aws sts get-caller-identity"), ("Try it", f"aws s3 ls {self.url}/")],
            )
        if code in BAD_CREDENTIALS:
            return self._unusable(f"{code}, {message}")
        return StoreError(f"S3 cannot serve {self.url}/{key}: {code}, {message}.".replace("..", "."))

    def _unreachable(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self.url} cannot be reached: {_sentence(error)}.",
            remedies=[("Check the network", f"aws s3 ls {self.url}/"), ("Work without", "--registry runs/registry")],
        )

    def _unusable(self, error: Exception | str) -> StoreError:
        return StoreError(
            f"{self.url} cannot be opened with the AWS credentials of this machine: {_sentence(error)}.",
            remedies=[("Set them up", "aws configure"), ("Or sign in again", "aws sso login")],
        )


def _check_address(url: str, bucket: str, prefix: str) -> None:
    good = url.startswith("s3://") and bool(BUCKET_NAME.fullmatch(bucket))
    try:
        check_key(prefix or "none")
    except DataError:
        good = False
    if not good:
        raise UsageError(f"'{url}' is not the address of a bucket.", instead="It looks like s3://BUCKET/PREFIX.")


def _code(error: Any) -> str:
    return str(error.response["Error"].get("Code", ""))


def _sentence(error: Exception | str) -> str:
    return " ".join(str(error).split()).rstrip(".")
