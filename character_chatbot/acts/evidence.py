"""What a reply rests on, as it is kept beside it: ready for JSON.

{"kind": "quote", "place": "S01E03, line 12", "before": "Kit: Who is there?", "text": "Only the tide."}
{"kind": "scene", "place": "S01E02, line 34", "lines": [["Rosa", "…"], ["Kit", "…"]]}
{"kind": "lore", "texts": ["…"], "entries": [3, 7]}
{"kind": "left out", "turns": 12}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from character_chatbot.engines.quotes import Quote
    from character_chatbot.recall.memory import Memory
    from character_chatbot.replies.reply_stream import Evidence

QUOTE, SCENE, LORE, LEFT_OUT = "quote", "scene", "lore", "left out"

Kept = dict[str, Any]


def keep_quotes(quotes: Iterable[Quote]) -> list[Kept]:
    """Lines of the series; the first one is the reply."""
    return [{"kind": QUOTE, "place": q.place, "before": q.said_before, "text": q.text} for q in quotes]


def keep_evidence(evidence: Evidence | None, entries: Sequence[int] = ()) -> list[Kept]:
    """What was in the prompt. ``entries``: numbers of the lorebook's entries that were offered for it."""
    if evidence is None:
        return []
    kept = [_keep_scene(memory) for memory in evidence.memories]
    if evidence.lore:
        kept.append({"kind": LORE, "texts": list(evidence.lore), "entries": list(entries)})
    if evidence.turns_left_out:
        kept.append({"kind": LEFT_OUT, "turns": evidence.turns_left_out})
    return kept


def entries_before(evidence: Iterable[Mapping[str, Any]]) -> set[int]:
    """Numbers of the lorebook's entries that earlier replies had."""
    found = [each.get("entries") for each in evidence if each.get("kind") == LORE]
    return {number for numbers in found if isinstance(numbers, list) for number in numbers if isinstance(number, int)}


def _keep_scene(memory: Memory) -> Kept:
    return {"kind": SCENE, "place": memory.place, "lines": [[turn.speaker, turn.text] for turn in memory.lines]}
