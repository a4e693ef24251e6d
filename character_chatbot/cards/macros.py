"""Macros in the texts of a card: ``{{char}}``, ``{{user}}`` and the few others of the V3 specification.

Each text is walked once: what a macro becomes, a visitor's name for one, is never read as a macro again. A macro that
is not known stays as it stands.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

MACRO = re.compile(r"\{\{([^{}]{1,2000})\}\}|<(char|bot|user)>", re.IGNORECASE)
UNESCAPED_COMMA = re.compile(r"(?<!\\),")
HIDDEN = ("//", "hidden_key:", "comment:")
HIGHEST_ROLL = 1_000_000


def fill(text: str, char: str, user: str, draw: random.Random | None = None) -> str:
    """The text as it goes into a prompt.

    Args:
        text: with macros, in any case.
        char: the nickname of the character, or its name.
        user: how the visitor is called.
        draw: for ``{{random:…}}``, ``{{pick:…}}`` and ``{{roll:…}}``; None leaves them as they stand.
    """
    return MACRO.sub(lambda found: _replace(found, char, user, draw), text)


def _replace(found: re.Match[str], char: str, user: str, draw: random.Random | None) -> str:
    inner = (found[1] or found[2]).strip()
    lowered = inner.lower()
    if lowered in ("char", "bot"):
        return char
    if lowered == "user":
        return user
    if lowered.startswith(HIDDEN):
        return ""
    name, _, value = inner.partition(":")
    known = MACROS.get(name.strip().lower())
    try:
        return known(value, draw) if known else found[0]
    except ValueError:
        return found[0]


def _choose(value: str, draw: random.Random | None) -> str:
    if draw is None:
        raise ValueError(value)
    return draw.choice(UNESCAPED_COMMA.split(value.removeprefix(":"))).replace("\\,", ",")


def _roll(value: str, draw: random.Random | None) -> str:
    highest = int(value.strip().lower().removeprefix("d")[:10])
    if draw is None or not 1 <= highest <= HIGHEST_ROLL:
        raise ValueError(value)
    return str(draw.randint(1, highest))


MACROS: dict[str, Callable[[str, random.Random | None], str]] = {
    "random": _choose,
    "pick": _choose,
    "roll": _roll,
    "reverse": lambda value, draw: value[::-1],
}
