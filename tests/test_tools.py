"""Editing characters and cards, comparing sources and counting votes: all of it without a browser or a model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from character_chatbot.cards.card_file import parse_card
from character_chatbot.cards.shelf import CardShelf
from character_chatbot.chats.records import BOTH_BAD, LEFT, RIGHT, TIE, Comparison
from character_chatbot.chats.store import ChatStore
from character_chatbot.comparing import rounds as comparing_module
from character_chatbot.comparing.contenders import Contenders
from character_chatbot.comparing.rounds import Comparing, Question, Round, shown_name
from character_chatbot.comparing.vote_tally import describe_pair, sign_test, tally, wilson_interval
from character_chatbot.corpus import load_corpus
from character_chatbot.editing.cast_editor import CastEditor, may_edit
from character_chatbot.editing.current_cast import with_current_cast
from character_chatbot.engines.base import EchoEngine
from character_chatbot.pages import compare_tab, tool_blocks
from character_chatbot.pages.characters_tab import Characters
from character_chatbot.pages.compare_tab import Compare
from character_chatbot.service import Service
from character_chatbot.sources import Source
from config import Secret, Settings, load_settings
from utils.character_file import CharacterFile, check_character
from utils.characters import Cast, Character
from utils.errors import BaseModelError, CardError, DataError, UsageError
from utils.registry import Registry
from utils.stores import FolderStore

EVIL = "<img src=x onerror=alert(1)>"
CARD: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Mara Quill", "description": "{{char}} keeps the light.", "personality": "dry", "scenario": "",
        "first_mes": "Ahoy.", "mes_example": "<START>\n{{user}}: Hi\n{{char}}: Mind the stairs.", "creator_notes": EVIL,
        "alternate_greetings": [f"Who? {EVIL}"], "extensions": {"theirs": [1, {"deep": True}]}, "unknown": 7,
        "character_book": {"extensions": {}, "entries": [
            {"keys": ["stairs"], "content": f"99 stairs. {EVIL}", "enabled": True, "extensions": {}},
        ]},
    },
}  # fmt: skip
ROWS = (
    '{"name": "Ada", "mood": {"a": 1}, "aliases": ["Miss  Lock"], "persona": "You are Ada."}',
    "",
    '{"persona":"You are Bo.","name":"Bo","example_lines":["Lunch?"]}\r',
    '{"name": "Cy"}',
)


def make_settings(folder: Path, **flags: object) -> Settings:
    named = {key.replace("__", "."): value for key, value in flags.items()}
    own = {"paths.data": folder, "paths.cache": folder / "no-cache"}
    return load_settings(env_file=Path("/none"), environment={}, flags=own | named)


def write_rows(folder: Path, *rows: str) -> Path:
    file = folder / "characters.jsonl"
    file.write_bytes("\n".join(rows or ROWS).encode())
    return file


# characters.jsonl


def test_one_row_changes_and_all_others_stay_byte_for_byte(tmp_path: Path) -> None:
    file = CharacterFile(write_rows(tmp_path))
    row = file.open("Bo")
    file.save(row, replace(row.character, persona="You are Bo,  who is\nhungry.", aliases=("Ferry", "", "Ferry")))
    rows = (tmp_path / "characters.jsonl").read_bytes().decode().split("\n")
    assert [rows[0], rows[1], rows[3]] == [ROWS[0], ROWS[1], ROWS[3]]
    assert rows[2].endswith("\r")
    changed = json.loads(rows[2])
    assert list(changed) == ["persona", "name", "example_lines", "aliases"]
    assert changed["persona"] == "You are Bo, who is hungry."
    assert changed["aliases"] == ["Ferry"]


def test_unknown_keys_and_what_was_not_edited_stay_as_written(tmp_path: Path) -> None:
    file = CharacterFile(write_rows(tmp_path))
    row = file.open("Ada")
    file.save(row, replace(row.character, persona="You are somebody else."))
    saved = json.loads((tmp_path / "characters.jsonl").read_text().split("\n")[0])
    assert saved == json.loads(ROWS[0]) | {"persona": "You are somebody else."}


@pytest.mark.parametrize("rows", [(), ("",), ('{"name": "Ada"}',), ('{"name": "Ada"}', "")])
def test_a_new_character_gets_a_row_at_the_end(rows: tuple[str, ...], tmp_path: Path) -> None:
    if rows:
        write_rows(tmp_path, *rows)
    file = CharacterFile(tmp_path / "characters.jsonl")
    file.save(file.open("Dot"), Character("Dot", persona="You are Dot."))
    assert file.cast().names[-1] == "Dot"
    assert (tmp_path / "characters.jsonl").read_text().endswith("\n")
    assert len(file.cast()) == 1 + any(rows)


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    file = CharacterFile(write_rows(tmp_path))
    row, other = file.open("Bo"), file.open("Cy")
    file.save(other, replace(other.character, persona="You are Cy."))
    before = (tmp_path / "characters.jsonl").read_bytes()
    with pytest.raises(DataError, match="has changed since"):
        file.save(row, replace(row.character, persona="Mine."))
    assert (tmp_path / "characters.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "aliases", "sentence"),
    [("Bo", ("miss lock",), "a name of both Ada and Bo"), ("ada", (), "Ada"), ("Cy", ("BO",), "name of both")],
)
def test_a_name_belongs_to_one_character(name: str, aliases: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    file = CharacterFile(write_rows(tmp_path))
    before = (tmp_path / "characters.jsonl").read_bytes()
    with pytest.raises(DataError, match=sentence):
        file.save(file.open(name), Character(name, aliases))
    assert (tmp_path / "characters.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("character", "sentence"),
    [
        (Character(" "), "no name"),
        (Character("unknown"), "nobody"),
        (Character("Ada: x"), "colon"),
        (Character("A" * 101), "101 characters"),
        (Character("Ada", persona="x" * 20_001), "20,001"),
        (Character("Ada", example_lines=("x",) * 201), "201 example lines"),
    ],
)
def test_what_cannot_be_a_character_is_a_sentence(character: Character, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check_character(character)


def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    real = write_rows(tmp_path)
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "characters.jsonl").symlink_to(real)
    file = CharacterFile(tmp_path / "series" / "characters.jsonl")
    file.save(file.open("Cy"), Character("Cy", persona="You are Cy."))
    assert (tmp_path / "series" / "characters.jsonl").is_symlink()
    assert "You are Cy." in real.read_text()


# the editor of the page


@pytest.fixture
def series(series_folder: Callable[..., Path]) -> Path:
    return series_folder()


def source_of(series: Path, rung: str = "base", **more: Any) -> Source:
    corpus = load_corpus(series)
    return Source(
        rung, f"the {rung}", corpus.series.title, corpus.cast, ("Ada", "Bo"), lambda name: EchoEngine(), **more
    )


def service_of(series: Path, rung: str = "base", settings: Settings | None = None, **more: Any) -> Service:
    service = Service(settings or make_settings(series), lambda *_: source_of(series, rung, **more))
    service.load()
    return service


def test_who_speaks_keeps_the_name_and_who_was_trained_is_told_what_to_do(series: Path) -> None:
    editor, corpus = CastEditor(make_settings(series)), load_corpus(series)
    trained = source_of(series, "version", trained=("Ada",), run={"family": "qwen"})
    form = editor.open("series:Ada", corpus, trained)
    assert "speaks in the transcripts" in form.name_fixed
    assert "train qwen" in form.notes[0]
    saved = editor.save(form, dict(form.texts) | {"name": "Eve", "persona": "Other."}, corpus, trained)
    assert (saved.texts["name"], saved.texts["persona"]) == ("Ada", "Other.")
    assert editor.open("series:Bo", corpus, trained).notes == ()


def test_a_new_character_can_be_talked_to_where_a_model_answers(series: Path) -> None:
    editor, corpus, source = CastEditor(make_settings(series)), load_corpus(series), source_of(series)
    blank = editor.open("series:", corpus, None)
    saved = editor.save(blank, {"name": "Dot", "persona": "You are Dot."}, corpus, None)
    assert saved.entry == "series:Dot"
    assert "Dot" not in source.cast
    now = with_current_cast(source, corpus, series).source
    assert now.characters == ("Ada", "Bo", "Dot")
    assert now.cast.get("Dot").persona == "You are Dot."
    assert with_current_cast(source_of(series, "quotes"), corpus, series).source.characters == ("Ada", "Bo")


def test_a_trained_persona_stays_and_others_are_those_of_now(series: Path) -> None:
    corpus = load_corpus(series)
    source = source_of(series, "version", trained=("Ada",))
    write_rows(
        series,
        '{"name": "Ada", "persona": "New Ada."}',
        '{"name": "Bo", "persona": "New Bo.", "aliases": ["Miss Lock"]}',
    )
    cast = with_current_cast(source, corpus, series).source.cast
    assert (cast.get("Ada").persona, cast.get("Bo").persona) == (source.cast.get("Ada").persona, "New Bo.")
    assert cast.get("Miss Lock").name == "Ada"


def test_a_card_is_imported_edited_exported_and_joins_the_cast(series: Path) -> None:
    editor = CastEditor(make_settings(series))
    form = editor.import_card(json.dumps(CARD).encode())
    assert editor.entries(None, None)[form.entry] == "Mara Quill (card)"
    edited = editor.save(form, dict(form.texts) | {"persona": "{{char}} is tired."}, None, None)
    assert edited.entry != form.entry
    name, content = editor.export(edited.entry, "json", "v2")
    assert name == "mara-quill.json"
    assert json.loads(content)["data"] == CARD["data"] | {"description": "{{char}} is tired."}
    assert len(CardShelf(series / "cards").keys()) == 1
    with pytest.raises(CardError, match="has changed since"):
        editor.save(form, {"persona": "Too late."}, None, None)
    now = with_current_cast(source_of(series), load_corpus(series), series)
    assert now.source.characters[-1] == "Mara Quill"
    assert now.cards["Mara Quill"].greeting == "Ahoy."
    editor.delete_card(edited.entry)
    assert edited.entry not in editor.entries(None, None)


@pytest.mark.parametrize(("form", "spec"), [("png", "v3"), ("png", "v2"), ("json", "v3")])
def test_a_character_of_the_series_goes_out_as_a_card(form: str, spec: str, series: Path) -> None:
    name, content = CastEditor(make_settings(series)).export("series:Ada", form, spec)
    card = parse_card(content)
    assert (name, card.spec, card.description) == (f"ada.{form}", spec, "You are Ada, who mends clocks.")


def test_what_is_wrong_with_a_request_is_a_sentence(series: Path) -> None:
    editor = CastEditor(make_settings(series, cards__max_file_mb=0.01))
    with pytest.raises(CardError, match="not valid JSON"):
        editor.import_card(b"{")
    with pytest.raises(CardError, match="more than"):
        editor.import_card(b" " * 20_000)
    with pytest.raises(UsageError, match="written as"):
        editor.export("series:Ada", "exe", "v3")
    with pytest.raises(DataError, match="no character"):
        editor.open("series:Nobody Here", load_corpus(series), None)
    with pytest.raises(CardError, match="no card"):
        editor.open("card:../../etc/passwd", None, None)
    with pytest.raises(UsageError, match="only an imported card"):
        editor.delete_card("series:Ada")


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ({}, True),
        ({"app__host": "0.0.0.0"}, False),  # noqa: S104
        ({"app__host": "0.0.0.0", "secrets__app_password": Secret("x")}, True),  # noqa: S104
        ({"app__editing": "never"}, False),
        ({"app__host": "0.0.0.0", "app__editing": "always"}, True),  # noqa: S104
    ],
)
def test_who_may_edit(flags: dict[str, object], allowed: bool, series: Path) -> None:
    assert may_edit(make_settings(series, **flags)) is allowed


def test_the_tab_changes_nothing_for_those_who_may_not(series: Path, tmp_path: Path) -> None:
    told: list[int] = []
    tab = Characters(service_of(series, settings=make_settings(series, app__editing="never")), lambda: told.append(1))
    view = tab.look("series:Ada")
    assert not view["persona"]["interactive"]
    assert "You can look" in view["notice"]
    upload = tmp_path / "card.json"
    upload.write_text(json.dumps(CARD))
    before = (series / "characters.jsonl").read_bytes()
    for refused in (
        tab.save(view["form"], *["x"] * 7), tab.import_card(str(upload)), tab.delete(view["form"]),
    ):  # fmt: skip
        assert "not edited on this page" in refused["notice"]
    assert (series / "characters.jsonl").read_bytes() == before
    assert not (series / "cards").exists()
    assert told == []


def test_the_tab_saves_imports_and_tells_the_service(series: Path, tmp_path: Path) -> None:
    told: list[int] = []
    tab = Characters(service_of(series), lambda: told.append(1))
    opened = tab.look("series:Bo")
    saved = tab.save(opened["form"], "Bo", "Ferry\n", "You are new.", "", "", "", "One.\nTwo.")
    assert "Bo is saved" in saved["notice"]
    assert CharacterFile(series / "characters.jsonl").cast().get("Ferry").example_lines == ("One.", "Two.")
    upload = tmp_path / "card.json"
    upload.write_text(json.dumps(CARD))
    shown = tab.import_card(str(upload))
    assert not upload.exists()
    assert shown["greeting"]["visible"]
    assert (CARD["data"]["name"] + " (card)", shown["form"].entry) in shown["entry"]["choices"]
    assert len(told) == 2
    assert "alert(1)" in shown["preview"]
    assert "<img" not in shown["preview"]
    assert tab.begin()["name"]["interactive"]


# comparing


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing_module, "TICK_SECONDS", 0.001)


class Saying:
    def __init__(self, words: str) -> None:
        self.words, self.closed = words, False

    def reply(self, messages: Sequence[Any], sampling: Any) -> Iterator[str]:
        yield from (f"{word} " for word in self.words.split())

    def close(self) -> None:
        self.closed = True


CAST = Cast([Character("Kit", persona="You are Kit."), Character("Rosa")])


def saying(label: str, words: str) -> Source:
    engine = Saying(words)
    return Source("version", label, "Pellan", CAST, ("Kit", "Rosa"), lambda name: engine)


class Loaded:
    """Loads sources by their key, and counts."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.sources: dict[str, Source] = {}

    def __call__(self, rung: str, family: str, version: str | None) -> Source:
        key = f"{family} {version}"
        self.loads.append(key)
        self.sources[key] = saying(key, f"said by {key}")
        return self.sources[key]


VERSIONS = {"version:llama/1": "llama 1", "version:llama/2": "llama 2", "version:llama/3": "llama 3"}


@pytest.fixture
def loaded() -> Loaded:
    return Loaded()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    service = Service(make_settings(tmp_path / "none"), lambda *_: saying("served", "from the chat"))
    service.load()
    return service


@pytest.fixture
def contenders(tmp_path: Path, service: Service, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> Contenders:
    found = Contenders(service, Registry(FolderStore(tmp_path)), "llama", load=loaded, free_bytes=lambda: None)
    monkeypatch.setattr(found, "_versions", lambda: iter(VERSIONS.items()))
    return found


def test_what_is_served_is_never_loaded_and_what_is_kept_is_not_loaded_again(
    contenders: Contenders, loaded: Loaded, service: Service
) -> None:
    assert list(contenders.choices()) == ["served", *VERSIONS]
    assert contenders.open("served") is service.source
    first = contenders.open("version:llama/1", "version:llama/2")
    contenders.open("version:llama/2", "version:llama/1")
    assert contenders.open("version:llama/1", "version:llama/2") is first
    assert loaded.loads == ["llama 1", "llama 2"]


def test_what_is_not_compared_any_more_is_freed(contenders: Contenders, loaded: Loaded) -> None:
    for key, beside in (("1", "2"), ("2", "1"), ("3", "2")):
        contenders.open(f"version:llama/{key}", f"version:llama/{beside}")
    assert contenders.kept == ("version:llama/2", "version:llama/3")
    assert loaded.sources["llama 1"].engine("Kit").closed  # type: ignore[attr-defined]
    assert not loaded.sources["llama 2"].engine("Kit").closed  # type: ignore[attr-defined]


@pytest.mark.parametrize(("free", "kept"), [(3, 2), (1.5, 1)])
def test_the_other_one_is_freed_where_memory_is_short(
    free: float, kept: int, contenders: Contenders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "_needed_bytes", lambda key: 10)
    monkeypatch.setattr(contenders, "_free_bytes", lambda: 10 * free - 10 * len(contenders.kept))
    contenders.open("version:llama/1", "version:llama/2")
    contenders.open("version:llama/2", "version:llama/1")
    assert len(contenders.kept) == kept
    assert "version:llama/2" in contenders.kept


def test_what_does_not_fit_is_refused_before_it_is_loaded(
    contenders: Contenders, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "_needed_bytes", lambda key: 3 * 2**30)
    monkeypatch.setattr(contenders, "_free_bytes", lambda: 2**30)
    with pytest.raises(BaseModelError, match=r"takes 3\.0 GiB of memory, and 1\.0 GiB are free"):
        contenders.open("version:llama/1")
    assert loaded.loads == []
    with pytest.raises(UsageError, match="cannot be compared"):
        contenders.open("version:llama/../../x")


def test_memory_is_counted_from_what_the_version_recorded(tmp_path: Path, service: Service) -> None:
    class Recorded(Registry):
        def show(self, family: str, version: str | None = None) -> dict[str, Any]:
            return {"run": {"base": {"parameters": 1000}}}

    found = Contenders(service, Recorded(FolderStore(tmp_path)), "llama")
    assert found._needed_bytes("version:llama/20261121-101500") in (4000 + 2**28, 2000 + 2**28)
    assert found._needed_bytes("quotes") == 0


def ask(comparing: Comparing, question: Question, before: Round | None = None) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [view async for view in comparing.ask(question, before or Round())]

    return asyncio.run(collect())


QUESTION = Question("Who are you?", "Ann", "served", "version:llama/1", "Kit")


def test_both_reply_and_nobody_knows_who_until_the_vote(service: Service, contenders: Contenders) -> None:
    store = ChatStore(None)
    for swapped in (False, True):
        comparing = Comparing(service, contenders, store, swap=lambda: swapped)  # noqa: B023
        views = ask(comparing, QUESTION)
        now = views[-1]["round"]
        said = [now.left.text.strip(), now.right.text.strip()]
        assert said == (["said by llama 1", "from the chat"] if swapped else ["from the chat", "said by llama 1"])
        assert (views[0]["busy"], views[-1]["busy"], views[-1]["notice"]) == (True, False, "")
        assert shown_name(now.left, now) == ""
        assert "served" not in tool_blocks.side_block("Left", now.left, now, LEFT)
        voted = comparing.vote(RIGHT, now, "me")
        assert shown_name(voted.right, voted) == ("served" if swapped else "llama 1")
    pairs = comparing.tally("me")
    assert (pairs[0].first, pairs[0].first_wins, pairs[0].second_wins) == ("llama 1", 1, 1)
    assert comparing.tally("somebody else") == []


def test_without_hiding_the_sides_are_as_chosen(service: Service, contenders: Contenders) -> None:
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: True)
    now = ask(comparing, replace(QUESTION, hidden=False))[-1]["round"]
    assert (shown_name(now.left, now), shown_name(now.right, now)) == ("served", "llama 1")


@pytest.mark.parametrize(
    ("vote", "turns"),
    [(LEFT, ["Who are you?", "from the chat"]), (RIGHT, ["Who are you?", "said by llama 1"]),
     (TIE, ["Who are you?", "from the chat"]), (BOTH_BAD, [])],
)  # fmt: skip
def test_the_conversation_goes_on_with_the_better_reply(
    vote: str, turns: list[str], service: Service, contenders: Contenders
) -> None:
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: False)
    voted = comparing.vote(vote, ask(comparing, QUESTION)[-1]["round"], "me")
    assert [turn.text for turn in voted.turns] == turns
    with pytest.raises(UsageError, match="no two whole replies"):
        comparing.vote(vote, voted, "me")
    again = ask(comparing, replace(QUESTION, text="And now?"), voted)[-1]["round"]
    assert again.turns == voted.turns
    assert comparing.vote(TIE, again, "me").conversation == voted.conversation
    other = ask(comparing, replace(QUESTION, character="Rosa"), voted)[-1]["round"]
    assert (other.conversation, other.turns) == ("", ())


def test_nothing_is_kept_without_a_vote_and_a_deleted_conversation_begins_anew(
    service: Service, contenders: Contenders
) -> None:
    store = ChatStore(None)
    comparing = Comparing(service, contenders, store, swap=lambda: False)
    now = ask(comparing, QUESTION)[-1]["round"]
    assert store.list_of("me") == []
    voted = comparing.vote(LEFT, now, "me")
    store.delete("me", voted.conversation)
    again = comparing.vote(RIGHT, ask(comparing, QUESTION, voted)[-1]["round"], "me")
    assert [each.id for each in store.list_of("me")] == [again.conversation]


def test_preference_pairs_come_out_with_the_persona(service: Service, contenders: Contenders) -> None:
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: False)
    with pytest.raises(UsageError, match="no preference pair"):
        comparing.export("me")
    comparing.vote(RIGHT, ask(comparing, QUESTION)[-1]["round"], "me")
    pair = json.loads(comparing.export("me"))
    assert pair["chosen"] == [{"role": "assistant", "content": "said by llama 1"}]
    assert pair["rejected"] == [{"role": "assistant", "content": "from the chat"}]
    assert "You are Kit." in pair["prompt"][0]["content"]


def test_one_that_cannot_be_had_is_a_sentence_on_its_side(
    service: Service, contenders: Contenders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Source:
        raise BaseModelError("the base is gone.")

    monkeypatch.setattr(contenders, "_load", refuse)
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: False)
    last = ask(comparing, QUESTION)[-1]
    now = last["round"]
    assert (now.left.text.strip(), now.right.problem) == ("from the chat", "the base is gone.")
    assert not now.open_to_vote
    assert "nothing to vote on" in last["notice"]


class Slowly(Loaded):
    """Loads until it may, and tells how far that is."""

    def __init__(self, contenders: Contenders) -> None:
        super().__init__()
        self.may, self._contenders = threading.Event(), contenders

    def __call__(self, rung: str, family: str, version: str | None) -> Source:
        self._contenders.progress.begin("fetching", f"{family} {version} from s3://shelf")
        self._contenders.progress.count(500_000, 2_000_000, is_bytes=True)
        assert self.may.wait(5)
        return super().__call__(rung, family, version)


@pytest.fixture
def slowly(contenders: Contenders, monkeypatch: pytest.MonkeyPatch) -> Slowly:
    monkeypatch.setattr(comparing_module, "LOADING_TICK_SECONDS", 0.01)
    found = Slowly(contenders)
    monkeypatch.setattr(contenders, "_load", found)
    return found


@pytest.mark.parametrize("swapped", [True, False])
def test_loading_is_told_before_either_replies_so_that_no_pause_says_who_is_who(
    swapped: bool, service: Service, contenders: Contenders, slowly: Slowly
) -> None:
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: swapped)
    tab = Compare(comparing, contenders, service)

    async def collect() -> list[dict[str, Any]]:
        views = []
        async for view in tab.ask(QUESTION, Round()):
            views.append(view)
            if "fetching" in view.get("told", ""):
                slowly.may.set()
        return views

    views = asyncio.run(collect())
    assert views[0]["round"].left.waits
    [at] = [index for index, view in enumerate(views) if "fetching" in view.get("told", "")]
    loading, rest = views[at], views[at + 1 :]
    assert set(loading) == {"notice", "told"}
    assert 'value="0.25"' in loading["notice"]
    assert "fetching llama 1 from s3://shelf, <span>500.0 kB of 2.0 MB, 25%, 0 s" in loading["notice"]
    assert "role=" not in loading["notice"]  # its figures change: only the title is read out, once
    assert 'role="status">Loading: fetching llama 1 from s3://shelf</p>' in loading["told"]
    shown = [view for view in rest if "round" in view]
    assert (shown[0]["notice"], shown[0]["told"], "told" in shown[1]) == ("", "", False)
    assert shown[-1]["round"].open_to_vote
    assert slowly.loads == ["llama 1"]
    assert contenders.loading is None


def test_stop_does_not_wait_for_what_is_loaded(service: Service, contenders: Contenders, slowly: Slowly) -> None:
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: False)

    async def act() -> list[dict[str, Any]]:
        views = []
        async for view in comparing.ask(QUESTION, Round()):
            views.append(view)
            if "loading" in view:
                views[0]["round"].stopped.set()
        slowly.may.set()
        return views

    last = asyncio.run(act())[-1]
    assert "Stopped" in last["notice"]
    assert (last["round"].left.text, last["busy"]) == ("", False)
    assert contenders.open("version:llama/1", "served").label == "llama 1"  # it goes on, and is kept
    assert slowly.loads == ["llama 1"]


def test_where_only_one_has_room_loading_goes_on_between_the_replies_and_hides_its_name(
    service: Service, contenders: Contenders, slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "_needed_bytes", lambda key: 10)
    monkeypatch.setattr(contenders, "_free_bytes", lambda: 15 - 10 * len(contenders.kept))
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: False)

    async def act() -> tuple[dict[bool, list[str]], Round]:
        told: dict[bool, list[str]] = {False: [], True: []}  # before the left one replies, and after
        now = Round()
        async for view in comparing.ask(replace(QUESTION, first="version:llama/2", second="version:llama/1"), now):
            now = view.get("round", now)
            if "loading" in view:
                told[bool(now.left.text)].append(view["loading"].title)
                if view["loading"].kind == "fetching":
                    slowly.may.set()
            elif not told[True]:
                slowly.may.clear()
        return told, now

    told, now = asyncio.run(act())
    assert told[False][-1] == "fetching llama 2 from s3://shelf"
    assert told[True][-1] == "fetching"
    assert not [title for title in told[True] if "llama" in title]
    assert now.open_to_vote
    assert slowly.loads == ["llama 2", "llama 1"]


def test_one_that_cannot_be_had_is_tried_once(service: Service, contenders: Contenders) -> None:
    tries = []

    def refuse(*wanted: object) -> Source:
        tries.append(wanted)
        raise BaseModelError("the base is gone.")

    contenders._load = refuse
    last = ask(Comparing(service, contenders, ChatStore(None), swap=lambda: False), QUESTION)[-1]
    assert last["round"].right.problem == "the base is gone."
    assert len(tries) == 1


def test_stop_ends_both_and_a_stopped_pair_has_no_vote(service: Service, contenders: Contenders) -> None:
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: False)

    async def act() -> list[dict[str, Any]]:
        views = []
        async for view in comparing.ask(QUESTION, Round()):
            views.append(view)
            view["round"].stopped.set()
        return views

    last = asyncio.run(act())[-1]
    assert (last["round"].right.text, last["round"].open_to_vote, last["busy"]) == ("", False, False)
    assert "Stopped" in last["notice"]


def test_both_at_once_grow_together_and_stop_together(service: Service, contenders: Contenders) -> None:
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: False, together=lambda: True)

    async def act() -> list[Round]:
        rounds = []
        async for view in comparing.ask(QUESTION, Round()):
            rounds.append(view["round"])
            if rounds[-1].left.text and rounds[-1].right.text:
                rounds[-1].stopped.set()
        return rounds

    rounds = asyncio.run(act())
    assert rounds[-1].left.text.strip()
    assert rounds[-1].right.text.strip()
    assert not rounds[-1].open_to_vote
    assert any(each.right.text and len(each.left.text) < len("from the chat ") for each in rounds)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"text": " "}, "empty"),
        ({"second": "served"}, "the same source"),
        ({"first": ""}, "choose two"),
        ({"character": "Zed"}, "no character"),
        ({"speaker": "Kit"}, "cannot talk to themselves"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(
    change: dict[str, str], sentence: str, service: Service, contenders: Contenders
) -> None:
    views = ask(Comparing(service, contenders, ChatStore(None)), replace(QUESTION, **change))
    assert sentence in views[0]["notice"]
    assert len(views) == 1


def test_the_tab_offers_two_different_sources_and_enables_votes_at_the_end(
    service: Service, contenders: Contenders
) -> None:
    comparing = Comparing(service, contenders, ChatStore(None), swap=lambda: False)
    tab = Compare(comparing, contenders, service)
    view = tab.look("me", None, "served", None)
    assert (view["first"]["value"], view["second"]["value"]) == ("served", "version:llama/1")
    assert view["character"]["value"] == "Kit"

    async def collect() -> list[dict[str, Any]]:
        return [each async for each in tab.ask(QUESTION, Round())]

    views = asyncio.run(collect())
    assert [each["vote-left"]["interactive"] for each in views] == [False] * (len(views) - 1) + [True]
    assert "from the chat" in views[-1]["left"]
    voted = tab.vote("me", LEFT, views[-1]["round"])
    assert "The left one is better: served" in voted["verdict"]
    assert "chosen" in voted["left"]
    assert "1 of 1" in voted["tally"] or "0 of 1" in voted["tally"]


def test_the_tab_follows_the_loading_of_the_chats_model(
    service: Service, contenders: Contenders, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    real = service.progress.read
    monkeypatch.setattr(service.progress, "read", lambda: looks.append(None) or real())
    monkeypatch.setattr(Service, "loading", property(lambda self: len(looks) < 2))
    monkeypatch.setattr(compare_tab, "LOOK_SECONDS", 0.0)
    service.progress.begin("reading", "the weights")
    tab = Compare(Comparing(service, contenders, ChatStore(None)), contenders, service)

    async def collect() -> list[dict[str, Any]]:
        return [each async for each in tab.follow("me", None, None, "Kit")]

    before, first, second, after = asyncio.run(collect())
    assert (before["first"]["value"], after["first"]["value"]) == (None, "served")
    assert "reading the weights" in first["notice"] and "reading the weights" in second["notice"]
    assert "reading the weights" in first["told"] and "told" not in second  # once
    assert (after["notice"], after["told"]) == ("", "")


def test_nothing_in_a_reply_becomes_markup(service: Service, contenders: Contenders) -> None:
    now = Round(EVIL, EVIL, message=EVIL, left=replace(Round().left, key="x", text=EVIL, label=EVIL, problem=EVIL))
    voted = replace(now, vote=LEFT, hidden=False)
    pairs = tally([Comparison(None, "Kit", (), "a", EVIL, "b", "other", LEFT)])
    for block in (
        tool_blocks.side_block("Left", voted.left, voted, LEFT), tool_blocks.said_block((), now),
        tool_blocks.verdict_line(voted), tool_blocks.tally_block(pairs), tool_blocks.notes_block([EVIL]),
    ):  # fmt: skip
        assert "<img" not in block
        assert "alert(1)" in block


# votes


def test_wilsons_interval() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    known = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (wins, votes), (low, high) in known.items():
        assert wilson_interval(wins, votes) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_sign_test() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(5, 5) == 1.0
    assert sign_test(8, 1) == pytest.approx(2 * 10 / 512)
    assert sign_test(0, 5) == pytest.approx(1 / 16)
    assert 0 <= sign_test(2000, 1) < 1e-300


def test_a_tally_knows_sources_whichever_side_they_were_on() -> None:
    def vote(left: str, right: str, choice: str) -> Comparison:
        return Comparison(None, "Kit", (), "a", left, "b", right, choice)

    votes = [vote("A", "B", LEFT), vote("B", "A", RIGHT), vote("B", "A", LEFT), vote("A", "B", TIE)]
    votes += [vote("B", "A", BOTH_BAD), vote("A", "A", LEFT), vote("C", "A", LEFT)]
    pair, other = tally(votes)
    assert (pair.first, pair.second, pair.first_wins, pair.second_wins) == ("A", "B", 2, 1)
    assert (pair.ties, pair.both_bad) == (1, 1)
    assert (other.first_wins, other.second_wins) == (0, 1)
    assert "too few votes" in describe_pair(pair)
    many = tally([vote("A", "B", RIGHT)] * 12)[0]
    assert describe_pair(many).endswith("B is preferred.")
    assert "p = 0.0005" in describe_pair(many)
