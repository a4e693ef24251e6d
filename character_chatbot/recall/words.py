"""Words of a text and BM25 over them: what the quotes engine and the scene memory search with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

STEM = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|'s|n't)$")
WORD = re.compile(r"\w+(?:'\w+)?")
NO_WORDS = "\0"  # stands in the index for a text of signs alone; no text has it as a word

# Words that say nothing about what a message is about: the closed classes of English, and what every talk has.
STOP_TEXT = """
a about again ah all am an and any are aren't as at be been but by can can't come could did didn't do does doesn't
don't for from get go going gonna got had has have he he'll he's hello her here hers hey hi him his how i i'd i'll i'm
i've if in into is isn't it it'd it'll it's its just know let let's like me mine more much my no not now of off oh ok
okay on one or our out over please really said say see she she'll she's should so some tell than thank thanks that
that's the their them then there there's these they they'll they're they've thing things think this those to too uh um
up us very want was wasn't we we'll we're we've well were weren't what what's when where where's which who who's why
will with won't would yeah yes you you'd you'll you're you've your yours
"""
STOP_WORDS = frozenset(STOP_TEXT.split())


class WordIndex:
    """BM25 (Robertson and Zaragoza 2009, as bm25s implements it) over texts."""

    def __init__(self, texts: Sequence[str], split: Callable[[str], list[str]] | None = None) -> None:
        """Index the texts. ``split``: into words; default :func:`tokenize`."""
        import bm25s

        self._split, self._count = split or tokenize, len(texts)
        self._index = bm25s.BM25()
        self._index.index([self._split(text) or [NO_WORDS] for text in texts], show_progress=False)

    def score(self, text: str) -> np.ndarray:
        """BM25 of each text, shape (texts,); 0 where it has none of the words."""
        import numpy as np

        known = [word for word in self._split(text) if word in self._index.vocab_dict]
        return np.asarray(self._index.get_scores(known)) if known else np.zeros(self._count)


def tokenize(text: str) -> list[str]:
    """Lower-case words without their commonest endings."""
    return [STEM.sub("", word) for word in _split(text)]


def content_words(text: str) -> list[str]:
    """As :func:`tokenize`, without the stop words."""
    return [STEM.sub("", word) for word in _split(text) if word not in STOP_WORDS]


def _split(text: str) -> list[str]:
    return WORD.findall(text.casefold().replace("\u2019", "'"))
