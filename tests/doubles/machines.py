"""A machine behind every instance of the account: a real SSH server and a folder that stands for /opt/stranger.

    with Account() as account, Machines(account, tmp_path) as machines:
        machines.plan(Conduct(ssh_seconds=0.3))     # of the next machine; the ones after it are plain
        … RunInstances …
        machines.last.interrupt()

One machine lives at a time: all have the address 127.0.0.1, the port ``machines.port`` (a Proxy, which can spoil the
line) and ``machines.opt`` as their folder. ``sudo`` and ``systemctl`` are small programs; the runner is the real one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from doubles import training_program
from doubles.account import Account
from doubles.sshd import HOST, Proxy, Sshd, free_port, make_key
from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses.general import General

from config import PROJECT_FOLDER

LIVE = ("pending", "running")
POLL_SECONDS = 0.02
SPOT_END = "Server.SpotInstanceTermination"
SHUT_DOWN = "Client.InstanceInitiatedShutdown"

SUDO = '[ "$1" = -n ] && shift\nexec "$@"'
# What systemd does with the unit of a job: starts it once, and its last line when it has ended.
SYSTEMCTL = """\
[ "$1" = start ] && [ "$2" = stranger-run.service ] || exit 0
setsid "{folder}/unit" </dev/null >/dev/null 2>&1 &"""
UNIT = """\
#!/bin/bash
cd "{folder}/opt" || exit 1
exec 9>"{folder}/unit.lock"
flock -n 9 || exit 0
{python} -m aws.instance.runner "{folder}/opt" --python {python} >>bootstrap.log 2>&1 9>&-
status=$?
result=success
[ $status -gt 128 ] && result=signal
SERVICE_RESULT=$result bash bin/finish 9>&-
"""
SYSTEMD_RUN = 'touch "{folder}/ending"'
SHUTDOWN = 'touch "{folder}/shutdown"'
CONSOLE = """\
[    0.000000] Linux version 6.8.0-1015-aws
ci-info: no authorized SSH keys fingerprints found for user ubuntu.
-----BEGIN SSH HOST KEY KEYS-----
{host_key} root@ip-172-31-1-1
-----END SSH HOST KEY KEYS-----
[   12.345678] cloud-init[1023]: Cloud-init v. 24.3 finished
"""
PROGRAM = """\
import sys

import training_program

sys.argv += {words!r}
sys.exit(training_program.main())
"""
# The same, and what it has made goes into the registry.
PUBLISHING = """\
import json
import os
import sys
from pathlib import Path

import training_program
from aws.storage import open_store
from utils.registry import Registry

sys.argv += {words!r}
status = training_program.main()
if status == 0:
    folder = Path(os.environ["STRANGER_PATHS__RUNS"]) / "adapter"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text("{{}}")
    (folder / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{{}}")
    registry = Registry(open_store(sys.argv[sys.argv.index("--registry") + 1]))
    version = registry.publish("llama", folder, actor="test", reason="test")
    print(json.dumps({{"version": version}}))
sys.exit(status)
"""


@dataclass(frozen=True)
class Conduct:
    """How a machine behaves.

    Args:
        ssh_seconds: until its SSH server starts.
        foreign: the console shows another host key than the server has.
        silent_looks: so often its console is empty.
        set_up: ``ready``; empty: never; anything else is the reason for which user-data fails.
        set_up_seconds: until then there is neither ``ready`` nor ``failed``.
        linger_seconds: between the end of the job and the end of the machine; None: it waits to be ended.
        on_launch: called inside RunInstances, before its reply.
    """

    ssh_seconds: float = 0.0
    foreign: bool = False
    silent_looks: int = 0
    set_up: str = "ready"
    set_up_seconds: float = 0.0
    linger_seconds: float | None = None
    on_launch: Callable[[], None] = lambda: None


class Machine:
    """One machine: made with its instance, ended with it."""

    def __init__(self, machines: Machines, instance: Any, conduct: Conduct) -> None:
        self.instance, self.conduct = instance, conduct
        self.folder = machines.folder / instance.id
        self.opt = self.folder / "opt"
        self.alive = True
        self._looks = conduct.silent_looks
        self._lock = threading.RLock()
        for name in ("", "work", "bin"):
            (self.opt / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "units").mkdir()
        self.sshd = Sshd(self.folder, environment=machines.environment | {"UNIT_DIR": str(self.folder / "units")})
        self.sshd.port = machines.server_port
        shutil.copy(machines.authorized, self.sshd.folder / "authorized_keys")
        self._install()
        machines.point_at(self.opt)
        self.sshd.start_later(conduct.ssh_seconds) if conduct.ssh_seconds else self.sshd.start()
        self._timer = threading.Timer(conduct.set_up_seconds, self._set_up)
        self._timer.start() if conduct.set_up_seconds else self._set_up()

    @property
    def console(self) -> str:
        self._looks -= 1
        if self._looks >= 0:
            return ""
        key = make_key(self.folder / "foreign") if self.conduct.foreign else None
        shown = Path(f"{key}.pub").read_text().rsplit(" ", 1)[0] if key else self.sshd.host_key
        return CONSOLE.format(host_key=shown)

    def log(self) -> str:
        """What its job said."""
        file = self.opt / "log"
        return file.read_text() if file.exists() else ""

    def wait_for(self, text: str, seconds: float = 20.0) -> None:
        """Until the log holds a text."""
        end = time.monotonic() + seconds
        while text not in self.log():
            if time.monotonic() > end:
                raise TimeoutError(f"{text!r} did not come: {self.log()}")
            time.sleep(POLL_SECONDS)

    def interrupt(self) -> None:
        """As a spot notice or the deadline does: the job is asked to end."""
        os.kill(int((self.opt / "runner.lock").read_text()), signal.SIGTERM)

    def end(self, reason: str = SPOT_END) -> None:
        """It is gone at once, with all that ran on it."""
        with self._lock:
            if not self.alive:
                return
            self.alive = False
        self._timer.cancel()
        self.sshd.stop()
        if self.instance.state in LIVE:
            self.instance.terminate()
            self.instance.state_reason.code = self.instance.state_reason.message = reason

    def look(self) -> None:
        """Do what a program on the machine has asked for."""
        lingered = self.conduct.linger_seconds is not None and (self.folder / "ending").exists()
        if (self.folder / "shutdown").exists() or (
            lingered and time.time() - (self.folder / "ending").stat().st_mtime > (self.conduct.linger_seconds or 0)
        ):
            self.end(SHUT_DOWN)

    def _set_up(self) -> None:
        if self.conduct.set_up == "ready":
            (self.opt / "ready").touch()
        elif self.conduct.set_up:
            (self.opt / "failed").write_text(f"{self.conduct.set_up}\n")

    def _install(self) -> None:
        words = {"folder": self.folder, "python": sys.executable}
        unit = self.folder / "unit"
        unit.write_text(UNIT.format(**words))
        unit.chmod(0o755)
        shims = {"sudo": SUDO, "systemctl": SYSTEMCTL, "systemd-run": SYSTEMD_RUN, "shutdown": SHUTDOWN}
        for name, script in shims.items():
            self.sshd.shim(name, script.format(**words) if name != "sudo" else script)


@dataclass
class Machines:
    """Gives machines to the instances of an account; a context manager.

    Args:
        account: is entered already.
        folder: for all that lies on machines.
        environment: variables of every machine.
        key_file: the private key that opens them; made if there is none.
    """

    account: Account
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    key_file: Path | None = None
    all: list[Machine] = field(default_factory=list)
    overlaps: list[tuple[str, str]] = field(default_factory=list)  # launched while another lived
    _plans: list[Conduct] = field(default_factory=list)
    _tokens: dict[str, Any] = field(default_factory=dict)
    _undo: list[Callable[[], Any]] = field(default_factory=list)

    def __enter__(self) -> Machines:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key_file = self.key_file or make_key(self.folder / "key")
        self.authorized = Path(f"{self.key_file}.pub")
        if not self.authorized.exists():
            words = ["ssh-keygen", "-y", "-f", str(self.key_file)]
            self.authorized = self.folder / "key.pub"
            self.authorized.write_bytes(subprocess.run(words, check=True, capture_output=True).stdout)
        own = {"PYTHONPATH": str(PROJECT_FOLDER), "AWS_EC2_METADATA_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment = own | dict(self.environment)
        self.server_port = free_port()
        self.proxy = Proxy(self.server_port)
        self._patch(InstanceBackend, "run_instances", self._running(InstanceBackend.run_instances))
        self._patch(InstanceBackend, "terminate_instances", self._ending(InstanceBackend.terminate_instances))
        self._patch(General, "get_console_output", self._console())
        for name in ("public_ip", "public_ip_address"):
            self._patch(Instance, name, property(lambda instance: HOST if instance.state in LIVE else None))
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        for machine in self.all:
            machine.end()
        self.proxy.stop()
        while self._undo:
            self._undo.pop()()

    @property
    def port(self) -> int:
        """Where the SSH server of the living machine is reached."""
        return self.proxy.port

    @property
    def opt(self) -> Path:
        """The folder of the machine that was launched last, as ``Cloud.folder`` names it."""
        return self.folder / "opt"

    @property
    def last(self) -> Machine:
        return self.all[-1]

    @property
    def alive(self) -> list[Machine]:
        return [each for each in self.all if each.alive]

    def plan(self, *conduct: Conduct) -> None:
        """How the next machines behave."""
        self._plans.extend(conduct)

    def wait(self, count: int = 1, seconds: float = 20.0) -> Machine:
        """Until so many machines were launched; the last of them."""
        end = time.monotonic() + seconds
        while len(self.all) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"machine {count} was not launched")
            time.sleep(POLL_SECONDS)
        return self.all[count - 1]

    def point_at(self, folder: Path) -> None:
        """``opt`` is the folder of this machine from now on."""
        side = self.folder / "opt.new"
        side.symlink_to(folder)
        side.replace(self.opt)

    def _patch(self, owner: Any, name: str, value: Any) -> None:
        patcher = mock.patch.object(owner, name, value)
        patcher.start()
        self._undo.append(patcher.stop)

    def _running(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_instances(backend: Any, *positional: Any, **named: Any) -> Any:
            token = named.get("client_token", "")
            if token in self._tokens:  # over HTTP nobody else honours them
                return self._tokens[token]
            reservation = original(backend, *positional, **named)
            conduct = self._plans.pop(0) if self._plans else Conduct()
            for other in self.alive:
                self.overlaps.append((other.instance.id, reservation.instances[0].id))
                other.sshd.stop()
            self.all.append(Machine(self, reservation.instances[0], conduct))
            self._tokens[token] = reservation
            conduct.on_launch()
            return reservation

        return run_instances

    def _ending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def terminate_instances(backend: Any, instance_ids: list[str]) -> Any:
            answer = original(backend, instance_ids)
            for machine in self.all:
                if machine.instance.id in instance_ids:
                    machine.end()
            return answer

        return terminate_instances

    def _console(self) -> Callable[..., Any]:
        def get_console_output(response: Any) -> ActionResult:
            wanted = response._get_param("InstanceId")
            machine = next(each for each in self.all if each.instance.id == wanted)
            return ActionResult({"InstanceId": wanted, "Output": Base64EncodedString.from_raw_string(machine.console)})

        return get_console_output

    def _watch(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            for machine in self.alive:
                machine.look()


def make_project(folder: Path, *words: str, publishing: bool = False) -> Path:
    """A project without git whose training program is doubles/training_program.py with these words."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(str(training_program.__file__), folder / "training_program.py")
    text = PUBLISHING if publishing else PROGRAM
    (folder / "training_pipeline.py").write_text(text.format(words=list(words)))
    return folder
