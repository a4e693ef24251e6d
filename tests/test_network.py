"""People under all their names, edges of three kinds, measures, and the files and pages made of them."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import pandas as pd
import pytest

from character_network import NamedEntityRecognizer
from character_network.__main__ import main, write_all
from character_network.acceptance import accept_suggestion, undo_acceptance
from character_network.network import CharacterNetworkGenerator, Network, build_network_of
from character_network.page import build_page, build_page_data
from character_network.places import load_place_names
from character_network.ties import KINDS
from character_network.timelines import central_shares
from config import NetworkSettings
from utils.announcements import Announcements
from utils.characters import Cast, Character, load_cast
from utils.errors import DataError, UnknownCharacter, UsageError
from utils.lines import build_frame

PROJECT = Path(__file__).resolve().parent.parent
DATA, SAMPLE = PROJECT / "data", PROJECT / "data" / "sample_series"


@pytest.fixture(scope="module")
def stranger() -> NamedEntityRecognizer:
    return NamedEntityRecognizer(load_cast(DATA / "characters.jsonl"), load_place_names(DATA / "locations.jsonl"))


@pytest.fixture(scope="module")
def sample() -> Network:
    return CharacterNetworkGenerator().generate_for(SAMPLE)


def named(recognizer: NamedEntityRecognizer, text: str, **where: object) -> list[str]:
    return [mention.candidates[0] for mention in recognizer.find_mentions(text, **where)]  # type: ignore[arg-type]


def test_every_alias_of_every_character_is_one_person(stranger: NamedEntityRecognizer) -> None:
    for character in stranger.cast:
        for name in (character.name, *character.aliases):
            assert stranger.person(name) == character.name
            for text in (f"I saw {name} today.", f"I took {name}'s coat."):
                assert named(stranger, text) == [character.name], text


def test_no_place_is_a_person(stranger: NamedEntityRecognizer) -> None:
    for place in load_place_names(DATA / "locations.jsonl"):
        assert named(stranger, f"They were seen at {place}.") == [], place


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("Will you come?", []),
        ("Will! Will's bike is gone, Will.", ["Will"] * 3),
        ("Will is late. We will wait for Will.", ["Will", "Will"]),
        ("Hop on, Jane.", ["Eleven"]),
        ("Hop, listen. Hop in.", ["Hopper"]),
        ("Chief Hopper left. Yes, Chief. The chief left.", ["Hopper", "Hopper"]),
        ("One, two, three. One knows. At eleven, Eleven left.", ["Eleven"]),
        ("Benny's late. Meet me at Benny's.", ["Benny"]),
        ("Mrs Wheeler and Mr. Clarke were at Hopper’s Cabin with Hopper’s gun.", ["Karen", "Clarke", "Hopper"]),
        ("The wheelers of dustin-like fame.", []),
    ],
)
def test_a_word_that_is_also_a_name_needs_evidence(
    stranger: NamedEntityRecognizer, text: str, people: list[str]
) -> None:
    assert named(stranger, text) == people


def test_a_name_of_several_is_resolved_by_the_scene(stranger: NamedEntityRecognizer) -> None:
    assert named(stranger, "Hey, Wheeler!", speaker="Steve", present={"Steve", "Nancy"}) == ["Nancy"]
    assert named(stranger, "Hey, Wheeler!", speaker="Mike", present={"Mike", "Nancy"}) == ["Nancy"]
    assert named(stranger, "Hey, Wheeler!", speaker="Steve", present={"Mike", "Nancy"}) == []
    johns = NamedEntityRecognizer(Cast([Character("John Reed"), Character("John Holm")]))
    assert named(johns, "Ask John.", present={"John Holm"}) == ["John Holm"]
    assert named(johns, "Ask John.", speaker="John Reed") == ["John Holm"]


def test_mentions_of_many_texts_are_those_of_each(stranger: NamedEntityRecognizer) -> None:
    texts = ["Mike", "", "Tell Dr.", "Owens and Nancy\nWheeler", "Lucas!"]
    together = [[(m.candidates, m.start, m.end) for m in found] for found in stranger.find_all(texts)]
    assert together == [[(m.candidates, m.start, m.end) for m in stranger._finder.find(text)] for text in texts]
    assert [len(found) for found in together] == [1, 0, 0, 2, 1]


def speakers_of(lines: pd.DataFrame, cast: Cast | None = None) -> Cast:
    return (cast or Cast()).with_speakers(lines["speaker"].value_counts())


def frame(*turns: tuple[int, int, str, str]) -> pd.DataFrame:
    rows = [(1, e, s, at, who, line, float("nan"), float("nan"), "a.csv") for at, (e, s, who, line) in enumerate(turns)]
    return build_frame(rows)


def test_new_names_are_suggested_and_likeness_is_told() -> None:
    cast = Cast([Character("Dmitri", ("Enzo",)), Character("Will", ("William",))])
    lines = frame(*[(1, 1, "Guard Seven", "Tell Dimitri that Bowie sings on Monday in Hawkins.")] * 3)
    found = {s.name: s for s in NamedEntityRecognizer(speakers_of(lines, cast), ["Hawkins"]).suggest_names(lines)}
    assert set(found) == {"Guard Seven", "Dimitri", "Bowie"}
    assert (found["Dimitri"].alias_of, found["Bowie"].alias_of, found["Bowie"].count) == ("Dmitri", "", 3)
    assert found["Bowie"].examples == ("Tell Dimitri that Bowie sings on Monday in Hawkins.",)
    assert NamedEntityRecognizer(cast).suggest_names(lines, minimum=4) == []


def test_three_kinds_of_edges_are_kept_apart() -> None:
    lines = frame(
        (1, 1, "Ada", "Bo, where is Cy?"), (1, 1, "Bo", "Gone."), (1, 1, "All", "Gone!"), (1, 1, "Ada", "Oh."),
        (1, 2, "Cy", "I am here."), (1, 2, "Unknown", "Who?"), (1, 2, "Bo", "Cy!"),
        (2, 1, "Cy", "Ada?"), (2, 1, "Ada", "Yes."),
    )  # fmt: skip
    cast = Cast([Character("Ada"), Character("Bo"), Character("Cy")])
    network = CharacterNetworkGenerator().generate(lines, NamedEntityRecognizer(cast))
    ties = {(k, a, b): n for k, a, b, _, _, n in network.ties[network.ties["episode"] == 1].itertuples(index=False)}
    assert ties == {
        ("speaks", "Ada", "Bo"): 1, ("together", "Ada", "Bo"): 1, ("together", "Bo", "Cy"): 1,
        ("mentions", "Ada", "Bo"): 1, ("mentions", "Ada", "Cy"): 1, ("mentions", "Bo", "Cy"): 1,
    }  # fmt: skip
    assert network.graph["Ada"]["Bo"]["weight"] == 1 + 3 + 1
    assert network.timeline("Ada", "Cy")[list(KINDS)].to_numpy().tolist() == [[0, 0, 1], [2, 1, 1]]
    assert set(network.directed("mentions").edges) == {("Ada", "Bo"), ("Ada", "Cy"), ("Bo", "Cy"), ("Cy", "Ada")}
    only = CharacterNetworkGenerator(NetworkSettings(speaks_weight=0, together_weight=0)).generate(
        lines, NamedEntityRecognizer(cast)
    )
    assert sorted(only.graph.edges) == [("Ada", "Bo"), ("Ada", "Cy"), ("Cy", "Bo")] or only.graph.number_of_edges() == 3


def test_where_nobody_is_known_to_speak_people_meet_by_their_names() -> None:
    lines = frame((1, 1, "Unknown", "Ada, this is Bo."), (1, 1, "Unknown", "Hello."))
    network = CharacterNetworkGenerator().generate(
        lines, NamedEntityRecognizer(Cast([Character("Ada"), Character("Bo")]))
    )
    assert network.ties.to_numpy().tolist() == [["together", "Ada", "Bo", 1, 1, 1]]


def test_measures_are_seeded_and_by_season_and_episode(sample: Network) -> None:
    assert sample.people["person"].head(2).tolist() == ["Kit", "Grell"]
    assert sample.people["pagerank"].sum() == pytest.approx(1)
    again = CharacterNetworkGenerator().generate_for(SAMPLE)
    pd.testing.assert_frame_equal(again.people, sample.people)
    assert set(sample.central_by_season["season"]) == {1, 2}
    assert len(sample.central_by_episode[["season", "episode"]].drop_duplicates()) == 10
    assert "Unknown" not in sample.graph


def test_files_open_again_as_the_same_graph(sample: Network, tmp_path: Path) -> None:
    files = {file.name: file for file in write_all(sample, tmp_path / "new" / "out", [("Kit", "Mr Grell")])}
    graph = sample.graph
    read = [nx.read_graphml(files["network.graphml"]), nx.read_gexf(files["network.gexf"])]
    read.append(nx.node_link_graph(json.loads(files["network.json"].read_text()), edges="edges"))
    for other in read:
        assert set(other) == set(graph) and other.number_of_edges() == graph.number_of_edges()
        assert other["Kit"]["Grell"]["weight"] == graph["Kit"]["Grell"]["weight"]
        assert other.nodes["Kit"]["community"] == graph.nodes["Kit"]["community"]
    with files["edges.csv"].open() as rows:
        assert len(list(csv.DictReader(rows))) == graph.number_of_edges()
    assert files["network.png"].read_bytes().startswith(b"\x89PNG")
    for name in ("network.svg", "pair_1.svg", "central.svg"):
        assert "Kit" in files[name].read_text() and files[name].read_text().startswith("<svg")


def test_the_page_needs_nothing_from_elsewhere(sample: Network) -> None:
    page = build_page(sample)
    assert not re.findall(r"""<(?:script|link|img|iframe)[^>]*\b(?:src|href)=(?!"data:)""", page)
    assert not re.findall(r"@import|url\(\s*['\"]?https?:|sourceMappingURL=", page)
    assert "vis-network" in page and len(page) < 2_000_000


def test_text_of_a_series_is_no_markup_of_the_page() -> None:
    bad = "</script><script>alert(1)</script>"
    lines = frame((1, 1, bad, "Hello."), (1, 1, "Bo", "Hello."))
    network = CharacterNetworkGenerator().generate(lines, NamedEntityRecognizer(speakers_of(lines)), bad)
    assert "<script>alert" not in build_page(network)
    write_all(network, Path("out"))
    assert "<script>" not in Path("out/network.svg").read_text()


@pytest.mark.slow
def test_a_thousand_people_are_laid_out_and_drawn() -> None:
    turns = [(1, at // 6, f"P{at * 7919 % 1000:03} Z", "Hello.") for at in range(3000)]
    lines = frame(*turns)
    network = CharacterNetworkGenerator().generate(lines, NamedEntityRecognizer(speakers_of(lines)))
    page = build_page(network)
    assert len(network.graph) == 1000 and '"physics": {"enabled": false}' in page


def test_what_the_page_draws_is_plain_json(sample: Network) -> None:
    data = json.loads(json.dumps(build_page_data(sample)))
    assert {person["label"] for person in data["people"]} == set(sample.graph)
    assert sum(tie[4] for tie in data["ties"]) == sample.ties["count"].sum()


def test_relations_change_from_season_to_season(sample: Network) -> None:
    changes = sample.changes()
    assert set(changes["season"]) == {1, 2}
    pair = changes[(changes["source"] == "Grell") & (changes["target"] == "Kit")].set_index("season")
    assert pair.loc[1, "before"] == 0 and pair.loc[2, "before"] == pair.loc[1, "weight"]
    assert pair.loc[2, "change"] == pair.loc[2, "weight"] - pair.loc[1, "weight"]
    counts = sample.changes("episode").groupby(["season", "source", "target"])["weight"].sum()
    assert pair.loc[1, "weight"] == pytest.approx(counts[1, "Grell", "Kit"] / 8)  # eight episodes, and two
    assert pair.loc[2, "weight"] == pytest.approx(counts[2, "Grell", "Kit"] / 2)
    lost = changes[(changes["season"] == 2) & (changes["weight"] == 0)]
    assert len(lost) and (lost["change"] < 0).all()
    by_episode = sample.changes("episode").groupby(["season", "episode"])["weight"].sum()
    assert len(by_episode) == 10 and by_episode.sum() == sample.pairs["weight"].sum()


def test_who_is_central_when_is_told_as_shares(sample: Network) -> None:
    shares = central_shares(sample, people=3)
    assert shares.index[0] == "Kit" and list(shares.columns) == sample.episodes
    everybody = central_shares(sample, people=1000)
    assert everybody.sum().to_numpy() == pytest.approx([1.0] * 10)


def test_one_folder_is_one_job(sample: Network) -> None:
    pd.testing.assert_frame_equal(build_network_of(SAMPLE, NetworkSettings()).pairs, sample.pairs)


CAST_ROWS = (
    '{"name": "Ada", "mood": ["odd"], "aliases": [], "persona": "You are Ada."}\r\n{"persona": "x",  "name": "Bo"}\r\n'
)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    (tmp_path / "s1e1.csv").write_text("name,line\nAda,I met Cy at Main Hall.\nDee,Hello.\n")
    (tmp_path / "characters.jsonl").write_bytes(CAST_ROWS.encode())
    (tmp_path / "locations.jsonl").write_text('{"name": "Main Hall"}')
    return tmp_path


def test_a_suggestion_is_accepted_and_taken_back(series: Path) -> None:
    file = series / "characters.jsonl"
    alias = accept_suggestion(series, "Addie", as_alias_of="ada")
    rows = file.read_bytes().decode().split("\r\n")
    assert json.loads(rows[0]) == {"name": "Ada", "mood": ["odd"], "aliases": ["Addie"], "persona": "You are Ada."}
    assert list(json.loads(rows[0])) == ["name", "mood", "aliases", "persona"]
    assert rows[1] == CAST_ROWS.split("\r\n")[1] and not alias.is_new
    new = accept_suggestion(series, "Cy", as_new=True)
    speaker = accept_suggestion(series, "Deirdre", as_alias_of="Dee")
    assert load_cast(file).names == ("Ada", "Bo", "Cy", "Dee") and load_cast(file).resolve("Deirdre") == "Dee"
    assert new.to_dict()["character"] == {"name": "Cy", "aliases": []}
    with pytest.raises(DataError, match="has changed since"):
        undo_acceptance(new)
    for done in (speaker, new, alias):
        undo_acceptance(done)
    assert file.read_bytes() == CAST_ROWS.encode()


def test_a_file_made_for_a_name_is_removed_again(series: Path) -> None:
    file = series / "characters.jsonl"
    file.unlink()
    done = accept_suggestion(series, "Cy", as_new=True)
    assert load_cast(file).names == ("Cy",)
    undo_acceptance(done)
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "choice", "error"),
    [
        ("Main Hall", {"as_new": True}, UsageError),
        ("Everyone", {"as_alias_of": "Ada"}, UsageError),
        ("Cy", {}, UsageError),
        ("Cy", {"as_new": True, "as_alias_of": "Ada"}, UsageError),
        ("Ada", {"as_new": True}, DataError),
        ("Bo", {"as_alias_of": "Ada"}, DataError),
        ("Cy", {"as_alias_of": "Nobody Here"}, UnknownCharacter),
    ],
)
def test_what_cannot_be_accepted_changes_nothing(
    series: Path, name: str, choice: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        accept_suggestion(series, name, **choice)  # type: ignore[arg-type]
    assert (series / "characters.jsonl").read_bytes() == CAST_ROWS.encode()


def test_the_command_accepts_a_name(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(series), "--accept", "Addie", "--alias-of", "Ada", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["character"] == {"name": "Ada", "aliases": ["Addie"]}
    assert main(["--data", str(series), "--accept", "Cy"]) == 0
    assert "Cy is a character now" in capsys.readouterr().out
    with pytest.raises(UsageError, match="needs a folder"):
        main(["--data", str(series)])


def test_a_model_of_spacy_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    entity = SimpleNamespace(text="Bowie's", label_="PERSON")
    place = SimpleNamespace(text="Lenora", label_="GPE")
    asked: list[str] = []

    class Model:
        def pipe(self, texts: list[str], batch_size: int) -> list[object]:
            asked.extend(texts)
            return [SimpleNamespace(ents=[entity, place] if "Bowie" in text else []) for text in texts]

    def load(name: str) -> Model:
        asked.append(name)
        return Model()

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=load))
    installed = {"spacy", "en_core_web_sm"}
    monkeypatch.setattr("character_network.suggestions.find_spec", lambda name: name in installed or None)
    lines = frame(*[(1, 1, "Ada", "Bowie's here.")] * 3)
    announcements = Announcements(quiet=True)
    found = NamedEntityRecognizer(Cast([Character("Ada", ("Addie",))])).suggest_names(lines, 3, announcements)
    assert [(each.name, each.evidence, each.count) for each in found] == [("Bowie", "a name to spaCy", 3)]
    assert asked[0] == "en_core_web_sm" and not list(announcements)
    installed.add("en_core_web_trf")
    NamedEntityRecognizer(Cast()).suggest_names(lines)
    assert "en_core_web_trf" in asked  # the better one where both are installed


def test_the_command_prints_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(SAMPLE), "--out", "net", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["central"][0]["person"] == "Kit"
    assert all(Path(file).is_file() for file in summary["files"])
    assert main(["--data", str(SAMPLE), "--out", "net"]) == 0
    assert "strongest ties" in capsys.readouterr().out


def test_what_a_user_gets_wrong_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownCharacter, match="Kitt"):
        main(["--data", str(SAMPLE), "--out", "net", "--pair", "Kitt", "Grell"])
    assert not Path("net").exists()
    (tmp_path / "locations.jsonl").write_text('{"name": 3}')
    with pytest.raises(DataError, match="row 1"):
        load_place_names(tmp_path / "locations.jsonl")


def test_help_imports_nothing_heavy() -> None:
    heavy = ("pandas", "networkx", "pyvis", "PIL")
    code = f"import sys; import character_network.__main__; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
