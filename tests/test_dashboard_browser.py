"""The Network and Locations tabs and a visitor's own file in a real Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.browsers import serve, watch

pytestmark = pytest.mark.browser

PAGE = Path(__file__).resolve().parent / "doubles" / "dashboard_page.py"
SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample_series"
EVIL = "<img src=http://203.0.113.7/x.png>"
OWN = f"name,line\nAda,Where is Bo?\nBo,Here. {EVIL}\nAda {EVIL},Good.\nBo,\n"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("dashboard") / "series"))


@pytest.fixture(scope="module")
def address(series: Path) -> Iterator[str]:
    with serve([str(PAGE)], series, more=[str(series)], ready="/") as url:
        yield url


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page of which nothing is complained about by the browser, and no request goes elsewhere."""
    faults: list[str] = []
    page = watch(browser.new_page(viewport={"width": 390, "height": 844}), faults, address)
    page.goto(f"{address}/?__theme=dark")
    yield page
    page.close()
    assert faults == []


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab").first.wait_for()
    tab = page.get_by_role("tab", name=name)
    if tab.count():
        tab.first.click()
    else:
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button", has_text=name).click()


def check_width(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_name_is_accepted_a_scene_is_labelled_and_an_own_file_is_looked_at(page: Any, series: Path) -> None:
    open_tab(page, "Network")
    inside = page.frame_locator(".network-frame iframe")
    inside.locator("canvas").wait_for()
    assert inside.locator("html").get_attribute("data-theme") == "dark"
    # All names of the sample find room on a phone, and no letter of a name is smaller than 12 pixels there.
    drawn = "() => [namesDrawn, named.length, Math.min(...labelWidths.keys().map(key => parseInt(key)))]"
    *names, smallest = inside.locator("html").evaluate(drawn)
    assert (names, smallest >= 12) == ([15, 15], True)
    inside.locator("aside .link", has_text="Jonas").click()
    page.locator("#plot-pair-timeline h3", has_text="Jonas").wait_for()
    check_width(page)
    before = (series / "characters.jsonl").read_bytes()
    # By keyboard: right after scrolling, a click of a program can still reach the frame that was there before.
    page.get_by_role("button", name="Pask: New character").press("Enter")
    page.get_by_text("Pask is a character of their own now.").wait_for()
    page.get_by_role("button", name="Pask: New character").wait_for(state="detached")
    assert b'{"name": "Pask"}' in (series / "characters.jsonl").read_bytes()
    page.locator("#network-undo").press("Enter")
    page.get_by_text("Pask is taken back.").wait_for()
    page.get_by_role("button", name="Pask: New character").wait_for()
    assert (series / "characters.jsonl").read_bytes() == before

    open_tab(page, "Locations")
    first = page.locator(".to-label h3")
    first.wait_for()
    code = first.inner_text().split(" ")[0]
    page.locator("#plot-who-is-where .main-svg").first.wait_for()
    page.get_by_label("As a flow").check()
    page.locator("#plot-people-and-places .sankey").wait_for()
    page.locator("#label-other input, #label-other textarea").fill("A cellar")
    page.locator("#label-save").click()
    page.get_by_text("is at A cellar.").wait_for()
    label = (series / "locations_labels.csv").read_text(encoding="utf-8").splitlines()[1]
    assert label.endswith(",A cellar")
    assert code == f"S{int(label.split(',')[0]):02d}E{int(label.split(',')[1]):02d}"
    check_width(page)

    page.locator("#own-file-locations button").first.click()
    upload = {"name": f"S01E01 {EVIL.replace('/', '_')}.csv", "mimeType": "text/csv", "buffer": OWN.encode()}
    page.locator("#own-file-locations input[type=file]").set_input_files(upload)
    page.get_by_text("You look at your own file: S01E01").locator("visible=true").wait_for()
    page.get_by_text("Scenes of your own file are shown and not labelled").wait_for()
    open_tab(page, "Network")
    page.locator("#network-method", has_text="3 people").wait_for()
    assert page.locator("#network-people td", has_text="Ada <img").count() == 1
    check_width(page)
    page.locator("#back-network").click()
    page.locator("#network-method", has_text="15 people").wait_for()
    assert page.locator("#own-file-told-network").inner_text().strip() == ""
    assert page.locator("img[src*='203.0.113']").count() == 0
