"""A conversation as Markdown, to read or print: each message a block quote under who said it.

What people typed stays inside its quote and stays text: no heading, link, picture, table or HTML comes of it. Every
line gets the mark of the quote, and signs that begin markup are escaped (spec.commonmark.org, sections 2.4 and 5.1).
Emphasis, as in *smiles*, is left to work: it cannot leave its paragraph.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from character_chatbot.chats.records import CHARACTER, DONE, NOTE, Message, name_cast
from character_chatbot.chats.whole import WholeConversation

MARKUP = re.compile(r"[\\`\[\]~|$]|(?<!\w)_|_(?!\w)")
LINE_START = re.compile(r"#|[-+=:](?=\W|$)|\*(?=[\s*]|$)|\d{1,9}(?=[.)])")
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def write_markdown(whole: WholeConversation) -> str:
    """The text of the file: the messages shown, without other branches."""
    last = datetime.fromtimestamp(whole.updated, UTC)
    who = f"{whole.speaker} with {name_cast(whole.characters, whole.departed)}"
    parts = [f"# {escape(whole.name)}", f"{escape(who)}, {last:%Y-%m-%d %H:%M} UTC"]
    for message in whole.shown():
        parts += [_heading(message), quote(message.text)]
    return "\n\n".join(parts) + "\n"


def quote(text: str) -> str:
    """A text as a block quote that nothing in it can leave."""
    lines = text.splitlines() or [""]
    return "\n".join("> " + _escape_start(escape(line)) for line in lines)


def escape(text: str) -> str:
    """One line in which no sign begins markup."""
    plain = re.sub(r"[&<>]", lambda sign: HTML[sign[0]], text)
    return MARKUP.sub(lambda sign: "\\" + sign[0], " ".join(plain.splitlines()))


def _heading(message: Message) -> str:
    notes = [] if message.state == DONE else [message.state]
    notes += ["a note"] if message.role == NOTE else []
    notes += [escape(message.engine)] if message.role == CHARACTER and message.engine else []
    return f"**{escape(message.speaker).replace('*', chr(92) + '*')}**" + (f" ({', '.join(notes)})" if notes else "")


def _escape_start(line: str) -> str:
    """No heading, list, rule, table or code at the start of a line, and no break at its end."""
    plain = line.strip()
    found = LINE_START.match(plain)
    if not found:
        return plain
    sign, rest = found[0], plain[found.end() :]
    return f"{sign}\\{rest}" if sign.isdigit() else f"\\{sign}{rest}"
