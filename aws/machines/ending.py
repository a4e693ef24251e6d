"""Ending instances that a person has named: which ones, what they are doing, and the proof that they are gone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aws.cloud import Cloud
from aws.config import RUN_NAME
from aws.ec2_manager import find_everywhere
from aws.ec2_orchestrator import settle
from aws.errors import CloudError
from aws.journal import OPEN
from aws.operations.follow import format_duration
from utils.errors import StoreError, SuiteError, UsageError

if TYPE_CHECKING:
    from aws.ec2_manager import Instance

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """What is to be ended. ``unknown``: sentences about names that nothing answers to."""

    instances: tuple[Instance, ...]
    runs: tuple[str, ...]  # whose books are closed afterwards
    unknown: tuple[str, ...]

    @property
    def busy(self) -> bool:
        """Whether one of them trains or serves."""
        return any(each.run for each in self.instances)

    def lines(self, now: datetime) -> list[str]:
        """Each with what it is for."""
        return [
            f"{each.id}  {each.purpose} {each.run or '(no run)'}  {each.type} {each.market} in {each.zone}, "
            f"{each.state}, {format_duration((now - each.launched_at).total_seconds())} old"
            for each in self.instances
        ] + [f"{run}  no machine runs for it: only its books are closed" for run in self.idle]

    @property
    def idle(self) -> tuple[str, ...]:
        """Open runs that have no machine."""
        working = {each.run for each in self.instances}
        return tuple(run for run in self.runs if run not in working)


@dataclass(frozen=True)
class Ended:
    """The end of one instance. ``proof``: AWS says that it, its volumes and its spot request are gone."""

    id: str
    proof: bool
    problem: str
    cost_usd: float | None  # None: nobody knows the price
    hours: float

    def __str__(self) -> str:
        cost = f"{self.hours:.2f} h, " + ("price unknown" if self.cost_usd is None else f"{self.cost_usd:.2f} USD")
        if self.proof:
            return f"{self.id}  terminated, volumes gone; {cost}"
        return f"{self.id}  NOT proven to be gone: {self.problem}; {cost} so far"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose_instances(cloud: Cloud, ids: Sequence[str], run: str, everything: bool) -> Chosen:
    """The live instances that are meant; an unknown name is a sentence and spares no other."""
    found, unreadable = find_everywhere(cloud.sessions)
    live = [each for each in found if each.is_live]
    named = {*ids, *([run] if run else [])}
    meant = [each for each in live if everything or {each.id, each.run} & named]
    answered = {name for each in meant for name in (each.id, each.run)}
    runs = {each.run for each in meant if each.run} | {name for name in named if _is_open(cloud, name)}
    unknown = [
        f"'{name}' is no live instance or open run of {cloud.settings.aws.project}."
        for name in sorted(named - answered - runs)
    ]
    unknown += [f"{region} could not be read: {error.what}" for region, error in unreadable.items()]
    return Chosen(tuple(meant), tuple(sorted(runs)), tuple(unknown))


def terminate_instances(cloud: Cloud, chosen: Chosen) -> list[Ended]:
    """End them, region by region, and close the books of their runs; what fails in one region spares no other."""
    ended: list[Ended] = []
    for region in sorted({each.region for each in chosen.instances}):
        here = {each.id: each for each in chosen.instances if each.region == region}
        try:
            results = cloud.manager(region).terminate(list(here))
        except CloudError as error:
            ended += [_price(cloud, each, False, error.what) for each in here.values()]
            continue
        ended += [_price(cloud, here[each.instance_id], each.proof, each.problem) for each in results]
    unproven = {each.id for each in ended if not each.proof}
    left = {each.run for each in chosen.instances if each.id in unproven}
    for run in chosen.runs:
        if run not in left and _is_open(cloud, run):
            _close_books(cloud, run)
    return ended


def _close_books(cloud: Cloud, run: str) -> None:
    """What cannot be written now is written by the next status; the machine is gone all the same."""
    try:
        settle(cloud, cloud.journal.read(run))
    except SuiteError as error:
        logger.warning("the books of %s could not be closed: %s", run, error.what)


def _price(cloud: Cloud, instance: Instance, proof: bool, problem: str) -> Ended:
    hours = max(0.0, (cloud.now() - instance.launched_at).total_seconds() / 3600)
    try:
        price = cloud.prices.hour(instance.type, instance.region, instance.market, instance.volume_gb).usd_per_hour
    except CloudError:
        return Ended(instance.id, proof, problem, None, round(hours, 3))
    return Ended(instance.id, proof, problem, round(hours * price, 4), round(hours, 3))


def _is_open(cloud: Cloud, name: str) -> bool:
    if not RUN_NAME.fullmatch(name):
        return False
    try:
        return cloud.journal.read(name).state == OPEN
    except (UsageError, StoreError):
        return False
