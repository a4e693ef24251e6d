"""Card files: JSON and PNG, read and written.

card = read_card(Path("seraphina.png"))
write_card(card, Path("seraphina.json"), V3)
"""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

from character_chatbot.cards.card import SPECS, V1, V2, V3, Card, backfill, build_card, to_object
from character_chatbot.cards.png import (
    SIGNATURE,
    V2_KEYWORD,
    V3_KEYWORD,
    find_card_json,
    read_chunks,
    with_card,
    without_card,
)
from character_chatbot.cards.portrait import draw_portrait
from character_chatbot.cards.reading import MAX_FILE_BYTES, read_object, write_object
from utils.errors import CardError, UsageError
from utils.files import disk_errors, write_atomic

JSON, PNG = ".json", ".png"
ZIP = b"PK\x03\x04"
OTHERS = {
    ZIP: "a zip archive, perhaps a CHARX card",
    b"RIFF": "a WebP picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
}


def read_card(file: Path, max_bytes: int = MAX_FILE_BYTES) -> Card:
    """The card in a file.

    Raises:
        CardError: no such file, too large, or no card in it that can be read.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CardError(f"{file} is not a file.")
        with file.open("rb") as opened:
            content = opened.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        raise CardError(f"{file} cannot be read: {why.lower()}.") from None
    return parse_card(content, str(file), max_bytes)


def parse_card(content: bytes, where: str = "the card", max_bytes: int = MAX_FILE_BYTES) -> Card:
    """The card in the bytes of a JSON or PNG file, told apart by their start.

    Args:
        content: of the file.
        where: how an error names it.
        max_bytes: more is refused.

    Raises:
        CardError: too large, or no card that can be read.
    """
    if len(content) > max_bytes:
        raise CardError(f"{where} has more than {max_bytes / 1e6:,.0f} MB, and is not read.")
    if content.startswith(SIGNATURE):
        chunks = read_chunks(content, where)
        return build_card(read_object(find_card_json(chunks, where), where), without_card(chunks), where)
    for start, what in OTHERS.items():
        if content.startswith(start):
            unpack = (
                [("Take the card out", f"unzip -p {shlex.quote(where)} card.json > card.json")] if start == ZIP else []
            )
            raise CardError(f"{where} is {what}.", instead="Cards are read from JSON and PNG files.", remedies=unpack)
    return build_card(read_object(content, where), b"", where)


def format_json(card: Card, spec: str = "") -> bytes:
    """The JSON of a card; ``spec``: V2 or V3, empty: as it was read, a V1 card as V2."""
    return write_object(to_object(card, spec))


def format_png(card: Card, spec: str = "") -> bytes:
    """The PNG of a card on its own picture, or on its initials. One for V3 holds a copy for V2 programs.

    Raises:
        CardError: the card's picture is no PNG.
    """
    spec = spec or (V2 if card.spec == V1 else card.spec)
    cards = {V2_KEYWORD: format_json(card, V2)}
    if spec == V3:
        cards = {V2_KEYWORD: write_object(backfill(card)), V3_KEYWORD: format_json(card, V3)}
    return with_card(card.image or draw_portrait(card.name), cards)


def write_card(card: Card, file: Path, spec: str = "") -> None:
    """Write a card as the ending of the file's name says, whole or not at all.

    Raises:
        UsageError: another ending than .json and .png, or no such spec.
        StoreError: the disk says no.
    """
    writers = {JSON: format_json, PNG: format_png}
    writer = writers.get(file.suffix.lower())
    if writer is None:
        raise UsageError(f"{file} ends neither in .json nor in .png, and a card is written as one of them.")
    if spec and spec not in SPECS:
        raise UsageError(f"there is no spec {spec!r}; a card is written as {' or '.join(SPECS)}.")
    content = writer(card, spec)
    with disk_errors(file, "written"):
        write_atomic(file, content)
