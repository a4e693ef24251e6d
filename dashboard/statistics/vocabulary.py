"""The words that mark each character: log-odds ratios with an informative Dirichlet prior, as z-scores.

Monroe, Colaresi and Quinn, Fightin' Words, Political Analysis 16 (2008), equations 15, 16, 19, 22 and 23. With y the
times that a character (i) or all others (j) say a word, n all their words, a the word's part of the prior:

    delta = log((y_i + a) / (n_i + A - y_i - a)) - log((y_j + a) / (n_j + A - y_j - a))
    z     = delta / sqrt(1 / (y_i + a) + 1 / (y_j + a))

The prior is as large as A words, and made as all speak together: a = A · y / n. So words that all use alike need no
list to be left out: they get a z near 0.

counts = count_vocabulary(lines, speakers)
mark_words(counts, "Kit", prior_words=500, minimum_count=4)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from dashboard.statistics.speech import known_lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
APOSTROPHES = str.maketrans("’‘`´", "''''")
COLUMNS = ["word", "z", "log_odds", "count", "others", "per_thousand", "others_per_thousand"]


@dataclass(frozen=True)
class WordCounts:
    """``counts``: times that each of ``speakers`` (rows) says each of ``words`` (columns). ``others``: all the rest."""

    speakers: list[str]
    words: list[str]
    counts: NDArray[np.int64]
    others: NDArray[np.int64]


def find_words(text: str) -> list[str]:
    """The words of a text in small letters; ``don't`` is one, numbers are none."""
    return WORD.findall(text.translate(APOSTROPHES).casefold())


def count_vocabulary(lines: pd.DataFrame, speakers: Sequence[str]) -> WordCounts:
    """Count the words of these speakers, and of all others together; lines by nobody in particular are left out."""
    import numpy as np

    known = known_lines(lines)
    spoken = known.groupby("speaker", sort=False)["line"].agg("\n".join)
    chosen = [name for name in speakers if name in spoken.index]
    counters = [Counter(find_words(spoken[name])) for name in chosen]
    rest = Counter(find_words("\n".join(spoken.drop(chosen).tolist())))
    words = sorted({word for counter in (*counters, rest) for word in counter})
    places = {word: at for at, word in enumerate(words)}
    counts = np.zeros((len(chosen) + 1, len(words)), dtype=np.int64)
    for row, counter in zip(counts, (*counters, rest), strict=True):
        row[[places[word] for word in counter]] = list(counter.values())
    return WordCounts(chosen, words, counts[:-1], counts[-1])


def mark_words(
    counts: WordCounts,
    speaker: str,
    *,
    prior_words: float,
    minimum_count: int,
    stop_words: frozenset[str] = frozenset(),
) -> pd.DataFrame:
    """The words by how much they mark a speaker against all others, the most marking first.

    Args:
        counts: of the series.
        speaker: one of ``counts.speakers``.
        prior_words: A, the size of the prior in words.
        minimum_count: a word that all together say less often is left out of the answer.
        stop_words: are left out of the answer, too; they stay in the counts, so that no other z changes.

    Returns:
        ``word, z, log_odds, count, others`` (times that it is said by the speaker and by all others), and both per
        thousand words.
    """
    import numpy as np

    mine = counts.counts[counts.speakers.index(speaker)].astype(float)
    everyone = counts.counts.sum(axis=0) + counts.others
    theirs = everyone - mine
    z, log_odds = log_odds_z(mine, theirs, prior_words * everyone / max(everyone.sum(), 1))
    frame = pd.DataFrame(
        {
            "word": counts.words,
            "z": z,
            "log_odds": log_odds,
            "count": mine.astype(np.int64),
            "others": theirs.astype(np.int64),
            "per_thousand": 1000 * mine / max(mine.sum(), 1),
            "others_per_thousand": 1000 * theirs / max(theirs.sum(), 1),
        },
        columns=COLUMNS,
    )
    kept: pd.DataFrame = frame[
        (everyone >= minimum_count) & ~frame["word"].map(lambda word: is_stop_word(word, stop_words))
    ]
    return kept.sort_values(["z", "word"], ascending=[False, True], ignore_index=True)


def log_odds_z(
    mine: NDArray[np.float64], theirs: NDArray[np.float64], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """z-scores and log-odds ratios of words; all three of shape (words,), ``prior`` above 0."""
    import numpy as np

    size = prior.sum()
    here, there = mine + prior, theirs + prior
    log_odds = np.log(here / np.maximum(mine.sum() + size - here, 1e-12))
    log_odds -= np.log(there / np.maximum(theirs.sum() + size - there, 1e-12))
    return log_odds / np.sqrt(1 / here + 1 / there), log_odds


def is_stop_word(word: str, stop_words: frozenset[str]) -> bool:
    """Whether a word is in the list, or what it is a short form of: don't (do), it's (it)."""
    return word in stop_words or ("'" in word and word.partition("'")[0].removesuffix("n") in stop_words)


def english_stop_words() -> frozenset[str]:
    """scikit-learn's list of 318 words."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)
