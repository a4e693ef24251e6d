"""What was spent: examples small enough to be computed by hand. No network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from aws.books.cost import (
    ADDRESS,
    MACHINE,
    UNSEEN,
    VOLUME,
    CostRow,
    by_resource,
    by_run,
    costs,
    running_usd_per_hour,
    storage_cost,
    total_usd,
)
from aws.config import to_iso
from aws.journal import ENDED, Attempt, Journal, Record
from aws.machines.instances import Instance
from aws.pricing import Price, Prices
from utils.stores import FolderStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RUN, OTHER = "llama-20261121-060000-3f2a", "qwen-20261121-070000-0001"
# An hour of 100 GB: 100 * 0.08 / 730 = 0.0109589 USD; with the machine and the address:
VOLUME_HOUR = 100 * 0.08 / 730
HOUR = 0.526 + VOLUME_HOUR + 0.005


def at(hours: float) -> datetime:
    """So many hours before now."""
    return NOW - timedelta(hours=hours)


def attempt(number: int = 1, **changes: Any) -> Attempt:
    usual = Attempt(
        number,
        "us-east-1",
        at=to_iso(at(6)),
        instance_type="g4dn.xlarge",
        price_usd_per_hour=HOUR,
        instance=f"i-{number}",
    )
    return replace(usual, **changes)


def instance(name: str = "i-1", run: str = RUN, hours: float = 6, **changes: Any) -> Instance:
    usual = Instance(
        id=name, region="us-east-1", zone="us-east-1a", type="g4dn.xlarge", state="running", market="on-demand",
        purpose="training", run=run, by="ann@desk", name=run, launched_at=at(hours), deadline=None, address="1.2.3.4",
        private_address="", image="ami-1", volumes=("vol-1",), spot_request="",
    )  # fmt: skip
    return replace(usual, **changes)


class KnownPrices:
    """Prices of the test; ``None`` for what nobody knows."""

    def instance(self, instance_type: str, region: str, market: str = "on-demand", zone: str = "") -> Price | None:
        known = {("g4dn.xlarge", "spot"): 0.2, ("g4dn.xlarge", "on-demand"): 0.526, ("t3.large", "on-demand"): 0.0832}
        usd = known.get((instance_type, market))
        return None if usd is None else Price(usd, "price list of the test")


Count = Callable[..., list[CostRow]]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(FolderStore(tmp_path / "bucket"))


@pytest.fixture
def count(journal: Journal) -> Count:
    def count_(*instances: Instance, since: datetime | None = None) -> list[CostRow]:
        return costs(journal, instances, cast(Prices, KnownPrices()), since, NOW)

    return count_


def begin(journal: Journal, *attempts: Attempt, run: str = RUN, **changes: Any) -> Record:
    usual = Record(run, "training", "", "ann@desk", to_iso(at(6)), to_iso(NOW + timedelta(hours=1)), {})
    return journal.begin(replace(usual, attempts=attempts, **changes))


def of(rows: list[CostRow], resource: str) -> CostRow:
    (row,) = [row for row in rows if row.resource == resource]
    return row


def test_nothing_costs_nothing(count: Count) -> None:
    assert count() == [] and total_usd([]) == 0 and by_run([]) == {}


def test_a_running_machine_counts_until_now(journal: Journal, count: Count) -> None:
    begin(journal, attempt())
    rows = count(instance(hours=5.5))  # AWS knows best when it was launched
    assert [row.hours for row in rows] == [5.5] * 3 and all(row.running for row in rows)
    assert of(rows, MACHINE).usd == pytest.approx(5.5 * 0.526)
    assert of(rows, VOLUME).usd == pytest.approx(5.5 * 0.0109589, rel=1e-5)
    assert of(rows, ADDRESS).usd == pytest.approx(5.5 * 0.005)
    assert total_usd(rows) == pytest.approx(5.5 * HOUR)
    assert running_usd_per_hour(rows) == pytest.approx(HOUR)
    assert (of(rows, MACHINE).what, of(rows, VOLUME).what) == ("g4dn.xlarge on-demand", "100 GB")


def test_an_ended_machine_costs_what_was_written_down(journal: Journal, count: Count) -> None:
    begin(journal, attempt(ended_at=to_iso(at(4)), cost_usd=1.5 * HOUR), state=ENDED)  # launched half an hour later
    rows = count()
    assert total_usd(rows) == pytest.approx(1.5 * HOUR) and not any(row.running for row in rows)
    assert of(rows, MACHINE).hours == pytest.approx(1.5)
    assert by_resource(rows) == pytest.approx({MACHINE: 1.5 * 0.526, VOLUME: 1.5 * VOLUME_HOUR, ADDRESS: 0.0075})


def test_the_machines_of_a_run_add_up(journal: Journal, count: Count) -> None:
    spot = attempt(1, market="spot", price_usd_per_hour=0.2 + VOLUME_HOUR + 0.005, ended_at=to_iso(at(4)))
    begin(journal, spot, attempt(2, at=to_iso(at(3))))
    begin(journal, attempt(3, at=to_iso(at(1)), ended_at=to_iso(NOW)), run=OTHER, state=ENDED)
    rows = count(instance("i-2", hours=3))
    assert by_run(rows) == pytest.approx(
        {RUN: 2 * (0.2 + VOLUME_HOUR + 0.005) + 3 * HOUR, OTHER: HOUR},
    )
    assert [row.usd_per_hour for row in rows if row.resource == MACHINE] == pytest.approx([0.2, 0.526, 0.526])
    assert [row.instance for row in rows if row.resource == MACHINE] == ["i-1", "i-2", "i-3"]


@pytest.mark.parametrize(("since", "hours"), [(7, 6), (6, 6), (2, 2), (0.5, 0.5), (0, 0)])
def test_since_cuts(journal: Journal, count: Count, since: float, hours: float) -> None:
    begin(journal, attempt())
    begin(journal, attempt(2, at=to_iso(at(6)), ended_at=to_iso(at(4))), run=OTHER, state=ENDED)
    rows = count(instance(), since=at(since))
    sums = by_run(rows)
    assert sums.get(RUN, 0) == pytest.approx(hours * HOUR)
    assert sums.get(OTHER, 0) == pytest.approx(max(0, min(2, hours - 4)) * HOUR)


def test_a_machine_in_no_journal(count: Count) -> None:
    found = instance("i-9", "", 10, type="t3.large", purpose="serving", volume_gb=50)
    rows = count(found, instance("i-8", "", state="terminated"))
    assert [row.instance for row in rows] == ["i-9"] * 3
    assert total_usd(rows) == pytest.approx(10 * (0.0832 + 50 * 0.08 / 730 + 0.005))
    assert of(rows, MACHINE).note == "in no journal" and of(rows, MACHINE).source == "price list of the test"
    assert of(rows, VOLUME).what == "50 GB" and by_run(rows).keys() == {""}
    spot = count(instance("i-7", "", 1, market="spot", state="pending"))
    assert of(spot, MACHINE).usd == pytest.approx(0.2) and of(spot, MACHINE).running
    assert of(count(instance("i-6", "", 1, purpose="serving")), VOLUME).what == "30 GB"  # as the settings say


def test_a_launch_that_nobody_heard_of(journal: Journal, count: Count) -> None:
    """The journal has a machine without an id, and AWS has one of that run."""
    begin(journal, attempt(1, instance="", at=to_iso(at(2))))
    assert count() == []
    rows = count(instance("i-5", hours=1.5))
    assert total_usd(rows) == pytest.approx(1.5 * HOUR) and of(rows, MACHINE).note == ""


def test_an_attempt_that_got_no_machine_costs_nothing(journal: Journal, count: Count) -> None:
    begin(journal, attempt(1, instance="", ended_at=to_iso(at(2))), attempt(2, at=to_iso(at(1))))
    assert total_usd(count(instance("i-2", hours=1))) == pytest.approx(HOUR)


@pytest.mark.parametrize(("deadline", "hours"), [(at(2), 4), (NOW + timedelta(hours=9), 6)])
def test_an_end_that_nobody_saw(journal: Journal, count: Count, deadline: datetime, hours: float) -> None:
    begin(journal, attempt(), deadline=to_iso(deadline))
    rows = count()
    assert total_usd(rows) == pytest.approx(hours * HOUR)
    assert not of(rows, MACHINE).running and "its end was not seen" in of(rows, MACHINE).note
    assert count(instance(state="terminated"))[0].hours == hours


def test_a_machine_that_runs_though_its_end_is_written_down(journal: Journal, count: Count) -> None:
    begin(journal, attempt(ended_at=to_iso(at(5)), cost_usd=HOUR), state=ENDED)
    rows = count(instance())
    assert total_usd(rows) == pytest.approx(6 * HOUR) and "though its end" in of(rows, MACHINE).note
    assert total_usd(count(instance(state="shutting-down"))) == pytest.approx(HOUR)


def test_a_stopped_machine_costs_its_volume(journal: Journal, count: Count) -> None:
    begin(journal, attempt())
    (row,) = count(instance(state="stopped"))
    assert row.resource == VOLUME and row.usd == pytest.approx(6 * VOLUME_HOUR) and "stopped" in row.note


def test_an_unknown_price_is_said(count: Count) -> None:
    row = of(count(instance("i-9", "", type="p99.huge")), MACHINE)
    assert (row.usd, row.source) == (0, "no price is known")


def test_a_damaged_record_does_not_hide_the_others(
    journal: Journal, count: Count, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begin(journal, attempt())
    (tmp_path / "bucket" / "journal" / f"{OTHER}.json").write_text("{")
    assert total_usd(count(instance())) == pytest.approx(6 * HOUR)
    assert f"{OTHER} is left out" in caplog.text


def test_what_lies_in_the_bucket(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name in ("a", "b/c"):
        store.put(name, bytes(2**19))
    found = storage_cost(store)
    assert (found.objects, found.size_bytes) == (2, 2**20)
    assert found.usd_per_month == pytest.approx(0.023 / 1024) and "aws.amazon.com/s3/pricing" in found.source


def test_what_is_not_seen_is_said() -> None:
    text = "\n".join(UNSEEN).lower()
    for word in ("traffic", "s3", "spot price", "credits", "taxes", "by hand"):
        assert word in text
