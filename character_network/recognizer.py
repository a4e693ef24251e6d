"""Who is meant by a name: the cast found in the lines under any name, and new names suggested.

    recognizer = NamedEntityRecognizer(cast, places, lines["line"])
    recognizer.find_mentions("Jane, tell the Chief I left.", present={"Mike"})     # Eleven, Hopper
    recognizer.suggest_names(lines)                                               # names that nobody owns, with lines

spaCy is not needed. Where spaCy and an English model are installed, suggestions ask the model too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from character_network.mentions import Mention, MentionFinder, common_words
from character_network.name_forms import Form, build_forms, fold, is_collective
from utils.announcements import Announcements
from utils.characters import Cast
from utils.lines import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

    from character_network.suggestions import Suggestion


class NamedEntityRecognizer:
    """Maps every name of a series to one person.

    Args:
        cast: the characters and, best, everybody who speaks (``Cast.with_speakers``).
        places: names of places, which are no people.
        lines: the series' lines; they show which names are ordinary words as well.
    """

    def __init__(self, cast: Cast, places: Iterable[str] = (), lines: Iterable[str] = ()) -> None:
        self.cast = cast
        self.places = frozenset(fold(place) for place in places)
        self._place_names = tuple(places)
        self._lines = lines

    @cached_property
    def forms(self) -> dict[str, Form]:
        """Everything that is looked for, by its folded spelling."""
        return build_forms(self.cast, self._place_names)

    @cached_property
    def common(self) -> frozenset[str]:
        """Words that the series' lines write in lower case; none where no lines were given."""
        return common_words(self._lines)

    @cached_property
    def _finder(self) -> MentionFinder:
        return MentionFinder(self.forms, self.common)

    def person(self, speaker: str) -> str:
        """The person who speaks under this name; "Unknown" for nobody, for several at once and for a place."""
        name = self.cast.resolve(speaker)
        return UNKNOWN if is_collective(name) or (fold(name) in self.places and fold(speaker) in self.places) else name

    def find_mentions(self, text: str, speaker: str = UNKNOWN, present: Collection[str] = ()) -> list[Mention]:
        """The people named in a text; a name of several is resolved by who is present, else left out."""
        return resolve_mentions(self._finder.find(text), speaker, present)

    def find_all(self, texts: Sequence[str]) -> list[list[Mention]]:
        """Mentions of each text, with all candidates: see ``resolve_mentions``."""
        return self._finder.find_all(list(texts))

    def suggest_names(
        self, lines: pd.DataFrame, minimum: int = 3, announcements: Announcements | None = None
    ) -> list[Suggestion]:
        """Names in the lines and in the speaker column that belong to nobody in the files, the most frequent first."""
        from character_network.suggestions import suggest_names

        return suggest_names(lines, self, minimum, announcements)


def resolve_mentions(mentions: Iterable[Mention], speaker: str, present: Collection[str]) -> list[Mention]:
    """Mentions that mean one person.

    Of several whom a name may mean, the speaker is out; then it is the only one in the scene, else the only one left.
    A name that stays open is left out: a wrong edge is worse than a missing one.
    """
    found = []
    for mention in mentions:
        names = mention.candidates
        if len(names) > 1:
            others = [name for name in names if name != speaker]
            there = [name for name in others if name in present]
            names = tuple(there if len(there) == 1 else others)
        if len(names) == 1:
            found.append(
                mention if names == mention.candidates else Mention(names, mention.text, mention.start, mention.end)
            )
    return found
