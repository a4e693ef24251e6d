"""A training and the person in front of it: detached, interrupted, picked up, not taken over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from doubles.cloud import RUN, Site, nothing_left, on_step
from doubles.sshd import needs_sshd

from aws.config import from_iso, to_iso
from aws.errors import PlaceError
from aws.journal import ENDED, OPEN
from aws.operations.hold import held
from aws.operations.train import DETACH, END, GO_ON, TrainingOrder, run_training
from aws.places import DONE

pytestmark = needs_sshd
LLAMA = TrainingOrder("llama")


def test_detached_work_goes_on_and_is_picked_up(site: Site) -> None:
    site.program("--steps", "14", "--pace", "0.06")
    result = site.train(replace(LLAMA, detach=True))
    assert result.detached
    assert result.outcome is None
    assert len(site.live) == len(site.schedules) == 1
    assert site.record.state == OPEN
    again = site.train()
    assert again.record.run == result.record.run
    assert again.record.stage == DONE
    assert len(site.steps()) == 14
    assert len(site.machines.all) == 1
    assert nothing_left(site)


@pytest.mark.parametrize(("answer", "left"), [(DETACH, 1), (END, 0)])
def test_ctrl_c_asks_what_to_do(site: Site, answer: str, left: int) -> None:
    site.program("--steps", "400", "--pace", "0.05")
    site.watcher.answers = [answer]
    on_step(site, 2, interrupt)
    if answer == END:
        with pytest.raises(KeyboardInterrupt):
            site.train()
        assert f"{site.record.run}: ending its machine" in site.sentences("ending")
    else:
        assert site.train().detached
    assert site.watcher.asked == [True]
    assert len(site.live) == len(site.schedules) == left


def test_ctrl_c_and_on_again_repeats_nothing(site: Site) -> None:
    site.program("--steps", "10", "--pace", "0.06")
    site.watcher.answers = [GO_ON]
    on_step(site, 3, interrupt)
    assert site.train().record.stage == DONE
    assert site.steps() == [f"step {step} of 10" for step in range(1, 11)]


def test_ctrl_c_before_the_hand_over_leaves_nothing(site: Site) -> None:
    site.on_say.append(lambda text: interrupt() if text.startswith("connecting to") else None)
    with pytest.raises(KeyboardInterrupt):
        site.train()
    assert site.watcher.asked == [False]
    assert nothing_left(site)
    assert site.record.state == ENDED


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_run_that_is_followed_is_not_taken_over(site: Site) -> None:
    plan = site.plan()
    assert plan.found is None
    detached = run_training(site.cloud, replace(LLAMA, detach=True), plan, site.watcher).record
    with held(site.cloud, detached.run):
        assert site.plan().found is None  # a run of its own
        with pytest.raises(PlaceError, match="followed by another process") as held_by_another:
            site.train(replace(LLAMA, resume=detached.run))
        assert [command for _, command in held_by_another.value.remedies] == [
            f"python deploy_aws.py logs {detached.run} --follow"  # --new would be of no use beside --resume
        ]
    assert site.plan().found == site.cloud.journal.read(detached.run)
    assert site.plan(replace(LLAMA, new=True)).found is None
    assert site.plan(replace(LLAMA, max_steps=5)).found is None
    site.place().terminate(detached.run)


def test_a_run_without_a_machine_gets_a_new_deadline(site: Site) -> None:
    job = site.begin()
    past = to_iso(site.cloud.now() - timedelta(hours=9))
    site.cloud.journal.change(RUN, lambda each: replace(each, deadline=past))
    assert site.train(replace(LLAMA, resume=job.name)).record.stage == DONE
    assert from_iso(site.record.deadline) > site.cloud.now()
