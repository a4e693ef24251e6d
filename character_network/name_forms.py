"""Under which words a person or a place may be named in running text: the forms that the recogniser looks for.

    forms = build_forms(cast, places)     # {"Chief Hopper": Form(owners=("Hopper",), …), "Hopper's Cabin": a place …}

Forms are the names and aliases of the cast, and the first and last names that follow from them: "Wheeler" follows from
"Mike Wheeler". A form with several owners ("Wheeler": Mike, Nancy, Karen …) is left to the scene to decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from utils.characters import TITLE, Cast

# Words of the language that are names as well. To what stands here comes what the series itself writes in lower case.
ORDINARY = frozenset(
    [
        "will",
        "hop",
        "chief",
        "bill",
        "bob",
        "art",
        "mark",
        "rose",
        "grace",
        "hope",
        "faith",
        "joy",
        "may",
        "june",
        "april",
        "august",
        "summer",
        "autumn",
        "dawn",
        "eve",
        "holly",
        "ivy",
        "lily",
        "daisy",
        "olive",
        "pearl",
        "ruby",
        "amber",
        "ginger",
        "penny",
        "chance",
        "chase",
        "hunter",
        "king",
        "queen",
        "prince",
        "princess",
        "judge",
        "doctor",
        "doc",
        "coach",
        "mayor",
        "father",
        "mother",
        "mom",
        "mum",
        "dad",
        "papa",
        "mama",
        "gran",
        "granny",
        "granddad",
        "grandpa",
        "grandma",
        "uncle",
        "aunt",
        "boss",
        "sir",
        "frank",
        "grant",
        "gene",
        "guy",
        "pat",
        "rob",
        "sue",
        "ray",
        "rich",
        "sky",
        "jack",
        "drew",
        "miles",
        "max",
        "jean",
        "robin",
        "victor",
        "kay",
        "captain",
        "sheriff",
        "officer",
        "sergeant",
        "colonel",
        "general",
        "major",
        "nurse",
        "teacher",
        "boy",
        "girl",
        "man",
        "woman",
        "lady",
        "lord",
        "zombie",
        "mad",
        "superhero",
    ]
)
NUMBERS = frozenset(
    [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
        "hundred",
        "thousand",
    ]
)
# "One knows": the pronoun has no mark that tells it from the name at the start of a sentence.
PRONOUNS = frozenset({"one"})
# Who speaks for several is no person of the network.
COLLECTIVE = frozenset(
    [
        "all",
        "both",
        "everyone",
        "everybody",
        "together",
        "omnes",
        "crowd",
        "group",
        "chorus",
        "several",
        "many",
        "voices",
        "others",
        "kids",
        "boys",
        "girls",
        "men",
        "women",
        "people",
    ]
)
SMALL_WORDS = frozenset(["the", "a", "an", "of", "and", "de", "da", "von", "van", "la", "le"])
NOT_PARTS = SMALL_WORDS | ORDINARY | {"police"}
LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Form:
    """A spelling to look for. ``owners``: whom it may mean; empty: a place."""

    text: str
    owners: tuple[str, ...] = ()
    derived: bool = False  # not given in the file, but a part of a name in it

    @property
    def is_place(self) -> bool:
        return not self.owners


def is_collective(speaker: str) -> bool:
    """Whether a speaker's name stands for several at once: "All", "Both", "Mike and Dustin", "Kids"."""
    words = speaker.casefold().split()
    return bool(words) and (" ".join(words).strip(".:") in COLLECTIVE or (len(words) > 2 and words[1:-1] == ["and"]))


def build_forms(cast: Cast, places: Iterable[str] = ()) -> dict[str, Form]:
    """All forms by their folded spelling (see ``fold``). A place's own name is never a person's."""
    forms = {fold(place): Form(place) for place in places if LETTER.search(place)}
    place_names = set(forms)
    given = _given_names(cast, place_names)
    for key, (text, owner) in given.items():
        forms[key] = Form(text, (owner,))
    for key, owners in _derived_names(cast, set(given) | place_names).items():
        forms[key] = Form(owners[0][0], tuple(dict.fromkeys(owner for _, owner in owners)), derived=True)
    return forms


def fold(text: str) -> str:
    """What spellings of a form have in common: case, the point of "Mr.", the shape of apostrophes and spaces."""
    return " ".join(re.sub(r"\.(?=\s|$)", "", text.replace("’", "'").strip(" :")).casefold().split())


def _given_names(cast: Cast, taken: set[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for character in cast:
        if is_collective(character.name):
            continue
        for name in (character.name, *character.aliases):
            text = " ".join(name.strip(" :").split())
            if fold(text) in taken or not re.search(r"\w", text):
                continue
            # A file may list the same name in capitals for the speaker column; the natural spelling is the one to show.
            if fold(text) not in found or found[fold(text)][0].isupper():
                found[fold(text)] = (text, character.name)
    return found


def _derived_names(cast: Cast, taken: set[str]) -> Mapping[str, list[tuple[str, str]]]:
    """First and last names that the file does not give by themselves, each with all whose name they are a part of."""
    found: dict[str, list[tuple[str, str]]] = {}
    for character in cast:
        own = {fold(name) for name in (character.name, *character.aliases)}
        for name in (character.name, *character.aliases):
            for part in _parts(name, own, name == character.name):
                if fold(part) not in taken and len(part) > 1:
                    found.setdefault(fold(part), []).append((part, character.name))
    return found


def _parts(name: str, own: set[str], is_main: bool) -> list[str]:
    """Of "Mike Wheeler" both words; of "Zombie Boy" none, as neither is known to be a name of the same person."""
    words = name.strip(" :").split()
    while words and TITLE.fullmatch(words[0].strip(".").casefold()):
        words = words[1:]
    if len(words) not in (2, 3) or any(not word[:1].isupper() or word.isupper() for word in words):
        return []
    first, last = words[0], words[-1]
    known = is_main or fold(first) in own or fold(last) in own
    return [word for word in (first, last) if known and fold(word) not in NOT_PARTS and word.strip(".").isalpha()]
