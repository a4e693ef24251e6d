"""A series of one's own: accents, an apostrophe, markup, a very long name, one speaker only, an empty file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from utils.command_line import run_command
from utils.errors import DataError

LONG = "Maximiliana Theodora Aurelia von Hohenstein-Sonderburg zu Untergröningen the Younger of the Lake"
FIRST = f"""name,line
Zoë,"Where is O'Brien? I have no hope left, Søren."
O'Brien,"Here I am, Zoë. I fear the dark."
<b>Bold</b>,"I am <b>loud</b> & proud, <script>alert(1)</script> friends."
{LONG},"We are family, O'Brien. I trust you."
Søren,"Zoë, come home."
"""
THIRD = "1\n00:00:01,000 --> 00:00:03,000\nZOË: <i>Søren?</i> Are you there?\n"


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STRANGER_PATHS__LOGS", str(tmp_path / "logs"))
    folder = tmp_path / "my odd show"
    folder.mkdir()
    (folder / "S01E01.csv").write_text(FIRST, encoding="utf-8")
    alone = "".join(f'Zoë,"I speak alone, number {at}. Hope and fear."\n' for at in range(6))
    (folder / "S01E02.csv").write_text(f"name,line\n{alone}", encoding="utf-8")
    (folder / "S01E03.srt").write_text("", encoding="utf-8")
    (folder / "S01E04.srt").write_text(THIRD, encoding="utf-8")
    return folder


def test_an_episode_that_carries_no_theme_says_none(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from theme_classifier.__main__ import main

    given = ["--data", str(odd), "--out", str(odd / "o"), "--model", "lexical", "--themes", "Hope,Despair"]
    assert run_command(main, given) == 0
    rows = {row.split()[0]: row for row in capsys.readouterr().out.splitlines() if row.startswith("S01")}
    assert "Zoë: I speak alone" in rows["S01E02"]
    assert rows["S01E04"].split() == ["S01E04", "none"]


def test_without_any_place_a_scene_is_unknown_and_the_next_commands_are_whole(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from text_classification.__main__ import main

    assert run_command(main, ["--data", str(odd), "--out", str(odd / "o")]) == 0
    said = capsys.readouterr().out
    assert "Unknown " in said
    assert "idea" not in said
    command = f"python -m text_classification --data '{odd}' --out '{odd / 'o'}'"
    assert f"{command} --label-next 10 shows scenes to label; {command} --labels FILE.csv reads" in said


def test_odd_names_stay_whole_in_the_network(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from character_network.__main__ import main

    given = ["--data", str(odd), "--out", str(odd / "o"), "--pair", "zoë", "o'brien"]
    assert run_command(main, given) == 0
    found = json.loads((odd / "o" / "network.json").read_text(encoding="utf-8"))
    assert {row["id"] for row in found["nodes"]} == {"Zoë", "O'Brien", "Søren", "<b>Bold</b>", LONG}
    assert "<b>Bold</b>" not in (odd / "o" / "network.html").read_text(encoding="utf-8")
    accept = f"accept one:  python -m character_network --data '{odd}' --accept NAME"
    assert accept in capsys.readouterr().out
    assert run_command(main, ["--data", str(odd), "--alias-of", "Zoë"]) == 2
    assert f"--data '{odd}' --alias-of 'Zoë' --accept NAME" in capsys.readouterr().err


def test_the_report_escapes_what_stands_in_names_and_lines(odd: Path) -> None:
    import training_pipeline

    out = odd / "r.html"
    given = ["report", "--data", str(odd), "--out", str(out), "--theme-model", "lexical", "--sections", "series,themes"]
    assert run_command(training_pipeline.main, given) == 0
    text = out.read_text(encoding="utf-8")
    assert "<b>Bold</b>" not in text
    assert "<script>alert" not in text
    assert "O&#x27;Brien" in text


def test_a_visitors_file_in_which_nobody_speaks_is_told_by_its_numbers() -> None:
    from config import DashboardSettings
    from dashboard.uploads import Upload, read_uploads

    with pytest.raises(DataError) as caught:
        read_uploads([Upload("x.csv", b'name,line\nA,""\n')], DashboardSettings())
    assert caught.value.what == "no line of speech in your files (files: 1, rows: 1)."
