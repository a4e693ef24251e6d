"""What speaks for a new scene between two lines: who goes and comes, which words go on, what is said at parting.

``gap_features(speakers, lines)`` describes each gap of an episode by numbers; ``scene_finding`` weighs them.
A speaker who is nobody in particular (Unknown, "All") counts for no cast. What the words say stands in
``gap_wording``.

Windows are not summed: whether somebody speaks in the n lines before a gap is whether the last line of that person lies
less than n lines back. These distances, one byte each, are found once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from character_network.gap_talk import talk_elsewhere
from character_network.gap_wording import cohesion, sentence_features, speech_features, wording_features
from character_network.wording import Wording, read_wording, split_words

Numbers = NDArray[np.float64]
Whole = NDArray[np.int32]
Small = NDArray[np.uint8]
Truths = NDArray[np.bool_]

CAST_WINDOWS = (2, 3, 4, 6, 9, 13, 20, 35)  # lines on either side
LONG_WINDOW = 25
NEWCOMER_WINDOWS = (3, 6)  # for who was not there in the long window
NEW_WINDOWS = (2, 4, 8)  # for who has never spoken before or never does again
CALL_WINDOWS = (2, 5)
DIP_WINDOWS = (4, 10, 20)
REACHES = (2.0, 5.0, 10.0)  # lines over which a speaker's presence fades
NEVER = 60  # lines until somebody speaks again who does not
SILENT = 255  # in place of a distance in lines: there is no such line


@dataclass(frozen=True)
class Distances:
    """Lines from each gap to the nearest in which a person does something, shape (people, gaps), 0 for the next line.

    ``since``, ``until``: back and on, at most ``NEVER``, ``SILENT`` where there is none; ``capped_since``,
    ``capped_until``: without ``SILENT``.
    """

    since: Small
    until: Small
    capped_since: Small
    capped_until: Small


def gap_features(speakers: Sequence[str | None], lines: Sequence[str]) -> Numbers:
    """Numbers of each gap, shape (len(lines) - 1, features). ``speakers``: None for nobody in particular."""
    ids, people = number_people(speakers)
    wording = read_wording(lines)
    turns = _distances(presence(ids, len(people)))
    parts = (
        _cast_change(turns, ids), cohesion(wording), wording_features(wording, lines), sentence_features(wording),
        speech_features(wording, lines), _calls(people, turns, wording), _arrivals(turns), _dips(turns),
        talk_elsewhere(ids, len(people)), _same_speaker(speakers),
    )  # fmt: skip
    return np.column_stack([np.ones(len(lines) - 1), *parts])


def number_people(speakers: Sequence[str | None]) -> tuple[NDArray[np.int64], list[str]]:
    """The number of the speaker of each line, -1 for nobody, and the people in the order of their first lines."""
    people = {name: at for at, name in enumerate(dict.fromkeys(name for name in speakers if name is not None))}
    return np.array([-1 if name is None else people[name] for name in speakers]), list(people)


def presence(ids: NDArray[np.int64], people: int) -> Truths:
    """Whether a person speaks in a line, shape (people, lines), with one row at least."""
    found = np.zeros((max(1, people), len(ids)), bool)
    rows = np.flatnonzero(ids >= 0)
    found[ids[rows], rows] = True
    return found


def nearest_lines(done: Truths) -> tuple[Whole, Whole]:
    """The last line before each gap and the first after it in which a person does something, shape (people, gaps).

    Where there is none: minus the number of lines, and twice that number. ``done``: shape (people, lines).
    """
    count = done.shape[1]
    rows = np.arange(count, dtype=np.int32)
    last = np.maximum.accumulate(np.where(done, rows, np.int32(-count)), axis=1)[:, :-1]
    following = np.minimum.accumulate(np.where(done, rows, np.int32(2 * count))[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return last, following


def _distances(done: Truths) -> Distances:
    last, following = nearest_lines(done)
    gaps = np.arange(1, done.shape[1], dtype=np.int32)
    since = np.minimum(gaps - 1 - last, NEVER).astype(np.uint8)
    until = np.minimum(following - gaps, NEVER).astype(np.uint8)
    silent = np.uint8(SILENT)
    return Distances(
        np.where(last < 0, silent, since), np.where(following > done.shape[1], silent, until), since, until
    )


def _count(people: Truths) -> NDArray[np.int16]:
    """For how many people it is true, for each gap."""
    return np.asarray(people.sum(0, dtype=np.int16))


def _share(some: NDArray[np.int16], of: NDArray[np.int16]) -> Numbers:
    return np.asarray(some / np.maximum(of, 1))


def _cast_change(turns: Distances, ids: NDArray[np.int64]) -> Numbers:
    found: list[NDArray[np.generic]] = []
    near, far = np.minimum(turns.since, turns.until), np.maximum(turns.since, turns.until)
    for size in CAST_WINDOWS:
        both = _count(far < size)
        found += [_share(both, _count(near < size)), both == 0]
        if size >= 13:
            found.append(_share(both, np.minimum(_count(turns.since < size), _count(turns.until < size))))
    reach = turns.capped_since + turns.capped_until
    for fade in REACHES:
        bridge = np.exp(-np.arange(2 * NEVER + 1) / fade).take(reach).sum(0)
        found += [bridge, np.log(bridge + 1e-3)]
    gaps, speaker = np.arange(len(ids) - 1), np.maximum(ids, 0)
    since, until = turns.capped_since[speaker[1:], gaps], turns.capped_until[speaker[:-1], gaps]
    found += [reach.min(0) / 10, np.log1p(since, dtype=float), np.log1p(until, dtype=float)]
    for size in NEWCOMER_WINDOWS:
        before, after = turns.since < size, turns.until < size
        found.append(_share(_count(after & (turns.since >= LONG_WINDOW)), _count(after)))
        found.append(_share(_count(before & (turns.until >= LONG_WINDOW)), _count(before)))
    return np.column_stack(found)


def _calls(people: Sequence[str], turns: Distances, wording: Wording) -> Numbers:
    """Whether those before name who speaks after ("Here comes Dustin"), or those after name who spoke before."""
    owners: dict[str, list[int]] = {}
    for at, name in enumerate(people):
        for word in split_words(name):
            if len(word) > 2:
                owners.setdefault(word, []).append(at)
    owner = np.full(max(1, len(wording.numbers)), -1)
    for word, those in owners.items():
        if len(those) == 1 and word in wording.numbers:
            owner[wording.numbers[word]] = those[0]
    named = np.zeros((max(1, len(people)), len(wording.starts)), bool)
    of = owner[wording.words]
    named[of[of >= 0], wording.lines[of >= 0]] = True
    names, found = _distances(named), []
    for size in CALL_WINDOWS:
        before = turns.since < size
        found.append(((turns.until < size) & ~before & (names.since < size)).any(0))
        found.append((before & (names.until < size)).any(0))
    return np.column_stack(found)


def _arrivals(turns: Distances) -> Numbers:
    """Shares of those after the gap who have not spoken in the episode yet, of those before it who never do again, and
    the product of both.
    """
    found = []
    for size in NEW_WINDOWS:
        before, after = turns.since < size, turns.until < size
        new = _share(_count(after & (turns.since == SILENT)), _count(after))
        gone = _share(_count(before & (turns.until == SILENT)), _count(before))
        found += [new, gone, new * gone]
    return np.column_stack(found)


def _dips(turns: Distances) -> Numbers:
    """How many speak on both sides, against the mean of the gaps around: less than there is a dip."""
    found, far = [], np.maximum(turns.since, turns.until)
    for size in DIP_WINDOWS:
        both = _count(far < size).astype(float)
        padded = np.pad(both, 3, mode="edge")
        found.append(both - np.convolve(padded, np.ones(7) / 7, mode="valid"))
    return np.column_stack(found)


def _same_speaker(speakers: Sequence[str | None]) -> Numbers:
    return np.array([first is not None and first == second for first, second in pairwise(speakers)], float)
