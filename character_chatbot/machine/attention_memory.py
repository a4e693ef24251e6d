"""What attention of packed rows takes in memory, in a few operations however many pieces there are.

    model.set_attn_implementation(COUNTED)      # on fake tensors: what it returns means nothing

Piece by piece, :mod:`character_chatbot.training.attention` is hundreds of operations for a layer, and on fake tensors
each takes as long as on a CPU. This makes tensors of the same sizes, which live as long: all that is kept for the way
back, and what the largest piece needs meanwhile.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from character_chatbot.training.attention import Piece

COUNTED = "counted_segments"  # this attention's name in transformers


def attend_counted(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_pieces: tuple[Piece, ...],
    **named: Any,
) -> tuple[torch.Tensor, None]:
    """Shapes as of :func:`character_chatbot.training.attention.attend`."""
    query, key = query.to(value.dtype), key.to(value.dtype)
    seen: torch.Tensor = _CountedAttention.apply(query * named["scaling"], key, value, packed_pieces)
    return seen.transpose(1, 2), None


class _CountedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, pieces: tuple[Piece, ...]
    ) -> torch.Tensor:
        scores = [query.shape[1] * _length(piece.queries) * _known(piece) for piece in pieces]
        ctx.scores = max(scores)
        ctx.asked = max(_length(piece.queries) for piece in pieces) * query.shape[1] * query.shape[3]
        ctx.known = max(_known(piece) for piece in pieces) * key.shape[1] * key.shape[3]
        seen, weights = torch.empty_like(query), query.new_empty(sum(scores))
        meanwhile = [query.new_empty(size) for size in (ctx.scores, ctx.asked, ctx.known)]
        ctx.save_for_backward(query, key, value, weights)
        del meanwhile
        return seen

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        query, key, value, _ = ctx.saved_tensors
        found = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        sizes = (ctx.scores, ctx.scores, ctx.asked, ctx.asked, ctx.known)
        meanwhile = [query.new_empty(size) for size in sizes]
        del meanwhile
        return *found, None


def _length(tokens: slice) -> int:
    return int(tokens.stop - tokens.start)


def _known(piece: Piece) -> int:
    return sum(_length(each) for each in piece.keys)


AttentionInterface.register(COUNTED, attend_counted)
AttentionMaskInterface.register(COUNTED, sdpa_mask)
