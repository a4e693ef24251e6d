"""SSH against a real server: who may answer, which key is shown, and what a late, cut or dead line does."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doubles.sshd import Proxy, Sshd, fingerprint, free_port, make_key, needs_sshd, public_key

from aws import ssh as ssh_module
from aws.errors import HostKeyMismatch, PlaceError, RemoteError, SshError
from aws.machines import ssh_upload
from aws.machines.ssh_upload import side_name
from aws.ssh import Address, Connection, KeyRefused, LineCut, host_keys_of, wait_for_ssh
from utils.errors import StoreError

pytestmark = needs_sshd

CONNECT, SILENCE, MARGIN = 1.0, 0.6, 4.0  # of lines that are hasty; the others have patience with a busy machine
PATIENCE = {"connect_timeout_seconds": 10.0, "silence_seconds": 10.0}
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("server")) as sshd:
        yield sshd


@pytest.fixture
def proxy(server: Sshd) -> Iterator[Proxy]:
    with Proxy(server.port) as made:
        yield made


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    """Makes connections; closes them and checks that no thread is left."""
    made: list[Connection] = []
    before = set(threading.enumerate())

    def make(address: Address, **options: float) -> Connection:
        made.append(Connection(address, sleep=lambda _: None, **{**PATIENCE, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()
    gc.collect()
    left = [thread for thread in set(threading.enumerate()) - before if "Transport" in type(thread).__name__]
    assert left == []
    assert [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)] == []


@pytest.fixture
def line(proxy: Proxy, server: Sshd, connect: Callable[..., Connection]) -> Connection:
    """A connection through the proxy."""
    return connect(server.address(proxy.port))


@pytest.fixture
def hasty(proxy: Proxy, server: Sshd, connect: Callable[..., Connection]) -> Connection:
    """The same, soon convinced that nobody is there."""
    return connect(server.address(proxy.port), connect_timeout_seconds=CONNECT, silence_seconds=SILENCE)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    file = tmp_path / "big"
    file.write_bytes(os.urandom(6_000_000))
    return file


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


# Commands


def test_a_command_has_a_status_and_two_outputs(line: Connection) -> None:
    result = line.run("echo out; echo err >&2; exit 3", check=False)
    assert (result.exit_status, result.stdout, result.stderr, result.text) == (3, b"out\n", b"err\n", "out\n")


def test_a_failure_is_told_with_the_last_line(line: Connection) -> None:
    with pytest.raises(RemoteError) as caught:
        line.run("echo first >&2\necho 'no such thing' >&2; exit 4")
    assert "`echo first >&2…` failed with status 4 on" in str(caught.value)
    assert ": no such thing" in str(caught.value)
    assert line.run("echo on").text == "on\n"


def test_a_command_that_is_killed(line: Connection, proxy: Proxy) -> None:
    with pytest.raises(RemoteError, match="was killed"):
        line.run("kill -9 $$")
    assert line.run("kill -9 $$", check=False).exit_status == -1
    assert proxy.accepted == 1  # the line was not taken for cut


def test_large_outputs_arrive_whole_at_once(line: Connection) -> None:
    result = line.run("head -c 4000000 /dev/zero & head -c 5000000 /dev/zero >&2; wait; printf end")
    assert (len(result.stdout), len(result.stderr)) == (4_000_003, 5_000_000)


def test_large_input_and_output_do_not_wait_for_each_other(line: Connection) -> None:
    content = os.urandom(5_000_000)
    assert line.run("cat", stdin=content).stdout == content
    assert line.run("wc -c", stdin=content).text.strip() == "5000000"


def test_input_that_nobody_reads(line: Connection) -> None:
    assert line.run("true", stdin=bytes(5_000_000)).exit_status == 0


def test_a_command_that_takes_too_long_is_given_up(line: Connection) -> None:
    for endless in ("sleep 30", "exec >&- 2>&-; sleep 30", "yes"):
        start = time.monotonic()
        with pytest.raises(SshError, match=f"`{endless}` did not end within 0.5 s") as caught:
            line.run(endless, timeout_seconds=0.5)
        assert not isinstance(caught.value, LineCut)
        assert time.monotonic() - start < MARGIN
    assert line.run("echo on").text == "on\n"


def test_a_command_may_be_silent_for_longer_than_a_dead_line(hasty: Connection, proxy: Proxy) -> None:
    assert hasty.run(f"sleep {2.5 * SILENCE}; echo done").text == "done\n"
    assert proxy.accepted == 1


def test_unicode_and_shell_characters(line: Connection) -> None:
    text = "a 'b' \"c\" $d ž"
    assert line.run(f"printf %s {shlex.quote(text)}").text == text


def test_one_line_serves_many_commands_and_threads(line: Connection, proxy: Proxy) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: found.append(line.run(f"echo {number}").text))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0\n", "1\n", "2\n", "3\n"]
    assert proxy.accepted == 1


def test_nothing_is_connected_before_it_is_needed(line: Connection, proxy: Proxy) -> None:
    line.close()
    line.close()
    assert proxy.accepted == 0


# Who answers


def test_another_host_key_is_refused_and_both_are_named(
    server: Sshd, proxy: Proxy, connect: Callable[..., Connection], tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other")
    line = connect(server.address(proxy.port, host_keys=(public_key(other),)))
    log = server.log.read_text()
    with pytest.raises(HostKeyMismatch) as caught:
        line.run("true")
    host_key = server.folder / "host"
    assert f"its host key is {fingerprint(host_key)} (ssh-ed25519), expected {fingerprint(other)}" in str(caught.value)
    assert "Nothing was sent" in str(caught.value)
    assert proxy.accepted == 1
    assert "publickey" not in server.log.read_text().removeprefix(log)


def test_another_host_key_is_refused_in_mid_job(tmp_path: Path, connect: Callable[..., Connection]) -> None:
    with Sshd(tmp_path) as sshd:
        line = connect(sshd.address())
        assert line.run("echo on").text == "on\n"
        sshd.rekey()
        with pytest.raises(HostKeyMismatch):
            line.run("true")
        with pytest.raises(HostKeyMismatch):
            line.upload(PROJECT / "config.py", str(tmp_path / "target"))
        with pytest.raises(HostKeyMismatch):  # and it was not learnt
            line.run("true")
    assert not (tmp_path / "target").exists()


def test_a_host_key_of_another_kind_is_refused(
    server: Sshd, connect: Callable[..., Connection], tmp_path: Path
) -> None:
    rsa = make_key(tmp_path / "rsa", kind="rsa")
    with pytest.raises(HostKeyMismatch, match=r"\(ssh-ed25519\), expected SHA256:\S+ \(ssh-rsa\)"):
        connect(server.address(host_keys=(public_key(rsa),))).connect()


def test_one_of_several_host_keys_is_enough(server: Sshd, connect: Callable[..., Connection], tmp_path: Path) -> None:
    others = tuple(public_key(make_key(tmp_path / kind, kind=kind)) for kind in ("rsa", "ecdsa"))
    assert connect(server.address(host_keys=(*others, server.host_key))).run("echo on").text == "on\n"


def test_the_expected_kind_is_asked_for_where_there_are_several(
    tmp_path: Path, connect: Callable[..., Connection]
) -> None:
    rsa = make_key(tmp_path / "rsa", kind="rsa")
    with Sshd(tmp_path, options=[f"HostKey {rsa}"]) as sshd:
        assert connect(sshd.address(host_keys=(public_key(rsa),))).run("echo on").text == "on\n"


def test_without_a_host_key_nobody_is_asked(server: Sshd, proxy: Proxy, connect: Callable[..., Connection]) -> None:
    with pytest.raises(SshError, match=r"no host key of .* is known"):
        connect(server.address(proxy.port, host_keys=())).connect()
    with pytest.raises(SshError, match="'nonsense' is not a host key"):
        connect(server.address(proxy.port, host_keys=("nonsense",))).connect()
    assert proxy.accepted == 0


def test_known_hosts_of_this_machine_does_not_count(
    server: Sshd, connect: Callable[..., Connection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    with pytest.raises(HostKeyMismatch):
        connect(server.address(host_keys=(public_key(make_key(tmp_path / "other")),))).connect()


# Which key is shown


def test_no_other_key_is_tried(
    server: Sshd, connect: Callable[..., Connection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right key lies in ~/.ssh and in an agent; the given file holds a wrong one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    for name in ("id_ed25519", "id_rsa"):
        file = tmp_path / ".ssh" / name
        file.write_bytes(server.key_file.read_bytes())
        file.chmod(0o600)
    agent_path = tmp_path / "agent"
    asked = threading.Event()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(agent_path))
        agent.listen()
        agent.settimeout(0.2)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent_path))
        other = make_key(tmp_path / "other")
        with pytest.raises(KeyRefused, match=r"does not accept the key .*other") as caught:
            connect(server.address(key_file=other)).connect()
        try:
            agent.accept()[0].close()
            asked.set()
        except TimeoutError:
            pass
    assert not asked.is_set()
    assert fingerprint(other) in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_file_open_to_others(server: Sshd, connect: Callable[..., Connection], tmp_path: Path, mode: int) -> None:
    file = tmp_path / "my key"
    file.write_bytes(server.key_file.read_bytes())
    file.chmod(mode)
    with pytest.raises(SshError, match=f"is open to others: mode {mode:04o}") as caught:
        connect(server.address(key_file=file)).connect()
    assert f"chmod 600 '{file}'" in str(caught.value)


def test_a_key_file_that_cannot_be_used(server: Sshd, connect: Callable[..., Connection], tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0IHN0dWZm\n-----END OPENSSH PRIVATE KEY-----\n")
    nonsense.chmod(0o600)
    public = tmp_path / "public"
    public.write_text(server.host_key)
    public.chmod(0o600)
    for file, words in {
        tmp_path / "missing": "cannot be read: no such file",
        tmp_path: "is not a file",
        make_key(tmp_path / "locked", passphrase="secret words"): "has a passphrase",
        make_key(tmp_path / "old", passphrase="secret words", kind="rsa"): "has a passphrase",
        nonsense: "is not a private key",
        public: "is not a private key",
    }.items():
        for call in (
            connect(server.address(key_file=file)).connect,
            lambda file=file: wait_for_ssh(server.address(key_file=file), 60, still_there=lambda: None),
        ):
            with pytest.raises(SshError, match=words) as caught:
                call()
            assert caught.value.remedies
            assert "c2Vjcm" not in str(caught.value)


def test_an_rsa_key_and_a_home_folder(tmp_path: Path, connect: Callable[..., Connection], monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key = make_key(tmp_path / "rsa", kind="rsa")
    with Sshd(tmp_path) as sshd:
        (sshd.folder / "authorized_keys").write_text(public_key(key))
        assert connect(sshd.address(key_file=Path("~/rsa"))).run("echo on").text == "on\n"


# Late


def test_ssh_comes_late(tmp_path: Path) -> None:
    """Refused first, then a port that takes the connection and says nothing, then the server."""
    sshd = Sshd(tmp_path)
    silent: list[socket.socket] = []
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            silent.append(socket.create_server(("127.0.0.1", sshd.port)))
        if len(looks) == 5:
            silent.pop().close()
            sshd.start()

    try:
        with wait_for_ssh(
            sshd.address(), 600, still_there=look, sleep=lambda _: None, connect_timeout_seconds=CONNECT
        ) as line:
            assert line.run("echo on").text == "on\n"
    finally:
        sshd.stop()
    assert len(looks) >= 5


def test_a_server_that_starts_meanwhile(tmp_path: Path) -> None:
    sshd = Sshd(tmp_path)
    sshd.start_later(1.0)
    tries: list[int] = []
    try:
        with wait_for_ssh(
            sshd.address(), 30, still_there=lambda: tries.append(1), sleep=lambda _: time.sleep(0.1)
        ) as line:
            assert line.run("echo on").text == "on\n"
    finally:
        sshd.stop()
    assert len(tries) > 3


def test_a_machine_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    looks = iter([None, None, PlaceError("i-1 is terminated")])

    def look() -> None:
        if (answer := next(looks)) is not None:
            raise answer

    with pytest.raises(PlaceError, match="i-1 is terminated"):
        wait_for_ssh(Sshd(tmp_path).address(), 600, still_there=look, sleep=lambda _: None)


def test_the_waiting_has_an_end(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(SshError, match=r"could not be reached over SSH in 100 s. The last try: .* refuses"):
        wait_for_ssh(Sshd(tmp_path).address(), 100, still_there=lambda: None, sleep=sleep, clock=lambda: now[0])
    assert now[0] == 100


def test_a_wrong_host_key_is_not_waited_for(server: Sshd, tmp_path: Path) -> None:
    looks: list[int] = []
    wrong = server.address(host_keys=(public_key(make_key(tmp_path / "other")),))
    with pytest.raises(HostKeyMismatch):
        wait_for_ssh(wrong, 600, still_there=lambda: looks.append(1), sleep=lambda _: None)
    assert len(looks) == 1


def test_a_key_that_is_put_in_place_late(tmp_path: Path) -> None:
    with Sshd(tmp_path) as sshd:
        keys = sshd.folder / "authorized_keys"
        content = keys.read_text()
        keys.write_text("")
        looks: list[int] = []

        def look() -> None:
            looks.append(1)
            if len(looks) == 3:
                keys.write_text(content)

        with wait_for_ssh(sshd.address(), 30, still_there=look, sleep=lambda _: None) as line:
            assert line.run("echo on").text == "on\n"


def test_a_key_that_stays_refused_is_told_early(server: Sshd, tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 10 * seconds

    address = server.address(key_file=make_key(tmp_path / "other"))
    with pytest.raises(KeyRefused, match="does not accept the key"):
        wait_for_ssh(address, 6000, still_there=lambda: None, sleep=sleep, clock=lambda: now[0])
    assert ssh_module.KEY_GRACE_SECONDS <= now[0] < 2 * ssh_module.KEY_GRACE_SECONDS


# Cut


def test_a_line_that_was_cut_between_commands(line: Connection, proxy: Proxy, server: Sshd) -> None:
    line.run("true")
    proxy.cut()
    assert line.run("echo on").text == "on\n"
    server.cut()
    assert line.run("echo on").text == "on\n"
    assert proxy.accepted == 3


def test_a_command_is_repeated_once_when_the_line_was_cut(line: Connection, proxy: Proxy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = f"echo run >> {shlex.quote(str(runs))}; [ $(wc -l < {shlex.quote(str(runs))}) -gt 1 ] || sleep 20"
    timer = threading.Timer(0.5, proxy.cut)
    timer.start()
    line.run(command)
    timer.join()
    assert runs.read_text() == "run\n" * 2


def test_a_command_that_must_not_run_twice_does_not(line: Connection, proxy: Proxy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    timer = threading.Timer(0.5, proxy.cut)
    timer.start()
    with pytest.raises(LineCut) as caught:
        line.run(f"echo run >> {shlex.quote(str(runs))}; sleep 20", repeat=False)
    timer.join()
    assert caught.value.begun
    assert runs.read_text() == "run\n"
    proxy.cut()
    line.run("true", repeat=False)  # cut before it began: it is run


def test_a_machine_that_is_gone(tmp_path: Path, connect: Callable[..., Connection]) -> None:
    sshd = Sshd(tmp_path)
    with sshd:
        line = connect(sshd.address())
        line.run("true")
    with pytest.raises(LineCut, match="refuses: no SSH server listens there"):
        line.run("true")
    with sshd:  # and back, as after a reboot
        assert line.run("echo on").text == "on\n"


def test_what_answers_is_not_ssh(connect: Callable[..., Connection], server: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(LineCut, match="did not greet as an SSH server does"):
            connect(server.address(listener.getsockname()[1])).connect()
        thread.join()


# Dead


@pytest.mark.parametrize("how", ["link", "machine"])
def test_a_dead_line_is_noticed(hasty: Connection, proxy: Proxy, server: Sshd, how: str) -> None:
    """In a command that would go on for long. Nobody resets anything: no packet ever comes."""
    hasty.run("true")
    start = time.monotonic()
    if how == "link":
        proxy.hold()
        with pytest.raises(LineCut):
            hasty.run("sleep 60", timeout_seconds=60)
        proxy.release()
    else:
        with server.paused(), pytest.raises(LineCut):
            hasty.run("sleep 60", timeout_seconds=60)
    assert SILENCE <= time.monotonic() - start < SILENCE + CONNECT + MARGIN
    assert hasty.run("echo on").text == "on\n"


def test_a_line_that_dies_while_a_command_runs(hasty: Connection, proxy: Proxy) -> None:
    hasty.run("true")
    timer = threading.Timer(0.3, proxy.hold)
    timer.start()
    start = time.monotonic()
    with pytest.raises(LineCut, match=r"nothing was heard for 0\.6 s"):
        hasty.run("sleep 60", timeout_seconds=60, repeat=False)
    timer.join()
    assert time.monotonic() - start < 1 + SILENCE + MARGIN


def test_a_line_that_dies_while_much_is_written(hasty: Connection, proxy: Proxy) -> None:
    hasty.run("true")
    proxy.hold_after(300_000)
    start = time.monotonic()
    with pytest.raises(LineCut):
        hasty.run("cat > /dev/null", stdin=bytes(50_000_000), timeout_seconds=60)
    assert time.monotonic() - start < SILENCE + CONNECT + MARGIN


def test_an_idle_line_that_died_is_replaced(hasty: Connection, proxy: Proxy) -> None:
    hasty.run("true")
    proxy.hold()
    time.sleep(2.5 * SILENCE)
    proxy.release()
    assert hasty.run("echo on").text == "on\n"
    assert proxy.accepted == 2


def test_a_line_that_dies_during_an_upload(hasty: Connection, proxy: Proxy, big: Path, tmp_path: Path) -> None:
    hasty.run("true")
    proxy.hold_after(2_000_000)
    start = time.monotonic()
    with pytest.raises(LineCut):
        hasty.upload(big, str(tmp_path / "target"), attempts=1)
    assert time.monotonic() - start < SILENCE + CONNECT + MARGIN
    proxy.release()
    hasty.upload(big, str(tmp_path / "target"))
    assert sha256(tmp_path / "target") == sha256(big)


# Uploads


def test_an_upload_is_whole_and_leaves_nothing_beside(line: Connection, big: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder; with $odd 'names'"
    folder.mkdir()
    seen: list[tuple[int, int]] = []
    line.upload(big, str(folder / "kód.tar.gz"), progress=lambda *numbers: seen.append(numbers))
    assert [file.name for file in folder.iterdir()] == ["kód.tar.gz"]
    assert sha256(folder / "kód.tar.gz") == sha256(big)
    assert seen[0] == (0, 6_000_000)
    assert seen[-1] == (6_000_000, 6_000_000)
    assert [arrived for arrived, _ in seen] == sorted(arrived for arrived, _ in seen)


@pytest.mark.parametrize("size", [0, 1, 2, ssh_upload.BLOCK_BYTES, ssh_upload.BLOCK_BYTES + 1])
def test_uploads_of_any_size(line: Connection, tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(os.urandom(size))
    line.upload(tmp_path / "file", str(tmp_path / "target"))
    assert sha256(tmp_path / "target") == sha256(tmp_path / "file")


def test_an_older_file_is_replaced_and_the_same_one_is_not_sent_again(
    line: Connection, proxy: Proxy, big: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    line.upload(big, str(target))
    assert sha256(target) == sha256(big)
    before, inode = proxy.sent_bytes, target.stat().st_ino
    line.upload(big, str(target))
    assert proxy.sent_bytes - before < 100_000
    assert target.stat().st_ino == inode


def test_a_cut_upload_goes_on_where_it_was(line: Connection, proxy: Proxy, big: Path, tmp_path: Path) -> None:
    line.run("true")
    before = proxy.sent_bytes
    proxy.cut_after(4_000_000)
    seen: list[int] = []
    line.upload(big, str(tmp_path / "target"), progress=lambda arrived, _: seen.append(arrived))
    assert sha256(tmp_path / "target") == sha256(big)
    assert proxy.accepted == 2
    assert proxy.sent_bytes - before < 8_500_000  # not 10 million; what was on its way is lost
    assert seen == sorted(seen)


def test_an_upload_survives_more_cuts_than_attempts_as_long_as_it_gets_on(
    line: Connection, proxy: Proxy, big: Path, tmp_path: Path
) -> None:
    line.run("true")
    cuts: list[int] = []

    def cut_again(arrived: int, _: int) -> None:
        if arrived > max(cuts, default=0) and len(cuts) < 4:
            cuts.append(arrived)
            proxy.cut()

    line.upload(big, str(tmp_path / "target"), progress=cut_again, attempts=2)
    assert len(cuts) == 4
    assert sha256(tmp_path / "target") == sha256(big)


def test_an_upload_gives_up_where_it_does_not_get_on(line: Connection, proxy: Proxy, big: Path, tmp_path: Path) -> None:
    line.run("true")
    accepted = proxy.accepted

    def cut(arrived: int, _: int) -> None:
        if arrived == 0:
            proxy.cut()

    with pytest.raises(LineCut):
        line.upload(big, str(tmp_path / "target"), progress=cut, attempts=3)
    assert proxy.accepted - accepted == 2
    assert not (tmp_path / "target").exists()


def test_what_was_cut_is_gone_on_with_by_another_program(
    server: Sshd, proxy: Proxy, connect: Callable[..., Connection], big: Path, tmp_path: Path
) -> None:
    target = str(tmp_path / "target")
    first = connect(server.address(proxy.port))
    first.run("true")
    proxy.cut_after(4_000_000)
    with pytest.raises(LineCut):
        first.upload(big, target, attempts=1)
    before = proxy.sent_bytes
    connect(server.address(proxy.port)).upload(big, target)
    assert proxy.sent_bytes - before < 5_000_000
    assert sha256(tmp_path / "target") == sha256(big)


def test_a_damaged_beginning_is_found_and_sent_anew(line: Connection, big: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    Path(side_name(str(target), sha256(big))).write_bytes(bytes(3_000_000))
    line.upload(big, str(target))
    assert sha256(target) == sha256(big)
    Path(side_name(str(tmp_path / "other"), sha256(big))).write_bytes(bytes(9_000_000))  # longer than the whole
    line.upload(big, str(tmp_path / "other"))
    assert sha256(tmp_path / "other") == sha256(big)


def test_keys_are_renewed_in_mid_upload(tmp_path: Path, connect: Callable[..., Connection], big: Path) -> None:
    with Sshd(tmp_path, options=["RekeyLimit 1M"]) as sshd, Proxy(sshd.port) as proxy:
        line = connect(sshd.address(proxy.port))
        line.upload(big, str(tmp_path / "target"))
        assert len(line.run("head -c 5000000 /dev/zero").stdout) == 5_000_000
        assert proxy.accepted == 1
    assert sha256(tmp_path / "target") == sha256(big)


def test_a_full_disk_is_told(server: Sshd, connect: Callable[..., Connection], big: Path, tmp_path: Path) -> None:
    """The file that is written leads to a device without room; df is the server's own word on it."""
    target = str(tmp_path / "target")
    Path(side_name(target, sha256(big))).symlink_to("/dev/full")
    shim = server.shim("df", "echo Filesystem Blocks Used Free Capacity Mounted; echo /dev/x 100 90 10 90% /")
    with pytest.raises(
        RemoteError, match=r"cannot be written on .*: the disk is full, 0.0 MB are free and 6.0"
    ) as told:
        connect(server.address()).upload(big, target)
    assert "volume_gb" in str(told.value)
    shim.unlink()
    with pytest.raises(RemoteError, match=r"cannot be written on .*: failure"):  # no more than SFTP says
        connect(server.address()).upload(big, target)


def test_a_folder_that_is_missing_or_in_the_way(line: Connection, proxy: Proxy, big: Path, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"missing/target cannot be written on .*: no such file"):
        line.upload(big, str(tmp_path / "missing" / "target"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(RemoteError, match="folder cannot be written on"):
        line.upload(big, str(tmp_path / "folder"))
    assert proxy.accepted == 1


def test_a_file_that_cannot_be_read(line: Connection, proxy: Proxy, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing cannot be read"):
        line.upload(tmp_path / "missing", str(tmp_path / "target"))
    assert proxy.accepted == 0


# Around


def test_paramiko_is_quiet(tmp_path: Path, server: Sshd) -> None:
    """A program that logs to the console and loses its line shows no traceback of a library."""
    code = f"""
import logging, sys, threading, time
from pathlib import Path
sys.path[:0] = [{str(PROJECT)!r}, {str(PROJECT / "tests")!r}]
logging.basicConfig(level=logging.INFO)
from aws.errors import SshError
from aws.ssh import Address, Connection
from doubles.sshd import Proxy
with Proxy({server.port}) as proxy:
    address = Address("127.0.0.1", proxy.port, {server.user!r}, Path({str(server.key_file)!r}), ({server.host_key!r},))
    with Connection(address, connect_timeout_seconds=0.5, silence_seconds=0.5) as line:
        line.run("true")
        proxy.cut()
        line.run("true")
        proxy.hold()
        try:
            line.run("true")
        except SshError as error:
            print(type(error).__name__)
    print(sorted(type(thread).__name__ for thread in threading.enumerate() if not thread.daemon))
"""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("LineCut\n['_MainThread']\n", "")
    assert time.monotonic() - start < 15


def test_paramiko_speaks_where_all_is_logged(
    server: Sshd, connect: Callable[..., Connection], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        connect(server.address()).connect()
    assert [record for record in caplog.records if record.name.startswith("paramiko")] != []
    caplog.clear()
    connect(server.address()).connect()
    assert [record for record in caplog.records if record.name.startswith("paramiko")] == []


def test_no_file_descriptor_is_left(
    server: Sshd, connect: Callable[..., Connection], big: Path, tmp_path: Path
) -> None:
    def use() -> None:
        with connect(server.address()) as line:
            line.run("true")
            line.upload(big, str(tmp_path / "target"))
        with pytest.raises(LineCut):
            connect(server.address(free_port())).connect()

    use()
    before = len(list(Path("/proc/self/fd").iterdir()))
    use()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_address_shows_no_key(server: Sshd) -> None:
    assert str(server.address()) == f"{server.user}@127.0.0.1:{server.port}"


CONSOLE = """[   21.0] cloud-init[1234]: Cloud-init v. 24.1 running 'modules:final'
ec2: 256 SHA256:2Ml root@ip-10-0-0-1 (ED25519)
-----BEGIN SSH HOST KEY KEYS-----
{keys}
-----END SSH HOST KEY KEYS-----
[   22.0] cloud-init[1234]: Cloud-init v. 24.1 finished
"""


def test_host_keys_of_a_console(tmp_path: Path) -> None:
    keys = [public_key(make_key(tmp_path / kind, kind=kind)) for kind in ("ecdsa", "ed25519", "rsa")]
    text = CONSOLE.format(keys="\n".join(f"{key} root@ip-10-0-0-1" for key in keys))
    expected = (keys[1], keys[0], keys[2])
    assert host_keys_of(text) == expected
    assert host_keys_of(text.replace("\n", "\r\n")) == expected
    assert host_keys_of(text.replace("\necdsa", "\n[   21.9] cloud-init[1234]: ecdsa")) == expected
    other = public_key(make_key(tmp_path / "other"))
    assert host_keys_of(text + "after a reboot\n" + CONSOLE.format(keys=other)) == (other,)


def test_half_a_console_has_no_host_keys(tmp_path: Path) -> None:
    key = public_key(make_key(tmp_path / "key"))
    text = CONSOLE.format(keys=key)
    assert host_keys_of("") == ()
    assert host_keys_of(text.partition("-----END")[0]) == ()
    assert host_keys_of(CONSOLE.format(keys=key[:-12])) == ()
    assert host_keys_of(CONSOLE.format(keys=key.replace("ssh-ed25519 ", "ssh-rsa "))) == ()
