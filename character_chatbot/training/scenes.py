"""Scenes as training sequences: the persona once, the turns in order, every reply of the character learnt.

A sequence is laid out as serving lays out a conversation, so each reply sees what it could see there. What is learnt is
the same as with one sequence for each reply (examples.py); what lies between two replies is computed once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from character_chatbot.dialogues import Dialogue, DialogueSet
from character_chatbot.prompts import Turn, build_messages, encode_text, end_of_turn, split_prompt
from character_chatbot.training.examples import IGNORED, Example, find_personas
from utils.characters import Character

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Stretch:
    """Turns of one scene in a row; those counted by ``learnt``, the last one among them, are the replies to learn."""

    character: str
    turns: tuple[Turn, ...]
    learnt: tuple[int, ...]

    def piece(self, first: int, replies: int, context_turns: int) -> Stretch:
        """``replies`` replies from number ``first`` on, with at most ``context_turns`` turns in front of them."""
        learnt = self.learnt[first : first + replies]
        start = max(0, learnt[0] - context_turns)
        while self.turns[start].speaker == self.character:
            start += 1  # a conversation starts with what is said to the character
        kept = self.turns[start : learnt[-1] + 1]
        return Stretch(self.character, kept, tuple(at - start for at in learnt))


def build_stretches(chosen: Iterable[Dialogue], dialogues: DialogueSet, context_turns: int) -> Iterator[Stretch]:
    """The chosen dialogues by character and scene, cut where more than ``context_turns`` others lie between two."""
    replies: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for dialogue in chosen:
        replies[dialogue.character, dialogue.scene].append(dialogue.turn)
    for (character, scene), learnt in replies.items():
        for together in _close_together(sorted(learnt), context_turns):
            whole = Stretch(character, dialogues.scenes[scene], tuple(together))
            yield whole.piece(0, len(together), context_turns)


def _close_together(numbers: Sequence[int], most_between: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number - groups[-1][-1] - 1 <= most_between:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def encode_scenes(
    tokenizer: PreTrainedTokenizerBase,
    chosen: Iterable[Dialogue],
    dialogues: DialogueSet,
    max_length: int,
    context_turns: int,
) -> list[Example]:
    """The chosen dialogues as sequences of at most ``max_length`` tokens.

    A longer stretch is cut between turns; each piece starts with up to ``context_turns`` turns that are context only.
    A reply that does not fit with the turn in front of it is left out.
    """
    encoded = [
        example
        for stretch in build_stretches(chosen, dialogues, context_turns)
        for example in _encode_stretch(_Scribe(tokenizer, dialogues), stretch, max_length, context_turns)
    ]
    return find_personas(tokenizer, encoded, dialogues)


class _Scribe:
    """Writes stretches as token ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, dialogues: DialogueSet) -> None:
        self._tokenizer, self._dialogues, self._end = tokenizer, dialogues, end_of_turn(tokenizer)

    def write(self, stretch: Stretch) -> Example:
        messages = build_messages(self._character(stretch), self._dialogues.title, stretch.turns[:-1])
        parts = [*split_prompt(self._tokenizer, messages), [self._end]]
        own = [at for at, turn in enumerate(stretch.turns) if turn.speaker == stretch.character]
        ids, labels = list(parts[0]), [IGNORED] * len(parts[0])
        for at, part in zip(own, parts[1:], strict=True):
            reply = [*encode_text(self._tokenizer, stretch.turns[at].text), part[0]]
            ids += [*reply, *part[1:]]
            labels += [*(reply if at in stretch.learnt else [IGNORED] * len(reply)), *[IGNORED] * (len(part) - 1)]
        return Example(tuple(ids), tuple(labels))

    def _character(self, stretch: Stretch) -> Character:
        return self._dialogues.cast.get(stretch.character)


def _encode_stretch(scribe: _Scribe, stretch: Stretch, max_length: int, context_turns: int) -> Iterator[Example]:
    first = 0
    while first < len(stretch.learnt):
        count, example = _longest(scribe, stretch, first, max_length, context_turns)
        if example:
            yield example
        first += count


def _longest(
    scribe: _Scribe, stretch: Stretch, first: int, max_length: int, context_turns: int
) -> tuple[int, Example | None]:
    """As many replies from ``first`` on as fit, and how many they are; one alone with less context if need be."""
    count = len(stretch.learnt) - first
    while count > 0:
        example = scribe.write(stretch.piece(first, count, context_turns))
        if len(example.input_ids) <= max_length:
            return count, example
        # In proportion, so that few attempts are needed; at least one less.
        count = min(count - 1, count * max_length // len(example.input_ids) + 1)
    for fewer in range(context_turns - 1, 0, -1):
        piece = stretch.piece(first, 1, fewer)
        example = scribe.write(piece)
        if len(example.input_ids) <= max_length:
            return 1, example
    return 1, None
