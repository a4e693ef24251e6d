"""Who is named in a text: every form of every name in one expression, and rules for words that are names as well.

    finder = MentionFinder(build_forms(cast, places), common_words(lines))
    finder.find("Tell Hop that Will is at Castle Byers.")     # Hopper, Will; no second Will for the castle

The longest form wins, so a place that holds a name ("Hopper's Cabin") is no person. Names count with a capital
letter only. A form that is an ordinary word ("Will", "Hop", "Chief") also needs evidence: it stands inside a
sentence, or it is called out ("Will!", "Hop, listen"), or it owns or does something ("Will's bike", "Will is gone",
but not "Will you come").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from character_network.name_forms import NUMBERS, ORDINARY, PRONOUNS, SMALL_WORDS, Form, fold

LOWER_WORD = re.compile(r"(?<![\w'’-])[^\W\d_A-Z][^\W\d_]+(?![\w-])")
CAPITAL_WORD = re.compile(r"[A-Z](?<=[a-z,] [A-Z])[a-z]+(?![\w-])")  # the letter first: re looks for it at once
SENTENCE_END = '.!?…:;-–—"“”‘([♪\n*'
POSSESSIVE = re.compile(r"['’]s\b")
CALLED = re.compile(r"\s*(?:[,!?…—–]|\.|--|$)")
# After a name at the start of a sentence, not after the ordinary word: "Will was", but "Will you", "Hop on".
VERBS = (
    "is was isn't wasn't has had hasn't hadn't does did doesn't didn't would wouldn't can can't could couldn't should"
    " said says knows knew thinks thought told went goes came comes got gets saw sees left needs wants and"
).replace("'", "['’]")
DOES = re.compile(rf"\s+(?:{'|'.join(VERBS.split())})\b")
NOT_AT_A_PLACE = re.compile(r"\s+[a-z]")
APOSTROPHE = re.compile("['’]")
EXPRESSION_START = re.compile(r"\[([^\]]+)\]|\\.|.")
ABBREVIATIONS = ("Mr", "Mrs", "Ms", "Dr", "Lt", "Sgt")
ARTICLES = re.compile(r"^(?:the|a|an)\s", re.IGNORECASE)
ORDINARY_SHARE = 0.2  # of the times a word occurs inside sentences, in lower case: from here on it is an ordinary word


@dataclass(frozen=True)
class Mention:
    """A person named in a text, at characters ``start`` to ``end``. ``candidates``: more than one is not yet
    resolved.
    """

    candidates: tuple[str, ...]
    text: str
    start: int
    end: int


def common_words(lines: Iterable[str]) -> frozenset[str]:
    """Words that a series writes in lower case often enough not to be a sure name."""
    text = "\n".join(lines)
    lower: Counter[str] = Counter()
    for piece, count in Counter(text.split()).items():  # each spelling once: a match holds no white space
        for word in LOWER_WORD.findall(piece):
            lower[word] += count
    upper = Counter(CAPITAL_WORD.findall(text))
    return frozenset(
        word
        for word, count in lower.items()
        if count >= 2 and count >= ORDINARY_SHARE * (count + upper[word.capitalize()])
    )


class MentionFinder:
    """Finds the forms in texts. Building it compiles one expression; finding is a pass over the text."""

    def __init__(self, forms: Mapping[str, Form], common: Collection[str] = ()) -> None:
        self._forms = forms
        self._ordinary = ORDINARY | NUMBERS | frozenset(common)
        spellings = sorted((form for form in forms.values()), key=lambda form: -len(form.text))
        self._pattern = _compile([_expression(form) for form in spellings])

    def find(self, text: str) -> list[Mention]:
        """All mentions of people in a text, in order."""
        return list(self._scan(text.replace("\n", " ")))

    def find_all(self, texts: list[str]) -> list[list[Mention]]:
        """Mentions of each text. One scan of all texts together, which takes a third of the time of one by one."""
        joined = "\n".join(texts)
        if joined.count("\n") >= len(texts):  # a text of several lines
            joined = "\n".join(text.replace("\n", " ") for text in texts)
        found: list[list[Mention]] = [[] for _ in texts]
        at, start, end = 0, 0, len(texts[0]) if texts else 0
        for mention in self._scan(joined):
            while mention.start > end:
                at, start = at + 1, end + 1
                end = start + len(texts[at])
            found[at].append(Mention(mention.candidates, mention.text, mention.start - start, mention.end - start))
        return found

    def _scan(self, text: str) -> Iterator[Mention]:
        for match in self._pattern.finditer(text):
            form = self._forms[fold(match[0])]
            if form.is_place:
                owner = self._owner_of_place(form, match)
                if owner:
                    yield Mention(owner.owners, match[0], *match.span())
            elif self._is_name(form, match):
                yield Mention(form.owners, match[0], *match.span())

    def _owner_of_place(self, form: Form, match: re.Match[str]) -> Form | None:
        """ "Benny's" is the diner in "at Benny's", and Benny in "Benny's late"."""
        owned = POSSESSIVE.search(form.text)
        if owned and owned.end() == len(form.text) and NOT_AT_A_PLACE.match(match.string, match.end()):
            person = self._forms.get(fold(form.text[: owned.start()]))
            return person if person and not person.is_place else None
        return None

    def _is_name(self, form: Form, match: re.Match[str]) -> bool:
        word = ARTICLES.sub("", form.text).casefold()
        if " " in word or word not in self._ordinary:
            return True
        if not _starts_sentence(match.string, match.start()):
            return True
        if word in PRONOUNS:
            return False
        after = match.end()
        called = CALLED.match(match.string, after)
        if called:
            return word not in NUMBERS or called[0].strip() in ("!", "?")  # "One, two, three"
        return bool(POSSESSIVE.match(match.string, after) or DOES.match(match.string, after))


def _compile(expressions: list[str]) -> re.Pattern[str]:
    """One expression for all, in their order, by their first letter: where none of the letters is, re looks no
    further, which takes a third of the time.
    """
    by_first: dict[str, list[str]] = {}
    for expression in expressions:
        first = EXPRESSION_START.match(expression)
        letters, rest = (first[1] or first[0], expression[first.end() :]) if first else ("", expression)
        for letter in [letters] if letters.startswith("\\") else letters:
            by_first.setdefault(letter, []).append(rest)
    branches = [rf"{letter}(?<![\w'’-]{letter})(?:{'|'.join(rests)})" for letter, rests in by_first.items()]
    return re.compile(rf"(?:{'|'.join(branches)})(?![\w]|-\w)" if branches else r"(?!)")


def _starts_sentence(text: str, at: int) -> bool:
    before = text[max(0, at - 4) : at].rstrip(" '’\t")
    return not before or before[-1] in SENTENCE_END


def _expression(form: Form) -> str:
    """A form as an expression: any spaces, "Mr" with or without a point, either apostrophe, small words in any case."""
    return r"[^\S\n]+".join(_word_expression(word, form.is_place) for word in form.text.split())


def _word_expression(word: str, any_case: bool) -> str:
    plain = word.rstrip(".") or word
    pointed = word != plain or plain in ABBREVIATIONS
    text = APOSTROPHE.sub("['’]", re.escape(plain))
    if any_case or plain.lower() in SMALL_WORDS:
        text = f"[{plain[0].upper()}{plain[0].lower()}]{text[1:]}" if plain[0].isalpha() else text
    return text + (r"\.?" if pointed else "")
