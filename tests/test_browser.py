"""The real page in a real Chromium, served by the real program, with quotes of the sample series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.browsers import serve, watch

from config import PROJECT_FOLDER

pytestmark = pytest.mark.browser

PAPER = "#plot-lines-by-episode .main-svg"
EVIL = "Are you <b>afraid</b> of the sea? ![x](http://203.0.113.7/x.png) <img src=http://203.0.113.7/y.png>"

# What the page tells the server takes so long that somebody clicks again meanwhile.
SLOW_NETWORK = """() => {
  const send = window.fetch;
  window.fetch = (...told) => new Promise(done => {
    setTimeout(() => done(send(...told)), String(told[0]?.url ?? told[0]).includes('queue/join') ? 500 : 0);
  });
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the program, which is ended by SIGTERM and has to end cleanly."""
    folder = tmp_path_factory.mktemp("app")
    data = ["--data", str(PROJECT_FOLDER / "data" / "sample_series"), "--registry", str(folder / "registry")]
    with serve([str(PROJECT_FOLDER / "gradio_app.py"), "--source", "quotes", *data, "--port"], folder) as url:
        yield url


@pytest.fixture
def faults() -> list[str]:
    """What the browser complains about, and requests to other hosts."""
    return []


@pytest.fixture
def open_page(browser: Any, address: str, faults: list[str]) -> Iterator[Any]:
    pages = []

    def visit(width: int, height: int, query: str = "") -> Any:
        page = watch(browser.new_page(viewport={"width": width, "height": height}), faults, address)
        pages.append(page)
        page.goto(f"{address}/{query}")
        page.get_by_text("Speaking: quotes").wait_for()
        if width > 760:
            begin_anew(page)
        return page

    yield visit
    for page in pages:
        page.close()


def begin_anew(page: Any) -> None:
    page.locator("#new").click()
    page.get_by_text("Say something to begin.").wait_for()


def say(page: Any, text: str) -> Any:
    """Send a message and wait until its reply is whole; the reply."""
    before = page.locator("[data-testid=user]").count()
    page.locator("#box textarea").fill(text)
    page.locator("#send").click()
    page.locator("[data-testid=user]").nth(before).wait_for()
    rest(page)
    return page.locator("[data-testid=bot]").last


def rest(page: Any) -> None:
    """Wait until no reply is on its way."""
    page.locator("#stop:disabled").wait_for()
    page.locator(".message.last").wait_for()


def press(page: Any, selector: str, then: str) -> None:
    """Click, and wait until a condition in the browser holds."""
    page.locator(selector).click()
    page.wait_for_function(then)


def last_reply(page: Any) -> str:
    return str(page.locator("[data-testid=bot]").last.inner_text())


IN_BOX = "document.activeElement.closest('#box') !== null"
COUNT = "document.querySelector('.last .count')?.textContent"
# Lengths of the reply while it is written, as the page shows them.
WATCH = """() => { window.lengths = []; new MutationObserver(() => {
  const live = document.querySelector('[data-testid=live]');
  if (live) window.lengths.push(live.innerText.length);
}).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""


def test_a_conversation(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    page.locator("#characters label", has_text="Dr Varga").click()
    page.get_by_text("Dr Varga · Speaking: quotes").wait_for()
    page.evaluate(WATCH)
    first = say(page, "How far does the sea go out tonight, and how exactly do you know?").inner_text()
    lengths = page.evaluate("window.lengths")
    assert len(set(lengths)) > 2, "the reply came in one piece"
    assert lengths == sorted(lengths)
    assert page.locator(".last .quotes li").first.inner_text().endswith(first.strip())
    assert page.locator(".last .quotes cite").first.inner_text().startswith("S0")
    assert page.evaluate(IN_BOX), "the focus stays in the box"

    press(page, "#retry", f"{COUNT} === '2/2'")
    second = last_reply(page)
    assert second != first
    press(page, ".last [data-act=left]", f"{COUNT} === '1/2'")
    assert last_reply(page) == first
    press(page, ".last [data-act=right]", f"{COUNT} === '2/2'")
    press(page, ".last [data-act=up]", "document.querySelector('.last .up').ariaPressed === 'true'")
    press(page, ".last [data-act=down]", "document.querySelector('.last .up').ariaPressed === 'false'")
    page.locator("#continue").click()
    page.wait_for_function("old => document.querySelector('.last .text')?.textContent.length > old", arg=len(second))
    assert last_reply(page).startswith(second)
    assert faults == []


def test_edit_branch_undo_and_redo(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    say(page, "Red sky?")
    page.locator("#box textarea").press("ArrowUp")
    editor = page.locator(".editor textarea")
    assert editor.input_value() == "Red sky?"
    editor.press("Escape")
    assert editor.count() == 0
    page.locator("#box textarea").press("ArrowUp")
    editor.fill("Blue sky?")
    page.locator(".editor button").first.click()
    page.wait_for_function("document.querySelector('.user .text')?.textContent === 'Blue sky?'")
    rest(page)
    assert page.locator(".message.user .count").inner_text() == "2/2"
    page.locator(".last [data-act=edit]").click()
    editor.fill("As I say.")
    editor.press("Enter")
    page.wait_for_function("document.querySelector('.last .text')?.textContent === 'As I say.'")

    page.locator(".last [data-act=branch]").click()
    page.locator("[aria-current]", has_text="(branch)").wait_for()
    page.locator("#undo").click()
    page.get_by_text("Say something to begin.").wait_for()
    assert page.locator("#box textarea").input_value() == "Blue sky?"
    page.locator("#redo").click()
    page.locator("[data-testid=bot]", has_text="As I say.").wait_for()
    assert faults == []


def test_a_scene_of_three(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    page.locator("#characters label", has_text="Kit").click()
    begin_anew(page)
    for name in ("Pip", "Rosa"):
        page.locator("#scene input").click()
        page.get_by_role("option", name=name, exact=True).click()
        page.get_by_text(f"{name} · Speaking").wait_for()
    page.keyboard.press("Escape")
    say(page, "Pip, what did you see?")
    assert page.locator(".bot .speaker").all_inner_texts() == ["Pip"]
    page.locator("#let-talk").click()
    page.locator(".bot").nth(1).wait_for()
    rest(page)
    page.locator("#next input").click()
    page.get_by_role("option", name="Rosa").click()
    page.locator("#let-talk").click()
    page.locator(".bot .speaker", has_text="Rosa").wait_for()
    rest(page)
    assert len(set(page.locator(".bot .speaker").all_inner_texts())) == 3
    said = page.locator(".message .text").all_inner_texts()
    page.locator("#scene .token", has_text="Rosa").locator(".token-remove").click()
    page.get_by_text("Rosa will not answer any more").wait_for()
    assert page.locator(".message .text").all_inner_texts() == said
    assert "Rosa" in page.locator(".bot .speaker").all_inner_texts()
    page.get_by_text("Kit, Pip · Speaking").wait_for()
    page.locator("#scene .token", has_text="Kit").locator(".token-remove").click()
    page.get_by_text("Kit will not answer any more").wait_for()
    assert page.locator("#characters input:checked").input_value() == "Pip"
    assert page.locator(".message .text").all_inner_texts() == said
    page.evaluate(SLOW_NETWORK)
    page.locator("#scene input").click()
    for name in ("Rosa", "Kit", "Grell"):
        page.get_by_role("option", name=name, exact=True).click()
    page.keyboard.press("Escape")
    page.locator("#scene .token", has_text="Rosa").locator(".token-remove").click()
    page.get_by_text("Pip, Kit, Grell · Speaking").wait_for()
    assert [each.split()[0] for each in page.locator("#scene .token").all_inner_texts()] == ["Pip", "Kit", "Grell"]
    for name in ("Dr Varga", "Rosa"):
        page.locator("#characters label", has_text=name).click()
    page.locator("#scene input").click()
    page.get_by_role("option", name="Denny", exact=True).click()
    page.get_by_text("Rosa, Denny · Speaking").wait_for()
    assert [each.split()[0] for each in page.locator("#scene .token").all_inner_texts()] == ["Rosa", "Denny"]
    assert faults == []


def test_conversations_are_kept_found_and_taken_along(open_page: Any, faults: list[str], tmp_path: Path) -> None:
    page = open_page(1280, 900)
    page.locator("#characters label", has_text="Grell").click()
    page.get_by_text("Grell · Speaking").wait_for()
    begin_anew(page)
    say(page, "Who keeps the zeppelin?")
    page.locator("summary", has_text="Rename").click()
    page.locator("[data-act=rename] input").fill("Airships <b>")
    page.locator("[data-act=rename] button").click()
    page.locator("[aria-current] b", has_text="Airships <b>").wait_for()
    page.locator("summary", has_text="Save as a file").click()
    for kind, ending in (("markdown", "md"), ("sillytavern", "jsonl"), ("json", "json")):
        with page.expect_download() as coming:
            page.locator(f"[data-kind={kind}]").click()
        assert coming.value.suggested_filename == f"Airships b.{ending}"
        coming.value.save_as(tmp_path / "file")
        assert "zeppelin" in (tmp_path / "file").read_text(encoding="utf-8")

    begin_anew(page)
    page.locator("#search input").fill("zeppelin")
    page.locator("[data-message]").first.click()
    page.locator(".message.found .text", has_text="zeppelin").wait_for()
    page.locator("#search input").fill("")
    page.locator("summary", has_text="Delete").first.click()
    page.get_by_role("button", name="Yes, delete it").click()
    page.get_by_text("The conversation is deleted.").wait_for()
    page.locator("[data-act=import]").set_input_files(tmp_path / "file")
    page.locator("[aria-current] b", has_text="Airships <b>").wait_for()
    assert page.locator("[data-testid=user]").inner_text() == "Who keeps the zeppelin?"
    (tmp_path / "broken.jsonl").write_text('{"user_name": "A", "character_name": "B"}\n{"mes": 3}', encoding="utf-8")
    page.locator("[data-act=import]").set_input_files(tmp_path / "broken.jsonl")
    page.locator("[role=alert]", has_text="broken.jsonl").wait_for()
    page.reload()
    page.locator("[data-testid=user]", has_text="zeppelin").wait_for()
    assert faults == []


def test_what_is_written_is_shown_as_it_was_written(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    say(page, EVIL)
    assert page.locator("[data-testid=user]").inner_text().strip() == EVIL
    assert page.locator("#chat img").count() == 0
    assert faults == []


def test_the_keyboard_is_enough(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    group = page.get_by_role("radiogroup", name="Talk to")
    before = group.locator(":checked").input_value()
    group.locator(":checked").focus()
    page.keyboard.press("ArrowDown")
    name = page.evaluate("document.activeElement.value")
    assert name != before
    page.get_by_text(f"{name} · Speaking").wait_for()
    page.keyboard.press("Tab")  # the group is one stop
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"Remove {name}"
    page.keyboard.press("Alt+n")
    page.locator("#box textarea").focus()
    page.keyboard.type("Good")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("evening.")
    assert page.locator("#box textarea").input_value() == "Good\nevening."
    page.keyboard.press("Enter")
    page.locator("[data-testid=bot]").wait_for()
    rest(page)
    page.keyboard.press("Alt+r")
    page.wait_for_function(f"{COUNT} === '2/2'")
    assert page.locator(".read-out").inner_text() == f"{name}: {last_reply(page)}"
    page.locator(".last [data-act=left]").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"{COUNT} === '1/2' && document.activeElement.dataset.act === 'right'")
    page.keyboard.press("Alt+.")
    page.wait_for_function(f"{COUNT} === '2/2'")
    for words, where in (("Rename", "document.activeElement.textContent === 'Rename'"), ("Delete", IN_BOX)):
        page.locator("summary", has_text=words).first.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_function(where)
    page.get_by_text("The conversation is deleted.").wait_for()
    unnamed = "button:not([aria-label]):empty, input:not([aria-label]):not([type=radio]):not([type=file])"
    for each in page.locator("#talk").locator(unnamed).all():
        assert each.evaluate("e => Boolean(e.labels?.length || e.title || e.closest('label'))"), each.inner_html()
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


def test_the_series_and_what_it_is_about(open_page: Any, faults: list[str]) -> None:
    page = open_page(1280, 900)
    open_tab(page, "Series")
    heat = page.locator("#plot-lines-by-episode")
    heat.locator(".main-svg").first.wait_for()
    assert "Jonas has the most lines in one episode: 31 in S02E02" in heat.inner_text()
    for kind, starts in (("png", b"\x89PNG"), ("svg", b"<svg"), ("csv", b"speaker,S01E01,")):
        with page.expect_download() as coming:
            heat.locator(f"[data-save={kind}]").click()
        assert coming.value.suggested_filename == f"lines-by-episode.{kind}"
        assert Path(coming.value.path()).read_bytes().startswith(starts)
    heat.locator("summary").focus()
    page.keyboard.press("Enter")
    heat.locator(".plot-table td", has_text="Judge Hale").first.wait_for()
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function(f"getComputedStyle(document.querySelector('{PAPER}')).backgroundColor === 'rgb(28, 25, 23)'")
    page.evaluate("document.body.classList.remove('dark')")
    page.locator("#series-season input").click()
    page.get_by_role("option", name="Season 2").click()
    page.locator("#plot-speech-shares-season-2", has_text="Season 2: ").wait_for()
    assert page.locator(".quality", has_text="Data quality").count() == 1

    open_tab(page, "Themes")
    arcs = page.locator("#plot-theme-arcs")
    arcs.locator(".points path").first.wait_for()
    page.locator("#themes-method", has_text="Used: seed words").get_by_text("HF_HUB_OFFLINE is set").wait_for()
    arcs.hover()
    titles = arcs.locator(".modebar-btn").evaluate_all("all => all.map((each) => each.dataset.title ?? each.ariaLabel)")
    assert "Zoom" in titles
    assert not any("Share" in title or "loud" in title for title in titles), "no number leaves for plotly's server"
    arcs.locator(".points path").nth(5).click(force=True)  # of the first theme, in the sixth episode
    page.locator("#themes-scenes h3", has_text="Hope in S01E06").wait_for()
    assert page.locator("#themes-scenes li li").count() > 3
    page.locator("#themes-own textarea").fill("Ferry")
    page.locator("#themes-compute").click()
    page.locator("#plot-theme-seasons", has_text="Ferry").wait_for()
    page.locator("#plot-theme-radar").scroll_into_view_if_needed()  # drawn when it can be seen
    page.locator("#plot-theme-radar .scatterlayer path").first.wait_for()
    with page.expect_download() as coming:
        page.locator("#themes-save-csv").click()
    assert b",Ferry," in Path(coming.value.path()).read_bytes()
    assert faults == []


@pytest.mark.parametrize("theme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(theme: str, open_page: Any, faults: list[str]) -> None:
    page = open_page(390, 844, f"?__theme={theme}")
    assert not page.locator("#new").is_visible()
    button = page.locator("#redo").bounding_box()
    assert button["y"] + button["height"] <= 844, "what one writes with is in sight"
    page.locator("#toggle").click()
    begin_anew(page)
    page.locator("#toggle").click()
    say(page, "What is the weather like at the harbour, and who is out in it?" * 3)
    press(page, "#retry", f"{COUNT} === '2/2'")
    assert width_of(page) <= 390
    targets = "#buttons button, #characters label, [role=tab], .last > .tools button, #toggle, .evidence > summary"
    sizes = [(each.bounding_box(), each) for each in page.locator(targets).all()]
    assert [(size["height"], each) for size, each in sizes if size and size["height"] < 42] == []
    page.locator("#toggle").click()
    page.locator("summary", has_text="Save as a file").click()
    assert width_of(page) <= 390
    open_tab(page, "Status")
    page.get_by_text("The Pellan Light: 12 files").wait_for()
    assert width_of(page) <= 390
    assert faults == []


@pytest.mark.slow
def test_a_finger_on_a_message_brings_its_tools_and_presses_none(browser: Any, address: str, faults: list[str]) -> None:
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = watch(phone.new_page(), faults, address)
    page.goto(address)
    page.get_by_text("Speaking: quotes").wait_for()
    page.locator("#toggle").click()
    begin_anew(page)
    say(page, "One")
    say(page, "Two")
    first = page.locator(".message.user").first
    tools = first.locator(".tools")
    first.locator(".text").tap()
    page.wait_for_function("document.querySelector('.message.user.tapped') !== null")
    tools.get_by_text("Branch").wait_for()
    assert page.locator(".message").count() == 4, "nothing was pressed"
    tools.get_by_text("Edit").tap()
    page.locator(".editor textarea").wait_for()
    phone.close()
    assert faults == []


def open_tab(page: Any, name: str) -> None:
    """A bar without room for a tab has it in a menu; which ones depends on when the font has come."""
    tab, menu = page.get_by_role("tab", name=name, exact=True), page.locator(".overflow-menu > button")
    tab.or_(menu).first.wait_for()
    if not tab.is_visible():
        menu.click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()


def width_of(page: Any) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


DOUBLE = Path(__file__).resolve().parent / "doubles" / "chat_page.py"
OPEN_TO_ALL = {"APP_PASSWORD": "right", "STRANGER_CHATS__KEEP_VISITORS": "true"}


def log_in(page: Any, address: str) -> None:
    page.goto(address)
    page.locator("input[type=password]").wait_for()
    page.locator("input").first.fill("guest")
    page.locator("input[type=password]").fill("right")
    page.get_by_role("button", name="Login").click()
    page.get_by_text("Speaking: the counter").wait_for()


@pytest.mark.slow
def test_visitors_wait_stop_leave_and_never_see_each_other(browser: Any, tmp_path: Path) -> None:
    faults: list[str] = []
    with serve([str(DOUBLE)], tmp_path, more=[str(tmp_path)], **OPEN_TO_ALL) as address:
        port = int(address.rpartition(":")[2])
        ann, bob = (watch(browser.new_context().new_page(), faults, address) for _ in range(2))
        log_in(ann, address)
        log_in(bob, address)
        faults.clear()  # a browser that has not logged in is told so
        start(ann, "Count slowly for Ann.")
        ann.locator("[data-testid=live]", has_text="3 4").wait_for()
        start(bob, "Count for Bob.")
        bob.get_by_text("Place 1 in the queue").wait_for()
        ann.keyboard.press("Escape")
        ann.get_by_text("(stopped)").wait_for()
        bob.locator("[data-testid=bot]", has_text="0 1 2 3 4").wait_for()  # the engine is free at once

        start(ann, "Count slowly once more.")
        ann.locator("[data-testid=live]", has_text="3 4").wait_for()
        assert faults == []
        ann.reload()
        ann.locator("[data-testid=bot]", has_text="0 1 2").nth(1).wait_for()
        ann.locator("#stop:disabled").wait_for()
        assert ann.get_by_text("(stopped)").count() == 2
        faults.clear()  # the browser tells that a stream ended with the page
        bob.locator("#characters label", has_text="Sera").click()
        bob.locator("[data-testid=bot]", has_text="*appears* Hello, Visitor.").wait_for()
        say(bob, "Is this your lamp?")
        bob.locator(".last .evidence summary", has_text="1 thing known").click()
        bob.get_by_text("The lamp belongs to Sera.").wait_for()
        start(ann, "Count slowly to the end.")
        ann.locator("[data-testid=live]", has_text="3 4").wait_for()
        assert faults == []
    with serve([str(DOUBLE)], tmp_path, port, more=[str(tmp_path)], **OPEN_TO_ALL) as address:
        for page, own, other in ((ann, "Ann", "lamp"), (bob, "lamp", "Ann")):
            log_in(page, address)  # the server has forgotten who is logged in; the browser has kept its token
            page.locator("[data-testid=user]", has_text=own).wait_for()
            if page is ann:
                assert page.get_by_text("(stopped)").count() == 3, (
                    "what was being written when the server ended is kept"
                )
            page.locator("#search input").fill(other)
            page.get_by_text("Nothing found for").wait_for()
            page.context.close()


def start(page: Any, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")
