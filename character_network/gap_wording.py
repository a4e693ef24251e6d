"""What speaks for a new scene in the words on either side of a gap: a part of ``gap_features``.

Words that go on (cohesion), words of parting before and of opening after, somebody announced ("Here comes Dustin"), who
is addressed, marks and lengths, a rhyme at the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from character_network.scene_words import (
    ANSWERS,
    COMING,
    IMPERATIVES,
    LISTENER,
    OPENINGS,
    PARTING,
    PLANS,
    SPEAKER,
    TOGETHER,
)
from character_network.wording import WORD, Wording

Numbers = NDArray[np.float64]

WORD_WINDOWS = (1, 2, 4, 8, 16)  # lines on either side
PARTING_WORDS = 15  # the last of a line, searched for words of parting
COMING_WORDS = 20  # the last of a line, searched for somebody announced
SHORT_WORD = 3  # letters; shorter words say nothing of what is talked about
LONG_SPEECH = 40  # words
MOST_MARKS = 10  # of sentences in a line; more make no difference
VERSE_WORDS = (6, 11)  # in a line of verse of five feet, or a little more
ANY_WORD = re.compile(r"[A-Za-z'’]+")
LATER_CAPITAL = re.compile(r"[^A-Za-z'’][A-Z]")  # of a word that is not the first
VOWELS_TO_END = re.compile(r"[aeiouy]+[^aeiouy]*$")
SILENT_E = re.compile(r"[aeiouy]+[^aeiouy]+e$")


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
    late = np.maximum(starts, ends - PARTING_WORDS)
    parting = wording.counts(PARTING, late, ends).astype(float)
    near = np.convolve(parting, np.ones(3))[: len(lines)]
    ours = wording.counts(TOGETHER, late, ends) > 0
    answer, opening = wording.opens(ANSWERS, starts, ends), wording.opens(OPENINGS, starts, ends)
    lengths = np.log1p(ends - starts)
    marks = np.array([line.rstrip()[-1:] for line in lines])
    asks, breaks = marks == "?", np.logical_or.reduce([marks == mark for mark in "—–-,"])
    gaps = np.arange(1, len(lines))
    columns = (
        np.log1p(parting)[:-1], np.log1p(near)[:-1], ours[:-1], answer[1:], opening[1:], lengths[1:], lengths[:-1],
        asks[:-1], asks[1:], breaks[:-1], (marks == "!")[:-1], 1 / gaps, 1 / (len(lines) - gaps),
    )  # fmt: skip
    return np.column_stack(columns)


def sentence_features(wording: Wording) -> Numbers:
    """Somebody announced, plans and orders at the end of a line; who is meant, "I" or "you", on either side of the gap;
    a question after it; how many sentences come before it.
    """
    starts, ends, last = wording.starts, wording.ends, wording.last_starts
    columns = (
        announced(wording)[:-1], wording.shares(PLANS, np.maximum(starts, ends - PARTING_WORDS), ends)[:-1],
        wording.opens(IMPERATIVES, last, ends)[:-1], wording.shares(SPEAKER, last, ends)[:-1],
        wording.shares(LISTENER, last, ends)[:-1], wording.shares(LISTENER, starts, wording.first_ends)[1:],
        wording.asks[1:], np.minimum(wording.marks, MOST_MARKS)[:-1] / 5,
    )  # fmt: skip
    return np.column_stack(columns)


def announced(wording: Wording) -> NDArray[np.bool_]:
    """Whether a line says among its last words that somebody comes, shape (lines,)."""
    number, words = wording.numbers, wording.words
    latest = np.maximum(wording.starts, wording.ends - COMING_WORDS)
    found = np.zeros(len(latest), bool)
    for phrase in COMING:
        if all(word in number for word in phrase):
            at = np.flatnonzero(words[: 1 - len(phrase)] == number[phrase[0]])
            for place, word in enumerate(phrase[1:], 1):
                at = at[words[at + place] == number[word]]
            line = np.searchsorted(wording.starts, at, "right") - 1
            found[line[(at >= latest[line]) & (at + len(phrase) <= wording.ends[line])]] = True
    return found


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
