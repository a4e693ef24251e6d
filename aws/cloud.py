"""What every command of the cloud works with, in one hand: sessions, names, bucket, journal, prices.

cloud = open_cloud(settings)
cloud.journal.open()
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aws.config import INSTANCE_FOLDER, Names
from aws.journal import Journal
from config import Settings
from utils.stores import Store

if TYPE_CHECKING:
    from aws.ec2_manager import EC2Manager
    from aws.pricing import Prices
    from aws.sessions import Sessions
    from utils.registry import Registry

logger = logging.getLogger(__name__)


def log_stage(stage: str, text: str) -> None:
    """What is being done, as a line of the log."""
    logger.info("%s: %s", stage, text)


@dataclass(frozen=True)
class Cloud:
    """One account and region. ``say`` hears each stage with a sentence; clock and sleep are in seconds; ``folder`` is
    where an instance keeps what is ours."""

    sessions: Sessions
    names: Names
    store: Store
    journal: Journal
    prices: Prices
    settings: Settings
    folder: str = INSTANCE_FOLDER
    say: Callable[[str, str], None] = log_stage
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    @property
    def registry(self) -> Registry:
        from utils.registry import Registry

        return Registry(self.store)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    def manager(self, region: str = "") -> EC2Manager:
        """The EC2 calls of a region (default: that of the settings)."""
        from aws.ec2_manager import EC2Manager

        return EC2Manager(self.sessions, region or self.settings.aws.region, clock=self.clock, sleep=self.sleep)


def open_cloud(settings: Settings) -> Cloud:
    """Ask AWS who we are; nothing else is read. Raises CloudError: there are no usable credentials."""
    from aws.pricing import Prices
    from aws.sessions import Sessions
    from aws.storage import S3Store

    sessions = Sessions(settings.aws)
    names = Names(settings.aws, sessions.account())
    store = S3Store(names.bucket_url, settings.aws.region, settings.aws.profile)
    return Cloud(sessions, names, store, Journal(store), Prices(sessions), settings)
