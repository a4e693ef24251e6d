"""A scene of one to four characters: who speaks next, and what the card of an imported one adds to its prompt."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from character_chatbot.acts.evidence import entries_before
from character_chatbot.acts.visit import AUTOMATIC, IN_TURN
from character_chatbot.cards.activation import Moment, activate
from character_chatbot.cards.card import Card
from character_chatbot.cards.lorebook import Entry
from character_chatbot.cards.macros import fill
from character_chatbot.chats.records import CHARACTER, NOTE, Message
from character_chatbot.chats.turn_order import MENTIONED, ROUND_ROBIN, next_speaker
from character_chatbot.sources import Source
from utils.errors import UsageError


@dataclass(frozen=True)
class Additions:
    """What a card adds to one prompt. ``entries``: numbers of the lorebook's entries in ``lore``."""

    note: str = ""
    lore: tuple[str, ...] = ()
    entries: tuple[int, ...] = ()


def choose_speaker(source: Source, characters: Sequence[str], path: Sequence[Message], chosen: str) -> str:
    """Who speaks next.

    Args:
        source: who can speak at all.
        characters: who takes part.
        path: what was said.
        chosen: AUTOMATIC, IN_TURN, or the name of one of them.

    Raises:
        UnknownCharacter: the source does not have somebody who takes part.
        UsageError: nobody is free to speak.
    """
    cast = [source.cast.get(name) for name in characters]
    last = next((each.speaker for each in reversed(path) if each.role != NOTE), "")
    if chosen in characters and chosen not in (AUTOMATIC, IN_TURN):
        found: str | None = chosen
    else:
        found = next_speaker(cast, path, ROUND_ROBIN if chosen == IN_TURN else MENTIONED)
    if found is None or found == last:
        raise UsageError(f"{last} has just spoken.", instead="Say something, or let somebody else speak.")
    return found


def find_greetings(card: Card, user: str, in_group: bool) -> list[str]:
    """How a card's character begins, the usual way first; other programs' macros are filled."""
    texts = [*(card.group_greetings if in_group else ()), card.greeting, *card.alternate_greetings]
    draw = random.Random()  # noqa: S311 (no secret is drawn)
    return list(dict.fromkeys(filled for text in texts if (filled := fill(text, card.called, user, draw).strip())))


def read_card(
    card: Card,
    path: Sequence[Message],
    speaker: str,
    user: str,
    count_tokens: Callable[[str], int],
    *,
    lore_tokens: int,
) -> Additions:
    """What the card adds to the prompt of the next reply; ``lore_tokens``: most of its lorebook."""
    said = [each for each in path if each.role != NOTE]
    parts = [card.system_prompt.replace("{{original}}", "")]
    if said and said[0].speaker == speaker:  # a prompt begins with what is said to the character
        parts.append(f"{card.called} has begun with: {said[0].text}")
    parts.append(card.post_history_instructions.replace("{{original}}", ""))
    note = "\n".join(filled for part in parts if (filled := fill(part, card.called, user).strip()))
    entries = _find_entries(card, said, speaker, count_tokens, lore_tokens)
    draw = random.Random()  # noqa: S311 (no secret is drawn)
    texts = tuple(fill(entry.content, card.called, user, draw) for entry in entries)
    return Additions(note, texts, tuple(entry.number for entry in entries))


def _find_entries(
    card: Card, said: Sequence[Message], speaker: str, count_tokens: Callable[[str], int], lore_tokens: int
) -> list[Entry]:
    """Entries of the lorebook for what was said, the most important first."""
    if card.book is None:
        return []
    own = [each for each in said if each.speaker == speaker and each.role == CHARACTER]
    earlier = entries_before(each for message in own for each in message.evidence)
    greeting = said[0].alternative if said and said[0].speaker == speaker else None
    moment = Moment(len(own), greeting, frozenset(earlier))
    texts = [f"{each.speaker}: {each.text}" for each in said]
    found = activate(card.book, texts, lore_tokens, count_tokens, moment)
    return sorted(found, key=lambda each: -(each.insertion_order if each.priority is None else each.priority))
