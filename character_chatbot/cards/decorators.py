"""Decorators: lines such as ``@@depth 4`` with which the content of a lorebook entry may start (V3).

``@@@name value`` right below another is its fallback: it counts where the one above is not known or not valid. Of two
with one name the first counts. What is not known here stays in the card and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

ROLES = ("assistant", "system", "user")
POSITIONS = ("after_desc", "before_desc", "personality", "scenario")
MAX_DECORATORS = 50

Value = bool | int | str | tuple[str, ...]


def _nothing(text: str) -> bool:
    return True  # a value behind it is not asked for


def _number(text: str) -> int:
    return int(text[:10])


def _count(text: str) -> int:
    number = _number(text)
    if number < 1:
        raise ValueError(text)
    return number


def _texts(text: str) -> tuple[str, ...]:
    texts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not texts:
        raise ValueError(text)
    return texts


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    return read


READERS: dict[str, Callable[[str], Value]] = {
    "activate": _nothing,
    "activate_only_after": _number,
    "activate_only_every": _count,
    "additional_keys": _texts,
    "depth": _number,
    "dont_activate": _nothing,
    "dont_activate_after_match": _nothing,
    "exclude_keys": _texts,
    "ignore_on_max_context": _nothing,
    "is_greeting": _number,
    "keep_activate_after_match": _nothing,
    "position": _one_of(*POSITIONS),
    "role": _one_of(*ROLES),
    "scan_depth": _number,
}


def split_decorators(content: str) -> tuple[dict[str, Value], str]:
    """The decorators that count, by name, and the content below them."""
    lines = content.split("\n")
    at, found, settled = 0, {}, False
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith("@@")):
        line = lines[at].strip()
        at += 1
        is_fallback = line.startswith("@@@")
        if not line or (is_fallback and settled) or at > MAX_DECORATORS:
            continue
        known = _read(line.lstrip("@"))
        settled = known is not None
        if known and known[0] not in found:
            found[known[0]] = known[1]
    return found, "\n".join(lines[at:]).strip()


def _read(line: str) -> tuple[str, Value] | None:
    name, _, text = line.partition(" ")
    try:
        return name, READERS[name](text.strip())
    except (KeyError, ValueError):
        return None
