"""Ending what a person has named: which machines are meant, and what a failure on the way leaves."""

from __future__ import annotations

import logging

import pytest
from doubles.console import FAR, OTHER, RUN, Console

from aws.cloud import Cloud, open_cloud
from aws.journal import OPEN
from aws.machines.ending import Chosen, Ended, choose_instances, terminate_instances
from config import load_settings
from utils.errors import StoreError


@pytest.fixture
def cloud(console: Console) -> Cloud:
    console.set_up()
    return open_cloud(load_settings(console.config))


def test_names_of_machines_and_runs_are_both_understood(console: Console, cloud: Cloud) -> None:
    first, second = console.launch(RUN), console.launch(OTHER, region=FAR)
    console.begin(RUN, first)
    by_id = choose_instances(cloud, [first], "", False)
    by_run = choose_instances(cloud, [], RUN, False)
    assert by_id == by_run == Chosen(by_id.instances, (RUN,), ())
    assert [each.id for each in by_id.instances] == [first]
    both = choose_instances(cloud, [], "", True)
    assert {each.id for each in both.instances} == {first, second} and both.busy
    assert choose_instances(cloud, ["x", first], "y", False).unknown == (
        "'x' is no live instance or open run of stranger-things.",
        "'y' is no live instance or open run of stranger-things.",
    )


def test_one_without_a_run_is_not_busy(console: Console, cloud: Cloud) -> None:
    console.launch("")
    assert not choose_instances(cloud, [], "", True).busy


def test_books_that_cannot_be_closed_do_not_hide_the_proof(
    console: Console, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    console.begin(RUN, console.launch(RUN))

    def refuse(*_: object) -> None:
        raise StoreError("S3 denies access.")

    monkeypatch.setattr("aws.machines.ending.settle", refuse)
    with caplog.at_level(logging.WARNING):
        (ended,) = terminate_instances(cloud, choose_instances(cloud, [], RUN, False))
    assert ended.proof and console.journal.read(RUN).state == OPEN


def test_a_machine_of_which_nobody_knows_the_price_ends_all_the_same(console: Console, cloud: Cloud) -> None:
    console.launch(RUN, kind="m5.large")
    (ended,) = terminate_instances(cloud, choose_instances(cloud, [], "", True))
    assert (ended.proof, ended.cost_usd) == (True, None)
    assert str(ended) == f"{ended.id}  terminated, volumes gone; 0.00 h, price unknown"


def test_an_end_without_proof_says_so() -> None:
    ended = Ended("i-1", False, "it is still stopping", 1.234, 2.5)
    assert str(ended) == "i-1  NOT proven to be gone: it is still stopping; 2.50 h, 1.23 USD so far"
