"""How well a model expects replies that it has never seen: perplexity on the held-out episodes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from character_chatbot.examples import IGNORED, Example

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

BATCH_TOKENS = 4096  # padded tokens of one forward pass


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
    with torch.inference_mode(), tqdm(total=len(examples), desc=title, unit="reply", disable=None) as bar:
        for batch in _batches(examples):
            nats, count = _score(model, batch)
            total, tokens = total + nats, tokens + count
            bar.update(len(batch))
            done += len(batch)
            show(done)
    model.train(was_training)
    return Perplexity(math.exp(total / tokens), tokens, len(examples))


def _batches(examples: Sequence[Example]) -> list[list[Example]]:
    batches: list[list[Example]] = []
    for example in sorted(examples, key=lambda each: len(each.input_ids)):
        fits = batches and (len(batches[-1]) + 1) * len(example.input_ids) <= BATCH_TOKENS
        if fits:
            batches[-1].append(example)
        else:
            batches.append([example])
    return batches


def _score(model: PreTrainedModel | PeftModel, batch: Sequence[Example]) -> tuple[float, int]:
    """Sum of cross entropies in nats over the reply tokens of a batch, and how many there are."""
    import torch

    width = max(len(example.input_ids) for example in batch)
    ids = torch.tensor([[*e.input_ids, *[0] * (width - len(e.input_ids))] for e in batch], device=model.device)
    labels = torch.tensor([[*e.labels, *[IGNORED] * (width - len(e.labels))] for e in batch], device=model.device)
    mask = torch.tensor([[1] * len(e.input_ids) + [0] * (width - len(e.input_ids)) for e in batch], device=model.device)
    hidden = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=_replies(labels)).logits
    return _cross_entropy(hidden, labels)


def _replies(labels: torch.Tensor) -> torch.Tensor:
    """Positions before any reply token of the batch: only there logits are worth their memory."""
    return (labels[:, 1:] != IGNORED).any(dim=0).nonzero().flatten()


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
    import torch

    targets = labels[:, 1:][:, _replies(labels)]
    nats = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return float(nats), int((targets != IGNORED).sum())
