"""The lorebook of a card: entries whose content joins the prompt when a key is said. See activation.py for when.

SillyTavern writes ``use_regex: true`` on every entry and means: a key between slashes is a pattern, any other is text.
Its entries are known by their extensions, and read as it reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from character_chatbot.cards.decorators import Value, split_decorators
from character_chatbot.cards.reading import Fields, clean_line
from utils.errors import CardError

MAX_ENTRIES = 5_000
MAX_KEYS = 10_000  # of a whole book: each is looked for in every message
MAX_KEY_CHARACTERS = 1_000
SILLY_TAVERN_MARKS = {"selectiveLogic", "display_index", "exclude_recursion"}
AT_DEPTH = 4  # SillyTavern's extensions.position
SILLY_TAVERN_ROLES = ("system", "user", "assistant")
ANY, NOT_ALL, NOT_ANY, ALL = range(4)  # SillyTavern's extensions.selectiveLogic


@dataclass(frozen=True)
class Entry:
    """One entry. ``content`` is without decorators; ``position``: where it goes if it has no ``depth``.

    ``depth``: in front of the last so many messages of the conversation; None: with the description.
    ``patterns``: keys are patterns (``spec``), or those between slashes are (``slashes``), or none (empty).
    """

    number: int  # its place in the book, from 0
    content: str
    keys: tuple[str, ...] = ()
    secondary_keys: tuple[str, ...] = ()
    secondary_logic: int = ANY
    enabled: bool = True
    constant: bool = False
    case_sensitive: bool = False
    whole_words: bool = False
    patterns: str = ""
    insertion_order: float = 0
    priority: float | None = None  # lower is dropped first; None: insertion_order
    position: str = "before_char"
    depth: int | None = None
    role: str = "system"
    scan_depth: int | None = None
    from_others: bool = True  # may be found in the content of other entries
    to_others: bool = True  # others may be found in its content
    name: str = ""
    decorators: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Book:
    """A lorebook. None: the card does not say."""

    entries: tuple[Entry, ...] = ()
    name: str = ""
    scan_depth: int | None = None  # messages
    token_budget: int | None = None
    recursive: bool = False


def build_book(content: object, where: str = "the lorebook") -> Book:
    """The lorebook of a card's ``character_book``.

    Raises:
        CardError: a field of the wrong type, too many entries or keys.
    """
    fields = Fields(content, where)
    rows = fields.content.get("entries")
    if rows is None:
        rows = []
    if not isinstance(rows, list):
        raise CardError(f"{where}: 'entries' is not a list.", instead="A card's lorebook has a list of entries.")
    if len(rows) > MAX_ENTRIES:
        raise CardError(f"{where} has {len(rows):,} entries; at most {MAX_ENTRIES:,} are read.")
    entries = tuple(_build_entry(row, number, f"{where}, entry {number + 1}") for number, row in enumerate(rows))
    keys = sum(len(entry.keys) + len(entry.secondary_keys) for entry in entries)
    if keys > MAX_KEYS:
        raise CardError(f"{where} has {keys:,} keys; at most {MAX_KEYS:,} are read.")
    budget = fields.number("token_budget")
    return Book(
        entries,
        clean_line(fields.text("name")),
        _whole(fields.number("scan_depth")),
        int(budget) if budget and budget > 0 else None,  # programs write 0 for "not set"
        bool(fields.flag("recursive_scanning")),
    )


def _build_entry(row: object, number: int, where: str) -> Entry:
    fields = Fields(row, where)
    decorators, content = split_decorators(fields.text("content"))
    extensions = fields.nested("extensions")
    from_silly_tavern = bool(SILLY_TAVERN_MARKS & extensions.content.keys())
    patterns = ("slashes" if from_silly_tavern else "spec") if fields.flag("use_regex") else ""
    selective = bool(fields.flag("selective")) and patterns != "spec"
    known: dict[str, Any] = {
        "keys": fields.texts("keys", MAX_KEY_CHARACTERS),
        "secondary_keys": _secondary_keys(fields) if selective else (),
        "enabled": fields.flag("enabled", True),
        "constant": bool(fields.flag("constant")) and patterns != "spec",
        "case_sensitive": fields.flag("case_sensitive"),
        "insertion_order": fields.number("insertion_order") or 0,
        "priority": fields.number("priority"),
        "position": "after_char" if fields.text("position") == "after_char" else "before_char",
        "name": clean_line(fields.text("name") or fields.text("comment")),
    }
    if from_silly_tavern:
        known |= _silly_tavern(extensions)
    known |= _decorated(decorators)
    return Entry(number, content, patterns=patterns, decorators=decorators, **known)


def _secondary_keys(fields: Fields) -> tuple[str, ...]:
    """A list in V2, one text with commas in V3."""
    value = fields.content.get("secondary_keys")
    if isinstance(value, str):
        keys = tuple(key.strip() for key in fields.text("secondary_keys").split(",") if key.strip())
        return tuple(key[:MAX_KEY_CHARACTERS] for key in keys)
    return fields.texts("secondary_keys", MAX_KEY_CHARACTERS)


def _silly_tavern(extensions: Fields) -> dict[str, Any]:
    """What SillyTavern keeps beside the specification, where it says anything."""
    known: dict[str, Any] = {
        "case_sensitive": extensions.flag("case_sensitive"),
        "whole_words": extensions.flag("match_whole_words"),
        "from_others": not extensions.flag("exclude_recursion"),
        "to_others": not extensions.flag("prevent_recursion"),
        "scan_depth": _whole(extensions.number("scan_depth")),
    }
    logic = extensions.number("selectiveLogic")
    if logic in (NOT_ALL, NOT_ANY, ALL):
        known["secondary_logic"] = int(logic)
    if extensions.content.get("position") == AT_DEPTH:
        known["depth"] = _whole(extensions.number("depth"))
        role = _whole(extensions.number("role")) or 0
        known["role"] = SILLY_TAVERN_ROLES[role] if 0 <= role < len(SILLY_TAVERN_ROLES) else "system"
    return known


def _decorated(decorators: dict[str, Value]) -> dict[str, Any]:
    """What decorators say where a field says it as well: they win. ``@@position`` sets ``@@depth`` aside."""
    taken: dict[str, Any] = {
        name: decorators[name] for name in ("role", "scan_depth", "depth", "position") if name in decorators
    }
    if "position" in taken:
        taken["depth"] = None
    return taken


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
