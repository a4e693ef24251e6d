"""The numbers behind the dashboard's plots by hand-computed cases, the figures, and analyses in the background."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from config import DashboardSettings, Settings
from dashboard.computing import Analyses, Done, Step
from dashboard.display import plot_block, plot_script, plotly_gzip
from dashboard.figures import series as series_figures
from dashboard.figures import themes as theme_figures
from dashboard.look import build_template, twins
from dashboard.plot import Plot
from dashboard.source import Sources, build_source, load_source
from dashboard.statistics import speech, vocabulary
from dashboard.statistics.theme_scenes import find_scenes
from utils.errors import DataError
from utils.lines import build_frame

ROWS = (
    (1, 1, 1, "Ada", "one two three"),
    (1, 1, 1, "Bo", "one"),
    (1, 1, 2, "Ada", "one two"),
    (1, 2, 1, "Unknown", "who is there"),
    (1, 2, 1, "Bo", "one two three four"),
    (2, 1, 1, "Ada", "one"),
)


@pytest.fixture
def lines() -> pd.DataFrame:
    rows: list[tuple[object, ...]] = [
        (season, episode, scene, at, speaker, line, math.nan, math.nan, "a.csv")
        for at, (season, episode, scene, speaker, line) in enumerate(ROWS)
    ]
    columns = list(build_frame([]).columns)
    frame = pd.DataFrame.from_records(
        rows, columns=["season", "episode", "scene", "position", "speaker", "line", "start_seconds", "end_seconds",
                       "source"]
    )  # fmt: skip
    return frame.reindex(columns=columns).astype({"scene": "Int64", "speaker": "str", "line": "str"})


# what is said


def test_the_cast_by_words(lines: pd.DataFrame) -> None:
    table = speech.build_cast_table(lines)
    ada, bo = table.to_dict("records")
    assert ada == {"speaker": "Ada", "lines": 3, "words": 6, "share": 6 / 11, "episodes": 2, "first": "S01E01",
                   "last": "S02E01"}  # fmt: skip
    assert bo == {"speaker": "Bo", "lines": 2, "words": 5, "share": 5 / 11, "episodes": 2, "first": "S01E01",
                  "last": "S01E02"}  # fmt: skip


def test_a_series_in_which_nobody_is_known(lines: pd.DataFrame) -> None:
    nobody = lines.assign(speaker="Unknown")
    assert speech.build_cast_table(nobody).empty
    assert speech.count_by_episode(nobody).empty
    assert vocabulary.count_vocabulary(nobody, []).words == []
    assert speech.find_longest_scenes(nobody, 1).loc[0, "speakers"] == "nobody by name"


def test_lines_by_episode(lines: pd.DataFrame) -> None:
    counted = speech.count_by_episode(lines)
    assert counted.to_numpy().tolist() == [
        [1, 1, "Ada", 2, 5], [1, 1, "Bo", 1, 1], [1, 2, "Bo", 1, 4], [2, 1, "Ada", 1, 1],
    ]  # fmt: skip


def test_the_longest_scenes(lines: pd.DataFrame) -> None:
    first, second = speech.find_longest_scenes(lines, 2).to_dict("records")
    assert (first["season"], first["episode"], first["scene"], first["words"], first["lines"]) == (1, 2, 1, 7, 2)
    assert (first["speakers"], first["begins"]) == ("Bo", "who is there")
    assert (second["words"], second["speakers"]) == (4, "Ada, Bo")


# words that mark


def test_log_odds_by_hand() -> None:
    """Two words, 3 + 1 against 1 + 3, prior 2 + 2: delta = log(5/3) - log(3/5), variance 1/5 + 1/3."""
    z, delta = vocabulary.log_odds_z(np.array([3.0, 1.0]), np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert delta == pytest.approx([2 * math.log(5 / 3), -2 * math.log(5 / 3)])
    assert z == pytest.approx([2 * math.log(5 / 3) / math.sqrt(8 / 15), -2 * math.log(5 / 3) / math.sqrt(8 / 15)])


def test_a_word_of_one_marks_and_a_word_of_all_does_not(lines: pd.DataFrame) -> None:
    said = ["the harbour, the lamp"] * 20 + ["the lemon’s the lemon’s"] * 20
    many = pd.DataFrame({"speaker": ["Ada"] * 20 + ["Bo"] * 20, "line": said})
    counts = vocabulary.count_vocabulary(many, ["Bo"])
    assert counts.words == ["harbour", "lamp", "lemon's", "the"]
    marked = vocabulary.mark_words(counts, "Bo", prior_words=10, minimum_count=1)
    assert marked.loc[0, "word"] == "lemon's"
    assert (marked.loc[0, "count"], marked.loc[0, "others"], marked.loc[0, "per_thousand"]) == (40, 0, 500.0)
    assert marked.set_index("word").loc["the", "z"] == pytest.approx(0, abs=1e-9)
    left = vocabulary.mark_words(
        counts, "Bo", prior_words=10, minimum_count=21, stop_words=vocabulary.english_stop_words()
    )
    assert left["word"].tolist() == ["lemon's"]  # harbour and lamp are said 20 times, "the" is common
    assert left.loc[0, "z"] == marked.loc[0, "z"]


def test_short_forms_are_stop_words() -> None:
    listed = vocabulary.english_stop_words()
    found = {word: vocabulary.is_stop_word(word, listed) for word in ("don't", "it's", "i'll", "lemon's", "lamp")}
    assert found == {"don't": True, "it's": True, "i'll": True, "lemon's": False, "lamp": False}


# figures


def test_the_heat_map_holds_the_lines(lines: pd.DataFrame) -> None:
    plot = series_figures.plot_lines_by_episode(speech.count_by_episode(lines), speech.build_cast_table(lines), 5)
    trace = plot.figure.data[0]
    assert list(trace.x) == ["S01E01", "S01E02", "S02E01"]
    assert list(trace.y) == ["Ada", "Bo"]
    assert np.array(trace.z).tolist() == [[2, 0, 1], [1, 1, 0]]
    assert plot.table.to_numpy().tolist() == [["Ada", 2, 0, 1], ["Bo", 1, 1, 0]]
    assert "Ada has the most lines in one episode: 2 in S01E01" in plot.summary


def test_bars_hold_shares_words_and_scenes(lines: pd.DataFrame) -> None:
    shares = series_figures.plot_speech_shares(speech.build_cast_table(lines), "All seasons", 1)
    assert list(shares.figure.data[0].x) == pytest.approx([600 / 11])
    assert len(shares.table) == 2
    scenes = series_figures.plot_longest_scenes(speech.find_longest_scenes(lines, 2), "")
    assert list(scenes.figure.data[0].y) == ["S01E02, scene 1", "S01E01, scene 1"]
    empty = series_figures.plot_marking_words(pd.DataFrame(columns=vocabulary.COLUMNS), "Ada", "")
    assert "No word marks Ada" in empty.summary


def scores() -> pd.DataFrame:
    said = [{"season": 1, "episode": 1, "position": 0, "speaker": "Ada", "line": "Hope!", "score": 0.5}]
    rows: list[tuple[object, ...]] = []
    for season, episode, scene, hope, fear in (
        (1, 1, 1, 0.5, 0.0), (1, 1, 2, 0.1, 0.3), (2, 1, 1, 0.2, 0.9),
        (1, 1, None, 0.3, 0.2), (2, 1, None, 0.2, 0.9), (1, None, None, 0.3, 0.2), (2, None, None, 0.2, 0.9),
    ):  # fmt: skip
        rows += [(season, episode, scene, "Hope", hope, said), (season, episode, scene, "Fear", fear, [])]
    frame = pd.DataFrame(rows, columns=["season", "episode", "scene", "theme", "score", "lines"])
    return frame.astype({"season": "Int64", "episode": "Int64", "scene": "Int64"})


def test_theme_figures_hold_the_scores_and_tell_what_is_clicked() -> None:
    frame = scores()
    episodes = frame[frame["scene"].isna() & frame["episode"].notna()]
    arcs = theme_figures.plot_arcs(episodes, ["Hope", "Fear"])
    assert [list(trace.y) for trace in arcs.figure.data] == [[0.3, 0.2], [0.2, 0.9]]
    assert list(arcs.figure.data[1].customdata[1]) == ["Fear", "S02E01"]
    assert "Fear in S02E01 (0.900)" in arcs.summary
    heat = theme_figures.plot_seasons(frame, ["Hope", "Fear"])
    assert np.array(heat.figure.data[0].z).tolist() == [[0.3, 0.2], [0.2, 0.9]]
    assert list(heat.figure.data[0].x) == ["Season 1", "Season 2"]
    one = theme_figures.plot_seasons(frame[frame["season"] == 1], ["Hope", "Fear"])
    assert list(one.figure.data[0].x) == ["S01E01"]


def test_many_themes_are_drawn_differently() -> None:
    styles = [json.dumps(theme_figures.style_of(place)) for place in range(20)]
    assert len(set(styles)) == 20


def test_the_radar_closes_and_names_what_is_above_all() -> None:
    speakers = pd.DataFrame({"speaker": ["Ada"] * 3, "theme": ["Hope", "Fear", "Love"], "score": [0.5, 0.1, 0.2]})
    everybody = pd.Series({"Hope": 0.2, "Fear": 0.2, "Love": 0.2})
    plot = theme_figures.plot_radar(speakers, ["Hope", "Fear", "Love"], ["Ada", "Nobody"], everybody)
    assert list(plot.figure.data[0].r) == [0.5, 0.1, 0.2, 0.5]
    assert [trace.name for trace in plot.figure.data] == ["Ada", theme_figures.EVERYBODY]
    assert "Ada speaks more of Hope" in plot.summary


@pytest.mark.parametrize(
    ("place", "found"),
    [("S01E01", [(1, 1), (1, 2)]), ("Season 2", [(2, 1)]), ("the whole series", [(1, 1), (2, 1), (1, 2)])],
)
def test_scenes_of_a_place(place: str, found: list[tuple[int, int]]) -> None:
    scenes = find_scenes(scores(), "Hope", place, 5)
    assert list(zip(scenes["season"], scenes["scene"], strict=True)) == found
    assert find_scenes(scores(), "Fear", "S01E01", 5)["scene"].tolist() == [2]  # none with a score of 0


# shown


def test_what_is_shown_is_escaped_and_has_no_template() -> None:
    import plotly.graph_objects as go

    evil = "<img src=x onerror=alert(1)>"
    plot = Plot("p", evil, evil, go.Figure(go.Bar(x=[1.0], y=[evil])), pd.DataFrame({"a": [evil], "b": [math.nan]}))
    html = plot_block(plot)
    assert "<img" not in html
    spec = plot.spec()
    assert "template" not in spec["layout"]
    assert spec["rows"] == [[evil, None]]


def test_names_from_files_stay_text_in_a_figure(lines: pd.DataFrame) -> None:
    evil = lines.assign(speaker="<a href='http://203.0.113.7'>Ada</a>")
    cast = speech.build_cast_table(evil)
    plots = [
        series_figures.plot_lines_by_episode(speech.count_by_episode(evil), cast, 5),
        series_figures.plot_speech_shares(cast, "All", 5),
        series_figures.plot_longest_scenes(speech.find_longest_scenes(evil, 5), ""),
    ]
    assert all("<a href" not in json.dumps(plot.spec()["data"]) for plot in plots)


def test_both_grounds_are_complete() -> None:
    light, dark = build_template(), build_template(dark=True)
    assert set(light["layout"]) == set(dark["layout"])
    for word in ("paper_bgcolor", "colorway"):
        assert light["layout"][word] != dark["layout"][word]
    assert len(twins()) == 12
    assert "/*LOOK*/" not in plot_script()
    assert len(plotly_gzip()) < 2e6


# where the lines come from


def test_the_key_changes_with_the_lines_alone(lines: pd.DataFrame) -> None:
    source = build_source(lines, "A")
    assert source.key == build_source(lines.copy(), "A").key
    assert source.key != build_source(lines.assign(line="other"), "A").key
    assert source.folder is None


def test_the_series_is_read_again_when_a_file_changes(series_folder: Callable[..., Path]) -> None:
    folder = series_folder()
    sources = Sources(folder)
    first = sources.read()
    assert sources.read() is first
    assert set(first.lines["speaker"]) == {"Ada", "Bo", "Unknown"}, "aliases are one speaker"
    (folder / "transcripts" / "S01E09.csv").write_text("name,line\nAda,Late.\n", encoding="utf-8")
    assert len(sources.read().lines) == len(first.lines) + 1
    assert sources.read(first) is first
    with pytest.raises(DataError):
        Sources(folder / "none").read()


# in the background


def gather(steps: AsyncGenerator[Any, None]) -> list[Any]:
    async def run() -> list[Any]:
        return [step async for step in steps]

    return asyncio.run(run())


def test_a_result_is_computed_once_and_the_oldest_forgotten() -> None:
    analyses: Analyses[int] = Analyses(kept=2)
    calls: list[str] = []

    def work(name: str) -> Callable[[Any], int]:
        return lambda progress: calls.append(name) or len(calls)  # type: ignore[func-returns-value]

    for name in ("a", "a", "b", "c", "a"):
        last = gather(analyses.follow(name, work(name)))[-1]
        assert isinstance(last, Done)
    assert calls == ["a", "b", "c", "a"]
    assert analyses.get("b") is None


def test_steps_tell_how_far_it_is_and_errors_come_back() -> None:
    def work(progress: Callable[[int, int], None]) -> str:
        progress(1, 2)
        time.sleep(0.7)
        return "done"

    steps = gather(Analyses[str](1).follow("a", work))
    assert isinstance(steps[0], Step)
    assert (steps[0].done, steps[0].total, steps[0].waits) == (1, 2, False)
    assert steps[-1].result == "done"

    def fail(progress: object) -> str:
        raise DataError("no lines.")

    with pytest.raises(DataError, match="no lines"):
        gather(Analyses[str](1).follow("a", fail))


def test_it_stops_when_nobody_waits_and_not_before() -> None:
    analyses: Analyses[str] = Analyses(1)
    ended = threading.Event()

    def work(progress: Callable[[int, int], None]) -> str:
        try:
            for at in range(1000):
                progress(at, 1000)
                time.sleep(0.01)
            return "done"
        finally:
            ended.set()

    async def two_visitors() -> tuple[bool, bool]:
        one, other = analyses.follow("a", work), analyses.follow("a", work)
        await anext(one)
        await anext(other)
        await one.aclose()
        await asyncio.sleep(0.1)
        before = ended.is_set()
        await other.aclose()
        return before, await asyncio.to_thread(ended.wait, 5)

    assert asyncio.run(two_visitors()) == (False, True)
    assert analyses.get("a") is None


def test_the_tab_of_a_folder_without_data_says_what_to_do(tmp_path: Path) -> None:
    from dashboard.desk import Desk

    desk = Desk(Settings(), Sources(tmp_path / "none"), None)  # type: ignore[arg-type]
    told = gather(desk.analyse(Analyses(1), None, lambda source: source.key, lambda source, progress: 1))
    assert len(told) == 1
    assert "no series folder" in told[0]
    assert "data/sample_series" in told[0]


def test_a_fault_is_a_sentence_and_in_the_log(sample_series: Path, caplog: pytest.LogCaptureFixture) -> None:
    from dashboard.desk import FAILED, Desk

    desk = Desk(Settings(), Sources(sample_series), None)  # type: ignore[arg-type]
    told = gather(desk.analyse(Analyses(1), None, lambda source: source.key, lambda source, progress: 1 // 0))
    assert FAILED in told[0]
    assert "ZeroDivisionError" in caplog.text


def test_the_series_tab_of_the_sample(sample_series: Path) -> None:
    from dashboard.pages import series_tab as tab
    from dashboard.pages.series_blocks import quality_block

    settings, source = DashboardSettings(), load_source(sample_series)
    view = tab.build_view(source, settings, lambda done, total: None)
    assert view.cast["words"].sum() == speech.count_words(speech.known_lines(source.lines)).sum()
    html = tab.draw_top(view, settings) + tab.draw_shares(view, tab.ALL, settings)
    html += tab.draw_words(view, view.words.speakers[0], False, settings)
    assert html.count('<figure class="plot"') == 3
    assert 'id="plot-speech-shares-season-2"' in tab.draw_shares(view, "Season 2", settings)
    assert "of 10 episodes mark no scenes" in tab.draw_scenes(tab.build_scenes(source, settings))
    assert "rows" in quality_block(source.report)


def test_own_themes_are_limited() -> None:
    from dashboard.pages.theme_scoring import join_themes, read_own

    assert read_own(" Debt ,, debt\nSea  air,Debt", 3) == ["Debt", "Sea air"]
    assert join_themes(["Hope"], ["hope", "Debt"]) == ["Hope", "Debt"]
    for text in ("a,b,c", "x" * 101, "x," * 600):
        with pytest.raises(DataError):
            read_own(text, 2)


@pytest.mark.slow
def test_a_model_is_computed_on_demand_and_given_up(
    series_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.computing.STEP_SECONDS", 0.0)
    monkeypatch.setattr("dashboard.computing.LOOK_SECONDS", 0.005)
    from doubles.nli_model import save_nli_model

    from config import load_settings
    from dashboard.desk import Desk
    from dashboard.pages import themes_tab as tab
    from dashboard.pages.theme_scoring import LEXICAL, MODEL

    folder, model = series_folder(), save_nli_model(tmp_path / "tiny")
    flags: dict[str, object] = {"paths.data": folder, "paths.cache": tmp_path / "cache", "themes.model": str(model)}
    settings = load_settings(env_file=Path("/none"), environment={}, flags=flags)
    acts = tab.ThemesTab(Desk(settings, Sources(folder), None))  # type: ignore[arg-type]
    opened = gather(acts.open(None, ["Hope", "Fear", "Love"], "", LEXICAL, ""))
    assert "seed words" in opened[-1]["method"]
    choice = (None, ["Hope", "Fear", "Love"], "Tides", MODEL)
    assert tab.PRESS in gather(acts.change(*choice))[-1]["notice"]

    async def leave_early() -> str:
        views = acts.compute(*choice)
        view = await anext(views)
        await views.aclose()
        return str(view["notice"])

    assert 'role="status"' in asyncio.run(leave_early())
    computed = gather(acts.compute(*choice))[-1]
    assert "Tides" in computed["plots"]
    assert "seed words" not in computed["method"]
    assert "tiny" in computed["method"]
    assert gather(acts.change(*choice))[-1]["shown"] == computed["shown"], "known now, so shown at once"
    picked = acts.pick(computed["shown"], ["Tides", "S01E02"])
    assert "Tides in S01E02" in picked["scenes"]
    assert acts.pick(computed["shown"], ["<b>", "S01E02"]) == {"notice": ""}
    assert acts.save(computed["shown"], "themes.csv")[1].startswith(b"season,episode,scene,theme,score,lines")
    with pytest.raises(DataError, match="Press Compute"):
        acts.look("another", "Hope", "S01E01")
