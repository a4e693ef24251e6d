"""Spot notices are heard through IMDSv2, and an instance metadata that is silent is no notice."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aws.instance.spot import Notice, SpotWatcher


class Metadata(http.server.BaseHTTPRequestHandler):
    """IMDSv2 as an instance has it: a token, then one path."""

    def do_PUT(self) -> None:
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        good = self.path == "/imds/latest/api/token" and ttl.isdigit() and 1 <= int(ttl) <= 21600
        world = self.server.world  # type: ignore[attr-defined]
        world["tokens"] += 1
        self.answer(200 if good else 400, f"token-{world['tokens']}".encode())

    def do_GET(self) -> None:
        world = self.server.world  # type: ignore[attr-defined]
        world["asked"] += 1
        if self.headers.get("X-aws-ec2-metadata-token") != f"token-{world['tokens']}" or world.pop("expire", None):
            self.answer(401, b"")
        elif self.path == "/imds/latest/meta-data/spot/instance-action" and world["notice"]:
            self.answer(200, world["notice"])
        else:
            self.answer(404, b"")

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def world() -> Iterator[dict[str, Any]]:
    """What the metadata says, and under ``environment`` where it is."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        world: dict[str, Any] = {"notice": b"", "tokens": 0, "asked": 0}
        world["environment"] = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{server.server_port}/imds/"}
        server.world = world  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield world
        server.shutdown()


def test_a_notice_is_heard_with_one_token(world: dict[str, Any]) -> None:
    watcher = SpotWatcher(world["environment"])
    assert watcher.notice() is None
    world["notice"] = json.dumps({"action": "terminate", "time": "2026-11-21T10:17:00Z"}).encode()
    assert watcher.notice() == Notice("terminate", "2026-11-21T10:17:00Z")
    assert "takes this spot instance back (terminate at 2026-11-21T10:17:00Z)" in str(watcher.notice())
    assert world["tokens"] == 1


def test_a_token_that_ran_out_is_renewed_at_once(world: dict[str, Any]) -> None:
    world["notice"] = b'{"action": "stop"}'
    watcher = SpotWatcher(world["environment"])
    watcher.notice()
    world["expire"] = True
    assert watcher.notice() == Notice("stop", "")
    assert world["tokens"] == 2


@pytest.mark.parametrize("notice", [b"<html>", b"[]", b"{}", b"null"])
def test_nonsense_is_no_notice(world: dict[str, Any], notice: bytes) -> None:
    world["notice"] = notice
    assert SpotWatcher(world["environment"]).notice() is None


def test_silence_is_no_notice(world: dict[str, Any]) -> None:
    assert SpotWatcher({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}).notice() is None
    assert SpotWatcher({**world["environment"], "AWS_EC2_METADATA_DISABLED": "true"}).notice() is None
    assert world["asked"] == 0


def test_a_proxy_is_not_asked(world: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY")
    world["notice"] = b'{"action": "terminate", "time": "soon"}'
    assert SpotWatcher(world["environment"]).notice() == Notice("terminate", "soon")
