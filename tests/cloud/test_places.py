"""What every place does: one test for all of them. A place comes with a bucket and a small program to run."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from doubles import training_program
from doubles.account import Account
from doubles.cloud import local_names, make_site
from doubles.machines import Machines
from doubles.sshd import needs_sshd

from aws.config import to_iso
from aws.ec2_orchestrator import EC2Place
from aws.errors import PlaceError
from aws.journal import Record
from aws.local_place import LocalPlace
from aws.places import DONE, ENDS, FAILED, GONE, INTERRUPTED, Job, Link, Outcome, Place
from utils.errors import UsageError
from utils.stores import FolderStore, Store

TIMEOUT_SECONDS = 30.0
NEVER_LAUNCHED = (PlaceError, UsageError)


@dataclass
class Setting:
    """A place under test. ``program``: the command of doubles/training_program.py there."""

    place: Place
    store: Store
    program: str
    interrupt: Callable[[str], None]  # as a spot notice does
    names: list[str] = field(default_factory=list)

    def job(self, name: str = "llama-20261121-101530-3f2a", *words: str) -> Job:
        self.names.append(name)
        return Job(
            name,
            "training",
            (self.program, "train", "llama", "--data", "{work}/data", "--registry", "{bucket}", *words),
            inputs=(Link("data", "data/training"),),
            outputs=(Link("runs", f"checkpoints/llama/{name}", "complete.json"),),
            log_key=f"logs/llama/{name}.log",
        )

    def wait(self, name: str) -> Outcome:
        self.until(lambda: self.place.status(name).ended)
        return self.place.collect(name)

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.05)

    def log(self, name: str) -> bytes:
        """All of it, piece by piece."""
        content = b""
        while (piece := self.place.logs(name, len(content))).content:
            content += piece.content
            assert piece.next_offset == len(content)
        return content


def local(tmp_path: Path, stack: ExitStack | None = None) -> Setting:
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(str(training_program.__file__), code / "train.py")
    place = LocalPlace(tmp_path / "jobs", tmp_path / "bucket", code=code, sync_seconds=0.1)
    return Setting(
        place, FolderStore(tmp_path / "bucket"), "train.py", lambda name: stop_runner(tmp_path / "jobs" / name)
    )


def stop_runner(home: Path) -> None:
    os.kill(int((home / "runner.lock").read_text()), signal.SIGTERM)


@dataclass
class JournalledPlace(EC2Place):
    """EC2, with what the commands do around it: the run is written down, and one process at a time works on it."""

    lock: threading.Lock = field(default_factory=threading.Lock)

    def launch(self, job: Job) -> None:
        with self.lock:
            if job.name not in self.cloud.journal.runs():
                now = self.cloud.now()
                created, deadline = to_iso(now), to_iso(now + timedelta(hours=1))
                self.cloud.journal.begin(Record(job.name, job.purpose, "", "test", created, deadline, job.to_dict()))
            super().launch(job)


def ec2(tmp_path: Path, stack: ExitStack) -> Setting:
    machines = Machines(stack.enter_context(Account()), tmp_path / "machines")
    for each in (machines, *local_names(tmp_path / "project")):
        stack.enter_context(each)
    site = make_site(machines.account, machines, tmp_path)
    shutil.copy(str(training_program.__file__), site.project / "train.py")
    place = JournalledPlace(site.cloud, site.wanted)
    stack.callback(place.close)
    return Setting(place, site.store, "train.py", lambda name: machines.last.interrupt())


FACTORIES = [local, pytest.param(ec2, marks=needs_sshd)]
# On EC2, too, but there test_ec2_place.py and test_train_flow.py have the like of it, and worse.
proven_elsewhere = pytest.mark.parametrize(
    "setting",
    [local, pytest.param(ec2, marks=[needs_sshd, pytest.mark.slow])],
    indirect=True,
    ids=lambda factory: factory.__name__,
)


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Setting]:
    with ExitStack() as stack:
        made: Setting = request.param(tmp_path, stack)
        made.store.put("data/training/lines.txt", b"one\ntwo\n")
        yield made
        for name in set(made.names):
            try:
                made.place.terminate(name)
            except NEVER_LAUNCHED:
                continue


@proven_elsewhere
def test_a_job_runs_to_its_end(setting: Setting) -> None:
    job = setting.job()
    setting.place.launch(job)
    outcome = setting.wait(job.name)
    assert (outcome.stage, outcome.exit_status) == (DONE, 0)
    assert outcome.output["version"] == "20261121-101530"
    assert b"lines: 2, from step 0\n" in setting.log(job.name)
    assert setting.store.get(job.log_key)[0] == setting.log(job.name)
    assert any(key.endswith("checkpoint-3/complete.json") for key, _ in setting.store.list("checkpoints/"))


def test_the_same_job_is_launched_once(setting: Setting) -> None:
    job = setting.job("llama-20261121-101530-0001", "--steps", "20", "--pace", "0.05")
    with ThreadPoolExecutor() as pool:
        list(pool.map(setting.place.launch, [job, job, job]))
    setting.place.launch(job)
    assert setting.wait(job.name).stage == DONE
    setting.place.launch(job)  # it is done already
    assert setting.place.status(job.name).stage == DONE
    assert setting.log(job.name).count(b"from step 0") == 1


@proven_elsewhere
def test_status_follows_the_job(setting: Setting) -> None:
    job = setting.job(
        "llama-20261121-101530-0002", "--steps", "1000", "--pace", "0.05", "--progress", "{work}/progress.json"
    )
    setting.place.launch(job)
    setting.until(lambda: setting.place.status(job.name).progress.get("step", 0) >= 2)
    status = setting.place.status(job.name)
    assert (status.stage, status.ended, status.progress["steps"]) == ("running", False, 1000)
    with pytest.raises(PlaceError, match="not over"):
        setting.place.collect(job.name)


@proven_elsewhere
def test_logs_have_no_gap_and_no_repetition(setting: Setting) -> None:
    job = setting.job("llama-20261121-101530-0003", "--steps", "40", "--pace", "0.02")
    setting.place.launch(job)
    content = b""
    while not (ended := setting.place.status(job.name).ended) or setting.place.logs(job.name, len(content)).content:
        piece = setting.place.logs(job.name, len(content))
        content += piece.content
        assert piece.next_offset == len(content)
        time.sleep(0 if ended else 0.05)
    assert content == setting.log(job.name)
    steps = [row for row in content.decode().splitlines() if row.startswith("step ")]
    assert steps == [f"step {step} of 40" for step in range(1, 41)]


@proven_elsewhere
def test_a_failing_job_tells_its_line(setting: Setting) -> None:
    job = setting.job("llama-20261121-101530-0004", "--fault", "error")
    setting.place.launch(job)
    outcome = setting.wait(job.name)
    assert (outcome.stage, outcome.exit_status) == (FAILED, 1)
    assert outcome.failing_line.startswith("Error: no dialogue fits")
    assert setting.place.status(job.name).message == outcome.failing_line


def test_terminate_ends_it_and_is_silent_when_it_is_gone(setting: Setting) -> None:
    job = setting.job("llama-20261121-101530-0005", "--steps", "1000", "--pace", "0.05")
    setting.place.launch(job)
    setting.until(lambda: b"step 2 of" in setting.place.logs(job.name).content)
    setting.place.terminate(job.name)
    status = setting.place.status(job.name)
    assert status.stage in (GONE, INTERRUPTED)
    length = len(setting.log(job.name))
    time.sleep(0.3)
    assert len(setting.log(job.name)) == length
    setting.place.terminate(job.name)
    assert setting.place.collect(job.name).stage in ENDS


def test_an_interrupted_job_goes_on_from_the_bucket(setting: Setting, tmp_path: Path) -> None:
    words = ("--steps", "6", "--every", "1000", "--until", str(tmp_path / "interrupted"))
    job = setting.job("llama-20261121-101530-0006", *words)
    setting.place.launch(job)
    setting.until(lambda: b"step 3 of" in setting.place.logs(job.name).content)
    setting.interrupt(job.name)
    outcome = setting.wait(job.name)
    assert (outcome.stage, outcome.exit_status) == (INTERRUPTED, 143)
    before = setting.log(job.name)
    (tmp_path / "interrupted").touch()
    setting.place.launch(job)
    assert setting.wait(job.name).stage == DONE
    assert setting.place.collect(job.name).output["from"] >= 3
    after = setting.log(job.name)
    assert after.startswith(before)
    assert after.count(b"step 3 of") == 1


def test_an_unknown_name_is_an_error(setting: Setting) -> None:
    for call in (setting.place.status, setting.place.logs, setting.place.collect, setting.place.terminate):
        with pytest.raises(NEVER_LAUNCHED):
            call("llama-20261121-101530-ffff")  # type: ignore[operator]


# this machine only


def test_a_killed_job_is_gone_and_goes_on_when_it_is_launched_again(tmp_path: Path) -> None:
    setting = local(tmp_path)
    setting.store.put("data/training/lines.txt", b"one\n")
    job = setting.job("llama-20261121-101530-0007", "--steps", "6", "--until", str(tmp_path / "killed"))
    setting.place.launch(job)
    setting.until(lambda: b"step 3 of" in setting.place.logs(job.name).content)
    setting.place.terminate(job.name)
    assert setting.place.status(job.name).stage == GONE
    (tmp_path / "killed").touch()
    setting.place.launch(job)
    assert setting.wait(job.name).output["from"] >= 3


def test_another_job_of_the_same_name_is_refused(tmp_path: Path) -> None:
    setting = local(tmp_path)
    setting.store.put("data/training/lines.txt", b"one\n")
    job = setting.job("llama-20261121-101530-0008")
    setting.place.launch(job)
    with pytest.raises(PlaceError, match="another job named"):
        setting.place.launch(replace(job, command=(*job.command, "--steps", "9")))
    setting.wait(job.name)


def test_a_runner_that_cannot_start_says_why(tmp_path: Path) -> None:
    setting = local(tmp_path)
    (tmp_path / "python").write_text("#!/bin/sh\necho 'no module named aws' >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    broken = LocalPlace(tmp_path / "jobs", tmp_path / "bucket", python=str(tmp_path / "python"))
    with pytest.raises(PlaceError, match="did not start: no module named aws"):
        broken.launch(setting.job("llama-20261121-101530-0009"))
