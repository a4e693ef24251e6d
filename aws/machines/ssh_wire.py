"""One SSH transport: made only to the machine whose host key is known, and given up once nothing is heard on it.

paramiko sends keep-alives but does not notice that no answer comes, and its writes wait for a dead link for ever.
``Wire`` is the socket below it: it counts the seconds of silence and breaks off. The keep-alives here ask for an
answer, so that a link which is alive is never silent. Used by aws/ssh.py.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from aws.errors import SshError
from aws.machines.ssh_keys import Address, check_host_key, expected_host_keys, read_key

if TYPE_CHECKING:
    import paramiko

logger = logging.getLogger(__name__)

LONGEST_TICK_SECONDS = 1.0  # more between two looks means that this process was stopped, not that the link was silent
KEEP_ALIVES = 4  # in the seconds of silence that end a connection
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")  # host key algorithms of the one key type ssh-rsa


class LineCut(SshError):
    """No connection came about, or it broke off: another try may work. ``begun``: a command may have been started."""

    begun = False


class KeyRefused(SshError):
    """The machine does not accept the key (yet: a new one listens before it has put the key in its place)."""


class Wire(socket.socket):
    """A connected socket that breaks off after ``silence_seconds`` in which it was waited for and nothing came."""

    def __init__(self, connected: socket.socket, silence_seconds: float) -> None:
        super().__init__(connected.family, connected.type, connected.proto, fileno=connected.detach())
        with suppress(OSError):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.silence_seconds = silence_seconds
        self._silent = 0.0
        self._ticked = time.monotonic()

    @property
    def is_dead(self) -> bool:
        """Nothing was heard for too long."""
        return self._silent > self.silence_seconds

    def recv(self, *arguments: Any) -> bytes:
        try:
            content = super().recv(*arguments)
        except TimeoutError:
            self._tick()
            raise
        self._silent, self._ticked = 0.0, time.monotonic()
        return content

    def send(self, *arguments: Any) -> int:
        try:
            return super().send(*arguments)
        except TimeoutError:
            self._tick()
            raise

    def close(self) -> None:
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads
        super().close()

    def _tick(self) -> None:
        now = time.monotonic()
        self._silent += min(now - self._ticked, LONGEST_TICK_SECONDS)
        self._ticked = now
        if self.is_dead:
            # Not a TimeoutError: paramiko would go on waiting.
            raise ConnectionAbortedError(errno.ECONNABORTED, f"nothing heard for {self.silence_seconds:g} s")


def open_transport(address: Address, connect_timeout_seconds: float, silence_seconds: float) -> paramiko.Transport:
    """Connect, check the host key, log in with the key file and nothing else.

    Raises:
        HostKeyMismatch: another machine answers; nothing was sent to it.
        KeyRefused: the machine does not take the key.
        LineCut: nobody answers, or not in time.
        SshError: the key file or the expected host keys cannot be used.
    """
    import paramiko

    _quieten()
    key = read_key(address.key_file)
    expected = expected_host_keys(address)
    transport = paramiko.Transport(_dial(address, connect_timeout_seconds, silence_seconds))
    try:
        with connection_errors(transport, f"{address} did not greet as an SSH server does"):
            _greet(transport, expected, connect_timeout_seconds)
        check_host_key(address, expected, transport.get_remote_server_key())
        _log_in(address, transport, key)
    except BaseException:
        close_transport(transport)
        raise
    _keep_alive(transport, silence_seconds / KEEP_ALIVES)
    return transport


def close_transport(transport: paramiko.Transport) -> None:
    """End the connection, its thread and its timer; silent where it has ended already."""
    transport.close()
    if transport.ident is not None:
        transport.join(5)
    transport.packetizer.complete_handshake()  # else a timer of a failed one lives on for seconds
    transport.sock.close()


def is_alive(transport: paramiko.Transport) -> bool:
    """Whether it can still be used; paramiko ends its channels a moment before it says so itself."""
    return bool(transport.is_active()) and transport.saved_exception is None


@contextmanager
def connection_errors(transport: paramiko.Transport, what: str) -> Iterator[None]:
    """Turn what paramiko and the socket raise into a LineCut that says ``what`` and why."""
    import paramiko

    try:
        yield
    except SshError:
        raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise LineCut(f"{what}: {_reason(error, transport)}.") from error


def _quieten() -> None:
    """paramiko logs a traceback for each connection that breaks off; here it is said once, in a sentence."""
    level = logging.DEBUG if logger.isEnabledFor(logging.DEBUG) else logging.CRITICAL
    logging.getLogger("paramiko").setLevel(level)


def _dial(address: Address, timeout_seconds: float, silence_seconds: float) -> Wire:
    try:
        return Wire(socket.create_connection((address.host, address.port), timeout_seconds), silence_seconds)
    except ConnectionRefusedError:
        raise LineCut(f"{address} refuses: no SSH server listens there.") from None
    except TimeoutError:
        raise LineCut(
            f"{address} does not answer within {timeout_seconds:g} s.",
            instead="Either it is not up, or its security group does not let this machine's address in.",
            remedies=[("Let this machine in", "python deploy_aws.py init")],
        ) from None
    except OSError as error:
        raise LineCut(f"{address} cannot be reached: {(error.strerror or str(error)).lower()}.") from None


def _greet(transport: paramiko.Transport, expected: dict[str, str], timeout_seconds: float) -> None:
    """Agree on keys, preferably by a host key of a type that is expected."""
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout_seconds
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda name: _type_of(name) not in expected.values())
    transport.start_client(timeout=timeout_seconds)
    if not transport.initial_kex_done:  # it returns in silence when time is up
        raise TimeoutError


def _type_of(algorithm: str) -> str:
    return "ssh-rsa" if algorithm in RSA_SIGNATURES else algorithm


def _log_in(address: Address, transport: paramiko.Transport, key: paramiko.PKey) -> None:
    import paramiko

    with connection_errors(transport, f"the connection to {address} broke off"):
        try:
            transport.auth_publickey(address.user, key)
        except paramiko.AuthenticationException as error:
            if not transport.is_active():
                raise  # the link, not the key
            raise KeyRefused(
                f"{address} does not accept the key {address.key_file}.",
                instead=f"Its fingerprint is {key.fingerprint}.",
                remedies=[("See whose key the machine has", "python deploy_aws.py list-instances")],
            ) from error


def _keep_alive(transport: paramiko.Transport, interval_seconds: float) -> None:
    """Ask for a sign of life after each interval without one; runs in paramiko's own thread."""
    known = weakref.ref(transport)

    def ask() -> None:
        link = known()
        # During a key exchange nothing may be sent; its own messages are the sign of life.
        if link is not None and link.clear_to_send.is_set():
            link._send_user_message(_question())

    transport.packetizer.set_keepalive(interval_seconds, ask)


def _question() -> paramiko.Message:
    """paramiko's own keep-alive wants no reply, and so proves nothing."""
    import paramiko
    from paramiko.common import cMSG_GLOBAL_REQUEST

    message = paramiko.Message()
    message.add_byte(cMSG_GLOBAL_REQUEST)
    message.add_string("keepalive@openssh.com")
    message.add_boolean(True)
    return message


def _reason(error: BaseException, transport: paramiko.Transport) -> str:
    wire: Wire = transport.sock
    if wire.is_dead:
        return f"nothing was heard for {wire.silence_seconds:g} s"
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, EOFError) or not str(error):
        return "the other side closed it"
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")
