"""One reply of a character as it streams, kept in its role, with what was in the prompt.

stream = ReplyStream(draw, sampling, Rules(...), Evidence(...))
for piece in stream: …                  # may be shown at once
stream.evidence.memories                # the scenes that the character remembered
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from character_chatbot.engines.base import Sampling, Tally
from character_chatbot.recall.memory import Memory
from character_chatbot.replies.joint import join_on
from character_chatbot.replies.role import RoleGuard, close_pieces
from character_chatbot.replies.role_measures import MAYBE, REPEATED, compare_beginning
from character_chatbot.replies.sentence_end import end_with_sentence

logger = logging.getLogger(__name__)

# A reply that is drawn again: the words of the first draw become less likely.
PENALTY_STEP = 0.1


@dataclass(frozen=True)
class Evidence:
    """What was in the prompt. ``turns_left_out``: how many of the oldest turns did not go in."""

    memories: tuple[Memory, ...] = ()
    lore: tuple[str, ...] = ()
    turns_left_out: int = 0
    prompt_tokens: int = 0
    persona_shortened: bool = False


@dataclass(frozen=True)
class Rules:
    """How a reply stays in its role.

    ``own``, ``others``: names. ``earlier``: replies of the character in this conversation. ``redraws``: at most so
    many. ``whole_sentences``: a reply cut by its longest length ends with a sentence. ``beginning``: of a reply that
    goes on; what comes is judged together with it.
    """

    own: tuple[str, ...]
    others: tuple[str, ...]
    earlier: tuple[str, ...] = ()
    redraws: int = 1
    whole_sentences: bool = True
    count_tokens: Callable[[str], int] = lambda text: -(-len(text) // 4)
    beginning: str = ""


class ReplyStream(Iterator[str]):
    """Pieces of one reply. ``evidence``: what was in the prompt. ``redrawn``: how often it was drawn anew.

    ``tally``: of the draw that is shown. ``kept_whole``: all of it is shown, but for a sentence cut at the end.

    Without ``rules`` the engine's pieces come as they are. Closing it ends the work behind it.
    """

    def __init__(
        self,
        draw: Callable[[Sampling], Iterator[str]],
        sampling: Sampling,
        rules: Rules | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        self.evidence, self.redrawn = evidence or Evidence(), 0
        self.tally, self.kept_whole = Tally(), True
        self._draw, self._sampling, self._rules = draw, replace(sampling, tally=self.tally), rules
        self._pieces = self._keep_role(rules) if rules else self.unguarded()

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """End the work behind it; silent if it has ended."""
        self._pieces.close()

    def unguarded(self) -> Generator[str, None, None]:
        """One draw as the engine gives it."""
        pieces = self._draw(self._sampling)
        try:
            yield from pieces
        finally:
            close_pieces(pieces)

    def _keep_role(self, rules: Rules) -> Generator[str, None, None]:
        for attempt in range(rules.redraws + 1):
            drawing = _Drawing(self._draw(vary(self._sampling, attempt)), rules)
            try:
                if drawing.begin() or attempt == rules.redraws:
                    yield from self._ending(join_on(rules.beginning, drawing.rest()), rules)
                    return
            finally:
                drawing.close()
                self.kept_whole = not drawing.stopped
            self.redrawn += 1
            logger.info("drawn again: %s", drawing.fault)

    def _ending(self, pieces: Iterator[str], rules: Rules) -> Iterator[str]:
        if not rules.whole_sentences:
            return pieces
        return end_with_sentence(pieces, self._sampling.max_new_tokens, rules.count_tokens, rules.beginning)


class _Drawing:
    """One draw: its beginning is held back as long as it may be one that was said before."""

    def __init__(self, pieces: Iterator[str], rules: Rules) -> None:
        self._pieces, self._rules = pieces, rules
        self._guard = RoleGuard(rules.own, rules.others)
        self._begun = ""
        self.fault = ""
        if rules.beginning:
            self._guard.resume(rules.beginning)

    def begin(self) -> bool:
        """Read until it is known whether the reply is fit to be shown."""
        if self._rules.beginning and self._compare(ended=False) != MAYBE:
            return True  # nothing that comes can change how the reply begins
        for piece in self._pieces:
            self._begun += self._guard.feed(piece)
            if self._guard.stopped:
                return self._judge(ended=True)
            if self._begun and self._compare(ended=False) != MAYBE:
                return self._judge(ended=False)
        self._begun += self._guard.finish()
        return self._judge(ended=True)

    def rest(self) -> Iterator[str]:
        """What may be shown, from the beginning on."""
        if self._begun:
            yield self._begun
        if self._guard.stopped:
            return
        for piece in self._pieces:
            shown = self._guard.feed(piece)
            if shown:
                yield shown
            if self._guard.stopped:
                return
        rest = self._guard.finish()
        if rest:
            yield rest

    def close(self) -> None:
        close_pieces(self._pieces)

    @property
    def stopped(self) -> bool:
        """What came further was not the character's."""
        return self._guard.stopped

    def _judge(self, ended: bool) -> bool:
        if self._guard.other and not (self._rules.beginning + self._begun).strip():
            self.fault = "it began as somebody else"
        elif self._compare(ended) == REPEATED:
            self.fault = "it repeated an earlier reply"
        return not self.fault

    def _compare(self, ended: bool) -> str:
        return compare_beginning(self._rules.beginning + self._begun, self._rules.earlier, ended)


def vary(sampling: Sampling, attempt: int) -> Sampling:
    """Sampling for another draw of the same reply."""
    seed = None if sampling.seed is None else sampling.seed + attempt
    return (
        replace(sampling, seed=seed, repetition_penalty=sampling.repetition_penalty + PENALTY_STEP * attempt)
        if attempt
        else sampling
    )
