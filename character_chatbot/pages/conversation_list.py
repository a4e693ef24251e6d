"""The conversations of a visitor as HTML: a list, or what a search has found; what can be done about the one shown.

Buttons and forms have ``data-act``; pages/chat.js tells the server. Every text in it is escaped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from character_chatbot.chats.chat_files import ENDINGS, JSON, MARKDOWN, SILLYTAVERN
from character_chatbot.chats.clean import LONGEST_TITLE_CHARACTERS
from character_chatbot.chats.conversations import MOST_FOUND
from character_chatbot.chats.records import Conversation, Found

MOST_LISTED = 50  # the search finds the others
FILE_KINDS = {JSON: "JSON, everything", MARKDOWN: "Markdown, to read", SILLYTAVERN: "SillyTavern (JSONL)"}


def conversation_list(
    conversations: Sequence[Conversation], current: str, storage: str, *, hits: Sequence[Found] = (), search: str = ""
) -> str:  # fmt: skip
    """The panel below the search.

    Args:
        conversations: of the visitor, the last changed first.
        current: id of the one that is shown.
        storage: a sentence about what is kept.
        hits: what a search has found, shown instead.
        search: what was looked for; empty: nothing.
    """
    shown = next((each for each in conversations if each.id == current), None)
    listed = _hits(hits, current, search) if search else _rows(conversations, current)
    return f"{listed}{_actions(shown) if shown else ''}{_everything(conversations, storage)}"


def _rows(conversations: Sequence[Conversation], current: str) -> str:
    if not conversations:
        return '<p class="none">No conversation yet.</p>'
    rows = "".join(
        _row(each.id, each.name, each.last_words or "Nothing said yet", each.id == current, when=_when(each.updated))
        for each in conversations[:MOST_LISTED]
    )
    left = len(conversations) - MOST_LISTED
    more = f'<p class="none">{left:,} older ones: look for them.</p>' if left > 0 else ""
    return f'<ul class="talks" aria-label="Conversations">{rows}</ul>{more}'


def _hits(hits: Sequence[Found], current: str, search: str) -> str:
    if not hits:
        return f'<p class="none" role="status">Nothing found for “{escape(search)}”.</p>'
    rows = "".join(
        _row(each.conversation, each.name, each.excerpt, each.conversation == current, message=each.message)
        for each in hits
    )
    more = f'<p class="none">The first {MOST_FOUND}: more words find fewer.</p>' if len(hits) >= MOST_FOUND else ""
    return f'<ul class="talks" aria-label="Found">{rows}</ul>{more}'


def _row(
    id: str, name: str, below: str, is_current: bool, *, message: int | None = None, when: str = ""
) -> str:  # fmt: skip
    now = ' aria-current="true"' if is_current else ""
    place = f' data-message="{message}"' if message is not None else ""
    at = f"<time>{when}</time>" if when else ""
    return (
        f'<li><button data-act="open" data-id="{escape(id)}"{place}{now}><b>{escape(name)}</b>{at}'
        f"<small>{escape(below)}</small></button></li>"
    )


def _actions(shown: Conversation) -> str:
    """What can be done about the conversation that is shown."""
    name = escape(shown.name)
    kinds = "".join(
        f'<button data-act="export" data-kind="{kind}" aria-label="Save as {label}">{label}</button>'
        for kind, label in FILE_KINDS.items()
    )
    return (
        '<div class="about" role="group" aria-label="This conversation">'
        '<details><summary>Rename</summary><form data-act="rename">'
        f'<input name="text" value="{name}" maxlength="{LONGEST_TITLE_CHARACTERS}" required aria-label="New name">'
        "<button>Rename</button></form></details>"
        f"<details><summary>Save as a file</summary>{kinds}</details>"
        f"<details><summary>Delete</summary><p>Delete “{name}” with {_messages(shown.messages)} for good?</p>"
        '<button class="danger" data-act="delete">Yes, delete it</button></details></div>'
    )


def _everything(conversations: Sequence[Conversation], storage: str) -> str:
    """Reading a file, what is kept, deleting all of it."""
    endings = ",".join((ENDINGS[JSON], ENDINGS[SILLYTAVERN]))
    several = f"all of your {len(conversations):,} conversations" if len(conversations) > 1 else "your conversation"
    gone = (
        f"<details><summary>Delete all</summary><p>Delete {several} for good?</p>"
        '<button class="danger" data-act="delete_all">Yes, delete all</button></details>'
        if conversations
        else ""
    )
    return (
        '<div class="about" role="group" aria-label="All conversations"><label class="file">Open a file'
        f'<input type="file" accept="{endings}" data-act="import"></label>{gone}</div>'
        f'<p class="storage">{escape(storage)}</p>'
    )


def _messages(number: int) -> str:
    return f"{number:,} message{'' if number == 1 else 's'}"


def _when(seconds: float) -> str:
    """In the server's own time zone: the time today, else the day."""
    then, now = time.localtime(seconds), time.localtime()
    return time.strftime("%H:%M" if then[:3] == now[:3] else "%Y-%m-%d", then)
