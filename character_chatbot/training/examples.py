"""From dialogues to token ids: what the model reads and what it learns (the reply and its end, nothing else)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from character_chatbot.dialogues import Dialogue, DialogueSet
from character_chatbot.prompts import Turn, build_messages, encode_prompt, encode_reply, end_of_turn, reply_header
from utils.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # label that the cross entropy of torch leaves out


@dataclass(frozen=True)
class Example:
    """``input_ids`` and ``labels`` of the same length; labels are ``IGNORED`` everywhere but in replies.

    ``shared``: how many of the first tokens are the persona, the same in all examples of the character.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    shared: int = 0

    @property
    def reply_ids(self) -> tuple[int, ...]:
        return tuple(label for label in self.labels if label != IGNORED)

    def replies(self) -> list[tuple[int, int]]:
        """Where each reply starts and where it is over, its end of turn included."""
        learnt = [IGNORED, *self.labels, IGNORED]
        borders = [at for at in range(len(learnt) - 1) if (learnt[at] == IGNORED) != (learnt[at + 1] == IGNORED)]
        return list(zip(borders[::2], borders[1::2], strict=True))


def encode_dialogue(
    tokenizer: PreTrainedTokenizerBase, dialogue: Dialogue, dialogues: DialogueSet, max_length: int
) -> Example | None:
    """One dialogue as token ids, its oldest turns left out until it fits; None if it cannot fit."""
    character = dialogues.cast.get(dialogue.character)
    reply = encode_reply(tokenizer, dialogue.reply)
    for start in range(len(dialogue.context)):
        prompt = encode_prompt(tokenizer, build_messages(character, dialogues.title, dialogue.context[start:]))
        if len(prompt) + len(reply) <= max_length:
            return Example((*prompt, *reply), (*[IGNORED] * len(prompt), *reply))
    return None


def find_personas(
    tokenizer: PreTrainedTokenizerBase, examples: Iterable[Example], dialogues: DialogueSet
) -> list[Example]:
    """The examples, each with the length of the persona that it starts with.

    A persona's tokens are what the prompts of two conversations with the character have in common.
    """
    personas = []
    for name in dialogues.characters:
        talks = (build_messages(dialogues.cast.get(name), dialogues.title, [Turn(who, who)]) for who in ("A", "B"))
        one, other = (encode_prompt(tokenizer, messages) for messages in talks)
        same = next(at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)
        personas.append(tuple(one[:same]))
    return [_with_persona(example, personas) for example in examples]


def _with_persona(example: Example, personas: Sequence[tuple[int, ...]]) -> Example:
    ahead = min((start for start, _ in example.replies()), default=len(example.labels)) - 1  # what is left predicts
    shared = max((len(each) for each in personas if example.input_ids[: len(each)] == each), default=0)
    return replace(example, shared=min(shared, ahead))


def encode_dialogues(
    tokenizer: PreTrainedTokenizerBase, chosen: Iterable[Dialogue], dialogues: DialogueSet, max_length: int
) -> list[Example]:
    """All dialogues that fit into ``max_length`` tokens."""
    encoded = (encode_dialogue(tokenizer, dialogue, dialogues, max_length) for dialogue in chosen)
    return find_personas(tokenizer, (example for example in encoded if example is not None), dialogues)


def are_learnable(tokenizer: PreTrainedTokenizerBase, examples: Iterable[Example]) -> bool:
    """Whether every label is of a reply that starts where the template opens one and has its end."""
    end, header = end_of_turn(tokenizer), tuple(reply_header(tokenizer))
    return all(
        bool(replies := example.replies()) and all(_is_reply(example, *each, header, end) for each in replies)
        for example in examples
    )


def check_labels(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[dict[str, list[int]]], examples: Sequence[Example]
) -> None:
    """Assert on what the trainer is about to learn that it is the replies and their ends, and nothing else.

    Args:
        rows: the trainer's own data set, after all that the trainer has done to it.
        examples: what it was given.

    Raises:
        TrainingError: a label in front of a reply, a reply cut short, one without its end, or one that does not
            start where the template opens a reply.
    """
    end, header = end_of_turn(tokenizer), tuple(reply_header(tokenizer))
    for number, (row, example) in enumerate(zip(rows, examples, strict=True)):
        given = (list(row["input_ids"]), list(row["labels"])) == (list(example.input_ids), list(example.labels))
        replies = example.replies()
        if not given or not replies or not all(_is_reply(example, *each, header, end) for each in replies):
            raise TrainingError(
                f"dialogue {number}: the labels are not the reply and its end alone.",
                instead="Some chat templates write earlier replies in another way: then scenes cannot be learnt.",
                remedies=[("Learn each reply by itself", "--format pairs")],
            )


def _is_reply(example: Example, start: int, over: int, header: tuple[int, ...], end: int) -> bool:
    """Whether these labels are what stands there, opened by the template and ended once, at the end."""
    reply = example.labels[start:over]
    opened = example.input_ids[max(0, start - len(header)) : start] == header
    ended = end not in reply[:-1] and reply[-1] == end
    return opened and ended and reply == example.input_ids[start:over]
