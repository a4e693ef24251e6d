"""What tests in a real Chromium share: the browser, a program that serves pages, and a page that is watched.

    with open_browser() as browser, serve([str(PAGE)], folder, ready="/") as address:
        page = watch(browser.new_page(), faults, address)

The fixture ``browser`` of conftest.py is the browser of a test module.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]
START_SECONDS = 60
ANSWER_SECONDS = 30  # a busy machine needs more than ten; nothing waits for longer than it takes


@contextmanager
def open_browser() -> Iterator[Any]:
    """The browser of this machine; without one the test is skipped."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(BROWSERS)} is on the PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def serve(
    command: Sequence[str],
    folder: Path,
    port: int = 0,
    more: Sequence[str] = (),
    ready: str = "/health",
    **environment: str,
) -> Iterator[str]:
    """A program that serves a page, with the port behind its other arguments; SIGTERM has to end it cleanly.

    Args:
        folder: where it runs and writes its log.
        more: arguments behind the port.
        ready: a path that answers once it serves.
    """
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    known = {name: value for name, value in os.environ.items() if name != "APP_PASSWORD"} | environment
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, str(port), *more], cwd=folder, stdout=log, stderr=log, env=known
        )
    try:
        wait_for(f"http://127.0.0.1:{port}{ready}", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert "Traceback" not in (folder / "log").read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the address answers; fail with the log where the program ends or takes too long."""
    for _ in range(START_SECONDS * 5):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
                assert answer.status == 200
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"no page within {START_SECONDS} seconds:\n{log.read_text(encoding='utf-8')}")


def watch(page: Any, faults: list[str], *own: str) -> Any:
    """The page, with what the browser complains about and every request to another place put down in ``faults``.

    Args:
        own: how addresses start that may be asked, beside those that leave the machine alone.
    """
    sockets = tuple(address.replace("http", "ws", 1) for address in own)
    known = (*own, *sockets, "data:", "blob:", "about:")
    page.set_default_timeout(ANSWER_SECONDS * 1000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda sent: None if sent.url.startswith(known) else faults.append(sent.url))
    return page
