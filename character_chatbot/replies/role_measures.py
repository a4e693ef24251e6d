"""How well replies stay in their role, as numbers. benchmarks/role.py plays conversations and prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from character_chatbot.replies.role import RoleGuard

NEW, MAYBE, REPEATED = "new", "maybe", "repeated"
REPEATED_WORDS = 8  # the same at the beginning: it goes on the same, most likely
LEAST_WORDS = 4  # "Yes, I do." may be said twice
WORD = re.compile(r"\w+(?:['’]\w+)?")
OUT_OF_ROLE = re.compile(
    r"\bas an? (?:ai|artificial|language model|assistant|chat ?bot)\b"
    r"|\b(?:i am|i'm|i’m) (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model|chat ?bot"
    r"|(?:virtual|ai|digital) assistant|computer program)\b"
    r"|\b(?:large )?language model\b|\bopenai\b|\bmy (?:training data|knowledge cut-?off)\b"
    r"|\bi (?:cannot|can't|can’t|am unable to|'m unable to) (?:assist|help) (?:you )?with (?:that|this)\b"
    r"|\bin (?:this|the) (?:role-?play|script|prompt)\b|\bstay(?:ing)? in character\b",
    re.IGNORECASE,
)


def words(text: str) -> list[str]:
    """Lower-case words, without signs."""
    return [word.replace("’", "'") for word in WORD.findall(text.casefold())]


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """All runs of ``n`` words."""
    found = words(text)
    return [tuple(found[at : at + n]) for at in range(len(found) - n + 1)]


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Distinct n-grams by all n-grams (distinct-n of Li et al. 2016, arXiv:1510.03055); 1 where there are none."""
    found = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(found)) / len(found) if found else 1.0


def repetition_share(reply: str, earlier: Iterable[str], n: int = 3) -> float:
    """Share of the reply's n-grams that earlier replies have as well; 0 where it has none."""
    found, known = ngrams(reply, n), {gram for text in earlier for gram in ngrams(text, n)}
    return sum(gram in known for gram in found) / len(found) if found else 0.0


def speaks_for_user(reply: str, others: Iterable[str]) -> bool:
    """Whether a line of the reply begins with the name of somebody else and a colon."""
    watch = RoleGuard((), others)
    watch.feed(reply)
    return watch.other


def leaves_role(reply: str) -> bool:
    """Whether the reply speaks of being a model or an assistant."""
    return bool(OUT_OF_ROLE.search(reply))


def compare_beginning(text: str, earlier: Sequence[str], ended: bool = False) -> str:
    """Whether a reply repeats an earlier one: ``new``, ``repeated``, or ``maybe`` while more of it has to come.

    It repeats one if their first 8 words are the same, or all of them; replies of less than 4 words may come again.
    """
    said = words(text)
    if ended:
        same = any(said[:REPEATED_WORDS] == words(each)[:REPEATED_WORDS] for each in earlier)
        return REPEATED if len(said) >= LEAST_WORDS and same else NEW
    known = [found for found in (words(each) for each in earlier) if len(found) >= LEAST_WORDS]
    whole, part = (said[:-1], said[-1]) if said else ([], "")  # more letters of the last word may come
    for each in known:
        if len(each) > REPEATED_WORDS and whole[:REPEATED_WORDS] == each[:REPEATED_WORDS]:
            return REPEATED
    if any(
        each[: len(whole)] == whole and each[len(whole) :][:1] and each[len(whole)].startswith(part) for each in known
    ):
        return MAYBE
    return NEW
