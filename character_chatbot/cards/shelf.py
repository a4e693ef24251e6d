"""A shelf: a folder of imported cards, each under a name that the shelf makes up.

    shelf = CardShelf(series_folder / "cards")
    key = shelf.save(card)        # seraphina-0a1b2c3d4e5f
    shelf.find("Seraphina")       # by name, nickname or key

A card's own name is never used as a path.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from character_chatbot.cards.card import Card
from character_chatbot.cards.card_file import JSON, PNG, format_json, format_png, read_card
from character_chatbot.cards.reading import MAX_FILE_BYTES
from utils.errors import CardError, nearest
from utils.files import disk_errors, write_atomic

logger = logging.getLogger(__name__)

FOLDER = "cards"  # of a series folder
KEY = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*-[0-9a-f]{12}")
LONGEST_SLUG = 40
MAX_STORED_BYTES = 4 * MAX_FILE_BYTES  # base64, twice for V3, makes a card larger than the file it came from


class CardShelf:
    """The cards of a folder, which is made when the first one is saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, card: Card) -> str:
        """Keep a card, with its picture if it has one; the same card again changes nothing.

        Returns:
            The key of the card.

        Raises:
            StoreError: the disk says no.
        """
        content = format_png(card) if card.image else format_json(card)
        key = f"{make_slug(card.name)}-{hashlib.sha256(content).hexdigest()[:12]}"
        file = self.folder / (key + (PNG if card.image else JSON))
        with disk_errors(file, "written"):
            write_atomic(file, content)
        return key

    def keys(self) -> tuple[str, ...]:
        """The keys of all cards, sorted; no folder is no card. Raises StoreError."""
        with disk_errors(self.folder, "listed"):
            if not self.folder.is_dir():
                return ()
            files = [file for file in self.folder.iterdir() if file.suffix in (JSON, PNG)]
        return tuple(sorted({file.stem for file in files if KEY.fullmatch(file.stem)}))

    def load(self, key: str) -> Card:
        """The card with this key. Raises CardError: there is none, or it was damaged; StoreError."""
        return read_card(self._file(key), MAX_STORED_BYTES)

    def delete(self, key: str) -> None:
        """Take a card off the shelf. Raises CardError: there is none; StoreError: the disk says no."""
        file = self._file(key)
        with disk_errors(file, "deleted"):
            file.unlink(missing_ok=True)

    def cards(self) -> Iterator[tuple[str, Card]]:
        """Every card that can be read, with its key; the others are logged."""
        for key in self.keys():
            try:
                yield key, self.load(key)
            except CardError as error:
                logger.warning("a card on the shelf is left out: %s", error.what)

    def find(self, name: str) -> tuple[str, Card]:
        """The card with this key, name or nickname, and its key.

        Raises:
            CardError: there is none, or several have the name.
        """
        if KEY.fullmatch(name) and name in self.keys():
            return name, self.load(name)
        wanted = " ".join(name.split()).casefold()
        cards = dict(self.cards())
        names = {key: {card.name.casefold(), card.nickname.casefold()} - {""} for key, card in cards.items()}
        found = [key for key in cards if wanted in names[key]]
        if len(found) == 1:
            return found[0], cards[found[0]]
        if found:
            raise CardError(f"{len(found)} cards are called '{name}'.", instead=f"Say which: {', '.join(found)}")
        raise self._missing(name, [card.name for card in cards.values()])

    def _file(self, key: str) -> Path:
        if KEY.fullmatch(key):
            for suffix in (PNG, JSON):
                if (self.folder / (key + suffix)).is_file():
                    return self.folder / (key + suffix)
        raise self._missing(key, self.keys())

    def _missing(self, name: str, known: list[str] | tuple[str, ...]) -> CardError:
        near = nearest(name, known)
        there = f"There are: {', '.join(known[:12])}" if known else f"{self.folder} has none."
        return CardError(
            f"no card '{name[:60]}'.",
            instead=(f"Did you mean {near}? " if near else "") + there,
            remedies=[("Import one", "python training_pipeline.py cards import FILE")],
        )


def make_slug(name: str) -> str:
    """A name as lower-case letters, digits and hyphens; ``card`` where nothing of it is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    return "-".join(words)[:LONGEST_SLUG].strip("-") or "card"
