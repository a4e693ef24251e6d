"""From dialogues to token ids: what the model reads and what it learns (the reply and its end, nothing else)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from character_chatbot.dialogues import Dialogue, DialogueSet
from character_chatbot.prompts import build_messages, encode_prompt, encode_reply
from utils.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # label that the cross entropy of torch leaves out


@dataclass(frozen=True)
class Example:
    """``input_ids`` and ``labels`` of the same length; labels are ``IGNORED`` in front of the reply."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def reply_ids(self) -> tuple[int, ...]:
        return tuple(label for label in self.labels if label != IGNORED)


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


def encode_dialogues(
    tokenizer: PreTrainedTokenizerBase, chosen: Iterable[Dialogue], dialogues: DialogueSet, max_length: int
) -> list[Example]:
    """All dialogues that fit into ``max_length`` tokens."""
    encoded = (encode_dialogue(tokenizer, dialogue, dialogues, max_length) for dialogue in chosen)
    return [example for example in encoded if example is not None]


def check_labels(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[dict[str, list[int]]], examples: Sequence[Example]
) -> None:
    """Assert on what the trainer is about to learn that it is the replies and their ends, and nothing else.

    Args:
        rows: the trainer's own data set, after all that the trainer has done to it.
        examples: what it was given.

    Raises:
        TrainingError: a label in front of a reply, a reply cut short, or one without its end.
    """
    from character_chatbot.prompts import end_of_turn

    end = end_of_turn(tokenizer)
    for number, (row, example) in enumerate(zip(rows, examples, strict=True)):
        labels, reply = list(row["labels"]), list(example.reply_ids)
        masked = len(labels) - len(reply)
        if (
            labels != [IGNORED] * masked + reply
            or list(row["input_ids"]) != list(example.input_ids)
            or reply[-1] != end
        ):
            raise TrainingError(f"dialogue {number}: the labels are not the reply and its end alone.")
