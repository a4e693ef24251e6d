"""Labels of locations: the store, the CSV files, and which scene a label belongs to."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from text_classification.labels import Label, LabelStore, choose_label_file, match_labels, read_labels
from text_classification.scene_texts import Scene
from utils.errors import DataError
from utils.places import Place, Places
from utils.series import LOCATION_LABELS, load_lines, series_files

PLACES = Places([Place("Kitchen", ("the kitchen",)), Place("Harbour")])
HEADING = "season,episode,scene,first_position,location\n"


def test_labels_are_added_replaced_listed_and_removed(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "new" / "labels.csv", PLACES)
    assert list(store.list()) == []
    store.add(Label(1, 2, 3, 40, "THE KITCHEN"))
    store.add(Label(1, 1, 1, 0, "Harbour"))
    store.add(Label(1, 2, 3, 40, "Harbour"))
    assert store.list() == [Label(1, 1, 1, 0, "Harbour"), Label(1, 2, 3, 40, "Harbour")]
    assert store.remove(1, 2, 3)
    assert not store.remove(1, 2, 3)
    assert store.file.read_text() == HEADING + "1,1,1,0,Harbour\n"


def test_a_file_goes_out_and_comes_back(tmp_path: Path) -> None:
    one, other = LabelStore(tmp_path / "a.csv", PLACES), LabelStore(tmp_path / "b.csv", PLACES)
    one.add(Label(1, 1, None, 20, "Kitchen"))
    one.add(Label(1, 1, 1, None, "Harbour"))
    one.export(tmp_path / "out.csv")
    taken = other.import_csv(tmp_path / "out.csv")
    assert (taken.added, taken.same, taken.changed) == (2, 0, ())
    assert other.list() == one.list()
    (tmp_path / "new.csv").write_text("location,note,EPISODE,season,scene\nKitchen,x,1.0,1,1\n,,1,1,2\n")
    taken = other.import_csv(tmp_path / "new.csv")
    assert taken.changed == ("S01E01 scene 1: Kitchen, before Harbour",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEADING + "1,1,1,,Kitchen\n1,1,x,,Kitchen\n", "row 3: scene is 'x'"),
        (HEADING + "1,,1,,Kitchen\n", "row 2: episode is ''"),
        (HEADING + "1,1,,,Kitchen\n", "row 2: neither a scene nor"),
        (HEADING + "1,1,1,,Kichen\n", "row 2: no place 'Kichen'"),
        (HEADING + "1,1,1,,Kitchen\n1,1,1,,Harbour\n", "row 3: S01E01 scene 1 is at Harbour, but row 2 says Kitchen"),
        ("season,scene\n1,1\n", "row 1: no column episode and location"),
        ("", "row 1: no column"),
        (HEADING + '1,1,1,,"Kit\n', "cannot be read"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_is_taken(tmp_path: Path, text: str, told: str) -> None:
    store = LabelStore(tmp_path / "labels.csv", PLACES)
    store.add(Label(1, 9, 9, None, "Harbour"))
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(DataError, match=r"mine\.csv") as caught:
        store.import_csv(tmp_path / "mine.csv")
    assert told in str(caught.value)
    assert len(store.list()) == 1


def test_the_nearest_place_is_offered_and_a_new_one_may_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(HEADING + "1,1,1,,Kichen\n")
    with pytest.raises(DataError, match=r"Did you mean Kitchen\?"):
        read_labels(tmp_path / "mine.csv", PLACES)
    assert read_labels(tmp_path / "mine.csv", PLACES, allow_new=True)[0].location == "Kichen"
    assert read_labels(tmp_path / "mine.csv", Places())[0].location == "Kichen"  # no list to check against
    with pytest.raises(DataError, match="no name of a place"):
        LabelStore(tmp_path / "l.csv", allow_new=True).add(Label(1, 1, 1, 0, "x" * 101))


def test_two_who_label_at_once_lose_nothing(tmp_path: Path) -> None:
    def label(episode: int) -> None:
        for scene in range(1, 9):
            LabelStore(tmp_path / "labels.csv", PLACES).add(Label(1, episode, scene, None, "Kitchen"))

    threads = [threading.Thread(target=label, args=(episode,)) for episode in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(LabelStore(tmp_path / "labels.csv", PLACES).list()) == 16


def scene(number: int, first: int, marked: bool) -> Scene:
    return Scene(1, 1, number, first, (("A", "Hi."),), marked)


def test_a_label_finds_its_scene() -> None:
    marked, cut = [scene(1, 0, True), scene(2, 25, True)], [scene(1, 0, False), scene(2, 20, False)]
    by_number, by_position = Label(1, 1, 2, 20, "Harbour"), Label(1, 1, None, 20, "Harbour")
    assert match_labels([by_number], marked) == (
        {(1, 1, 2): "Harbour"},
        [],
    )  # lines were added before: the number counts
    assert match_labels([by_position], cut) == ({(1, 1, 2): "Harbour"}, [])
    moved = Label(1, 1, 2, 10, "Harbour")  # made with stretches of 10 lines
    assert match_labels([moved], cut) == ({}, ["The label of S01E01 scene 2 (Harbour) fits no scene."])
    assert match_labels([Label(1, 1, 2, None, "Harbour")], cut)[0] == {(1, 1, 2): "Harbour"}


def test_the_series_own_labels_come_first_and_are_no_lines(tmp_path: Path) -> None:
    series, out = tmp_path / "series", tmp_path / "out"
    series.mkdir()
    assert choose_label_file(series, out) == out / LOCATION_LABELS
    (series / LOCATION_LABELS).write_text(HEADING + "1,1,1,,Kitchen\n")
    (series / "S01E01.csv").write_text("name,line\nAda,Hello.\n")
    assert choose_label_file(series, out) == series / LOCATION_LABELS
    lines, report = load_lines(series)
    assert (len(lines), report.skipped) == (1, [])
    assert LOCATION_LABELS in series_files(series)  # it goes where the series goes
