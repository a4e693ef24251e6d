"""One job from its data to its end: what is saved, what is said, and every way it can go wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doubles import training_program
from doubles.bad_store import BadStore

from aws.errors import CredentialsError
from aws.instance.child import Ended, Stop
from aws.instance.environment import install_requirements
from aws.instance.folder import Assignment, read_line
from aws.instance.log import Log
from aws.instance.parameters import fetch_secrets
from aws.instance.runner import Runner, main
from aws.instance.spot import Notice
from aws.instance.state import State, machine_started
from aws.places import DONE, FAILED, INTERRUPTED, RUNNING, Job, Link
from config import PROJECT_FOLDER, Secret

RUN = "llama-20261121-101530-3f2a"
TOKEN = "hf_" + "a" * 20
JOB = Job(
    RUN,
    "training",
    ("train.py", "train", "llama", "--data", "{work}/data", "--registry", "{bucket}", "--json"),
    inputs=(Link("data", "data/training"),),
    outputs=(Link("runs", f"checkpoints/llama/{RUN}", "complete.json"),),
    log_key=f"logs/llama/{RUN}.log",
)


@pytest.fixture
def store(tmp_path: Path) -> BadStore:
    made = BadStore(tmp_path / "bucket")
    made.put("data/training/lines.txt", b"one\ntwo\n")
    return made


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Path]:
    """The folder of a machine with the code in it."""

    def make(name: str = "machine") -> Path:
        (tmp_path / name / "code").mkdir(parents=True)
        shutil.copy(str(training_program.__file__), tmp_path / name / "code" / "train.py")
        return tmp_path / name

    return make


Make = Callable[..., Runner]


@pytest.fixture
def make(store: BadStore) -> Iterator[Make]:
    """Makes runners: ``make(folder, "--steps", "5", job=…, attempt=2)``."""
    made: list[Runner] = []

    def make(folder: Path, *words: str, job: Job = JOB, attempt: int = 1, **options: Any) -> Runner:
        job = replace(job, command=(*job.command, *words))
        assignment = Assignment(job, store.url, attempt=attempt, price_usd_per_hour=0.5, sync_seconds=0.05)
        given = {"python": sys.executable, "patience_seconds": 30.0, "last_save_seconds": 10.0, **options}
        made.append(Runner(folder, assignment, lambda: store, **given))
        return made[-1]

    yield make
    for runner in made:
        runner.stop.request("the test is over", 0, 0)


def exit_of(folder: Path) -> dict[str, Any]:
    return read_line(folder / "exit.json")


def log_of(folder: Path) -> str:
    return (folder / "log").read_text()


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


# all goes well


def test_a_job_is_done_and_saved(machine: Callable[..., Path], make: Make, store: BadStore) -> None:
    folder = machine()
    assert make(folder, "--progress", "{work}/progress.json").run() == 0
    end = exit_of(folder)
    assert (end["stage"], end["exit_status"], end["saved"], end["kept"]) == (DONE, 0, True, False)
    assert end["output"] == {"family": "llama", "version": "20261121-101530", "from": 0}
    assert store.get(f"logs/llama/{RUN}.log")[0] == (folder / "log").read_bytes()
    assert json.loads(store.get(f"results/{RUN}/exit.json")[0]) == end
    assert any(key.endswith("checkpoint-3/complete.json") for key in store.all_keys())
    state = read_line(folder / "state.json")
    assert state["stage"] == DONE
    assert state["progress"] == {"step": 3, "steps": 3, "loss": 2.97}
    assert state["attempt"] == 1
    assert state["cost_usd"] >= 0
    assert "step 3 of 3" in log_of(folder)


def test_the_bucket_has_the_exit_before_the_folder(machine: Callable[..., Path], make: Make, store: BadStore) -> None:
    folder = machine()
    there: list[bool] = []
    store.before_put = lambda key: there.append((folder / "exit.json").exists())
    make(folder).run()
    assert there
    assert not any(there)


def test_state_and_exit_are_one_line_each(machine: Callable[..., Path], make: Make) -> None:
    folder = machine()
    make(folder, "--fault", "error").run()
    for name in ("state.json", "exit.json"):
        assert (folder / name).read_bytes().count(b"\n") == 1


def test_a_done_job_is_not_done_again(machine: Callable[..., Path], make: Make) -> None:
    folder = machine()
    make(folder).run()
    before = log_of(folder)
    assert make(folder).run() == 0
    assert log_of(folder) == before


# what the program does


def test_a_failing_training_tells_its_line(machine: Callable[..., Path], make: Make, store: BadStore) -> None:
    folder = machine()
    make(folder, "--fault", "error", job=replace(JOB, keep_on_failure=True)).run()
    end = exit_of(folder)
    assert (end["stage"], end["exit_status"], end["kept"]) == (FAILED, 1, True)
    assert end["failing_line"] == "Error: no dialogue fits into training.max_length = 1 tokens."
    assert json.loads(store.get(f"results/{RUN}/exit.json")[0])["stage"] == FAILED
    assert make(folder).run() == 0  # kept for a look: not begun again when the machine is
    assert exit_of(folder)["stage"] == FAILED


def test_a_full_disk_is_named(machine: Callable[..., Path], make: Make) -> None:
    folder = machine()
    make(folder, "--fault", "full").run()
    assert "aws.training.volume_gb" in exit_of(folder)["failing_line"]
    assert exit_of(folder)["stage"] == FAILED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_still_reaches_the_bucket(
    machine: Callable[..., Path], make: Make, store: BadStore
) -> None:
    folder = machine()
    (folder / "log").symlink_to("/dev/full")  # every write says ENOSPC
    runner = make(folder, "--fault", "error")
    runner.log.content = lambda: runner.log._pending  # type: ignore[method-assign] # /dev/full is endless to read
    runner.run()
    end = json.loads(store.get(f"results/{RUN}/exit.json")[0])
    assert "the disk of the instance is full: set aws.training.volume_gb" in end["failing_line"]
    assert b"Error: no dialogue fits" in store.get(f"logs/llama/{RUN}.log")[0]


def test_a_disk_that_is_full_for_a_while_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, room = Log(tmp_path / "log"), [10]
    real = os.write

    def write(descriptor: int, content: bytes) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = real(descriptor, content[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", write)
    log.write(b"0123456789abcdef\n")
    assert log.disk_full
    assert log.content() == b"0123456789abcdef\n"
    room[0] = 1000
    log.write(b"more\n")
    assert (tmp_path / "log").read_bytes() == b"0123456789abcdef\nmore\n"


def test_a_program_killed_for_memory_says_so(machine: Callable[..., Path], make: Make) -> None:
    folder = machine()
    (folder / "code" / "train.py").write_text("import os\nprint('big', flush=True)\nos.kill(os.getpid(), 9)\n")
    make(folder).run()
    assert exit_of(folder)["exit_status"] == 137
    assert "want of memory; its last words: big" in exit_of(folder)["failing_line"]


def test_a_program_that_stops_by_itself_is_interrupted(machine: Callable[..., Path], make: Make) -> None:
    folder = machine()
    (folder / "code" / "train.py").write_text("raise SystemExit(143)\n")
    make(folder).run()
    assert exit_of(folder)["stage"] == INTERRUPTED


@pytest.mark.parametrize(
    ("stdout", "output"),
    [
        ('noise\n{"a": 1}\n', {"a": 1}),
        ('{"a": 1}\n{\n  "b": {\n    "c": 2\n  }\n}\nafter\n', {"b": {"c": 2}}),
        ('{"a": 1}\n{broken\n', {"a": 1}),
        ('  {"a": 1}\n', {}),
        ("", {}),
    ],
)
def test_the_outcome_is_the_last_json_object(stdout: str, output: dict[str, Any]) -> None:
    assert Ended(0, stdout, ()).output() == output


# secrets


def test_a_secret_reaches_the_program_and_nothing_else(
    machine: Callable[..., Path], make: Make, store: BadStore
) -> None:
    folder = machine()
    secret = "plain-words-as-a-password"
    job = replace(JOB, secrets={"HF_TOKEN": "/stranger-things/hf-token"})
    make(folder, "--fault", "secret", job=job, fetch=lambda name: Secret(secret)).run()
    assert exit_of(folder)["stage"] == DONE
    assert "the token is ********." in log_of(folder)
    for file in [*folder.rglob("*"), *store.folder.rglob("*")]:
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def test_a_secret_in_an_error_is_hidden_too(machine: Callable[..., Path], make: Make, store: BadStore) -> None:
    folder = machine()
    make(
        folder, "--fault", "said", job=replace(JOB, secrets={"HF_TOKEN": "/x"}), fetch=lambda name: Secret("my-pass")
    ).run()
    assert exit_of(folder)["failing_line"] == "Error: ******** is not allowed"
    assert b"my-pass" not in store.get(f"results/{RUN}/exit.json")[0]


def test_the_log_hides_whatever_comes(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", lambda: 0.0)
    log.hide(["my-password"])
    log.say("the answer to my-password was 403")
    log.write(f"\xff {TOKEN} and my-password\n".encode("latin-1"))
    assert (tmp_path / "log").read_bytes() == b"[00:00:00] the answer to ******** was 403\n\xff ******** and ********\n"


def test_a_missing_secret_is_said_by_name(machine: Callable[..., Path], make: Make) -> None:
    folder = machine()
    job = replace(JOB, secrets={"HF_TOKEN": "/stranger-things/hf-token"})
    make(folder, "--fault", "secret", job=job, fetch=lambda name: None).run()
    assert "there is no parameter /stranger-things/hf-token: going on without it" in log_of(folder)
    assert "the token is not there." in log_of(folder)
    assert exit_of(folder)["stage"] == DONE


def test_a_secret_that_cannot_be_read_yet_is_waited_for(machine: Callable[..., Path], make: Make) -> None:
    folder, calls = machine(), []

    def fetch(name: str) -> Secret:
        calls.append(name)
        if len(calls) == 1:
            raise CredentialsError("AWS does not know the credentials of this instance.")
        return Secret("a-password")

    make(folder, "--fault", "secret", job=replace(JOB, secrets={"HF_TOKEN": "/x"}), fetch=fetch).run()
    assert "does not know the credentials" in log_of(folder)
    assert exit_of(folder)["stage"] == DONE


def test_secrets_are_fetched_from_ssm(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws

    from aws.instance.parameters import fetch_secret

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("ssm", region_name="us-east-1")
        client.put_parameter(Name="/p/token", Value=TOKEN, Type="SecureString")
        found, missing = fetch_secrets(
            {"HF_TOKEN": "/p/token", "APP_PASSWORD": "/p/none"}, lambda name: fetch_secret(name, "us-east-1")
        )
    assert {name: value.reveal() for name, value in found.items()} == {"HF_TOKEN": TOKEN}
    assert missing == ["/p/none"]


# the bucket


def test_a_bucket_that_refuses_for_a_while_costs_nothing(
    machine: Callable[..., Path], make: Make, store: BadStore
) -> None:
    folder = machine()
    store.fail(1, "list", problem="InvalidAccessKeyId, the role is not known yet")
    store.fail(3, "put")
    make(folder, "--steps", "30", "--pace", "0.02").run()
    assert exit_of(folder)["stage"] == DONE
    assert exit_of(folder)["saved"] is True
    assert "InvalidAccessKeyId" in log_of(folder)
    assert "not saved, and tried again: S3 cannot serve" in log_of(folder)
    assert "saving works again" in log_of(folder)
    assert store.get(f"logs/llama/{RUN}.log")[0] == (folder / "log").read_bytes()
    assert any(key.endswith("checkpoint-30/complete.json") for key in store.all_keys())


def test_a_store_without_credentials_is_opened_anew(
    machine: Callable[..., Path], store: BadStore, tmp_path: Path
) -> None:
    opened: list[BadStore] = []

    def open_store() -> BadStore:
        opened.append(BadStore(tmp_path / "bucket"))
        if len(opened) == 1:
            opened[0].fail(10**6, "list", "put", "get", "fetch")  # for ever, as without credentials
        return opened[-1]

    assignment = Assignment(JOB, store.url, sync_seconds=0.05)
    folder = machine()
    Runner(folder, assignment, open_store, python=sys.executable, patience_seconds=20).run()
    assert exit_of(folder)["stage"] == DONE
    assert len(opened) > 1


def test_a_bucket_that_stays_away_is_an_end_with_a_sentence(
    machine: Callable[..., Path], make: Make, store: BadStore
) -> None:
    folder = machine()
    store.fail(10**6, "list", "put", problem="503")
    make(folder, patience_seconds=0.5, last_save_seconds=0.5).run()
    end = exit_of(folder)
    assert (end["stage"], end["saved"]) == (FAILED, False)
    assert "S3 cannot serve" in end["failing_line"]
    assert "is lost with this machine" in log_of(folder)


def test_a_bucket_that_hangs_does_not_keep_the_machine(
    machine: Callable[..., Path], make: Make, store: BadStore
) -> None:
    folder, gate = machine(), threading.Event()
    store.before_put = lambda key: gate.wait(20)
    started = time.monotonic()
    make(folder, last_save_seconds=0.5).run()
    gate.set()
    assert time.monotonic() - started < 10
    assert exit_of(folder)["saved"] is False


def test_without_data_it_fails_with_the_next_command(machine: Callable[..., Path], make: Make, store: BadStore) -> None:
    folder = machine()
    store.delete("data/training/lines.txt")
    make(folder).run()
    assert "nothing below" in exit_of(folder)["failing_line"]


# interruptions


def test_a_spot_notice_saves_a_checkpoint_and_the_next_machine_goes_on(
    machine: Callable[..., Path], make: Make, store: BadStore
) -> None:
    first = machine("first")
    given: list[Notice] = []
    words = ("--steps", "400", "--pace", "0.02", "--every", "100")
    runner = make(first, *words, notice=lambda: given[0] if given else None, notice_seconds=0.05)
    thread = threading.Thread(target=runner.run)
    thread.start()
    wait_until(lambda: (first / "log").exists() and "step 3 of" in log_of(first))
    given.append(Notice("terminate", "2026-11-21T10:17:00Z"))
    thread.join(20)
    end = exit_of(first)
    assert (end["stage"], end["exit_status"], end["saved"]) == (INTERRUPTED, 143, True)
    assert "terminate at 2026-11-21T10:17:00Z" in end["failing_line"]
    step = max(int(found) for found in re.findall(r"step (\d+) of", log_of(first)))
    second = machine("second")
    make(second, "--steps", str(step + 2), attempt=2).run()
    assert exit_of(second)["output"]["from"] == step
    assert log_of(second).startswith(log_of(first))
    assert store.get(f"logs/llama/{RUN}.log")[0] == (second / "log").read_bytes()
    assert json.loads(store.get(f"results/{RUN}/exit.json")[0])["attempt"] == 2


def test_an_earlier_log_that_cannot_be_read_is_not_written_over(
    machine: Callable[..., Path], make: Make, store: BadStore
) -> None:
    store.put(f"logs/llama/{RUN}.log", b"of the first machine\n")
    store.fail(10**6, "get")
    folder = machine()
    make(folder, attempt=2, patience_seconds=0.1).run()
    assert exit_of(folder)["stage"] == DONE
    store.fail(0, "get")
    assert store.get(f"logs/llama/{RUN}.log")[0] == b"of the first machine\n"
    assert store.get(f"logs/llama/{RUN}.log.2")[0] == (folder / "log").read_bytes()


def test_a_program_that_does_not_listen_is_killed(machine: Callable[..., Path], make: Make) -> None:
    folder = machine()
    code = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)\n"
    (folder / "code" / "train.py").write_text(code)
    runner = make(folder)
    thread = threading.Thread(target=runner.run)
    thread.start()
    wait_until(lambda: (folder / "log").exists() and "up" in log_of(folder))
    runner.stop.request("the deadline", 0.3, 5)
    thread.join(10)
    assert (exit_of(folder)["stage"], exit_of(folder)["exit_status"]) == (INTERRUPTED, 137)


def test_a_stop_before_the_program_starts_ends_it_too(
    machine: Callable[..., Path], make: Make, store: BadStore
) -> None:
    folder = machine()
    store.fail(10**6, "list")
    runner = make(folder)
    thread = threading.Thread(target=runner.run)
    thread.start()
    wait_until(lambda: (folder / "log").exists() and "Trying again" in log_of(folder))
    store.fail(0, "list")
    runner.stop.request("the deadline", 1, 5)
    thread.join(10)
    assert (exit_of(folder)["stage"], exit_of(folder)["failing_line"]) == (INTERRUPTED, "the deadline")


# the process


@pytest.fixture
def start(tmp_path: Path, store: BadStore, machine: Callable[..., Path]) -> Iterator[Callable[..., Any]]:
    """Starts a runner as systemd does."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
        job = replace(JOB, command=(*JOB.command, *words))
        content = Assignment(job, store.url, sync_seconds=0.1).to_dict()
        (folder / "job.json").write_text(json.dumps(content))
        command = [sys.executable, "-m", "aws.instance.runner", str(folder), "--python", sys.executable]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT_FOLDER), "AWS_EC2_METADATA_DISABLED": "true"}
        started.append(subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_sigterm_saves_a_checkpoint(machine: Callable[..., Path], start: Callable[..., Any], store: BadStore) -> None:
    folder = machine()
    process = start(folder, "--steps", "1000", "--pace", "0.02", "--every", "500")
    wait_until(lambda: (folder / "log").exists() and "step 5 of" in log_of(folder))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert (exit_of(folder)["stage"], exit_of(folder)["exit_status"]) == (INTERRUPTED, 143)
    assert any(re.search(r"checkpoint-\d+/complete.json", key) for key in store.all_keys())


def test_a_killed_runner_goes_on_where_it_was(
    machine: Callable[..., Path], start: Callable[..., Any], store: BadStore
) -> None:
    folder = machine()
    go_on = folder / "go on"
    words = ("--steps", "8", "--until", str(go_on))
    process = start(folder, *words)
    wait_until(lambda: (folder / "log").exists() and "step 5 of" in log_of(folder))
    process.kill()
    process.wait()
    before = (folder / "log").read_bytes()
    child = int(read_line(folder / "child.json")["pid"])
    second = start(folder, *words)
    wait_until(lambda: log_of(folder).count("from step") == 2)
    wait_until(lambda: not Path(f"/proc/{child}").exists())  # never two trainings
    go_on.touch()
    assert second.wait(30) == 0
    assert exit_of(folder)["stage"] == DONE
    assert exit_of(folder)["output"]["from"] >= 5
    after = (folder / "log").read_bytes()
    assert after.startswith(before)
    assert after.count(b"step 5 of") == 1
    assert store.get(f"logs/llama/{RUN}.log")[0] == after


def test_two_runners_of_one_folder_are_one(machine: Callable[..., Path], start: Callable[..., Any]) -> None:
    folder = machine()
    first = start(folder, "--steps", "40", "--pace", "0.02")
    wait_until(lambda: (folder / "log").exists() and "step 1 of" in log_of(folder))
    assert start(folder, "--steps", "40", "--pace", "0.02").wait(10) == 0
    assert first.wait(20) == 0
    assert log_of(folder).count("from step 0") == 1


def test_a_broken_job_is_said(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    assert main([str(tmp_path)]) == 78
    assert "is not a job" in exit_of(tmp_path)["failing_line"]


# a server


def test_a_server_is_started_again_and_never_done(machine: Callable[..., Path], make: Make) -> None:
    folder = machine()
    (folder / "code" / "train.py").write_text("print('Error: the port is taken', flush=True)\nraise SystemExit(1)\n")
    runner = make(folder, job=replace(JOB, restart=True, purpose="serving"), restart_seconds=0.05)
    thread = threading.Thread(target=runner.run)
    thread.start()
    wait_until(lambda: (folder / "log").exists() and log_of(folder).count("the port is taken") >= 4)
    state = read_line(folder / "state.json")
    assert state["stage"] == RUNNING
    assert "the port is taken" in state["message"]
    runner.stop.request("stopped", 1, 5)
    thread.join(10)
    assert not (folder / "exit.json").exists()  # it starts again with its machine


def test_a_server_that_is_killed_is_not_said_to_have_ended_for_what_it_said_last(
    machine: Callable[..., Path], make: Make
) -> None:
    folder = machine()
    code = "import os, signal\nprint('speaking: llama', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    (folder / "code" / "train.py").write_text(code)
    runner = make(folder, job=replace(JOB, restart=True, purpose="serving"), restart_seconds=60.0)
    thread = threading.Thread(target=runner.run)
    thread.start()
    wait_until(lambda: "started again" in str(read_line(folder / "state.json").get("message")))
    runner.stop.request("stopped", 1, 5)
    thread.join(10)
    assert "starting it again: killed by signal 9, most likely for want of memory; its last words" in log_of(folder)


# the environment


def test_a_package_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("no-such-package-of-ours==1.0\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)

    def run(command: Any) -> Ended:
        environment = {**os.environ, "PIP_NO_INDEX": "1"}
        ended = subprocess.run(
            [sys.executable, *command[1:]], env=environment, capture_output=True, text=True, check=False
        )
        return Ended(ended.returncode, ended.stdout, tuple((ended.stdout + ended.stderr).splitlines()))

    with pytest.raises(Exception, match=r"^ERROR: No matching distribution found for no-such-package-of-ours==1\.0"):
        install_requirements(tmp_path, tmp_path, "", run, lambda text: None)
    assert not (tmp_path / ".installed").exists()


def test_torch_goes_first_and_falls_back_to_the_default_index(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# versions\nboto3==1\ntorch==2.13.0  # first\n")
    commands: list[list[str]] = []
    said: list[str] = []

    def run(command: Any) -> Ended:
        commands.append([word for word in command if not word.startswith("--no-") and word != "off"])
        return Ended(1 if "--index-url" in command else 0, "", ("ERROR: no torch here",))

    install_requirements(tmp_path, tmp_path, "https://example.org/cpu", run, said.append)
    assert [command[-1] for command in commands] == [
        "https://example.org/cpu",
        "torch==2.13.0",
        str(tmp_path / "requirements.txt"),
    ]
    assert "instead of https://example.org/cpu, because of: ERROR: no torch here" in said[0]
    install_requirements(tmp_path, tmp_path, "", run, said.append)
    assert len(commands) == 3  # once for each content of requirements.txt


@pytest.mark.parametrize("has_driver", [True, False])
def test_a_machine_with_a_gpu_gets_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_driver: bool) -> None:
    monkeypatch.setattr("aws.instance.environment.shutil.which", lambda name: name if has_driver else None)
    for name in ("requirements.txt", "requirements-gpu.txt"):
        (tmp_path / name).write_text("boto3==1\n")
    files: list[str] = []

    def run(command: Any) -> Ended:
        files.append(Path(command[-1]).name)
        return Ended(0, "", ())

    install_requirements(tmp_path, tmp_path, "", run, lambda text: None)
    assert files == ["requirements.txt", *(["requirements-gpu.txt"] if has_driver else [])]


def test_a_gpu_is_trained_on_without_its_own_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aws.instance.environment.shutil.which", lambda name: name)
    for name in ("requirements.txt", "requirements-gpu.txt"):
        (tmp_path / name).write_text("boto3==1\n")
    said: list[str] = []

    def run(command: Any) -> Ended:
        return Ended(int(command[-1].endswith("-gpu.txt")), "", ("ERROR: no bitsandbytes here",))

    install_requirements(tmp_path, tmp_path, "", run, said.append)
    assert "no base is trained in 4 bits, because of: ERROR: no bitsandbytes here" in said[0]
    assert (tmp_path / ".installed").exists()


def test_a_download_that_breaks_off_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("boto3==1\n")
    answers = [Ended(2, "", ("IncompleteRead(9 bytes read)",)), Ended(0, "", ())]
    install_requirements(tmp_path, tmp_path, "", lambda command: answers.pop(0), lambda text: None)
    assert not answers


# small things


def test_a_stop_counts_from_the_first_request() -> None:
    now = [0.0]
    stop = Stop(lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds))
    assert stop.seconds_left(7) == 7
    assert stop.wait(3) is False
    stop.request("deadline", 5, 10)
    now[0] += 4
    stop.request("again", 100, 100)
    assert (stop.why, stop.seconds_left(0), stop.child_is_late) == ("deadline", 6.0, False)


def test_the_cost_counts_from_the_launch(tmp_path: Path) -> None:
    assignment = Assignment(JOB, "b", price_usd_per_hour=0.5, launched_at="2026-11-21T10:00:00Z")
    two_hours_later = 1795255200 + 7200
    assert State(tmp_path, assignment, lambda: float(two_hours_later)).cost_usd() == 1.0


def test_the_boot_is_that_of_the_first_process(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "stat").write_text("1 (sys (temd) S " + " ".join(["0"] * 18) + " 12300 0\n")
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000000\n")
    assert machine_started(proc=tmp_path) == 1000123.0
    assert machine_started(lambda: 5.0, tmp_path / "none") == 5.0
