"""A character card: the fields this program uses, and beside them the whole object as it was read.

What nobody edits is written as it was read: unknown fields, ``extensions``, every entry of the lorebook. So a card that
came from another program goes back to it whole.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from character_chatbot.cards.decorators import split_decorators
from character_chatbot.cards.lorebook import Book, build_book
from character_chatbot.cards.reading import MAX_NAME_CHARACTERS, Fields, clean_line, describe
from utils.errors import CardError
from utils.text import has_speech

V1, V2, V3 = "v1", "v2", "v3"
SPECS = {V2: ("chara_card_v2", "2.0"), V3: ("chara_card_v3", "3.0")}
V1_FIELDS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
# All that V2 asks for. A V3 card has these and group_only_greetings.
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(V1_FIELDS, ""),
    "creator_notes": "",
    "system_prompt": "",
    "post_history_instructions": "",
    "alternate_greetings": [],
    "tags": [],
    "creator": "",
    "character_version": "",
    "extensions": {},
}
BACKFILLED = (
    "This character card is Character Card V3, but it is loaded as a Character Card V2. Please use a Character Card V3 "
    "compatible application to use this character card properly."
)


@dataclass(frozen=True)
class Card:
    """One card. Texts are clean of control characters; macros and markup in them are as written.

    ``raw``: the whole object as V2 or V3 have it, not cleaned. ``image``: a PNG without card data, or nothing.
    ``notes``: sentences about what was read otherwise than written.
    """

    spec: str  # of V1, V2, V3: what was read
    name: str
    raw: dict[str, Any]
    description: str = ""
    personality: str = ""
    scenario: str = ""
    greeting: str = ""  # first_mes
    alternate_greetings: tuple[str, ...] = ()
    group_greetings: tuple[str, ...] = ()
    examples: str = ""  # mes_example
    system_prompt: str = ""
    post_history_instructions: str = ""
    nickname: str = ""
    creator: str = ""
    creator_notes: str = ""  # never for a prompt
    character_version: str = ""
    tags: tuple[str, ...] = ()
    book: Book | None = None
    image: bytes = b""
    notes: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """What ``{{char}}`` becomes."""
        return self.nickname or self.name


def build_card(content: dict[str, Any], image: bytes = b"", where: str = "the card") -> Card:
    """The card of a JSON object in V1, V2 or V3.

    Raises:
        CardError: no card, or a field of the wrong type or over its limit.
    """
    spec, raw, notes = _recognise(content, where)
    data = Fields(raw["data"], where)
    name = clean_line(data.text("name", MAX_NAME_CHARACTERS))
    if not has_speech(name):
        raise CardError(f"{where} has no name: 'name' is {describe(raw['data'].get('name'))}.")
    data.nested("extensions")
    book = raw["data"].get("character_book")
    return Card(
        spec,
        name,
        raw,
        description=data.text("description"),
        personality=data.text("personality"),
        scenario=data.text("scenario"),
        greeting=data.text("first_mes"),
        alternate_greetings=data.texts("alternate_greetings"),
        group_greetings=data.texts("group_only_greetings"),
        examples=data.text("mes_example"),
        system_prompt=data.text("system_prompt"),
        post_history_instructions=data.text("post_history_instructions"),
        nickname=clean_line(data.text("nickname", MAX_NAME_CHARACTERS)),
        creator=clean_line(data.text("creator")),
        creator_notes=_creator_notes(data),
        character_version=clean_line(data.text("character_version")),
        tags=tuple(clean_line(tag) for tag in data.texts("tags")),
        book=None if book is None else build_book(book, f"{where}, lorebook"),
        image=image,
        notes=notes,
    )


def edit_card(card: Card, **changes: object) -> Card:
    """The card with other values under the specification's own field names (``first_mes="Ahoy."``).

    Raises:
        CardError: a value of the wrong type or over its limit.
    """
    raw = copy.deepcopy(card.raw)
    raw["data"] |= copy.deepcopy(changes)
    # SillyTavern keeps copies beside ``data``, for programs that know V1 only.
    raw |= {name: value for name, value in changes.items() if name in V1_FIELDS and name in raw}
    return replace(build_card(raw, card.image), spec=card.spec)


def to_object(card: Card, spec: str = "") -> dict[str, Any]:
    """The JSON object of a card, a copy.

    Args:
        card: to be written.
        spec: V2 or V3; empty: as it was read, a V1 card as V2. A V3 card that becomes V2 keeps its new fields, which
            V2 programs have to keep as well, but not the decorators of its lorebook: they would be read as text.
    """
    written = copy.deepcopy(card.raw)
    spec = spec or (V2 if card.spec == V1 else card.spec)
    if spec == card.spec:
        return written
    data = written["data"] = {**copy.deepcopy(DEFAULTS), **written["data"]}
    written["spec"], written["spec_version"] = SPECS[spec]
    entries = (data.get("character_book") or {}).get("entries") or []
    if spec == V3:
        data.setdefault("group_only_greetings", [])
        for entry in entries:
            entry.setdefault("use_regex", False)
    elif card.spec == V3:
        for entry in entries:
            if (entry.get("content") or "").lstrip().startswith("@@"):
                entry["content"] = split_decorators(entry["content"])[1]
    return written


def backfill(card: Card) -> dict[str, Any]:
    """The V2 object that stands beside a V3 one in a PNG, with a warning for who reads it."""
    written = to_object(card, V2)
    notes = written["data"].get("creator_notes") or ""
    written["data"]["creator_notes"] = f"{BACKFILLED}\n{notes}".strip()
    return written


def _recognise(content: dict[str, Any], where: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Which specification, the object as V2 or V3 have it, and what has to be said about it."""
    named = content.get("spec")
    spec = next((spec for spec, (name, _) in SPECS.items() if name == named), None)
    if spec:
        Fields(content.get("data"), f"{where}: 'data'")
        return spec, content, _version_notes(spec, content)
    if named is None and isinstance(content.get("data"), dict) and "name" in content["data"]:
        name, version = SPECS[V2]
        return V2, {"spec": name, "spec_version": version, **content}, ("It names no 'spec' and was read as V2.",)
    if named is None and "name" in content and "entries" not in content:
        return V1, _lift_v1(content), ()
    if named == "lorebook_v3" or "entries" in content:
        raise CardError(
            f"{where} is a lorebook of its own (World Info), and no character card.",
            instead="It comes in with its character: link it to the card where you have it from, and export the card.",
        )
    known = " or ".join(name for name, _ in SPECS.values())
    raise CardError(
        f"{where} is no character card: 'spec' is {describe(named)}.",
        instead=f"A card has the spec {known}, or none and a 'name' (V1).",
    )


def _creator_notes(data: Fields) -> str:
    """The English ones; in V3 each language has its own, and ``creator_notes`` is English where that has none."""
    if not isinstance(data.content.get("creator_notes_multilingual"), dict):
        return data.text("creator_notes")
    told = data.nested("creator_notes_multilingual")
    others = (told.text(language) for language in told.content)
    return told.text("en") or data.text("creator_notes") or next((text for text in others if text), "")


def _version_notes(spec: str, content: dict[str, Any]) -> tuple[str, ...]:
    version = content.get("spec_version")
    expected = SPECS[spec][1]
    return () if version == expected else (f"Its version is {describe(version)}; it was read as {expected}.",)


def _lift_v1(content: dict[str, Any]) -> dict[str, Any]:
    """A flat V1 object with its fields in ``data`` as well, where V2 has them."""
    data: dict[str, Any] = copy.deepcopy(DEFAULTS) | {key: content[key] for key in V1_FIELDS if key in content}
    if isinstance(content.get("creatorcomment"), str):  # SillyTavern's name for it
        data["creator_notes"] = content["creatorcomment"]
    if isinstance(content.get("tags"), list):
        data["tags"] = content["tags"]
    name, version = SPECS[V2]
    return {**content, "spec": name, "spec_version": version, "data": data}
