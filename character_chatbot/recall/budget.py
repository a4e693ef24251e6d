"""The prompt within what a base can read: what goes in, and what is left out by rule.

Nothing is ever cut inside a turn. In this order, until the prompt and the reply fit:

1. scenes beyond their budget lose their outer turns, then go (the worst first)
2. the oldest turns go, several at once, so that the prompt starts the same way for some messages
3. scenes go, the worst first; then lore, the last first; then example lines
4. the persona ends at an earlier sentence, down to half of what can be read

What does not fit even then is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from character_chatbot.prompts import Message, Passage, Turn, build_messages, lay_out_memory
from character_chatbot.recall.counting import CharacterCounter, TokenCounter
from character_chatbot.recall.memory import Memory
from utils.characters import Character
from utils.errors import UsageError

SHARE_OF_MEMORY = 4  # scenes have at most one part in four of what can be read
MOST_TURNS_AT_ONCE = 8  # that are left out together
MOST_TOKEN_CHARACTERS = 100  # no tokenizer has longer words
SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]*]*\s+|\n+")


@dataclass(frozen=True)
class Limits:
    """How much a prompt may hold. ``tokens``: 0: no limit. ``history_turns``: at most so many turns.

    ``later_share``: of a whole prompt, which a message and its scenes may be once the character has replied.
    """

    tokens: int = 0
    memory_tokens: int = 300
    history_turns: int = 6
    later_share: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """Messages, and what they hold. ``turns_left_out``: how many of the oldest turns are not in them.

    ``persona_shortened``: the persona did not fit whole.
    """

    messages: tuple[Message, ...]
    tokens: int
    memories: tuple[Memory, ...] = ()
    lore: tuple[str, ...] = ()
    turns_left_out: int = 0
    persona_shortened: bool = False


@dataclass(frozen=True)
class _Draft:
    character: Character
    title: str
    turns: tuple[Turn, ...]
    start: int
    memories: tuple[Memory, ...]
    lore: tuple[str, ...]
    example_lines: tuple[str, ...]
    note: str
    beginning: str

    def messages(self) -> list[Message]:
        return build_messages(
            self.character,
            self.title,
            self.turns[self.start :],
            passages=to_passages(self.memories),
            lore=self.lore,
            example_lines=self.example_lines,
            note=self.note,
            beginning=self.beginning,
        )


def build_prompt(
    character: Character,
    title: str,
    turns: Sequence[Turn],
    limits: Limits,
    counter: TokenCounter | None = None,
    *,
    memories: Sequence[Memory] = (),
    lore: Sequence[str] = (),
    example_lines: Sequence[str] = (),
    note: str = "",
    beginning: str = "",
) -> Prompt:
    """The prompt to which ``character`` replies next.

    Args:
        character: who replies.
        title: of the series.
        turns: all turns of the conversation, the last one somebody else's.
        limits: what fits.
        counter: of tokens; default: an estimate by characters.
        memories: scenes, best first.
        lore: entries of a lorebook, most important first.
        example_lines: how the character speaks, for the system message.
        note: what else it is to know all the time.
        beginning: how the reply begins, where one that is there already is to be gone on with.

    Raises:
        UsageError: not even the persona, the last message and the beginning fit.
        ValueError: no turn of somebody else to reply to.
    """
    counter = counter or CharacterCounter()
    kept = fit_memories(character.name, memories, _memory_tokens(limits), counter)
    draft = _Draft(character, title, tuple(turns), 0, kept, tuple(lore), tuple(example_lines), note, beginning)
    _check_least(draft, limits, counter)
    draft = _quicken(_fit(_fit_history(draft, limits, counter), limits, counter), limits, counter)
    messages = draft.messages()
    used = counter.prompt(messages)
    if limits.tokens and used > limits.tokens:
        raise _too_long(f"{used:,}", character.name, beginning, limits)
    return Prompt(
        messages=tuple(messages),
        tokens=used,
        memories=draft.memories,
        lore=draft.lore,
        turns_left_out=len(turns) - _count_turns(draft),
        persona_shortened=draft.character.persona != character.persona,
    )


def _check_least(draft: _Draft, limits: Limits, counter: TokenCounter) -> None:
    """Refuse at once what leaves no room whatever else is left out: counting a megabyte again and again takes minutes.

    No tokenizer makes more tokens than there are bytes. Raises UsageError.
    """
    least = f"{draft.note}\n{draft.turns[-1].text}\n{draft.beginning}"
    if not limits.tokens or len(least.encode(errors="replace")) <= limits.tokens:
        return
    if len(least) > limits.tokens * MOST_TOKEN_CHARACTERS:
        raise _too_long(f"more than {limits.tokens:,}", draft.character.name, draft.beginning, limits)
    used = counter.text(least)
    if used > limits.tokens:
        raise _too_long(f"{used:,}", draft.character.name, draft.beginning, limits)


def _too_long(needed: str, name: str, beginning: str, limits: Limits) -> UsageError:
    what, instead = ("this reply", "Say something.") if beginning else ("this message", "Say it in fewer words.")
    return UsageError(
        f"{what} needs {needed} tokens together with the persona of {name}; the model has room for {limits.tokens:,}.",
        instead=instead,
    )


def to_passages(memories: Sequence[Memory]) -> list[Passage]:
    """Memories as the prompt has them: with the episode, without the line, which says nothing to a model."""
    return [Passage(memory.lines, f"S{memory.season:02d}E{memory.episode:02d}") for memory in memories]


def fit_memories(
    name: str, memories: Sequence[Memory], budget_tokens: int, counter: TokenCounter
) -> tuple[Memory, ...]:
    """Those that fit into ``budget_tokens`` together, best first; one too long loses its outer turns first."""
    kept: list[Memory] = []
    for memory in memories:
        shorter: Memory | None = memory
        while shorter and counter.text(lay_out_memory(name, to_passages([*kept, shorter]))) > budget_tokens:
            shorter = _without_outer_turn(shorter)
        if shorter:
            kept.append(shorter)
    return tuple(kept)


def _without_outer_turn(memory: Memory) -> Memory | None:
    """Without the turn farthest from the fitting one; None of a single turn."""
    after = len(memory.lines) - 1 - memory.fitting
    if not memory.fitting and not after:
        return None
    if after >= memory.fitting:
        return replace(memory, lines=memory.lines[:-1], positions=memory.positions[:-1])
    return replace(memory, lines=memory.lines[1:], positions=memory.positions[1:], fitting=memory.fitting - 1)


def _memory_tokens(limits: Limits) -> int:
    return min(limits.memory_tokens, limits.tokens // SHARE_OF_MEMORY) if limits.tokens else limits.memory_tokens


def _fit_history(draft: _Draft, limits: Limits, counter: TokenCounter) -> _Draft:
    """From the first turn on from which all fits; the last turn alone if nothing does.

    Starts lie several turns apart: a prompt that starts at another turn each time would be read anew each time.
    """
    last = len(draft.turns) - 1
    step = max(1, min(limits.history_turns, MOST_TURNS_AT_ONCE * 2) // 2)
    lowest = max(0, len(draft.turns) - limits.history_turns)
    starts = [start for start in range(0, last + 1, step) if start >= lowest]
    for start in (*starts, *range(starts[-1] + 1, last)):
        shorter = replace(draft, start=start)
        if not limits.tokens or counter.prompt(shorter.messages()) <= limits.tokens:
            return shorter
    return replace(draft, start=last)


def _quicken(draft: _Draft, limits: Limits, counter: TokenCounter) -> _Draft:
    """With so few scenes that the engine, which has read all before, has little to read once the character has replied.

    It reads the newest message, which no prompt before had, and the scenes in front of it.
    """
    if limits.later_share >= 1 or all(turn.speaker != draft.character.name for turn in draft.turns):
        return draft
    new = counter.text(f"{draft.turns[-1].speaker}: {draft.turns[-1].text}") + sum(map(counter.text, draft.lore))
    read = counter.prompt(replace(draft, beginning="").messages())  # a reply that goes on keeps the scenes it had
    allowed = int(limits.later_share * read) - new
    return replace(draft, memories=fit_memories(draft.character.name, draft.memories, allowed, counter))


def _fit(draft: _Draft, limits: Limits, counter: TokenCounter) -> _Draft:
    def too_long(candidate: _Draft) -> bool:
        return bool(limits.tokens) and counter.prompt(candidate.messages()) > limits.tokens

    for part in ("memories", "lore", "example_lines"):
        while getattr(draft, part) and too_long(draft):
            draft = replace(draft, **{part: getattr(draft, part)[:-1]})
    if too_long(draft):
        persona = shorten(
            draft.character.persona, lambda text: not too_long(_with_persona(draft, text)), counter, limits.tokens // 2
        )
        draft = _with_persona(draft, persona)
    return draft


def _with_persona(draft: _Draft, persona: str) -> _Draft:
    return replace(draft, character=replace(draft.character, persona=persona))


def shorten(text: str, fits: Callable[[str], bool], counter: TokenCounter, least_tokens: int) -> str:
    """The first sentences of ``text``, as many as fit; not fewer than have ``least_tokens`` tokens."""
    ends = [match.start() for match in SENTENCE.finditer(text)] + [len(text)]
    for end in reversed(ends):
        shorter = text[:end].rstrip()
        if fits(shorter) or counter.text(shorter) <= least_tokens:
            return shorter
    return text


def _count_turns(draft: _Draft) -> int:
    """Turns in the prompt: those of the character before anybody has said anything to it are not."""
    kept = list(draft.turns[draft.start :])
    while kept and kept[0].speaker == draft.character.name:
        kept.pop(0)
    return len(kept)
