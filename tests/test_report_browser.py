"""The report in a real Chromium without a network: plots are drawn, and nothing is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.browsers import watch

from config import load_settings
from dashboard.report.building import build_report, write_report
from dashboard.source import load_source

pytestmark = pytest.mark.browser

EVIL = "</pre><script>document.title='broken'</script><img src=http://203.0.113.7/x.png>"
OPENED = """{
  broken: document.title, dark: document.documentElement.className, wide: document.documentElement.scrollWidth,
  plots: document.querySelectorAll('.plot').length, drawn: document.querySelectorAll('.plot .main-svg').length > 0,
  paper: document.querySelector('.main-svg').style.background, empty: [...document.querySelectorAll('.plot-canvas')]
    .filter((each) => !each.querySelector('.main-svg')).length, images: document.images.length,
}"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "transcripts").mkdir()
    rows = "".join(f"1,Ada,I hope {EVIL} {at}\n1,Bo <b>,Trust me Ada {at}\n" for at in range(12))
    for episode in (1, 2):
        (tmp_path / "transcripts" / f"S01E0{episode}.csv").write_text(f"scene,name,line\n{rows}", encoding="utf-8")
    settings = load_settings(
        env_file=Path("/none"), environment={}, flags={"paths.data": tmp_path, "themes.model": "lexical"}
    )
    write_report(build_report(load_source(tmp_path), settings), tmp_path / "report.html")
    return tmp_path / "report.html"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a phone with a dark ground and no connection; no fault, and no request but for the file."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", offline=True)
    faults: list[str] = []
    yield watch(context.new_page(), faults, "file:")
    context.close()
    assert faults == []


def test_it_opens_without_a_connection(page: Any, file: Path) -> None:
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached")
    seen = page.evaluate(f"(() => ({OPENED}))()")
    assert seen["plots"] >= 8
    assert (seen["drawn"], seen["empty"], seen["images"]) == (True, 0, 0)
    assert (seen["dark"], seen["paper"]) == ("dark", "rgb(28, 25, 23)")
    assert seen["wide"] == 390  # nothing sticks out
    assert seen["broken"].endswith(": report")
    page.locator("#plot-speech-shares summary").click()
    assert "Ada" in page.locator("#plot-speech-shares .plot-table td").first.inner_text()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.className") == ""
    # an older browser says so, and keeps the words and numbers
    page.add_init_script("delete window.DecompressionStream")
    page.reload()
    page.wait_for_selector("#no-plots:not([hidden])")
    page.locator("#plot-speech-shares summary").click()
    assert "Ada" in page.locator("#plot-speech-shares .plot-table td").first.inner_text()
    assert "cannot be drawn" in page.locator(".plot-canvas").first.inner_text()
