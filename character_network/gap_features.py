"""What speaks for a new scene between two lines: who goes and comes, which words go on, what is said at parting.

``gap_features(speakers, lines)`` describes each gap of an episode by numbers; ``scene_finding`` weighs them.
A speaker who is nobody in particular (Unknown, "All") counts for no cast.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

CAST_WINDOWS = (2, 3, 4, 6, 9, 13, 20, 35)  # lines on either side
WORD_WINDOWS = (4, 8, 16)
REACHES = (2.0, 5.0, 10.0)  # lines over which a speaker's presence fades
NEVER = 60.0  # lines until somebody speaks again who does not
PARTING_WORDS = 15  # the last of a line, searched for words of parting
WORD = re.compile(r"[a-z]+")
APOSTROPHE = re.compile("['’]")
# Chosen by hand from what ends and opens scenes in dialogue; modern words beside old ones.
PARTING = frozenset(
    [
        "lets",
        "away",
        "go",
        "going",
        "come",
        "along",
        "farewell",
        "adieu",
        "goodbye",
        "bye",
        "goodnight",
        "haste",
        "hence",
        "till",
        "meet",
        "depart",
        "follow",
        "after",
        "lead",
        "tonight",
        "tomorrow",
        "must",
        "leave",
        "off",
        "out",
        "rest",
        "forward",
        "together",
        "hurry",
    ]
)
TOGETHER = frozenset(["we", "us", "our", "lets"])
ANSWERS = frozenset(
    [
        "ay",
        "yes",
        "yeah",
        "no",
        "nay",
        "and",
        "then",
        "but",
        "i",
        "o",
        "why",
        "because",
        "nor",
        "not",
        "tis",
        "thats",
        "well",
        "indeed",
        "okay",
        "ok",
        "sorry",
        "oh",
        "what",
        "thank",
        "thanks",
        "for",
        "to",
        "as",
        "whats",
        "pray",
        "faith",
    ]
)
OPENINGS = frozenset(
    [
        "now",
        "where",
        "wheres",
        "so",
        "these",
        "here",
        "come",
        "welcome",
        "this",
        "good",
        "morning",
        "hello",
        "hi",
        "hey",
        "how",
        "hows",
    ]
)


def gap_features(speakers: Sequence[str | None], lines: Sequence[str]) -> Numbers:
    """Numbers of each gap, shape (len(lines) - 1, features). ``speakers``: None for nobody in particular."""
    words = [WORD.findall(APOSTROPHE.sub("", line.lower())) for line in lines]
    parts = (_cast_change(speakers), _cohesion(words), _wording(words, lines), _calls(speakers, words))
    return np.column_stack([np.ones(len(lines) - 1), *parts])


def presence(speakers: Sequence[str | None]) -> Numbers:
    """1 where a person speaks, shape (lines, people)."""
    people = {name: at for at, name in enumerate(dict.fromkeys(name for name in speakers if name is not None))}
    found = np.zeros((len(speakers), max(1, len(people))))
    for row, name in enumerate(speakers):
        if name is not None:
            found[row, people[name]] = 1.0
    return found


def _windows(values: Numbers, size: int) -> tuple[Numbers, Numbers]:
    """Sums over the ``size`` rows before and after each gap, shape (gaps, columns) each."""
    sums = np.vstack([np.zeros(values.shape[1]), values.cumsum(0)])
    gaps = np.arange(1, len(values))
    return sums[gaps] - sums[np.maximum(gaps - size, 0)], sums[np.minimum(gaps + size, len(values))] - sums[gaps]


def _cast_change(speakers: Sequence[str | None]) -> Numbers:
    speaks = presence(speakers)
    found = []
    for size in CAST_WINDOWS:
        was, will_be = (side > 0 for side in _windows(speaks, size))
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
    for size in (3, 6):
        (before, after), (long_before, long_after) = _windows(speaks, size), _windows(speaks, 25)
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
    found = []
    for size in WORD_WINDOWS:
        before, after = _windows(counts, size)
        lengths = np.sqrt((before**2).sum(1) * (after**2).sum(1))
        found.append((before * after).sum(1) / np.maximum(lengths, 1e-9))
    return np.column_stack(found)


def _wording(words: Sequence[Sequence[str]], lines: Sequence[str]) -> Numbers:
    """Words of parting before, an answer or an opening after, marks at the ends, lengths, the edges of the episode."""
    parting = np.array([sum(word in PARTING for word in line[-PARTING_WORDS:]) for line in words], float)
    near = np.convolve(parting, np.ones(3))[: len(words)]
    ours = np.array([any(word in TOGETHER for word in line[-PARTING_WORDS:]) for line in words])
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


def _calls(speakers: Sequence[str | None], words: Sequence[Sequence[str]]) -> Numbers:
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
    speaks = presence(speakers)
    found = []
    for size in (2, 5):
        (before, after), (called, calling) = _windows(speaks, size), _windows(named, size)
        found.append(((after > 0) & (before == 0) & (called > 0)).any(1))
        found.append(((before > 0) & (calling > 0)).any(1))
    return np.column_stack(found)
