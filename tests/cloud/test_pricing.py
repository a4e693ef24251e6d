"""Prices: the right offer out of the list, spot, and what to say without any of them."""

from __future__ import annotations

import pytest
from doubles.account import SPOT_SHARE, Account

from aws.errors import NotFound
from aws.pricing import ADDRESS_USD_PER_HOUR, TABLE, Price, Prices, volume_hour
from aws.sessions import Sessions


@pytest.fixture
def prices(sessions: Sessions) -> Prices:
    return Prices(sessions)


def test_price_list_without_its_decoys(account: Account, prices: Prices) -> None:
    account.prices["g4dn.xlarge"] = 0.6
    assert prices.instance("g4dn.xlarge", "us-east-1") == Price(0.6, "AWS price list")
    asked = account.calls_of("GetProducts")[0]
    assert asked.region == "us-east-1"
    fields = {each["Field"]: each["Value"] for each in asked.parameters["Filters"]}
    assert fields["tenancy"] == "Shared"
    assert fields["capacitystatus"] == "Used"
    assert fields["preInstalledSw"] == "NA"
    assert fields["regionCode"] == "us-east-1"


def test_each_price_is_asked_for_once(account: Account, prices: Prices) -> None:
    for _ in range(3):
        prices.instance("g4dn.xlarge", "us-east-1")
        prices.instance("g4dn.2xlarge", "us-east-1")
    assert len(account.calls_of("GetProducts")) == 2


def test_spot_price_of_a_zone_and_of_the_dearest(account: Account, prices: Prices) -> None:
    cheap = prices.instance("g4dn.xlarge", "us-east-1", "spot", "us-east-1a")
    dear = prices.instance("g4dn.xlarge", "us-east-1", "spot")
    assert cheap == Price(pytest.approx(0.526 * SPOT_SHARE), "spot history")
    assert dear is not None and cheap is not None
    assert cheap.usd_per_hour < dear.usd_per_hour < 0.526


def test_only_the_latest_spot_price_counts(sessions: Sessions, prices: Prices, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(day: int, usd: str, product: str = "Linux/UNIX") -> dict[str, str]:
        return {
            "AvailabilityZone": "us-east-1a", "SpotPrice": usd, "ProductDescription": product,
            "Timestamp": f"2026-11-{day:02d}",
        }  # fmt: skip

    history = [entry(20, "0.20"), entry(21, "0.15"), entry(19, "0.30"), entry(22, "0.90", "Windows")]
    client = sessions.client("ec2", quick=True)
    monkeypatch.setattr(client, "describe_spot_price_history", lambda **_: {"SpotPriceHistory": history})
    assert prices.instance("g4dn.xlarge", "us-east-1", "spot") == Price(0.15, "spot history")


def test_table_where_the_price_list_is_denied(account: Account, prices: Prices) -> None:
    account.fail("GetProducts", "AccessDeniedException", times=9)
    assert prices.instance("g4dn.xlarge", "us-east-1") == Price(0.526, TABLE)


def test_table_where_the_price_list_does_not_answer(account: Account, prices: Prices, monkeypatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    account.cut("GetProducts", times=9)
    assert prices.instance("t3.medium", "us-east-1") == Price(0.0416, TABLE)
    assert len(account.calls_of("GetProducts")) == 2


def test_spot_without_history_is_at_most_on_demand(account: Account, prices: Prices) -> None:
    account.fail("DescribeSpotPriceHistory", "UnauthorizedOperation", status=403, times=9)
    price = prices.instance("g4dn.xlarge", "us-east-1", "spot")
    assert price == Price(0.526, "at most, on demand: AWS price list")


def test_unknown_type(prices: Prices) -> None:
    assert prices.instance("p9.xlarge", "us-east-1") is None
    assert prices.instance("p9.xlarge", "us-east-1", "spot") is None
    with pytest.raises(NotFound, match=r"p9\.xlarge"):
        prices.hour("p9.xlarge", "us-east-1", "on-demand", 100)


def test_an_hour_has_machine_disk_and_address(prices: Prices) -> None:
    hour = prices.hour("g4dn.xlarge", "us-east-1", "on-demand", 100)
    assert hour.usd_per_hour == pytest.approx(0.526 + 100 * 0.08 / 730 + ADDRESS_USD_PER_HOUR)
    assert hour.source == "AWS price list"
    assert volume_hour(730) == pytest.approx(0.08)
