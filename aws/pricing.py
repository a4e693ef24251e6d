"""What a machine costs an hour, with the source of each number.

    prices = Prices(sessions)
    prices.hour("g4dn.xlarge", "us-east-1", "spot", volume_gb=100)      # machine, disk and public address

Asked: AWS's price list (on-demand), the spot price history (spot); where neither answers, the table below.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aws.errors import CloudError, NotFound
from aws.faults import aws_errors
from aws.sessions import Sessions

PRICING_REGION = "us-east-1"  # the price list is served here, for all regions
HOURS_PER_MONTH = 730.0  # what AWS divides monthly prices by
TABLE = "table of 2026-11 for us-east-1"
# https://aws.amazon.com/ec2/pricing/on-demand, Linux, us-east-1, November 2026
USD_PER_HOUR = {
    "g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g4dn.4xlarge": 1.204,
    "g5.xlarge": 1.006, "g5.2xlarge": 1.212, "g6.xlarge": 0.8048, "g6.2xlarge": 0.9776,
    "t3.micro": 0.0104, "t3.small": 0.0208, "t3.medium": 0.0416, "t3.large": 0.0832, "t3.xlarge": 0.1664,
    "t3.2xlarge": 0.3328,
}  # fmt: skip
VOLUME_USD_PER_GB_MONTH = 0.08  # gp3, us-east-1, https://aws.amazon.com/ebs/pricing, November 2026
STORAGE_USD_PER_GB_MONTH = 0.023  # S3 Standard, us-east-1, the first 50 TB, https://aws.amazon.com/s3/pricing, 11/2026
ADDRESS_USD_PER_HOUR = 0.005  # public IPv4, all regions, https://aws.amazon.com/vpc/pricing, November 2026

# Without each of these the list also holds Windows, dedicated hosts, SQL Server and capacity reservations at 0 USD.
PLAIN_LINUX = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
    "locationType": "AWS Region",
}
SPOT_PRODUCTS = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Price:
    """US dollars an hour, and where the number is from."""

    usd_per_hour: float
    source: str


class Prices:
    """Prices, each asked for once; safe to share between threads. Nothing is asked before the first question."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._known: dict[tuple[str, str, str, str], Price | None] = {}
        self._lock = threading.Lock()

    def instance(self, instance_type: str, region: str, market: str = "on-demand", zone: str = "") -> Price | None:
        """The price of a type; spot without a ``zone``: that of the dearest zone. None if nobody knows it."""
        key = (instance_type, region, market, zone if market == "spot" else "")
        with self._lock:
            if key not in self._known:
                self._known[key] = self._find(*key)
            return self._known[key]

    def hour(self, instance_type: str, region: str, market: str = "on-demand", volume_gb: float = 0.0) -> Price:
        """An hour of the machine with its disk and its public address. Raises NotFound: nobody knows the price."""
        machine = self.instance(instance_type, region, market)
        if machine is None:
            raise NotFound(
                f"nobody knows what {instance_type} costs in {region}.",
                instead=f"Known without asking AWS: {', '.join(USD_PER_HOUR)}.",
                remedies=[("See whether it exists", f"aws ec2 describe-instance-types --region {region}")],
            )
        return Price(machine.usd_per_hour + volume_hour(volume_gb) + ADDRESS_USD_PER_HOUR, machine.source)

    def _find(self, instance_type: str, region: str, market: str, zone: str) -> Price | None:
        if market == "spot":
            return self._spot(instance_type, region, zone) or self._at_most(instance_type, region)
        return self._listed(instance_type, region) or _from_table(instance_type)

    def _listed(self, instance_type: str, region: str) -> Price | None:
        filters = PLAIN_LINUX | {"instanceType": instance_type, "regionCode": region}
        asked = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in filters.items()]
        try:
            with aws_errors(f"tell the price of {instance_type}"):
                client = self._sessions.client("pricing", PRICING_REGION, quick=True)
                reply = client.get_products(ServiceCode="AmazonEC2", Filters=asked)
        except CloudError as error:
            log.info("%s", error.what)
            return None
        found = list(_hourly(json.loads(each) for each in reply["PriceList"]))
        return Price(max(found), "AWS price list") if found else None

    def _spot(self, instance_type: str, region: str, zone: str) -> Price | None:
        try:
            with aws_errors(f"tell the spot price of {instance_type}"):
                reply = self._sessions.client("ec2", region, quick=True).describe_spot_price_history(
                    InstanceTypes=[instance_type], ProductDescriptions=list(SPOT_PRODUCTS), StartTime=datetime.now(UTC)
                )
        except CloudError as error:
            log.info("%s", error.what)
            return None
        latest = _latest_by_zone(reply["SpotPriceHistory"])
        usd = latest.get(zone) if zone else max(latest.values(), default=None)
        return None if usd is None else Price(usd, "spot history")

    def _at_most(self, instance_type: str, region: str) -> Price | None:
        """Spot never costs more than on demand, unless somebody bids so."""
        price = self._listed(instance_type, region) or _from_table(instance_type)
        return price and Price(price.usd_per_hour, f"at most, on demand: {price.source}")


def volume_hour(volume_gb: float) -> float:
    """US dollars an hour of a gp3 volume."""
    return volume_gb * VOLUME_USD_PER_GB_MONTH / HOURS_PER_MONTH


def storage_month(size_bytes: int) -> float:
    """US dollars for a month of S3 Standard; AWS counts a GB as 2**30 bytes."""
    return size_bytes / 2**30 * STORAGE_USD_PER_GB_MONTH


def _from_table(instance_type: str) -> Price | None:
    usd = USD_PER_HOUR.get(instance_type)
    return None if usd is None else Price(usd, TABLE)


def _hourly(offers: Iterable[Mapping[str, Any]]) -> Iterable[float]:
    """The hourly on-demand prices above zero."""
    for offer in offers:
        for term in offer["terms"].get("OnDemand", {}).values():
            for rate in term["priceDimensions"].values():
                usd = float(rate["pricePerUnit"].get("USD", 0))
                if rate["unit"] == "Hrs" and usd > 0:
                    yield usd


def _latest_by_zone(history: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    plain = (each for each in history if each["ProductDescription"] in SPOT_PRODUCTS)
    return {each["AvailabilityZone"]: float(each["SpotPrice"]) for each in sorted(plain, key=lambda e: e["Timestamp"])}
