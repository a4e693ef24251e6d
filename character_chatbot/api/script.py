"""The prompt of a text completion, read as the script it is: lines ``Name: what is said``, the last one to go on.

You are Kit, who mends nets.          what the character is to know: in front of the first line with a name,
***                                   and all in front of the last separator, as SillyTavern lays it out
Ann: Who is there?
Kit: Me.
Again.                                a line without a name goes on with the one before
Ann: Who?
Kit: I do                             the beginning of the reply; nothing behind the colon: it has not begun
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from character_chatbot.prompts import Turn
from character_chatbot.replies.conversation import one_line
from character_chatbot.service import LONGEST_NAME_CHARACTERS

SEPARATOR = re.compile(r"\s*(?:\*{3,}|-{3,}|<START>|\[(?:Start a new|Example) [^\]]*\])\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Script:
    """``note``: what stands in front of the turns. ``opened``: who is to speak, by a name with nothing behind it."""

    turns: tuple[Turn, ...]
    note: str = ""
    opened: str = ""


def read_script(text: str, other: str, resolve: Callable[[str], str] = str) -> Script:
    """The turns of a prompt.

    Args:
        text: of the prompt.
        other: who says a text without any names.
        resolve: a name for a name or alias.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    start = max((at + 1 for at, line in enumerate(lines) if SEPARATOR.fullmatch(line)), default=0)
    note = [one_line(line) for line in lines[:start] if not SEPARATOR.fullmatch(line)]
    turns: list[Turn] = []
    for line in lines[start:]:
        name, said = _split(line)
        if name:
            turns.append(Turn(resolve(name), said))
        elif turns:
            turns[-1] = Turn(turns[-1].speaker, f"{turns[-1].text} {said}".strip())
        else:
            note.append(said)
    if not turns:
        return Script((Turn(other, " ".join(note)),) if note else ())
    opened = turns[-1].speaker if not turns[-1].text else ""
    return Script(tuple(turn for turn in turns if turn.text), "\n".join(note), opened)


def _split(line: str) -> tuple[str, str]:
    """The name in front of what is said, if there is one. SillyTavern writes it twice where a reply is to go on."""
    name, colon, said = line.partition(":")
    name, said = name.strip(), one_line(said)
    if not colon or not 0 < len(name) <= LONGEST_NAME_CHARACTERS:
        return "", one_line(line)
    return name, said.removeprefix(f"{name}:").strip()
