"""A reply that runs into its longest length ends with its last whole sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from character_chatbot.replies.role import close_pieces

HELD_TOKENS = 32  # about two sentences
# Tokens are counted on the text: a model that draws its tokens may have spelt it in more.
CUT_SHARE = 0.85
SHORT_FORM = r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)"
END = SHORT_FORM + r"[.!?…][\"'”’)\]*]*"
INNER_END = re.compile(END + r"(?=\s)")
LAST_END = re.compile(END + r"\s*\Z")


class SentenceEnd:
    """Shows whole sentences only, once a reply comes near ``max_tokens``, where the engine stops.

    In the middle of a sentence that began before that everything is shown: it cannot be taken back.
    ``beginning``: what is shown already of a reply that goes on.
    """

    def __init__(self, max_tokens: int, beginning: str = "") -> None:
        self._max, self._from = max_tokens, max_tokens - min(HELD_TOKENS, max_tokens // 2)
        self._tokens, self._shown, self._held = 0, beginning, ""
        self._given = len(beginning)

    def feed(self, piece: str, tokens: int) -> str:
        """What can be shown now. ``tokens``: of the piece."""
        self._tokens += tokens
        self._held += piece
        at = len(self._held) if self._tokens < self._from else self._border()
        out, self._held = self._held[:at], self._held[at:]
        self._shown += out
        return out

    def finish(self) -> str:
        """What is left: nothing, if the reply was cut in the middle of a sentence."""
        cut = self._tokens >= CUT_SHARE * self._max and not LAST_END.search(self._held)
        return "" if cut and self._shown[self._given :].strip() else self._held

    def _border(self) -> int:
        """Where the last sentence of what is held ends."""
        ends = [match.end() for match in INNER_END.finditer(self._held)]
        if ends:
            return ends[-1]
        within = self._shown.strip() and not LAST_END.search(self._shown)
        return len(self._held) if within else 0


def end_with_sentence(
    pieces: Iterable[str], max_tokens: int, count_tokens: Callable[[str], int], beginning: str = ""
) -> Iterator[str]:
    """The pieces of a reply without the beginning of a sentence that there was no room for."""
    ending = SentenceEnd(max_tokens, beginning)
    try:
        for piece in pieces:
            shown = ending.feed(piece, count_tokens(piece))
            if shown:
                yield shown
        rest = ending.finish()
        if rest:
            yield rest
    finally:
        close_pieces(pieces)
