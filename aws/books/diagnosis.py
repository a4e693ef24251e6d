"""What the facts of an account mean: what is overdue, what was lost, what lies about. Pure: no calls.

for finding in diagnose(facts):
    print(finding)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from aws.books import findings as kinds
from aws.books.findings import Finding
from aws.books.inventory import ADDRESS, GROUP, KEY, REQUEST, VOLUME, Thing, Upload, open_ports
from aws.config import SERVING, TAG_DEADLINE, TAG_RUN, TRAINING, Names, from_iso, to_iso
from aws.journal import ENDED, Record
from aws.machines.instances import SHUTTING_DOWN, Instance

if TYPE_CHECKING:
    from aws.account.schedules import Kill
    from utils.versions import Unfinished

GRACE = timedelta(minutes=10)  # between the steps of a launch things look as if they belonged to nothing
UPLOAD_AGE = timedelta(days=1)
KEY_AGE = timedelta(days=180)
EVERYBODY = ("0.0.0.0/0", "::/0")
WEB_PORTS = ("80", "443")  # of a server with a domain, which is for everybody
TAG_DOMAIN = "stranger:domain"  # see aws/operations/addresses.py


@dataclass
class Facts:
    """All that was read, before it is judged."""

    names: Names
    now: datetime
    instances: list[Instance] = field(default_factory=list)
    dark_regions: set[str] = field(default_factory=set)  # whose instances could not be read
    records: dict[str, Record] | None = None  # None: the journal could not be read
    ends: dict[str, str] = field(default_factory=dict)  # run → the stage at its end, where the bucket has it
    things: list[Thing] = field(default_factory=list)
    kills: list[Kill] | None = None  # None: schedules could not be read
    uploads: list[Upload] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)

    @property
    def live(self) -> list[Instance]:
        """Instances that are not ending already."""
        return [each for each in self.instances if each.is_live and each.state != SHUTTING_DOWN]


def diagnose(facts: Facts) -> list[Finding]:
    """All that is not as it should be."""
    return [*_of_instances(facts), *_of_runs(facts), *_of_things(facts), *_of_kills(facts), *_of_store(facts)]


def _of_instances(facts: Facts) -> Iterator[Finding]:
    for instance in facts.live:
        record = facts.records.get(instance.run) if facts.records is not None else None
        kind, why = _fault_of(facts, instance, record)
        if kind:
            yield Finding(
                kind,
                instance.id,
                instance.region,
                f"{instance.id} ({instance.type} {instance.market}, {instance.run or 'no run'}) {why}.",
                overdue=kind in (kinds.OVERDUE, kinds.RUN_ENDED),
                billable=True,
                remedy=f"python deploy_aws.py terminate {instance.id}",
                facts={"run": instance.run},
            )


def _fault_of(facts: Facts, instance: Instance, record: Record | None) -> tuple[str, str]:
    """Kind and reason, both empty for an instance that is as it should be."""
    deadline = instance.deadline or _moment(record.deadline if record else "")
    if deadline and deadline < facts.now:
        return kinds.OVERDUE, f"is past its deadline {to_iso(deadline)}"
    if record and record.state == ENDED:
        return kinds.RUN_ENDED, f"is {instance.state}, though its run has ended ({record.stage or 'no stage'})"
    if instance.purpose == TRAINING and instance.deadline is None:
        return kinds.NO_DEADLINE, "has no deadline that could be read: only its schedule would end it"
    if facts.records is not None and record is None and facts.now - instance.launched_at > GRACE:
        return kinds.NO_RECORD, "is in no journal"
    return "", ""


def _of_runs(facts: Facts) -> Iterator[Finding]:
    running = {each.run for each in facts.instances if each.is_live}
    for record in (facts.records or {}).values():
        dark = facts.dark_regions & {each.region for each in record.attempts}
        if record.state != ENDED and record.run not in running and not dark:
            yield from _of_idle_run(facts, record)


def _of_idle_run(facts: Facts, record: Record) -> Iterator[Finding]:
    """An open run for which nothing runs."""
    asked_at = _moment(record.attempt.at if record.attempt else record.created)
    if asked_at is None or facts.now - asked_at <= GRACE:
        return
    end = facts.ends.get(record.run, "")
    if end in ("done", "failed"):
        problem = f"{record.run} is {end}, and its books are open."
        yield Finding(kinds.NOT_COLLECTED, record.run, "", problem, remedy="python deploy_aws.py status")
    elif any(each.instance for each in record.attempts):
        problem = f"{record.run} is not done, and {_last_machine(record)} is gone."
        yield Finding(kinds.LOST_MACHINE, record.run, "", problem, remedy=_resume(record))
    else:
        problem = f"{record.run} asked for a machine at {to_iso(asked_at)}, and there is none. It costs nothing."
        yield Finding(kinds.LOST_ATTEMPT, record.run, "", problem, remedy=_resume(record))


def _last_machine(record: Record) -> str:
    return next(each.instance for each in reversed(record.attempts) if each.instance)


def _resume(record: Record) -> str:
    if record.purpose == SERVING:
        return "python deploy_aws.py deploy-gradio"
    return f"python deploy_aws.py train {record.run.partition('-')[0]} --resume {record.run}"


def _of_things(facts: Facts) -> Iterator[Finding]:
    judges = {VOLUME: _of_volume, ADDRESS: _of_address, GROUP: _of_group, KEY: _of_key, REQUEST: _of_request}
    for thing in facts.things:
        yield from judges[thing.kind](facts, thing)


def _of_volume(facts: Facts, thing: Thing) -> Iterator[Finding]:
    if thing.content.get("State") == "available" and _is_older(facts, thing, GRACE):
        problem = f"{thing.id} ({thing.content.get('Size', '?')} GB) is attached to nothing."
        yield _loose(facts, kinds.LOOSE_VOLUME, thing, problem, command="delete-volume --volume-id")


def _of_address(facts: Facts, thing: Thing) -> Iterator[Finding]:
    if thing.content.get("AssociationId") or thing.content.get("InstanceId"):
        return
    domain = thing.tags.get(TAG_DOMAIN, "")
    kept = f"; it is kept for {domain}" if domain else ""
    problem = f"{thing.id} ({thing.content.get('PublicIp', '?')}) leads to nothing{kept}."
    command = "release-address --allocation-id"
    yield _loose(facts, kinds.LOOSE_ADDRESS, thing, problem, command=command, about={"domain": domain})


def _of_request(facts: Facts, thing: Thing) -> Iterator[Finding]:
    waiting = thing.content.get("State") == "open" and not thing.content.get("InstanceId")
    if waiting and _is_older(facts, thing, GRACE):
        problem = f"{thing.id} waits for an instance that would start by itself."
        command = "cancel-spot-instance-requests --spot-instance-request-ids"
        yield _loose(facts, kinds.LOOSE_REQUEST, thing, problem, command=command)


def _of_group(facts: Facts, thing: Thing) -> Iterator[Finding]:
    name = str(thing.content.get("GroupName", ""))
    if name not in {facts.names.security_group(purpose) for purpose in (TRAINING, SERVING)}:
        problem = f"{thing.id} ({name}) has the project's tag, and nothing here makes it."
        yield Finding(
            kinds.UNKNOWN_GROUP,
            thing.id,
            thing.region,
            problem,
            remedy=f"aws ec2 delete-security-group --region {thing.region} --group-id {thing.id}",
        )
    allowed = facts.names.settings.open_to
    for ports, block in open_ports(thing.content):
        if block in EVERYBODY and block not in allowed and ports not in WEB_PORTS:
            problem = f"{thing.id} ({name}): port {ports} is open to everybody ({block})."
            yield Finding(kinds.OPEN_GROUP, thing.id, thing.region, problem, remedy=_close_port(thing, ports, block))


def _close_port(thing: Thing, ports: str, block: str) -> str:
    if ports == "all" or ":" in block:
        return f"aws ec2 describe-security-groups --region {thing.region} --group-ids {thing.id}"
    return (
        f"aws ec2 revoke-security-group-ingress --region {thing.region} --group-id {thing.id} "
        f"--protocol tcp --port {ports} --cidr {block}"
    )


def _of_key(facts: Facts, thing: Thing) -> Iterator[Finding]:
    name = str(thing.content.get("KeyName", ""))
    if name != facts.names.key_pair and _is_older(facts, thing, KEY_AGE):
        problem = f"{name} is the key pair of another machine, older than {KEY_AGE.days} days."
        remedy = f"aws ec2 delete-key-pair --region {thing.region} --key-name {name}"
        yield Finding(kinds.OLD_KEY, thing.id, thing.region, problem, remedy=remedy)


def _loose(
    facts: Facts, kind: str, thing: Thing, problem: str, *, command: str, about: Mapping[str, str] | None = None
) -> Finding:
    deadline, run = _moment(thing.tags.get(TAG_DEADLINE, "")), thing.tags.get(TAG_RUN, "")
    remedy = f"aws ec2 {command} {thing.id} --region {thing.region}"
    overdue = deadline is not None and deadline < facts.now
    return Finding(kind, thing.id, thing.region, problem, overdue, True, remedy, {"run": run, **(about or {})})


def _of_kills(facts: Facts) -> Iterator[Finding]:
    if facts.kills is None or facts.records is None:
        return
    for kill in facts.kills:
        record = facts.records.get(kill.run)
        if record is None or record.state == ENDED:
            why = "has ended" if record else "is in no journal"
            remedy = f"aws scheduler delete-schedule --group-name {facts.names.schedule_group} --name {kill.name}"
            problem = f"the schedule {kill.name} is there, and its run {why}."
            yield Finding(kinds.STALE_SCHEDULE, kill.name, "", problem, remedy=remedy, facts={"run": kill.run})
    yield from _of_missing_kills(facts, {kill.run for kill in facts.kills})


def _of_missing_kills(facts: Facts, scheduled: set[str]) -> Iterator[Finding]:
    """Runs that work with one belt less: whose schedule has been removed by somebody."""
    for run in sorted({each.run for each in facts.live}):
        record = (facts.records or {}).get(run)
        if record is None or record.state == ENDED or run in scheduled:
            continue
        deadline = _moment(record.deadline)
        if deadline and deadline > facts.now:
            problem = f"{run} runs without its schedule: only its machine itself would end it at {record.deadline}."
            yield Finding(kinds.NO_SCHEDULE, run, "", problem, remedy=_resume(record))


def _of_store(facts: Facts) -> Iterator[Finding]:
    for upload in facts.uploads:
        if facts.now - upload.begun_at > UPLOAD_AGE:
            yield Finding(
                kinds.LOOSE_UPLOAD,
                upload.key,
                "",
                f"{upload.key} was begun at {to_iso(upload.begun_at)} and never finished; its parts are billed.",
                billable=True,
                remedy="python deploy_aws.py doctor --reap",
                facts={"upload": upload.id},
            )
    for left in facts.unfinished:
        yield Finding(
            kinds.UNFINISHED_VERSION,
            f"{left.family}/{left.version}",
            "",
            f"{left.version} of {left.family} was begun by {left.actor or 'somebody'} at {to_iso(left.started)} and "
            f"never finished: {left.size_bytes / 1e6:.1f} MB.",
            billable=True,
            remedy="python deploy_aws.py doctor --reap",
            facts={"family": left.family, "version": left.version},
        )


def _is_older(facts: Facts, thing: Thing, age: timedelta) -> bool:
    return thing.made_at is None or facts.now - thing.made_at > age


def _moment(text: str) -> datetime | None:
    try:
        return from_iso(text)
    except ValueError:
        return None
