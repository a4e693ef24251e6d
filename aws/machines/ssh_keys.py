"""SSH keys: the private key of this machine, and the host keys that tell which machine answers.

address = Address("203.0.113.5", 22, "ubuntu", Path("~/.ssh/key.pem"), host_keys_of(console))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import shlex
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aws.errors import HostKeyMismatch, SshError

if TYPE_CHECKING:
    import paramiko

HOST_KEY = re.compile(r"\b((?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) AAAA[0-9A-Za-z+/]+={0,2})")
HOST_KEY_BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """Where to log in and as whom. ``host_keys``: the only ones accepted, ``ssh-ed25519 AAAA…``, as many as known."""

    host: str
    port: int
    user: str
    key_file: Path
    host_keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


def read_key(file: Path) -> paramiko.PKey:
    """The private key of a file.

    Raises:
        SshError: it is missing, open to others, encrypted or no private key.
    """
    import paramiko

    file = file.expanduser()
    quoted = shlex.quote(str(file))
    _check_key_file(file, quoted)
    try:
        return paramiko.PKey.from_path(file)
    except (TypeError, paramiko.PasswordRequiredException):
        raise SshError(
            f"the key file {file} has a passphrase.",
            instead="Nobody is there to type it while a job is watched.",
            remedies=[("Take it off", f"ssh-keygen -p -N '' -f {quoted}")],
        ) from None
    except OSError as error:
        raise SshError(f"the key file {file} cannot be read: {error.strerror or error}.") from None
    except Exception:  # whatever the parsers of the key formats raise; their texts may quote the file
        raise SshError(
            f"{file} is not a private key.",
            instead="One starts with -----BEGIN OPENSSH PRIVATE KEY-----",
            remedies=[("See what it is", f"ssh-keygen -l -f {quoted}")],
        ) from None


def host_keys_of(console: str) -> tuple[str, ...]:
    """The host keys that cloud-init prints on a machine's console, ed25519 first; empty where there are none yet.

    A block without its end is not read: its last key may lack its tail.
    """
    blocks = HOST_KEY_BLOCK.findall(console)
    keys = dict.fromkeys(HOST_KEY.findall(blocks[-1])) if blocks else {}
    return tuple(sorted((key for key in keys if _is_whole(key)), key=lambda key: not key.startswith("ssh-ed25519")))


def expected_host_keys(address: Address) -> dict[str, str]:
    """Fingerprint to type of the host keys that are accepted."""
    try:
        found = {fingerprint(key): key.split()[0] for key in address.host_keys}
    except ValueError as error:
        raise SshError(f"the host keys of {address} cannot be used: {error}.") from None
    if not found:
        raise SshError(
            f"no host key of {address} is known.",
            instead="Without one nobody can tell which machine answers, so nothing is sent.",
            remedies=[("See which machines there are", "python deploy_aws.py list-instances")],
        )
    return found


def check_host_key(address: Address, expected: dict[str, str], key: paramiko.PKey) -> None:
    got = fingerprint(f"{key.get_name()} {key.get_base64()}")
    if got not in expected:
        raise HostKeyMismatch(
            f"another machine answers at {address.host}: its host key is {got} ({key.get_name()}),"
            f" expected {_list(expected)}.",
            instead="The address may belong to somebody else now, or somebody listens in. Nothing was sent.",
            remedies=[("See which machines are yours", "python deploy_aws.py list-instances")],
        )


def _list(expected: dict[str, str]) -> str:
    return " or ".join(f"{print_} ({kind})" for print_, kind in expected.items())


def fingerprint(host_key: str) -> str:
    """``SHA256:…`` as ssh-keygen prints it. Raises ValueError: not ``ssh-ed25519 AAAA…``."""
    digest = hashlib.sha256(_blob(host_key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _blob(host_key: str) -> bytes:
    try:
        return base64.b64decode(host_key.split()[1], validate=True)
    except (IndexError, binascii.Error) as error:
        raise ValueError(f"{host_key!r} is not a host key") from error


def _is_whole(host_key: str) -> bool:
    """Whether a key is made of whole fields, the first of which names its type."""
    try:
        blob = _blob(host_key)
    except ValueError:
        return False
    fields, rest = [], blob
    while len(rest) >= 4:
        length = struct.unpack(">I", rest[:4])[0]
        fields.append(rest[4 : 4 + length])
        if len(rest) < 4 + length:
            return False
        rest = rest[4 + length :]
    return not rest and len(fields) > 1 and fields[0] == host_key.split(maxsplit=1)[0].encode()


def _check_key_file(file: Path, quoted: str) -> None:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise SshError(
            f"the key file {file} cannot be read: {(error.strerror or str(error)).lower()}.",
            instead="Each machine has its own, and no private key travels.",
            remedies=[("Make one for this machine", "python deploy_aws.py init")],
        ) from None
    if not stat.S_ISREG(mode):
        raise SshError(f"the key file {file} is not a file.", remedies=[("See what it is", f"ls -ld {quoted}")])
    if os.name == "posix" and mode & 0o077:
        raise SshError(
            f"the key file {file} is open to others: mode {stat.S_IMODE(mode):04o}, and 0600 is the most.",
            remedies=[("Close it", f"chmod 600 {quoted}")],
        )
