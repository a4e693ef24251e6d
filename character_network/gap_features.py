"""What speaks for a new scene between two lines: who goes and comes, which words go on, what is said at parting.

``gap_features(speakers, lines)`` describes each gap of an episode by numbers; ``scene_finding`` weighs them.
A speaker who is nobody in particular (Unknown, "All") counts for no cast.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from character_network.scene_words import ANSWERS, OPENINGS, PARTING, TOGETHER

Numbers = NDArray[np.float64]

CAST_WINDOWS = (2, 3, 4, 6, 9, 13, 20, 35)  # lines on either side
WORD_WINDOWS = (4, 8, 16)
REACHES = (2.0, 5.0, 10.0)  # lines over which a speaker's presence fades
NEVER = 60.0  # lines until somebody speaks again who does not
PARTING_WORDS = 15  # the last of a line, searched for words of parting
WORD = re.compile(r"[a-z]+")
APOSTROPHE = re.compile("['’]")
VERSE_WORDS = (6, 11)  # in a line of verse of five feet, or a little more
VOWELS_TO_END = re.compile(r"[aeiouy]+[^aeiouy]*$")
SILENT_E = re.compile(r"[aeiouy]+[^aeiouy]+e$")
ANY_WORD = re.compile(r"[A-Za-z'’]+")
NEW_WINDOWS = (2, 4, 8)  # lines on either side, for who has never spoken before or never does again
DIP_WINDOWS = (4, 10, 20)
LONG_SPEECH = 40  # words


def gap_features(speakers: Sequence[str | None], lines: Sequence[str]) -> Numbers:
    """Numbers of each gap, shape (len(lines) - 1, features). ``speakers``: None for nobody in particular."""
    words = [WORD.findall(APOSTROPHE.sub("", line.lower())) for line in lines]
    speaks = presence(speakers)
    parts = (
        _cast_change(speaks), _cohesion(words), _wording(words, lines), _calls(speakers, speaks, words),
        _arrivals(speaks), _speech(words, lines), _dips(speaks), _same_speaker(speakers),
    )  # fmt: skip
    return np.column_stack([np.ones(len(lines) - 1), *parts])


def presence(speakers: Sequence[str | None]) -> Numbers:
    """1 where a person speaks, shape (lines, people)."""
    people = {name: at for at, name in enumerate(dict.fromkeys(name for name in speakers if name is not None))}
    found = np.zeros((len(speakers), max(1, len(people))))
    for row, name in enumerate(speakers):
        if name is not None:
            found[row, people[name]] = 1.0
    return found


def _sums(values: Numbers) -> Numbers:
    """Of the rows before each row, and at last of all."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    values.cumsum(0, out=sums[1:])
    return sums


def _windows(sums: Numbers, size: int) -> tuple[Numbers, Numbers]:
    """Sums over the ``size`` rows before and after each gap, shape (gaps, columns) each; ``sums`` as of ``_sums``."""
    rows = len(sums) - 1
    gaps, here = np.arange(1, rows), sums[1:-1]
    start, end = np.maximum(gaps - size, 0), np.minimum(gaps + size, rows)
    return here - sums.take(start, axis=0), sums.take(end, axis=0) - here


def _cast_change(speaks: Numbers) -> Numbers:
    found, sums = [], _sums(speaks)
    for size in CAST_WINDOWS:
        was, will_be = (side > 0 for side in _windows(sums, size))
        both = (was & will_be).sum(1)
        found += [both / np.maximum((was | will_be).sum(1), 1), both == 0]
        if size >= 13:
            found.append(both / np.maximum(np.minimum(was.sum(1), will_be.sum(1)), 1))
    since, until = _distances(speaks)
    reach = since + until
    for fade in REACHES:
        bridge = np.exp(-reach / fade).sum(1)
        found += [bridge, np.log(bridge + 1e-3)]
    rows = np.arange(len(speaks) - 1)
    spoke, speaking = speaks[:-1].argmax(1), speaks[1:].argmax(1)
    found += [reach.min(1) / 10, np.log1p(since[rows, speaking]), np.log1p(until[rows, spoke])]
    long_before, long_after = _windows(sums, 25)
    for size in (3, 6):
        before, after = _windows(sums, size)
        found.append(((after > 0) & (long_before == 0)).sum(1) / np.maximum((after > 0).sum(1), 1))
        found.append(((before > 0) & (long_after == 0)).sum(1) / np.maximum((before > 0).sum(1), 1))
    return np.column_stack(found)


def _distances(speaks: Numbers) -> tuple[Numbers, Numbers]:
    """Lines since each person last spoke before each gap and until they speak after it, 0 for the next line."""
    count = len(speaks)
    rows = np.arange(count)[:, None]
    last = np.maximum.accumulate(np.where(speaks > 0, rows, -count), axis=0)[:-1]
    following = np.minimum.accumulate(np.where(speaks > 0, rows, 2 * count)[::-1], axis=0)[::-1][1:]
    gaps = np.arange(1, count)[:, None]
    return np.minimum(gaps - 1 - last, NEVER), np.minimum(following - gaps, NEVER)


def _cohesion(words: Sequence[Sequence[str]]) -> Numbers:
    """Cosine of the words on either side, weighted by rarity in the episode (as in TextTiling, Hearst 1997)."""
    lists = [[word for word in line if len(word) > 3] for line in words]
    spread = Counter(word for line in lists for word in set(line))
    column = {word: at for at, word in enumerate(word for word, count in spread.items() if count > 1)}
    counts = np.zeros((len(words), max(1, len(column))))
    for row, line in enumerate(lists):
        for word in line:
            if word in column:
                counts[row, column[word]] += 1
    counts *= np.log(len(words) / np.maximum((counts > 0).sum(0), 1))
    found, sums = [], _sums(counts)
    for size in WORD_WINDOWS:
        before, after = _windows(sums, size)
        lengths = np.sqrt((before**2).sum(1) * (after**2).sum(1))
        found.append((before * after).sum(1) / np.maximum(lengths, 1e-9))
    return np.column_stack(found)


def _wording(words: Sequence[Sequence[str]], lines: Sequence[str]) -> Numbers:
    """Words of parting before, an answer or an opening after, marks at the ends, lengths, the edges of the episode."""
    parting = np.array([len([word for word in line[-PARTING_WORDS:] if word in PARTING]) for line in words], float)
    near = np.convolve(parting, np.ones(3))[: len(words)]
    ours = np.array([not TOGETHER.isdisjoint(line[-PARTING_WORDS:]) for line in words])
    answer = np.array([bool(line) and line[0] in ANSWERS for line in words])
    opening = np.array([bool(line) and line[0] in OPENINGS for line in words])
    lengths = np.log1p([len(line) for line in words])
    ends = {mark: np.array([line.rstrip().endswith(tuple(mark)) for line in lines]) for mark in ("?", "—–-,", "!")}
    gaps = np.arange(1, len(words))
    columns = (
        np.log1p(parting)[:-1], np.log1p(near)[:-1], ours[:-1], answer[1:], opening[1:], lengths[1:], lengths[:-1],
        ends["?"][:-1], ends["?"][1:], ends["—–-,"][:-1], ends["!"][:-1], 1 / gaps, 1 / (len(words) - gaps),
    )  # fmt: skip
    return np.column_stack(columns)


def _calls(speakers: Sequence[str | None], speaks: Numbers, words: Sequence[Sequence[str]]) -> Numbers:
    """Whether those before name who speaks after ("Here comes Dustin"), or those after name who spoke before."""
    people = list(dict.fromkeys(name for name in speakers if name is not None))
    owners: dict[str, list[int]] = {}
    for at, name in enumerate(people):
        for word in WORD.findall(APOSTROPHE.sub("", name.lower())):
            if len(word) > 2:
                owners.setdefault(word, []).append(at)
    named = np.zeros((len(words), max(1, len(people))))
    for row, line in enumerate(words):
        for word in line:
            if word in owners and len(owners[word]) == 1:
                named[row, owners[word][0]] = 1.0
    found, spoken, said = [], _sums(speaks), _sums(named)
    for size in (2, 5):
        (before, after), (called, calling) = _windows(spoken, size), _windows(said, size)
        found.append(((after > 0) & (before == 0) & (called > 0)).any(1))
        found.append(((before > 0) & (calling > 0)).any(1))
    return np.column_stack(found)


def _arrivals(speaks: Numbers) -> Numbers:
    """Shares of those after the gap who have not spoken in the episode yet, of those before it who never do again, and
    the product of both.
    """
    sums = _sums(speaks)
    found, so_far = [], sums[1:]
    for size in NEW_WINDOWS:
        before, after = _windows(sums, size)
        new = ((after > 0) & (so_far[:-1] == 0)).sum(1) / np.maximum((after > 0).sum(1), 1)
        gone = ((before > 0) & (so_far[:-1] == so_far[-1])).sum(1) / np.maximum((before > 0).sum(1), 1)
        found += [new, gone, new * gone]
    return np.column_stack(found)


def _speech(words: Sequence[Sequence[str]], lines: Sequence[str]) -> Numbers:
    """A rhyme at the end, as old plays close their scenes with, and long speeches on either side."""
    rhymes = np.array([ends_in_rhyme(line) for line in lines], float)
    lengths = np.array([len(line) for line in words])
    logs = np.log1p(lengths)
    return np.column_stack(
        [rhymes[:-1], lengths[1:] > LONG_SPEECH, lengths[:-1] > LONG_SPEECH, logs[1:] * logs[:-1] / 10]
    )


def ends_in_rhyme(line: str) -> bool:
    """Whether the last word rhymes, by its letters, with one a verse earlier; a verse begins with a capital letter."""
    shortest, longest = VERSE_WORDS
    if line.count(" ") < longest:
        return False
    words = ANY_WORD.findall(line)
    if len(words) <= longest:
        return False
    ending = _ending(words[-1])
    return len(ending) > 1 and any(
        words[at + 1][:1].isupper() and words[at].lower() != words[-1].lower() and _ending(words[at]) == ending
        for at in range(len(words) - longest, len(words) - shortest + 1)
    )


def _ending(word: str) -> str:
    """The letters from the last sounded vowel on."""
    letters = "".join(WORD.findall(word.lower()))
    found = SILENT_E.search(letters) or VOWELS_TO_END.search(letters)
    return found[0] if found else ""


def _dips(speaks: Numbers) -> Numbers:
    """How many speak on both sides, against the mean of the gaps around: less than there is a dip."""
    found, sums = [], _sums(speaks)
    for size in DIP_WINDOWS:
        before, after = _windows(sums, size)
        both = ((before > 0) & (after > 0)).sum(1).astype(float)
        padded = np.pad(both, 3, mode="edge")
        found.append(both - np.convolve(padded, np.ones(7) / 7, mode="valid"))
    return np.column_stack(found)


def _same_speaker(speakers: Sequence[str | None]) -> Numbers:
    return np.array([first is not None and first == second for first, second in pairwise(speakers)], float)
