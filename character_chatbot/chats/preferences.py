"""Pairs of replies for preference training: what was preferred in votes, and thumbs up beside thumbs down.

One JSON object a line, ``{"prompt": [messages], "chosen": [message], "rejected": [message]}``: the conversational
preference format with explicit prompt that TRL's DPOTrainer takes (huggingface.co/docs/trl/dataset_formats).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from character_chatbot.chats.records import CHARACTER, DONE, DOWN, LEFT, RIGHT, UP, Comparison, Message, turns
from character_chatbot.chats.store import ChatStore
from character_chatbot.chats.whole import WholeConversation
from character_chatbot.prompts import Message as PromptMessage
from character_chatbot.prompts import Turn, build_messages, lay_out
from utils.characters import Cast

# Gets who replies and the turns before; gives the messages of the prompt, empty where nothing was said to reply to.
BuildPrompt = Callable[[str, Sequence[Turn]], list[PromptMessage]]


def plain_prompt(speaker: str, before: Sequence[Turn]) -> list[PromptMessage]:
    """The turns as messages, without a persona."""
    context = list(before)
    while context and context[0].speaker == speaker:
        context.pop(0)
    if not context or context[-1].speaker == speaker:
        return []
    return lay_out(context, speaker)


def persona_prompt(cast: Cast, title: str) -> BuildPrompt:
    """Prompts as training and serving have them: the persona first, for characters of the cast."""

    def build(speaker: str, before: Sequence[Turn]) -> list[PromptMessage]:
        plain = plain_prompt(speaker, before)
        return build_messages(cast.get(speaker), title, before) if plain and speaker in cast else plain

    return build


def preference_pairs(store: ChatStore, owner: str, build_prompt: BuildPrompt = plain_prompt) -> list[dict[str, Any]]:
    """All pairs of an owner, none twice, oldest conversation first."""
    pairs: dict[str, dict[str, Any]] = {}
    for each in reversed(store.list_of(owner)):
        whole = store.read_whole(owner, each.id)
        found = [*_from_comparisons(whole.comparisons), *_from_thumbs(whole)]
        for speaker, before, chosen, rejected in found:
            pair = _pair(build_prompt(speaker, before), chosen, rejected)
            if pair:
                pairs.setdefault(json.dumps(pair, sort_keys=True), pair)
    return list(pairs.values())


def to_jsonl(pairs: Iterable[dict[str, Any]]) -> str:
    """One pair a line, ready for ``datasets.load_dataset("json", data_files=…)``."""
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)


def _from_comparisons(comparisons: Iterable[Comparison]) -> Iterator[tuple[str, Sequence[Turn], str, str]]:
    for each in comparisons:
        if each.vote == LEFT:
            yield each.speaker, each.context, each.left, each.right
        elif each.vote == RIGHT:
            yield each.speaker, each.context, each.right, each.left


def _from_thumbs(whole: WholeConversation) -> Iterator[tuple[str, Sequence[Turn], str, str]]:
    rated = [each.message for each in whole.messages if each.message.role == CHARACTER and each.message.state == DONE]
    beside: dict[tuple[int | None, str], list[Message]] = {}
    for message in rated:
        beside.setdefault((message.parent, message.speaker), []).append(message)
    for (parent, speaker), siblings in beside.items():
        liked, disliked = ([each for each in siblings if each.rating == rating] for rating in (UP, DOWN))
        if liked and disliked:
            before = turns(whole.path(parent))
            yield from ((speaker, before, good.text, bad.text) for good in liked for bad in disliked)


def _pair(prompt: list[PromptMessage], chosen: str, rejected: str) -> dict[str, Any] | None:
    good, bad = " ".join(chosen.split()), " ".join(rejected.split())
    if not prompt or not good or not bad or good == bad:
        return None
    return {
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": good}],
        "rejected": [{"role": "assistant", "content": bad}],
    }
