"""Serving the page in the cloud: choose a machine, launch, wait for a real answer, then end the one before.

plan = plan_deployment(cloud, order)
deployed = deploy(cloud, order, plan, watcher)
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aws.cloud import Cloud
from aws.config import SERVING, actor, new_run, to_iso
from aws.ec2_orchestrator import EC2Place
from aws.errors import PlaceError
from aws.journal import OPEN, Record, fingerprint
from aws.machines.launch import Launch, Machine, find_instance
from aws.operations.hold import held
from aws.operations.serving import (
    MACHINE_TYPES,
    Choice,
    Need,
    build_serving_job,
    choose_machine,
    version_need,
    wait_for_page,
)
from aws.operations.train import Watcher, renew
from aws.places import Job
from aws.pricing import ADDRESS_USD_PER_HOUR
from config import PROJECT_FOLDER, Secret

if TYPE_CHECKING:
    from aws.ec2_manager import Instance
    from aws.pricing import Price

logger = logging.getLogger(__name__)

HOURS_A_MONTH = 730
EVERYBODY = ("0.0.0.0/0",)
PAGE_TIMEOUT_SECONDS = 1200.0  # installation, then the model's download and start


@dataclass(frozen=True)
class DeployOrder:
    """What is asked for. ``instance_type`` empty: chosen; ``max_hours`` 0: until it is ended."""

    family: str
    version: str = ""
    instance_type: str = ""
    open_to: tuple[str, ...] = ()
    domain: str = ""
    max_hours: float = 0.0


@dataclass(frozen=True)
class DeployPlan:
    """What will be made. ``found``: a deployment of the same words that was begun; ``before``: what it replaces."""

    need: Need
    choice: Choice
    machine: Machine
    price: Price
    open_to: tuple[str, ...]
    before: tuple[Record, ...]
    found: Record | None = None

    max_hours: float = 0.0
    domain: str = ""

    def lines(self) -> list[str]:
        """The plan as sentences."""
        until = f"{self.price.usd_per_hour * HOURS_A_MONTH:.0f} USD a month until it is ended"
        if self.max_hours:
            most = self.price.usd_per_hour * self.max_hours
            until = f"ends after {self.max_hours:g} h: {most:.2f} USD at most"
        lines = [
            f"Serve {self.need.reason}",
            f"{self.choice.type.name}: {self.choice.reason}",
            f"{self.price.usd_per_hour:.4f} USD an hour ({self.price.source}), {until}",
            f"Open to {', '.join(self.open_to)}",
        ]
        if self.need.smaller and self.choice.type != MACHINE_TYPES[0]:
            lines.append(f"Exported for CPUs it would take a smaller machine, and be faster:  {self.need.smaller}")
        if self.domain:
            lines.append(
                f"Caddy with TLS for {self.domain} in front, on an address that stays and costs "
                f"{ADDRESS_USD_PER_HOUR:g} USD an hour also when nothing runs behind it"
            )
        if self.found:
            lines.append(f"Goes on with {self.found.run}, begun {self.found.created}")
        if self.before:
            lines.append(f"Replaces {', '.join(each.run for each in self.before)} once it answers")
        return lines


@dataclass(frozen=True)
class Deployed:
    """A page that has answered. ``address``: to which the record of its domain must lead; empty without a domain."""

    record: Record
    url: str
    seconds: float
    replaced: tuple[str, ...]
    address: str = ""


def plan_deployment(cloud: Cloud, order: DeployOrder) -> DeployPlan:
    """Choose the machine and check all that can be checked before anything is made.

    Raises:
        SuiteError: the model does not fit; no such version.
        UsageError: no certificate can be had for the domain.
        ConfigError: who may connect is no block of addresses.
        CloudError: the launch would be refused.
    """
    from aws.operations.caddy import check_domain

    aws = cloud.settings.aws
    if order.domain:
        check_domain(order.domain)
    open_to = _open_to(cloud, order)
    need = version_need(cloud.registry, order.family, order.version, cloud.settings)
    choice = choose_machine(need, order.instance_type or aws.serving.instance_type)
    machine = Machine((choice.type.name,), aws.serving.volume_gb, image=aws.serving.image, confirm=True)
    price = cloud.prices.hour(choice.type.name, aws.region, "on-demand", machine.volume_gb)
    request = Launch(cloud, machine, Job("plan", SERVING, ())).request(None)
    cloud.manager().check_permission(request)
    wanted = fingerprint(_words(order))
    served = tuple(each for each in cloud.journal.open() if each.purpose == SERVING)
    found = next((each for each in served if each.request == wanted and not each.outcome), None)
    before = tuple(each for each in served if each is not found)
    return DeployPlan(need, choice, machine, price, open_to, before, found, order.max_hours, order.domain)


def _open_to(cloud: Cloud, order: DeployOrder) -> tuple[str, ...]:
    """Who may connect. With a domain everybody, unless somebody is named: the certificate's issuer comes from anywhere.

    Raises ConfigError: that is no block of addresses.
    """
    from aws.account.network import blocks
    from aws.account.setup import addresses_to_open

    if order.open_to or order.domain:
        return blocks(order.open_to or EVERYBODY)
    return addresses_to_open(cloud.settings.aws)


def deploy(cloud: Cloud, order: DeployOrder, plan: DeployPlan, password: Secret, watcher: Watcher) -> Deployed:
    """Launch or go on, wait until the page answers, end what it replaces.

    Whatever fails before the page answers: the new machine is ended, the old one goes on serving.
    """
    from aws.account.setup import open_ports

    ports = (80, 443) if order.domain else (cloud.settings.aws.serving.port,)
    open_ports(cloud.sessions, cloud.names, SERVING, ports, plan.open_to)
    record = _go_on(cloud, order, plan.found) if plan.found else _begin(cloud, order)
    place = EC2Place(cloud, plan.machine)
    with held(cloud, record.run), contextlib.closing(place):
        return _Deployment(cloud, order, place, record, password, watcher).run(plan.before)


@dataclass
class _Deployment:
    cloud: Cloud
    order: DeployOrder
    place: EC2Place
    record: Record
    password: Secret
    watcher: Watcher
    offset: int = 0  # of the log that has been passed on
    address: str = ""  # of the domain

    def run(self, before: Sequence[Record]) -> Deployed:
        healthy = False
        try:
            self.place.launch(Job.from_dict(self.record.job))
            instance = self._instance()
            seconds = self._wait(instance)
            self.place.confirm(self.record.run)  # before a domain's address takes the place of this one
            url = self._put_domain_in_front(instance) if self.order.domain else self._url(instance)
            self._keep(url)
            healthy = True
        finally:
            if not healthy:
                self.cloud.say("ending", "the new machine did not get to serve: ending it; one before it goes on")
                try:
                    self._give_back(before)
                finally:
                    self.place.terminate(self.record.run)
        for each in before:
            self.cloud.say("replacing", f"ending {each.run}")
            self.place.terminate(each.run)
        record = self.cloud.journal.read(self.record.run)
        return Deployed(record, url, seconds, tuple(each.run for each in before), self.address)

    def _wait(self, instance: Instance) -> float:
        """Until the page lets us in; the log of the machine is passed on meanwhile. Seconds that the answer took."""
        self.cloud.say("waiting", f"for the page on {instance.id} to answer")
        if self.order.domain:
            return self._wait_behind()
        health = wait_for_page(
            self._url(instance),
            self.cloud.settings.app.user,
            self.password,
            timeout_seconds=PAGE_TIMEOUT_SECONDS,
            still_there=self._look,
            sleep=self.cloud.sleep,
            clock=self.cloud.clock,
        )
        return health.seconds

    def _wait_behind(self) -> float:
        """The same where only Caddy will reach the page: the machine is asked to look at itself."""
        ask = f"curl -sf --max-time 5 http://127.0.0.1:{self.cloud.settings.aws.serving.port}/health || true"
        begun = self.cloud.clock()
        while "ready" not in self.place.run(self.record.run, ask):
            self._look()
            if self.cloud.clock() - begun > PAGE_TIMEOUT_SECONDS:
                raise PlaceError(f"the page of {self.record.run} is not ready after {PAGE_TIMEOUT_SECONDS:.0f} s.")
            self.cloud.sleep(3.0)
        return 0.0

    def _look(self) -> None:
        """Pass on what the machine says. Raises PlaceError: it has given up."""
        piece = self.place.logs(self.record.run, self.offset)
        self.offset = piece.next_offset
        self.watcher.write(piece.content)
        status = self.place.status(self.record.run)
        self.watcher.show(status)
        if status.ended:
            raise PlaceError(
                f"the page did not start on {self.record.run}: {status.message or status.stage}.",
                remedies=[("See all it said", f"python deploy_aws.py logs {self.record.run}")],
            )

    def _put_domain_in_front(self, instance: Instance) -> str:
        """Caddy with a certificate on an address that stays; returns the URL."""
        from aws.operations.addresses import give_address
        from aws.operations.serving import caddy_commands

        for command in caddy_commands(self.order.domain, self.cloud.settings.aws.serving.port):
            self.place.run(self.record.run, command, timeout_seconds=300)
        self.address = give_address(self.cloud, self.order.domain, instance.id)
        told = f"{self.order.domain} must have an A record for {self.address}; Caddy then fetches the certificate"
        self.cloud.say("domain", told)
        return f"https://{self.order.domain}"

    def _give_back(self, before: Sequence[Record]) -> None:
        """The domain leads to the machine before again, if it was taken from that one."""
        from aws.operations.addresses import give_address

        served = [each for each in before if each.outcome.get("domain") == self.order.domain] if self.address else []
        for old in filter(None, (find_instance(self.cloud, each) for each in served)):
            give_address(self.cloud, self.order.domain, old.id)

    def _keep(self, url: str) -> None:
        """The page serves: the machine stays, and what would have ended an unfinished one is removed."""
        from aws.account.schedules import remove_kill

        if not self.record.deadline:
            remove_kill(self.cloud.sessions, self.cloud.names, self.record.run)
        outcome = {"url": url, "domain": self.order.domain, "at": to_iso(self.cloud.now())}
        self.cloud.journal.change(
            self.record.run,
            lambda each: replace(each, outcome=outcome, schedule=each.schedule if each.deadline else ""),
        )

    def _instance(self) -> Instance:
        found = find_instance(self.cloud, self.cloud.journal.read(self.record.run))
        if found is None:
            raise PlaceError(f"the machine of {self.record.run} is gone.")
        return found

    def _url(self, instance: Instance) -> str:
        return f"http://{instance.address}:{self.cloud.settings.aws.serving.port}"


def serving_password(cloud: Cloud) -> tuple[Secret, bool]:
    """The password of the page, and whether it was made now: one from the settings is stored, else the stored one is
    taken, else a new one is made and stored."""
    from aws.account.parameters import get_parameter, make_password, put_parameter

    given, name = cloud.settings.secrets.app_password, cloud.names.app_password
    stored = get_parameter(cloud.sessions, name)
    if given and given != stored:
        put_parameter(cloud.sessions, cloud.names, name, given)
    if given or stored:
        return given or stored or Secret(""), False
    made = make_password()
    put_parameter(cloud.sessions, cloud.names, name, made)
    return made, True


def _go_on(cloud: Cloud, order: DeployOrder, record: Record) -> Record:
    """A deployment that was begun and has no machine any more gets a new deadline with its next one."""
    return renew(cloud, record, order.max_hours) if order.max_hours else record


def _begin(cloud: Cloud, order: DeployOrder) -> Record:
    """A new run, written down before anything is made for it."""
    run = new_run("app", cloud.now())
    job = build_serving_job(
        cloud.settings,
        cloud.names,
        run,
        order.family,
        version=order.version,
        domain=order.domain,
        max_hours=order.max_hours,
    )
    deadline = to_iso(cloud.now() + timedelta(hours=order.max_hours)) if order.max_hours else ""
    return cloud.journal.begin(
        Record(run, SERVING, fingerprint(_words(order)), actor(), to_iso(cloud.now()), deadline, job.to_dict(), OPEN)
    )


def _words(order: DeployOrder) -> dict[str, Any]:
    return {**asdict(order), "from": f"{actor()}:{PROJECT_FOLDER}"}
