"""What votes between two sources say, and how sure that is.

for pair in tally(comparisons):
    pair.first, pair.first_wins, pair.share, pair.interval, pair.p_value
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from character_chatbot.chats.records import BOTH_BAD, LEFT, RIGHT, TIE, Comparison

Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
SURE = 0.05  # a smaller p-value is no noise


@dataclass(frozen=True)
class PairTally:
    """Votes between two sources, whichever side each was on; ``first`` is the one whose label sorts first."""

    first: str
    second: str
    first_wins: int = 0
    second_wins: int = 0
    ties: int = 0
    both_bad: int = 0

    @property
    def decided(self) -> int:
        return self.first_wins + self.second_wins

    @property
    def share(self) -> float:
        """Of the decided votes that ``first`` won; 0 where there is none."""
        return self.first_wins / self.decided if self.decided else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Between which shares the true one lies, at 95 %."""
        return wilson_interval(self.first_wins, self.decided)

    @property
    def p_value(self) -> float:
        """How likely votes at least as uneven are, if nobody preferred either."""
        return sign_test(self.first_wins, self.second_wins)


def tally(comparisons: Iterable[Comparison]) -> list[PairTally]:
    """The votes pair by pair, the pair with most votes first. A source compared with itself is left out."""
    pairs: dict[tuple[str, str], PairTally] = {}
    for each in comparisons:
        if each.left_source == each.right_source:
            continue
        first, second = sorted((each.left_source, each.right_source))
        pair = pairs.get((first, second), PairTally(first, second))
        pairs[first, second] = _count(pair, each.vote, swapped=each.left_source != first)
    return sorted(pairs.values(), key=lambda pair: -(pair.decided + pair.ties + pair.both_bad))


def _count(pair: PairTally, vote: str, swapped: bool) -> PairTally:
    if vote in (LEFT, RIGHT):
        field = "second_wins" if (vote == RIGHT) != swapped else "first_wins"
    else:
        field = {TIE: "ties", BOTH_BAD: "both_bad"}[vote]
    return replace(pair, **{field: getattr(pair, field) + 1})


def wilson_interval(wins: int, votes: int) -> tuple[float, float]:
    """The score interval of a share at 95 %; 0 to 1 without votes.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22; good for few votes
    (Brown, Cai and DasGupta 2001, Statistical Science 16).
    """
    if not votes:
        return 0.0, 1.0
    share, square = wins / votes, Z * Z / votes
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / votes + square / (4 * votes)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def sign_test(wins: int, losses: int) -> float:
    """The exact two-sided p-value of the sign test, ties left out (Dixon and Mood 1946, JASA 41); 1 without votes."""
    votes = wins + losses
    tail = sum(math.comb(votes, count) for count in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / (1 << votes))


def describe_pair(pair: PairTally) -> str:
    """What the votes say, in one sentence."""
    if not pair.decided:
        return "No vote for one of them yet."
    low, high = pair.interval
    interval = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %, sign test p = {_p_text(pair.p_value)}"
    found = f"{pair.first_wins} of {pair.decided} for {pair.first} ({100 * pair.share:.0f} %; {interval})"
    if pair.p_value >= SURE:
        return f"{found}: too few votes, or too even, to tell them apart."
    return f"{found}: {pair.first if pair.share > 0.5 else pair.second} is preferred."


def _p_text(p_value: float) -> str:
    return f"{p_value:.2f}" if p_value >= 0.01 else f"{p_value:.4f}" if p_value >= 0.0001 else "under 0.0001"
