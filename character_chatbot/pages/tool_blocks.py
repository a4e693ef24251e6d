"""Pieces of HTML for the tabs of tools. Whatever comes from a card, a visitor or a model is escaped: it stays text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from character_chatbot import markup
from character_chatbot.cards.card import Card
from character_chatbot.cards.lorebook import Book
from character_chatbot.chats.records import BOTH_BAD, LEFT, RIGHT, TIE
from character_chatbot.comparing.rounds import Round, Side, shown_name
from character_chatbot.comparing.vote_tally import PairTally, describe_pair
from character_chatbot.prompts import Turn

SHOWN_ENTRIES = 200
SHOWN_CHARACTERS = 600  # of an entry of a lorebook
SHOWN_TURNS = 12


def notes_block(notes: Iterable[str]) -> str:
    """Sentences about what was opened; empty where there is nothing to say."""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes" role="note">{items}</ul>' if items else ""


def done_line(text: str) -> str:
    """What was just done."""
    return f'<p class="done" role="status">{escape(text)}</p>'


def card_preview(card: Card | None) -> str:
    """What of a card has no box of its own: other greetings, who made it, its lorebook; empty without a card."""
    if card is None:
        return ""
    greetings = [*card.alternate_greetings, *card.group_greetings]
    quoted = "".join(f"<blockquote>{escape(text)}</blockquote>" for text in greetings if text)
    facts = [("Creator", card.creator), ("Version", card.character_version), ("Tags", ", ".join(card.tags))]
    facts += [("Creator's notes", card.creator_notes)]
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts if text)
    return (
        '<section class="card">'
        + (f"<h3>Other greetings</h3>{quoted}" if quoted else "")
        + (f"<dl>{rows}</dl>" if rows else "")
        + lorebook_block(card.book)
        + "</section>"
    )


def lorebook_block(book: Book | None) -> str:
    """The entries of a lorebook: keys and contents."""
    if book is None or not book.entries:
        return ""
    shown = book.entries[:SHOWN_ENTRIES]
    more = f", {len(shown)} of them shown" if len(shown) < len(book.entries) else ""
    rows = [(", ".join(each.keys) or "always", _cut(each.content), _state(each.enabled)) for each in shown]
    count = f"{len(book.entries):,} entr{'y' if len(book.entries) == 1 else 'ies'}"
    return markup.table(("Keys", "What joins the prompt", ""), rows, f"Lorebook: {count}{more}")


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _state(enabled: bool | None) -> str:
    return "" if enabled else "off"


def side_block(title: str, side: Side, now: Round, vote: str) -> str:
    """One of two replies; its name once that may be known."""
    name = shown_name(side, now)
    heading = f"{title}: {name}" if name else title
    chosen = " chosen" if now.vote and now.vote == vote else ""
    waits = now.message and side.waits and not side.problem and not now.stopped.is_set()
    text = escape(side.text.strip()) or ("…" if waits else "")
    problem = markup.problem_block(side.problem) if side.problem and side.key else ""
    return (
        f'<section class="side{chosen}" aria-label="{escape(title, quote=True)}"><h3>{escape(heading)}</h3>'
        f"<p>{text}</p>{problem}</section>"
    )


def said_block(turns: Sequence[Turn], now: Round) -> str:
    """The conversation so far, and the message that both reply to; their replies stand beside each other below."""
    before = turns[:-1] if now.vote and now.vote != BOTH_BAD else turns
    asked = [] if now.vote and now.vote != BOTH_BAD else [Turn(now.speaker, now.message)]
    shown = [*before, *(asked if now.message else [])][-SHOWN_TURNS:]
    items = "".join(f"<li><b>{escape(turn.speaker)}</b> {escape(turn.text)}</li>" for turn in shown)
    return f'<ol class="said" aria-label="Conversation so far">{items}</ol>' if items else ""


def verdict_line(now: Round) -> str:
    """What was voted, with the names."""
    words = {
        LEFT: f"The left one is better: {now.left.label}.",
        RIGHT: f"The right one is better: {now.right.label}.",
        TIE: "Equally good.",
        BOTH_BAD: "Both bad: neither goes into the conversation.",
    }
    return done_line(words[now.vote]) if now.vote else ""


def tally_block(pairs: Sequence[PairTally]) -> str:
    """All votes, pair by pair."""
    if not pairs:
        return markup.hint("No votes yet.")
    rows = [(each.first, each.first_wins, each.second, each.second_wins, each.ties, each.both_bad) for each in pairs]
    heading = ("One", "won", "Other", "won", "Equal", "Both bad")
    sentences = "".join(f"<li>{escape(describe_pair(each))}</li>" for each in pairs if each.decided)
    return markup.table(heading, rows, "Votes") + (f'<ul class="notes">{sentences}</ul>' if sentences else "")
