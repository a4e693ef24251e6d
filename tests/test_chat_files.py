"""Conversations to take along: our JSON, SillyTavern's JSONL, Markdown, and the command."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings
from markdown_it import MarkdownIt

import training_pipeline
from character_chatbot.chats.chat_files import file_name, read_chat, read_chat_file, write_chat
from character_chatbot.chats.commands import FORMATS
from character_chatbot.chats.fields import LARGEST_FILE_BYTES
from character_chatbot.chats.markdown_file import quote
from character_chatbot.chats.sillytavern_dates import read_date
from character_chatbot.chats.store import ChatStore, Written
from character_chatbot.chats.whole import WholeConversation
from utils.command_line import run_command
from utils.errors import DataError, SuiteError

ME = "me"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChatStore]:
    store = ChatStore(tmp_path / "chats.sqlite")
    yield store
    store.close()


@pytest.fixture
def whole(store: ChatStore) -> WholeConversation:
    """A conversation with all there can be."""
    talk = store.begin(ME, ["Ada", "Bo"], "Visitor", name="Clocks & lamps").id
    asked = store.say(ME, talk, "Hello\nyou")
    how = Written("stopped", "llama 20261121-101500", [{"place": "S01E01, line 3", "score": 0.25}], 7)
    first = store.reply(ME, talk, "Ada", "Good day 🕰", how=how, to=asked.id)
    second = store.reply_again(ME, talk, first.id, "Good morning")
    store.rate(ME, talk, first.id, "up")
    store.rate(ME, talk, second.id, "down")
    store.compare(ME, talk, asked.id, speaker="Bo", left=("a", "Yes"), right=("b", "No"), vote="right")
    more = store.say(ME, talk, "And lunch?")
    store.reply(ME, talk, "Bo", "", how=Written("failed"), to=more.id)
    store.edit(ME, talk, asked.id, "Good evening")
    store.undo(ME, talk)
    store.redo(ME, talk)
    store.undo(ME, talk)
    return store.read_whole(ME, talk)


def again(store: ChatStore, whole: WholeConversation, format: str) -> WholeConversation:
    """Out to a file and in again, as somebody else's."""
    text = write_chat(whole, format)
    kept = store.write_whole("somebody", read_chat(text.encode(), "chat"))
    return store.read_whole("somebody", kept.id)


# Ours


def test_our_own_file_loses_nothing(store: ChatStore, whole: WholeConversation) -> None:
    assert len(whole.messages) == 6
    assert (whole.leaf, whole.undone) == (None, (5,))
    assert again(store, whole, "json") == whole
    assert write_chat(again(store, whole, "json"), "json") == write_chat(whole, "json")


@pytest.mark.parametrize("format", ["json", "sillytavern"])
def test_who_has_left_is_known_in_a_file(store: ChatStore, format: str) -> None:
    talk = store.begin(ME, ["Ada", "Bo", "Cleo"], "Visitor").id
    store.say(ME, talk, "Hello")
    store.reply(ME, talk, "Bo", "Good day")
    store.change_cast(ME, talk, ["Cleo", "Ada"])
    whole = store.read_whole(ME, talk)
    assert (whole.characters, whole.departed) == (("Cleo", "Ada"), ("Bo",))
    read = again(store, whole, format)
    assert (read.characters, read.departed) == (whole.characters, whole.departed)
    assert [each.message.speaker for each in read.messages] == ["Visitor", "Bo"]
    assert "Visitor with Cleo, Ada (before: Bo), " in write_chat(read, "markdown")
    untold = write_chat(whole, "sillytavern").replace("stranger_things_suite", "other")
    assert read_chat(untold.encode(), "chat").characters == ("Bo",)  # as from SillyTavern: all who have spoken


def change(content: dict[str, Any], path: tuple[str | int, ...], value: Any) -> str:
    at: Any = content
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("version",), 2, "version 2 of the format; this program reads 1"),
        (("version",), "1", "'version' is '1', which is not a whole number"),
        (("speaker",), 5, "'speaker' is 5, which is not a text"),
        (("speaker",), "Ada", "Ada cannot talk to themselves"),
        (("characters",), [1], "the name of a character is empty"),
        (("characters",), "Ada", "'characters' is 'Ada', which is not a list"),
        (("messages",), {"a": 1}, "'messages' is a dict, which is not a list"),
        (("messages", 2), "hello", "chat, message 2: 'hello' is no object"),
        (("messages", 2, "text"), None, "chat, message 2: 'text' is None, which is not a text"),
        (("messages", 2, "text"), "x" * 50_001, "chat, message 2: 'text' has 50,001 characters"),
        (("messages", 2, "parent"), 2, "chat, message 2: 'parent' is 2, which is no place below 2"),
        (("messages", 2, "parent"), True, "which is not a whole number"),
        (("messages", 2, "role"), "system", "'role' is 'system'"),
        (("messages", 2, "state"), "", "'state' is ''"),
        (("messages", 2, "created"), 1e300, "no time in seconds"),
        (("messages", 2, "seed"), 2**70, "cannot be kept as JSON"),
        (("messages", 2, "extra"), [], "'extra' is a list, which is not an object"),
        (("leaf",), 6, "'leaf' is 6, which is no place below 6"),
        (("undone",), [-1], "no list of places below 6"),
        (("comparisons", 0, "vote"), "best", "chat, comparison 0: 'vote' is 'best'"),
        (("comparisons", 0, "context"), [["a"]], "no list of \\[speaker, text\\]"),
    ],
)
def test_a_fault_in_our_file_names_its_place(whole: WholeConversation, path: Any, value: Any, fault: str) -> None:
    text = change(json.loads(write_chat(whole, "json")), path, value)
    with pytest.raises(DataError, match=fault):
        read_chat(text.encode(), "chat")


def test_what_the_store_refuses_leaves_nothing_behind(store: ChatStore, whole: WholeConversation) -> None:
    text = change(json.loads(write_chat(whole, "json")), ("messages", 1, "speaker"), "Zoe")
    with pytest.raises(SuiteError, match="Zoe does not take part"):
        store.write_whole("somebody", read_chat(text.encode(), "chat"))
    assert store.list_of("somebody") == []


def deep(levels: int) -> str:
    return '{"user_name": "A", "character_name": "B", "x": ' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "chat is empty"),
        (b" \n\n", "chat is empty"),
        (b"\xff\xfe\x00", "chat, line 1: byte 0 is not UTF-8"),
        (b'{"user_name": "A"}\n\n\xe9', "chat, line 3: byte 20 is not UTF-8"),
        (b"<html>", "chat, line 1: no valid JSON"),
        (b"[1, 2]", "chat, line 1: a list is no object"),
        (b'{"user_name": "A"}\n{"mes": ', "chat, line 2: no valid JSON"),
        (b'{\n "format": "stranger-things-suite/chat",\n oops\n}', "chat, line 3: no valid JSON"),
        (b'{"user_name": NaN}', "NaN is no number of JSON"),
        (b'{"user_name": ' + b"9" * 5000 + b"}", "no valid JSON"),
        (b'{"a": 1}\n{"mes": "x"}', "chat, line 1: no chat of SillyTavern"),
        (b'{"user_name": "A"}\n7', "chat, line 2: 7 is no object"),
        (b'{"user_name": "A"}\n{"mes": 5}', "chat, line 2: 'mes' is int, which is not a text"),
        (b'{"user_name": "A"}\n{"name": [], "mes": "x"}', "chat, line 2: 'name' is a list"),
        (b'{"user_name": "A"}\n{"name": "B", "mes": "x", "swipes": "x"}', "line 2: 'swipes' is 'x'"),
        (b'{"user_name": "A"}\n{"name": "B", "mes": "x", "extra": []}', "line 2: 'extra' is a list"),
        (b'{"user_name": "A"}\n{"name": "' + b"B" * 90 + b'", "mes": "x"}', "line 2: 'name' has 90 characters"),
        (b'{"user_name": "A"}', "0 characters"),
        (b'{"user_name": "A"}\n{"name": "A", "mes": "x"}', "A cannot talk to themselves"),
        (deep(30).encode(), "nested deeper than 20"),
        (deep(100_000).encode(), "nested too deep"),
    ],
)  # fmt: skip
def test_a_broken_file_is_a_sentence_with_its_line(content: bytes, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_chat(content, "chat")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.json"
    with file.open("wb") as stream:
        stream.truncate(LARGEST_FILE_BYTES + 5)
    with pytest.raises(DataError, match=r"20\.0 MB; at most 20 are read"):
        read_chat_file(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_chat_file(tmp_path)


# SillyTavern

MODERN = [
    {"chat_metadata": {"integrity": "slug", "note_prompt": ""}, "user_name": "unused", "character_name": "unused"},
    {
        "name": "Ada", "is_user": False, "is_system": False, "send_date": "2026-01-01T02:00:00.000Z", "mes": "Come in.",
        "extra": {"api": "openai", "model": "gpt"}, "swipe_id": 1, "swipes": ["Go.", "Come in.", "Who?"],
        "swipe_info": [
            {"send_date": "2026-01-01T01:59:00.000Z", "gen_started": "x", "extra": {"model": "old"}},
            {"send_date": "2026-01-01T02:00:00.000Z", "extra": {"api": "openai", "model": "gpt"}},
            {"send_date": "2026-01-01T02:01:00.000Z", "extra": {}},
        ],
        "gen_started": "2026-01-01T01:59:58.000Z", "force_avatar": "/thumbnail?file=Ada.png", "variables": [{"a": 1}],
    },
    {"name": "Me", "is_user": True, "is_system": False, "send_date": "July 12, 2024 1:31pm", "mes": "Hi\n\nthere",
     "extra": {"isSmallSys": False}},
    {"name": "System", "is_user": False, "is_system": True, "send_date": 1720000000000, "mes": "*night falls*",
     "extra": {"type": "comment"}},
    {"name": "Bo", "is_user": False, "is_system": False, "send_date": "2024-07-12@01h31m37s123ms", "mes": "Lunch?",
     "original_avatar": "Bo.png", "extra": {"gen_id": 12.5}},
]  # fmt: skip


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_chat_of_sillytavern_is_read(store: ChatStore) -> None:
    kept = store.write_whole(ME, read_chat(jsonl(MODERN).encode(), "chat"))
    assert (kept.characters, kept.speaker, kept.messages) == (("Ada", "Bo"), "Me", 6)
    path = store.path(ME, kept.id)
    assert [each.text for each in path] == ["Come in.", "Hi\n\nthere", "*night falls*", "Lunch?"]
    assert [each.role for each in path] == ["character", "user", "note", "character"]
    assert (path[0].alternative, path[0].alternatives, path[0].engine) == (1, 3, "gpt")
    assert path[1].created == 1720791060
    assert [turn.speaker for turn in store.turns(ME, kept.id)] == ["Ada", "Me", "Bo"]


def test_a_chat_of_sillytavern_goes_out_as_it_came_in(store: ChatStore) -> None:
    kept = store.write_whole(ME, read_chat(jsonl(MODERN).encode(), "chat"))
    assert rows_of(write_chat(store.read_whole(ME, kept.id), "sillytavern")) == MODERN


def test_macros_and_swipes_of_the_user_go_out_as_they_came_in(store: ChatStore) -> None:
    infos = [{"send_date": "2026-01-01T02:00:00.000Z", "extra": {}}] * 2
    row = {"is_system": False, "send_date": "2026-01-01T02:00:00.000Z", "extra": {}, "swipe_info": infos}
    rows = [
        MODERN[0],
        row | {"name": "Ada", "is_user": False, "mes": "Hi", "swipe_id": 0, "swipes": ["Hi", "Oh {{user}} {{roll:9}}"]},
        row | {"name": "Me", "is_user": True, "mes": "you", "swipe_id": 1, "swipes": ["I", "you"]},
    ]
    kept = store.write_whole(ME, read_chat(jsonl(rows).encode(), "chat"))
    assert rows_of(write_chat(store.read_whole(ME, kept.id), "sillytavern")) == rows
    store.swipe(ME, kept.id, store.path(ME, kept.id)[0].id, 1)
    shown = store.path(ME, kept.id)[0].text
    assert shown.startswith("Oh Me ")
    assert shown[-1].isdigit()


def test_of_a_large_group_those_take_part_who_have_spoken_last(store: ChatStore) -> None:
    rows = [{"name": name, "is_user": False, "mes": "Hi"} for name in "ABCDEFA"]
    kept = store.write_whole(ME, read_chat(jsonl([MODERN[0], *rows]).encode(), "chat"))
    assert (kept.characters, kept.departed) == (("A", "D", "E", "F"), ("B", "C"))
    assert [each.speaker for each in store.path(ME, kept.id)] == list("ABCDEFA")
    assert again(store, store.read_whole(ME, kept.id), "sillytavern").departed == ("B", "C")


def test_another_swipe_goes_out_with_its_own_fields(store: ChatStore) -> None:
    kept = store.write_whole(ME, read_chat(jsonl(MODERN).encode(), "chat"))
    first = store.path(ME, kept.id)[0]
    store.swipe(ME, kept.id, first.id, -1)
    row = rows_of(write_chat(store.read_whole(ME, kept.id), "sillytavern"))[1]
    assert (row["mes"], row["swipe_id"], row["send_date"]) == ("Go.", 0, "2026-01-01T01:59:00.000Z")
    assert (row["extra"], row["variables"]) == ({"model": "old"}, [{"a": 1}])
    assert row["swipe_info"] == MODERN[1]["swipe_info"]


def test_our_conversation_is_a_chat_that_sillytavern_can_read(store: ChatStore, whole: WholeConversation) -> None:
    talk = store.write_whole(ME, whole)
    store.show(ME, talk.id, store.redo(ME, talk.id)[0].id - 5)
    exported = store.read_whole(ME, talk.id)
    header, *rows = rows_of(write_chat(exported, "sillytavern"))
    assert {"user_name", "character_name", "create_date", "chat_metadata"} <= header.keys()
    assert [row["mes"] for row in rows] == ["Hello\nyou", "Good morning", "And lunch?", ""]
    for row in rows:
        assert {"name", "is_user", "is_system", "send_date", "mes", "extra"} <= row.keys()
    assert (rows[1]["swipes"], rows[1]["swipe_id"]) == (["Good day 🕰", "Good morning"], 1)
    assert len(rows[1]["swipe_info"]) == 2
    back = again(store, exported, "sillytavern")
    assert [each.text for each in back.shown()] == [row["mes"] for row in rows]


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        ([{"name": "Ada", "mes": "No header"}, {"name": "U", "is_user": True, "mes": "Hi"}], ["No header", "Hi"]),
        ([{"user_name": "U", "character_name": "Ada"}], []),
        ([{"name": "U", "character_name": "Ada"}, {"name": "Ada", "mes": {"message": "From Chub"}}], ["From Chub"]),
        ([{"user_name": "U"}, {"name": "Ada", "mes": "b", "swipes": ["a", "b"], "swipe_id": 9}], ["b"]),
        ([{"user_name": "U"}, {"name": "Ada", "mes": "changed", "swipes": ["a", "b"], "swipe_id": 0}], ["changed"]),
        ([{"user_name": "U"}, {"name": "Ada", "mes": "", "swipes": [], "swipe_info": ["x"]}], [""]),
        ([{"user_name": "U"}, {"name": "Ada", "mes": "a\u2028b\u0000c\ud800"}], ["a\nb c\ufffd"]),
    ],
)
def test_older_and_odd_chats_are_read(store: ChatStore, rows: list[dict[str, Any]], shown: list[str]) -> None:
    kept = store.write_whole(ME, read_chat(jsonl(rows).encode(), "chat"))
    assert (kept.characters, [each.text for each in store.path(ME, kept.id)]) == (("Ada",), shown)
    write_chat(store.read_whole(ME, kept.id), "sillytavern").encode()


@pytest.mark.parametrize("fields", [{"is_system": True}, {"extra": {"type": "narrator"}}])
def test_hidden_and_narrated_messages_are_no_part_of_a_prompt(store: ChatStore, fields: dict[str, Any]) -> None:
    rows = [{"user_name": "U"}, {"name": "Ada", "mes": "Hi"}, {"name": "Voice", "mes": "Night falls."} | fields]
    kept = store.write_whole(ME, read_chat(jsonl(rows).encode(), "chat"))
    assert (kept.characters, len(store.path(ME, kept.id)), len(store.turns(ME, kept.id))) == (("Ada",), 2, 1)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        (1720791097123, 1720791097.123), ("1720791097123", 1720791097.123), ("2024-07-12@13h31m37s", 1720791097),
        ("2024-7-12 @13h 31m 37s 123ms", 1720791097.123), ("2024-07-12T13:31:37.000Z", 1720791097),
        ("2024-07-12T15:31:37+02:00", 1720791097), ("July 12, 2024 1:31 PM", 1720791060),
        ("", 5.0), ("soon", 5.0), (None, 5.0), (True, 5.0), ("2024-13-40@99h00m00s", 5.0), (-1, 5.0), (1e300, 5.0),
    ],
)  # fmt: skip
def test_dates_of_all_years_are_read(date: Any, seconds: float) -> None:
    assert read_date(date, 5.0) == pytest.approx(seconds)


# Markdown


def blocks(text: str) -> list[str]:
    """The kinds of what a reader of Markdown sees, inner ones included."""
    found = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        found += [token.type, *(child.type for child in token.children or ())]
    return found


HOSTILE = (
    "# Heading", "</blockquote><script>alert(1)</script>", "```\ncode", "[link](http://a)", "![x](http://a/b.png)",
    "a\n\nb", "---", "===", "Setext\n===", "1. one\n2) two", "- a\n+ b\n* c", "    indented code", "> quote",
    "<http://a.b>", "[x]: http://a\n[x]", "a | b\n--- | ---\n1 | 2", "\\", "&lt;b&gt;", "<!--", "\u2028# a", "~~x~~",
    "two spaces  \nbehind", "  \tmixed indent", "a|\n:-\t", "a|\n-:",
)  # fmt: skip
TEXT_ALONE = {"paragraph_open", "paragraph_close", "inline", "text", "softbreak", "em_open", "em_close", "strong_open",
              "strong_close", "blockquote_open", "blockquote_close", "text_special"}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_said_stays_in_its_quote_and_stays_text(text: str) -> None:
    found = blocks(f"**Ada**\n\n{quote(text)}\n\nend")
    assert set(found) <= TEXT_ALONE
    assert found.count("blockquote_open") == 1
    assert found[-4:] == ["paragraph_open", "inline", "text", "paragraph_close"]


@given(strategies.text("#->=+*_`~[]()!<>&|\\:.1 \n\tabh/", max_size=40))
@hypothesis_settings(max_examples=250, deadline=None)
def test_no_text_leaves_its_quote(text: str) -> None:
    found = blocks(f"**Ada**\n\n{quote(text)}\n\nend")
    assert set(found) <= TEXT_ALONE
    assert found.count("blockquote_open") == 1


def test_the_markdown_shows_what_is_shown(store: ChatStore, whole: WholeConversation) -> None:
    talk = store.write_whole(ME, whole)
    store.rename(ME, talk.id, "Clocks <b>*[x]")
    store.show(ME, talk.id, store.redo(ME, talk.id)[0].id - 5)
    text = write_chat(store.read_whole(ME, talk.id), "markdown")
    assert "> Hello\n> you" in text
    assert "Good morning" in text
    assert "Good day" not in text
    assert set(blocks(text)) <= TEXT_ALONE | {"heading_open", "heading_close"}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("../../etc/passwd", "etc passwd.md"),
        ("...", "conversation.md"),
        ("Ada & Bo", "Ada Bo.md"),
        ("é" * 99, "é" * 60 + ".md"),
    ],
)
def test_the_name_of_a_download_is_no_path(whole: WholeConversation, name: str, file: str) -> None:
    from dataclasses import replace

    assert file_name(replace(whole, name=name), "markdown") == file


# The command


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
def chats(tmp_path: Path, own_log: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs ``chats …`` on a store of its own: exit code, standard output, standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        code = run_command(training_pipeline.main, ["chats", *words, "--chats", str(tmp_path / "chats.sqlite")])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_command_lists_shows_exports_imports_and_deletes(
    chats: Any, store: ChatStore, whole: WholeConversation, tmp_path: Path
) -> None:
    talk = store.list_of(ME)[0].id
    store.redo(ME, talk)
    assert chats("list")[1].split()[0] == talk[:8]
    assert [each["id"] for each in json.loads(chats("list", "--json")[1])] == [talk]
    assert "Good evening" in chats("show", talk[:6])[1]
    assert json.loads(chats("show", talk, "--json")[1])["shown"][0]["text"] == "Good evening"
    left = store.begin("somebody", ["Ada", "Bo"], "Visitor").id
    store.reply("somebody", left, "Ada", "Good bye")
    store.change_cast("somebody", left, ["Bo"])
    assert chats("show", left)[1].startswith("Bo: Visitor with Bo (before: Ada)\n")
    assert json.loads(chats("show", left, "--json")[1])["departed"] == ["Ada"]
    assert chats("delete", left)[0] == 0
    assert "lunch?" in chats("list", "--search", "lunch")[1]
    for format in FORMATS:
        file = tmp_path / f"out.{format}"
        assert chats("export", talk, "--format", format, "--out", str(file)) == (0, "", "")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text(encoding="utf-8") == chats("export", talk, "--format", format)[1]
    assert chats("import", str(tmp_path / "out.json"), "--owner", "guest-2")[0] == 0
    assert chats("import", str(tmp_path / "out.sillytavern"), "--json")[0] == 0
    assert store.owners() == {ME: 1, "guest-2": 1, "local": 1}, "shown on a page of this machine"
    assert chats("delete", "--all", "--owner", "guest-2")[1] == "Deleted 1 conversation of guest-2\n"
    assert chats("delete", talk)[0] == 0
    assert store.owners() == {"local": 1}


def test_the_command_writes_pairs_with_personas(
    chats: Any, store: ChatStore, whole: WholeConversation, series_folder: Callable[..., Path]
) -> None:
    code, out, err = chats("preferences", "--data", str(series_folder()))
    pairs = [json.loads(line) for line in out.splitlines()]
    assert (code, len(pairs)) == (0, 1)  # the reply with the thumb up was stopped: it is no example of a whole one
    assert err.endswith("1 pairs of a preferred and a rejected reply\n")
    assert pairs[0]["prompt"][0]["content"].startswith("You are Bo, who is always hungry.")
    code, out, err = chats("preferences", "--data", "nowhere")
    assert "without personas" in err
    assert [json.loads(line)["prompt"][0]["role"] for line in out.splitlines()] == ["user"]


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [
        (["show"], 2, "needs a conversation"),
        (["show", "ab"], 2, "too short"),
        (["show", "abcdef"], 1, "no conversation"),
        (["delete"], 2, "or --all with --owner"),
        (["delete", "--all"], 2, "needs --owner"),
        (["import"], 2, "needs a file"),
        (["import", "none.json"], 1, "none.json cannot be read"),
        (["export", "abcdef"], 1, "no conversation"),
    ],
)
def test_wrong_words_are_sentences(chats: Any, store: ChatStore, words: list[str], code: int, fault: str) -> None:
    ended, out, err = chats(*words)
    assert (ended, out) == (code, "")
    assert fault in err


def test_without_a_store_there_is_a_sentence_and_no_file(chats: Any, tmp_path: Path) -> None:
    code, _, err = chats("list")
    assert (code, "no conversations are kept in" in err) == (1, True)
    assert not (tmp_path / "chats.sqlite").exists()
