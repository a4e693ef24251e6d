"""Who speaks next in a scene of several characters. Pure, and the same for the same seed.

round_robin   in the order of the list
mentioned     who was addressed or named last, else the one silent for longest (after SillyTavern's "natural order")
chosen        an explicit list, from the user's last message on
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import takewhile

from character_chatbot.chats.records import CHARACTER, USER, Message, one_of
from utils.characters import TITLE, Character

ROUND_ROBIN, MENTIONED, CHOSEN = "round_robin", "mentioned", "chosen"
RULES = (ROUND_ROBIN, MENTIONED, CHOSEN)
SHORTEST_NAME_PART = 3


def next_speaker(
    characters: Sequence[Character],
    messages: Sequence[Message],
    rule: str = MENTIONED,
    rng: random.Random | None = None,
    chosen: Sequence[str] = (),
) -> str | None:
    """The name of the character who speaks next; None: it is the user's turn.

    Nobody speaks twice in a row unless ``chosen`` says so.

    Args:
        characters: who takes part, in the order of the list.
        messages: all that is shown, oldest first.
        rule: one of :data:`RULES`.
        rng: decides between characters who have all said nothing yet; None: the first of them.
        chosen: for the rule of that name: who speaks after the user's last message, in order; then the user.

    Raises:
        UsageError: no such rule.
    """
    if one_of(rule, RULES, "the rule") == CHOSEN:
        return _next_chosen(characters, messages, chosen)
    spoken = [each.speaker for each in messages if each.role == CHARACTER]
    last = messages[-1].speaker if messages and messages[-1].role == CHARACTER else None
    free = [each for each in characters if each.name != last]
    if not free:
        return None
    if rule == ROUND_ROBIN:
        return _next_in_turn([each.name for each in characters], spoken, free)
    named = find_addressed(free, messages[-1].text) if messages else None
    return named or _longest_silent([each.name for each in free], spoken, rng)


def find_addressed(characters: Sequence[Character], text: str) -> str | None:
    """Who is spoken to in ``text``, else who is named last in it; None: nobody.

    Spoken to is a name at the start or behind a comma, with a mark or the end behind it: "Ada, ask Bo" means Ada.
    """
    addressed: list[tuple[int, str]] = []
    named: list[tuple[int, str]] = []
    for word, name in _names(characters):
        for found in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE):
            named.append((found.end(), name))
            before, after = text[: found.start()].rstrip(), text[found.end() :].lstrip()
            if (not before or before[-1] in ",.!?…\n–—") and (not after or after[0] in ",.!?:…–—"):
                addressed.append((found.end(), name))
    best = max(addressed or named, default=None)
    return best[1] if best else None


def _names(characters: Sequence[Character]) -> list[tuple[str, str]]:
    """Names, aliases and their parts with whom they mean; parts that two share mean nobody."""
    whole = {name: each.name for each in characters for name in (each.name, *each.aliases)}
    parts: dict[str, set[str]] = {}
    for name, owner in whole.items():
        for part in name.split():
            if len(part) >= SHORTEST_NAME_PART and not TITLE.fullmatch(part.casefold().rstrip(".")):
                parts.setdefault(part.casefold(), set()).add(owner)
    known = {name.casefold() for name in whole}
    single = [(part, next(iter(owners))) for part, owners in parts.items() if len(owners) == 1 and part not in known]
    return [*whole.items(), *single]


def _next_in_turn(names: Sequence[str], spoken: Sequence[str], free: Sequence[Character]) -> str:
    known = [name for name in spoken if name in names]
    if not known:
        return free[0].name
    at = names.index(known[-1])
    allowed = {each.name for each in free}
    return next(name for name in (*names[at + 1 :], *names[: at + 1]) if name in allowed)


def _longest_silent(names: Sequence[str], spoken: Sequence[str], rng: random.Random | None) -> str:
    last_said = {name: number for number, name in enumerate(spoken)}
    silent = [name for name in names if name not in last_said]
    if silent:
        return rng.choice(silent) if rng else silent[0]
    return min(names, key=lambda name: last_said[name])


def _next_chosen(characters: Sequence[Character], messages: Sequence[Message], chosen: Sequence[str]) -> str | None:
    since = sum(each.role == CHARACTER for each in takewhile(lambda each: each.role != USER, reversed(messages)))
    known = {each.name for each in characters}
    order = [name for name in chosen if name in known]
    return order[since] if since < len(order) else None
