"""EC2 as a place: a job gets a machine of its own, works on it without us, and leaves nothing behind.

    place = EC2Place(cloud, machine)
    place.launch(job)         # journal → kill schedule → instance → SSH → code → the job works alone
    place.status(job.name)    # over SSH, or from the bucket when the instance does not answer
    place.terminate(job.name) # proves the end

Each step is written down before it is taken, so that whoever comes next, after any crash, goes on from there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aws.cloud import Cloud
from aws.config import RESULTS, from_iso, to_iso
from aws.errors import CapacityError, CloudError, NotFound, PlaceError, RemoteError, SshError
from aws.journal import ENDED, Attempt, Record
from aws.machines.launch import Launch, Machine
from aws.places import CONNECTING, ENDS, GONE, INTERRUPTED, STARTING, WAITING, Job, LogPiece, Outcome, PlaceStatus

if TYPE_CHECKING:
    from aws.ec2_manager import Instance, Termination
    from aws.machines.userdata import Poll
    from aws.ssh import Address, Connection

logger = logging.getLogger(__name__)

PIECE_BYTES = 262_144  # of a log, at once
TAKEN_BACK = 3  # so many new machines may be taken back by AWS before that is an error
UNSEEN_PAUSES = (2.0, 3.0, 5.0)
FRESH = timedelta(minutes=2)
ENDED_BY_CALL = "Client.UserInitiatedShutdown"  # EC2's reason for a state: TerminateInstances was called


@dataclass
class EC2Place:
    """Jobs on EC2 instances, one each. Names are runs; what is known of them is in the journal."""

    cloud: Cloud
    machine: Machine | None = None  # None: to look and to end only
    _lines: dict[str, Connection] = field(default_factory=dict)
    _addresses: dict[str, Address] = field(default_factory=dict)
    _records: dict[str, Record] = field(default_factory=dict)  # handed over: they change no more while we look

    # launch

    def launch(self, job: Job) -> None:
        """Give the job a machine and start it there, or go on with what was begun for it.

        Raises:
            PlaceError: no machine could be had, or it could not be set up.
            CloudError, SshError, StoreError: AWS, the machine or the bucket refuses.
        """
        from aws.machines.handover import HandOver

        if self.machine is None:
            raise PlaceError(f"no machine is chosen for {job.name}.")
        self._forget(job.name)
        if self._was_interrupted(job.name):
            self.end_attempt(job.name)
        instance = self._running(job, self.machine)
        if self.cloud.journal.read(job.name).attempts[-1].handed_over:
            self.cloud.say(CONNECTING, f"{job.name} works on {instance.id} on its own")
            return
        line = HandOver(self.cloud, job, instance).hand_over(confirm=not self.machine.confirm)
        self._lines[job.name], self._addresses[job.name] = line, line.address

    def _running(self, job: Job, machine: Machine) -> Instance:
        """The job's machine once it runs; AWS may take one back at once where the zone has no room after all."""
        for left in range(TAKEN_BACK, -1, -1):
            instance = Launch(self.cloud, machine, job).instance()
            try:
                return self.cloud.manager().wait_running(instance.id)
            except CapacityError as error:
                if not left:
                    raise
                self.cloud.say(STARTING, error.what)
                self.end_attempt(job.name)
        raise PlaceError(f"{job.name} got no machine.")

    def _was_interrupted(self, name: str) -> bool:
        attempt = self.cloud.journal.read(name).attempt
        if attempt is None or not attempt.handed_over or attempt.ended_at:
            return False
        return self.status(name).stage in (INTERRUPTED, GONE)

    def confirm(self, name: str) -> None:
        """The machine is wanted: it no longer ends itself at the end of its set-up time. Raises SshError."""
        from aws.machines.handover import confirm_machine

        confirm_machine(self.cloud, self._line(name))

    def run(self, name: str, command: str, timeout_seconds: float = 30.0) -> str:
        """What a shell command on the machine of a run prints. Raises SshError, RemoteError."""
        return self._line(name).run(command, timeout_seconds=timeout_seconds).text

    # status, logs, collect

    def status(self, name: str) -> PlaceStatus:
        """Where the job stands: from the machine, or from the bucket when it does not answer."""
        record = self._record(name)
        attempt = record.attempt
        if attempt is None or not attempt.handed_over:
            if record.state == ENDED:
                return PlaceStatus(name, record.stage or GONE, message="it ended before it had its work")
            return PlaceStatus(name, WAITING if attempt is None else STARTING)
        end, state = self._look(name, attempt)
        progress = state.get("progress") or {}
        if end:
            return PlaceStatus(name, _stage(end), progress, str(end.get("failing_line") or ""))
        if name not in self._lines and not self._is_live(attempt):
            end = saved(self.cloud, attempt, name, "exit")  # written since
            why = f"{attempt.instance} ended before the job did"
            return PlaceStatus(name, _stage(end), progress, str(end.get("failing_line") or "") if end else why)
        return PlaceStatus(name, str(state.get("stage") or STARTING), progress, str(state.get("message") or ""))

    def logs(self, name: str, offset: int = 0) -> LogPiece:
        """The log from an offset on. The machine and the bucket hold the same bytes: either can go on."""
        record = self._record(name)
        attempt = record.attempt
        poll = self._poll(name, attempt, offset) if attempt and attempt.handed_over else None
        content = poll.log if poll else self._saved_log(record, offset)
        return LogPiece(content, offset + len(content))

    def saved_log_bytes(self, name: str) -> int:
        """How much of the log lies in the bucket: so much of it a next machine starts with."""
        try:
            return len(self.cloud.store.get(str(self._record(name).job["log_key"]))[0])
        except KeyError:
            return 0

    def collect(self, name: str) -> Outcome:
        """How the job ended. Raises PlaceError: it goes on."""
        status = self.status(name)
        if not status.ended:
            raise PlaceError(
                f"{name} is not over yet.", remedies=[("Follow it", f"python deploy_aws.py logs {name} --follow")]
            )
        attempt = self._record(name).attempt
        end = self._look(name, attempt)[0] if attempt else {}
        line = str(end.get("failing_line") or status.message)
        return Outcome(name, status.stage, end.get("exit_status"), end.get("output") or {}, line)

    def was_ended_by_call(self, name: str) -> bool:
        """Whether somebody has ended the machine of the last attempt, rather than AWS or the machine itself."""
        attempt = self._record(name).attempt
        try:
            found = self.cloud.manager(attempt.region).describe(attempt.instance) if attempt else None
        except NotFound:
            return False
        return found is not None and found.reason.startswith(ENDED_BY_CALL)

    def _look(self, name: str, attempt: Attempt) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Exit and state of a job, empty where there is none yet."""
        poll = self._poll(name, attempt, 0, limit=0)
        if poll:
            return poll.exit, poll.state
        return saved(self.cloud, attempt, name, "exit"), saved(self.cloud, attempt, name, "state")

    def _poll(self, name: str, attempt: Attempt, offset: int, limit: int = PIECE_BYTES) -> Poll | None:
        """One look over SSH; None where the machine cannot be asked."""
        from aws.machines.userdata import parse_poll, poll_command

        try:
            answer = self._line(name).run(poll_command(self.cloud.folder, offset, limit))
        except RemoteError as error:
            logger.debug("%s: %s", attempt.instance, error)
            return None
        except SshError as error:
            logger.debug("%s does not answer: %s", attempt.instance, error)
            self._close(name)
            return None
        return parse_poll(answer.stdout)

    def _saved_log(self, record: Record, offset: int) -> bytes:
        try:
            return self.cloud.store.get(str(record.job["log_key"]))[0][offset : offset + PIECE_BYTES]
        except KeyError:
            return b""

    # terminate

    def terminate(self, name: str) -> None:
        """End the machines of a run with proof, then its schedule; silent when all is gone.

        Raises:
            PlaceError: the end of a machine is not proven; its deadline and its schedule stay.
        """
        self._end_machines(name)
        settle(self.cloud, self.cloud.journal.read(name))

    def end_attempt(self, name: str) -> None:
        """End the machine of the last attempt with proof, but not the run: another machine will go on with it."""
        self._end_machines(name)
        now = self.cloud.now()
        self.cloud.journal.change(name, lambda each: _close_attempts(each, self._known(name), {}, now))

    def _end_machines(self, name: str) -> None:
        self._forget(name)
        record = self.cloud.journal.read(name)
        for region in {each.region for each in record.attempts}:
            manager = self.cloud.manager(region)
            known = {each.instance for each in record.attempts if each.region == region and not each.ended_at}
            machines = known - {""} | {each.id for each in self._find(record, region) if each.is_live}
            ended = manager.terminate(sorted(machines), patient=self._is_fresh(record)) if machines else []
            if unproven := [each for each in ended if not each.proof]:
                raise _not_ended(unproven, record)

    def _is_fresh(self, record: Record) -> bool:
        """Whether AWS may not know the last machine yet."""
        attempt = record.attempt
        return attempt is not None and self.cloud.now() - from_iso(attempt.at) < FRESH

    def _find(self, record: Record, region: str) -> list[Instance]:
        """What carries the run's tag; a launch that nobody saw the reply of may be listed some seconds later."""
        manager, attempt = self.cloud.manager(region), record.attempt
        found = manager.find(run=record.run)
        unseen = attempt is not None and attempt.token and not attempt.instance and not attempt.ended_at
        for pause in UNSEEN_PAUSES if unseen and not found else ():
            self.cloud.sleep(pause)
            found = manager.find(run=record.run)
            if found:
                break
        return found

    def close(self) -> None:
        """Close the connections; jobs go on."""
        for name in list(self._lines):
            self._close(name)

    # what all of them use

    def _record(self, name: str) -> Record:
        """The record; once its job is handed over, without asking again: credentials may expire meanwhile."""
        if name not in self._records:
            record = self.cloud.journal.read(name)
            if record.attempt is None or not record.attempt.handed_over:
                return record
            self._records[name] = record
        return self._records[name]

    def _line(self, name: str) -> Connection:
        """The connection to the machine of a run; made anew where there is none. Raises SshError."""
        from aws.ssh import Connection

        if name not in self._lines:
            self._lines[name] = Connection(self._address(name))
        return self._lines[name]

    def _address(self, name: str) -> Address:
        from aws.machines.handover import address_of

        attempt = self._record(name).attempt
        try:
            instance = self._describe(attempt) if attempt else None
        except CloudError:
            if name not in self._addresses:
                raise
            return self._addresses[name]  # credentials have expired: the machine itself still answers
        if not attempt or not instance or not instance.address or not attempt.host_keys:
            raise SshError(f"{name} has no machine that could be asked.")
        self._addresses[name] = address_of(self.cloud, instance, attempt)
        return self._addresses[name]

    def _describe(self, attempt: Attempt) -> Instance | None:
        try:
            found = self.cloud.manager(attempt.region).describe(attempt.instance) if attempt.instance else None
        except NotFound:
            return None
        return found if found and found.state == "running" else None

    def _is_live(self, attempt: Attempt) -> bool:
        try:
            state = self.cloud.manager(attempt.region).describe(attempt.instance).state
        except NotFound:
            return False
        return state in ("pending", "running", "stopping", "stopped")

    def _known(self, name: str) -> list[Instance]:
        record = self.cloud.journal.read(name)
        regions = {each.region for each in record.attempts}
        return [each for region in regions for each in self.cloud.manager(region).find(run=name)]

    def _forget(self, name: str) -> None:
        self._close(name)
        self._records.pop(name, None)
        self._addresses.pop(name, None)

    def _close(self, name: str) -> None:
        line = self._lines.pop(name, None)
        if line:
            line.close()


def saved(cloud: Cloud, attempt: Attempt | None, name: str, what: str) -> Mapping[str, Any]:
    """``exit`` or ``state`` as the last attempt's machine has saved it in the bucket; empty if it has not."""
    try:
        found = json.loads(cloud.store.get(f"{RESULTS}/{name}/{what}.json")[0])
    except (KeyError, ValueError):
        return {}
    wanted = attempt.number if attempt else 0
    return found if isinstance(found, dict) and found.get("attempt", wanted) == wanted else {}


def settle(cloud: Cloud, record: Record) -> Record:
    """Close the books of a run whose machines are gone: end, cost, outcome; its schedule is removed."""
    from aws.account.schedules import remove_kill

    remove_kill(cloud.sessions, cloud.names, record.run)
    end = saved(cloud, record.attempt, record.run, "exit")
    known = [
        each for region in {a.region for a in record.attempts} for each in cloud.manager(region).find(run=record.run)
    ]
    now = cloud.now()

    def close(each: Record) -> Record:
        closed = _close_attempts(each, known, end, now)
        stage = str(end.get("stage") or each.stage or GONE)
        return replace(closed, state=ENDED, stage=stage, schedule="", outcome=end.get("output") or each.outcome)

    return cloud.journal.change(record.run, close)


def _close_attempts(record: Record, known: Sequence[Instance], end: Mapping[str, Any], now: datetime) -> Record:
    return replace(record, attempts=tuple(_closed(each, record, known, end, now) for each in record.attempts))


def _closed(
    attempt: Attempt, record: Record, known: Sequence[Instance], end: Mapping[str, Any], now: datetime
) -> Attempt:
    """The attempt with its end and what it cost, if it has not been closed before."""
    if attempt.ended_at:
        return attempt
    started = next((each.launched_at for each in known if each.id == attempt.instance), from_iso(attempt.at))
    ended = min([now] + [from_iso(each) for each in (str(end.get("at") or ""), record.deadline) if each])
    hours = max(0.0, (ended - started).total_seconds() / 3600) if attempt.instance else 0.0
    return replace(attempt, ended_at=to_iso(ended), cost_usd=round(hours * attempt.price_usd_per_hour, 4))


def _stage(end: Mapping[str, Any]) -> str:
    stage = str(end.get("stage") or GONE)
    return stage if stage in ENDS else GONE


def _not_ended(unproven: Sequence[Termination], record: Record) -> PlaceError:
    listed = "; ".join(f"{each.instance_id}: {each.problem or 'still there'}" for each in unproven)
    until = f"It ends itself by {record.deadline} at the latest." if record.deadline else "It has no deadline."
    return PlaceError(
        f"the end of {record.run} is not proven: {listed}.",
        instead=until,
        remedies=[
            ("Try again", f"python deploy_aws.py terminate --run {record.run}"),
            ("Look", "python deploy_aws.py doctor"),
        ],
    )
