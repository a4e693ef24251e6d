"""Where a reply that goes on meets what is there already: within a word nothing, behind a sentence a space.

join_on("I do not kn", ["ow", " it."])   # "ow", " it."
join_on("I know.", ["So do", " you."])   # " So do", " you."
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from character_chatbot.replies.role import close_pieces

SENTENCE_END = ".!?…”’)"
OPENING = "“‘(["
BOTH = '"*'  # open and close alike: which one it is, their number tells


def find_gap(text: str, more: str) -> str:
    """What has to stand between a text and what follows it: a space, or nothing."""
    first, last = more[:1], text[-1:]
    ended = (last in SENTENCE_END) if last not in BOTH else text.count(last) % 2 == 0
    begun = first.isalnum() or first in OPENING or (first in BOTH and text.count(first) % 2 == 0)
    number = first.isdigit() and text[-2:-1].isdigit()  # 3. and 14
    return " " if text and more and ended and begun and not number else ""


def join_on(beginning: str, pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of what follows ``beginning``, which fit on to it as they are."""
    begun = False
    try:
        for piece in pieces:
            yield piece if begun or not piece else find_gap(beginning, piece) + piece
            begun = begun or bool(piece)
    finally:
        close_pieces(pieces)
