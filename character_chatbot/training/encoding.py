"""The dialogues of a series as sequences: what a run learns from, and what it is measured on.

Format ``auto`` takes whole scenes, which cost less and teach as much (docs/experiments.md), where the tokenizer's chat
template writes the replies of a conversation as it writes the last one; else a sequence for each reply.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from character_chatbot.dialogues import Dialogue, DialogueSet
from character_chatbot.training.examples import Example, are_learnable, encode_dialogues
from character_chatbot.training.scenes import encode_scenes
from config import AUTO, PAIRS, Settings
from utils.announcements import Announcement, Announcements
from utils.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def encode_training(
    tokenizer: PreTrainedTokenizerBase, dialogues: DialogueSet, settings: Settings, announcements: Announcements
) -> list[Example]:
    """What is learnt from, in the format that is set; hears of a format that cannot be had.

    Raises:
        TrainingError: nothing is short enough.
    """
    if settings.training.format != PAIRS:
        scenes = _encode_scenes(tokenizer, dialogues, settings)
        if scenes and (settings.training.format != AUTO or are_learnable(tokenizer, scenes)):
            return scenes
        if scenes:
            announcements.add(_no_scenes())
    found = _encode_pairs(tokenizer, dialogues.training, dialogues, settings, "training")
    if found and (settings.training.format in (PAIRS, AUTO)):
        return found
    raise TrainingError(
        f"no dialogue fits into training.max_length = {settings.training.max_length} tokens.",
        remedies=[("Allow longer ones", "training.max_length in aws_config.yaml")],
    )


def encode_held_out(tokenizer: PreTrainedTokenizerBase, dialogues: DialogueSet, settings: Settings) -> list[Example]:
    """The held-out dialogues, a sequence for each reply whatever is learnt from: perplexities then compare."""
    return _encode_pairs(tokenizer, dialogues.held_out, dialogues, settings, "held-out")


def _encode_scenes(tokenizer: PreTrainedTokenizerBase, dialogues: DialogueSet, settings: Settings) -> list[Example]:
    limit, context_turns = settings.training.max_length, settings.dialogues.context_turns
    scenes = encode_scenes(tokenizer, dialogues.training, dialogues, limit, context_turns)
    replies = sum(len(scene.replies()) for scene in scenes)
    logger.info("%d replies in %d pieces of scenes", replies, len(scenes))
    _warn_of_long(len(dialogues.training) - replies, len(dialogues.training), "training", limit)
    return scenes


def _encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    chosen: Sequence[Dialogue],
    dialogues: DialogueSet,
    settings: Settings,
    part: str,
) -> list[Example]:
    examples = encode_dialogues(tokenizer, chosen, dialogues, settings.training.max_length)
    _warn_of_long(len(chosen) - len(examples), len(chosen), part, settings.training.max_length)
    return examples


def _warn_of_long(missing: int, count: int, part: str, limit: int) -> None:
    if missing:
        logger.warning(
            "%d of %d %s dialogues are longer than training.max_length = %d tokens and left out.",
            missing,
            count,
            part,
            limit,
        )


def _no_scenes() -> Announcement:
    return Announcement(
        "training",
        "whole scenes as sequences",
        "a sequence for each reply",
        "this base's chat template writes earlier replies in another way than the last one",
        "nothing: it learns the same, more slowly",
    )
