"""Ending instances, and the proof that they have ended. Used by aws/ec2_manager.py.

In rounds: look, ask AWS to end what lives, look again, until each instance is terminated (or no longer listed), its
volumes are gone and its spot request is closed. Every step is tolerant: an instance that is still pending, one that is
not visible yet, an id that is wrong, a call that fails.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aws.config import TAG_PROJECT
from aws.errors import CloudError, NotFound, ReplyLost, ThrottleError
from aws.faults import aws_errors
from aws.machines.instances import SHUTTING_DOWN, TERMINATED, Instance

FIRST_POLL_SECONDS, POLL_SECONDS = 0.5, 3.0
INSTANCE_ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")
SPOT_ENDS = ("cancelled", "closed", "failed", "completed")
PASSING = (ThrottleError, ReplyLost)  # the next round may do better


@dataclass(frozen=True)
class Termination:
    """How the end of an instance went.

    Args:
        proof: AWS says that the instance is terminated (or lists it no longer), with its volumes and spot request.
        already: it had ended, or was ending, before anything was done.
        problem: why there is no proof; empty if there is.
        known: AWS listed it at all; an instance is listed for about an hour after its end.
        instance: as it was last seen.
    """

    instance_id: str
    proof: bool
    already: bool
    problem: str
    volumes_gone: bool
    spot_cancelled: bool
    known: bool = True
    instance: Instance | None = None


@dataclass
class _Case:
    """What is known of one id so far."""

    instance_id: str
    instance: Instance | None = None
    already: bool = True
    ended: bool = False
    hopeless: bool = False  # another round will not do better
    problem: str = ""
    volumes: set[str] = field(default_factory=set)  # that are not known to be gone
    spot_requests: set[str] = field(default_factory=set)  # that are not known to be closed

    @property
    def proven(self) -> bool:
        return self.ended and not self.volumes and not self.spot_requests

    @property
    def open(self) -> bool:
        return not (self.proven or self.hopeless)

    def see(self, instance: Instance, *, first: bool) -> None:
        """Volumes are remembered from every look: a pending instance may not list them, a terminated one does not."""
        self.instance = instance
        self.ended = instance.state == TERMINATED
        if first:
            self.already = instance.state in (TERMINATED, SHUTTING_DOWN)
            self.spot_requests |= {instance.spot_request} - {""}
        self.volumes |= set(instance.volumes)

    def give_up(self, problem: str) -> None:
        self.problem, self.hopeless = problem, True

    def result(self) -> Termination:
        return Termination(
            self.instance_id,
            proof=self.proven,
            already=self.already and self.ended,
            problem="" if self.proven else self.problem,
            volumes_gone=self.ended and not self.volumes,
            spot_cancelled=self.ended and not self.spot_requests,
            known=self.instance is not None,
            instance=self.instance,
        )


class Terminator:
    """Ends instances of one region. ``listed`` gives those of some ids that AWS knows."""

    def __init__(
        self,
        client: Any,
        listed: Callable[[Iterable[str]], Mapping[str, Instance]],
        project: str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._listed = listed
        self._project = project
        self._clock = clock
        self._sleep = sleep

    def terminate(
        self, ids: Sequence[str], timeout_seconds: float, *, force: bool, visible_seconds: float
    ) -> list[Termination]:
        """See :meth:`aws.ec2_manager.EC2Manager.terminate`."""
        cases = {each: _Case(each) for each in ids}
        start = self._clock()
        pause = FIRST_POLL_SECONDS
        while True:
            seconds = self._clock() - start
            self._round(list(cases.values()), force=force, may_be_new=seconds < visible_seconds)
            if not any(case.open for case in cases.values()):
                break
            if seconds >= timeout_seconds:
                _time_is_up(cases.values(), timeout_seconds)
                break
            self._sleep(pause)
            pause = min(POLL_SECONDS, pause * 1.5)
        return [cases[each].result() for each in ids]

    def _round(self, cases: list[_Case], *, force: bool, may_be_new: bool) -> None:
        self._look([case for case in cases if case.open], force=force, may_be_new=may_be_new)
        self._close_spot_requests([case for case in cases if case.open and case.spot_requests])
        living = [case for case in cases if case.open and not case.ended and case.instance]
        self._end([case for case in living if case.instance and case.instance.state != SHUTTING_DOWN])
        self._look_at_volumes([case for case in cases if case.open and case.ended and case.volumes])

    def _look(self, cases: list[_Case], *, force: bool, may_be_new: bool) -> None:
        try:
            listed = self._listed(case.instance_id for case in cases)
        except PASSING as error:
            _remember(cases, error)
            return
        for case in cases:
            instance = listed.get(case.instance_id)
            if instance is None:
                _not_listed(case, may_be_new)
            elif not force and instance.tags.get(TAG_PROJECT) != self._project:
                case.see(instance, first=False)
                case.give_up(f"{case.instance_id} does not belong to {self._project}: it has no tag of the project.")
            else:
                case.see(instance, first=case.instance is None)

    def _end(self, cases: list[_Case]) -> None:
        """All at once; where AWS refuses that, one by one: a single bad one makes it end none."""
        try:
            self._terminate(cases)
        except CloudError as error:
            if len(cases) == 1:
                _judge(cases[0], error)
                return
            for case in cases:
                self._end([case])

    def _terminate(self, cases: list[_Case]) -> None:
        ids = [case.instance_id for case in cases]
        if ids:
            with aws_errors(f"end {', '.join(ids)}"):
                self._client.terminate_instances(InstanceIds=ids)

    def _close_spot_requests(self, cases: list[_Case]) -> None:
        """Before the instance: a request that stays open could launch another one."""
        ids = sorted({each for case in cases for each in case.spot_requests})
        if not ids:
            return
        try:
            open_ones = self._open_spot_requests(ids)
            if open_ones:
                with aws_errors(f"cancel {', '.join(open_ones)}"):
                    self._client.cancel_spot_instance_requests(SpotInstanceRequestIds=open_ones)
        except CloudError as error:
            _remember(cases, error)
            return
        for case in cases:
            case.spot_requests &= set(open_ones)

    def _open_spot_requests(self, ids: list[str]) -> list[str]:
        filters = [{"Name": "spot-instance-request-id", "Values": ids}]
        with aws_errors(f"look at {', '.join(ids)}"):
            reply = self._client.describe_spot_instance_requests(Filters=filters)
        known = reply["SpotInstanceRequests"]
        return [each["SpotInstanceRequestId"] for each in known if each["State"] not in SPOT_ENDS]

    def _look_at_volumes(self, cases: list[_Case]) -> None:
        ids = sorted({each for case in cases for each in case.volumes})
        if not ids:
            return
        try:
            with aws_errors(f"look at {', '.join(ids)}"):
                reply = self._client.describe_volumes(Filters=[{"Name": "volume-id", "Values": ids}])
        except CloudError as error:
            _remember(cases, error)
            return
        there = {each["VolumeId"] for each in reply["Volumes"] if each["State"] != "deleted"}
        for case in cases:
            case.volumes &= there


def _not_listed(case: _Case, may_be_new: bool) -> None:
    if case.instance is None and not INSTANCE_ID.fullmatch(case.instance_id):
        case.give_up(f"'{case.instance_id}' is not the id of an instance: one looks like i-0123456789abcdef0.")
    elif case.instance is not None or not may_be_new:
        case.ended = True


def _judge(case: _Case, error: CloudError) -> None:
    case.problem = error.what
    if not isinstance(error, (*PASSING, NotFound)):  # not found: it was listed, so it becomes visible or is gone
        case.hopeless = True


def _remember(cases: Iterable[_Case], error: CloudError) -> None:
    """Only what has ended is given up: everything else is worth the next round."""
    for case in cases:
        case.problem = error.what
        case.hopeless = case.ended and not isinstance(error, PASSING)


def _time_is_up(cases: Iterable[_Case], timeout_seconds: float) -> None:
    for case in cases:
        if case.open:
            left = [case.instance.state] if case.instance and not case.ended else []
            left += sorted(case.volumes) + sorted(case.spot_requests)
            state = ", ".join(left) or "not visible"
            case.problem = (
                f"{case.instance_id}: not gone after {timeout_seconds:.0f} s ({state}). {case.problem}".strip()
            )
