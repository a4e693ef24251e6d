"""The quotes engine: answers with the character's own most fitting line. Needs no model, so it is always there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from character_chatbot.dialogues import build_turns
from character_chatbot.engines.base import Sampling
from character_chatbot.prompts import Message
from utils.characters import Cast
from utils.errors import DataError

if TYPE_CHECKING:
    from bm25s import BM25

# What was said to the character counts as much as what it answered: a question finds the answer to a like one.
CONTEXT_WEIGHT = 1.0
STEM = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|'s|n't)$")
WORD = re.compile(r"\w+(?:'\w+)?")
NO_WORDS = "\0"  # stands in the index for a line of signs alone; no text has it as a word


@dataclass(frozen=True)
class Quote:
    """A line of the character and where it is said. ``score``: BM25; 0 where no word fits."""

    text: str
    season: int
    episode: int
    position: int
    said_before: str  # "Name: text" of the turn it replies to; may be empty
    score: float

    @property
    def place(self) -> str:
        """For people: ``S01E03, line 12`` (lines counted from 1)."""
        return f"S{self.season:02d}E{self.episode:02d}, line {self.position + 1}"


class QuotesEngine:
    """BM25 (Robertson and Zaragoza 2009, as bm25s implements it) over a character's turns and what they reply to."""

    def __init__(self, spoken: pd.DataFrame, cast: Cast, character: str) -> None:
        """Index the turns of ``character``.

        Raises:
            DataError: the character says nothing in these lines.
        """
        import bm25s

        self._quotes = list(_find_quotes(spoken, cast, character))
        if not self._quotes:
            raise DataError(f"{character} has no lines in this series, so there is nothing to quote.")
        self._replies, self._contexts = bm25s.BM25(), bm25s.BM25()
        replies = [tokenize(quote.text) or [NO_WORDS] for quote in self._quotes]
        contexts = [tokenize(quote.said_before) or [NO_WORDS] for quote in self._quotes]
        self._replies.index(replies, show_progress=False)
        self._contexts.index(contexts, show_progress=False)

    def find(self, text: str, count: int = 3, unlike: Sequence[str] = ()) -> list[Quote]:
        """The ``count`` quotes that fit ``text`` best, best first; those in ``unlike`` come last."""
        from dataclasses import replace

        words, said = tokenize(text), {" ".join(each.split()) for each in unlike}
        own, before = self._score(self._replies, words), self._score(self._contexts, words)
        scores = [a + CONTEXT_WEIGHT * b for a, b in zip(own, before, strict=True)]
        # Where nothing fits, lines of a middle length in the order of the series: neither "Yes." nor a speech.
        order = sorted(
            range(len(scores)),
            key=lambda i: (
                " ".join(self._quotes[i].text.split()) in said,
                -scores[i],
                abs(len(self._quotes[i].text) - 60),
                i,
            ),
        )
        return [replace(self._quotes[i], score=scores[i]) for i in order[:count]]

    def _score(self, index: BM25, words: Sequence[str]) -> list[float]:
        """BM25 of each quote; 0 where the index has none of the words."""
        known = [word for word in words if word in index.vocab_dict]
        return [float(score) for score in index.get_scores(known)] if known else [0.0] * len(self._quotes)

    def locate(self, text: str) -> Quote | None:
        """Where a reply of this engine is said; None if it is none of its lines."""
        return next((quote for quote in self._quotes if quote.text.split() == text.split()), None)

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """The best quote, word by word; one already said in this conversation only when nothing else is left."""
        said = [message["content"] for message in messages if message["role"] == "assistant"]
        best = self.find(last_words(messages), 1, unlike=said)[0]
        for number, word in enumerate(best.text.split()):
            yield word if number == 0 else f" {word}"


def last_words(messages: Sequence[Message]) -> str:
    """What was said last to the character, without the speaker's name."""
    content = messages[-1]["content"].rpartition("\n")[2]
    return content.partition(": ")[2] or content


def tokenize(text: str) -> list[str]:
    """Lower-case words without their commonest endings."""
    return [STEM.sub("", word) for word in WORD.findall(text.casefold().replace("\u2019", "'"))]


def _find_quotes(spoken: pd.DataFrame, cast: Cast, character: str) -> Iterator[Quote]:
    for turns in build_turns(spoken, cast):
        before = ""
        for each in turns:
            if each.turn.speaker == character:
                yield Quote(each.turn.text, each.season, each.episode, each.position, before, 0.0)
            before = f"{each.turn.speaker}: {each.turn.text}"
