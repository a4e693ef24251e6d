"""Whether the hub can be reached: decided in time, whatever the network does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from utils.hub import DEFAULT_ENDPOINT, OFFLINE_VARIABLES, HubState, check_hub, hub_endpoint

TIMEOUT, MARGIN = 0.6, 0.5


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in OFFLINE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[[int], str]]:
    """Starts a server that answers every request with one status, and gives its address."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def timed_check(timeout_seconds: float = TIMEOUT) -> tuple[HubState, float]:
    start = time.monotonic()
    return check_hub(timeout_seconds), time.monotonic() - start


@pytest.mark.parametrize("status", [200, 204, 401, 404, 429])
def test_any_answer_of_a_hub_will_do(monkeypatch: pytest.MonkeyPatch, serve: Callable[[int], str], status: int) -> None:
    monkeypatch.setenv("HF_ENDPOINT", serve(status) + "/")
    assert check_hub(5) == HubState(True)


@pytest.mark.parametrize("status", [403, 407, 500, 502, 503])
def test_a_refusal_on_the_way_and_a_broken_hub_are_not_the_hub(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[int], str], status: int
) -> None:
    address = serve(status)
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert check_hub(5) == HubState(False, f"{address} answered {status}")


def test_a_server_that_accepts_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        state, seconds = timed_check()
    assert not state.reachable
    assert seconds < TIMEOUT + MARGIN
    assert "within 0.6 s" in state.why or "timed out" in state.why


def test_a_server_that_speaks_no_http(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        state, seconds = timed_check(5)
        thread.join()
    assert not state.reachable
    assert "cannot be reached" in state.why
    assert seconds < 1


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    state, seconds = timed_check()
    assert not state.reachable
    assert seconds < TIMEOUT + MARGIN
    assert "cannot be reached" in state.why
    assert "refused" in state.why


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://nowhere.invalid")
    state, seconds = timed_check()
    assert not state.reachable
    assert seconds < TIMEOUT + MARGIN
    assert "http://nowhere.invalid" in state.why


def test_a_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*words: object, **options: object) -> list[object]:
        release.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "released")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    try:
        state, seconds = timed_check()
    finally:
        release.set()
    assert state == HubState(False, "http://hub.example did not answer within 0.6 s")
    assert TIMEOUT <= seconds < TIMEOUT + MARGIN


@pytest.mark.parametrize("address", ["file:///etc/passwd", "hub.example", "ftp://hub.example", "http:"])
def test_an_endpoint_that_is_no_web_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert check_hub(5) == HubState(False, f"HF_ENDPOINT={address} is no web address")


@pytest.mark.parametrize("address", ["http://[", "http://hub example", "http://127.0.0.1:99999", "http://127.0.0.1:x"])
def test_a_broken_address_is_not_reachable(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    state, seconds = timed_check(3)
    assert not state.reachable
    assert seconds < 1  # said at once, not after the timeout
    assert address in state.why


@pytest.mark.parametrize("variable", OFFLINE_VARIABLES)
@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_is_said_without_asking(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[int], str], variable: str, value: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", serve(200))
    monkeypatch.setenv(variable, value)
    state = check_hub(5)
    assert (state, state.remedy) == (HubState(False, f"{variable} is set"), f"unset {variable}")


@pytest.mark.parametrize("value", ["0", "", "false"])
def test_a_variable_that_says_no_is_not_offline(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[int], str], value: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", serve(200))
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert check_hub(5).reachable


def test_the_address_is_the_hubs_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_endpoint() == DEFAULT_ENDPOINT == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example/")
    assert hub_endpoint() == "http://mirror.example"
