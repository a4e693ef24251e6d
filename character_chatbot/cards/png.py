"""PNG files as chunks: the card data in them is found, taken out and put in without ever decoding the picture.

A chunk is its length in 4 bytes, its kind in 4, the data, and the CRC-32 of kind and data (PNG specification, section
5). Card data is in text chunks: ``chara`` (V2) and ``ccv3`` (V3), base64 of JSON.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from character_chatbot.cards.reading import MAX_FILE_BYTES
from utils.errors import CardError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
V2_KEYWORD, V3_KEYWORD = "chara", "ccv3"
MAX_CHUNKS = 20_000
MAX_PIXELS = 50_000_000  # whoever shows the picture has to decode it
LONGEST_KEYWORD = 79


class Chunk(NamedTuple):
    """One chunk. ``keyword``: of a text chunk that holds a card, in lower case; else empty."""

    kind: bytes
    data: bytes
    keyword: str = ""


def read_chunks(content: bytes, where: str) -> list[Chunk]:
    """The chunks of a PNG up to and with IEND; what lies behind it is left out.

    Raises:
        CardError: no PNG, damaged, cut short, or a picture of too many pixels.
    """
    if not content.startswith(SIGNATURE):
        raise CardError(f"{where} is not a PNG picture.")
    chunks = list(_walk(content, where))
    if chunks[0].kind != b"IHDR" or len(chunks[0].data) != 13:
        raise CardError(f"{where} is a damaged PNG: it does not start with IHDR.")
    width, height = struct.unpack(">II", chunks[0].data[:8])
    if not 0 < width * height <= MAX_PIXELS:
        raise CardError(f"{where} is a picture of {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are taken.")
    return chunks


def _walk(content: bytes, where: str) -> Iterator[Chunk]:
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(content):
            raise CardError(f"{where} is a damaged PNG: it ends before its last chunk.")
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            raise CardError(f"{where} is a damaged PNG: a chunk of {length:,} bytes goes beyond its end.")
        data = content[at + 8 : end - 4]
        if zlib.crc32(kind + data) != struct.unpack_from(">I", content, end - 4)[0]:
            raise CardError(f"{where} is a damaged PNG: the checksum of a chunk at byte {at:,} is wrong.")
        yield Chunk(kind, data, _keyword(kind, data))
        if kind == b"IEND":
            return
        at = end
    raise CardError(f"{where} has more than {MAX_CHUNKS:,} chunks.")


def _keyword(kind: bytes, data: bytes) -> str:
    if kind not in (b"tEXt", b"zTXt", b"iTXt"):
        return ""
    keyword = data[: LONGEST_KEYWORD + 1].partition(b"\0")[0].decode("latin-1").lower()
    return keyword if keyword in (V2_KEYWORD, V3_KEYWORD) else ""


def find_card_json(chunks: list[Chunk], where: str) -> bytes:
    """The JSON of the card in a PNG; that of V3 where both are there.

    Raises:
        CardError: no card in it, or one that is not base64.
    """
    for keyword in (V3_KEYWORD, V2_KEYWORD):
        for chunk in chunks:
            if chunk.keyword == keyword:
                return _decode(_text_of(chunk, where), where)
    raise CardError(
        f"{where} is a picture without a character card.",
        instead="A card's picture has a text chunk 'chara' or 'ccv3'; sites that shrink pictures drop it.",
    )


def _text_of(chunk: Chunk, where: str) -> bytes:
    """The text of a text chunk. PNG specification, section 11.3.3."""
    rest = chunk.data.partition(b"\0")[2]
    if chunk.kind == b"tEXt":
        return rest
    if chunk.kind == b"zTXt":
        return _inflate(rest[1:], where)
    packed = rest[:1] == b"\1"
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _inflate(text, where) if packed else text


def _inflate(packed: bytes, where: str) -> bytes:
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, MAX_FILE_BYTES)
    except zlib.error as error:
        raise CardError(f"{where}: the card in it cannot be unpacked: {error}.") from None
    if unpacking.unconsumed_tail:
        raise CardError(f"{where}: the card in it unpacks to more than {MAX_FILE_BYTES:,} bytes.")
    return text


def _decode(text: bytes, where: str) -> bytes:
    """base64, with white space and without padding, as other programs accept it."""
    packed = b"".join(text.split()).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise CardError(f"{where}: the card in it is not base64.") from None


def without_card(chunks: list[Chunk]) -> bytes:
    """The PNG without card data; all other chunks are as they were."""
    return SIGNATURE + b"".join(_pack(chunk.kind, chunk.data) for chunk in chunks if not chunk.keyword)


def with_card(image: bytes, cards: dict[str, bytes]) -> bytes:
    """The PNG with card data in front of IEND; what it had of it is replaced.

    Args:
        image: a PNG.
        cards: keyword to JSON, in the order in which they are written.

    Raises:
        CardError: the image is no PNG.
    """
    plain = without_card(read_chunks(image, "the picture"))
    end = _pack(b"IEND", b"")
    texts = (_pack(b"tEXt", key.encode() + b"\0" + base64.b64encode(json)) for key, json in cards.items())
    return plain.removesuffix(end) + b"".join(texts) + end


def _pack(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
