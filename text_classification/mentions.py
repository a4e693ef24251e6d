"""Places that are named in a scene: the base line, and the answer where nobody has labelled anything yet.

    finder = PlaceFinder(places)
    finder.count("Back to the lab!")        # {"Hawkins Lab": 1}

The longest name wins ("Mike's basement" is no "basement"), and no name is found inside a word. A name written in small
letters ("the lab") is found in any case; words with a capital ("The Gate") need it, so that a gate is not "The Gate";
articles and prepositions in a name never do. What is named need not be where the scene is: docs/locations.md says how
often it is.

The probability of place c is (n_c + p_c) / (n + 1): n_c mentions of it, n of all places, p_c the share of c among the
labels, or the same for each place where there are none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from text_classification.contract import MENTIONS
from text_classification.scene_texts import split_turns
from utils.places import Places

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALL_WORDS = frozenset({"the", "a", "an", "of", "at", "in", "on", "and", "by"})


class PlaceFinder:
    """Finds the names of places in texts, all in one expression."""

    def __init__(self, places: Places) -> None:
        self._owners: list[str] = []
        names: dict[str, str] = {}
        for place in places:
            for name in place.names:
                names.setdefault(name, places.resolve(name))
        longest_first = sorted(names, key=lambda name: (-len(name), name))
        self._owners = [names[name] for name in longest_first]
        parts = [f"(?P<p{number}>{_expression(name)})" for number, name in enumerate(longest_first)]
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)" if parts else r"(?!)")

    def count(self, text: str) -> Counter[str]:
        """How often each place is named in a text."""
        found = (match.lastgroup for match in self._pattern.finditer(text))
        return Counter(self._owners[int(group[1:])] for group in found if group)


def _expression(name: str) -> str:
    """A name as an expression: any white space, either apostrophe, case as the module says."""
    return r"\s+".join(_word_expression(word) for word in name.split())


def _word_expression(word: str) -> str:
    text = re.escape(word).replace("’", "'").replace("'", "['’]")
    return f"(?i:{text})" if word.islower() or word.casefold() in SMALL_WORDS else text


class MentionClassifier:
    """Answers any place of the list, also one that no label names: it is named in the text."""

    name = MENTIONS

    def __init__(self, places: Places) -> None:
        self._finder = PlaceFinder(places)
        self._places = places
        self.classes = sorted(set(places.names))
        self._shares: Counter[str] = Counter()

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
        groups: Sequence[object] | None = None,
    ) -> None:
        """Count the labels, for scenes that name no place."""
        self._shares = Counter(labels)
        self.classes = sorted({*self._places.names, *labels})

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (texts, classes), by the formula of this module."""
        import numpy as np

        if not self.classes:
            return np.zeros((len(texts), 0))
        labels = sum(self._shares.values())
        share = [self._shares[name] / labels if labels else 1 / len(self.classes) for name in self.classes]
        counts = [self._finder.count("\n".join(split_turns(text)[1])) for text in texts]
        rows = np.array([[found[name] for name in self.classes] for found in counts], dtype=float)
        rows = rows.reshape(len(texts), len(self.classes))
        found: NDArray[np.float64] = (rows + np.array(share)) / (rows.sum(axis=1, keepdims=True) + 1.0)
        return found
