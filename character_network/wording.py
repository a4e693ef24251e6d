"""The words and sentences of an episode as numbers, found in one pass: what ``gap_wording`` counts in.

    wording = read_wording(lines)
    wording.counts({"farewell"}, wording.starts, wording.ends)     # of each line

A sentence ends with one of ``MARKS`` or with its line.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]
Truths = NDArray[np.bool_]

WORD = re.compile(r"[a-z]+")
APOSTROPHE = re.compile("['’]")
MARKS = ".!?—"  # of the end of a sentence
TOKEN = re.compile(rf"[a-z]+|[{MARKS}\n]")
QUESTION = MARKS.index("?") - len(MARKS)  # its number


@dataclass(frozen=True)
class Wording:
    """The words of an episode as numbers.

    ``numbers``: of each word of the vocabulary, in order. ``words``: all words in order. ``starts``, ``ends``: of each
    line among them. ``first_ends``, ``last_starts``: where its first sentence ends, and its last begins. ``marks``: how
    many marks of a sentence's end it has. ``asks``: whether the first of them is a question mark.
    """

    numbers: dict[str, int]
    words: Whole
    starts: Whole
    ends: Whole
    first_ends: Whole
    last_starts: Whole
    marks: Whole
    asks: Truths

    @property
    def lines(self) -> Whole:
        """The line of each word."""
        return np.repeat(np.arange(len(self.starts)), self.ends - self.starts)

    def counts(self, known: Collection[str], starts: Whole, ends: Whole) -> Whole:
        """How many words from each start to its end are known."""
        table = np.zeros(len(self.numbers), bool)
        table[[self.numbers[word] for word in known if word in self.numbers]] = True
        sums = np.concatenate([[0], table[self.words].cumsum()])
        return np.asarray(sums[ends] - sums[starts])

    def shares(self, known: Collection[str], starts: Whole, ends: Whole) -> Numbers:
        """The share of the words from each start to its end that are known."""
        return np.asarray(self.counts(known, starts, ends) / np.maximum(ends - starts, 1))

    def opens(self, known: Collection[str], starts: Whole, ends: Whole) -> Whole:
        """1 where the first word from a start on is known."""
        return self.counts(known, starts, np.minimum(starts + 1, ends))


def split_words(text: str) -> list[str]:
    """Words in small letters, without apostrophes: "Let's go" gives lets, go."""
    return WORD.findall(APOSTROPHE.sub("", text.lower()))


def read_wording(lines: Sequence[str]) -> Wording:
    """The words of all lines, as ``split_words`` finds them, and their sentences."""
    text = "\n".join([line.replace("\n", " ") for line in lines]).lower()
    before_words = len(MARKS) + 1  # the end of a line and the marks have the numbers below 0
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers) - before_words)
    for mark in ("\n", *MARKS):
        numbers[mark]
    found = TOKEN.findall(APOSTROPHE.sub("", text) + "\n")
    ids = np.fromiter(map(numbers.__getitem__, found), np.int64, len(found))
    for mark in ("\n", *MARKS):
        del numbers[mark]
    line_ends = np.flatnonzero(ids == -before_words)
    words_before = np.concatenate([[0], (ids >= 0).cumsum()])  # words before each token
    starts, ends = np.concatenate([[0], words_before[line_ends[:-1]]]), words_before[line_ends]
    return Wording(dict(numbers), ids[ids >= 0], starts, ends, *_sentences(ids, line_ends, words_before))


def _sentences(ids: Whole, line_ends: Whole, words_before: Whole) -> tuple[Whole, Whole, Whole, Truths]:
    """``first_ends``, ``last_starts``, ``marks`` and ``asks`` of a ``Wording``.

    Args:
        ids: of all tokens; below 0: marks. line_ends: the token that ends each line. words_before: each token.
    """
    line_starts = np.concatenate([[0], line_ends[:-1] + 1])
    marks = np.flatnonzero((ids < 0) & (ids > ids.min()))
    first, after = np.searchsorted(marks, line_starts), np.searchsorted(marks, line_ends)
    has_mark, or_none = after > first, np.append(marks, 0)
    first_ends = np.where(has_mark, or_none[first], line_ends)
    # The last sentence begins after the last mark that has words behind it.
    inner = np.searchsorted(words_before[marks], words_before[line_ends])
    last_starts = words_before[np.where(inner > first, or_none[np.maximum(inner - 1, 0)], line_starts)]
    return words_before[first_ends], last_starts, after - first, has_mark & (ids[first_ends] == QUESTION)
