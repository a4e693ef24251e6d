"""Cards and characters: a card joins the cast of a series, a character of the series becomes a card."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from character_chatbot.cards.card import V3, Card, build_card
from character_chatbot.cards.macros import fill
from character_chatbot.cards.reading import clean_line
from character_chatbot.cards.shelf import CardShelf
from utils.characters import Cast, Character
from utils.errors import CardError, DataError, StoreError

logger = logging.getLogger(__name__)

VISITOR = "Visitor"  # what {{user}} becomes until somebody says a name
MAX_PERSONA_CHARACTERS = 4_000  # about 1,000 tokens
MAX_EXAMPLE_CHARACTERS = 300
MAX_EXAMPLES = 12
EXTENSION = "stranger_things_suite"  # where our own data lies in a card
CHAR_MARK = "{{char}}:"
START = re.compile(r"<START>", re.IGNORECASE)
LABEL = re.compile(r"([^:\n]{1,80}):(.*)", re.DOTALL)
SENTENCE_END = re.compile(r"[.!?…。！？]['\"”’)*]*(?=\s|$)|\n")


def to_character(card: Card, user: str = VISITOR, max_persona: int = MAX_PERSONA_CHARACTERS) -> Character:
    """The card as a character of the cast. Greetings, prompts and the lorebook stay with the card.

    Args:
        card: imported.
        user: what ``{{user}}`` becomes.
        max_persona: characters; a longer one is cut after a sentence.

    Returns:
        Persona: description, personality and scenario. Example lines: what the character says in ``mes_example``.
    """
    parts = [card.description]
    parts += [f"Personality: {card.personality}"] if card.personality else []
    parts += [f"Scenario: {card.scenario}"] if card.scenario else []
    persona = "\n".join(fill(part, card.called, user) for part in parts if part)
    aliases = dict.fromkeys([card.nickname, *_own_aliases(card)])
    names = tuple(name for name in aliases if name and name != card.name)
    return Character(card.name, names, cut_text(persona, max_persona), example_lines(card, user))


def example_lines(card: Card, user: str = VISITOR) -> tuple[str, ...]:
    """What the character says in the example conversations, a line each; long ones are left out."""
    own = {card.name.casefold(), card.nickname.casefold(), "{{char}}", "<bot>", "<char>"} - {""}
    lines = []
    for block in START.split(card.examples):
        for said in _turns(block, own):
            line = clean_line(fill(said, card.called, user))
            if line and len(line) <= MAX_EXAMPLE_CHARACTERS:
                lines.append(line)
    return tuple(dict.fromkeys(lines))[:MAX_EXAMPLES]


def _turns(block: str, own: set[str]) -> list[str]:
    """The turns of the character in one conversation; a line without a label goes on with the turn before."""
    others = {"{{user}}", "<user>"}
    turns: list[list[str]] = []
    speaking = False
    for line in block.split("\n"):
        label = LABEL.fullmatch(line.strip())
        name = label[1].strip().casefold() if label else ""
        if label and name in own | others:
            speaking = name in own
            if speaking:
                turns.append([label[2]])
        elif speaking:
            turns[-1].append(line)
    return ["\n".join(lines) for lines in turns]


def cut_text(text: str, longest: int) -> str:
    """The text, cut after a sentence or at least a word where it is longer than ``longest`` characters."""
    if len(text) <= longest:
        return text
    ends = [found.end() for found in SENTENCE_END.finditer(text[:longest])]
    if ends:
        return text[: ends[-1]].strip()
    return text[:longest].rpartition(" ")[0].strip() or text[:longest]


def from_character(character: Character, title: str, greeting: str = "", creator: str = "") -> Card:
    """A V3 card of a character of ours; aliases and the series lie in its extensions, the series in its tags as well.

    Raises:
        CardError: a text is over the limits of a card.
    """
    examples = "".join(f"<START>\n{CHAR_MARK} {line}\n" for line in character.example_lines)
    content = {
        "spec": "chara_card_v3",
        "spec_version": "3.0",
        "data": {
            "name": character.name,
            "description": character.persona,
            "personality": "",
            "scenario": "",
            "first_mes": greeting,
            "mes_example": examples,
            "creator_notes": f"{character.name} of {title}.",
            "system_prompt": "",
            "post_history_instructions": "",
            "alternate_greetings": [],
            "group_only_greetings": [],
            "tags": [title],
            "creator": creator,
            "character_version": "",
            "extensions": {EXTENSION: {"series": title, "aliases": list(character.aliases)}},
        },
    }
    return replace(build_card(content), spec=V3)


def _own_aliases(card: Card) -> list[str]:
    """Aliases that :func:`from_character` wrote; whatever else stands there is none."""
    ours = (card.raw["data"].get("extensions") or {}).get(EXTENSION)
    aliases = ours.get("aliases") if isinstance(ours, dict) else None
    found = aliases if isinstance(aliases, list) else []
    return [line for alias in found[:100] if isinstance(alias, str) and (line := clean_line(alias))]


def with_cards(cast: Cast, shelf: CardShelf) -> tuple[Cast, dict[str, Card]]:
    """The cast with the characters of the shelf, and the cards by the name their character has in it.

    Nobody of the series loses a name: a card whose name is taken joins as "Name (card)", and aliases that are taken
    are left out. A shelf that cannot be read adds nobody, and is logged.
    """
    try:
        cards = list(shelf.cards())
    except StoreError as error:
        logger.warning("no imported cards: %s", error.what)
        return cast, {}
    characters, joined = list(cast), {}
    for key, card in cards:
        known = Cast(characters)
        try:
            character = _named_apart(to_character(card), known)
            Cast([*characters, character])
        except (CardError, DataError) as error:
            logger.warning("the card %s does not join the cast: %s", key, error.what)
            continue
        characters.append(character)
        joined[character.name] = card
    return (Cast(characters) if joined else cast), joined


def _named_apart(character: Character, cast: Cast) -> Character:
    name, number = character.name, 1
    while name in cast:
        name = f"{character.name} (card)" if number == 1 else f"{character.name} (card {number})"
        number += 1
    return replace(character, name=name, aliases=tuple(alias for alias in character.aliases if alias not in cast))
