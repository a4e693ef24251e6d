"""A real OpenSSH server on 127.0.0.1 for tests, run by whoever runs the tests, with keys made for the occasion.

    with Sshd(tmp_path) as sshd, Connection(sshd.address()) as connection:
        connection.run("hostname")

It can come late, be cut, be frozen or answer with another host key. ``Proxy`` stands in front of it and spoils the
link at a chosen byte. ``sshd.bin`` comes first in the PATH of every session: put programs there that stand in for
``sudo`` or ``systemctl``. Use ``needs_sshd`` to mark what needs the server.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aws.ssh import Address

HOST = "127.0.0.1"
PROGRAM = shutil.which("sshd") or "/usr/sbin/sshd"
SEPARATION_FOLDER = Path("/run/sshd")  # sshd wants it when root starts it
START_SECONDS = 10.0

needs_sshd = pytest.mark.skipif(
    not Path(PROGRAM).exists() or not shutil.which("ssh-keygen"),
    reason="there is no OpenSSH server here: apt-get install openssh-server",
)

CONFIGURATION = """
ListenAddress 127.0.0.1
HostKey {host_key}
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
X11Forwarding no
PrintMotd no
PrintLastLog no
MaxStartups 100
Subsystem sftp internal-sftp
"""


class Sshd:
    """The server. Nothing listens before ``start``; the port stays the same over stops and starts.

    Args:
        folder: for keys, settings and log; made if need be.
        options: further lines of sshd_config, such as ``RekeyLimit 256K``.
        environment: variables of every session.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder / "sshd"
        self.bin = self.folder / "bin"
        self.bin.mkdir(parents=True, exist_ok=True)
        self.user = getpass.getuser()
        self.port = free_port()
        self.log = self.folder / "log"
        self.key_file = make_key(self.folder / "client")
        self._host_key = make_key(self.folder / "host")
        self._mark = f"STRANGER_SSHD={secrets.token_hex(8)}"  # in the environment of all that is started here
        self._environment = dict(environment or {})
        self._options = list(options)
        self._process: subprocess.Popen[bytes] | None = None
        self._timer: threading.Timer | None = None
        shutil.copy(f"{self.key_file}.pub", self.folder / "authorized_keys")

    def __enter__(self) -> Sshd:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def host_key(self) -> str:
        """The public host key as ``ssh-ed25519 AAAA…``."""
        return public_key(self._host_key)

    def address(self, port: int = 0, host_keys: tuple[str, ...] | None = None, key_file: Path | None = None) -> Address:
        """Where it is and how to log in; ``port``: of a proxy in front of it."""
        from aws.ssh import Address

        keys = (self.host_key,) if host_keys is None else host_keys
        return Address(HOST, port or self.port, self.user, key_file or self.key_file, keys)

    def start(self) -> None:
        """Start and wait until it listens; nothing happens if it runs already."""
        if self._process:
            return
        if os.getuid() == 0:
            SEPARATION_FOLDER.mkdir(mode=0o755, exist_ok=True)
        command = [PROGRAM, "-D", "-f", str(self._write_configuration()), "-p", str(self.port), "-E", str(self.log)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                text = self.log.read_text(errors="replace") if self.log.exists() else ""
                self.stop()
                raise RuntimeError(f"sshd does not start: {text}")
            time.sleep(0.02)

    def start_later(self, seconds: float) -> None:
        """Start after a while, from another thread."""
        self._timer = threading.Timer(seconds, self.start)
        self._timer.start()

    def stop(self) -> None:
        """End the server, its connections and everything that was started over them, detached or not."""
        if self._timer:
            self._timer.cancel()
            self._timer.join()
            self._timer = None
        if self._process:
            process, self._process = self._process, None
            below = descendants(process.pid)
            process.kill()
            process.wait()
            _kill(below)
        _kill(_marked(self._mark))

    def cut(self) -> None:
        """End all connections; the server goes on to listen. What runs detached goes on as well."""
        if self._process:
            _kill([pid for pid in descendants(self._process.pid) if _is_sshd(pid)])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Frozen: connections stay open and nothing is answered, as when a machine hangs."""
        pids = self._pids()
        _signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    def rekey(self) -> None:
        """Answer with a new host key from now on, as another machine at the same address would."""
        running = self._process is not None
        self.stop()
        self._host_key = make_key(self.folder / f"host-{secrets.token_hex(4)}")
        if running:
            self.start()

    def shim(self, name: str, script: str) -> Path:
        """Put a program into the PATH of all sessions, before all others; ``script`` is what follows ``#!/bin/sh``."""
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    def connections(self) -> int:
        """How many connections are open: counted by the processes that serve them."""
        if not self._process:
            return 0
        return len([pid for pid in children(self._process.pid) if _is_sshd(pid)])

    def _pids(self) -> list[int]:
        return [self._process.pid, *descendants(self._process.pid)] if self._process else []

    def _write_configuration(self) -> Path:
        # SHLVL: some builds of bash read ~/.bashrc in the outermost shell of a connection.
        variables = {"PATH": f"{self.bin}:{os.environ['PATH']}", "SHLVL": "2", **self._environment}
        words = " ".join(f'"{name}={value}"' for name, value in variables.items())
        text = CONFIGURATION.format(host_key=self._host_key, folder=self.folder)
        text += f"SetEnv {self._mark} {words}\n" + "\n".join(self._options) + "\n"
        file = self.folder / "sshd_config"
        # Newer servers lock out an address that fails often; older ones do not know the option.
        file.write_text(text + "PerSourcePenalties no\n")
        if subprocess.run([PROGRAM, "-t", "-f", str(file)], capture_output=True, check=False).returncode:
            file.write_text(text)
        return file


class Proxy:
    """A TCP link to a port of this machine that can be spoilt: cut, silent, or either after a number of bytes."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self.accepted = 0  # connections so far
        self.sent_bytes = 0  # towards the server so far
        self._limit: int | None = None
        self._at_limit = "cut"
        self._flows = threading.Event()  # cleared: nothing passes and nobody is told
        self._flows.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._open = True
        self._start(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def cut_after(self, count: int) -> None:
        """Once this many more bytes have gone to the server, reset all connections; new ones work again."""
        self._limit, self._at_limit = self.sent_bytes + count, "cut"

    def hold_after(self, count: int) -> None:
        """Once this many more bytes have gone to the server, nothing passes any more, without a word (see hold)."""
        self._limit, self._at_limit = self.sent_bytes + count, "hold"

    def hold(self) -> None:
        """Let nothing through in either direction, keep all sockets open, accept new ones: a dead link."""
        self._flows.clear()

    def release(self) -> None:
        """Let everything through again, what was held first."""
        self._flows.set()

    def cut(self) -> None:
        """Reset all connections; new ones are accepted."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            _reset(each)

    def stop(self) -> None:
        """Close everything."""
        self._open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        self._flows.set()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self._open:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection((HOST, self._target_port))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            self._start(self._carry, client, server, True)
            self._start(self._carry, server, client, False)

    def _carry(self, source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with suppress(OSError):
            while content := source.recv(16384):
                self._wait()
                if to_server:
                    content = self._count(content)
                    self._wait()
                target.sendall(content)
        self._wait()  # a dead link passes on no end either
        with self._lock:
            self._sockets -= {source, target}
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _wait(self) -> None:
        self._flows.wait()

    def _count(self, content: bytes) -> bytes:
        """What may pass; at the limit the link is spoilt."""
        self.sent_bytes += len(content)
        if self._limit is None or self.sent_bytes < self._limit:
            return content
        self._limit = None
        if self._at_limit == "hold":
            self._flows.clear()
        else:
            self.cut()
        return content


def make_key(file: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    """A new private key (mode 0600); its public half lies beside it as ``.pub``."""
    size = ["-b", "2048"] if kind == "rsa" else []  # more takes seconds to make
    words = ["ssh-keygen", "-q", "-t", kind, *size, "-N", passphrase, "-C", "test", "-f", str(file)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return file


def public_key(file: Path) -> str:
    """The public half of a private key file, ``ssh-ed25519 AAAA…``."""
    return " ".join(Path(f"{file}.pub").read_text(encoding="utf-8").split()[:2])


def fingerprint(file: Path) -> str:
    """What ssh-keygen says of a key: ``SHA256:…``."""
    words = ["ssh-keygen", "-l", "-f", f"{file}.pub"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid``."""
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    parents, found, new = _parents(), [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            # The name of the program stands in brackets and may hold anything.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def _marked(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _is_sshd(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    return False


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _kill(pids: Sequence[int]) -> None:
    _signal(pids, signal.SIGKILL)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _reset(connection: socket.socket) -> None:
    """Close with a reset: the other side is told at once, and what is on its way is lost."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
