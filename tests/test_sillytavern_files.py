"""Files that SillyTavern 1.19.0 has written: its export of a card of ours, and of chats with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from character_chatbot.cards.activation import activate
from character_chatbot.cards.card_file import format_json, read_card
from character_chatbot.cards.casting import to_character
from character_chatbot.chats.chat_files import read_chat_file, write_chat
from character_chatbot.chats.records import CHARACTER, USER
from character_chatbot.chats.store import ChatStore

FILES = Path(__file__).resolve().parent / "data" / "sillytavern"
PIP = "Pip of Pellan"


@pytest.mark.parametrize("name", ["card.json", "card.png"])
def test_its_card_is_read_whole(name: str) -> None:
    card = read_card(FILES / name)
    assert (card.name, card.greeting) == (PIP, "*waves from the pier* You are late, {{user}}.")
    assert card.alternate_greetings == ("Did you see the light, {{user}}?",)
    character = to_character(card)
    assert character.persona.startswith("You are Pip Tansy, twelve and a half")
    assert "The pier of Pellan, at dusk." in character.persona
    assert character.example_lines == ("Not me. I was counting boats.",)
    assert card.book is not None
    for said, known in (
        ("A lighthouse?", ["The light of Pellan goes out at nine."]),
        ("The bell?", []),  # selective: the second key has to be there too
        ("The bell, at night?", ["Nobody has rung the bell since spring."]),
    ):
        found = activate(card.book, [f"Ann: {said}"], 300, len)
        assert [entry.content for entry in found] == known
    assert json.loads(format_json(card))["data"]["extensions"]["world"] == "Pellan"


def test_both_forms_of_its_card_say_the_same() -> None:
    one, other = (json.loads(format_json(read_card(FILES / name)))["data"] for name in ("card.json", "card.png"))
    assert one == other


def test_its_chat_is_read_with_swipes_and_goes_out_again() -> None:
    """A greeting with an alternative, a reply that was gone on with, one beside it, another one."""
    store = ChatStore(None)
    kept = store.write_whole("me", read_chat_file(FILES / "chat.jsonl"))
    assert (kept.characters, kept.departed, kept.speaker) == ((PIP,), (), "Ann")
    path = store.path("me", kept.id)
    assert [each.role for each in path] == [CHARACTER, USER, CHARACTER, USER, CHARACTER]
    assert [each.alternatives for each in path] == [2, 1, 2, 1, 1]
    assert path[0].text == "*waves from the pier* You are late, Ann."
    assert store.swipe("me", kept.id, path[0].id, 1)[0].text == "Did you see the light, Ann?"
    assert (path[2].alternative, path[2].engine) == (1, "llama:latest:Pip of Pellan")
    store.show("me", kept.id, path[-1].id)
    assert store.swipe("me", kept.id, path[2].id, -1)[2].text.endswith(" of you concerted, love.")
    store.show("me", kept.id, path[-1].id)
    rows = write_chat(store.read_whole("me", kept.id), "sillytavern").splitlines()
    theirs = (FILES / "chat.jsonl").read_text(encoding="utf-8").splitlines()
    for row, other in zip(map(json.loads, rows), map(json.loads, theirs), strict=True):
        assert {key: row[key] for key in other} == other


def test_our_chat_comes_back_from_it() -> None:
    whole = read_chat_file(FILES / "chat_of_ours.jsonl")
    said = [(each.speaker, each.text) for each in whole.shown()]
    assert said == [
        ("Ann", "Did you see the light?"), (PIP, "No. I was counting boats."),
        ("Ann", "How many “boats” — <b>all</b> of them?"), (PIP, "Eleven, and gran's."),
    ]  # fmt: skip
    beside = whole.siblings(whole.shown()[1])
    assert [each.text for each in beside] == [
        "*points* There! Nine out of ten.", "No. I was counting boats.", "Which light?\n\nThe red one?",
    ]  # fmt: skip
