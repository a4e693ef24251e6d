"""Macros in the texts of a card: ``{{char}}``, ``{{user}}`` and the few others of the V3 specification.

A macro may stand in another one. Each text is walked once: what a macro becomes, a visitor's name for one, is never
read as a macro again. A macro that is not known stays as it stands.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

MARK = re.compile(r"\{\{(?!\{)|\}\}|<(?:char|bot|user)>", re.IGNORECASE)
UNESCAPED_COMMA = re.compile(r"(?<!\\),")
HIDDEN = ("//", "hidden_key:", "comment:")
UNHEARD = re.compile(r"\{\{\s*(?://|comment:)[^{}]*\}\}", re.IGNORECASE)
HIDDEN_KEY = re.compile(r"\{\{\s*hidden_key:([^{}]*)\}\}", re.IGNORECASE)
HIGHEST_ROLL = 1_000_000
DEEPEST = 20  # of macros within macros; what is deeper is text


def fill(text: str, char: str, user: str, draw: random.Random | None = None) -> str:
    """The text as it goes into a prompt.

    Args:
        text: with macros, in any case.
        char: the nickname of the character, or its name.
        user: how the visitor is called.
        draw: for ``{{random:…}}`` and ``{{roll:…}}``; None: the same each time for the same text, as ``{{pick:…}}``
            is anyway, so that a prompt that has been read stays what it was.
    """
    names = {"char": char, "bot": char, "user": user}
    fixed = random.Random(text)  # noqa: S311 (no secret is drawn)
    open_texts: list[list[str]] = [[]]
    at = 0
    for mark in MARK.finditer(text):
        open_texts[-1].append(text[at : mark.start()])
        at, found = mark.end(), mark[0]
        if found == "{{" and len(open_texts) <= DEEPEST:
            open_texts.append([])
        elif found == "}}" and len(open_texts) > 1:
            inner = "".join(open_texts.pop())
            open_texts[-1].append(_replace(inner, names, draw or fixed, fixed))
        else:
            open_texts[-1].append(names.get(found[1:-1].lower(), found))
    return "{{".join("".join(parts) for parts in open_texts) + text[at:]


def fill_for_matching(text: str) -> str:
    """The content of a lorebook's entry as other entries look for their keys in it: V3, ``{{//}}``, ``hidden_key``."""
    return HIDDEN_KEY.sub(r"\1", UNHEARD.sub("", text))


def _replace(inner: str, names: dict[str, str], draw: random.Random, fixed: random.Random) -> str:
    lowered = inner.strip().lower()
    if lowered in names:
        return names[lowered]
    if lowered.startswith(HIDDEN):
        return ""
    name, _, value = inner.partition(":")
    known = MACROS.get(name.strip().lower())
    try:
        return known(value, fixed if known is _pick else draw) if known else "{{" + inner + "}}"
    except ValueError:
        return "{{" + inner + "}}"


def _choose(value: str, draw: random.Random) -> str:
    """One of several with commas between them, or with ``::``, as SillyTavern has it too."""
    if not value:
        raise ValueError(value)
    listed = value.removeprefix(":")
    choices = listed.split("::") if "::" in listed else UNESCAPED_COMMA.split(listed)
    return draw.choice(choices).replace("\\,", ",")


def _pick(value: str, draw: random.Random) -> str:
    return _choose(value, draw)


def _roll(value: str, draw: random.Random) -> str:
    highest = int(value.removeprefix(":").strip().lower().removeprefix("d")[:10])
    if not 1 <= highest <= HIGHEST_ROLL:
        raise ValueError(value)
    return str(draw.randint(1, highest))


def _reverse(value: str, draw: random.Random) -> str:
    return value[::-1]


MACROS: dict[str, Callable[[str, random.Random], str]] = {
    "random": _choose,
    "pick": _pick,
    "roll": _roll,
    "reverse": _reverse,
}
