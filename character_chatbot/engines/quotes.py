"""The quotes engine: answers with the character's own most fitting line. Needs no model, so it is always there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from character_chatbot.dialogues import build_turns
from character_chatbot.engines.base import Sampling
from character_chatbot.prompts import Message
from character_chatbot.recall.words import WordIndex
from utils.characters import Cast
from utils.errors import DataError

# What was said to the character counts as much as what it answered: a question finds the answer to a like one.
CONTEXT_WEIGHT = 1.0


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
    """BM25 over a character's turns and what they reply to."""

    def __init__(self, spoken: pd.DataFrame, cast: Cast, character: str) -> None:
        """Index the turns of ``character``.

        Raises:
            DataError: the character says nothing in these lines.
        """
        self._quotes = list(_find_quotes(spoken, cast, character))
        if not self._quotes:
            raise DataError(f"{character} has no lines in this series, so there is nothing to quote.")
        self._replies = WordIndex([quote.text for quote in self._quotes])
        self._contexts = WordIndex([quote.said_before for quote in self._quotes])

    def find(self, text: str, count: int = 3, unlike: Sequence[str] = ()) -> list[Quote]:
        """The ``count`` quotes that fit ``text`` best, best first; those in ``unlike`` come last."""
        from dataclasses import replace

        said = " \n ".join(" ".join(each.split()) for each in unlike)  # a reply that went on has several in a row
        scores = (self._replies.score(text) + CONTEXT_WEIGHT * self._contexts.score(text)).tolist()
        # Where nothing fits, lines of a middle length in the order of the series: neither "Yes." nor a speech.
        order = sorted(
            range(len(scores)),
            key=lambda i: (
                f" {' '.join(self._quotes[i].text.split())} " in f" {said} ",
                -scores[i],
                abs(len(self._quotes[i].text) - 60),
                i,
            ),
        )
        return [replace(self._quotes[i], score=scores[i]) for i in order[:count]]

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


def _find_quotes(spoken: pd.DataFrame, cast: Cast, character: str) -> Iterator[Quote]:
    for turns in build_turns(spoken, cast):
        before = ""
        for each in turns:
            if each.turn.speaker == character:
                yield Quote(each.turn.text, each.season, each.episode, each.position, before, 0.0)
            before = f"{each.turn.speaker}: {each.turn.text}"
