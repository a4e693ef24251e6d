"""Staying in the role while a reply streams: nothing that must not be shown is ever shown, not even half of it.

A reply ends where a line begins with the name of somebody else ("Visitor: …") or where a template token is spelt out;
the character's own name in front of what it says is left out. Whatever may become one of these is held back until that
is known: a name at the start of a line, a "<" or "[". A reply comes out the same however it was cut into pieces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# How the common chat templates spell their tokens: ChatML, Llama 2, 3 and 4, Gemma, Mistral, Phi.
TEMPLATE_TOKEN = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
)
MAYBE_TOKEN = re.compile(r"(?:<<?[/|]?[^<>\s]{0,42}|<</?[A-Z]{0,3}>|\[/?[A-Z]{0,4})\Z")
# Names under which the other side of a chat goes in training data. No character of a series is called so.
OTHER_SIDE = ("User", "Human", "Assistant", "System")
BEFORE_NAME = ' \t*_[(>#"“-'
AFTER_NAME = ' \t*_])"”'
LONGEST_LABEL = 80
SPACES = re.compile("[ \t\u00a0\u2009\u202f]+")


class RoleGuard:
    """Takes a reply piece by piece and gives what may be shown.

    Args:
        own: names of the character who replies.
        others: names of everybody else.
    """

    def __init__(self, own: Iterable[str], others: Iterable[str]) -> None:
        self._own = _folded(own)
        self._others = _folded((*others, *OTHER_SIDE)) - self._own
        self._names = self._own | self._others
        self._line: str | None = ""  # the start of a line, as long as it may become a label
        self._held = ""  # what may become a template token
        self._shown = False
        self._out = 0  # so many signs of what is held back were shown before
        self._skipped = ""  # signs that may stand between a label and what is said
        self.stopped = False  # the reply has ended; nothing more is shown
        self.other = False  # … because it began to speak for somebody else

    def feed(self, piece: str) -> str:
        """What can be shown now."""
        return self._new("".join(self._take(sign) for sign in piece))

    def resume(self, text: str) -> None:
        """Go on behind ``text``, which is shown already: a name or a token may have begun in it."""
        line = text.rpartition("\n")[2]
        self._shown = True
        self._line = line if self._find_label(line) == "maybe" else None
        maybe = MAYBE_TOKEN.search(text) if self._line is None else None
        self._held = maybe[0] if maybe else ""
        self._out = len(self._line or self._held)

    def finish(self) -> str:
        """What was held back and turned out to be harmless; after the last piece."""
        if self.stopped:
            return ""
        rest = "" if self._line is None else self._release(self._line)
        rest = self._new(rest + self._held)
        self._line, self._held = None, ""
        return rest if rest.strip() else ""

    def _new(self, text: str) -> str:
        """Without what was shown before."""
        new, self._out = text[self._out :], max(0, self._out - len(text))
        return new

    def _take(self, sign: str) -> str:
        if sign == "\n" and self._line is None:
            self._line = ""
        if self._line is None or self.stopped:
            return self._watch(sign)
        if sign in self._skipped:
            return ""
        self._skipped = ""
        return self._begin_line(self._line + sign)

    def _begin_line(self, line: str) -> str:
        """The start of a line is shown once it cannot become a label any more."""
        label, self._line = self._find_label(line), line
        if label == "own" and self._out:  # the name is shown already
            label = ""
        if label == "other":
            self.stopped = self.other = True
        elif label == "own":
            said = line.lstrip("\n")
            self._line = line[: len(line) - len(said)]
            self._skipped = " \t*_" if said[0] in "*_" else " \t"
        elif not label:
            self._line = None
            return self._release(line)
        return ""

    def _find_label(self, line: str) -> str:
        """``own``, ``other``, ``maybe`` (more is to come), or nothing: the line begins with other words."""
        text = _fold(line.lstrip("\n" + BEFORE_NAME))
        if not text:
            return "maybe" if len(line) <= LONGEST_LABEL else ""
        for name in self._names:
            if text.startswith(name):
                rest = text[len(name) :].lstrip(AFTER_NAME)
                if rest[:1] in (":", "："):
                    return "own" if name in self._own else "other"
                if not rest and len(line) <= LONGEST_LABEL:
                    return "maybe"
        return "maybe" if any(name.startswith(text) for name in self._names) else ""

    def _release(self, text: str) -> str:
        """A line's beginning that is no label; what stands in front of the first word of a reply is dropped."""
        return "".join(self._watch(sign) for sign in (text if self._shown else text.lstrip()))

    def _watch(self, sign: str) -> str:
        """Template tokens end a reply."""
        if self.stopped:
            return ""
        text = self._held + sign
        if TEMPLATE_TOKEN.search(text):
            self.stopped, self._held = True, ""
            return ""
        maybe = MAYBE_TOKEN.search(text)
        at = maybe.start() if maybe else len(text)
        self._held = text[at:]
        self._shown = self._shown or bool(text[:at].strip())
        return text[:at]


def close_pieces(pieces: object) -> None:
    """End the work behind an iterator, if it can be ended."""
    close = getattr(pieces, "close", None)
    if close:
        close()


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(_fold(" ".join(name.split())) for name in names if name.strip())


def _fold(text: str) -> str:
    """One spelling of a name: whatever its case, its spaces, and whether accents are signs of their own."""
    return SPACES.sub(" ", unicodedata.normalize("NFD", text).casefold())
