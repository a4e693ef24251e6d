"""A page from the order to its answer: the one before ends only then, and what does not get to serve is ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from doubles.cloud import Site
from doubles.machines import Conduct
from doubles.sshd import needs_sshd

from aws.errors import PlaceError
from aws.journal import ENDED, OPEN
from aws.operations import deploy as deploying
from aws.operations.deploy import Deployed, DeployOrder, DeployPlan, deploy, plan_deployment
from aws.operations.page_health import READY, PageHealth
from config import Secret

pytestmark = needs_sshd
PAGE = """\
import time

print("the page is there", flush=True)
time.sleep(600)
"""
ORDER = DeployOrder("llama", open_to=("203.0.113.7/32",))
PASSWORD = Secret("correct horse")


class Page:
    """What the page answers: ``problem`` is why it never does. ``live``: the instances while it was waited for."""

    def __init__(self, site: Site) -> None:
        self.site, self.problem, self.live = site, "", list[str]()
        self.urls: list[str] = []

    def wait(self, url: str, user: str, password: Secret, **options: Any) -> PageHealth:
        self.urls.append(url)
        while b"the page is there" not in self.site.watcher.log:
            options["still_there"]()
        self.live = self.site.live
        if self.problem:
            raise PlaceError(self.problem)
        return PageHealth(READY, seconds=0.5)


@pytest.fixture
def page(site: Site, monkeypatch: pytest.MonkeyPatch) -> Page:
    made, build = Page(site), deploying.build_serving_job
    (site.project / "gradio_app.py").write_text(PAGE)
    monkeypatch.setattr(deploying, "wait_for_page", made.wait)
    monkeypatch.setattr(deploying, "build_serving_job", lambda *all, **named: replace(build(*all, **named), secrets={}))
    return made


def serve(site: Site, order: DeployOrder = ORDER) -> Deployed:
    site.watcher.log = b""
    return deploy(site.cloud, order, plan(site, order), PASSWORD, site.watcher)


def plan(site: Site, order: DeployOrder = ORDER) -> DeployPlan:
    return plan_deployment(site.cloud, order)


def test_a_page_stays_once_it_has_answered(site: Site, page: Page) -> None:
    deployed = serve(site)
    assert deployed.url == page.urls[0] == "http://127.0.0.1:7860"
    assert deployed.replaced == ()
    assert site.live == [deployed.record.attempts[0].instance]
    assert site.schedules == []  # it may stay, and nothing ends it
    assert (site.machines.last.opt / "confirmed").exists()
    assert (site.record.state, site.record.outcome["url"]) == (OPEN, deployed.url)
    assert b"the page is there" in site.watcher.log


def test_until_it_answers_something_would_end_it(site: Site, page: Page) -> None:
    seen: list[tuple[bool, list[str]]] = []
    site.machines.plan(Conduct(set_up_seconds=0.1))
    site.watcher.on_show = lambda: seen.append(((site.machines.last.opt / "confirmed").exists(), site.schedules))
    serve(site)
    assert seen[0] == (False, [site.record.run])


def test_the_one_before_ends_when_the_new_one_answers(site: Site, page: Page) -> None:
    first = serve(site)
    assert plan(site).before == (first.record,)
    second = serve(site)
    assert second.replaced == (first.record.run,)
    assert len(page.live) == 2  # while the new one was waited for
    assert site.live == [second.record.attempts[0].instance]
    assert site.cloud.journal.read(first.record.run).state == ENDED


def test_a_page_that_does_not_start_leaves_the_one_before(site: Site, page: Page) -> None:
    first = serve(site)
    page.problem = "the page is not ready after 1200 s."
    with pytest.raises(PlaceError, match="not ready"):
        serve(site)
    assert site.live == [first.record.attempts[0].instance]
    assert [record.state for record in site.records if record.run != first.record.run] == [ENDED]
    assert site.cloud.journal.read(first.record.run).state == OPEN
    assert site.schedules == []


def test_one_that_was_begun_is_gone_on_with(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it waited: the same words again launch nothing new."""
    kill = KeyboardInterrupt()

    def killed(*_: object, **__: object) -> PageHealth:
        raise kill

    with monkeypatch.context() as patch:
        patch.setattr(deploying, "wait_for_page", killed)
        patch.setattr(deploying.EC2Place, "terminate", lambda place, name: None)  # nor does anything else run
        with pytest.raises(KeyboardInterrupt):
            serve(site)
    assert len(site.schedules) == 1
    found = plan(site)
    assert found.found == site.record
    assert found.before == ()
    deployed = serve(site)
    assert deployed.record.run == site.record.run
    assert len(site.machines.all) == 1
    assert site.schedules == []


def test_a_deadline_keeps_its_schedule(site: Site, page: Page) -> None:
    deployed = serve(site, replace(ORDER, max_hours=2.0))
    assert site.schedules == [deployed.record.run]
    assert deployed.record.schedule == deployed.record.run
    assert deployed.record.deadline
