"""What torch has read before: keys and values of the last prompts, so that the next one is read from where it differs.

cache = PromptCache(capacity=4, tokens=16_384)
past = cache.take(prompt)               # for model.generate(past_key_values=past); may be empty
cache.keep(read_ids, past)              # after the reply: prompt and reply, as far as they were read
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from character_chatbot.prompts import common_prefix

# A prompt that leaves out so few of the tokens read last goes on with the same conversation; else the beginning of
# another one, such as the persona, is copied.
REST_TOKENS = 64


@dataclass
class _Kept:
    ids: list[int]
    past: Any  # a DynamicCache of transformers, as long as ids


class PromptCache:
    """The last ``capacity`` conversations of at most ``tokens`` in all, the one unused for longest is forgotten.

    For one thread at a time.
    """

    def __init__(self, capacity: int = 4, tokens: int = 16_384) -> None:
        self._capacity, self._tokens = capacity, tokens
        self._kept: list[_Kept] = []  # the last used one last

    def take(self, prompt: Sequence[int]) -> Any:
        """Keys and values of the longest known beginning of ``prompt``; its last token has to be read in any case."""
        from transformers import DynamicCache

        best = max(self._kept, key=lambda kept: common_prefix(kept.ids, prompt), default=None)
        length = min(common_prefix(best.ids, prompt), len(prompt) - 1) if best else 0
        if best is None or length == 0:
            return DynamicCache()
        if len(best.ids) - length <= REST_TOKENS:
            self._kept.remove(best)
            if len(best.ids) > length:
                best.past.crop(length - len(best.ids))  # a negative number: so many tokens are taken off
            return best.past
        return _copy(best.past, length)

    def count_known(self, prompt: Sequence[int]) -> int:
        """Of how many of its first tokens the keys and values are kept."""
        return max((common_prefix(kept.ids, prompt) for kept in self._kept), default=0)

    def keep(self, ids: Sequence[int], past: Any) -> None:
        """``past`` holds the first ``past.get_seq_length()`` of ``ids``; not kept where it cannot be cut later."""
        length = past.get_seq_length()
        if not length or not _can_be_cut(past):
            return
        self._kept.append(_Kept(list(ids[:length]), past))
        while len(self._kept) > self._capacity or sum(len(kept.ids) for kept in self._kept) > self._tokens:
            del self._kept[0]


def _can_be_cut(past: Any) -> bool:
    """A layer that keeps only a window of tokens, or a state, has forgotten what stood before."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in past.layers)


def _copy(past: Any, length: int) -> Any:
    from transformers import DynamicCache

    copied = DynamicCache()
    for number, layer in enumerate(past.layers):
        copied.update(layer.keys[..., :length, :].clone(), layer.values[..., :length, :].clone(), number)
    return copied
