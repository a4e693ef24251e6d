"""What the doctor does about its findings: ends what is overdue, removes what is left over, and leaves the rest alone.

    for result in reap(sessions, names, journal, registry, findings):
        print(result)

Before anything is ended it is looked at again. Nothing without the project's tag is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws.books import findings as kinds
from aws.books.diagnosis import GRACE
from aws.books.findings import Finding
from aws.config import TAG_PROJECT, Names, from_iso
from aws.ec2_manager import EC2Manager
from aws.faults import aws_errors
from aws.journal import ENDED, Journal, Record
from aws.places import GONE
from utils.errors import SuiteError, UsageError

if TYPE_CHECKING:
    from aws.sessions import Sessions
    from utils.registry import Registry

LEFT_ALONE = {
    kinds.NO_DEADLINE: "left alone: it may be at work; end it by its id",
    kinds.NO_RECORD: "left alone: it is not past a deadline; end it by its id",
    kinds.LOST_MACHINE: "left alone: it costs nothing, and can be resumed or ended with terminate --run",
    kinds.NOT_COLLECTED: "left alone: status closes its books",
    kinds.DAMAGED_RECORD: "left alone: nobody can tell what it was",
    kinds.NO_SCHEDULE: "left alone: going on with the run makes it again",
    kinds.OPEN_GROUP: "left alone: somebody may be connected; close it by hand or with init",
    kinds.OLD_KEY: "left alone: it costs nothing, and another machine may use it",
    kinds.UNREADABLE: "nothing could be done",
}


@dataclass(frozen=True)
class Reaped:
    """What was done about a finding (``done``), or why not."""

    finding: Finding
    done: bool
    text: str

    def __str__(self) -> str:
        return f"{self.finding.id}: {self.text}"


class LeftAlone(Exception):
    """A finding about which nothing is done, with the reason."""


def reap(
    sessions: Sessions,
    names: Names,
    journal: Journal,
    registry: Registry,
    findings: Sequence[Finding],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
) -> list[Reaped]:
    """Mend what can be mended without asking anybody, in the order of the findings; one failure spares no other.

    Args:
        findings: of ``examine``, or some of them.
        clock, sleep: seconds.
    """
    reaper = _Reaper(sessions, names, journal, registry, clock, sleep)
    return [reaper.reap(finding) for finding in findings]


@dataclass(frozen=True)
class _Reaper:
    sessions: Sessions
    names: Names
    journal: Journal
    registry: Registry
    clock: Callable[[], float]
    sleep: Callable[[float], object]

    def reap(self, finding: Finding) -> Reaped:
        actions: dict[str, Callable[[Finding], str]] = {
            kinds.OVERDUE: self._end_overdue,
            kinds.RUN_ENDED: self._end_of_ended_run,
            kinds.LOST_ATTEMPT: self._close_record,
            kinds.LOOSE_VOLUME: self._delete_volume,
            kinds.LOOSE_ADDRESS: self._release_address,
            kinds.LOOSE_REQUEST: self._cancel_request,
            kinds.UNKNOWN_GROUP: self._delete_group,
            kinds.STALE_SCHEDULE: self._remove_schedule,
            kinds.LOOSE_UPLOAD: self._abort_upload,
            kinds.UNFINISHED_VERSION: self._remove_version,
        }
        action = actions.get(finding.kind)
        if action is None:
            return Reaped(finding, False, LEFT_ALONE.get(finding.kind, "left alone"))
        try:
            return Reaped(finding, True, action(finding))
        except (LeftAlone, SuiteError) as error:
            return Reaped(finding, False, error.what if isinstance(error, SuiteError) else str(error))

    # instances

    def _end_overdue(self, finding: Finding) -> str:
        instance = self._manager(finding.region).listed([finding.id]).get(finding.id)
        if instance and instance.deadline and instance.deadline >= self._now():
            raise LeftAlone(f"left alone: its deadline is {instance.deadline:%Y-%m-%d %H:%M} UTC now")
        return self._terminate(finding)

    def _end_of_ended_run(self, finding: Finding) -> str:
        if self.journal.read(finding.facts["run"]).state != ENDED:
            raise LeftAlone("left alone: its run goes on again")
        return self._terminate(finding)

    def _terminate(self, finding: Finding) -> str:
        (ended,) = self._manager(finding.region).terminate([finding.id])
        if not ended.proof:
            raise LeftAlone(ended.problem or "its end is not proven")
        return "terminated, volumes gone"

    # what lies about

    def _delete_volume(self, finding: Finding) -> str:
        with self._ours(finding, "delete"):
            self._ec2(finding).delete_volume(VolumeId=finding.id)
        return "deleted"

    def _release_address(self, finding: Finding) -> str:
        if domain := finding.facts.get("domain"):
            raise LeftAlone(f"left alone: {domain} may lead to it; release it by hand when it is not needed any more")
        with self._ours(finding, "release"):
            self._ec2(finding).release_address(AllocationId=finding.id)
        return "released"

    def _cancel_request(self, finding: Finding) -> str:
        with self._ours(finding, "cancel"):
            self._ec2(finding).cancel_spot_instance_requests(SpotInstanceRequestIds=[finding.id])
        return "cancelled"

    def _delete_group(self, finding: Finding) -> str:
        with self._ours(finding, "delete"):
            self._ec2(finding).delete_security_group(GroupId=finding.id)
        return "deleted"

    def _abort_upload(self, finding: Finding) -> str:
        with aws_errors(f"remove the parts of {finding.id}"):
            self.sessions.client("s3").abort_multipart_upload(
                Bucket=self.names.bucket, Key=finding.id, UploadId=finding.facts["upload"]
            )
        return "its parts are removed"

    def _remove_version(self, finding: Finding) -> str:
        self.registry.remove_unfinished(finding.facts["family"], finding.facts["version"])
        return "removed"

    # books

    def _remove_schedule(self, finding: Finding) -> str:
        from aws.account.schedules import remove_kill

        if self._is_open(finding.facts["run"]):
            raise LeftAlone("left alone: its run goes on again")
        remove_kill(self.sessions, self.names, finding.id)
        return "removed"

    def _close_record(self, finding: Finding) -> str:
        """A run that never had a machine ends here; the same command begins a new one."""
        from aws.account.schedules import remove_kill

        seen = self.journal.read(finding.id)
        for region in {each.region for each in seen.attempts}:
            if any(each.is_live for each in self._manager(region).find(run=finding.id)):
                raise LeftAlone("left alone: it has its machine now")
        closed = self.journal.change(finding.id, self._closed)
        if closed.state != ENDED:
            raise LeftAlone("left alone: it goes on")
        remove_kill(self.sessions, self.names, finding.id)
        return "closed: it never had a machine"

    def _closed(self, record: Record) -> Record:
        asked_at = from_iso(record.attempt.at if record.attempt else record.created)
        if self._now() - asked_at <= GRACE or any(each.instance for each in record.attempts):
            return record
        attempts = tuple(replace(each, ended_at=each.ended_at or each.at) for each in record.attempts)
        return replace(record, attempts=attempts, state=ENDED, stage=GONE, schedule="")

    # what all of them use

    def _is_open(self, run: str) -> bool:
        try:
            return self.journal.read(run).state != ENDED
        except UsageError:  # no such run
            return False

    def _manager(self, region: str) -> EC2Manager:
        return EC2Manager(self.sessions, region, clock=self.clock, sleep=self.sleep)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    def _ec2(self, finding: Finding) -> Any:
        return self.sessions.client("ec2", finding.region)

    @contextmanager
    def _ours(self, finding: Finding, doing: str) -> Iterator[None]:
        """Around a call that removes something. Raises LeftAlone: it has not, or no longer, the project's tag."""
        wanted = [{"Name": "resource-id", "Values": [finding.id]}, {"Name": "key", "Values": [TAG_PROJECT]}]
        with aws_errors(f"{doing} {finding.id}"):
            tags = self._ec2(finding).describe_tags(Filters=wanted)["Tags"]
            if [tag["Value"] for tag in tags] != [self.names.settings.project]:
                raise LeftAlone("left alone: it does not have the project's tag")
            yield
