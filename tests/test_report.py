"""The report of a series: one file that asks for nothing, shows any text as text, and keeps what could be made."""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import training_pipeline
from character_network import scene_finding
from config import Settings, load_settings
from dashboard.report import network_section
from dashboard.report.building import Report, build_report, write_report
from dashboard.report.commands import LARGEST_BYTES, SECTION_NAMES
from dashboard.report.document import build_document
from dashboard.report.quoting import choose_quotes, quote_html
from dashboard.report.section import fit_plot
from dashboard.source import load_source
from utils.command_line import FAILED, INTERRUPTED, WRONG_USAGE, run_command

EVIL = "</script></pre><script>alert(1)</script><img src=x onerror=alert(2)>"
EVIL_NAME = "Bo <script>alert`3`</script>"
QUOTED = 5
HOSTILE = "".join(
    f'1,Ada,"I hope for rescue number {number} {EVIL}"\n1,{EVIL_NAME},"Then trust me, Ada, {number} times."\n'
    for number in range(30)
)
Wrong = tuple[tuple[str, ...], str, int, str]  # words, --out, exit code, what is said


def settings_of(folder: Path, **flags: object) -> Settings:
    given = {"paths.data": folder, "themes.model": "lexical", **{key.replace("__", "."): flags[key] for key in flags}}
    return load_settings(env_file=Path("/none"), environment={}, flags=given)


class Page(HTMLParser):
    """What a browser would make of the file: its elements with their attributes, and the text that is seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._raw = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.texts.append(data)

    def values(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, str]:
    """The report of a series in which a name and every second line try to break out."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "transcripts").mkdir()
    (folder / "series.json").write_text(json.dumps({"title": f"Clock {EVIL}", "logline": f"Slow {EVIL}"}))
    for episode in (1, 2):
        (folder / "transcripts" / f"S0{episode}E01.csv").write_text(f"scene,name,line\n{HOSTILE}", encoding="utf-8")
    settings = settings_of(folder, report__quoted_lines=QUOTED, report__table_rows=7)
    report = build_report(load_source(folder), settings, logline=f"Slow {EVIL}")
    write_report(report, folder / "out" / "report.html")
    return report, (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_everything_is_there_and_the_contents_lead_to_it(hostile: tuple[Report, str]) -> None:
    report, text = hostile
    page = Page(text)
    names = page.values("id")
    assert report.problems == {}
    assert [each.name for each in report.sections] == ["reading", *SECTION_NAMES]
    assert len(names) == len(set(names))
    links = page.values("href")
    assert {link[1:] for link in links} <= set(names)
    assert {"#reading", "#plot-theme-arcs", "#plot-theme-radar", "#network-picture", "#plot-who-is-central",
            "#plot-marking-words-2", "#theme-scenes", "#network-pairs", "#quotations"} <= set(links)  # fmt: skip
    seen = "".join(page.texts)
    assert f"Clock {EVIL}" in seen
    assert f"Slow {EVIL}" in seen
    assert "120 rows: 120 kept, 0 dropped" in seen
    assert "a model of spaCy" in seen
    assert "No place of this series is known" in seen


def test_it_asks_for_nothing_and_runs_nothing_of_the_series(hostile: tuple[Report, str]) -> None:
    page = Page(hostile[1])
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2  # plotly.js, packed, and our own
    assert not {"img", "iframe", "link", "object", "embed", "base", "form"} & set(tags)
    assert page.values("src") == page.values("srcset") == page.values("xlink:href") == []
    assert [name for _, attrs in page.elements for name in attrs if name.startswith("on")] == []
    policy = next(attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv"))
    assert policy and policy.startswith("default-src 'none'") and "http" not in policy
    style = "".join(re.findall(r"<style>(.*?)</style>", hostile[1], re.DOTALL))
    assert "url(" not in style
    assert "@import" not in style


def test_the_numbers_of_each_plot_are_read_back_as_they_were(hostile: tuple[Report, str]) -> None:
    specs = [
        json.loads(unescape(text)) for text in re.findall(r'<pre class="plot-spec" hidden>(.*?)</pre>', hostile[1])
    ]
    assert len(specs) >= 8
    assert not any(spec["clickable"] for spec in specs)
    assert max(len(spec["rows"]) for spec in specs if not spec["name"].startswith("marking")) <= 7
    shares = next(spec for spec in specs if spec["name"] == "speech-shares")
    assert {row[0] for row in shares["rows"]} == {"Ada", EVIL_NAME}


def test_only_so_many_lines_are_quoted_as_the_settings_say(hostile: tuple[Report, str]) -> None:
    report, text = hostile
    seen = unescape(text)
    said = [f"I hope for rescue number {n} {EVIL}" for n in range(30)] + [f"trust me, Ada, {n} t" for n in range(30)]
    found = [line for line in said if line in seen]
    assert 0 < len(found) <= QUOTED == report.quoted
    assert f"quotes {QUOTED} of 120 lines" in seen


def test_it_is_small(hostile: tuple[Report, str]) -> None:
    assert len(hostile[1].encode()) < LARGEST_BYTES / 2


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("subtitles/S01E01.srt", "1\n00:00:01,000 --> 00:00:02,000\nNobody knows who says this.\n"),
        ("transcripts/S01E01.csv", "name,line\nAda,Alone.\n"),
    ],
)
def test_a_series_of_one_line(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(content)
    report = build_report(load_source(tmp_path), settings_of(tmp_path), themes=["Solitude", "Hope", "Trust"])
    assert report.problems == {}
    page = Page(build_document(report))
    assert "Nobody here speaks with anybody by name, so there is no network." in page.texts


def test_quotes_are_shared_among_the_themes_and_none_comes_twice() -> None:
    def scenes(*lines: tuple[int, float]) -> pd.DataFrame:
        said = [{"position": at, "score": score, "speaker": "Ada", "line": f"Line {at}."} for at, score in lines]
        return pd.DataFrame({"season": [1, 1], "episode": [1, 1], "lines": [said, said[:1]]})

    both = {"Hope": scenes((0, 0.9), (1, 0.8), (2, 0.0)), "Guilt": scenes((0, 0.7), (3, 0.6))}
    chosen = choose_quotes(both, 3)
    assert [[line["position"] for line in part] for part in chosen["Hope"]] == [[0, 1], []]
    assert [[line["position"] for line in part] for part in chosen["Guilt"]] == [[3], []]
    assert choose_quotes(both, 0) == {"Hope": [[], []], "Guilt": [[], []]}
    everything = choose_quotes(both, 99)
    assert sum(len(part) for each in everything.values() for part in each) == 3  # a score of 0 carries nothing


def test_a_long_line_is_cut() -> None:
    line = {"position": 0, "score": 0.5, "speaker": "A<b>", "line": "word " * 100}
    told = quote_html(line, 20)
    assert told == "<li><b>A&lt;b&gt;</b> word word word word… <small>line 1, 0.50</small></li>"


def test_a_plot_in_a_file_has_nothing_to_click_and_few_numbers() -> None:
    import plotly.graph_objects as go

    from dashboard.plot import Plot

    plot = Plot("a", "A", "Told.", go.Figure(), pd.DataFrame({"n": range(1000)}), "Click a point.", True)
    fitted = fit_plot(plot, 10, "b")
    assert (fitted.name, len(fitted.table), fitted.clickable) == ("b", 10, False)
    assert fitted.note == "Numbers: the first 10 of 1,000 rows."


# the command


@pytest.fixture
def own_log() -> Iterator[None]:
    """The command sets up logging; afterwards it is as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []  # not closed: they are pytest's
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before, level


@pytest.fixture
def report(series_folder: Callable[..., Path], tmp_path: Path, own_log: None) -> Callable[..., int]:
    """Runs the command on a tiny series; gives its exit code."""
    folder = series_folder(episodes=2, scenes=1)

    def run(*words: str, out: str = "report.html") -> int:
        given = ["report", "--data", str(folder), "--theme-model", "lexical", "--out", str(tmp_path / out), *words]
        return run_command(training_pipeline.main, given)

    return run


def test_the_command_writes_it_and_says_what(
    report: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report("--sections", "themes", "--themes", "Clocks,Lunch", "--json", out="new/folder/report.html") == 0
    said = capsys.readouterr()
    summary = json.loads(said.out)
    assert summary["bytes"] == (tmp_path / "new/folder/report.html").stat().st_size
    assert [each["name"] for each in summary["sections"]] == ["reading", "themes"]
    assert "A radar of the characters needs 3 themes" in (tmp_path / "new/folder/report.html").read_text()
    assert "make: themes" in said.err


def test_a_section_that_fails_takes_no_other_with_it(
    report: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(section: object, order: object) -> None:
        raise ZeroDivisionError("<b>none</b>")

    monkeypatch.setattr(network_section, "fill_network", fail)
    assert report("--sections", "series,network") == FAILED
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "This section could not be made: ZeroDivisionError: &lt;b&gt;none&lt;/b&gt;." in text
    assert 'id="plot-speech-shares"' in text
    assert "Error: the section network could not be made: ZeroDivisionError" in capsys.readouterr().err


def test_scenes_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    original = scene_finding.find_scenes
    monkeypatch.setattr(scene_finding, "find_scenes", lambda *given: found.append(given) or original(*given))
    for episode in (1, 2):
        (tmp_path / f"S01E0{episode}.csv").write_text("name,line\nAda,The clock stopped.\nBo,Wind it.\n" * 9)
    source, settings = load_source(tmp_path), settings_of(tmp_path)
    whole = build_report(source, settings, sections=("series", "network"))
    assert (len(found), whole.problems) == (2, {})
    alone = build_report(source, settings, sections=("series",))  # without a network
    assert len(found) == 4
    assert alone.sections[1].method == whole.sections[1].method
    (tmp_path / "locations.jsonl").write_text("no JSON")  # which fails the network and nothing else
    assert build_report(source, settings, sections=("series", "network")).problems.keys() == {"network"}


def test_ctrl_c_leaves_the_older_file(
    report: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "report.html").write_text("older")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(network_section, "fill_network", interrupt)
    assert report("--sections", "network") == INTERRUPTED
    monkeypatch.undo()
    monkeypatch.setattr("utils.files.os.fsync", interrupt)
    assert report("--sections", "network") == INTERRUPTED
    assert (tmp_path / "report.html").read_text() == "older"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "wrong",
    [
        ((), "", WRONG_USAGE, "is a folder, and a report is a file.\n  Name a file in it:"),
        ((), "characters.jsonl", WRONG_USAGE, "characters.jsonl is not the name of a page.\n  It ends with .html."),
        ((), "taken/report.html", FAILED, "cannot be written"),
        (
            ("--sections", "series,netwrk"),
            "a.html",
            WRONG_USAGE,
            "no section 'netwrk' in a report.\n  Did you mean network?",
        ),
        (("--themes", "x" * 200), "a.html", FAILED, "cannot be the name of a theme"),
        (("--data", "no-such-folder"), "a.html", FAILED, "no series folder no-such-folder"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    report: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: Wrong
) -> None:  # fmt: skip
    words, out, code, told = wrong
    (tmp_path / "taken").write_text("a file")
    assert report(*words, out=out) == code
    said = capsys.readouterr().err
    assert told in said
    assert "make:" not in said
    assert not (tmp_path / "a.html").exists()


@pytest.mark.slow
def test_a_long_series_with_a_large_cast_stays_below_5_mb(tmp_path: Path) -> None:
    """34 episodes of 22,000 lines, 30 of 560 people in each."""
    draw = random.Random(7)
    names = [f"Person Number {number}" for number in range(560)]
    words = [f"word{number}" for number in range(3000)]
    (tmp_path / "transcripts").mkdir()
    for episode in range(34):
        here = names[16 * episode : 16 * episode + 30]
        rows = [f'{draw.choice(here)},"{" ".join(draw.choices(words, k=9))}"' for _ in range(650)]
        file = tmp_path / "transcripts" / f"S{1 + episode // 9:02}E{1 + episode % 9:02}.csv"
        file.write_text("name,line\n" + "\n".join(rows), encoding="utf-8")
    report = build_report(load_source(tmp_path), settings_of(tmp_path))
    assert report.problems == {}
    assert write_report(report, tmp_path / "report.html") < LARGEST_BYTES
