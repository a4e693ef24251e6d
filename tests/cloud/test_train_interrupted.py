"""A training whose machine is taken away: another one goes on, unless nobody wants that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from doubles.cloud import Site, later, nothing_left
from doubles.machines import Machine
from doubles.sshd import needs_sshd

from aws.journal import ENDED
from aws.machines.ending import choose_instances, terminate_instances
from aws.operations.train import TrainingOrder, run_training
from aws.places import DONE, GONE, INTERRUPTED
from utils.errors import UsageError

pytestmark = needs_sshd
LLAMA = TrainingOrder("llama")


def test_a_spot_interruption_goes_on_elsewhere_from_the_checkpoint(site: Site) -> None:
    site.program("--steps", "14", "--pace", "0.06", "--every", "1000")
    later(site, "step 4 of", lambda machine: machine.interrupt())
    result = site.train(replace(LLAMA, spot=True))
    assert result.record.stage == DONE
    first, second = result.record.attempts
    assert first.instance != second.instance
    assert first.market == second.market == "spot"
    assert first.ended_at
    assert site.machines.overlaps == []
    assert nothing_left(site)
    assert site.steps() == [f"step {step} of 14" for step in range(1, 15)]
    assert result.outcome
    assert result.outcome.output["from"] >= 4
    assert site.watcher.log == site.store.get(result.record.job["log_key"])[0]


def test_a_machine_that_vanishes_goes_on_from_what_was_saved(site: Site) -> None:
    site.program("--steps", "14", "--pace", "0.06")
    later(site, "step 6 of", lambda machine: machine.end())
    result = site.train(replace(LLAMA, spot=True))
    assert result.record.stage == DONE
    assert len(result.record.attempts) == 2
    assert result.outcome
    assert result.outcome.output["from"] > 0
    assert site.steps()[-1] == "step 14 of 14"
    assert site.machines.overlaps == []
    assert nothing_left(site)


def test_no_retries_are_none(site: Site) -> None:
    site.with_settings(retries=0)
    site.program("--steps", "14", "--pace", "0.06")
    later(site, "step 3 of", lambda machine: machine.interrupt())
    result = site.train()
    assert result.outcome
    assert result.outcome.stage == INTERRUPTED
    assert len(site.machines.all) == 1
    assert nothing_left(site)
    assert site.sentences("again") == ""


def test_what_was_interrupted_goes_on_with_resume(site: Site) -> None:
    site.with_settings(retries=0)
    site.program("--steps", "14", "--pace", "0.06", "--every", "1000")
    later(site, "step 3 of", lambda machine: machine.interrupt())
    run = site.train().record.run
    told = "\n".join(site.plan().lines())  # the same words alone begin anew, and say so
    assert f"this begins anew. To go on with it:  python deploy_aws.py train llama --resume {run}" in told
    assert "begins anew" not in "\n".join(site.plan(replace(LLAMA, new=True)).lines())
    site.with_settings(retries=3)
    result = site.train(replace(LLAMA, resume=run))
    assert result.outcome
    assert (result.record.run, result.outcome.stage) == (run, DONE)
    assert result.outcome.output["from"] >= 3
    assert len(result.record.attempts) == 2
    assert nothing_left(site)
    with pytest.raises(UsageError, match="is done: 20261121-101530 is published"):
        site.plan(replace(LLAMA, resume=run))
    assert "begins anew" not in "\n".join(site.plan().lines())


def test_what_was_kept_after_a_failure_goes_on_with_resume(site: Site) -> None:
    site.program("--fault", "error")
    kept = site.train(replace(LLAMA, keep_on_failure=True))
    site.program("--steps", "3")  # what was wrong is mended
    result = site.train(replace(LLAMA, resume=kept.record.run))
    assert result.record.stage == DONE
    assert len(result.record.attempts) == 2
    assert site.machines.overlaps == []
    assert nothing_left(site)


def test_past_the_deadline_no_machine_is_begun(site: Site) -> None:
    site.program("--steps", "14", "--pace", "0.06")
    later(site, "step 3 of", lambda machine: machine.interrupt())
    plan = replace(site.plan(), hours=0.1)  # six minutes: too few for another machine
    result = run_training(site.cloud, LLAMA, plan, site.watcher)
    assert result.outcome
    assert result.outcome.stage == INTERRUPTED
    assert len(site.machines.all) == 1
    assert nothing_left(site)


def test_what_a_person_has_ended_stays_ended(site: Site) -> None:
    site.program("--steps", "400", "--pace", "0.05")

    def end(machine: Machine) -> None:
        chosen = choose_instances(site.cloud, [machine.instance.id], "", everything=False)
        terminate_instances(site.cloud, chosen)

    thread = later(site, "step 3 of", end)
    result = site.train()
    thread.join()
    assert result.outcome
    assert result.outcome.stage == GONE
    assert len(site.machines.all) == 1
    assert nothing_left(site)
    assert site.record.state == ENDED
