"""Conversations to take along: which formats there are, and which of them a file is.

json         ours: every branch, rating and vote; read back it is the same
sillytavern  the chat of SillyTavern (.jsonl): what is shown, alternatives as swipes
markdown     to read; only written
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from character_chatbot.chats.fields import LARGEST_FILE_BYTES, decode
from character_chatbot.chats.json_file import FORMAT, read_json, write_json
from character_chatbot.chats.markdown_file import write_markdown
from character_chatbot.chats.records import one_of
from character_chatbot.chats.sillytavern_file import read_sillytavern, write_sillytavern
from character_chatbot.chats.whole import WholeConversation
from utils.errors import DataError

JSON, MARKDOWN, SILLYTAVERN = "json", "markdown", "sillytavern"
FORMATS = (JSON, MARKDOWN, SILLYTAVERN)
ENDINGS = {JSON: ".json", MARKDOWN: ".md", SILLYTAVERN: ".jsonl"}
LONGEST_FILE_NAME = 60
UNSAFE = re.compile(r"[^\w .,'-]+")


def write_chat(whole: WholeConversation, format: str) -> str:
    """The text of a file. Raises UsageError: no such format."""
    writers: dict[str, Callable[[WholeConversation], str]] = {
        JSON: write_json,
        MARKDOWN: write_markdown,
        SILLYTAVERN: write_sillytavern,
    }
    return writers[one_of(format, FORMATS, "the format")](whole)


def read_chat(content: bytes, name: str) -> WholeConversation:
    """The conversation in a file of ours or of SillyTavern; ``name`` is for errors alone, never a path.

    Raises:
        DataError: neither, or something in it cannot be read; names the line or message.
    """
    text = decode(content, name)
    if FORMAT in text[:200]:
        return read_json(text, name)
    first = text.lstrip().partition("\n")[0]
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        if first.startswith("{") and first.rstrip().endswith(("{", ",")):  # one object over several lines
            return read_json(text, name)
    return read_sillytavern(text, name)


def read_chat_file(path: Path) -> WholeConversation:
    """:func:`read_chat` of a file on this machine."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    return read_chat(content, str(path))


def file_name(whole: WholeConversation, format: str) -> str:
    """A name to offer for a download: one part, no path, no leading dot."""
    plain = " ".join(UNSAFE.sub(" ", whole.name).split()).strip(". ")[:LONGEST_FILE_NAME].strip(". ")
    return (plain or "conversation") + ENDINGS[one_of(format, FORMATS, "the format")]
