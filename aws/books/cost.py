"""What was spent and what is being spent: from the journal, from what AWS lists by tag, and from prices.

    rows = costs(journal, instances, prices, since=None, now=now)
    total_usd(rows), by_run(rows), by_resource(rows)
    UNSEEN                                    # what these numbers cannot hold, as sentences

It is an estimate by the hour; the bill is AWS's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aws.books.machine_hours import MachineHours, machine_hours
from aws.journal import Journal, Record
from aws.pricing import ADDRESS_USD_PER_HOUR, storage_month, volume_hour
from config import AwsSettings
from utils.errors import StoreError
from utils.stores import Store

if TYPE_CHECKING:
    from aws.machines.instances import Instance
    from aws.pricing import Prices

logger = logging.getLogger(__name__)

MACHINE, VOLUME, ADDRESS = "machine", "volume", "public address"
VOLUME_SOURCE = "gp3 in us-east-1, aws.amazon.com/ebs/pricing, 2026-11"
ADDRESS_SOURCE = "public IPv4, aws.amazon.com/vpc/pricing, 2026-11"
STORAGE_SOURCE = "S3 Standard in us-east-1, aws.amazon.com/s3/pricing, 2026-11"

UNSEEN = (
    "Traffic: what leaves AWS for the internet (0.09 USD per GB in us-east-1 after the first 100 GB of a month).",
    "S3: requests, and old versions of objects, which the bucket's lifecycle removes; the estimate holds the rest.",
    "Changes of the spot price while a machine ran: it is counted at the price it was launched at.",
    "Volumes, addresses and machines that were made by hand and carry no tag of the project.",
    "Machines that are in no journal and have ended: AWS forgets them after an hour.",
    "EventBridge, Lambda, SSM and KMS: a few calls for each run, within what AWS gives for free.",
    "Credits, savings plans, support and taxes.",
)


@dataclass(frozen=True)
class CostRow:
    """One resource of one machine. ``running``: counted until now, and it goes on. ``note``: how sure it is."""

    run: str  # empty: of no run
    purpose: str
    resource: str  # machine, volume or public address
    hours: float
    usd: float
    source: str  # of the price
    running: bool
    instance: str = ""
    region: str = ""
    what: str = ""  # g4dn.xlarge spot, 100 GB
    usd_per_hour: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class StorageCost:
    """What lies in a store, and what that costs while it lies there."""

    objects: int
    size_bytes: int
    usd_per_month: float
    source: str = STORAGE_SOURCE


def costs(
    journal: Journal,
    instances: Iterable[Instance],
    prices: Prices,
    since: datetime | None = None,
    now: datetime | None = None,
    *,
    settings: AwsSettings | None = None,
) -> list[CostRow]:
    """A row for each resource of each machine, by start.

    Args:
        instances: those that AWS lists, of all regions.
        since: what was before does not count.
        now: until then running ones count.
        settings: for the size of volumes that AWS does not tell.

    Raises:
        StoreError: the journal cannot be read. A damaged record is logged and left out.
    """
    at = now or datetime.now(UTC)
    machines = machine_hours(_records(journal), instances, prices, at, settings or AwsSettings())
    cut = [replace(each, start=max(each.start, since)) if since else each for each in machines]
    return [row for each in cut if each.end > each.start for row in _rows(each)]


def total_usd(rows: Iterable[CostRow]) -> float:
    return sum(row.usd for row in rows)


def running_usd_per_hour(rows: Iterable[CostRow]) -> float:
    """What each further hour costs if nothing is ended."""
    return sum(row.usd_per_hour for row in rows if row.running)


def by_run(rows: Iterable[CostRow]) -> dict[str, float]:
    """US dollars by run; empty: machines of no run."""
    return _sum_by((row.run, row.usd) for row in rows)


def by_resource(rows: Iterable[CostRow]) -> dict[str, float]:
    """US dollars by machine, volume and public address."""
    return _sum_by((row.resource, row.usd) for row in rows)


def storage_cost(store: Store) -> StorageCost:
    """What the store holds at list price; old versions in a bucket are not seen. Raises StoreError."""
    sizes = [size_bytes for _, size_bytes in store.list("")]
    return StorageCost(len(sizes), sum(sizes), storage_month(sum(sizes)))


def _rows(machine: MachineHours) -> Iterator[CostRow]:
    def row(resource: str, what: str, usd_per_hour: float, source: str) -> CostRow:
        return CostRow(
            run=machine.run,
            purpose=machine.purpose,
            resource=resource,
            hours=machine.hours,
            usd=machine.hours * usd_per_hour,
            source=source,
            running=machine.running,
            instance=machine.instance,
            region=machine.region,
            what=what,
            usd_per_hour=usd_per_hour,
            note=machine.note,
        )

    if machine.has_machine:
        yield row(MACHINE, machine.what, machine.usd_per_hour, machine.source)
    yield row(VOLUME, f"{machine.volume_gb} GB", volume_hour(machine.volume_gb), VOLUME_SOURCE)
    if machine.has_machine:
        yield row(ADDRESS, "IPv4", ADDRESS_USD_PER_HOUR, ADDRESS_SOURCE)


def _records(journal: Journal) -> Iterator[Record]:
    for run in journal.runs():
        try:
            yield journal.read(run)
        except StoreError as error:
            logger.warning("%s is left out: %s", run, error.what)


def _sum_by(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for key, usd in pairs:
        sums[key] = sums.get(key, 0.0) + usd
    return sums
