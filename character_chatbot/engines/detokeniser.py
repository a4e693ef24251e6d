"""Text from tokens as they come: never half a character, never a space too few.

text = Detokeniser(tokenizer.decode)
pieces = [text.add([314]), text.add([220, 11])]        # an empty piece while a character is not whole

What is held back at the end of a reply is a character that never became whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

BROKEN = "\ufffd"  # what decoders write for bytes that are not a character yet
LONGEST_BEGINNING = 3  # bytes of a character of UTF-8 that is not whole; some decoders write each of them by itself

CONTEXT_TOKENS = 8


class Detokeniser:
    """Decodes a few tokens before the new ones with them: how a token is written may depend on the one before it.

    ``behind``: tokens of a text that is out already and is gone on with; the last few will do.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], behind: Sequence[int] = ()) -> None:
        self._decode = decode
        self._ids: list[int] = list(behind[-CONTEXT_TOKENS:])
        self._context, self._whole = 0, len(self._ids)  # tokens decoded again, and those whose text is whole
        self._shown = 0  # characters behind the whole ones that are out already

    def add(self, ids: Sequence[int]) -> str:
        """The text that is whole by now and was not before."""
        self._ids += ids
        text = self._new_text()
        kept = _unfinished(text)
        piece = text[self._shown : len(text) - kept]
        if kept:
            self._shown = max(self._shown, len(text) - kept)
        else:
            self._context, self._whole, self._shown = self._whole, len(self._ids), 0
        return piece

    def _new_text(self) -> str:
        before = self._decode(self._ids[self._context : self._whole])
        return self._decode(self._ids[self._context :])[len(before) :]


def _unfinished(text: str) -> int:
    """How many characters at the end may still become others."""
    return min(LONGEST_BEGINNING, len(text) - len(text.rstrip(BROKEN)))
