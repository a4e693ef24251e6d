"""Names, tags and places of all that this project makes in an AWS account: derived, never stored elsewhere.

names = Names(settings.aws, account="123456789012")
names.bucket            # stranger-things-123456789012-us-east-1
names.tags("training", run="llama-20261121-101530-3f2a")
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from config import AwsSettings
from utils.command_line import actor

TAG_PROJECT = "stranger:project"  # whose it is; the value is aws.project
TAG_PURPOSE = "stranger:purpose"  # training, serving or set-up
TAG_RUN = "stranger:run"
TAG_DEADLINE = "stranger:deadline"  # ISO 8601, UTC; nothing of ours runs after it
TAG_BY = "stranger:by"

TRAINING, SERVING, SET_UP = "training", "serving", "set-up"

# Below the bucket. models/ is the registry's, see utils/registry.py.
DATA, CODE, CHECKPOINTS, LOGS, MODELS = "data/training", "code", "checkpoints", "logs", "models"
RESULTS, JOURNAL = "results", "journal"

INSTANCE_FOLDER = "/opt/stranger"  # on every instance; see aws/instance

RUN_NAME = re.compile(r"[a-z][a-z0-9]*-\d{8}-\d{6}-[0-9a-f]{4}")


@dataclass(frozen=True)
class Names:
    """What things are called in one account and region. ``settings.project`` is the first word of all of them."""

    settings: AwsSettings
    account: str

    @property
    def bucket(self) -> str:
        return self.settings.bucket or f"{self.settings.project}-{self.account}-{self.settings.region}"

    @property
    def bucket_url(self) -> str:
        return f"s3://{self.bucket}"

    def instance_role(self, purpose: str) -> str:
        """Role and instance profile of the instances of a purpose; roles belong to the account, not to a region."""
        return f"{self._regional}-{purpose}"

    @property
    def reaper(self) -> str:
        """The function that ends what is past its deadline, and its role."""
        return f"{self._regional}-reaper"

    @property
    def scheduler_role(self) -> str:
        return f"{self._regional}-scheduler"

    @property
    def schedule_group(self) -> str:
        return self.settings.project

    def schedule(self, run: str) -> str:
        """The one-shot schedule that ends a run at its deadline."""
        return run[:64]

    def security_group(self, purpose: str) -> str:
        return f"{self.settings.project}-{purpose}"

    @property
    def key_pair(self) -> str:
        """Each machine has a key of its own: no private key travels."""
        return self.settings.key_name or f"{self.settings.project}-{_plain(actor())}"

    @property
    def hf_token(self) -> str:
        return f"/{self.settings.project}/hf-token"

    @property
    def app_password(self) -> str:
        return f"/{self.settings.project}/app-password"

    def tags(self, purpose: str, *, run: str = "", deadline: datetime | None = None) -> dict[str, str]:
        """The tags of everything that is made, by key; ``Name`` is what the console shows."""
        tags = {
            "Name": run or f"{self.settings.project}-{purpose}",
            TAG_PROJECT: self.settings.project,
            TAG_PURPOSE: purpose,
            TAG_BY: actor(),
        }
        if run:
            tags[TAG_RUN] = run
        if deadline:
            tags[TAG_DEADLINE] = to_iso(deadline)
        return tags

    @property
    def _regional(self) -> str:
        return f"{self.settings.project}-{self.settings.region}"


def new_run(what: str, at: datetime) -> str:
    """A name such as ``llama-20261121-101530-3f2a``; the last part keeps two of the same second apart."""
    return f"{what}-{at.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def to_iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> datetime:
    """Raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-")
