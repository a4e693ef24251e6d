"""Themes by seed words: for a machine without a model. Fast, and blind to what is meant.

The score of a text for a theme is h / (h + k · (1 - b + b · n / m)), between 0 and 1: h is the sum of the weights of
the seed words that occur in it, counted each time, n the number of its words, m the mean n of all texts. So a second
hit adds less than the first, and a long text needs more of them: the term-frequency part of BM25 with its usual k and b
(Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework", section 3.4). The weight of a seed word is its
rarity in these texts, log(1 + (N - d + 0.5) / (d + 0.5)), d of N texts having it, divided by that of a word in none.

A seed word also counts in its regular forms (hope, hopes, hoped, hoping). Negation is ignored: "no hope" is about hope.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from theme_classifier.themes import Theme

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

K, B = 1.2, 0.75
WORD = re.compile(r"\w+(?:['’]\w+)*")
APOSTROPHES = str.maketrans("’", "'")


def score_by_words(texts: Sequence[str], themes: Sequence[Theme]) -> NDArray[np.float64]:
    """Scores of shape (texts, themes)."""
    import numpy as np

    plain = [text.casefold().translate(APOSTROPHES) for text in texts]
    lengths = np.array([len(WORD.findall(text)) for text in plain], dtype=float)
    norm = K * (1 - B + B * lengths / max(lengths.mean(), 1.0)) if plain else lengths
    scores = np.zeros((len(plain), len(themes)))
    for at, theme in enumerate(themes):
        hits = _weigh(plain, theme)
        scores[:, at] = np.divide(hits, hits + norm, out=np.zeros_like(hits), where=hits > 0)
    return scores


def _weigh(texts: Sequence[str], theme: Theme) -> NDArray[np.float64]:
    """The sum of the weights of the seed words in each text."""
    import numpy as np

    seeds = theme.seed_words or (theme.name.casefold(),)
    forms = {form: seed for seed in reversed(seeds) for form in word_forms(seed)}
    longest_first = sorted(forms, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    found = [[forms[hit] for hit in pattern.findall(text)] for text in texts]
    texts_with = {seed: sum(seed in hits for hits in found) for seed in seeds}
    weights = {seed: _rarity(len(texts), count) / _rarity(len(texts), 0) for seed, count in texts_with.items()}
    return np.array([sum(weights[seed] for seed in hits) for hits in found], dtype=float)


def _rarity(texts: int, texts_with: int) -> float:
    return math.log(1 + (texts - texts_with + 0.5) / (texts_with + 0.5))


def word_forms(seed: str) -> list[str]:
    """A word in its regular English forms; of a phrase, the last word changes."""
    forms = [seed, f"{seed}s", f"{seed}'s", f"{seed}ed", f"{seed}ing"]
    if seed.endswith("e"):
        forms += [f"{seed}d", f"{seed[:-1]}ing"]
    if seed.endswith(("s", "x", "ch", "sh")):
        forms.append(f"{seed}es")
    if len(seed) > 2 and seed.endswith("y") and seed[-2] not in "aeiou":
        forms += [f"{seed[:-1]}ies", f"{seed[:-1]}ied"]
    return forms
