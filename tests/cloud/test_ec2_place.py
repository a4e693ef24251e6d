"""A job on an EC2 instance, and every way in which machine, line or bucket let it down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doubles.cloud import RUN, Site
from doubles.machines import Conduct
from doubles.sshd import needs_sshd

from aws import ssh
from aws.ec2_orchestrator import EC2Place
from aws.errors import CredentialsError, HostKeyMismatch, PlaceError, SshError
from aws.journal import ENDED, OPEN
from aws.operations.follow import follow
from aws.places import DONE, FAILED, GONE, RUNNING, STARTING, WAITING

pytestmark = needs_sshd
SILENCE_SECONDS = 0.8  # after so long without a sign of life a line is dead
CUTS = 4


@pytest.fixture
def place(site: Site) -> Iterator[EC2Place]:
    made = site.place()
    yield made
    made.close()


@pytest.fixture
def quick_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    for call in (ssh.Connection.__init__, ssh.wait_for_ssh):
        monkeypatch.setitem(call.__kwdefaults__, "silence_seconds", SILENCE_SECONDS)
        monkeypatch.setitem(call.__kwdefaults__, "connect_timeout_seconds", SILENCE_SECONDS)


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def followed(site: Site, place: EC2Place) -> bytes:
    """All of the log, as whoever follows it hears it."""
    heard: list[bytes] = []
    follow(place, RUN, write=heard.append, show=site.watcher.show, sleep=site.cloud.sleep)
    return b"".join(heard)


# coming up


def test_a_machine_that_comes_up_slowly(site: Site, place: EC2Place) -> None:
    site.machines.plan(Conduct(ssh_seconds=0.5, silent_looks=3, set_up_seconds=1.0))
    job = site.begin()
    assert place.status(RUN).stage == WAITING
    place.launch(job)
    assert b"from step 0" in followed(site, place)
    assert place.collect(RUN).stage == DONE
    assert len(site.account.calls_of("GetConsoleOutput")) == 4


def test_user_data_that_fails_says_why(site: Site, place: EC2Place) -> None:
    site.machines.plan(Conduct(set_up="line 40: systemctl enable --now stranger-idle.timer"))
    job = site.begin()
    with pytest.raises(PlaceError, match="failed: line 40: systemctl enable") as raised:
        place.launch(job)
    assert site.machines.last.instance.id in str(raised.value)
    assert place.status(RUN).stage == STARTING
    place.terminate(RUN)
    assert site.live == site.schedules == []
    assert place.status(RUN).ended  # it never had its work, and nobody waits for it


def test_a_machine_that_ends_while_it_is_set_up(site: Site, place: EC2Place) -> None:
    site.machines.plan(Conduct(set_up=""))
    job = site.begin()

    def end() -> None:
        wait_until(lambda: site.machines.proxy.accepted)
        site.machines.last.end()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises((PlaceError, SshError), match=r"is terminated: it ended|broke off|did not greet|reached"):
        place.launch(job)
    thread.join()


def test_a_console_without_host_keys_sends_nothing(
    site: Site, place: EC2Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aws.machines.handover.CONSOLE_TIMEOUT_SECONDS", 0.2)
    site.machines.plan(Conduct(silent_looks=10_000))
    job = site.begin()
    with pytest.raises(PlaceError, match="shows no SSH host keys"):
        place.launch(job)
    assert site.machines.proxy.accepted == 0


def test_another_machine_at_the_address_gets_nothing(site: Site, place: EC2Place) -> None:
    site.machines.plan(Conduct(foreign=True))
    job = site.begin()
    with pytest.raises(HostKeyMismatch, match="another machine answers"):
        place.launch(job)
    opt = site.machines.last.opt
    assert not (opt / "code.tar.gz").exists()
    assert not (opt / "job.json").exists()
    place.terminate(RUN)
    assert site.live == site.schedules == []
    assert site.record.state == ENDED


# the line


def test_the_line_is_cut_while_code_goes_up(site: Site, place: EC2Place) -> None:
    (site.project / "large").write_bytes(b"".join(str(number).encode() for number in range(400_000)))
    job = site.begin()
    line = site.machines.proxy
    site.on_say.append(lambda text: line.cut_after(300_000) if " files, " in text else None)
    place.launch(job)
    assert line.accepted >= 2
    assert (site.machines.last.opt / "code" / "large").stat().st_size == (site.project / "large").stat().st_size
    assert b"from step 0" in followed(site, place)


@pytest.mark.usefixtures("quick_silence")
def test_the_line_is_dead_for_a_while_before_the_machine_is_ready(site: Site, place: EC2Place) -> None:
    site.machines.plan(Conduct(set_up_seconds=2.5))
    job, line = site.begin(), site.machines.proxy

    def spoil() -> None:
        wait_until(lambda: line.sent_bytes > 4000)  # logged in
        line.cut()
        time.sleep(0.2)
        line.hold()
        time.sleep(3 * SILENCE_SECONDS)
        line.release()

    thread = threading.Thread(target=spoil)
    thread.start()
    place.launch(job)
    thread.join()
    assert b"from step 0" in followed(site, place)
    assert len(site.machines.all) == 1


def test_the_line_is_cut_again_and_again_while_it_trains(site: Site, place: EC2Place, tmp_path: Path) -> None:
    cuts, heard = list[int](), list[bytes]()
    enough = tmp_path / "cut often enough"
    site.program("--steps", "30", "--pace", "0.03", "--until", str(enough))
    place.launch(site.begin())

    def show(status: object) -> None:  # the line has just been used
        if len(cuts) == CUTS:
            enough.touch()
        elif b"\nstep " in b"".join(heard):
            cuts.append(sum(map(len, heard)))
            site.machines.proxy.cut()

    follow(place, RUN, write=heard.append, show=show, sleep=site.cloud.sleep)
    log = b"".join(heard)
    assert cuts[-1] < len(log)
    assert site.machines.proxy.accepted > CUTS
    assert log == site.store.get(site.record.job["log_key"])[0]
    assert log.count(b"\nstep ") == 30


@pytest.mark.usefixtures("quick_silence")
def test_a_dead_link_is_given_up_and_the_log_goes_on(site: Site, place: EC2Place) -> None:
    site.program("--steps", "30", "--pace", "0.03")
    place.launch(site.begin())
    heard: list[bytes] = []

    def show(status: object) -> None:
        if b"".join(heard).count(b"step ") > 3 and not site.watcher.asked:
            site.watcher.asked.append(True)
            site.machines.proxy.hold()

    def sleep(seconds: float) -> None:
        site.cloud.sleep(seconds)
        if place._lines == {} and site.watcher.asked:
            site.machines.proxy.release()

    follow(place, RUN, write=heard.append, show=show, sleep=sleep)
    site.machines.proxy.release()
    log = b"".join(heard)
    assert site.watcher.asked
    assert log == site.store.get(site.record.job["log_key"])[0]
    assert place.collect(RUN).stage == DONE


@pytest.mark.usefixtures("quick_silence")
def test_without_credentials_the_machine_is_found_again(site: Site, place: EC2Place) -> None:
    """Its address is known, and it is its host key that tells whether it is the right one."""
    site.program("--steps", "400", "--pace", "0.02")
    place.launch(site.begin())
    site.machines.last.wait_for("step 2 of")
    site.account.fail("DescribeInstances", "ExpiredToken", times=1000)
    site.machines.proxy.hold()
    with pytest.raises(CredentialsError):  # neither the machine nor AWS says whether it is there
        place.status(RUN)
    site.machines.proxy.release()
    assert b"step 2 of" in place.logs(RUN).content
    assert place.status(RUN).stage == RUNNING


def test_a_machine_that_does_not_answer_is_told_from_the_bucket(site: Site, place: EC2Place) -> None:
    site.program("--steps", "400", "--pace", "0.02")
    place.launch(site.begin())
    site.machines.last.wait_for("step 3 of")
    wait_until(lambda: b"step 3 of" in site.store.get(site.record.job["log_key"])[0])
    site.machines.proxy.stop()  # nobody reaches it any more
    place.close()
    status = place.status(RUN)
    assert (status.stage, status.ended) == (RUNNING, False)
    assert b"step 3 of" in place.logs(RUN).content
    with pytest.raises(PlaceError, match="not over"):
        place.collect(RUN)


# the end


def test_a_training_that_fails_tells_its_line(site: Site, place: EC2Place) -> None:
    site.program("--fault", "error")
    place.launch(site.begin())
    followed(site, place)
    outcome = place.collect(RUN)
    assert (outcome.stage, outcome.exit_status) == (FAILED, 1)
    assert outcome.failing_line.startswith("Error: no dialogue fits")


def test_a_full_disk_is_named_with_what_mends_it(site: Site, place: EC2Place) -> None:
    site.program("--fault", "full")
    place.launch(site.begin())
    followed(site, place)
    assert "aws.training.volume_gb" in place.collect(RUN).failing_line


def test_a_machine_that_vanishes_is_gone(site: Site, place: EC2Place) -> None:
    site.program("--steps", "400", "--pace", "0.02")
    place.launch(site.begin())
    site.machines.last.wait_for("step 2 of")
    site.machines.last.end()
    outcome = place.collect(RUN)
    assert outcome.stage == GONE
    assert "ended before the job did" in outcome.failing_line
    assert not place.was_ended_by_call(RUN)


def test_the_end_that_cannot_be_proven_is_said_and_keeps_its_belts(site: Site, place: EC2Place) -> None:
    place.launch(site.begin())
    site.account.fail("TerminateInstances", "UnauthorizedOperation", times=100)
    with pytest.raises(PlaceError, match="is not proven") as raised:
        place.terminate(RUN)
    assert f"terminate --run {RUN}" in str(raised.value)
    assert site.record.deadline in str(raised.value)
    assert site.schedules == [RUN]
    assert (site.record.state, site.record.schedule) == (OPEN, RUN)
    site.account.clear()
    place.terminate(RUN)
    assert site.live == site.schedules == []
    assert site.record.state == ENDED
    place.terminate(RUN)  # silent


def test_what_a_run_has_cost_is_written_down(site: Site, place: EC2Place) -> None:
    place.launch(site.begin())
    site.machines.last.instance.launch_time = "2020-01-01T00:00:00.000Z"
    place.terminate(RUN)
    attempt = site.record.attempts[0]
    assert attempt.ended_at
    assert attempt.cost_usd >= 0
