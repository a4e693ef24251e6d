"""From a job to an instance: schedule the kill, write down the token, ask for a machine in one zone after the other.

    instance = Launch(cloud, machine, job).instance()

Asking again for the same job gives the same instance: what was begun is in the journal and in the tags.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from aws.cloud import Cloud
from aws.config import from_iso, to_iso
from aws.errors import CapacityError, CloudError, InvalidRequest, QuotaError
from aws.faults import TOKEN_MISMATCH, TOKEN_USED_UP
from aws.journal import OPEN, Attempt, Record
from aws.places import STARTING, Job

if TYPE_CHECKING:
    from aws.ec2_manager import Candidate, Instance, LaunchRequest

KILL_GRACE = timedelta(minutes=10)  # the schedule comes after the machine's own deadline


@dataclass(frozen=True)
class Machine:
    """What kind of machine a job gets. ``instance_types`` and ``markets`` are tried in their order."""

    instance_types: tuple[str, ...]
    volume_gb: int
    markets: tuple[str, ...] = ("on-demand",)
    image: str = ""  # pinned
    security_group: str = ""  # id; empty: that of the purpose
    confirm: bool = False  # the caller confirms the machine itself (a server, once it answers), not the hand-over


@dataclass(frozen=True)
class Launch:
    """The way of one job to its instance."""

    cloud: Cloud
    machine: Machine
    job: Job

    def instance(self) -> Instance:
        """The live instance of the job's last attempt, or a new one. Raises CloudError, StoreError."""
        record = self.cloud.journal.read(self.job.name)
        self._schedule(record)
        found = find_instance(self.cloud, record)
        if found:
            self.cloud.say(STARTING, f"{found.id} was launched before; going on with it")
            return found
        if record.attempt is None or record.attempt.ended_at or record.attempt.instance:
            record = self._new_attempt(record)
        try:
            return self._walk(record)
        except InvalidRequest as error:
            if error.code not in (TOKEN_USED_UP, TOKEN_MISMATCH):
                raise
            # What the lost call had made is gone, or was asked for in other words: its tokens are of no more use.
            return self._walk(self._new_attempt(record))

    def request(self, deadline: datetime | None) -> LaunchRequest:
        """What is asked of EC2, but for zone and market. Raises ImageError, NotFound."""
        from aws.account.setup import find_security_group
        from aws.ec2_manager import LaunchRequest
        from aws.machines.images import resolve_image
        from aws.machines.userdata import build_user_data

        cloud, aws, job = self.cloud, self.cloud.settings.aws, self.job
        image = resolve_image(cloud.sessions, job.purpose, self.machine.image)
        group = self.machine.security_group or find_security_group(cloud.sessions, cloud.names, job.purpose)
        return LaunchRequest(
            run=job.name,
            purpose=job.purpose,
            region=aws.region,
            instance_types=self.machine.instance_types,
            markets=self.machine.markets,
            image=image,
            volume_gb=max(self.machine.volume_gb, image.minimum_gb),
            key_name=cloud.names.key_pair,
            security_groups=(group,),
            profile=cloud.names.instance_role(job.purpose),
            user_data=build_user_data(deadline, aws.setup_minutes, image.user, cloud.folder),
            tags=cloud.names.tags(job.purpose, run=job.name, deadline=deadline),
            vpc=aws.vpc,
        )

    def _schedule(self, record: Record) -> None:
        """Belt two: a one-shot schedule in the cloud, made before the launch."""
        from aws.account.schedules import make_kill

        name = self.cloud.names.schedule(record.run)
        self.cloud.journal.change(record.run, lambda each: replace(each, schedule=name))
        make_kill(self.cloud.sessions, self.cloud.names, record.run, self._deadline(record) + KILL_GRACE)

    def _deadline(self, record: Record) -> datetime:
        """When the machine must be gone; one that nobody has confirmed has its set-up time only."""
        if record.deadline:
            return from_iso(record.deadline)
        return self.cloud.now() + timedelta(minutes=self.cloud.settings.aws.setup_minutes)

    def _new_attempt(self, record: Record) -> Record:
        number = record.attempt.number + 1 if record.attempt else 1
        attempt = Attempt(number=number, region=self.cloud.settings.aws.region, at=to_iso(self.cloud.now()))
        return self.cloud.journal.change(
            record.run, lambda each: replace(each, attempts=(*each.attempts, attempt), state=OPEN, stage="")
        )

    def _walk(self, record: Record) -> Instance:
        """Ask for a machine in one zone after the other; each token is written down before it is used."""
        request = self.request(from_iso(record.deadline) if record.deadline else None)
        manager, problems = self.cloud.manager(), list[CloudError]()
        for candidate in self._candidates(request, record):
            token = self._write_down(record, request, candidate)
            self.cloud.say(STARTING, f"asking for {candidate.type} ({candidate.market}) in {candidate.zone}")
            try:
                instance = manager.run(request, candidate, token)
            except (CapacityError, QuotaError) as error:
                problems.append(error)
                self.cloud.say(STARTING, error.what)
                continue
            self.cloud.journal.change_attempt(record.run, instance=instance.id)
            self.cloud.say(STARTING, f"{instance.id} launched in {candidate.zone}")
            return instance
        if problems and all(isinstance(each, QuotaError) for each in problems):
            from aws.machines.quotas import used_up

            raise used_up(self.cloud.sessions, request.instance_types[0], request.markets[0], problems[0])
        raise nothing_free(problems, request)

    def _candidates(self, request: LaunchRequest, record: Record) -> list[Candidate]:
        """All of them; the one whose reply nobody saw first, so that its token finds what it has made."""
        candidates = self.cloud.manager().candidates(request)
        attempt = record.attempt
        if attempt and attempt.token:
            asked = (attempt.market, attempt.instance_type, attempt.zone)
            candidates.sort(key=lambda each: (each.market, each.type, each.zone) != asked)
        return candidates

    def _write_down(self, record: Record, request: LaunchRequest, candidate: Candidate) -> str:
        from aws.ec2_manager import launch_token

        attempt = record.attempts[-1]
        token = launch_token(record.run, attempt.number, candidate)
        price = self.cloud.prices.hour(candidate.type, request.region, candidate.market, request.volume_gb).usd_per_hour
        self.cloud.journal.change_attempt(
            record.run,
            token=token,
            zone=candidate.zone,
            instance_type=candidate.type,
            market=candidate.market,
            price_usd_per_hour=price,
            image=request.image.id,
            user=request.image.user,
        )
        return token


def find_instance(cloud: Cloud, record: Record) -> Instance | None:
    """The live instance of the last attempt; also one whose launch was answered to nobody."""
    attempt = record.attempt
    if attempt is None or attempt.ended_at:
        return None
    found = cloud.manager(attempt.region).find(run=record.run)
    live = [each for each in found if each.is_live and each.state != "shutting-down"]
    if not live:
        return None
    newest = max(live, key=lambda each: each.launched_at)
    if attempt.instance != newest.id:
        cloud.journal.change_attempt(record.run, instance=newest.id)
    return newest


def nothing_free(problems: list[CloudError], request: LaunchRequest) -> CloudError:
    """One error for a walk without success; its kind is that of the last refusal."""
    types, markets = " or ".join(request.instance_types), " or ".join(request.markets)
    if not problems:
        return CapacityError(
            f"no zone of {request.region} offers {types}.",
            remedies=[("Take another region", "--region us-west-2"), ("Or type", "aws.training.instance_types")],
        )
    last = problems[-1]
    error = CapacityError(
        f"nobody has a free {types} ({markets}) in {request.region}: {len(problems)} tries.",
        instead=last.what,
        remedies=[
            ("Try the other market", "--spot" if "spot" not in request.markets else "without --spot"),
            ("Allow other types", "aws.training.instance_types in aws_config.yaml"),
            ("Or another region", "--region us-west-2"),
        ],
    )
    error.code = last.code
    return error
