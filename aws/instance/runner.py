"""Does one job from its environment to its end, and saves it on the way.

    python -m aws.instance.runner FOLDER                   on an instance, inside the environment of the job
    python -m aws.instance.runner FOLDER --python PYTHON   with a Python that has everything already

SIGTERM (the deadline, or ``systemctl stop``) and a spot notice end the job with a checkpoint, as ``interrupted``; the
next machine goes on from there. Killed and started again, it goes on as well.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aws.config import TRAINING
from aws.errors import PlaceError
from aws.instance.child import Ended, Stop, Stopped, end_leftover, run_child
from aws.instance.environment import install_requirements
from aws.instance.folder import (
    BOOTSTRAP_LOG,
    CHILD,
    CODE,
    EXIT,
    LOG,
    SYNCED,
    WORK,
    Assignment,
    free_room,
    read_line,
    reserve_room,
    write_line,
)
from aws.instance.gpu import check_gpu
from aws.instance.lock import held
from aws.instance.log import Log
from aws.instance.parameters import fetch_secret, fetch_secrets
from aws.instance.program import child_environment, command_of
from aws.instance.saver import FreshStore, Saver, patiently
from aws.instance.spot import POLL_SECONDS, SpotWatcher
from aws.instance.state import State
from aws.instance.sync import Sync
from aws.instance.verdict import Verdict, explain, judge, last_words
from aws.places import DATA, DONE, ENVIRONMENT, FAILED, INTERRUPTED, RUNNING, SAVING, Job
from config import SuiteError
from utils.stores import Store

if TYPE_CHECKING:
    from aws.instance.parameters import FetchSecret
    from aws.instance.spot import Notice

# The unit gives 180 s between SIGTERM and SIGKILL, AWS 120 s between the notice and the end.
STOP_SECONDS = (150.0, 170.0)  # for the program to save itself, and in all
SPOT_SECONDS = (80.0, 110.0)
PATIENCE_SECONDS = 300.0  # for bucket and parameters at the start: a new role takes a while to work
LAST_SAVE_SECONDS = 600.0
RESTART_SECONDS = 5.0
HOPELESS = 78  # sysexits.h: EX_CONFIG; the unit of a server does not start it again


class Runner:
    """One job in its folder. Everything that reaches out can be replaced.

    Args:
        folder: see ``aws/instance/__init__.py``.
        assignment: its job.json.
        open_store: opens the bucket.
        python: runs the program; empty: this one, after the environment was completed.
        fetch: reads a secret by name.
        notice: asks for a spot notice.
        patience_seconds: how long the bucket may be out of reach at the start.
    """

    def __init__(
        self,
        folder: Path,
        assignment: Assignment,
        open_store: Callable[[], Store],
        *,
        python: str = "",
        fetch: FetchSecret | None = None,
        notice: Callable[[], Notice | None] = lambda: None,
        notice_seconds: float = POLL_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        last_save_seconds: float = LAST_SAVE_SECONDS,
        restart_seconds: float = RESTART_SECONDS,
    ) -> None:
        self.folder, self.assignment, self.job = folder, assignment, assignment.job
        self.stop = Stop()
        self.log = Log(folder / LOG)
        self._python = python
        self._fetch = fetch or partial(fetch_secret, region=assignment.region)
        self._notice, self._notice_seconds = notice, notice_seconds
        self._patience_seconds, self._last_save_seconds = patience_seconds, last_save_seconds
        self._restart_seconds = restart_seconds
        self._store = FreshStore(open_store)
        self._state = State(folder, assignment)
        self._sync = Sync(self._store, folder / WORK, self.job, folder / SYNCED, self.log.say)
        self._saver = Saver(self._store, assignment, self.log, self._state, self._sync)

    def run(self) -> int:
        """Do the job; the exit status for systemd."""
        before = read_line(self.folder / EXIT)
        if before.get("stage") == DONE or before.get("kept"):
            return 0  # the machine was started again, and its work is over
        (self.folder / EXIT).unlink(missing_ok=True)
        reserve_room(self.folder)
        aside = self.folder / BOOTSTRAP_LOG
        self.log.go_on(self._log_before(Log(aside)), aside)
        if end_leftover(self.folder / CHILD, STOP_SECONDS[0]):
            self.log.say("ended the program of a runner that was killed")
        self._saver.start()
        threading.Thread(target=self._watch_spot, name="spot", daemon=True).start()
        return self._end(self._work())

    # the stages

    def _work(self) -> Verdict:
        try:
            if not self._python:
                self._enter(ENVIRONMENT, "installing what requirements.txt names")
                self._install()
                if self.job.purpose == TRAINING:
                    check_gpu(self._python, self.log.say)
            self._enter(DATA, f"fetching from {self._store.url}")
            self._fetch_data()
            environment = self._environment()
            self._enter(RUNNING, " ".join(self.job.command))
            return judge(self._run_program(environment), self.job, self.stop, disk_full=self.log.disk_full)
        except Stopped:
            return Verdict(INTERRUPTED, self.stop.why)
        except SuiteError as error:
            return Verdict(FAILED, self._explain(error.what))
        except Exception as error:
            self.log.write(traceback.format_exc().encode(errors="replace"))
            return Verdict(FAILED, self._explain(f"{type(error).__name__}: {error}"))

    def _explain(self, line: str) -> str:
        return explain(line, self.job, disk_full=self.log.disk_full)

    def _enter(self, stage: str, message: str) -> None:
        if self.stop.requested:
            raise Stopped
        self._state.set(stage, message)
        self.log.say(f"{stage}: {message}")
        self._saver.soon()

    def _install(self) -> None:
        def run(command: Sequence[str]) -> Ended:
            ended = self._run_child(command, os.environ)
            if self.stop.requested:
                raise Stopped
            return ended

        install_requirements(Path(sys.prefix), self.folder / CODE, self.job.torch_index, run, self.log.say)
        self._python = sys.executable

    def _fetch_data(self) -> None:
        inputs = patiently(self._sync.fetch_inputs, self._patience_seconds, self.log, self.stop)
        back = patiently(self._sync.restore, self._patience_seconds, self.log, self.stop)
        self._saver.outputs_ready = True
        self.log.say(f"{inputs} files fetched" + (f", {back} of an earlier machine restored" if back else ""))

    def _environment(self) -> dict[str, str]:
        secrets, missing = patiently(
            lambda: fetch_secrets(self.job.secrets, self._fetch), self._patience_seconds, self.log, self.stop
        )
        values = {variable: secret.reveal() for variable, secret in secrets.items()}
        self.log.hide(values.values())
        for name in missing:
            self.log.say(f"there is no parameter {name}: going on without it")
        return child_environment(self.folder, self.assignment, os.environ) | values

    def _run_program(self, environment: Mapping[str, str]) -> Ended:
        command = command_of(self.job, self._python, self.folder, self.assignment.bucket_url)
        ended, restarts = self._run_child(command, environment), 0
        while self.job.restart and not self.stop.requested:
            restarts += 1
            why = self._explain(last_words(ended))
            self.log.say(f"ended with status {ended.exit_status}, starting it again: {why}")
            self._state.note(f"started again {'once' if restarts == 1 else f'{restarts} times'}, last after: {why}")
            if self.stop.wait(self._restart_seconds):
                break
            ended = self._run_child(command, environment)
        return ended

    def _run_child(self, command: Sequence[str], environment: Mapping[str, str]) -> Ended:
        return run_child(
            command,
            cwd=self.folder / CODE,
            environment=environment,
            log=self.log,
            stop=self.stop,
            record=self.folder / CHILD,
            tick=self._state.refresh,
        )

    # the end

    def _end(self, verdict: Verdict) -> int:
        """Write down how it ended, in the bucket first: exit.json on this machine means that all is saved."""
        self._state.set(SAVING, verdict.line)
        self.log.say(f"{verdict.stage}: {verdict.line}" if verdict.line else verdict.stage)
        end = verdict.to_dict(self.job, attempt=self.assignment.attempt, cost_usd=self._state.cost_usd())
        saved = self._saver.finish(end, self._last_save())
        free_room(self.folder)
        if not saved:
            self.log.say("the bucket could not be reached to the end: what is not there is lost with this machine")
        self._write_end(end | {"saved": saved})
        self._state.set(verdict.stage, verdict.line)
        return self._exit_status(verdict.stage)

    def _exit_status(self, stage: str) -> int:
        """A job's own unit is not to start it again; that of a server is, unless pip would fail again."""
        if not self.job.restart or stage == INTERRUPTED:
            return 0
        return HOPELESS if not self._python else 1

    def _write_end(self, end: dict[str, Any]) -> None:
        if self.job.restart and end["stage"] == INTERRUPTED:
            return  # a server that is stopped with its machine starts again with it
        with suppress(OSError):  # the bucket has it
            write_line(self.folder / EXIT, end)

    def _last_save(self) -> Callable[[], float]:
        """Counts down the seconds for the last save; fewer once the machine is about to end."""
        patience = Stop()
        patience.request("", 0, self._last_save_seconds)
        return lambda: self.stop.seconds_left(patience.seconds_left(0))

    # beside the stages

    def _watch_spot(self) -> None:
        while not self.stop.wait(self._notice_seconds):
            notice = self._notice()
            if notice:
                self.log.say(f"{notice}: saving a checkpoint")
                self.stop.request(str(notice), *SPOT_SECONDS)

    def _log_before(self, aside: Log) -> bytes:
        """What earlier machines have said."""
        key = self.job.log_key
        if self.assignment.attempt == 1 or not key:
            return b""
        try:
            return patiently(lambda: self._store.get(key)[0], self._patience_seconds, aside, self.stop)
        except KeyError:
            return b""
        except (SuiteError, Stopped):
            self._saver.log_key = f"{key}.{self.assignment.attempt}"  # the old one is not to be written over
            return b""


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m aws.instance.runner", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="", help="runs the program; default: this one, after pip has completed it")
    arguments = parser.parse_args(given)
    folder: Path = arguments.folder.resolve()
    with held(folder) as mine:
        return _run(folder, arguments.python) if mine else 0


def _run(folder: Path, python: str) -> int:
    from aws.storage import open_store

    try:
        assignment = Assignment.load(folder)
        runner = Runner(
            folder,
            assignment,
            lambda: open_store(assignment.bucket_url, assignment.region),
            python=python,
            notice=SpotWatcher().notice,
        )
    except PlaceError as error:
        verdict = Verdict(FAILED, error.what).to_dict(Job(folder.name, "", ()), attempt=1, cost_usd=0)
        write_line(folder / EXIT, verdict | {"saved": False})
        return HOPELESS
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop.request("the machine is ending this job", *STOP_SECONDS))
    return runner.run()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a connection that hangs in a thread must not keep the machine from ending
