"""Our own file of a conversation: JSON with every branch, rating and vote. What is read back is what was written.

{"format": "stranger-things-suite/chat", "version": 1, "name": …, "messages": [{"parent": null, "role": "user", …}]}

Messages name each other by their place in the list, from 0; a parent stands before its children.
"""

from __future__ import annotations

import json
import time
from typing import Any

from character_chatbot.chats.clean import (
    LONGEST_TITLE_CHARACTERS,
    clean_cast,
    clean_departed,
    clean_json,
    clean_line,
    clean_text,
)
from character_chatbot.chats.fields import LATEST_SECONDS, Fields, at, parse_json
from character_chatbot.chats.records import (
    DONE,
    NONE,
    RATINGS,
    ROLES,
    STATES,
    VOTES,
    Comparison,
    Message,
    one_of,
)
from character_chatbot.chats.whole import WholeConversation, WholeMessage
from character_chatbot.prompts import Turn
from utils.errors import DataError

FORMAT = "stranger-things-suite/chat"
VERSION = 1
# Left out of a message where they are as usual.
USUAL: dict[str, Any] = {
    "state": DONE,
    "rating": NONE,
    "engine": "",
    "evidence": [],
    "seed": None,
    "last_leaf": None,
    "extra": {},
}


def write_json(whole: WholeConversation) -> str:
    """The text of the file."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": whole.name,
        "characters": list(whole.characters),
        "departed": list(whole.departed),
        "speaker": whole.speaker,
        "answered_by": whole.answered_by,
        "created": whole.created,
        "updated": whole.updated,
        "leaf": whole.leaf,
        "undone": list(whole.undone),
        "extra": dict(whole.extra),
        "messages": [_message(each) for each in whole.messages],
        "comparisons": [_comparison(each) for each in whole.comparisons],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def read_json(text: str, name: str) -> WholeConversation:
    """The conversation in a file that :func:`write_json` wrote.

    Raises:
        DataError: something in it is missing, of the wrong type or too much; names the message.
    """
    fields = Fields(parse_json(text, name), name)
    _check_version(fields)
    with at(name):
        names, gone = (
            [each if isinstance(each, str) else "" for each in fields.list(key)] for key in ("characters", "departed")
        )
        characters, speaker = clean_cast(names, fields.text("speaker"))
        departed = clean_departed(gone, characters)
        title = clean_line(fields.text("name"), "'name'", LONGEST_TITLE_CHARACTERS)
        extra = clean_json(fields.object("extra"))
    rows = fields.list("messages")
    now = time.time()
    return WholeConversation(
        title, characters, speaker, fields.seconds("created", now), fields.seconds("updated", now),
        tuple(_read_message(Fields(row, f"{name}, message {at}"), at, len(rows)) for at, row in enumerate(rows)),
        fields.place("leaf", len(rows)),
        tuple(_places(fields, "undone", len(rows))),
        tuple(
            _read_comparison(Fields(row, f"{name}, comparison {number}"), len(rows))
            for number, row in enumerate(fields.list("comparisons"))
        ),
        fields.text("answered_by", ""), extra, departed,
    )  # fmt: skip


def _check_version(fields: Fields) -> None:
    if fields.content.get("format") != FORMAT:
        fields.fail("format", f"not '{FORMAT}'")
    version = fields.integer("version")
    if version != VERSION:
        raise DataError(
            f"{fields.where}: version {version} of the format; this program reads {VERSION}.",
            instead="A newer program has written it." if version and version > VERSION else "",
        )


def _message(each: WholeMessage) -> dict[str, Any]:
    one = each.message
    content = {
        "parent": one.parent, "role": one.role, "speaker": one.speaker, "text": one.text, "state": one.state,
        "created": one.created, "engine": one.engine, "evidence": list(one.evidence), "seed": one.seed,
        "rating": one.rating, "last_leaf": each.last_leaf, "extra": dict(one.extra),
    }  # fmt: skip
    return {key: value for key, value in content.items() if key not in USUAL or value != USUAL[key]}


def _read_message(fields: Fields, place: int, count: int) -> WholeMessage:
    with at(fields.where):
        message = Message(
            place,
            fields.place("parent", place),
            one_of(fields.text("role"), ROLES, "'role'"),
            clean_line(fields.text("speaker"), "'speaker'"),
            clean_text(fields.text("text"), "'text'"),
            one_of(fields.text("state", DONE), STATES, "'state'"),
            fields.seconds("created", time.time()),
            fields.text("engine", ""),
            tuple(each for each in clean_json(fields.list("evidence")) if isinstance(each, dict)),
            clean_json(fields.integer("seed")),
            one_of(fields.text("rating", NONE), RATINGS, "'rating'"),
            clean_json(fields.object("extra")),
        )
    return WholeMessage(message, fields.place("last_leaf", count))


def _comparison(each: Comparison) -> dict[str, Any]:
    return {
        "message": each.message, "speaker": each.speaker,
        "context": [[turn.speaker, turn.text] for turn in each.context],
        "left": each.left, "left_source": each.left_source, "right": each.right, "right_source": each.right_source,
        "vote": each.vote, "created": each.created,
    }  # fmt: skip


def _read_comparison(fields: Fields, count: int) -> Comparison:
    context = fields.list("context")
    if not all(isinstance(turn, list) and len(turn) == 2 and all(isinstance(t, str) for t in turn) for turn in context):
        fields.fail("context", "no list of [speaker, text]")
    with at(fields.where):
        turns = tuple(Turn(clean_line(speaker, "a speaker"), clean_text(text)) for speaker, text in context)
        return Comparison(
            fields.place("message", count), clean_line(fields.text("speaker"), "'speaker'"), turns,
            clean_text(fields.text("left")), clean_line(fields.text("left_source"), "'left_source'", 200),
            clean_text(fields.text("right")), clean_line(fields.text("right_source"), "'right_source'", 200),
            one_of(fields.text("vote"), VOTES, "'vote'"), fields.seconds("created", min(time.time(), LATEST_SECONDS)),
        )  # fmt: skip


def _places(fields: Fields, key: str, count: int) -> list[int]:
    places = fields.list(key)
    if not all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < count for each in places):
        fields.fail(key, f"no list of places below {count}")
    return list(places)
