"""The store of conversations: whose they are, what is shown, what survives, what is gone when it is deleted."""

from __future__ import annotations

import inspect
import json
import logging
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings

from character_chatbot.chats import conversations, schema
from character_chatbot.chats.message_rows import join
from character_chatbot.chats.preferences import persona_prompt, preference_pairs, to_jsonl
from character_chatbot.chats.records import NOTE, Message, UnknownConversation, UnknownMessage, turns
from character_chatbot.chats.store import ChatStore, Written, describe_storage, is_kept, open_chat_store
from character_chatbot.chats.tree import Node, Tree
from character_chatbot.prompts import Turn, build_messages
from config import KeptChatSettings
from utils.characters import Cast, Character
from utils.errors import DataError, StoreError, UsageError

WRITER = Path(__file__).resolve().parent / "doubles" / "chat_writer.py"
ME, OTHER = "me", "somebody else"
DAY = 86_400


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChatStore]:
    store = ChatStore(tmp_path / "chats.sqlite")
    yield store
    store.close()


@pytest.fixture
def talk(store: ChatStore) -> str:
    return store.begin(ME, ["Ada", "Bo"], "Visitor").id


def exchange(store: ChatStore, talk: str, text: str, reply: str, owner: str = ME) -> tuple[int, int]:
    asked = store.say(owner, talk, text)
    return asked.id, store.reply(owner, talk, "Ada", reply, to=asked.id).id


def texts(messages: list[Message]) -> list[str]:
    return [each.text for each in messages]


def shown(store: ChatStore, talk: str, owner: str = ME) -> list[str]:
    return texts(store.path(owner, talk))


# The file


def test_only_the_owner_of_the_process_can_read_the_file_and_its_log(store: ChatStore, talk: str) -> None:
    exchange(store, talk, "Hello", "Good day")
    assert store.file is not None
    files = list(store.file.parent.iterdir())
    assert {each.name for each in files} >= {"chats.sqlite", "chats.sqlite-wal"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


def test_wide_rights_of_an_old_file_are_narrowed(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite"
    file.touch(mode=0o644)
    file.chmod(0o644)
    ChatStore(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_was_said_is_there_after_a_restart(store: ChatStore, talk: str) -> None:
    exchange(store, talk, "Hello", "Good day")
    store.close()
    again = ChatStore(store.file)
    assert shown(again, talk) == ["Hello", "Good day"]
    assert again.list_of(ME)[0].messages == 2
    again.close()


def test_a_file_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DataError, match="newer one has written it"):
        ChatStore(file)
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_an_older_file_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "chats.sqlite"
    first = ChatStore(file)
    talk = first.begin(ME, ["Ada"], "Visitor").id
    first.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE messages ADD COLUMN mood TEXT;"))
    second = ChatStore(file)
    exchange(second, talk, "Hello", "Good day")
    with second.reading() as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(schema.MIGRATIONS)
        assert connection.execute("SELECT mood FROM messages").fetchone()[0] is None
    second.close()


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "chats.sqlite"
    ChatStore(file).close()
    broken = "CREATE TABLE extra (a TEXT);\nCREATE TABLE conversations (a TEXT);\n"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        ChatStore(file)
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("content", [b"no database at all, but some text that is long enough" * 40, b"\x00" * 4096])
def test_a_file_that_is_no_store_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "chats.sqlite"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"chats\.sqlite cannot be read"):
        ChatStore(file)
    assert file.read_bytes() == content


def test_a_folder_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        ChatStore(tmp_path)


# Whose they are

# Every method that is given a conversation; the test below fails for one that is missing here.
ACTS: dict[str, Callable[[ChatStore, str, str, int], Any]] = {
    "get": lambda store, owner, talk, message: store.get(owner, talk),
    "rename": lambda store, owner, talk, message: store.rename(owner, talk, "Mine"),
    "change_cast": lambda store, owner, talk, message: store.change_cast(owner, talk, ["Ada", "Cleo"]),
    "delete": lambda store, owner, talk, message: store.delete(owner, talk),
    "path": lambda store, owner, talk, message: store.path(owner, talk),
    "turns": lambda store, owner, talk, message: store.turns(owner, talk),
    "message": lambda store, owner, talk, message: store.message(owner, talk, message),
    "say": lambda store, owner, talk, message: store.say(owner, talk, "Hello"),
    "reply": lambda store, owner, talk, message: store.reply(owner, talk, "Ada", "Hello", to=message),
    "reply_again": lambda store, owner, talk, message: store.reply_again(owner, talk, message, "Hello"),
    "swipe": lambda store, owner, talk, message: store.swipe(owner, talk, message, 1),
    "show": lambda store, owner, talk, message: store.show(owner, talk, message),
    "edit": lambda store, owner, talk, message: store.edit(owner, talk, message, "Hello"),
    "continue_reply": lambda store, owner, talk, message: store.continue_reply(owner, talk, message, " and on"),
    "undo": lambda store, owner, talk, message: store.undo(owner, talk),
    "redo": lambda store, owner, talk, message: store.redo(owner, talk),
    "branch": lambda store, owner, talk, message: store.branch(owner, talk, message),
    "delete_message": lambda store, owner, talk, message: store.delete_message(owner, talk, message),
    "rate": lambda store, owner, talk, message: store.rate(owner, talk, message, "up"),
    "compare": lambda store, owner, talk, message: store.compare(
        owner, talk, message, speaker="Ada", left=("a", "One"), right=("b", "Two"), vote="left"
    ),
    "comparisons": lambda store, owner, talk, message: store.comparisons(owner, talk),
    "read_whole": lambda store, owner, talk, message: store.read_whole(owner, talk),
}  # fmt: skip


def test_every_act_on_a_conversation_is_tried_as_somebody_else() -> None:
    methods = inspect.getmembers(ChatStore, inspect.isfunction)
    public = {name for name, each in methods if not name.startswith("_")}
    assert {name for name in public if "conversation" in inspect.signature(getattr(ChatStore, name)).parameters} == set(
        ACTS
    )


def everything(store: ChatStore) -> list[Any]:
    with store.reading() as connection:
        tables = ("conversations", "messages", "comparisons")
        return [[tuple(row) for row in connection.execute("SELECT * FROM " + table)] for table in tables]  # noqa: S608


@pytest.mark.parametrize("act", ACTS)
def test_nobody_sees_or_touches_what_is_somebody_elses(store: ChatStore, talk: str, act: str) -> None:
    _, reply = exchange(store, talk, "Hello", "Good day")
    before = everything(store)
    with pytest.raises(UnknownConversation) as refused:
        ACTS[act](store, OTHER, talk, reply)
    with pytest.raises(UnknownConversation) as unknown:
        ACTS[act](store, OTHER, "0" * 32, reply)
    assert str(refused.value).replace(talk, "0" * 32) == str(unknown.value)  # and nobody learns that it exists
    assert everything(store) == before
    ACTS[act](store, ME, talk, reply)


@pytest.mark.parametrize(
    "act", [name for name in ACTS if name not in {"get", "rename", "change_cast", "delete", "path", "turns"}]
)
def test_a_message_of_another_conversation_is_unknown(store: ChatStore, talk: str, act: str) -> None:
    _, elsewhere = exchange(store, store.begin(OTHER, ["Ada"], "Visitor").id, "Secret", "Quite so", OTHER)
    before = everything(store)
    if act in {"say", "undo", "redo", "comparisons", "read_whole"}:  # these are given no message
        return
    with pytest.raises(UnknownMessage):
        ACTS[act](store, ME, talk, elsewhere)
    assert everything(store) == before


def test_lists_and_searches_are_by_owner(store: ChatStore, talk: str) -> None:
    exchange(store, talk, "Where is the lamp?", "In the tower")
    assert store.list_of(OTHER) == []
    assert store.search(OTHER, "lamp") == []
    assert store.delete_all(OTHER) == 0
    assert store.owners() == {ME: 1}
    assert [each.id for each in store.list_of(ME)] == [talk]


@pytest.mark.parametrize("owner", ["", "a\nb", "x" * 201])
def test_an_owner_has_a_plain_name(store: ChatStore, owner: str) -> None:
    with pytest.raises(UsageError, match="cannot own"):
        store.begin(owner, ["Ada"], "Visitor")


# Conversations


def test_a_conversation_is_named_renamed_and_listed_newest_first(store: ChatStore, talk: str) -> None:
    second = store.begin(ME, ["Bo"], "Visitor", name="Lunch")
    assert [each.name for each in store.list_of(ME)] == ["Lunch", "Ada, Bo"]
    store.say(ME, talk, "Hello")
    assert store.rename(ME, second.id, " The\nlunch ").name == "The lunch"
    assert [each.name for each in store.list_of(ME)] == ["Ada, Bo", "The lunch"]


@pytest.mark.parametrize(
    ("characters", "speaker", "fault"),
    [
        ([], "Visitor", "0 characters"),
        (["A", "B", "C", "D", "E"], "Visitor", "5 characters"),
        (["Ada", "Ada"], "Visitor", "twice"),
        (["Ada"], " Ada ", "cannot talk to themselves"),
        (["Ada"], "\x00", "name of the user is empty"),
        (["A" * 81], "Visitor", "81 characters"),
    ],
)
def test_a_cast_that_cannot_be_is_refused(store: ChatStore, characters: list[str], speaker: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        store.begin(ME, characters, speaker)


def test_a_conversation_is_deleted_with_all_that_belongs_to_it(store: ChatStore, talk: str) -> None:
    asked, _ = exchange(store, talk, "Hello", "Good day")
    store.compare(ME, talk, asked, speaker="Ada", left=("a", "One"), right=("b", "Two"), vote="tie")
    other = store.begin(OTHER, ["Ada"], "Visitor").id
    exchange(store, other, "Mine", "Stays", OTHER)
    assert store.delete_all(ME) == 1
    assert [len(rows) for rows in everything(store)] == [1, 2, 0]
    assert shown(store, other, OTHER) == ["Mine", "Stays"]


def test_what_is_deleted_is_nowhere_in_the_files(store: ChatStore, talk: str) -> None:
    exchange(store, talk, "The secret word is xylophonist", "zyzzyvas then")
    exchange(store, talk, "and quixotry", "yes")
    store.delete_message(ME, talk, store.path(ME, talk)[2].id)
    assert store.file is not None
    files = list(store.file.parent.iterdir())
    assert [word for each in files for word in (b"quixotry",) if word in each.read_bytes()] == []
    assert any(b"xylophonist" in each.read_bytes() for each in files)
    store.delete(ME, talk)
    words = (b"xylophonist", b"zyzzyvas", b"Visitor")
    assert [word for each in files for word in words if word in each.read_bytes()] == []


def test_limits_are_sentences(tmp_path: Path) -> None:
    store = ChatStore(tmp_path / "a", KeptChatSettings(messages_per_conversation=3, conversations_per_owner=2))
    talk = store.begin(ME, ["Ada"], "Visitor").id
    exchange(store, talk, "Hello", "Good day")
    store.say(ME, talk, "More")
    with pytest.raises(UsageError, match="3 messages, as many as are allowed"):
        store.say(ME, talk, "Too much")
    store.begin(ME, ["Ada"], "Visitor")
    with pytest.raises(UsageError, match="2 conversations are kept for you"):
        store.begin(ME, ["Ada"], "Visitor")
    store.begin(OTHER, ["Ada"], "Visitor")
    assert shown(store, talk) == ["Hello", "Good day", "More"]
    store.close()


# What is shown


def test_alternatives_remember_where_one_left_off(store: ChatStore, talk: str) -> None:
    _, first = exchange(store, talk, "Hello", "Good day")
    exchange(store, talk, "How are you?", "Fine")
    again = store.reply_again(ME, talk, first, "Good morning", how=Written(engine="qwen"))
    assert (again.alternative, again.alternatives, again.engine) == (1, 2, "qwen")
    assert shown(store, talk) == ["Hello", "Good morning"]
    assert texts(store.swipe(ME, talk, again.id, -1)) == ["Hello", "Good day", "How are you?", "Fine"]
    assert texts(store.swipe(ME, talk, first, -1)) == ["Hello", "Good day", "How are you?", "Fine"]  # the outermost
    assert texts(store.swipe(ME, talk, first, 1)) == ["Hello", "Good morning"]
    assert store.get(ME, talk).answered_by == "qwen"


def test_one_comes_back_to_an_older_branch_if_that_is_where_one_left_off(store: ChatStore, talk: str) -> None:
    _, first = exchange(store, talk, "Hello", "Good day")
    older, _ = exchange(store, talk, "How are you?", "Fine")
    newer = store.edit(ME, talk, older, "Who are you?")
    store.swipe(ME, talk, newer.id, -1)
    again = store.reply_again(ME, talk, first, "Good morning")
    assert texts(store.swipe(ME, talk, again.id, -1)) == ["Hello", "Good day", "How are you?", "Fine"]


def test_what_was_taken_back_and_deleted_cannot_be_had_again(store: ChatStore, talk: str) -> None:
    asked, _ = exchange(store, talk, "Hello", "Good day")
    store.undo(ME, talk)
    store.delete_message(ME, talk, asked)
    assert not store.get(ME, talk).can_redo
    assert store.redo(ME, talk) == []


def test_an_edited_message_starts_a_branch_and_the_old_one_stays(store: ChatStore, talk: str) -> None:
    asked, _ = exchange(store, talk, "Hello", "Good day")
    edited = store.edit(ME, talk, asked, "Go away")
    assert shown(store, talk) == ["Go away"]
    store.reply(ME, talk, "Bo", "No", to=edited.id)
    assert texts(store.swipe(ME, talk, edited.id, -1)) == ["Hello", "Good day"]
    assert texts(store.show(ME, talk, edited.id)) == ["Go away", "No"]


def test_a_reply_is_continued_in_place(store: ChatStore, talk: str) -> None:
    _, reply = exchange(store, talk, "Hello", "Good d")
    store.rate(ME, talk, reply, "up")
    longer = store.continue_reply(ME, talk, reply, "ay to you", how=Written("stopped", evidence=[{"place": "S01"}]))
    assert (longer.id, longer.text, longer.state, longer.rating) == (reply, "Good day to you", "stopped", "up")
    assert longer.evidence == ({"place": "S01"},)
    with pytest.raises(UsageError, match="only a reply"):
        store.continue_reply(ME, talk, store.path(ME, talk)[0].id, "x")


@pytest.mark.parametrize(
    ("text", "more", "whole"),
    [("walk", "ing on", "walking on"), ("Yes.", "No", "Yes. No"), ("Yes.", " No", "Yes. No"), ("Ye", "s.", "Yes.")],
)
def test_a_continuation_is_joined_as_it_stands(text: str, more: str, whole: str) -> None:
    assert join(text, more) == whole


def test_what_was_taken_back_can_be_had_again(store: ChatStore, talk: str) -> None:
    exchange(store, talk, "Hello", "Good day")
    exchange(store, talk, "How are you?", "Fine")
    assert store.undo(ME, talk) == "How are you?"
    assert store.undo(ME, talk) == "Hello"
    assert shown(store, talk) == []
    assert store.undo(ME, talk) == ""
    assert texts(store.redo(ME, talk)) == ["Hello", "Good day"]
    assert store.get(ME, talk).can_redo
    assert texts(store.redo(ME, talk)) == ["Hello", "Good day", "How are you?", "Fine"]
    assert not store.get(ME, talk).can_redo
    assert len(store.redo(ME, talk)) == 4


def test_after_something_new_nothing_is_had_again_but_the_branch_is_there(store: ChatStore, talk: str) -> None:
    exchange(store, talk, "Hello", "Good day")
    store.undo(ME, talk)
    new = store.say(ME, talk, "Good evening")
    assert not store.get(ME, talk).can_redo
    assert (new.alternative, new.alternatives) == (1, 2)
    assert texts(store.swipe(ME, talk, new.id, -1)) == ["Hello", "Good day"]


def test_a_late_reply_stays_on_its_branch(store: ChatStore, talk: str) -> None:
    asked = store.say(ME, talk, "Hello")
    store.edit(ME, talk, asked.id, "Good evening")  # while the engine was at work
    store.reply(ME, talk, "Ada", "Hello yourself", to=asked.id)
    assert shown(store, talk) == ["Good evening"]
    assert texts(store.show(ME, talk, asked.id)) == ["Hello", "Hello yourself"]


def test_a_reply_to_a_message_that_is_gone_is_refused(store: ChatStore, talk: str) -> None:
    asked = store.say(ME, talk, "Hello")
    store.delete_message(ME, talk, asked.id)
    with pytest.raises(UnknownMessage):
        store.reply(ME, talk, "Ada", "Hello yourself", to=asked.id)
    assert store.get(ME, talk).messages == 0


def test_a_branch_becomes_a_conversation_of_its_own(store: ChatStore, talk: str) -> None:
    _, reply = exchange(store, talk, "Hello", "Good day")
    exchange(store, talk, "How are you?", "Fine")
    store.rate(ME, talk, reply, "down")
    new = store.branch(ME, talk, reply)
    assert (new.name, new.characters, new.id != talk) == ("Ada, Bo (branch)", ("Ada", "Bo"), True)
    assert shown(store, new.id) == ["Hello", "Good day"]
    assert store.path(ME, new.id)[1].rating == "down"
    store.delete(ME, new.id)
    assert len(shown(store, talk)) == 4


def test_a_message_is_deleted_with_what_follows(store: ChatStore, talk: str) -> None:
    asked, first = exchange(store, talk, "Hello", "Good day")
    exchange(store, talk, "How are you?", "Fine")
    store.reply_again(ME, talk, first, "Good morning")
    assert texts(store.delete_message(ME, talk, store.path(ME, talk)[-1].id)) == [
        "Hello", "Good day", "How are you?", "Fine",
    ]  # fmt: skip
    assert texts(store.delete_message(ME, talk, first)) == ["Hello"]
    assert store.delete_message(ME, talk, asked) == []
    assert store.get(ME, talk).messages == 0


def test_deleting_a_branch_that_is_not_shown_changes_nothing_shown(store: ChatStore, talk: str) -> None:
    _, first = exchange(store, talk, "Hello", "Good day")
    store.reply_again(ME, talk, first, "Good morning")
    assert texts(store.delete_message(ME, talk, first)) == ["Hello", "Good morning"]
    only = store.path(ME, talk)[-1]
    assert (only.alternative, only.alternatives) == (0, 1)


def test_a_very_long_conversation_is_read_and_deleted(tmp_path: Path) -> None:
    store = ChatStore(tmp_path / "long.sqlite")  # deeper than SQLite's triggers, and than Python's recursion
    talk = store.begin(ME, ["Ada"], "Visitor").id
    first = store.say(ME, talk, "0").id
    with store.writing():
        for number in range(1, 1100):
            store.say(ME, talk, str(number))
    assert shown(store, talk) == [str(number) for number in range(1100)]
    assert store.delete_message(ME, talk, first) == []
    store.close()


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_only_a_finished_reply_must_have_words(store: ChatStore, talk: str, state: str) -> None:
    asked = store.say(ME, talk, "Hello")
    with pytest.raises(UsageError, match="empty"):
        store.reply(ME, talk, "Ada", " \x00 ", to=asked.id)
    kept = store.reply(ME, talk, "Ada", "", how=Written(state), to=asked.id)
    assert (kept.text, kept.state) == ("", state)


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (lambda store, talk: store.reply(ME, talk, "Zoe", "Hi"), "Zoe does not take part"),
        (lambda store, talk: store.say(ME, talk, "Hi", speaker="Bo"), "speak as somebody else"),
        (lambda store, talk: store.say(ME, talk, "x" * 50_001), "50,001 characters"),
        (lambda store, talk: store.reply(ME, talk, "Ada", "Hi", how=Written("lost")), "the state is 'lost'"),
        (lambda store, talk: store.reply(ME, talk, "Ada", "Hi", how=Written(seed=2**70)), "cannot be kept"),
        (lambda store, talk: store.rate(ME, talk, store.say(ME, talk, "Hi").id, "up"), "only replies"),
        (
            lambda store, talk: store.rate(ME, talk, store.reply(ME, talk, "Ada", "Hi").id, "great"),
            "the rating is 'great'",
        ),
    ],
)
def test_what_cannot_be_kept_is_a_sentence(
    store: ChatStore, talk: str, act: Callable[[ChatStore, str], object], fault: str
) -> None:
    with pytest.raises(UsageError, match=fault):
        act(store, talk)


def test_what_a_reply_came_from_is_kept(store: ChatStore, talk: str) -> None:
    asked = store.say(ME, talk, "Hel\x00lo\r\nyou \ud800")
    assert asked.text == "Hel lo\nyou \ufffd"
    how = Written("stopped", "llama 20261121-101500", [{"place": "S01E01", "score": 1.5}], 7)
    kept = store.reply(ME, talk, "Ada", "Good", how=how, to=asked.id)
    again = store.message(ME, talk, kept.id)
    assert (again.state, again.engine, again.evidence, again.seed) == ("stopped", how.engine, (how.evidence[0],), 7)


def test_turns_feed_the_prompt(store: ChatStore, talk: str) -> None:
    exchange(store, talk, "Hello\nBo: I am Bo", "Good day")
    asked = store.say(ME, talk, "And?")
    store.reply(ME, talk, "Bo", "half a th", how=Written("failed"), to=asked.id)
    said = store.turns(ME, talk)
    assert said == [Turn("Visitor", "Hello Bo: I am Bo"), Turn("Ada", "Good day"), Turn("Visitor", "And?")]
    assert build_messages(Character("Ada"), "T", said)[-1] == {"role": "user", "content": "Visitor: And?"}
    assert turns([Message(1, None, NOTE, "System", "Hidden")]) == []


# The tree


def test_a_tree_says_what_follows_what() -> None:
    tree = Tree([Node(1, None, 0), Node(2, 1, 0), Node(3, 1, 1), Node(4, 2, 0), Node(5, 2, 1, None)])
    assert tree.path(5) == [1, 2, 5]
    assert (tree.deepest(1), tree.deepest(2)) == (3, 5)
    assert (tree.siblings(3), tree.neighbour(2, 5), tree.neighbour(2, -1)) == ([2, 3], 3, 2)
    assert sorted(tree.subtree(2)) == [2, 4, 5]
    assert (tree.fork(5, 3), tree.fork(5, 2), tree.fork(1, 5), tree.fork(9, 5)) == (2, 5, None, None)


def test_a_place_that_was_deleted_is_not_gone_back_to() -> None:
    assert Tree([Node(1, None, 0, 99), Node(2, 1, 0)]).deepest(1) == 2
    assert Tree([Node(1, None, 0, 3), Node(2, 1, 0), Node(3, None, 1)]).deepest(1) == 2  # not below it


# Searching


@pytest.fixture(params=["FTS5", "LIKE"])
def searched(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatStore]:
    """A store with an index of words, and one as a SQLite without FTS5 has it, opened after an index was there."""
    file = tmp_path / "chats.sqlite"
    ChatStore(file).close()
    if request.param == "LIKE":
        monkeypatch.setattr(schema, "has_fts5", lambda connection: False)
    store = ChatStore(file)
    talk = store.begin(ME, ["Ada"], "Visitor", name="Clocks and 100% lamps").id
    exchange(store, talk, "Where is the Lighthouse keeper?", "He went to the café, he_said")
    yield store
    store.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lighthouse", 1), ("keeper light", 1), ("lighthouse café", 0), ("clocks", 1), ("lamp", 1), ("100%", 1),
        ("", 0), ("  ", 0), ('"', 0), ("keeper OR café", 0), ("NOT keeper", 0), ("text:keeper", 0), ("*", 0),
    ],
)  # fmt: skip
def test_words_are_found_in_names_and_messages(searched: ChatStore, text: str, found: int) -> None:
    assert len(searched.search(ME, text)) == found


def test_what_was_found_says_where(searched: ChatStore) -> None:
    (found,) = searched.search(ME, "KEEPER")
    assert (found.name, found.excerpt) == ("Clocks and 100% lamps", "Where is the Lighthouse keeper?")
    assert found.message == searched.path(ME, found.conversation)[0].id


def test_a_changed_or_deleted_message_is_found_as_it_is_now(searched: ChatStore) -> None:
    talk = searched.list_of(ME)[0].id
    asked, reply = (each.id for each in searched.path(ME, talk))
    searched.continue_reply(ME, talk, reply, " to the harbour")
    assert len(searched.search(ME, "harbour")) == 1
    searched.delete_message(ME, talk, asked)
    assert searched.search(ME, "harbour") == []


def test_an_index_that_was_away_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "chats.sqlite"
    ChatStore(file).close()
    with monkeypatch.context() as without:
        without.setattr(schema, "has_fts5", lambda connection: False)
        store = ChatStore(file)
        with store.reading() as connection:  # triggers would fail at each message there
            assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall() == []
        exchange(store, store.begin(ME, ["Ada"], "Visitor").id, "The harbour", "Yes")
        store.close()
    store = ChatStore(file)
    assert store._has_words
    assert len(store.search(ME, "harb")) == 1
    store.close()


MEMORY = ChatStore(None)
exchange(MEMORY, MEMORY.begin(ME, ["Ada"], "Visitor").id, "Hello", "Good day")


@given(strategies.text(max_size=30) | strategies.text("\"*()^:-+{}ANDORT \0'", max_size=12))
@hypothesis_settings(max_examples=150, deadline=None)
def test_no_text_breaks_a_search(text: str) -> None:
    MEMORY.search(ME, text)


# Votes, ratings and pairs for training


@pytest.mark.parametrize("vote", ["left", "right", "tie", "both_bad"])
def test_a_vote_gives_a_pair_where_one_is_better(store: ChatStore, talk: str, vote: str) -> None:
    asked, reply = exchange(store, talk, "Hello", "Good day")
    kept = store.compare(ME, talk, asked, speaker="Ada", left=("llama 1", "Yes"), right=("llama 2", "No"), vote=vote)
    assert store.comparisons(ME, talk) == [kept]
    store.continue_reply(ME, talk, reply, " and later")  # what was said afterwards changes no prompt
    pairs = preference_pairs(store, ME)
    wanted = {"left": [("Yes", "No")], "right": [("No", "Yes")]}.get(vote, [])
    assert [(pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in pairs] == wanted
    assert [pair["prompt"] for pair in pairs] == [[{"role": "user", "content": "Visitor: Hello"}]] * len(wanted)


def test_a_vote_that_is_none_is_refused(store: ChatStore, talk: str) -> None:
    asked, _ = exchange(store, talk, "Hello", "Good day")
    with pytest.raises(UsageError, match="There are: left, right, tie, both_bad"):
        store.compare(ME, talk, asked, speaker="Ada", left=("a", "Yes"), right=("b", "No"), vote="best")


def test_thumbs_up_beside_thumbs_down_give_pairs(store: ChatStore, talk: str) -> None:
    _, first = exchange(store, talk, "Hello", "Good day")
    second, third = (store.reply_again(ME, talk, first, text).id for text in ("Hi", "Go away"))
    for message, rating in ((first, "up"), (second, "up"), (third, "down")):
        store.rate(ME, talk, message, rating)
    _, alone = exchange(store, talk, "Well?", "Well.")
    store.rate(ME, talk, alone, "down")
    cast = Cast([Character("Ada", persona="You mend clocks.")])
    pairs = preference_pairs(store, ME, persona_prompt(cast, "The Slow Clock"))
    assert [(pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in pairs] == [
        ("Good day", "Go away"),
        ("Hi", "Go away"),
    ]
    assert [message["role"] for message in pairs[0]["prompt"]] == ["system", "user"]
    assert pairs[0]["prompt"][0]["content"].startswith("You mend clocks.")
    assert [json.loads(line) for line in to_jsonl(pairs).splitlines()] == pairs
    assert preference_pairs(store, OTHER) == []


@pytest.mark.slow
def test_trl_takes_the_pairs(store: ChatStore, talk: str, nano_tokenizers: dict[str, Any]) -> None:
    from trl.data_utils import apply_chat_template, is_conversational

    asked, _ = exchange(store, talk, "Hello", "Good day")
    store.compare(ME, talk, asked, speaker="Ada", left=("a", "Yes"), right=("b", "No"), vote="left")
    (pair,) = preference_pairs(store, ME, persona_prompt(Cast([Character("Ada")]), "T"))
    assert is_conversational(pair)
    rendered = apply_chat_template(pair, nano_tokenizers["llama"])
    assert set(rendered) == {"prompt", "chosen", "rejected"}
    assert ("Yes" in rendered["chosen"], "No" in rendered["rejected"], "Hello" in rendered["prompt"]) == (True,) * 3


# What is kept, and how long


@pytest.mark.parametrize(
    ("keep", "keep_visitors", "logged_in", "kept"),
    [(True, False, True, True), (True, False, False, False), (True, True, False, True), (False, True, True, False)],
)
def test_settings_say_who_is_kept(tmp_path: Path, keep: bool, keep_visitors: bool, logged_in: bool, kept: bool) -> None:
    settings = KeptChatSettings(keep=keep, keep_visitors=keep_visitors, file=tmp_path / "chats.sqlite")
    store = open_chat_store(settings, logged_in)
    exchange(store, store.begin(ME, ["Ada"], "Visitor").id, "Hello", "Good day")
    assert is_kept(settings, logged_in) is kept
    assert settings.file.exists() is kept
    sentence = describe_storage(settings, logged_in)
    assert ("memory" in sentence, str(settings.file) in sentence) == (not kept, kept)
    store.close()


def test_memory_forgets_the_conversation_unused_for_longest() -> None:
    store = ChatStore(None, KeptChatSettings(conversations_in_memory=2))
    first, second = (store.begin(owner, ["Ada"], "Visitor").id for owner in ("a", "b"))
    store.say("a", first, "Still here")
    store.begin("c", ["Ada"], "Visitor")
    assert store.owners() == {"a": 1, "c": 1}
    with pytest.raises(UnknownConversation):
        store.get("b", second)
    store.close()


def test_what_is_older_than_the_settings_say_is_removed_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = KeptChatSettings(file=tmp_path / "chats.sqlite", retention_days=30)
    store = open_chat_store(settings, True)
    now = time.time()
    monkeypatch.setattr(conversations.time, "time", lambda: now - 31 * DAY)
    store.begin(ME, ["Ada"], "Visitor", name="old")
    monkeypatch.undo()
    store.begin(ME, ["Ada"], "Visitor", name="new")
    store.close()
    assert len(open_chat_store(replace(settings, retention_days=0), True).list_of(ME)) == 2
    with caplog.at_level(logging.INFO):
        again = open_chat_store(settings, True)
    assert [each.name for each in again.list_of(ME)] == ["new"]
    assert "1 conversations older than 30 days deleted" in caplog.text
    assert "30 days after their last change" in describe_storage(settings, True)
    again.close()


# Many at once, and kill -9


def stress(file: Path, threads: int, talks: int, turns_each: int = 4) -> int:
    """Conversations by threads on one store, with aborts, retries, edits and undos; how many were checked."""
    store = ChatStore(file, KeptChatSettings(conversations_per_owner=10_000))
    wanted: dict[tuple[str, str], list[str]] = {}
    problems: list[BaseException] = []

    def visit(number: int) -> None:
        rng, owner = random.Random(number), f"visitor-{number}"
        try:
            for _ in range(talks // threads):
                talk = store.begin(owner, ["Ada"], "Visitor").id
                wanted[owner, talk] = one_conversation(store, owner, talk, rng, turns_each)
        except BaseException as error:
            problems.append(error)

    running = [threading.Thread(target=visit, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert problems == []
    store.close()
    check(file, wanted)
    return len(wanted)


def one_conversation(store: ChatStore, owner: str, talk: str, rng: random.Random, count: int) -> list[str]:
    """Talk, and say what has to be shown at the end."""
    wanted: list[str] = []
    for number in range(count):
        text = f"{owner} {talk} {number}"
        asked = store.say(owner, talk, text)
        act = rng.choice(("reply", "abort", "edit", "again", "undo", "late"))
        if act == "edit":
            text += " edited"
            asked = store.edit(owner, talk, asked.id, text)
        if act == "late":
            kept = store.edit(owner, talk, asked.id, text + " instead")
            store.reply(owner, talk, "Ada", "too late", to=asked.id)
            asked, text = kept, text + " instead"
        state = "stopped" if act == "abort" else "done"
        reply = store.reply(owner, talk, "Ada", f"heard {text}", how=Written(state), to=asked.id)
        if act == "again":
            store.reply_again(owner, talk, reply.id, f"again {text}")
            store.swipe(owner, talk, reply.id, 1)
            store.swipe(owner, talk, store.path(owner, talk)[-1].id, -1)
        if act == "undo":
            store.undo(owner, talk)
        else:
            wanted += [text, f"heard {text}"]
    return wanted


def check(file: Path, wanted: dict[tuple[str, str], list[str]]) -> None:
    store = ChatStore(file)
    with store.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT count(*) FROM conversations").fetchone()[0] == len(wanted)
        astray = (
            "SELECT count(*) FROM messages m JOIN messages p ON p.id = m.parent WHERE p.conversation != m.conversation"
        )
        assert connection.execute(astray).fetchone()[0] == 0
    for (owner, talk), lines in wanted.items():
        assert shown(store, talk, owner) == lines
    store.close()


def test_no_conversation_is_lost_or_mixed_by_threads(tmp_path: Path) -> None:
    assert stress(tmp_path / "chats.sqlite", threads=8, talks=40) == 40


@pytest.mark.slow
def test_a_thousand_conversations_of_sixteen_threads(tmp_path: Path) -> None:
    assert stress(tmp_path / "chats.sqlite", threads=16, talks=1008) == 1008


def kill_writers(file: Path, owners: list[str], messages: int) -> dict[str, list[tuple[str, int, str]]]:
    """Start writers, kill each after so many messages were reported; what they reported to be kept."""
    running = {
        owner: subprocess.Popen([sys.executable, str(WRITER), str(file), owner], stdout=subprocess.PIPE, text=True)
        for owner in owners
    }
    reported: dict[str, list[tuple[str, int, str]]] = {}
    for owner, process in running.items():
        with process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(messages)]
            process.kill()
            lines += process.stdout.read().splitlines()
            rows = [line.strip().split(maxsplit=2) for line in lines]
            rows = [row for row in rows if len(row) == 3 and row[2].rpartition(" ")[2].isdecimal()]
            reported[owner] = [(talk, int(message), text.strip()) for talk, message, text in rows]
    return reported


def check_reported(file: Path, reported: dict[str, list[tuple[str, int, str]]]) -> None:
    store = ChatStore(file)
    with store.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    for owner, rows in reported.items():
        kept = {each.id: [(m.id, m.text) for m in store.path(owner, each.id)] for each in store.list_of(owner)}
        for talk, message, text in rows[:-1]:
            assert (message, text) in kept[talk]
        assert all(text.startswith(owner) for path in kept.values() for _, text in path)
    talk = store.begin("after", ["Ada"], "Visitor").id  # and it goes on
    exchange(store, talk, "Hello", "Good day", "after")
    store.close()


def test_a_killed_process_loses_nothing_that_it_had_kept(tmp_path: Path) -> None:
    reported = kill_writers(tmp_path / "chats.sqlite", ["writer"], 30)
    assert len(reported["writer"]) >= 30
    check_reported(tmp_path / "chats.sqlite", reported)


@pytest.mark.slow
def test_killed_processes_beside_each_other_lose_and_mix_nothing(tmp_path: Path) -> None:
    for number in range(10):
        owners = [f"writer-{number}-{each}" for each in range(3)]
        reported = kill_writers(tmp_path / "chats.sqlite", owners, 20 + 37 * number % 90)
        check_reported(tmp_path / "chats.sqlite", reported)
