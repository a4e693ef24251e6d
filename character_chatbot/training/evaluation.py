"""How well a model expects replies that it has never seen: perplexity on the held-out episodes.

The replies that choose a checkpoint flatter it, so the perplexity of a version is told of other ones where there are
enough. Replies are packed as in training.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from character_chatbot.training.examples import IGNORED, Example

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

BATCH_TOKENS = 2048  # of one forward pass
ENOUGH_TO_SPLIT = 40  # held-out replies; with fewer, all of them choose and all are reported
SELECTION_SHARE = 3  # at most one in so many chooses


@dataclass(frozen=True)
class Perplexity:
    """``value`` = exp(mean cross entropy in nats over all reply tokens, the end of turn included)."""

    value: float
    tokens: int
    replies: int


def choose_replies(examples: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """At most ``limit`` examples, drawn by seed."""
    if len(examples) <= limit:
        return list(examples)
    return random.Random(seed).sample(list(examples), limit)  # noqa: S311


def split_held_out(examples: Sequence[Example], limit: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Replies that choose a checkpoint, at most ``limit`` of them, and those that are reported.

    No reply is in both, unless there are fewer than ``ENOUGH_TO_SPLIT``. What is reported does not depend on whether
    anything is chosen, so that runs can be compared.
    """
    if len(examples) < ENOUGH_TO_SPLIT:
        return choose_replies(examples, limit, seed), list(examples)
    count = min(limit, len(examples) // SELECTION_SHARE)
    chosen = set(random.Random(seed).sample(range(len(examples)), count))  # noqa: S311
    return (
        [each for at, each in enumerate(examples) if at in chosen],
        [each for at, each in enumerate(examples) if at not in chosen],
    )


def evaluate_perplexity(
    model: PreTrainedModel | PeftModel,
    examples: Sequence[Example],
    title: str,
    show: Callable[[int], None] = lambda done: None,
) -> Perplexity | None:
    """Perplexity of the replies under ``model`` as it stands; None where there is nothing to measure.

    Args:
        model: in evaluation mode or not: dropout is off here in either case.
        examples: encoded dialogues.
        title: of the progress bar.
        show: called with the number of replies that are done.
    """
    import torch

    if not examples:
        return None
    was_training = model.training
    model.eval()
    total, tokens, done = 0.0, 0, 0
    with torch.no_grad(), tqdm(total=len(examples), desc=title, unit="reply", disable=None) as bar:
        for batch in make_batches(examples):
            nats, count = score(model, batch)
            total, tokens = total + nats, tokens + count
            bar.update(len(batch))
            done += len(batch)
            show(done)
    model.train(was_training)
    return Perplexity(math.exp(total / tokens), tokens, len(examples))


def make_batches(examples: Sequence[Example], tokens: int = BATCH_TOKENS) -> list[list[Example]]:
    """Examples by length, in batches of at most so many tokens, personas not counted; a longer one stands alone."""
    batches: list[list[Example]] = []
    room = 0
    for example in sorted(examples, key=lambda each: len(each.input_ids)):
        own = len(example.input_ids) - example.shared
        if own > room:
            batches.append([])
            room = tokens
        batches[-1].append(example)
        room -= own
    return batches


def score(model: Any, batch: Sequence[Example], inner: Any = None) -> tuple[float, int]:
    """Sum of cross entropies in nats over the reply tokens of a batch, and how many there are.

    Args:
        model: what is called.
        batch: encoded dialogues.
        inner: the same model without what wraps it for several processes, if anything does.
    """
    from character_chatbot.training.packing import PackingCollator
    from character_chatbot.training.reply_trainer import reply_nats

    inner = inner or model
    features = [{"input_ids": e.input_ids, "labels": e.labels, "shared": e.shared} for e in batch]
    inputs = {name: each.to(inner.device) for name, each in PackingCollator()(features).items()}
    nats, _ = reply_nats(model, inner, inputs)
    return float(nats), int((inputs["labels"] != IGNORED).sum())
