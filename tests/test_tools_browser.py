"""The tabs of tools in a real Chromium: edit and save, import and export a card, compare and vote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.browsers import serve, watch

from character_chatbot.cards.card_file import parse_card

pytestmark = pytest.mark.browser

PAGE = Path(__file__).resolve().parent / "doubles" / "tools_page.py"
SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample_series"
CARD = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Mara Quill",
        "description": "{{char}} keeps the light.",
        "first_mes": "Ahoy.",
        "alternate_greetings": ["Who? <img src=http://203.0.113.7/x.png>"],
        "extensions": {"theirs": [1]},
        "character_book": {
            "entries": [{"keys": ["stairs"], "content": "<b>99</b> stairs.", "enabled": True, "extensions": {}}]
        },
    },
}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("tools") / "series"))


@pytest.fixture(scope="module")
def address(series: Path) -> Iterator[str]:
    with serve([str(PAGE)], series, more=[str(series)], ready="/") as url:
        yield url


@pytest.fixture
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page of which nothing is complained about by the browser, and no request goes elsewhere."""
    width, height = getattr(request, "param", (1280, 900))
    faults: list[str] = []
    page = watch(browser.new_page(viewport={"width": width, "height": height}), faults, address)
    page.goto(address)
    yield page
    page.close()
    assert faults == []


def open_characters(page: Any) -> None:
    page.get_by_role("tab", name="Characters").click()
    page.wait_for_function("document.querySelector('#character-name input')?.value")


def test_a_persona_is_edited_and_saved(page: Any, series: Path) -> None:
    before = (series / "characters.jsonl").read_text(encoding="utf-8").split("\n")
    open_characters(page)
    name = page.locator("#character-name input")
    assert (name.input_value(), name.is_disabled()) == ("Grell", True)
    page.locator("#character-persona textarea").fill("You are Grell, and you have changed.")
    page.locator("#save-character").click()
    page.get_by_text("Grell is saved.").wait_for()
    after = (series / "characters.jsonl").read_text(encoding="utf-8").split("\n")
    assert json.loads(after[0])["persona"] == "You are Grell, and you have changed."
    assert after[1:] == before[1:]

    page.locator("#character-aliases textarea").fill("Pip")
    page.locator("#save-character").click()
    page.get_by_text("is a name of both").wait_for()
    page.locator("#new-character").click()
    page.wait_for_function("document.querySelector('#character-name input').value == ''")
    assert page.locator("#character-name input").is_enabled()


def test_a_card_is_imported_shown_as_text_and_taken_along(page: Any, series: Path, tmp_path: Path) -> None:
    open_characters(page)
    upload = {"name": "mara.json", "mimeType": "application/json", "buffer": json.dumps(CARD).encode()}
    page.locator("input[type=file]").first.set_input_files(upload)
    page.get_by_text("Mara Quill is imported.").wait_for()
    preview = page.locator(".card")
    assert "Who? <img src=http://203.0.113.7/x.png>" in preview.inner_text()
    assert "<b>99</b> stairs." in preview.inner_text()
    assert preview.locator("img, td b").count() == 0
    assert len(list((series / "cards").iterdir())) == 1
    page.locator("#export-card button").first.click()
    page.get_by_label("PNG picture").check()
    with page.expect_download() as saved:
        page.locator("#download-card").click()
    saved.value.save_as(tmp_path / "card.png")
    card = parse_card((tmp_path / "card.png").read_bytes())
    assert (saved.value.suggested_filename, card.name, card.greeting) == ("mara-quill.png", "Mara Quill", "Ahoy.")
    page.locator("#delete-card").click()
    page.locator("#delete-for-good").click()
    page.get_by_text("The card is deleted.").wait_for()
    assert list((series / "cards").iterdir()) == []
    page.locator("input[type=file]").first.set_input_files(upload | {"buffer": b"{"})
    page.get_by_text("not valid JSON").wait_for()


def test_two_sources_are_compared_blind_and_voted_on(page: Any, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_function("document.querySelector('#compare-second input')?.value")
    page.locator("#compare-box textarea").fill("Is the tide late tonight?")
    page.keyboard.press("Enter")
    page.locator("#vote-left:enabled").wait_for()
    texts = page.locator(".side p").all_inner_texts()
    assert any("neither late nor early" in text for text in texts)
    assert all(texts)
    assert "the sayer" not in "".join(page.locator(".side").all_inner_texts())
    page.locator("#vote-left").click()
    page.locator(".side.chosen").wait_for()
    assert "the sayer" in "".join(page.locator(".side h3").all_inner_texts())
    page.get_by_text("1 of 1").or_(page.get_by_text("0 of 1")).wait_for()
    page.locator("#compare-box textarea").fill("And tomorrow?")
    page.locator("#compare-ask").click()
    page.locator("#vote-tie:enabled").wait_for()
    assert page.locator(".said li").count() == 3
    page.locator("#vote-tie").click()
    page.get_by_text("Equally good.").wait_for()
    with page.expect_download() as saved:
        page.locator("#compare-download").click()
    saved.value.save_as(tmp_path / "pairs.jsonl")
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [pair["chosen"][0]["content"] for pair in pairs] == [texts[0].strip()]


def test_stop_ends_both_replies(page: Any) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_function("document.querySelector('#compare-second input')?.value")
    page.locator("#compare-hidden input").uncheck()
    page.locator("#compare-box textarea").fill("Tell me slowly.")
    page.locator("#compare-ask").click()
    page.get_by_text("neither late nor early").wait_for()
    page.locator("#compare-stop").click()
    page.get_by_text("Stopped.").wait_for()
    assert page.locator("#compare-ask").is_enabled()
    assert page.locator("#vote-left").is_disabled()
    assert page.locator(".side h3").first.inner_text() == "Left: the sayer"


@pytest.mark.parametrize("page", [(390, 844)], indirect=True)
def test_a_narrow_screen_needs_no_sideways_scrolling(page: Any) -> None:
    for tab, ready in (("Characters", "#character-name input"), ("Compare", "#compare-second input")):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_function(f"document.querySelector('{ready}')?.value")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        sizes = [
            button.bounding_box() for button in page.locator(".tool-bar button:visible, #votes button:visible").all()
        ]
        assert min(size["height"] for size in sizes if size) >= 40
