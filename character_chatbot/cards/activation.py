"""Which entries of a lorebook join a prompt: those whose keys are said, within a budget. No state, no files.

    entries = activate(book, ["Ada: The clock stopped.", "Bo: Which one?"], 300, count_tokens)

An entry with ``depth`` goes in front of the last so many messages, under its ``role``; the others go before or after
the description, as their ``position`` says.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from character_chatbot.cards.lorebook import ALL, NOT_ALL, NOT_ANY, Book, Entry
from character_chatbot.cards.macros import fill_for_matching
from character_chatbot.cards.patterns import PatternSearch, split_slashed

MAX_PASSES = 5  # of entries that wake other entries
MAX_SEARCHED_CHARACTERS = 50_000  # the last ones of what is said, and of what other entries hold
MAX_SECONDS = 1.0  # of the processor for one look: what is not found by then is not there
MAX_TOKEN_CHARACTERS = 100  # no tokenizer has longer words, so what is longer than this times the budget is too long
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Moment:
    """What decorators may ask for. None: not known, and the decorators that ask for it are ignored.

    ``replies``: of the character so far. ``greeting``: the one in use, 0 is ``first_mes``. ``earlier``: numbers of the
    entries that have been in a prompt of this conversation before.
    """

    replies: int | None = None
    greeting: int | None = None
    earlier: frozenset[int] | None = None


def activate(
    book: Book,
    texts: Sequence[str],
    budget_tokens: int,
    count_tokens: Callable[[str], int],
    moment: Moment | None = None,
) -> list[Entry]:
    """The entries that join the prompt, in the order in which they are inserted.

    Args:
        book: of the card.
        texts: messages of the conversation, oldest first; a book without ``scan_depth`` is looked for in all of them.
        budget_tokens: for all entries together; the book's own ``token_budget`` counts where it is smaller.
        count_tokens: of a text.
        moment: of the conversation.
    """
    scan = _Scan(book, texts, moment or Moment())
    awake: dict[int, Entry] = {}
    woken = [entry for entry in book.entries if scan.is_awake(entry)]
    for _ in range(MAX_PASSES):
        awake |= {entry.number: entry for entry in woken}
        heard = [fill_for_matching(entry.content) for entry in woken if entry.to_others] if book.recursive else []
        if not heard:
            break
        asleep = (entry for entry in book.entries if entry.number not in awake and entry.from_others)
        woken = [entry for entry in asleep if scan.is_awake(entry, heard)]
    budget = min(budget_tokens, book.token_budget) if book.token_budget else budget_tokens
    kept = _within(awake.values(), budget, count_tokens)
    return sorted(kept, key=lambda entry: (entry.insertion_order, entry.number))


def _within(entries: Iterable[Entry], budget: int, count_tokens: Callable[[str], int]) -> list[Entry]:
    """The most important entries whose tokens fit together. One that would not fit alone keeps out no other."""
    kept: list[Entry] = []
    left = budget
    for entry in sorted(entries, key=_first_kept):
        longest = budget * MAX_TOKEN_CHARACTERS
        cost = count_tokens(entry.content) if len(entry.content) <= longest else budget + 1
        if left < cost <= budget:
            return kept
        if cost <= left:
            kept.append(entry)
            left -= cost
    return kept


def _first_kept(entry: Entry) -> tuple[bool, float, float]:
    """Lowest priority goes first, and before all others what is to be trimmed first."""
    optional = "ignore_on_max_context" in entry.decorators
    return optional, -(entry.insertion_order if entry.priority is None else entry.priority), entry.number


class _Joined:
    """Texts one behind the other, searched from any of them on."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.text = "\n".join(texts)
        ends = itertools.accumulate(len(text) + 1 for text in texts)
        self._starts = (0, *ends)

    def start(self, last: int) -> int:
        """Where so many of the last texts begin."""
        return self._starts[max(0, len(self._starts) - 1 - last)]

    @cached_property
    def words(self) -> dict[str, int]:
        """Where each word stands last."""
        return {found[0]: found.start() for found in WORD.finditer(self.text)}


class _Text:
    """Messages that are searched for many keys: the last :data:`MAX_SEARCHED_CHARACTERS` of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        kept: list[str] = []
        left = MAX_SEARCHED_CHARACTERS
        for text in reversed(texts):
            if left <= 0:
                break
            kept.append(text[-left:])
            left -= len(text) + 1
        self._texts = kept[::-1]

    @cached_property
    def _exact(self) -> _Joined:
        return _Joined(self._texts)

    @cached_property
    def _folded(self) -> _Joined:
        return _Joined([text.casefold() for text in self._texts])

    def end(self, last: int) -> str:
        """The last so many messages."""
        return self._exact.text[self._exact.start(last) :]

    def has(self, key: str, entry: Entry, last: int) -> bool:
        """Whether a key is in the last so many messages; a key of several words need not be whole ones."""
        plain = key if entry.case_sensitive else key.casefold()
        joined = self._exact if entry.case_sensitive else self._folded
        if entry.whole_words and WORD.fullmatch(plain):
            return joined.words.get(plain, -1) >= joined.start(last)
        return joined.text.find(plain, joined.start(last)) >= 0


class _Scan:
    """One look at a conversation."""

    def __init__(self, book: Book, texts: Sequence[str], moment: Moment) -> None:
        self.book, self.texts, self.moment = book, texts, moment
        self.patterns = PatternSearch()
        self._said = _Text(texts)
        self._heard: tuple[Sequence[str], _Text] = ((), self._said)
        self._until = time.thread_time() + MAX_SECONDS

    def is_awake(self, entry: Entry, heard: Sequence[str] = ()) -> bool:
        """Whether the entry joins by what is said, or by ``heard``, the content of other entries."""
        said = entry.decorators
        if not entry.enabled or not entry.content:
            return False
        if "activate" in said:
            return True
        if "dont_activate" in said or not self._in_time(entry):
            return False
        if "keep_activate_after_match" in said and entry.number in (self.moment.earlier or ()):
            return True
        text, last = (self._heard_text(heard), len(heard)) if heard else (self._said, self._depth(entry))
        return (entry.constant or self._has_any(entry, entry.keys, text, last)) and self._has_others(entry, text, last)

    def _in_time(self, entry: Entry) -> bool:
        said, moment = entry.decorators, self.moment
        if "dont_activate_after_match" in said and entry.number in (moment.earlier or ()):
            return False
        if moment.greeting is not None and said.get("is_greeting", moment.greeting) != moment.greeting:
            return False
        if moment.replies is None:
            return True
        after, every = said.get("activate_only_after", 0), said.get("activate_only_every", 1)
        return moment.replies >= int(after) and moment.replies % int(every) == 0  # type: ignore[arg-type]

    def _depth(self, entry: Entry) -> int:
        """In how many of the last messages its keys are looked for."""
        depth = self.book.scan_depth if entry.scan_depth is None else entry.scan_depth
        return len(self.texts) if depth is None else max(0, depth)

    def _heard_text(self, heard: Sequence[str]) -> _Text:
        if self._heard[0] is not heard:
            self._heard = (heard, _Text(heard))
        return self._heard[1]

    def _has_others(self, entry: Entry, text: _Text, last: int) -> bool:
        """Whether secondary, additional and excluded keys let it be."""
        said = entry.decorators
        for name, wanted in (("additional_keys", True), ("exclude_keys", False)):
            keys = said.get(name)
            ignored = not isinstance(keys, tuple) or (entry.patterns == "spec" and not wanted)
            if not ignored and self._has_any(entry, keys, text, last) != wanted:  # type: ignore[arg-type]
                return False
        if not entry.secondary_keys or entry.constant:
            return True
        if entry.secondary_logic in (ALL, NOT_ALL):
            every = all(self._has(entry, key, text, last) for key in entry.secondary_keys)
            return every == (entry.secondary_logic == ALL)
        return self._has_any(entry, entry.secondary_keys, text, last) != (entry.secondary_logic == NOT_ANY)

    def _has_any(self, entry: Entry, keys: Sequence[str], text: _Text, last: int) -> bool:
        return any(self._has(entry, key, text, last) for key in keys)

    def _has(self, entry: Entry, key: str, text: _Text, last: int) -> bool:
        if time.thread_time() > self._until:  # keys can be made to take long, too
            return False
        if entry.patterns == "spec":
            return self.patterns.found(key, entry.case_sensitive, text.end(last))
        slashed = split_slashed(key) if entry.patterns else None
        if slashed:
            return self.patterns.found(*slashed, text.end(last))
        return text.has(key, entry, last)
