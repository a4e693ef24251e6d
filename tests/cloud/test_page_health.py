"""Whether a page really answers: the real page, and all that can stand in its place."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aws.errors import PlaceError
from aws.operations.page_health import PageHealth, check_health, check_page, wait_for_page
from config import PROJECT_FOLDER, Secret

PASSWORD = Secret("correct horse & bättery")
NOBODY = Secret("")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real page, served by a process of its own with quotes."""
    folder = tmp_path_factory.mktemp("page")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_HUB_OFFLINE": "1",
        "APP_PASSWORD": PASSWORD.reveal(),
        "STRANGER_PATHS__LOGS": str(folder / "logs"),
    }
    data = PROJECT_FOLDER / "data" / "sample_series"
    command = [sys.executable, str(PROJECT_FOLDER / "gradio_app.py"), "--data", str(data), "--source", "quotes"]
    with subprocess.Popen(
        [*command, "--port", "0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().partition("at ")[2].partition(", ")[0]
        finally:
            process.terminate()


def test_the_real_page_lets_us_in_with_the_password_only(page: str) -> None:
    shown: list[PageHealth] = []
    health = wait_for_page(
        page, "guest", PASSWORD, timeout_seconds=60, show=shown.append, sleep=lambda _: time.sleep(0.1)
    )
    assert health.state == "ready"
    assert {each.state for each in shown} <= {"loading", "ready"}
    assert check_health(page).ready
    for user, password in (("guest", Secret("wrong")), ("ann", PASSWORD)):
        locked = check_page(page, user, password)
        assert (locked.state, locked.detail) == ("locked", f"it does not take the password of {user}")
        assert locked.seconds > 0.9  # the page lets a wrong one wait
    assert check_page(page, "guest", NOBODY).state == "locked"


# what else may answer

Answers = dict[str, tuple[int, bytes]]
GOOD: Answers = {
    "/health": (200, b'{"state": "ready"}'),
    "/login": (200, b'{"success": true}'),
    "/": (200, b"<script>window.gradio_config = {}</script>"),
}


class Fake:
    """A web server with fixed answers that writes down what it is asked."""

    def __init__(self, answers: Answers, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                fake.asked.append(f"{self.command} {self.path} {self.rfile.read(length).decode()}".strip())
                status, body = answers.get(self.path, (404, b"nothing"))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                if status in (302, 307):
                    self.send_header("location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Fake:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.parametrize(
    ("answers", "state", "detail"),
    [
        ({}, "ready", "lets us in"),
        ({"/health": (200, b'{"state": "loading"}')}, "loading", "loading the model"),
        ({"/health": (500, b'{"state": "failed"}')}, "failed", "could not load"),
        ({"/health": (500, b'{"state": "ready"}')}, "foreign", "500"),
        ({"/health": (200, b'{"state": "fine"}')}, "foreign", "not this page"),
        ({"/health": (200, b'["ready"]')}, "foreign", "not this page"),
        ({"/health": (200, b"<html>")}, "foreign", "not this page"),
        ({"/health": (404, b"")}, "foreign", "404"),
        ({"/health": (302, b"")}, "foreign", "302"),
        ({"/health": (502, b"")}, "unreachable", "behind the proxy"),
        ({"/login": (400, b"")}, "locked", "password of guest"),
        ({"/login": (302, b"")}, "foreign", "no password"),
        ({"/login": (307, b"")}, "foreign", "login answers 307"),
        ({"/": (200, b"hello")}, "foreign", "not the page"),
        ({"/": (500, b"window.gradio_config")}, "foreign", "500"),
        ({"/": (200, b'window.gradio_config = {"auth_required": true}')}, "locked", "again"),
    ],
)
def test_what_answers_is_told_apart(answers: Answers, state: str, detail: str) -> None:
    with Fake(GOOD | answers) as fake:
        health = check_page(fake.url, "guest", PASSWORD)
    assert health.state == state
    assert detail in health.detail
    assert not any("elsewhere" in each for each in fake.asked)


def test_the_password_goes_to_the_login_alone_and_is_said_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with Fake(GOOD | {"/login": (400, b"no")}) as fake:
        health = check_page(fake.url, "guest", PASSWORD)
    assert fake.asked == ["GET /health", "POST /login username=guest&password=correct+horse+%26+b%C3%A4ttery"]
    assert PASSWORD.reveal() not in repr(health) + caplog.text


@pytest.mark.parametrize(
    ("told", "how_far"),
    [
        (b'{"state": "loading", "stage": "reading", "seconds": 12.4, "share": 0.43}', ": reading, 43%, 12 s"),
        (b'{"state": "loading", "stage": "reading the series", "seconds": 0.1}', ": reading the series, 0 s"),
        (b'{"stage": "x", "seconds": "y"}', ""),
        (b"nothing", ""),
        (b"[]", ""),
    ],
)
def test_how_far_loading_is(told: bytes, how_far: str) -> None:
    with Fake(GOOD | {"/health": (200, b'{"state": "loading"}'), "/healthz": (503, told)}) as fake:
        assert check_health(fake.url).detail == f"it is loading the model{how_far}"


def test_a_page_that_is_not_ready_does_not_get_the_password() -> None:
    with Fake(GOOD | {"/health": (200, b'{"state": "loading"}')}) as fake:
        check_page(fake.url, "guest", PASSWORD)
    assert fake.asked == ["GET /health", "GET /healthz"]


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        silent = check_page(f"http://127.0.0.1:{port}", "guest", PASSWORD, timeout_seconds=0.2)
    assert (silent.state, silent.detail) == ("unreachable", "no answer in time")
    gone = check_page(f"http://127.0.0.1:{port}", "guest", PASSWORD)
    assert (gone.state, gone.detail) == ("unreachable", "Connection refused")


@pytest.mark.parametrize("url", ["", "page", "file:///etc/passwd", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address_is_said(url: str) -> None:
    assert "not the address of a page" in check_health(url).detail


# certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody but itself vouches for, with its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("certificate") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_a_certificate_is_checked(certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    with Fake(GOOD, server) as fake:
        refused = check_page(fake.url, "guest", PASSWORD)
        assert fake.asked == []
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert check_page(fake.url, "guest", PASSWORD, context=trusting).ready
    assert refused.state == "unreachable"
    assert "certificate is not valid" in refused.detail


# waiting


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def checks(*states: str) -> Callable[..., PageHealth]:
    """Answers with these states in turn, the last one for ever."""
    left = list(states)
    return lambda *_: PageHealth(left.pop(0) if len(left) > 1 else left[0], "so it says")


def wait(check: Callable[..., PageHealth], **more: Any) -> PageHealth:
    clock = Clock()
    given = {"timeout_seconds": 60.0, "check": check, "clock": clock, "sleep": clock.sleep} | more
    return wait_for_page("http://page", "guest", PASSWORD, **given)


def test_waiting_ends_when_the_page_is_ready() -> None:
    shown: list[str] = []
    health = wait(
        checks("unreachable", "foreign", "loading", "loading", "ready"), show=lambda each: shown.append(each.state)
    )
    assert shown == ["unreachable", "foreign", "loading", "loading", "ready"]
    assert (health.state, health.seconds) == ("ready", 12.0)


@pytest.mark.parametrize("state", ["failed", "locked"])
def test_what_waiting_cannot_mend_ends_it_at_once(state: str) -> None:
    shown: list[str] = []
    with pytest.raises(PlaceError, match="cannot be used: so it says") as caught:
        wait(checks("loading", state), show=lambda each: shown.append(each.state))
    assert len(shown) == 2
    assert "python deploy_aws.py" in str(caught.value)
    assert PASSWORD.reveal() not in str(caught.value)


def test_waiting_has_an_end() -> None:
    with pytest.raises(PlaceError, match=r"not ready after 60 seconds: so it says"):
        wait(checks("loading"))


def test_waiting_ends_with_the_machine() -> None:
    calls: list[int] = []

    def still_there() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise PlaceError("the machine is gone.")

    with pytest.raises(PlaceError, match="machine is gone"):
        wait(checks("unreachable"), still_there=still_there)
