"""Many pairs of text and hypothesis through one model: token ids put together once, sorted by length, little padding.

template = find_template(tokenizer)
for batch in plan_batches(lengths, 2048): ...
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Ids = Sequence[int]
PROBE = ("one", "two")


@dataclass(frozen=True)
class PairTemplate:
    """What a tokenizer puts before, between and after the two texts of a pair; ``types``: of these five parts."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, int, int, int, int] | None = None

    @property
    def added(self) -> int:
        """Tokens beside those of the two texts."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, text: Ids, hypothesis: Ids) -> list[int]:
        """The ids of a pair, as the tokenizer itself would give them."""
        return [*self.before, *text, *self.between, *hypothesis, *self.after]

    def token_types(self, text: Ids, hypothesis: Ids) -> list[int]:
        """The segment of each token; empty where the model has none."""
        if self.types is None:
            return []
        parts = (self.before, text, self.between, hypothesis, self.after)
        return [kind for kind, part in zip(self.types, parts, strict=True) for _ in part]


@dataclass(frozen=True)
class Pair:
    """A text, or a window of it, with a hypothesis: ids of both. ``owner``: whatever the caller knows it by."""

    owner: tuple[int, ...]
    text: Ids
    hypothesis: Ids

    def __len__(self) -> int:
        return len(self.text) + len(self.hypothesis)


def find_template(tokenizer: PreTrainedTokenizerBase) -> PairTemplate:
    """Read the layout off a pair that the tokenizer encodes. The tokenizer is a fast one."""
    encoded = tokenizer(*PROBE, return_token_type_ids="token_type_ids" in tokenizer.model_input_names)
    ids, parts = encoded["input_ids"], encoded.sequence_ids(0)
    first = [at for at, part in enumerate(parts) if part == 0]
    second = [at for at, part in enumerate(parts) if part == 1]
    borders = (0, first[0], first[-1] + 1, second[0], second[-1] + 1, len(ids))
    cut = [tuple(ids[start:end]) for start, end in itertools.pairwise(borders)]
    if "token_type_ids" not in encoded:
        return PairTemplate(cut[0], cut[2], cut[4])
    kinds = [*encoded["token_type_ids"], 0]  # a part that is empty has any type
    return PairTemplate(cut[0], cut[2], cut[4], tuple(kinds[start] for start in borders[:5]))


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text alone, nothing added, nothing cut; what looks like a special token is read as text."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, truncation=False, verbose=False, split_special_tokens=True
    )["input_ids"]
    return found


def plan_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of the pairs of each batch, the longest first: rows times the longest row is at most ``budget`` tokens.

    A pair that is longer than the budget is a batch of its own. What is too much for the memory fails at once.
    """
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def collate(pairs: Sequence[Pair], template: PairTemplate, pad: int, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Tensors of shape (pairs, longest pair), padded on the right."""
    import torch

    rows = [template.join(pair.text, pair.hypothesis) for pair in pairs]
    width = max(map(len, rows))

    def stack(filled: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
        return torch.tensor([[*row, *[filler] * (width - len(row))] for row in filled], device=device)

    tensors = {"input_ids": stack(rows, pad), "attention_mask": stack([[1] * len(row) for row in rows], 0)}
    if template.types is not None:
        tensors["token_type_ids"] = stack([template.token_types(pair.text, pair.hypothesis) for pair in pairs], 0)
    return tensors
