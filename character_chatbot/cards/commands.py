"""The ``cards`` command: import, list, show, export and delete character cards."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from utils.command_line import DONE, FAILED
from utils.errors import CardError, DataError, UsageError

if TYPE_CHECKING:
    from character_chatbot.cards.card import Card
    from character_chatbot.cards.shelf import CardShelf

ACTIONS = ("import", "list", "show", "export", "delete")
SPECS = ("v2", "v3")  # as in card.py, which --help need not import
SHOWN_CHARACTERS = 300


def add_card_arguments(parser: argparse.ArgumentParser) -> None:
    """Action, files or a name, and where to."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "names", nargs="*", metavar="FILE_OR_NAME", help="import: JSON or PNG files; else a card's name"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="export: a .json or .png file")
    parser.add_argument("--spec", choices=SPECS, help="export: V2 or V3 (default: as it was imported)")
    parser.add_argument("--json", action="store_true", help="list and show: as JSON")


def run_card_action(arguments: argparse.Namespace, folder: Path, max_bytes: int) -> int:
    """Do one of :data:`ACTIONS` and print what came of it; the exit code.

    Args:
        arguments: of :func:`add_card_arguments`.
        folder: of the series; its cards lie in ``cards``.
        max_bytes: a larger file is not imported.

    Raises:
        UsageError: a name, a file or ``--out`` is missing.
        CardError, DataError, StoreError: no such card, or the disk says no.
    """
    from character_chatbot.cards.shelf import FOLDER, CardShelf

    _check_arguments(arguments)
    shelf = CardShelf(folder / FOLDER)
    actions: dict[str, Callable[[], int]] = {
        "import": lambda: _import(arguments.names, shelf, max_bytes),
        "list": lambda: _list(shelf, arguments.json),
        "show": lambda: _show(arguments.names[0], shelf, arguments.json),
        "export": lambda: _export(arguments, shelf, folder),
        "delete": lambda: _delete(arguments.names[0], shelf),
    }
    return actions[arguments.action]()


def _check_arguments(arguments: argparse.Namespace) -> None:
    action, given = arguments.action, len(arguments.names)
    if action == "list" and given:
        raise UsageError("cards list takes no name.")
    if action == "import" and not given:
        raise UsageError("cards import needs a file.")
    if action in ("show", "export", "delete") and given != 1:
        raise UsageError(
            f"cards {action} needs one name.", remedies=[("See them", "python training_pipeline.py cards list")]
        )
    if action == "export" and arguments.out is None:
        raise UsageError("cards export needs --out FILE.json or FILE.png.")


def _import(files: list[str], shelf: CardShelf, max_bytes: int) -> int:
    """Every file that can be read; the others are named on standard error."""
    from character_chatbot.cards.card_file import read_card

    failed = 0
    for file in files:
        try:
            card = read_card(Path(file), max_bytes)
        except CardError as error:
            failed += 1
            print(f"Error: {error}", file=sys.stderr)
            continue
        print(f"{card.name}: imported as {shelf.save(card)} ({describe_card(card)})")
        for note in card.notes:
            print(f"  {note}")
    return FAILED if failed else DONE


def describe_card(card: Card) -> str:
    """What a card has, in a few words."""
    count = 1 + len(card.alternate_greetings) if card.greeting else len(card.alternate_greetings)
    parts = [card.spec.upper(), f"{count} greeting" + ("s" if count != 1 else "")]
    if card.book:
        parts.append(f"a lorebook of {len(card.book.entries)}")
    return ", ".join(parts + (["a picture"] if card.image else []))


def _list(shelf: CardShelf, as_json: bool) -> int:
    cards = list(shelf.cards())
    if as_json:
        _print_json([{"key": key, "name": card.name, "spec": card.spec} for key, card in cards])
    elif not cards:
        print(f"No cards in {shelf.folder}.\n  Import one:  python training_pipeline.py cards import FILE")
    for key, card in [] if as_json else cards:
        print(f"{card.name:<24} {key:<40} {describe_card(card)}")
    return DONE


def _show(name: str, shelf: CardShelf, as_json: bool) -> int:
    from character_chatbot.cards.card import to_object

    key, card = shelf.find(name)
    if as_json:
        print(json.dumps(to_object(card), indent=2))  # ASCII: a terminal obeys control characters
        return DONE
    print(f"{card.name} ({key}, {describe_card(card)})")
    rows = {
        "nickname": card.nickname,
        "creator": card.creator,
        "version": card.character_version,
        "tags": ", ".join(card.tags),
        "notes": card.creator_notes,
        "description": card.description,
        "personality": card.personality,
        "scenario": card.scenario,
        "greeting": card.greeting,
        "lorebook": ", ".join(entry.name or entry.keys[0] for entry in card.book.entries if entry.name or entry.keys)
        if card.book
        else "",
    }
    for label, text in rows.items():
        if text:
            line = " ".join(text.split())
            print(f"  {label:<12} {line[:SHOWN_CHARACTERS]}" + ("…" if len(line) > SHOWN_CHARACTERS else ""))
    return DONE


def _export(arguments: argparse.Namespace, shelf: CardShelf, folder: Path) -> int:
    """A card of the shelf, else a character of the series."""
    from character_chatbot.cards.card_file import write_card

    try:
        _, card = shelf.find(arguments.names[0])
    except CardError as error:
        card = _card_of_series(arguments.names[0], folder, error)
    write_card(card, arguments.out, arguments.spec or "")
    print(f"{card.name}: written to {arguments.out}.")
    if card.image and arguments.out.suffix.lower() == ".json":
        print("  Its picture, and what other programs keep in it, is not in a JSON file.")
    return DONE


def _card_of_series(name: str, folder: Path, error: CardError) -> Card:
    """The card of a character of ``characters.jsonl``. Raises the error given where there is none."""
    from character_chatbot.cards.casting import from_character
    from utils.series import open_series

    try:
        series = open_series(folder)
        return from_character(series.characters.get(name), series.title)
    except CardError:
        raise
    except DataError as missing:
        raise error from missing


def _delete(name: str, shelf: CardShelf) -> int:
    key, card = shelf.find(name)
    shelf.delete(key)
    print(f"{card.name}: deleted ({key}).")
    return DONE


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))
