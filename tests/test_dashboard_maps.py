"""The Network and Locations pages and a visitor's own files: figures by hand-made frames, and what the tabs do."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from character_network.suggestions import Suggestion
from config import DashboardSettings, NetworkSettings, Settings
from dashboard import network_frame
from dashboard.computing import Analyses
from dashboard.desk import Desk
from dashboard.figures import locations as location_figures
from dashboard.figures import network as network_figures
from dashboard.pages import locations_blocks, network_blocks
from dashboard.pages.labelling import Labelling, Work
from dashboard.pages.locations_tab import WAYS, draw_where
from dashboard.pages.locations_view import SeriesLabels, locate
from dashboard.pages.network_tab import NetworkTab, draw_relations, show_pair
from dashboard.pages.network_view import FILES, Networks, name_key, save_network, weigh_settings
from dashboard.pages.own_file import OwnFile, own_file_block
from dashboard.source import AnalysisSource, Sources, load_source
from dashboard.uploads import Upload, make_name, read_uploads, show_name, worth_a_look
from text_classification.evaluation import Evaluation, ModelScore
from text_classification.labels import Label
from text_classification.scene_texts import Scene
from text_classification.uncertainty import UncertainScene
from utils.errors import DataError, UsageError
from utils.places import Place, Places

EVIL = "<img src=x onerror=alert(1)>"
LIMITS = DashboardSettings()


def quiet(done: int, total: int) -> None:
    """Nobody follows."""


def own_settings(folder: Path, editing: str = "always") -> Settings:
    settings = Settings()
    paths, app = dataclasses.replace(settings.paths, data=folder), dataclasses.replace(settings.app, editing=editing)
    return dataclasses.replace(settings, paths=paths, app=app)


def own_desk(folder: Path, editing: str = "always", changed: Callable[[], None] = lambda: None) -> Desk:
    return Desk(own_settings(folder, editing), Sources(folder), None, changed)  # type: ignore[arg-type]


@pytest.fixture
def series(sample_series: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_series, tmp_path / "series"))


# figures of the network


def changes() -> pd.DataFrame:
    rows = [
        (1, "Ada", "Bo", 9.0, 0.0, 9.0), (1, "Ada", "Cy", 4.0, 0.0, 4.0),
        (2, "Ada", "Bo", 2.0, 9.0, -7.0), (2, "Ada", "Cy", 7.0, 4.0, 3.0), (2, "Bo", "Cy", 1.0, 0.0, 1.0),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["season", "source", "target", "weight", "before", "change"])


def test_relations_by_season() -> None:
    plot = network_figures.plot_relations(changes(), "season")
    heat = plot.figure.data[0]
    assert list(heat.y) == ["Ada – Bo", "Ada – Cy", "Bo – Cy"], "those that change most come first"
    assert np.array(heat.z).tolist() == [[9, 2], [4, 7], [0, 1]]
    assert list(heat.customdata[0][1]) == ["Ada", "Bo", "Season 2"]
    assert "Greatest rise: Ada and Cy in Season 2 (+3.0, from 4.0 to 7.0)." in plot.summary
    assert "Greatest fall: Ada and Bo in Season 2 (-7.0, from 9.0 to 2.0)." in plot.summary
    assert len(plot.table) == 5
    first = network_figures.plot_relations(changes().query("season == 1"), "season")
    assert "nothing before" in first.summary


def test_a_pair_and_who_is_central() -> None:
    rows = [(1, 1, 3, 1, 0), (1, 2, 5, 2, 1)]
    table = pd.DataFrame(rows, columns=["season", "episode", "speaks", "together", "mentions"])
    plot = network_figures.plot_pair(table, "Ada", EVIL)
    assert [list(trace.y) for trace in plot.figure.data] == [[3, 5], [1, 2], [0, 1]]
    assert plot.summary == "8 turns to each other, 3 scenes together, 1 times named; most in S01E02."
    never = network_figures.plot_pair(table.assign(speaks=0, together=0, mentions=0), "Ada", "Bo")
    assert "never meet" in never.summary
    shares = pd.DataFrame([[0.5, 0.2], [0.3, 0.6]], index=["Ada", EVIL],
                          columns=pd.MultiIndex.from_tuples([(1, 1), (1, 2)]))  # fmt: skip
    central = network_figures.plot_central(shares)
    assert np.array(central.figure.data[0].z).tolist() == [[50, 20], [30, 60]]
    assert "Ada in 1 of 2 episodes" in central.summary
    assert "<img" not in json.dumps(central.spec()["data"])


# the network of a series


def test_other_weights_give_another_network_from_the_same_counts(
    series_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashboard.pages import network_view

    counted: list[str] = []
    original = network_view.count_network

    def count(*given: Any) -> Any:
        counted.append("once")
        return original(*given)

    monkeypatch.setattr(network_view, "count_network", count)
    source, networks = load_source(series_folder()), Networks(2)
    plain = networks.build_view(source, weigh_settings(NetworkSettings(), (1, 0, 0)), quiet)
    double = networks.build_view(source, weigh_settings(NetworkSettings(), (2, 0, 0)), quiet)
    assert len(plain.network.pairs) > 0
    assert (double.network.pairs["weight"] == 2 * plain.network.pairs["weight"]).all()
    assert counted == ["once"]
    nothing = networks.build_view(source, weigh_settings(NetworkSettings(), (0, -1, 0)), quiet)
    assert nothing.network.pairs.empty
    assert "Nobody has an edge" in network_figures.plot_central(nothing.central).summary
    with pytest.raises(UsageError):
        save_network(plain, "../../etc/passwd")
    assert {label: save_network(plain, label)[1] for label in FILES if "CSV" in label or label == "GEXF, for Gephi"}


def test_the_network_is_another_when_a_name_is(series_folder: Callable[..., Path]) -> None:
    source = load_source(series_folder())
    cast = type(source.cast)(
        [dataclasses.replace(each, aliases=(*each.aliases, f"{each.name}y")) for each in source.cast]
    )
    assert name_key(source) != name_key(dataclasses.replace(source, cast=cast))


def test_a_name_is_accepted_and_taken_back(series: Path) -> None:
    told: list[str] = []
    tab = NetworkTab(own_desk(series, changed=lambda: told.append("changed")))
    before = (series / "characters.jsonl").read_bytes()
    alias = tab.accept("Pask", "Kit", [])
    assert "Pask is Kit now." in alias["names_hint"]
    new = tab.accept("Coast Board", "", alias["undone"])
    assert {"Coast Board", "Pask"} <= {name for each in load_source(series).cast for name in (each.name, *each.aliases)}
    with pytest.raises(DataError):
        tab.accept("Pask", "Grell", new["undone"])
    back = tab.undo(tab.undo(new["undone"])["undone"])
    assert (series / "characters.jsonl").read_bytes() == before
    assert (back["undone"], len(told)) == ([], 4)
    with pytest.raises(UsageError):
        tab.undo([])
    for wrong in (("", ""), (None, ""), ("Pask", 3)):
        with pytest.raises(UsageError):
            tab.accept(*wrong, [])


def test_who_may_not_edit_gets_no_buttons(series: Path) -> None:
    tab = NetworkTab(own_desk(series, "never"))
    with pytest.raises(UsageError, match="not accepted"):
        tab.accept("Pask", "", [])
    suggested = [Suggestion(EVIL, 3, "a name in the lines", (EVIL,), "Kit")]
    assert "data-pick" not in network_blocks.suggestions_block(suggested, False)
    html = network_blocks.suggestions_block(suggested, True)
    assert html.count("data-pick") == 2
    assert "<img" not in html


def test_the_frame_gets_its_data_as_text() -> None:
    html = network_frame.frame_block({"note": "</pre><script>alert(1)</script>"}, EVIL)
    assert "<script" not in html
    assert "<img" not in html
    page = network_frame._page()
    assert page.count(json.dumps(network_frame.HOLE)) == 1
    assert not re.search(r"""(?:src|href)\s*=\s*["']?https?:|url\(["']?https?:|@import""", page), "nothing is loaded"
    assert network_frame._address() in network_frame.frame_script()


# figures of locations


def where() -> pd.DataFrame:
    rows = [("Ada", "Quay", 6, 0.6), ("Bo", "Inn", 3, 1.0), ("Ada", EVIL, 2, 0.2)]
    return pd.DataFrame(rows, columns=["speaker", "location", "lines", "share"])


def test_who_is_where_as_map_and_flow() -> None:
    plot = location_figures.plot_matrix(where(), 5)
    assert np.array(plot.figure.data[0].z).tolist() == [[60, 0, 20], [0, 100, 0]]
    assert "Ada most often at Quay (60 % of the lines)" in plot.summary
    flow = location_figures.plot_flows(where()).figure.data[0]
    pairs = [(flow.node.label[a], flow.node.label[b]) for a, b in zip(flow.link.source, flow.link.target, strict=True)]
    assert pairs[:2] == [("Ada", "Quay"), ("Bo", "Inn")]
    assert list(flow.link.value) == [6, 3, 2]
    assert "<img" not in json.dumps([plot.spec()["data"], location_figures.plot_flows(where()).spec()["data"]])


def test_moves_and_episodes() -> None:
    moves = pd.DataFrame([("Quay", "Inn", 3), ("Inn", "Inn", 2)], columns=["from", "to", "count"])
    plot = location_figures.plot_moves(moves)
    assert list(plot.figure.data[0].y) == ["Inn", "Quay"]
    assert np.array(plot.figure.data[0].z).tolist() == [[2, 0], [3, 0]]
    assert plot.summary == "Most often Quay to Inn (3)."
    assert "No two scenes" in location_figures.plot_moves(moves.head(0)).summary
    rows = [(1, 1, "Quay", 30), (1, 1, "Unknown", 10), (1, 2, "Inn", 5)]
    frame = pd.DataFrame(rows, columns=["season", "episode", "location", "lines"])
    bars = location_figures.plot_episodes(frame)
    assert {trace.name: list(trace.y) for trace in bars.figure.data} == {
        "Quay": [75, 0], "Inn": [0, 100], "Unknown": [25, 0],
    }  # fmt: skip
    assert "Of 22 % the place is not known." in bars.summary
    many = pd.DataFrame([(1, 1, f"P{at}", 20 - at) for at in range(12)], columns=frame.columns)
    assert [trace.name for trace in location_figures.plot_episodes(many).figure.data][-2:] == ["P6", "other places"]


def score(model: str, low: float, middle: float, high: float) -> ModelScore:
    return ModelScore(model, middle, low, high, 0.5, 0.1, 0.1, 0.5, 0.6)


@pytest.mark.parametrize(
    ("low", "middle", "high", "told"),
    [(0.5, 0.6, 0.7, "Better than base"), (0.2, 0.4, 0.6, "the intervals overlap"), (0.1, 0.2, 0.3, "No better than")],
)
def test_the_verdict_is_honest(low: float, middle: float, high: float, told: str) -> None:
    models = (score("tfidf", low, middle, high), score("mentions", 0.2, 0.3, 0.4), score("majority", 0, 0.1, 0.2))
    found = Evaluation(40, 6, 0.9, 0.3, models, (), ())
    assert told in locations_blocks.verdict(found)
    html = locations_blocks.evaluation_block(found)
    assert "The place with the most labels" in html
    assert "0.20 to 0.40" in html
    alone = dataclasses.replace(found, models=models[1:])
    assert "Nothing is trained" in locations_blocks.verdict(alone)


# labels


def case(number: int, place: str = "Quay") -> UncertainScene:
    return UncertainScene(Scene(1, 1, number, 10 * number, (("Ada", EVIL),)), 0.9, ((place, 0.5),))


def test_scenes_are_labelled_skipped_and_taken_back(series: Path) -> None:
    desk = own_desk(series)
    labels = SeriesLabels(desk.settings)
    acts, work = Labelling(desk, labels), Work((case(1), case(2), case(3)), (), ("The Quay",))
    after = acts.save(work, "The Quay", "")["work"]
    after = acts.skip(after)["work"]
    last = acts.save(after, "The Quay", " A  cellar ")
    places = Places([Place("The Quay")])
    kept = [(each.scene, each.location) for each in labels.list(places)]
    assert kept == [(1, "The Quay"), (3, "A cellar")]
    assert "A cellar" in last["work"].places
    assert "These are through" in last["scene"]
    work = last["work"]
    for _ in range(3):
        work = acts.undo(work)["work"]
    assert labels.list(places) == []
    assert [each.scene.scene for each in work.queue] == [1, 2, 3]
    for place, other in ((None, ""), ("", "x" * 101), ("", "a\x00b")):
        with pytest.raises(UsageError):
            acts.save(work, place, other)
    with pytest.raises(UsageError, match="not labelled"):
        Labelling(own_desk(series, "never"), labels).save(work, "The Quay", "")
    assert "<img" not in locations_blocks.scene_block(case(1), 0)


def test_a_label_that_replaces_another_gives_it_back(tmp_path: Path) -> None:
    labels, places = SeriesLabels(own_settings(tmp_path)), Places()
    old, new = Label(1, 1, 1, 0, "Quay"), Label(1, 1, 1, 0, "Inn")
    assert labels.add(old, places) is None
    before = labels.add(new, places)
    assert before == old
    labels.take_back(new, before, places)
    assert list(labels.list(places)) == [old]


def test_an_imported_file_is_taken_whole_or_told_by_name_and_row(tmp_path: Path) -> None:
    labels, places = SeriesLabels(own_settings(tmp_path)), Places([Place("Quay")])
    head = b"season,episode,scene,first_position,location\n"
    assert labels.take_over(head + b"1,1,1,0,quay\n", "mine.csv", places).added == 1
    for row, told in ((b"1,1,2,0,Nowhere\n", "no place 'Nowhere'"), (b"1,x,2,0,Quay\n", "episode is 'x'")):
        with pytest.raises(DataError) as raised:
            labels.take_over(head + b"1,1,3,0,Quay\n" + row, "mine.csv", places)
        assert str(raised.value).startswith("mine.csv, row 3: ")
        assert told in str(raised.value)
        assert tempfile.gettempdir() not in str(raised.value)
    assert [each.scene for each in labels.list(places)] == [1]
    labels.add(Label(1, 1, 9, 0, "Cellar"), places)
    assert labels.take_over(head + b"1,1,8,0,Cellar\n", "mine.csv", places).added == 1, "a labelled place is known"


# own files


def test_own_files_are_read_under_names_that_are_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = "name,line\nAda,Hello there.\n,,,\nBo,{}\n"
    evil = f"..\\..\\S01E03 {EVIL}\u202e.csv"
    uploads = [Upload(evil, rows.format(EVIL).encode()), Upload("/etc/2x07.CSV", rows.encode()), Upload("e.srt", b"")]
    source = read_uploads(uploads, LIMITS)
    assert list(tmp_path.iterdir()) == [], "nothing stays on the disk"
    found = source.lines[["season", "episode", "speaker"]].to_numpy().tolist()
    assert found == [[1, 3, "Ada"], [1, 3, "Bo"], [2, 7, "Ada"], [2, 7, "Bo"]]
    assert source.folder is None
    assert set(source.lines["source"]) == {f"S01E03 {EVIL}.csv", "2x07.CSV"}
    assert [(note.file, note.row) for note in worth_a_look(source.report)][:2] == [  # type: ignore[arg-type]
        ("e.srt", 0), (f"S01E03 {EVIL}.csv", 3),
    ]  # fmt: skip
    html = own_file_block(source)
    assert "<img" not in html
    assert "S01E03 &lt;img" in html


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("S01E02.csv", "file0001 s01e02.csv"), ("chapter 7.SRT", "file0001 episode 7.srt"),
        ("12 x.csv", "file0001 episode 12.csv"),
        ("../../etc/passwd.csv", "file0001.csv"), (".csv.csv", "file0001.csv"), ("a\x00b.srt", "file0001.srt"),
    ],
)  # fmt: skip
def test_names_for_the_disk(name: str, made: str) -> None:
    assert make_name(1, name) == made
    assert len(show_name("x" * 5000 + ".csv")) == 80


def test_what_is_too_much_or_no_lines_is_told() -> None:
    small = dataclasses.replace(LIMITS, upload_file_mb=0.01, upload_files=2, upload_rows=20)
    row = b"name,line\nAda,Hello there.\n"
    for uploads, told in (
        ([], "no file"), ([Upload("a.csv", row)] * 3, "3 files are too many"),
        ([Upload("a.exe", row)], "a.exe is neither"),
        ([Upload("a.csv", b"x" * 10_001)], "a.csv has 0.0 MB"), ([Upload("a.csv", row * 20)], "rows"),
        ([Upload("a.csv", b"")], "a.csv: empty"), ([Upload("b.srt", b"Hello\n")], "b.srt: no time line"),
    ):  # fmt: skip
        with pytest.raises(DataError) as raised:
            read_uploads(uploads, small)
        assert told in str(raised.value)
        assert "file0001" not in str(raised.value)
        assert tempfile.gettempdir() not in str(raised.value)


def test_files_of_the_series_have_its_names(series: Path) -> None:
    like = load_source(series)
    alias = next(who.aliases[0] for who in like.cast if who.aliases)
    upload = Upload("a.csv", f"name,line\n{alias},Hello there.\n".encode())
    assert read_uploads([upload], LIMITS).lines["speaker"].tolist() == [alias]
    ours = read_uploads([upload], LIMITS, like)
    assert ours.lines["speaker"].tolist() == [like.cast.resolve(alias)]
    assert len(ours.places) > 0


def test_files_in_which_nobody_has_a_name_can_be_looked_at(tmp_path: Path) -> None:
    cue = "1\n00:00:01,000 --> 00:00:02,000\nHello there.\n\n2\n00:00:03,000 --> 00:00:04,000\nWho is it?\n"
    source = read_uploads([Upload("S01E01.srt", cue.encode())], LIMITS)
    network = Networks(1).build_view(source, NetworkSettings(), quiet)
    assert network.names == []
    assert "Nobody has an edge" in network_figures.plot_central(network.central).summary
    assert draw_relations(network, "Seasons").startswith('<p class="hint"')
    assert "no pair" in show_pair(network, None, None)["pair"]
    assert "0 people" in network_blocks.method_block(network)
    assert "<tbody></tbody>" in network_blocks.people_block(network.network.people)
    settings = own_settings(tmp_path)
    located = locate(source, SeriesLabels(settings), settings, quiet)
    assert "No place is known yet" in draw_where(located, WAYS[0], 20)
    assert "Of 100 % the place is not known" in location_figures.plot_episodes(located.results.frame).summary
    assert "not labelled" in Labelling(own_desk(tmp_path), SeriesLabels(settings)).begin(located)["notice"]


def test_uploaded_files_are_deleted_and_what_was_found_is_forgotten(tmp_path: Path) -> None:
    desk = own_desk(tmp_path)
    acts, file = OwnFile(desk), tmp_path / "a.csv"
    file.write_text("name,line\nAda,Hello there.\n", encoding="utf-8")
    source, told = acts.take(None, [str(file)], False)
    assert source is not None
    assert not file.exists()
    assert "You look at your own file: a.csv" in told
    analyses: Analyses[int] = Analyses(4)

    async def analyse(chosen: AnalysisSource) -> None:
        async for _ in desk.analyse(analyses, chosen, lambda found: found.key, lambda found, progress: 1):
            pass

    asyncio.run(analyse(source))
    assert analyses.get(source.key) is not None
    acts.back(source)
    assert analyses.get(source.key) is None
    broken = tmp_path / "b.csv"
    broken.write_bytes(b"")
    kept, told = acts.take(source, [str(broken)], False)
    assert kept is source
    assert "b.csv: empty" in told


def test_what_is_still_computed_is_forgotten_too() -> None:
    analyses: Analyses[str] = Analyses(4)

    def work(progress: Callable[[int, int], None]) -> str:
        time.sleep(0.4)
        return "done"

    async def run() -> None:
        steps = analyses.follow("key", work, "visitor")
        await anext(steps)
        analyses.forget("visitor")
        async for _ in steps:
            pass

    asyncio.run(run())
    assert analyses.get("key") is None
