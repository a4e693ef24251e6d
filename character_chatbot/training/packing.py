"""Several sequences in one row, none of which sees another, with the persona that they share computed once.

    persona | dialogue 1 | dialogue 2 | …      positions go on from the persona in each dialogue

A token attends to what stands before it in its own dialogue and to the persona in front of it: logits, loss and
gradients are those of the sequences by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from character_chatbot.training.examples import IGNORED, Example

if TYPE_CHECKING:
    import torch

ROW_TOKENS = 1024  # attention is computed over the whole row, so longer ones cost more than they save
NOBODY = -1  # segment of the padding


@dataclass
class Row:
    """Sequences by the persona that they start with."""

    groups: dict[tuple[int, ...], list[Example]] = field(default_factory=dict)
    tokens: int = 0

    def cost(self, example: Example) -> int:
        """Tokens by which the row grows with the example."""
        known = _persona(example) in self.groups
        return len(example.input_ids) - (example.shared if known else 0)

    def add(self, example: Example) -> None:
        self.tokens += self.cost(example)
        self.groups.setdefault(_persona(example), []).append(example)


def _persona(example: Example) -> tuple[int, ...]:
    return example.input_ids[: example.shared]


def fill_rows(examples: Sequence[Example], row_tokens: int = ROW_TOKENS) -> list[Row]:
    """Rows of at most ``row_tokens`` tokens, best fit decreasing; a longer example has a row of its own.

    Rows are padded to the longest, so the examples are spread evenly over as many rows where that shortens it.
    """
    filled = _best_fit(examples, row_tokens)
    return min((filled, _spread(examples, len(filled))), key=lambda rows: max((row.tokens for row in rows), default=0))


def _best_fit(examples: Sequence[Example], row_tokens: int) -> list[Row]:
    rows: list[Row] = []
    for example in sorted(examples, key=lambda each: -len(each.input_ids)):
        fitting = [row for row in rows if row.tokens + row.cost(example) <= row_tokens]
        if fitting:
            row = min(fitting, key=lambda each: row_tokens - each.tokens - each.cost(example))
        else:
            rows.append(row := Row())
        row.add(example)
    return rows


def _spread(examples: Sequence[Example], count: int) -> list[Row]:
    """The longest first, each into the row that stays the shortest."""
    rows = [Row() for _ in range(count)]
    for example in sorted(examples, key=lambda each: -len(each.input_ids)):
        min(rows, key=lambda row: row.tokens + row.cost(example)).add(example)
    return rows


class PackingCollator:
    """Makes rows from the examples of a batch, each of shape (rows, tokens).

    ``input_ids``, ``labels``, ``position_ids``, and for :func:`block_mask` ``segment``, the persona or dialogue that a
    token is of, and ``persona``, the segment of the persona in front of it.
    """

    def __init__(self, row_tokens: int = ROW_TOKENS) -> None:
        self._row_tokens = row_tokens

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        import torch

        examples = [Example(tuple(f["input_ids"]), tuple(f["labels"]), f["shared"]) for f in features]
        rows = [_lay_row(row) for row in fill_rows(examples, self._row_tokens)]
        width = max(len(row["input_ids"]) for row in rows)
        fillers = {"input_ids": 0, "labels": IGNORED, "position_ids": 0, "segment": NOBODY, "persona": NOBODY}
        return {
            name: torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in rows])
            for name, filler in fillers.items()
        }


def _lay_row(row: Row) -> dict[str, list[int]]:
    laid: dict[str, list[int]] = {name: [] for name in ("input_ids", "labels", "position_ids", "segment", "persona")}
    number = 0

    def add(ids: Sequence[int], labels: Sequence[int], start: int, persona: int) -> None:
        nonlocal number
        laid["input_ids"] += ids
        laid["labels"] += labels
        laid["position_ids"] += range(start, start + len(ids))
        laid["segment"] += [number] * len(ids)
        laid["persona"] += [persona] * len(ids)
        number += 1

    for persona, examples in row.groups.items():
        segment, shared = number, len(persona)
        add(persona, [IGNORED] * shared, 0, segment)
        for example in examples:
            add(example.input_ids[shared:], example.labels[shared:], shared, segment)
    return laid


def block_mask(segment: torch.Tensor, persona: torch.Tensor) -> torch.Tensor:
    """True where a token (third axis) sees another (fourth axis): one before it, of its dialogue or its persona.

    Args:
        segment, persona: of shape (rows, tokens), from :class:`PackingCollator`.
    """
    import torch

    width = segment.shape[1]
    before = torch.ones(width, width, dtype=torch.bool, device=segment.device).tril()
    own = segment[:, :, None] == segment[:, None, :]
    shared = persona[:, :, None] == segment[:, None, :]
    return ((own | shared) & before)[:, None]
