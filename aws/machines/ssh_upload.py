"""An upload over SFTP: under another name until it is whole and its sum is right, and begun where it broke off.

Used by Connection.upload in aws/ssh.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from aws.errors import RemoteError, SshError
from aws.machines.ssh_wire import LineCut, is_alive
from utils.files import disk_errors, sha256_file

if TYPE_CHECKING:
    import paramiko

    from aws.ssh import Connection

BLOCK_BYTES = 1 << 20  # between two looks at what has arrived
SLOWEST_SUM_BYTES_PER_SECOND = 20e6  # sha256 of a remote file


class Upload:
    """One file on its way. ``arrived``: the bytes that the machine has confirmed.

    Raises:
        StoreError: the file cannot be read.
    """

    def __init__(
        self, line: Connection, file: Path, remote: str, progress: Callable[[int, int], None] | None = None
    ) -> None:
        with disk_errors(file, "read"):
            self.sha256, self.size_bytes = sha256_file(file), file.stat().st_size
        self.file, self.remote = file, remote
        self.side = side_name(remote, self.sha256)
        self.arrived = 0
        self._line = line
        self._progress = progress

    def go_on(self) -> None:
        """Send what is missing, check the whole, give it its name; nothing is sent if it is there already.

        Raises:
            RemoteError: the machine does not take it: no such folder, no right, no room.
            LineCut: the line broke off; the same again goes on from there.
            SshError: a command took too long.
            StoreError: the file cannot be read.
        """
        if self._sum(self.remote) != self.sha256:
            with self._line.sftp() as sftp, self._refusals(sftp):
                self._send(sftp)
            if self._sum(self.side) != self.sha256:
                self._line.run(f"rm -f -- {shlex.quote(self.side)}")
                self.arrived = 0
                raise LineCut(f"{self.remote} arrived damaged on {self._line.address}.")
            with self._line.sftp() as sftp, self._refusals(sftp):
                sftp.posix_rename(self.side, self.remote)
        self._tell(self.size_bytes)

    def _send(self, sftp: paramiko.SFTPClient) -> None:
        offset = self._size(sftp)
        self._tell(offset)
        with self._open() as source, sftp.open(self.side, "r+" if offset else "w") as target:
            source.seek(offset)
            target.seek(offset)
            while block := self._read(source):
                target.set_pipelined(True)
                target.write(block[:-1])
                target.set_pipelined(False)  # the last byte waits for the answers to all before it
                target.write(block[-1:])
                offset += len(block)
                self._tell(offset)

    def _open(self) -> BinaryIO:
        with disk_errors(self.file, "read"):
            return self.file.open("rb")

    def _read(self, source: BinaryIO) -> bytes:
        with disk_errors(self.file, "read"):
            return source.read(BLOCK_BYTES)

    def _size(self, sftp: paramiko.SFTPClient) -> int:
        """How much has arrived before; 0 if what lies there cannot be part of it."""
        try:
            found = int(sftp.stat(self.side).st_size or 0)
        except FileNotFoundError:
            return 0
        return found if found <= self.size_bytes else 0

    def _tell(self, arrived: int) -> None:
        self.arrived = arrived
        if self._progress:
            self._progress(arrived, self.size_bytes)

    @contextmanager
    def _refusals(self, sftp: paramiko.SFTPClient) -> Iterator[None]:
        """Tell what the machine says no to from a line that was cut: both are OSErrors."""
        try:
            yield
        except TimeoutError:
            raise
        except OSError as error:
            channel = sftp.get_channel()
            if channel.closed or not is_alive(channel.transport):
                raise
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> RemoteError:
        folder = str(PurePosixPath(self.remote).parent)
        free, needed = self._free_bytes(folder), self.size_bytes - self.arrived
        remedy = ("See what is there", f"df -h {shlex.quote(folder)}; ls -la {shlex.quote(folder)}")
        why = (error.strerror or str(error)).lower()
        if free is not None and free < needed:
            why = f"the disk is full, {free / 1e6:.1f} MB are free and {needed / 1e6:.1f} MB needed"
            remedy = ("Take a larger one", "volume_gb below aws.training or aws.operations.serving in aws_config.yaml")
        return RemoteError(f"{self.remote} cannot be written on {self._line.address}: {why}.", remedies=[remedy])

    def _free_bytes(self, folder: str) -> int | None:
        """Room in a folder; None: not known."""
        with suppress(SshError, IndexError, ValueError):
            lines = self._line.run(f"df -P -k -- {shlex.quote(folder)}").text.splitlines()
            return int(lines[-1].split()[3]) * 1024
        return None

    def _sum(self, remote: str) -> str:
        """The sha256 of a remote file; empty if there is none."""
        command = f"[ -f {shlex.quote(remote)} ] && sha256sum < {shlex.quote(remote)}"
        timeout_seconds = 30 + self.size_bytes / SLOWEST_SUM_BYTES_PER_SECOND
        return self._line.run(command, timeout_seconds=timeout_seconds, check=False).text.partition(" ")[0]


def side_name(remote: str, sha256: str) -> str:
    """What an upload is called until it is whole: of its content, so that no two are mixed."""
    return f"{remote}.{sha256[:16]}.part"
