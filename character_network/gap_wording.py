"""What speaks for a new scene in the words on either side of a gap: a part of ``gap_features``.

Words that go on (cohesion), words of parting before and of opening after, marks and lengths, a rhyme at the end.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from character_network.scene_words import ANSWERS, OPENINGS, PARTING, TOGETHER

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]

WORD_WINDOWS = (4, 8, 16)  # lines on either side
PARTING_WORDS = 15  # the last of a line, searched for words of parting
SHORT_WORD = 3  # letters; shorter words say nothing of what is talked about
LONG_SPEECH = 40  # words
VERSE_WORDS = (6, 11)  # in a line of verse of five feet, or a little more
WORD = re.compile(r"[a-z]+")
WORD_OR_END = re.compile(r"[a-z]+|\n")
APOSTROPHE = re.compile("['’]")
ANY_WORD = re.compile(r"[A-Za-z'’]+")
LATER_CAPITAL = re.compile(r"[^A-Za-z'’][A-Z]")  # of a word that is not the first
VOWELS_TO_END = re.compile(r"[aeiouy]+[^aeiouy]*$")
SILENT_E = re.compile(r"[aeiouy]+[^aeiouy]+e$")


@dataclass(frozen=True)
class Wording:
    """The words of an episode as numbers.

    ``numbers``: of each word of the vocabulary, in order. ``words``: all words in order. ``starts``, ``ends``: of each
    line among them.
    """

    numbers: dict[str, int]
    words: Whole
    starts: Whole
    ends: Whole

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


def split_words(text: str) -> list[str]:
    """Words in small letters, without apostrophes: "Let's go" gives lets, go."""
    return WORD.findall(APOSTROPHE.sub("", text.lower()))


def read_wording(lines: Sequence[str]) -> Wording:
    """The words of all lines, found in one pass; as ``split_words`` finds them."""
    text = "\n".join([line.replace("\n", " ") for line in lines]).lower()
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers) - 1)
    numbers["\n"]  # the end of a line: -1
    found = WORD_OR_END.findall(APOSTROPHE.sub("", text) + "\n")
    ids = np.fromiter(map(numbers.__getitem__, found), np.int64, len(found))
    ends = np.flatnonzero(ids < 0) - np.arange(len(lines))
    del numbers["\n"]
    return Wording(dict(numbers), ids[ids >= 0], np.concatenate([[0], ends[:-1]]), ends)


def cohesion(wording: Wording) -> Numbers:
    """Cosine of the words on either side, weighted by rarity in the episode (as in TextTiling, Hearst 1997)."""
    sums = _rare_words(wording)
    count = len(sums) - 1
    gaps, here, found = np.arange(1, count), sums[1:-1], []
    for size in WORD_WINDOWS:
        before = here - sums.take(np.maximum(gaps - size, 0), axis=0)
        after = sums.take(np.minimum(gaps + size, count), axis=0) - here
        squares = np.einsum("gw,gw->g", before, before) * np.einsum("gw,gw->g", after, after)
        found.append(np.einsum("gw,gw->g", before, after) / np.maximum(np.sqrt(squares), 1e-9))
    return np.column_stack(found)


def _rare_words(wording: Wording) -> Numbers:
    """Sums of the weights of each word over the lines before each line, and at last over all lines.

    Only of words that are long enough and come in more than one line.
    """
    count, size = len(wording.starts), max(1, len(wording.numbers))
    long = np.array([len(word) > SHORT_WORD for word in wording.numbers], bool)
    chosen = long[wording.words]
    places, times = np.unique(wording.lines[chosen] * size + wording.words[chosen], return_counts=True)
    spread = np.bincount(places % size, minlength=size)
    column = np.cumsum(spread > 1) - 1
    kept = spread[places % size] > 1
    sums = np.zeros((count + 1, max(1, int((spread > 1).sum()))))
    word = places[kept] % size
    sums[places[kept] // size + 1, column[word]] = times[kept] * np.log(count / spread[word])
    return np.asarray(sums.cumsum(0, out=sums))


def wording_features(wording: Wording, lines: Sequence[str]) -> Numbers:
    """Words of parting before, an answer or an opening after, marks at the ends, lengths, the edges of the episode."""
    starts, ends = wording.starts, wording.ends
    late, first = np.maximum(starts, ends - PARTING_WORDS), np.minimum(starts + 1, ends)
    parting = wording.counts(PARTING, late, ends).astype(float)
    near = np.convolve(parting, np.ones(3))[: len(lines)]
    ours = wording.counts(TOGETHER, late, ends) > 0
    answer, opening = wording.counts(ANSWERS, starts, first), wording.counts(OPENINGS, starts, first)
    lengths = np.log1p(ends - starts)
    marks = np.array([line.rstrip()[-1:] for line in lines])
    asks, breaks = marks == "?", np.logical_or.reduce([marks == mark for mark in "—–-,"])
    gaps = np.arange(1, len(lines))
    columns = (
        np.log1p(parting)[:-1], np.log1p(near)[:-1], ours[:-1], answer[1:], opening[1:], lengths[1:], lengths[:-1],
        asks[:-1], asks[1:], breaks[:-1], (marks == "!")[:-1], 1 / gaps, 1 / (len(lines) - gaps),
    )  # fmt: skip
    return np.column_stack(columns)


def speech_features(wording: Wording, lines: Sequence[str]) -> Numbers:
    """A rhyme at the end, as old plays close their scenes with, and long speeches on either side."""
    rhymes = np.array([ends_in_rhyme(line) for line in lines], float)
    lengths = wording.ends - wording.starts
    logs = np.log1p(lengths)
    columns = rhymes[:-1], lengths[1:] > LONG_SPEECH, lengths[:-1] > LONG_SPEECH, logs[1:] * logs[:-1] / 10
    return np.column_stack(columns)


def ends_in_rhyme(line: str) -> bool:
    """Whether the last word rhymes, by its letters, with one a verse earlier; a verse begins with a capital letter."""
    shortest, longest = VERSE_WORDS
    if line.count(" ") < longest or not LATER_CAPITAL.search(line):
        return False
    words = ANY_WORD.findall(line)
    if len(words) <= longest:
        return False
    capitals = [
        at
        for at in range(len(words) - longest, len(words) - shortest + 1)
        if words[at + 1][:1].isupper() and words[at].lower() != words[-1].lower()
    ]
    if not capitals:
        return False
    ending = _ending(words[-1])
    return len(ending) > 1 and any(_ending(words[at]) == ending for at in capitals)


def _ending(word: str) -> str:
    """The letters from the last sounded vowel on."""
    letters = "".join(WORD.findall(word.lower()))
    found = SILENT_E.search(letters) or VOWELS_TO_END.search(letters)
    return found[0] if found else ""
