"""The bucket: private, encrypted, versioned, and tidying up after itself.

Settings that somebody else made (rules, statements, tags) are left as they are; ours are put beside them.
"""

from __future__ import annotations

import json
from typing import Any

from aws.account.policies import bucket_policy
from aws.account.steps import Part, Site, Step, ask, ensure
from aws.config import CHECKPOINTS
from aws.errors import CloudError, InvalidRequest
from aws.faults import aws_errors

HOME = "us-east-1"  # the one region that takes no LocationConstraint
UNFINISHED_UPLOAD_DAYS = 2
CHECKPOINT_DAYS, OLD_CHECKPOINT_DAYS = 30, 7
OLD_VERSION_DAYS = 90

ALL_BLOCKED = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
LIFECYCLE: tuple[dict[str, Any], ...] = (
    {
        "ID": "stranger-unfinished-uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_UPLOAD_DAYS},
    },
    {
        "ID": "stranger-checkpoints",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{CHECKPOINTS}/"},
        "Expiration": {"Days": CHECKPOINT_DAYS},
        "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_CHECKPOINT_DAYS},
    },
    {
        "ID": "stranger-old-versions",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_VERSION_DAYS},
    },
)
FOREIGN = ("403", "Forbidden", "AccessDenied", "BucketAlreadyExists")


def ensure_bucket(site: Site) -> Step:
    """Raises InvalidRequest: the name is somebody else's, or the bucket is in another region; CloudError."""
    bucket = _Bucket(site)
    parts = [
        Part("itself", bucket.exists, bucket.make),
        Part("public access blocked", bucket.is_private, bucket.make_private),
        Part("encryption", bucket.is_encrypted, bucket.encrypt),
        Part("versions", bucket.keeps_versions, bucket.keep_versions),
        Part("lifecycle", bucket.tidies_up, bucket.tidy_up),
        *([Part("encrypted connections only", bucket.wants_tls, bucket.want_tls)] if bucket.has_tls else []),
        Part("tags", bucket.is_tagged, bucket.tag),
    ]
    return ensure(site, "bucket", site.names.bucket, parts)


class _Bucket:
    """The bucket's settings one by one: is it so, make it so."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._name = site.names.bucket
        self._which = {"Bucket": self._name, "ExpectedBucketOwner": site.names.account}

    @property
    def has_tls(self) -> bool:
        """A stand-in for AWS at a plain http address would lock us out."""
        return str(self._client.meta.endpoint_url).startswith("https:")

    def exists(self) -> bool:
        found = self._look("look at", "head_bucket", "404", "NoSuchBucket")
        region = (found or {}).get("BucketRegion") or self._site.names.settings.region
        if region != self._site.names.settings.region:
            raise InvalidRequest(
                f"the bucket {self._name} is in {region} and not in {self._site.names.settings.region}.",
                remedies=[("Go there", f"aws.region: {region}"), ("Or take another", "aws.bucket: another-name")],
            )
        return found is not None

    def make(self) -> None:
        region = self._site.names.settings.region
        where = {} if region == HOME else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with self._foreign(), aws_errors(f"make the bucket {self._name}"):
            self._client.create_bucket(Bucket=self._name, **where)

    def is_private(self) -> bool:
        found = self._look("read", "get_public_access_block", "NoSuchPublicAccessBlockConfiguration") or {}
        return bool(found.get("PublicAccessBlockConfiguration") == ALL_BLOCKED)

    def make_private(self) -> None:
        self._put("put_public_access_block", PublicAccessBlockConfiguration=ALL_BLOCKED)

    def is_encrypted(self) -> bool:
        """Encryption with a key of the owner's own is left alone: it is more than we ask for."""
        absent = "ServerSideEncryptionConfigurationNotFoundError"
        found = self._look("read", "get_bucket_encryption", absent) or {}
        return bool(found.get("ServerSideEncryptionConfiguration", {}).get("Rules"))

    def encrypt(self) -> None:
        rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        self._put("put_bucket_encryption", ServerSideEncryptionConfiguration={"Rules": rules})

    def keeps_versions(self) -> bool:
        return bool(self._look("read", "get_bucket_versioning").get("Status") == "Enabled")

    def keep_versions(self) -> None:
        self._put("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})

    def tidies_up(self) -> bool:
        found = {rule.get("ID"): rule for rule in self._rules()}
        return all(found.get(rule["ID"]) == rule for rule in LIFECYCLE)

    def tidy_up(self) -> None:
        ours = {rule["ID"] for rule in LIFECYCLE}
        rules = [rule for rule in self._rules() if rule.get("ID") not in ours] + list(LIFECYCLE)
        self._put("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": rules})

    def wants_tls(self) -> bool:
        statements = self._statements()
        return all(ours in statements for ours in self._our_statements())

    def want_tls(self) -> None:
        policy = bucket_policy(self._site.names)
        ours = {statement["Sid"] for statement in self._our_statements()}
        others = [statement for statement in self._statements() if statement.get("Sid") not in ours]
        self._put("put_bucket_policy", Policy=json.dumps(policy | {"Statement": others + policy["Statement"]}))

    def is_tagged(self) -> bool:
        """Who made it stays in the tag, whoever else completes it."""
        return set(self._site.tags) <= set(self._tags())

    def tag(self) -> None:
        tags = [{"Key": key, "Value": value} for key, value in {**self._site.tags, **self._tags()}.items()]
        self._put("put_bucket_tagging", Tagging={"TagSet": tags})

    @property
    def _client(self) -> Any:
        return self._site.client("s3")

    def _rules(self) -> list[dict[str, Any]]:
        found = self._look("read", "get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration") or {}
        return list(found.get("Rules", []))

    def _statements(self) -> list[dict[str, Any]]:
        found = self._look("read", "get_bucket_policy", "NoSuchBucketPolicy")
        return list(json.loads(found["Policy"])["Statement"]) if found else []

    def _our_statements(self) -> list[dict[str, Any]]:
        return list(bucket_policy(self._site.names)["Statement"])

    def _tags(self) -> dict[str, str]:
        found = self._look("read", "get_bucket_tagging", "NoSuchTagSet") or {}
        return {tag["Key"]: tag["Value"] for tag in found.get("TagSet", [])}

    def _look(self, verb: str, call: str, *absent: str) -> Any:
        with self._foreign():
            return ask(f"{verb} the bucket {self._name}", getattr(self._client, call), *absent, **self._which)

    def _put(self, call: str, **options: Any) -> None:
        with aws_errors(f"set up the bucket {self._name}"):
            getattr(self._client, call)(**self._which, **options)

    def _foreign(self) -> _Foreign:
        return _Foreign(self._name)


class _Foreign:
    """Turns a refusal into the sentence that the name is taken: bucket names are shared by all accounts of AWS."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, CloudError) and error.code in FOREIGN:
            refusal = InvalidRequest(
                f"the bucket {self._name} belongs to somebody else, or you may not see it.",
                instead=error.what,
                remedies=[
                    ("Take another name", "aws.bucket: another-name   (in aws_config.yaml)"),
                    ("See yours", "aws s3 ls"),
                ],
            )
            refusal.code = error.code
            raise refusal from error
