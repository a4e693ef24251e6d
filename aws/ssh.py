"""Commands and files over SSH: reconnected where the line was cut, given up where it is dead, never hanging.

    with wait_for_ssh(address, 300, still_there=check) as connection:
        connection.upload(Path("code.tar.gz"), "/opt/stranger/code.tar.gz")
        print(connection.run("uptime").text)

Only the host keys of the address are accepted and only its key file is used: no agent, nothing of ~/.ssh.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aws.errors import RemoteError, SshError
from aws.machines.ssh_keys import Address, fingerprint, host_keys_of, read_key
from aws.machines.ssh_wire import KeyRefused, LineCut, close_transport, connection_errors, is_alive, open_transport

if TYPE_CHECKING:
    import paramiko

__all__ = [
    "Address",
    "Connection",
    "KeyRefused",
    "LineCut",
    "Result",
    "fingerprint",
    "host_keys_of",
    "wait_for_ssh",
]

PIECE_BYTES = 65536  # read or written at once
STALLED_SILENCES = 3  # seconds of silence, times this: the machine answers, but the transfer does not get on
PAUSE_SECONDS = 3.0  # between tries
KEY_GRACE_SECONDS = 60.0  # cloud-init may put the key in its place after the SSH server has started
KILLED = -1  # exit status of a command that was ended by a signal


@dataclass(frozen=True)
class Result:
    """How a command ended; ``exit_status`` is -1 where a signal ended it."""

    exit_status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """What it printed."""
        return self.stdout.decode(errors="replace")


class Connection:
    """A line to one machine. It is made when it is first needed, and again where it was cut. Threads take turns.

    Args:
        address: where, who, and which host keys.
        connect_timeout_seconds: for each of: reaching it, agreeing on keys, logging in.
        silence_seconds: after so long without a sign of life, although it was asked for, the line is dead.
        sleep: the pause before an upload goes on.
    """

    def __init__(
        self,
        address: Address,
        *,
        connect_timeout_seconds: float = 10.0,
        silence_seconds: float = 20.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self._connect_timeout_seconds = connect_timeout_seconds
        self._silence_seconds = silence_seconds
        self._sleep = sleep
        self._lock = threading.RLock()
        self._transport: paramiko.Transport | None = None

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect now rather than at the first command.

        Raises:
            HostKeyMismatch: another machine answers.
            KeyRefused: it does not take the key.
            LineCut: nobody answers.
            SshError: the key file cannot be used.
        """
        with self._lock:
            self._connected()

    def run(
        self,
        command: str,
        *,
        timeout_seconds: float = 30.0,
        stdin: bytes = b"",
        check: bool = True,
        repeat: bool = True,
    ) -> Result:
        """Run a command of the shell and wait for its end and the end of all it writes.

        Args:
            command: paths in it are quoted by the caller (shlex.quote).
            timeout_seconds: then it is given up; what it started may go on.
            stdin: what it reads.
            check: an exit status other than 0 is an error.
            repeat: run it once more if the line was cut while it ran; False for what must not run twice.

        Raises:
            RemoteError: it failed.
            SshError: it took too long, or see ``connect``.
        """
        with self._lock:
            result = self._run_over_a_cut(command, timeout_seconds, stdin, repeat)
        if check and result.exit_status:
            raise _failed(command, self.address, result)
        return result

    def upload(
        self,
        file: Path,
        remote: str,
        progress: Callable[[int, int], None] | None = None,
        attempts: int = 4,
    ) -> None:
        """Copy a file. It has its name only once it is whole and its sum is right; a cut line goes on where it was.

        Args:
            file: here.
            remote: there; its folder exists. A file of the same content there is left alone.
            progress: called with the bytes that have arrived and those of all.
            attempts: how often in a row it may break off without a new byte arriving.

        Raises:
            RemoteError: the machine does not take it: no such folder, no right, no room.
            SshError: the line stays cut, or see ``connect``.
            StoreError: the file cannot be read.
        """
        from aws.machines.ssh_upload import Upload

        upload = Upload(self, file, remote, progress)
        failures = 0
        while True:
            arrived = upload.arrived
            try:
                with self._lock:
                    return upload.go_on()
            except LineCut:
                self.close()
                failures = failures + 1 if upload.arrived <= arrived else 1
                if failures >= attempts:
                    raise
                self._sleep(min(PAUSE_SECONDS, 0.5 * 2**failures))

    @contextmanager
    def sftp(self) -> Iterator[paramiko.SFTPClient]:
        """A client for files. Raises LineCut where the line breaks off or a transfer does not get on."""
        import paramiko

        with self._channel() as channel, connection_errors(channel.transport, self._broke_off):
            channel.settimeout(STALLED_SILENCES * self._silence_seconds)
            channel.invoke_subsystem("sftp")
            yield paramiko.SFTPClient(channel)

    def close(self) -> None:
        """End the line; the next command makes a new one."""
        with self._lock:
            transport, self._transport = self._transport, None
            if transport:
                close_transport(transport)

    def _connected(self) -> paramiko.Transport:
        if self._transport and not is_alive(self._transport):
            self.close()
        if not self._transport:
            self._transport = open_transport(self.address, self._connect_timeout_seconds, self._silence_seconds)
        return self._transport

    # run

    def _run_over_a_cut(self, command: str, timeout_seconds: float, stdin: bytes, repeat: bool) -> Result:
        self._connected()
        try:
            return self._run_once(command, timeout_seconds, stdin)
        except LineCut as cut:
            if cut.begun and not repeat:
                raise
        return self._run_once(command, timeout_seconds, stdin)

    def _run_once(self, command: str, timeout_seconds: float, stdin: bytes) -> Result:
        """Run over a line that works. Raises LineCut: it does not any more, and is closed."""
        with self._channel() as channel:
            try:
                with connection_errors(channel.transport, self._broke_off):
                    channel.exec_command(command.encode())
                    end = time.monotonic() + timeout_seconds
                    stdout, stderr = _exchange(channel, stdin, end)
                    return Result(_exit_status(channel, end), stdout, stderr)
            except LineCut as cut:
                cut.begun = True
                raise
            except _TooLong:
                self.close()  # it may be the line that is slow
                raise SshError(
                    f"`{_shorten(command)}` did not end within {timeout_seconds:g} s on {self.address}.",
                    remedies=[("See how the machine is", "python deploy_aws.py status")],
                ) from None

    @property
    def _broke_off(self) -> str:
        return f"the connection to {self.address} broke off"

    @contextmanager
    def _channel(self) -> Iterator[paramiko.Channel]:
        """A channel of the line. The line is closed after a LineCut."""
        transport = self._connected()
        channel = None
        try:
            with connection_errors(transport, self._broke_off):
                channel = transport.open_session(timeout=self._silence_seconds)
            yield channel
        except LineCut:
            self.close()
            raise
        finally:
            if channel:
                _close_channel(channel)


def wait_for_ssh(
    address: Address,
    timeout_seconds: float,
    *,
    still_there: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
    connect_timeout_seconds: float = 10.0,
    silence_seconds: float = 20.0,
) -> Connection:
    """A connection to a machine that is about to come up.

    Args:
        still_there: called before each try; raises when the machine has ended, and that ends the waiting.

    Raises:
        HostKeyMismatch: another machine answers; not tried again.
        SshError: it did not come up in time, or the key file cannot be used.
    """
    connection = Connection(
        address, connect_timeout_seconds=connect_timeout_seconds, silence_seconds=silence_seconds, sleep=sleep
    )
    read_key(address.key_file)
    end, refused_at = clock() + timeout_seconds, None
    while True:
        still_there()
        try:
            connection.connect()
            return connection
        except KeyRefused as error:
            refused_at = refused_at if refused_at is not None else clock()
            if clock() >= min(end, refused_at + KEY_GRACE_SECONDS):
                raise
            last: SshError = error
        except LineCut as error:
            last = error
        if clock() >= end:
            raise SshError(
                f"{address} could not be reached over SSH in {timeout_seconds:g} s. The last try: {last.what}",
                instead=last.instead,
                remedies=[*last.remedies, ("See how the machine is", "python deploy_aws.py status")],
            ) from last
        sleep(max(0.0, min(PAUSE_SECONDS, end - clock())))


class _TooLong(Exception):
    """The deadline of a command has passed."""


def _exchange(channel: paramiko.Channel, stdin: bytes, end: float) -> tuple[bytes, bytes]:
    """Write and read in turns, whatever is ready, until the other side has said all. Raises _TooLong."""
    stdout, stderr = bytearray(), bytearray()
    rest = memoryview(stdin)
    written = False
    while True:
        if time.monotonic() > end:
            raise _TooLong
        over = channel.eof_received or channel.closed  # seen before the buffers, so that nothing comes after
        if channel.recv_ready():
            stdout += channel.recv(PIECE_BYTES)
        elif channel.recv_stderr_ready():
            stderr += channel.recv_stderr(PIECE_BYTES)
        elif over:
            return bytes(stdout), bytes(stderr)
        elif rest and channel.send_ready():
            rest = rest[channel.send(rest[:PIECE_BYTES]) :]
        elif not rest and not written:
            channel.shutdown_write()
            written = True
        else:
            select.select([channel], [], [], 0.02 if rest else 0.2)


def _exit_status(channel: paramiko.Channel, end: float) -> int:
    """The exit status, -1 where a signal ended the command. Raises _TooLong; EOFError: the line is gone."""
    if not channel.status_event.wait(max(0.0, end - time.monotonic())):
        raise _TooLong  # it closed its output and goes on
    if channel.exit_status < 0:
        channel.transport.join(0.5)  # it ends its channels a moment before itself
        if not is_alive(channel.transport):
            raise EOFError
    return int(channel.exit_status)


def _close_channel(channel: paramiko.Channel) -> None:
    with suppress(Exception):  # on a dead line there is nobody to tell
        channel.close()


def _failed(command: str, address: Address, result: Result) -> RemoteError:
    said = [line.strip() for line in result.stderr.decode(errors="replace").splitlines() if line.strip()]
    how = "was killed" if result.exit_status == KILLED else f"failed with status {result.exit_status}"
    return RemoteError(
        f"`{_shorten(command)}` {how} on {address}" + (f": {said[-1]}" if said else "."),
        remedies=[("See how the machine is", "python deploy_aws.py status")],
    )


def _shorten(words: str, longest: int = 80) -> str:
    """The first line of a command, for a sentence."""
    first, _, more = words.strip().partition("\n")
    return first[:longest] + ("…" if more or len(first) > longest else "")
