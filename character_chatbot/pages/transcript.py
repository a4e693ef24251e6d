"""The messages of a conversation as HTML. Every text in it is escaped: markup that somebody typed is shown as typed.

Buttons have ``data-act``, and ``data-id`` with the id of their message; pages/chat.js tells the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from character_chatbot.acts.evidence import LEFT_OUT, LORE, QUOTE, SCENE
from character_chatbot.chats.records import CHARACTER, DONE, DOWN, NOTE, STOPPED, UP, USER, Message
from character_chatbot.markup import initials, portrait_colour

EMPTY = '<p class="empty">Say something to begin.</p>'
# *smiles*: what is done, not said; **loud** is stressed; a lone asterisk, or one with a space inside, is just that
STRESSED = re.compile(r"(?<!\*)(\*\*?)(?![\s*])([^*\n]*[^*\s])\1(?!\*)")
THUMB = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 10v11H3V10h4zm3 11h7.4c.9 0 1.7-.6 1.9-1.5l1.6-6.6'
    'c.3-1.3-.6-2.4-1.9-2.4H14l.8-4.2c.2-1.2-.6-2.3-1.8-2.3h-.4L9 10.4V20c0 .6.4 1 1 1z"/></svg>'
)


def transcript(
    path: Sequence[Message], shown: int, *, busy: bool = False, found: int | None = None
) -> str:  # fmt: skip
    """The last messages of a conversation.

    Args:
        path: all of its messages.
        shown: how many.
        busy: a reply is on its way: nothing can be changed now.
        found: id of a message to scroll to.
    """
    if not path and not busy:
        return EMPTY
    earlier = max(0, len(path) - shown)
    rows = [
        message_block(each, number + 1, last=number + 1 == len(path) and not busy, busy=busy, found=each.id == found)
        for number, each in enumerate(path)
        if number >= earlier
    ]
    more = f'<button class="earlier" data-act="earlier">Show earlier messages ({earlier:,})</button>' if earlier else ""
    # Shown anew as a whole each time: chat.js has the last reply read out, and only that.
    return f'<div role="log" aria-live="off" aria-label="Conversation">{more}{"".join(rows)}</div>'


def message_block(message: Message, number: int, *, last: bool, busy: bool, found: bool) -> str:
    """One message with what can be done about it."""
    kind = {USER: "user", CHARACTER: "bot", NOTE: "note"}[message.role]
    portrait = portrait_block(message.speaker) if kind == "bot" else ""
    text = f'<p class="text" data-testid="{kind}">{shown_text(message.text)}</p>' if message.text else ""
    tools = "" if busy or kind == "note" else _tools(message, last)
    classes = f"message {kind}" + (" last" if last else "") + (" found" if found else "")
    who = escape(message.speaker)
    return (
        f'<article class="{classes}" data-id="{message.id}" aria-label="Message {number}, {escape(who, quote=True)}">'
        f'{portrait}<div class="bubble"><b class="speaker">{who}</b>{text}{_state(message)}</div>'
        f"{tools}{evidence_block(message.evidence, last)}</article>"
    )


def live_block(speaker: str, text: str, place: int = 0, wait_seconds: float | None = None) -> str:
    """A reply that is being written, or waits for the engine: then its place in the queue."""
    if text:
        said = f'<p class="text" data-testid="live">{shown_text(text)}</p>'
    elif place:
        said = f'<p class="state" role="status">{queue_line(place, wait_seconds)}</p>'
    else:
        said = '<p class="typing" aria-label="is writing"><i></i><i></i><i></i></p>'
    return (
        f'<article class="message bot writing" aria-busy="true" aria-live="off">{portrait_block(speaker)}'
        f'<div class="bubble"><b class="speaker">{escape(speaker)}</b>{said}</div></article>'
    )


def queue_line(place: int, wait_seconds: float | None) -> str:
    """For people: ``Place 2, about 12 s``."""
    return f"Place {place:,} in the queue" + (f", about {max(1, round(wait_seconds)):,} s" if wait_seconds else "")


def portrait_block(name: str) -> str:
    """The initials of a character on its colour."""
    style = f"background:{portrait_colour(name)}"
    return f'<span class="portrait" style="{style}" aria-hidden="true">{escape(initials(name))}</span>'


def shown_text(text: str) -> str:
    """Text that stays text; what is done or stressed between asterisks is set apart, asterisks included."""

    def set_apart(found: re.Match[str]) -> str:
        tag = "em" if found[1] == "*" else "strong"
        return f"<{tag}>{found[0]}</{tag}>"

    return STRESSED.sub(set_apart, escape(text, quote=False))


def evidence_block(evidence: Sequence[Mapping[str, Any]], opened: bool = False) -> str:
    """What a reply rests on; quotes are open below the last reply, all else has to be asked for."""
    found = {(each.get("place"), each.get("text")): each for each in evidence if each.get("kind") == QUOTE}
    quotes = list(found.values())  # a reply that was continued may have one twice
    parts = [_quotes(quotes)] if quotes else []
    parts += [_scene(each) for each in evidence if each.get("kind") == SCENE]
    parts += [_lore(each) for each in evidence if each.get("kind") == LORE]
    parts += [f"<p>{_left_out(each)}</p>" for each in evidence if each.get("kind") == LEFT_OUT]
    if not parts:
        return ""
    is_open = " open" if quotes and opened else ""
    return f'<details class="evidence"{is_open}><summary>{_summary(evidence)}</summary>{"".join(parts)}</details>'


def _summary(evidence: Sequence[Mapping[str, Any]]) -> str:
    if any(each.get("kind") == QUOTE for each in evidence):
        return "Where this is said"
    scenes = sum(each.get("kind") == SCENE for each in evidence)
    entries = sum(len(_list(each.get("texts"))) for each in evidence if each.get("kind") == LORE)
    told = [f"{scenes} scene{'s' * (scenes != 1)} remembered"] if scenes else []
    told += [f"{entries} thing{'s' * (entries != 1)} known"] if entries else []
    told += [_left_out(each) for each in evidence if each.get("kind") == LEFT_OUT]
    return ", ".join(told)


def _quotes(quotes: Sequence[Mapping[str, Any]]) -> str:
    """The line that the reply is; others that fit are a click away."""
    first, *others = map(_quote, quotes)
    more = f"{len(others)} other line{'s' * (len(others) != 1)} that fit{'s' * (len(others) == 1)}"
    rest = f'<details><summary>{more}</summary><ol class="quotes">{"".join(others)}</ol></details>' if others else ""
    return f'<ol class="quotes">{first}</ol>{rest}'


def _quote(quote: Mapping[str, Any]) -> str:
    before = f"<p class='before'>{_escape(quote['before'])}</p>" if quote.get("before") else ""
    return f"<li><cite>{_escape(quote.get('place'))}</cite>{before}<p>{_escape(quote.get('text'))}</p></li>"


def _scene(scene: Mapping[str, Any]) -> str:
    lines = [each for each in _list(scene.get("lines")) if isinstance(each, list) and len(each) == 2]
    said = "".join(f"<p><b>{_escape(speaker)}:</b> {_escape(text)}</p>" for speaker, text in lines)
    return f'<div class="scene"><cite>{_escape(scene.get("place"))}</cite>{said}</div>'


def _lore(lore: Mapping[str, Any]) -> str:
    texts = "".join(f"<p>{_escape(text)}</p>" for text in _list(lore.get("texts")))
    return f'<div class="scene"><cite>Lorebook</cite>{texts}</div>'


def _left_out(each: Mapping[str, Any]) -> str:
    turns = each.get("turns")
    one = turns == 1
    return f"{_escape(turns)} older turn{'' if one else 's'} {'is' if one else 'are'} left out"


def _state(message: Message) -> str:
    if message.state == DONE:
        return ""
    why = "stopped" if message.state == STOPPED else str(message.extra.get("problem") or "failed")
    return f'<p class="state">{escape(f"({why})")}</p>'


def _tools(message: Message, last: bool) -> str:
    """What can be done about a message."""
    buttons = _swipe(message) if message.alternatives > 1 else ""
    if message.role == CHARACTER:
        buttons += _thumb(message, UP, "Good reply") + _thumb(message, DOWN, "Bad reply")
    buttons += _button(message, "edit", "Edit", "Edit this message")
    buttons += _button(message, "branch", "Branch", "New conversation that begins with this message and all before it")
    return f'<div class="tools" role="group" aria-label="About this message">{buttons}</div>'


def _swipe(message: Message) -> str:
    at, of = message.alternative + 1, message.alternatives
    left = _button(message, "left", "◀", "Previous alternative", disabled=at == 1)
    right = _button(message, "right", "▶", "Next alternative", disabled=at == of)
    return f'{left}<span class="count" aria-label="Alternative {at} of {of}">{at}/{of}</span>{right}'


def _thumb(message: Message, rating: str, label: str) -> str:
    pressed = "true" if message.rating == rating else "false"
    return (
        f'<button class="thumb {rating}" data-act="{rating}" data-id="{message.id}" aria-pressed="{pressed}"'
        f' aria-label="{label}" title="{label}">{THUMB}</button>'
    )


def _button(message: Message, act: str, text: str, label: str, disabled: bool = False) -> str:
    off = " disabled" if disabled else ""
    role = f' data-role="{message.role}"' if act == "edit" else ""
    what = f'data-act="{act}" data-id="{message.id}"{role} aria-label="{label}" title="{label}"{off}'
    return f"<button {what}>{text}</button>"


def _escape(value: object) -> str:
    return escape(str(value)) if value is not None else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
