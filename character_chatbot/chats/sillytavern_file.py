"""SillyTavern's chats: JSON lines, first a header, then one message a line with its swipes.

{"user_name": "Visitor", "character_name": "Pip", "create_date": "…", "chat_metadata": {}}
{"name": "Pip", "is_user": false, "is_system": false, "send_date": "…", "mes": "…", "extra": {},
 "swipe_id": 0, "swipes": ["…", "…"], "swipe_info": [{"send_date": "…", "extra": {}}, …]}

Read from SillyTavern's src/endpoints/chats.js and public/scripts/group-chats.js. Newer ones write "unused" for both
names; older group chats have no header. Swipes become alternatives, hidden and narrator's messages become notes; fields
that mean nothing here go out again as they came in. The format knows one line of messages: other branches stay behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from character_chatbot.cards.macros import fill
from character_chatbot.chats.clean import (
    LONGEST_TITLE_CHARACTERS,
    clean_cast,
    clean_departed,
    clean_json,
    clean_line,
    clean_text,
)
from character_chatbot.chats.fields import MOST_LINES, Fields, at, iso_time, parse_json, without
from character_chatbot.chats.records import CHARACTER, DONE, MOST_CHARACTERS, NOTE, STOPPED, USER, Message
from character_chatbot.chats.sillytavern_dates import read_date
from character_chatbot.chats.whole import WholeConversation, WholeMessage
from utils.errors import DataError

OURS = "stranger_things_suite"  # under which we keep the cast in SillyTavern's metadata
KEY = "sillytavern"  # under which its fields are kept
UNUSED = ("unused", "", None)
NARRATED = ("narrator", "comment")
MOST_SWIPES = 500
DEFAULT_USER = "User"


def read_sillytavern(text: str, name: str) -> WholeConversation:
    """The conversation in a chat of SillyTavern.

    Raises:
        DataError: no such chat, or something in it cannot be kept; names the line.
    """
    rows = _rows(text, name)
    header = Fields({}, name) if "mes" in rows[0].content else rows.pop(0)
    if header.content and not {"user_name", "name", "chat_metadata"} & header.content.keys():
        raise DataError(f"{header.where}: no chat of SillyTavern: it has neither 'user_name' nor 'chat_metadata'.")
    created = read_date(header.content.get("create_date"), time.time())
    messages: list[WholeMessage] = []
    leaf: int | None = None
    for row in rows:
        created_before = messages[-1].message.created if messages else created
        leaf = _add(messages, row, leaf, created_before)
    with at(name):
        cast, gone = _cast(header, messages)
        characters, user = clean_cast(cast, _user(header, messages))
        messages = [_with_names(each, user) for each in messages]
        departed = clean_departed(gone, characters)
        extra = {KEY: clean_json(header.content)} if header.content else {}
    title = f"{', '.join(characters)}"[:LONGEST_TITLE_CHARACTERS]
    updated = max([created, *(each.message.created for each in messages)])
    return WholeConversation(
        title, characters, user, created, updated, tuple(messages), leaf, extra=extra, departed=departed
    )


def write_sillytavern(whole: WholeConversation) -> str:
    """The text of the file: the messages shown, with their alternatives as swipes."""
    header = dict(whole.extra.get(KEY, {})) or {
        "user_name": whole.speaker,
        "character_name": whole.characters[0],
        "create_date": iso_time(whole.created),
        "chat_metadata": {},
    }
    rows = [_with_cast(header, whole), *(_row(message, whole.siblings(message)) for message in whole.shown())]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"


def _rows(text: str, name: str) -> list[Fields]:
    lines = text.split("\n")  # not splitlines(): JSON allows other line separators inside its strings
    if len(lines) > MOST_LINES:
        raise DataError(f"{name} has {len(lines):,} lines; at most {MOST_LINES:,} are read.")
    return [
        Fields(parse_json(line, name, number), f"{name}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _add(messages: list[WholeMessage], row: Fields, parent: int | None, created: float) -> int:
    """Add a line's message and its swipes; the place of the chosen one."""
    with at(row.where):
        swipes, chosen, written = _swipes(row)
        base = Message(
            0, parent, _role(row), clean_line(row.text("name", DEFAULT_USER), "'name'"), "",
            created=read_date(row.content.get("send_date"), created), engine=_model(row.object("extra")),
        )  # fmt: skip
        infos = clean_json(row.list("swipe_info"))
        kept = clean_json(without(row.content, "name", "mes", "swipes", "swipe_id", "swipe_info"))
        start = len(messages)
        for number, swipe in enumerate(swipes):
            info = infos[number] if number < len(infos) and isinstance(infos[number], dict) else {}
            extra: dict[str, Any] = {"swipe_info": info} if info else {}
            if number == chosen:
                one = base
                extra |= {"message": kept, "swiped": "swipes" in row.content}
            else:
                date = read_date(info.get("send_date"), base.created)
                one = replace(base, created=date, engine=_model(info.get("extra")))
            said = clean_text(swipe)
            if number == chosen and written != swipe:
                extra["macros"] = {"written": clean_text(written), "filled": said}
            state = DONE if said else STOPPED
            one = replace(one, id=start + number, text=said, state=state, extra={KEY: extra} if extra else {})
            messages.append(WholeMessage(one))
    return start + chosen


def _swipes(row: Fields) -> tuple[list[str], int, str]:
    """All texts of a line, which of them is shown, and how that is written among them: ``mes`` is right if they differ.

    They do where a greeting has macros, which are filled in ``mes`` alone.
    """
    said = _plain(row, row.content.get("mes"), "mes")
    swipes = [_plain(row, each, "swipes") for each in row.list("swipes")]
    if len(swipes) > MOST_SWIPES:
        row.fail("swipes", f"longer than {MOST_SWIPES}")
    if not swipes:
        return [said], 0, said
    chosen = row.integer("swipe_id")
    if chosen is None or not 0 <= chosen < len(swipes):
        chosen = swipes.index(said) if said in swipes else len(swipes) - 1
    written, swipes[chosen] = swipes[chosen], said
    return swipes, chosen, written


def _with_names(each: WholeMessage, user: str) -> WholeMessage:
    """A greeting with the names in it: SillyTavern fills macros in the one that is shown and leaves the others."""
    one = each.message
    filled = fill(one.text, one.speaker, user)
    if one.parent is not None or one.role != CHARACTER or filled == one.text:
        return each
    kept = _kept(one) | {"macros": {"written": one.text, "filled": filled}}
    return replace(each, message=replace(one, text=filled, extra={**one.extra, KEY: kept}))


def _written(message: Message) -> str:
    """The text as it was in the file, macros and all, unless it has been edited since."""
    macros = _kept(message).get("macros")
    if isinstance(macros, dict) and macros.get("filled") == message.text and isinstance(macros.get("written"), str):
        return str(macros["written"])
    return message.text


def _plain(row: Fields, value: Any, key: str) -> str:
    """A text; Chub's exports have it in an object."""
    inner = value.get("message") if isinstance(value, dict) else value
    if not isinstance(inner, str):
        raise DataError(f"{row.where}: '{key}' is {type(inner).__name__}, which is not a text.")
    return inner


def _role(row: Fields) -> str:
    if row.content.get("is_system") is True or row.object("extra").get("type") in NARRATED:
        return NOTE
    return USER if row.content.get("is_user") is True else CHARACTER


def _cast(header: Fields, messages: Sequence[WholeMessage]) -> tuple[list[str], list[str]]:
    """Who takes part, and who does no more: as we have written it, else all who have spoken.

    SillyTavern's groups may be larger than a scene of ours: then those take part who have spoken last.
    """
    names = _speakers(each.message for each in messages)
    latest = _speakers(each.message for each in reversed(messages))[:MOST_CHARACTERS]
    told = header.object("chat_metadata").get(OURS)
    kept, gone = (told.get(key) for key in ("characters", "departed")) if isinstance(told, dict) else (None, None)
    if isinstance(kept, list) and isinstance(gone, list) and set(names) <= {str(each) for each in (*kept, *gone)}:
        return [str(each) for each in kept], [str(each) for each in gone]
    own = header.content.get("character_name")
    if not names and isinstance(own, str) and own not in UNUSED:
        return [own], []
    return [name for name in names if name in latest], [name for name in names if name not in latest]


def _with_cast(header: dict[str, Any], whole: WholeConversation) -> dict[str, Any]:
    """The header, with the cast among its metadata where the messages do not tell it; SillyTavern keeps that."""
    metadata = header.get("chat_metadata")
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    told = (list(whole.characters), []) if len(whole.characters) == 1 else (list(whole.characters),)
    if OURS not in metadata and not whole.departed and _speakers(whole.shown()) in told:
        return header
    cast = {"characters": list(whole.characters), "departed": list(whole.departed)}
    return header | {"chat_metadata": metadata | {OURS: cast}}


def _speakers(messages: Iterable[Message]) -> list[str]:
    return list(dict.fromkeys(each.speaker for each in messages if each.role == CHARACTER))


def _user(header: Fields, messages: Sequence[WholeMessage]) -> str:
    own = header.content.get("user_name")
    said = (each.message.speaker for each in messages if each.message.role == USER)
    return own if isinstance(own, str) and own not in UNUSED else next(said, DEFAULT_USER)


def _model(extra: Any) -> str:
    model = extra.get("model") if isinstance(extra, dict) else None
    return " ".join(clean_json(model).split())[:200] if isinstance(model, str) else ""


def _row(message: Message, siblings: Sequence[Message]) -> dict[str, Any]:
    own = _kept(message)
    row: dict[str, Any] = {
        "name": message.speaker, "is_user": message.role == USER, "is_system": message.role == NOTE,
        "send_date": iso_time(message.created), "mes": message.text, "extra": _extra(message),
    }  # fmt: skip
    row |= next((_kept(each)["message"] for each in siblings if "message" in _kept(each)), {})
    if "message" not in own:  # the fields came from an alternative of this one
        row |= {"send_date": iso_time(message.created), "extra": _extra(message)}
    alternatives = [each for each in siblings if (each.role, each.speaker) == (message.role, message.speaker)]
    swiped = any(_kept(each).get("swiped") for each in alternatives)
    if swiped or (message.role != USER and len(alternatives) > 1):
        row["swipe_id"] = alternatives.index(message)
        row["swipes"] = [_written(each) for each in alternatives]
        row["swipe_info"] = [_swipe_info(each) for each in alternatives]
    return row


def _swipe_info(message: Message) -> dict[str, Any]:
    return {"send_date": iso_time(message.created), "extra": _extra(message), **_kept(message).get("swipe_info", {})}


def _extra(message: Message) -> dict[str, Any]:
    kept = _kept(message)
    extra = kept.get("message", {}).get("extra") or kept.get("swipe_info", {}).get("extra")
    return dict(extra) if isinstance(extra, dict) else {"model": message.engine} if message.engine else {}


def _kept(message: Message) -> dict[str, Any]:
    kept = message.extra.get(KEY)
    return dict(kept) if isinstance(kept, dict) else {}
