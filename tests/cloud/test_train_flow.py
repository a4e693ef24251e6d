"""A training from the order to the end of its machine, and what can fail on the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.cloud import Site, later, nothing_left, on_step, wait_until
from doubles.machines import Conduct, Machine
from doubles.sshd import needs_sshd

from aws.config import from_iso
from aws.errors import CapacityError, HostKeyMismatch, PlaceError, QuotaError
from aws.journal import ENDED, OPEN
from aws.local_place import LocalPlace
from aws.operations.train import TrainingOrder, run_training
from aws.places import DONE, FAILED
from utils.errors import DataError, StoreError, UsageError

pytestmark = needs_sshd
LLAMA = TrainingOrder("llama")


# all goes well


def test_a_training_is_done_and_leaves_nothing(site: Site) -> None:
    result = site.train()
    assert result.outcome
    assert (result.outcome.stage, result.outcome.output["version"]) == (DONE, "20261121-101530")
    assert site.steps() == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]
    assert site.watcher.log == site.store.get(site.record.job["log_key"])[0]
    assert nothing_left(site)
    record = site.record
    assert (record.state, record.stage, len(record.attempts), record.schedule) == (ENDED, DONE, 1, "")
    assert record.attempts[0].handed_over
    assert record.attempts[0].ended_at


def test_a_machine_that_has_ended_itself_was_done_all_the_same(site: Site) -> None:
    site.machines.plan(Conduct(linger_seconds=0.0))
    assert site.train().record.stage == DONE
    assert nothing_left(site)


def test_two_at_once_both_publish(site: Site, tmp_path: Path) -> None:
    """One on its instance, the other on this machine, into the same bucket: two versions, and history holds both."""
    site.program("--steps", "10", "--pace", "0.1", publishing=True)
    beside = LocalPlace(tmp_path / "jobs", site.store.folder, code=site.project, sync_seconds=0.1)
    job = site.begin()
    thread = later(site, "step 1 of", lambda machine: beside.launch(job))
    result = site.train()
    thread.join()
    wait_until(lambda: beside.status(job.name).ended)
    assert result.outcome
    versions = {str(each.output["version"]) for each in (result.outcome, beside.collect(job.name))}
    assert len(versions) == 2
    history = site.cloud.registry.history("llama")
    assert {each.version for each in history} == versions
    latest = site.cloud.registry.latest("llama")
    assert latest
    assert latest.version == max(versions)


# the plan


def test_without_data_nothing_is_planned(site: Site) -> None:
    site.store.delete("data/training/manifest.json")
    with pytest.raises(DataError, match="upload-data"):
        site.plan()


def test_a_quota_of_zero_ends_before_anything_is_made(site: Site) -> None:
    site.account.quotas["L-DB2E81BA"] = 0.0
    with pytest.raises(QuotaError, match="request-service-quota-increase"):
        site.plan()
    assert site.records == []
    assert nothing_left(site)


def test_a_plan_changes_nothing(site: Site) -> None:
    before = site.store.all_keys()
    plan = site.plan(replace(LLAMA, spot=True, or_on_demand=True))
    text = "\n".join(plan.lines())
    assert "Launch one g4dn.xlarge or g4dn.2xlarge (spot or on-demand), 100 GB disk" in text
    assert "at most 4.0 h" in text
    assert "1 files, 0.0 MB" in text
    assert site.store.all_keys() == before
    assert nothing_left(site)
    assert not [each for each in site.account.calls_of("RunInstances") if each.parameters.get("DryRun") != "true"]


def test_money_shortens_the_hours(site: Site) -> None:
    price = site.plan().price.usd_per_hour
    plan = site.plan(replace(LLAMA, max_usd=price * 1.5))
    assert plan.hours == pytest.approx(1.5)
    assert plan.most_usd == pytest.approx(price * 1.5)
    assert site.plan(replace(LLAMA, max_usd=100.0)).hours == 4.0
    with pytest.raises(UsageError, match="buys 1 minutes"):
        site.plan(replace(LLAMA, max_usd=0.01))
    run_training(site.cloud, replace(LLAMA, max_usd=price * 1.5), plan, site.watcher)
    deadline = from_iso(site.record.deadline) - from_iso(site.record.created)
    assert abs(deadline - timedelta(hours=1.5)) < timedelta(seconds=5)


# what fails


def test_no_room_anywhere_leaves_nothing(site: Site) -> None:
    site.account.fail("RunInstances", "InsufficientInstanceCapacity", times=1000, status=500, skip=1)  # the dry run
    with pytest.raises(CapacityError, match="nobody has a free"):
        site.train()
    assert nothing_left(site)
    assert site.record.state == ENDED


@pytest.mark.parametrize(
    ("conduct", "error", "text"),
    [
        (Conduct(set_up="line 3: no room"), PlaceError, "line 3: no room"),
        (Conduct(foreign=True), HostKeyMismatch, "another machine answers"),
    ],
)
def test_a_machine_that_cannot_be_set_up_is_ended(
    site: Site, conduct: Conduct, error: type[Exception], text: str
) -> None:
    site.machines.plan(conduct)
    with pytest.raises(error, match=text):
        site.train()
    assert nothing_left(site)
    assert site.record.state == ENDED
    assert "was not handed over: ending" in site.sentences("ending")


@pytest.mark.parametrize("keep", [False, True])
def test_a_training_that_fails_ends_its_machine_unless_it_is_kept(site: Site, keep: bool) -> None:
    site.program("--fault", "error")
    result = site.train(replace(LLAMA, keep_on_failure=keep))
    assert result.outcome
    assert result.outcome.stage == FAILED
    assert result.outcome.failing_line.startswith("Error: no dialogue fits")
    assert result.kept is keep
    assert len(site.live) == len(site.schedules) == int(keep)  # what is kept keeps its belts
    assert site.record.state == (OPEN if keep else ENDED)
    assert len(site.machines.all) == 1


def test_the_bucket_fails_for_a_while(site: Site) -> None:
    """What the machine could not save meanwhile it saves afterwards; who follows hears of both."""
    site.program("--steps", "16", "--pace", "0.08")
    logs, aside = site.store.folder / "logs", site.store.folder / "aside"

    def break_bucket(machine: Machine) -> None:
        logs.rename(aside)
        logs.write_text("not a folder")
        machine.wait_for("not saved, and tried again")
        logs.unlink()
        aside.rename(logs)

    thread = later(site, "step 3 of", break_bucket)
    assert site.train().record.stage == DONE
    thread.join()
    assert len(site.steps()) == 16
    assert b"saving works again" in site.watcher.log
    assert site.watcher.log == site.store.get(site.record.job["log_key"])[0]


def test_credentials_that_expire_in_mid_run_do_not_stop_the_following(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log goes on over SSH, over a new line as well; at the end it is said what could not be done."""
    site.program("--steps", "12", "--pace", "0.08")

    def expire() -> None:
        for operation in ("DescribeInstances", "TerminateInstances", "DeleteSchedule"):
            site.account.fail(operation, "ExpiredToken", times=1000)
        for name in ("get", "put", "compare_and_swap"):
            monkeypatch.setattr(site.store, name, refuse)
        site.machines.proxy.cut()

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("the bucket cannot be opened with the AWS credentials of this machine: ExpiredToken.")

    on_step(site, 3, expire)
    with pytest.raises(StoreError, match="ExpiredToken"):
        site.train()
    assert len(site.steps()) == 12
    monkeypatch.undo()
    site.account.clear()
    assert site.schedules == [site.record.run]  # the belts are as they were
    assert "was not handed over" not in site.sentences()
    assert site.train().record.stage == DONE  # the same words again: told how it ended
    assert len(site.machines.all) == 1
    assert nothing_left(site)


def test_an_end_that_cannot_be_proven_keeps_the_schedule(site: Site) -> None:
    site.account.fail("TerminateInstances", "UnauthorizedOperation", times=100)
    with pytest.raises(PlaceError, match="is not proven"):
        site.train()
    assert site.schedules == [site.record.run]
    assert site.record.state == OPEN
    site.account.clear()
    assert site.train().record.stage == DONE
    assert nothing_left(site)
    assert len(site.machines.all) == 1
