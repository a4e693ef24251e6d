"""How long which machine ran, and what it costs an hour: the journal and what AWS lists brought together.

for hours in machine_hours(records, instances, prices, now, settings):
    hours.run, hours.hours, hours.usd_per_hour
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from aws.config import SERVING, from_iso
from aws.journal import Attempt, Record
from aws.pricing import ADDRESS_USD_PER_HOUR, volume_hour
from config import AwsSettings

if TYPE_CHECKING:
    from aws.machines.instances import Instance
    from aws.pricing import Prices

UNKNOWN_PRICE = "no price is known"


@dataclass(frozen=True)
class MachineHours:
    """A machine and the time it counts for. ``usd_per_hour``: of the machine alone. ``note``: how sure that is."""

    run: str
    purpose: str
    instance: str
    region: str
    what: str
    volume_gb: int
    usd_per_hour: float
    source: str
    start: datetime
    end: datetime
    running: bool = False
    has_machine: bool = True  # a stopped one has its volume only
    note: str = ""

    @property
    def hours(self) -> float:
        return max(timedelta(), self.end - self.start) / timedelta(hours=1)


def machine_hours(
    records: Iterable[Record], instances: Iterable[Instance], prices: Prices, now: datetime, settings: AwsSettings
) -> list[MachineHours]:
    """Every machine once, by start: those of the records, then live ones that no record knows.

    Args:
        instances: those that AWS lists, of all regions.
        now: until then running ones count.
        settings: for the size of volumes that AWS does not tell.
    """
    book = _Book(instances, prices, now, settings)
    found = [each for record in records for each in book.of_record(record)] + list(book.of_the_rest())
    return sorted(found, key=lambda each: each.start)


class _Book:
    """Brings attempts and instances together: each machine counts once."""

    def __init__(self, instances: Iterable[Instance], prices: Prices, now: datetime, settings: AwsSettings) -> None:
        self._instances = {each.id: each for each in instances}
        self._prices, self._now, self._settings = prices, now, settings
        self._seen: set[str] = set()

    def of_record(self, record: Record) -> Iterator[MachineHours]:
        for attempt in record.attempts:
            instance = self._instance(record, attempt)
            begun = instance.launched_at if instance else _moment(attempt.at)
            if instance:
                self._seen.add(instance.id)
            if begun and (instance or attempt.instance):
                yield self._of_attempt(record, attempt, instance, begun)

    def of_the_rest(self) -> Iterator[MachineHours]:
        """Live machines that no record knows."""
        for each in self._instances.values():
            if each.id not in self._seen and each.is_live:
                usd, source = self._price(each.type, each.region, each.market, each.zone)
                found = MachineHours(
                    run=each.run,
                    purpose=each.purpose,
                    instance=each.id,
                    region=each.region,
                    what=f"{each.type} {each.market}",
                    volume_gb=self._volume_gb(each.purpose, each),
                    usd_per_hour=usd,
                    source=source,
                    start=each.launched_at,
                    end=self._now,
                    running=True,
                    note="in no journal",
                )
                yield _as_it_stands(found, each)

    def _instance(self, record: Record, attempt: Attempt) -> Instance | None:
        """The instance of an attempt, also one whose id nobody has written down."""
        if attempt.instance:
            return self._instances.get(attempt.instance)
        if attempt is not record.attempt or attempt.ended_at:
            return None
        known = {each.instance for each in record.attempts}
        mine = [each for each in self._instances.values() if each.run == record.run and each.id not in known]
        return max(mine, key=lambda each: each.launched_at, default=None)

    def _of_attempt(self, record: Record, attempt: Attempt, instance: Instance | None, begun: datetime) -> MachineHours:
        volume_gb = self._volume_gb(record.purpose, instance)
        zone = instance.zone if instance else attempt.zone
        if attempt.price_usd_per_hour:  # of machine, volume and address together
            usd, source = attempt.price_usd_per_hour - volume_hour(volume_gb) - ADDRESS_USD_PER_HOUR, "price at launch"
        else:
            usd, source = self._price(attempt.instance_type, attempt.region, attempt.market, zone)
        start, end, running, note = self._time(record, attempt, instance, begun)
        found = MachineHours(
            run=record.run,
            purpose=record.purpose,
            instance=instance.id if instance else attempt.instance,
            region=attempt.region,
            what=f"{attempt.instance_type} {attempt.market}".strip(),
            volume_gb=volume_gb,
            usd_per_hour=max(0.0, usd),
            source=source,
            start=start,
            end=end,
            running=running,
            note=note,
        )
        return _as_it_stands(found, instance)

    def _time(
        self, record: Record, attempt: Attempt, instance: Instance | None, begun: datetime
    ) -> tuple[datetime, datetime, bool, str]:
        """Start, end, whether it runs, and how sure that is."""
        ended = _moment(attempt.ended_at)
        if instance and instance.is_live and (ended is None or instance.state != "shutting-down"):
            return begun, self._now, True, "runs though its end is written down" if ended else ""
        if ended is None:
            deadline = _moment(record.deadline)
            end = min(self._now, deadline) if deadline else self._now
            return begun, end, False, "its end was not seen: counted until its deadline"
        if attempt.cost_usd and attempt.price_usd_per_hour:  # what was counted when it ended
            return ended - timedelta(hours=attempt.cost_usd / attempt.price_usd_per_hour), ended, False, ""
        return begun, ended, False, ""

    def _volume_gb(self, purpose: str, instance: Instance | None) -> int:
        if instance and instance.volume_gb:
            return instance.volume_gb
        return self._settings.serving.volume_gb if purpose == SERVING else self._settings.training.volume_gb

    def _price(self, instance_type: str, region: str, market: str, zone: str) -> tuple[float, str]:
        price = self._prices.instance(instance_type, region, market, zone)
        return (price.usd_per_hour, price.source) if price else (0.0, UNKNOWN_PRICE)


def _as_it_stands(found: MachineHours, instance: Instance | None) -> MachineHours:
    if instance is None or instance.state != "stopped":
        return found
    return replace(found, has_machine=False, note="stopped: only its volume costs; the hours before are not known")


def _moment(text: str) -> datetime | None:
    try:
        return from_iso(text)
    except ValueError:
        return None
