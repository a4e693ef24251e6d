"""A training run in the cloud: plan, launch, follow, go on after an interruption, end.

plan = plan_training(cloud, order)
result = run_training(cloud, order, plan, watcher)
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from aws.cloud import Cloud
from aws.config import TRAINING, actor, from_iso, new_run, to_iso
from aws.ec2_orchestrator import EC2Place
from aws.journal import OPEN, Record, fingerprint
from aws.machines.launch import Launch, Machine, find_instance
from aws.operations.follow import follow, format_duration
from aws.operations.hold import held, is_held
from aws.places import DONE, FAILED, GONE, INTERRUPTED, Job, Outcome, PlaceStatus
from config import PROJECT_FOLDER
from utils.errors import UsageError

if TYPE_CHECKING:
    from aws.pricing import Price

logger = logging.getLogger(__name__)

DETACH, END, GO_ON = "d", "e", "g"
LEAST_REST = timedelta(minutes=10)  # with less time before the deadline no new machine is begun


@dataclass(frozen=True)
class TrainingOrder:
    """What is asked for. ``seed`` None: that of the settings; ``resume``: a run to go on with."""

    family: str
    characters: tuple[str, ...] = ()
    base: str = ""
    max_steps: int = 0
    seed: int | None = None
    spot: bool = False
    or_on_demand: bool = False
    max_hours: float = 4.0
    max_usd: float = 0.0
    detach: bool = False
    keep_on_failure: bool = False
    resume: str = ""
    new: bool = False
    recipe: str = ""  # its settings travel with the job; here it tells one order from another


@dataclass(frozen=True)
class TrainingPlan:
    """What will be made: shown before anything is. ``found``: a run of the same words that goes on."""

    machine: Machine
    hours: float
    price: Price
    data: str
    notes: tuple[str, ...]
    found: Record | None = None

    @property
    def most_usd(self) -> float:
        return self.hours * self.price.usd_per_hour

    def lines(self) -> list[str]:
        """The plan as sentences."""
        machine = self.machine
        first = f"Go on with {self.found.run}, begun {self.found.created}, on" if self.found else "Launch one"
        return [
            f"{first} {' or '.join(machine.instance_types)} ({' or '.join(machine.markets)}), "
            f"{machine.volume_gb} GB disk",
            f"{self.price.usd_per_hour:.3f} USD an hour ({self.price.source}), at most {self.hours:.1f} h: "
            f"{self.most_usd:.2f} USD at most",
            f"Data: {self.data}",
            *self.notes,
        ]


class Watcher(Protocol):
    """Who looks on: hears the log and the status, and is asked on Ctrl-C."""

    def write(self, content: bytes) -> None:
        """A piece of the log."""

    def show(self, status: PlaceStatus) -> None:
        """Where the job stands."""

    def interrupted(self, handed_over: bool) -> str:
        """Ctrl-C: ``d`` detach, ``e`` end or ``g`` go on."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run has ended, or that it goes on without us (``detached``)."""

    record: Record
    outcome: Outcome | None
    detached: bool = False
    kept: bool = False
    notes: list[str] = field(default_factory=list)


def plan_training(cloud: Cloud, order: TrainingOrder) -> TrainingPlan:
    """Check all that can be checked before anything is made.

    Raises:
        UsageError, DataError: no such run; no data in the bucket.
        QuotaError, PermissionDenied, ImageError: the launch would be refused.
    """
    from aws.machines.quotas import check_quota

    aws = cloud.settings.aws
    data, data_hash = _describe_data(cloud)
    found = _find(cloud, order, data_hash)
    markets = _markets(order)
    machine = Machine(aws.training.instance_types, aws.training.volume_gb, markets, aws.training.image)
    price = cloud.prices.hour(machine.instance_types[0], aws.region, markets[0], machine.volume_gb)
    hours = _hours(order, price.usd_per_hour)
    notes = [check_quota(cloud.sessions, market, machine.instance_types[0]) for market in markets]
    notes += _last_time(cloud, order.family)
    if found is None and not order.new:
        notes += _broken_off(cloud, order, data_hash)
    if found is None or find_instance(cloud, found) is None:
        request = Launch(cloud, machine, Job("plan", TRAINING, ())).request(cloud.now() + timedelta(hours=hours))
        cloud.manager().check_permission(request)
        notes.append(f"Image: {request.image.name} ({request.image.origin}), as {request.image.user}")
    return TrainingPlan(machine, hours, price, data, tuple(note for note in notes if note), found)


def run_training(cloud: Cloud, order: TrainingOrder, plan: TrainingPlan, watcher: Watcher) -> TrainingResult:
    """Launch or go on, follow to the end, and leave nothing behind; Ctrl-C asks the watcher.

    Whatever happens here, the machine has its deadline and the schedule in the cloud: two belts that do not need us.
    """
    record = renew(cloud, plan.found, plan.hours) if plan.found else _begin(cloud, order, plan)
    place = EC2Place(cloud, plan.machine)
    another = [] if order.resume else [("Start another", "--new")]  # --resume names the one that is held
    with held(cloud, record.run, *another), contextlib.closing(place):
        return _Training(cloud, order, place, record, watcher).run()


@dataclass
class _Training:
    cloud: Cloud
    order: TrainingOrder
    place: EC2Place
    record: Record
    watcher: Watcher
    ended: bool = False
    offset: int = 0  # of the log that was passed on already

    @property
    def run_name(self) -> str:
        return self.record.run

    def run(self) -> TrainingResult:
        try:
            return self._attempts()
        finally:
            if not self.ended and not self._works_alone():
                self.cloud.say("ending", f"{self.run_name} was not handed over: ending what was launched for it")
                self.place.terminate(self.run_name)

    def _attempts(self) -> TrainingResult:
        job = Job.from_dict(self.record.job)
        if self.order.resume and self._works_alone() and self.place.status(self.run_name).stage == FAILED:
            self.place.end_attempt(self.run_name)  # it was kept for a look
        for left in range(self.cloud.settings.aws.training.retries, -1, -1):
            detached = self._work(job)
            if detached:
                return TrainingResult(self._read(), None, detached=True)
            outcome = self.place.collect(self.run_name)
            if not left or not self._goes_on(outcome):
                break
            self.cloud.say("again", f"{outcome.failing_line or outcome.stage}: a new machine goes on, {left} left")
            self.place.end_attempt(self.run_name)
            self.offset = min(self.offset, self.place.saved_log_bytes(self.run_name))
        return self._end(outcome)

    def _work(self, job: Job) -> bool:
        """Launch and follow until the job has ended (False) or goes on without us (True)."""
        while True:
            try:
                if not self._is_over():
                    self.place.launch(job)
                    if self.order.detach:
                        return True
                follow(
                    self.place,
                    self.run_name,
                    write=self._hear,
                    show=self.watcher.show,
                    sleep=self.cloud.sleep,
                    offset=self.offset,
                )
                return False
            except KeyboardInterrupt:
                answer = self.watcher.interrupted(self._works_alone())
                if answer == DETACH:
                    return True
                if answer == END:
                    self.cloud.say("ending", f"{self.run_name}: ending its machine")
                    self.place.terminate(self.run_name)
                    self.ended = True
                    raise

    def _hear(self, content: bytes) -> None:
        self.watcher.write(content)
        self.offset += len(content)

    def _goes_on(self, outcome: Outcome) -> bool:
        """Whether another machine is to go on: not where a person has ended this one."""
        if outcome.stage not in (INTERRUPTED, GONE) or not self._time_left():
            return False
        return self._read().state == OPEN and not self.place.was_ended_by_call(self.run_name)

    def _end(self, outcome: Outcome) -> TrainingResult:
        kept = outcome.stage == FAILED and self.order.keep_on_failure
        if not kept:
            self.place.terminate(self.run_name)
        self.ended = True
        return TrainingResult(self._read(), outcome, kept=kept)

    def _is_over(self) -> bool:
        """Whether the job came to its end while nobody looked."""
        return self._works_alone() and self.place.status(self.run_name).ended

    def _time_left(self) -> bool:
        return from_iso(self.record.deadline) - self.cloud.now() > LEAST_REST

    def _works_alone(self) -> bool:
        attempt = self._read().attempt
        return bool(attempt and attempt.handed_over and not attempt.ended_at)

    def _read(self) -> Record:
        return self.cloud.journal.read(self.run_name)


def _begin(cloud: Cloud, order: TrainingOrder, plan: TrainingPlan) -> Record:
    """A new run, written down before anything is made for it."""
    from aws.operations.jobs import build_training_job

    run = new_run(order.family, cloud.now())
    job = build_training_job(
        cloud.settings,
        run,
        order.family,
        characters=order.characters,
        base=order.base,
        max_steps=order.max_steps,
        seed=order.seed,
        max_hours=plan.hours,
        max_usd=order.max_usd,
        keep_on_failure=order.keep_on_failure,
        hf_token=cloud.names.hf_token,
        by=actor(),
    )
    return cloud.journal.begin(
        Record(
            run=run,
            purpose=TRAINING,
            request=_fingerprint(order, _describe_data(cloud)[1]),
            by=actor(),
            created=to_iso(cloud.now()),
            deadline=to_iso(cloud.now() + timedelta(hours=plan.hours)),
            job=job.to_dict(),
        )
    )


def renew(cloud: Cloud, record: Record, hours: float) -> Record:
    """A run that has no machine gets a new deadline with its next one."""
    if find_instance(cloud, record):
        return record
    deadline = to_iso(cloud.now() + timedelta(hours=hours))
    return cloud.journal.change(record.run, lambda each: replace(each, deadline=deadline, state=OPEN))


def _find(cloud: Cloud, order: TrainingOrder, data_hash: str) -> Record | None:
    """The run to go on with: the one named, or one of the same words that nobody follows any more."""
    if order.resume:
        return _named(cloud, order)
    found = None if order.new else cloud.journal.find(_fingerprint(order, data_hash))
    if found and is_held(cloud, found.run):
        logger.info("%s of the same words is followed by another process; this is a run of its own.", found.run)
        return None
    return found


def _named(cloud: Cloud, order: TrainingOrder) -> Record:
    record = cloud.journal.read(order.resume)
    if record.purpose != TRAINING or order.family != record.run.partition("-")[0]:
        raise UsageError(f"{record.run} is not a training run of {order.family}.")
    if record.stage == DONE:
        raise UsageError(
            f"{record.run} is done: {dict(record.outcome).get('version', 'its version')} is published.",
            remedies=[("Train again", f"python deploy_aws.py train {order.family} --new")],
        )
    return record


def _fingerprint(order: TrainingOrder, data_hash: str) -> str:
    """The same words from the same folder of the same machine on the same data are the same run."""
    asked = {
        "family": order.family,
        "characters": sorted(order.characters),
        "base": order.base,
        "max_steps": order.max_steps,
        "seed": order.seed,
        "data": data_hash,
        "from": f"{actor()}:{PROJECT_FOLDER}",
    } | ({"recipe": order.recipe} if order.recipe else {})
    return fingerprint(asked)


def _markets(order: TrainingOrder) -> tuple[str, ...]:
    if not order.spot:
        return ("on-demand",)
    return ("spot", "on-demand") if order.or_on_demand else ("spot",)


def _hours(order: TrainingOrder, price_usd_per_hour: float) -> float:
    """The shorter of the time that is allowed and the time that the money buys."""
    if not order.max_usd:
        return order.max_hours
    hours = order.max_usd / price_usd_per_hour
    if hours < 0.1:
        raise UsageError(
            f"--max-usd {order.max_usd:g} buys {hours * 60:.0f} minutes at {price_usd_per_hour:.3f} USD an hour.",
            instead="Setting up alone takes some ten minutes.",
            remedies=[("Allow more", f"--max-usd {price_usd_per_hour:.2f}")],
        )
    return min(order.max_hours, hours)


def _describe_data(cloud: Cloud) -> tuple[str, str]:
    """What lies in the bucket to train on, as a sentence, and its hash. Raises DataError."""
    from aws.data.data_manifest import read_manifest

    manifest = read_manifest(cloud.store)
    told = f"{len(manifest.files)} files, {manifest.size_bytes / 1e6:.1f} MB, {manifest.data_hash[:12]}"
    return told, manifest.data_hash


def _broken_off(cloud: Cloud, order: TrainingOrder, data_hash: str) -> list[str]:
    """The newest run of the same words, if its machine was lost: its checkpoints are not gone on with unasked."""
    words = _fingerprint(order, data_hash)
    alike = [each for each in cloud.journal.all() if each.request == words and each.purpose == TRAINING]
    newest = max(alike, key=lambda each: each.created, default=None)
    if newest is None or newest.stage not in (GONE, INTERRUPTED) or newest.state == OPEN:
        return []
    if not any(each.handed_over for each in newest.attempts):
        return []  # it had not begun
    return [
        f"{newest.run} of the same words did not come to its end; this begins anew. "
        f"To go on with it:  python deploy_aws.py train {order.family} --resume {newest.run}"
    ]


def _last_time(cloud: Cloud, family: str) -> list[str]:
    """How long the last run of the family took, if one is on record."""
    names = [run for run in cloud.journal.runs() if run.startswith(f"{family}-")]
    for name in sorted(names, reverse=True)[:5]:
        record = cloud.journal.read(name)
        if record.stage == DONE and record.attempts:
            seconds = (from_iso(record.attempts[-1].ended_at) - from_iso(record.attempts[0].at)).total_seconds()
            return [f"{name} took {format_duration(seconds)} and cost {record.cost_usd:.2f} USD"]
    return ["How long it takes is not known: no run of this family is on record"]
