"""The real page in a real Chromium, served by the real program, with quotes of the sample series."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import PROJECT_FOLDER

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]
START_SECONDS = 60
EVIL = "Are you <b>afraid</b> of the sea? ![x](http://203.0.113.7/x.png) <img src=http://203.0.113.7/y.png>"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the program, which is ended by SIGTERM and has to end cleanly."""
    folder = tmp_path_factory.mktemp("app")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(PROJECT_FOLDER / "gradio_app.py"), "--source", "quotes", "--port", str(port)]
    command += ["--data", str(PROJECT_FOLDER / "data" / "sample_series"), "--registry", str(folder / "registry")]
    environment = {name: value for name, value in os.environ.items() if name != "APP_PASSWORD"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in (folder / "log").read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS * 5):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
                assert answer.status == 200
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"no page within {START_SECONDS} seconds:\n{log.read_text(encoding='utf-8')}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(BROWSERS)} is on the PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def faults() -> list[str]:
    """What the browser complains about, and requests to other hosts."""
    return []


@pytest.fixture
def open_page(browser: Any, address: str, faults: list[str]) -> Iterator[Any]:
    pages = []

    def visit(width: int, height: int, query: str = "") -> Any:
        page = browser.new_page(viewport={"width": width, "height": height})
        pages.append(page)
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: faults.append(request.url) if is_foreign(request.url, address) else None)
        page.goto(f"{address}/{query}")
        page.locator("#characters label").first.wait_for()
        page.get_by_text("Speaking: quotes").wait_for()
        return page

    yield visit
    for page in pages:
        page.close()


def is_foreign(url: str, address: str) -> bool:
    return not url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))


def say(page: Any, text: str) -> Any:
    """Send a message and wait until its reply is whole; the reply."""
    answers = page.locator("[data-testid=bot]").count()
    page.locator("#box textarea").fill(text)
    page.locator("#send").click()
    reply = page.locator("[data-testid=bot]").nth(answers)
    reply.wait_for()
    page.locator("#retry:enabled").wait_for()
    return reply


# Lengths of the last reply as the page shows them.
WATCH = """() => { window.lengths = []; new MutationObserver(() => {
  const all = document.querySelectorAll('[data-testid=bot]');
  if (all.length) window.lengths.push(all[all.length - 1].innerText.length);
}).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""


def test_a_conversation(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    page.locator("#characters label", has_text="Dr Varga").click()
    page.get_by_text("Dr Varga · Speaking: quotes").wait_for()
    page.evaluate(WATCH)
    reply = say(page, "How far does the sea go out tonight, and how exactly do you know?")
    lengths = page.evaluate("window.lengths")
    assert len(set(lengths)) > 2, "the reply came in one piece"
    assert lengths == sorted(lengths)
    first = reply.inner_text()
    assert page.locator(".quotes li").first.inner_text().endswith(first.strip())
    assert page.locator(".quotes cite").first.inner_text().startswith("S0")

    page.locator("#retry").click()
    page.wait_for_function("old => document.querySelector('[data-testid=bot]').innerText != old", arg=first)
    page.locator("#retry:enabled").wait_for()
    page.locator("#characters label", has_text="Kit").click()
    page.get_by_text("Say something to begin.").wait_for()
    page.locator("#characters label", has_text="Dr Varga").click()
    page.locator("[data-testid=bot]").wait_for()
    page.locator("#undo:enabled").click()
    page.get_by_text("Say something to begin.").wait_for()
    assert page.locator("#box textarea").input_value().startswith("How far does the sea")
    assert faults == []


def test_what_is_written_is_shown_as_it_was_written(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    say(page, EVIL)
    assert page.locator("[data-testid=user]").inner_text().strip() == EVIL
    assert page.locator("#chat img").count() == 0
    assert faults == []


def test_the_keyboard_is_enough(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    page.locator("#characters input").nth(1).focus()
    page.keyboard.press("Space")
    name = page.locator("#characters label").nth(1).inner_text()
    page.get_by_text(f"{name} · Speaking").wait_for()
    page.locator("#box textarea").focus()
    page.keyboard.type("Good evening.")
    page.keyboard.press("Enter")
    page.locator("[data-testid=bot]").wait_for()
    assert faults == []


def test_the_status_tab(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    page.get_by_role("tab", name="Status").click()
    page.get_by_text("No version yet.").wait_for()
    page.get_by_text("The Pellan Light: 12 files").wait_for()
    page.get_by_text("Row by row").click()
    assert page.get_by_role("region", name="Notes").locator("tbody tr").count() > 50
    page.get_by_role("button", name="Refresh").click()
    assert faults == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(theme: str, open_page: Any, faults: list[str]) -> None:
    page = open_page(390, 844, f"?__theme={theme}")
    say(page, "What is the weather like at the harbour, and who is out in it?" * 3)
    assert width_of(page) <= 390
    sizes = [box.bounding_box() for box in page.locator("#buttons button, #characters label, [role=tab]").all()]
    assert min(size["height"] for size in sizes if size) >= 40
    page.get_by_role("tab", name="Status").click()
    page.get_by_text("The Pellan Light: 12 files").wait_for()
    assert width_of(page) <= 390
    assert faults == []


def width_of(page: Any) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))
