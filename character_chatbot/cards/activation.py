"""Which entries of a lorebook join a prompt: those whose keys are said, within a budget. No state, no files.

    entries = activate(book, ["Ada: The clock stopped.", "Bo: Which one?"], 300, count_tokens)

An entry with ``depth`` goes in front of the last so many messages, under its ``role``; the others go before or after
the description, as their ``position`` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from character_chatbot.cards.lorebook import ALL, NOT_ALL, NOT_ANY, Book, Entry
from character_chatbot.cards.patterns import PatternSearch, split_slashed

MAX_PASSES = 5  # of entries that wake other entries
MAX_SEARCHED_CHARACTERS = 50_000  # the last ones of what is said, and of what other entries hold
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
        heard = [entry.content for entry in woken if entry.to_others] if book.recursive else []
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


class _Text:
    """A text that is searched for many keys."""

    def __init__(self, text: str) -> None:
        self.text = text[-MAX_SEARCHED_CHARACTERS:]

    @cached_property
    def folded(self) -> str:
        return self.text.casefold()

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(WORD.findall(self.text))

    @cached_property
    def folded_words(self) -> frozenset[str]:
        return frozenset(WORD.findall(self.folded))

    def has(self, key: str, case_sensitive: bool, whole_words: bool) -> bool:
        """Whether a key is in the text; a key of several words need not be whole ones."""
        plain = key if case_sensitive else key.casefold()
        if whole_words and WORD.fullmatch(plain):
            return plain in (self.words if case_sensitive else self.folded_words)
        return plain in (self.text if case_sensitive else self.folded)


class _Scan:
    """One look at a conversation."""

    def __init__(self, book: Book, texts: Sequence[str], moment: Moment) -> None:
        self.book, self.texts, self.moment = book, texts, moment
        self.patterns = PatternSearch()
        self._windows: dict[int, _Text] = {}
        self._heard: tuple[Sequence[str], _Text] = ((), _Text(""))

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
        text = self._heard_text(heard) if heard else self._window(entry)
        return (entry.constant or self._has_any(entry, entry.keys, text)) and self._has_others(entry, text)

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

    def _window(self, entry: Entry) -> _Text:
        depth = self.book.scan_depth if entry.scan_depth is None else entry.scan_depth
        size = len(self.texts) if depth is None else max(0, min(depth, len(self.texts)))
        if size not in self._windows:
            self._windows[size] = _Text("\n".join(self.texts[len(self.texts) - size :]))
        return self._windows[size]

    def _heard_text(self, heard: Sequence[str]) -> _Text:
        if self._heard[0] is not heard:
            self._heard = (heard, _Text("\n".join(heard)))
        return self._heard[1]

    def _has_others(self, entry: Entry, text: _Text) -> bool:
        """Whether secondary, additional and excluded keys let it be."""
        said = entry.decorators
        for name, wanted in (("additional_keys", True), ("exclude_keys", False)):
            keys = said.get(name)
            ignored = not isinstance(keys, tuple) or (entry.patterns == "spec" and not wanted)
            if not ignored and self._has_any(entry, keys, text) != wanted:  # type: ignore[arg-type]
                return False
        if not entry.secondary_keys or entry.constant:
            return True
        if entry.secondary_logic in (ALL, NOT_ALL):
            every = all(self._has(entry, key, text) for key in entry.secondary_keys)
            return every == (entry.secondary_logic == ALL)
        return self._has_any(entry, entry.secondary_keys, text) != (entry.secondary_logic == NOT_ANY)

    def _has_any(self, entry: Entry, keys: Sequence[str], text: _Text) -> bool:
        return any(self._has(entry, key, text) for key in keys)

    def _has(self, entry: Entry, key: str, text: _Text) -> bool:
        if entry.patterns == "spec":
            return self.patterns.found(key, entry.case_sensitive, text.text)
        slashed = split_slashed(key) if entry.patterns else None
        if slashed:
            return self.patterns.found(*slashed, text.text)
        return text.has(key, entry.case_sensitive, entry.whole_words)
