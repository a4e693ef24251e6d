"""Characters: names, aliases and the errors of characters.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.characters import LONGEST_RESOLVED, MOST_RESOLVED, Cast, Character, load_cast
from utils.errors import DataError, UnknownCharacter

CAST = Cast(
    [
        Character("Hopper", ("Jim", "Jim Hopper", "Chief"), "Gruff.", ("No.",)),
        Character("Renée", ("Dr. Lamb",)),
        Character("O'Brien"),
    ]
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Hopper", "Hopper"),
        ("  jim   HOPPER ", "Hopper"),
        ("CHIEF:", "Hopper"),
        ("Hopper's", "Hopper"),
        ("Hopper’s", "Hopper"),
        ("Chief Hopper", "Hopper"),
        ("Chief Jim Hopper.", "Hopper"),
        ("Sheriff Jim", "Hopper"),
        ("RENEE", "Renée"),
        ("Rene\u0301e", "Renée"),
        ("dr lamb", "Renée"),
        ("OBrien", "O'Brien"),
        ("O’Brien", "O'Brien"),
        ("Mr. O'Brien's", "O'Brien"),
        (" Steve ", "Steve"),
        ("Man 1", "Man 1"),
        ("Unknown Soldier", "Unknown Soldier"),
        ("unknown", "Unknown"),
        ("UNKNOWN:", "Unknown"),
        ("unidentified", "Unknown"),
        ("?", "Unknown"),
        ("", "Unknown"),
    ],
)
def test_resolve_finds_a_character_under_any_spelling(name: str, expected: str) -> None:
    assert CAST.resolve(name) == expected
    assert CAST.resolve(name) == expected  # from the cache


def test_get_returns_the_character_and_names_the_nearest_otherwise() -> None:
    assert CAST.get("chief").persona == "Gruff."
    assert "jim" in CAST
    assert "Steve" not in CAST
    assert [who.name for who in CAST] == ["Hopper", "Renée", "O'Brien"]
    with pytest.raises(UnknownCharacter, match="Did you mean Hopper"):
        CAST.get("Hoper")


def test_speakers_join_the_cast_under_their_most_common_spelling() -> None:
    counts = pd.Series({"Jim": 90, "STEVE": 3, "Steve": 7, "steve.": 2, "Unknown": 50, "Man 1": 1, "Lucas": 20, "?": 4})
    cast = CAST.with_speakers(counts)
    assert cast.names == ("Hopper", "Renée", "O'Brien", "Lucas", "Steve", "Man 1")
    assert cast.resolve("STEVE") == cast.resolve("steve.") == cast.resolve("Steve's") == "Steve"
    assert cast.get("Steve") == Character("Steve")
    assert len(CAST) == 3


def test_names_that_visitors_think_of_do_not_fill_the_memory() -> None:
    cast = Cast([Character("Hopper")])
    assert cast.resolve("x" * 100_000) == "x" * 100_000
    for number in range(MOST_RESOLVED + 10):
        cast.resolve(f"nobody {number}")
    assert len(cast._resolved) == MOST_RESOLVED
    assert max(map(len, cast._resolved)) <= LONGEST_RESOLVED
    assert cast.resolve("hopper") == "Hopper"


@given(st.lists(st.text(max_size=12), max_size=12))
def test_any_speakers_resolve_to_a_name_of_the_cast_or_unknown(names: list[str]) -> None:
    cast = CAST.with_speakers(pd.Series(names, dtype="object").value_counts())
    for name in names:
        resolved = cast.resolve(name)
        assert resolved == "Unknown" or cast.get(name).name == resolved
        assert cast.resolve(resolved) == resolved


def test_a_cast_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "characters.jsonl"
    rows = [
        {"name": "Max", "aliases": ["Mad  Max"], "persona": " Tough. ", "example_lines": ["No.", ""], "actor": "S"},
        {"name": "El"},
    ]
    file.write_text("\ufeff\n" + "\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    assert list(load_cast(file)) == [Character("Max", ("Mad Max",), "Tough.", ("No.",)), Character("El")]


def test_a_missing_file_is_an_empty_cast(tmp_path: Path) -> None:
    assert len(load_cast(tmp_path / "characters.jsonl")) == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "row 2: no valid JSON"),
        ("[" * 100_000, "row 2: no valid JSON"),
        ("[1]", "row 2: '\\[1\\]' is no object"),
        ("{}", "row 2: 'name' is missing or empty"),
        ('{"name": "?"}', "row 2: 'name' is missing or empty"),
        ('{"name": 3}', "row 2: 'name' is 3, which is not a text"),
        ('{"name": "A", "aliases": "B"}', "row 2: 'aliases' is 'B', which is not a list of texts"),
        ('{"name": "A", "aliases": [1]}', "row 2: 'aliases'"),
        ('{"name": "A", "persona": null}', "row 2: 'persona' is None"),
        ('{"name": "A", "alias": ["B"]}', "row 2: unknown key 'alias'.\n  The nearest is 'aliases'"),
        ('{"name": "A", "aliases": ["mad max"]}', "row 2: 'mad max' is a name of both Max and A"),
        ('{"name": "MAX"}', "row 2: 'MAX' is a name of both Max and MAX"),
        ('{"name": "Max"}', "row 2: 'Max' is described twice"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "characters.jsonl"
    file.write_text('{"name": "Max", "aliases": ["Mad Max"]}\n' + row, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        load_cast(file)
    assert str(file) in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path, tmp_path / "bad.jsonl"):
        with pytest.raises(DataError, match="cannot be read"):
            load_cast(file)
