"""Names that nobody in the files owns: speakers without a row, and capital letters inside sentences.

    suggest_names(lines, recognizer)[0]     # Suggestion("Bowie", 14, "a name in the lines", ("I met Bowie.", …))

A suggestion is for a person to accept: as a character of its own or as an alias of one. Evidence is a word with a
capital letter after a word in lower case (never the start of a sentence, never a line in capitals), seldom written
small in the series. With spaCy and an English model installed, what the model calls a PERSON joins it; without, that
is announced.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from character_network.mentions import common_words
from character_network.name_forms import fold, is_collective
from utils.announcements import Announcement, Announcements
from utils.characters import TITLE
from utils.lines import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

    from character_network.recognizer import NamedEntityRecognizer

SPACY_MODELS = ("en_core_web_trf", "en_core_web_sm")
SPEAKER, IN_LINES, BY_MODEL = "a speaker", "a name in the lines", "a name to spaCy"
EXAMPLES = 3
NEAR = 0.84  # of difflib's ratio: "Dimitri" and "Dmitri" are one name
NAME = re.compile(r"[A-Z](?<=[a-z,] [A-Z])[a-z]+(?:['’-][A-Z][a-z]+)?(?: [A-Z][a-z]+){0,2}(?![\w-])")
# Capital letters that English gives to what is no person.
NO_PERSON = frozenset(
    [
        "i",
        "i'm",
        "god",
        "jesus",
        "christ",
        "lord",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "january",
        "february",
        "march",
        "april",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "christmas",
        "easter",
        "halloween",
        "thanksgiving",
        "english",
        "french",
        "german",
        "russian",
        "russians",
        "american",
        "americans",
        "chinese",
        "spanish",
        "soviet",
        "america",
        "russia",
        "europe",
        "england",
        "france",
        "germany",
        "mr",
        "mrs",
        "ms",
        "miss",
        "dr",
        "doctor",
        "sir",
        "madam",
        "ma'am",
        "okay",
        "ok",
        "yes",
        "no",
        "oh",
        "hey",
        "tv",
        "cd",
        "street",
        "road",
        "avenue",
        "earth",
        "internet",
    ]
)


@dataclass(frozen=True)
class Suggestion:
    """A name for the user to accept or refuse.

    ``count``: occurrences. ``evidence``: where it comes from. ``alias_of``: whom it may be, by likeness; empty:
    somebody new.
    """

    name: str
    count: int
    evidence: str
    examples: tuple[str, ...] = ()
    alias_of: str = ""

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def suggest_names(
    lines: pd.DataFrame,
    recognizer: NamedEntityRecognizer,
    minimum: int = 3,
    announcements: Announcements | None = None,
) -> list[Suggestion]:
    """Names with at least ``minimum`` occurrences that belong to nobody in ``characters.jsonl``, most frequent
    first.
    """
    found = {fold(each.name): each for each in _from_speakers(lines, recognizer, minimum)}
    texts = lines["line"].tolist()
    for name, evidence, examples in _named(texts, recognizer, announcements):
        key = fold(name)
        if len(examples) >= minimum and key not in found and _is_new(name, recognizer):
            shown = tuple(dict.fromkeys(examples))[:EXAMPLES]
            found[key] = Suggestion(name, len(examples), evidence, shown, _nearest(name, recognizer))
    return sorted(found.values(), key=lambda each: (-each.count, each.name))


def _from_speakers(lines: pd.DataFrame, recognizer: NamedEntityRecognizer, minimum: int) -> Iterator[Suggestion]:
    """Speakers whom no row of the file describes: those with neither persona nor alias."""
    described = {who.name for who in recognizer.cast if who.persona or who.aliases}
    speakers = lines["speaker"].map({name: recognizer.person(name) for name in lines["speaker"].unique()})
    for name, count in speakers.value_counts().items():
        if name != UNKNOWN and name not in described and count >= minimum:
            examples = tuple(lines.loc[speakers == name, "line"].head(EXAMPLES))
            yield Suggestion(str(name), int(count), SPEAKER, examples, _nearest(str(name), recognizer, described))


def _named(
    texts: list[str], recognizer: NamedEntityRecognizer, announcements: Announcements | None
) -> Iterator[tuple[str, str, list[str]]]:
    ordinary = recognizer.common or common_words(texts)
    yield from ((name, IN_LINES, examples) for name, examples in _by_capitals(texts, ordinary).items())
    model = _load_model(announcements)
    if model is not None:
        yield from ((name, BY_MODEL, examples) for name, examples in _by_model(model, texts).items())


def _by_capitals(texts: list[str], ordinary: Collection[str]) -> dict[str, list[str]]:
    """Lines by the name that stands in them with a capital letter inside a sentence."""
    found: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        if text.isupper():
            continue
        for match in NAME.finditer(text):
            words = match[0].split()
            while words and TITLE.fullmatch(words[0].casefold()):
                words = words[1:]
            if words and not any(word.casefold() in NO_PERSON or word.casefold() in ordinary for word in words):
                found[" ".join(words)].append(text)
    return found


def _by_model(model: object, texts: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for text, document in zip(texts, model.pipe(texts, batch_size=256), strict=True):  # type: ignore[attr-defined]
        for entity in document.ents:
            if entity.label_ == "PERSON" and entity.text[:1].isupper():
                found[entity.text.removesuffix("'s").removesuffix("’s")].append(text)
    return found


def _load_model(announcements: Announcements | None) -> object | None:
    """The best installed English model of spaCy; None, announced, where there is none."""
    why = "spaCy is not installed"
    if find_spec("spacy"):
        installed = [name for name in SPACY_MODELS if find_spec(name)]
        if installed:
            import spacy

            loaded: object = spacy.load(installed[0])
            return loaded
        why = f"none of spaCy's models {', '.join(SPACY_MODELS)} is installed"
    if announcements is not None:
        remedy = f"pip install spacy && python -m spacy download {SPACY_MODELS[-1]}"
        announcements.add(Announcement("new names", "a model of spaCy", "capital letters in sentences", why, remedy))
    return None


def _is_new(name: str, recognizer: NamedEntityRecognizer) -> bool:
    """Neither a form of a person or place, nor a part of a place's name, nor several at once."""
    keys = {fold(name), *(fold(word) for word in name.split())}
    parts = {word for place in recognizer.places for word in place.replace("'s", "").split()}
    return not keys & (recognizer.forms.keys() | parts) and not is_collective(name)


def _nearest(name: str, recognizer: NamedEntityRecognizer, among: set[str] | None = None) -> str:
    """The person whose name is spelt almost like this one; empty where there is none."""
    forms = {key: form for key, form in recognizer.forms.items() if len(form.owners) == 1}
    if among is not None:
        forms = {key: form for key, form in forms.items() if form.owners[0] in among}
    close = difflib.get_close_matches(fold(name), list(forms), n=1, cutoff=NEAR)
    return forms[close[0]].owners[0] if close else ""
