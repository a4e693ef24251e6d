"""A conversation in the terminal: what the ``chat`` command reads and prints."""

from __future__ import annotations

import sys
from contextlib import suppress

from character_chatbot.engines.quotes import QuotesEngine
from character_chatbot.replies.conversation import Conversation
from character_chatbot.sources import Source
from utils.errors import UsageError


def converse(talk: Conversation) -> None:
    """Line by line, until an empty one or the end of the input; a refused message or a stopped reply ends nothing."""
    with suppress(ImportError):  # not on Windows; where it is, input() knows arrow keys and what was typed before
        import readline  # noqa: F401
    print(f"You talk to {talk.character}. An empty line or Ctrl-D ends it, Ctrl-C stops a reply.", file=sys.stderr)
    while True:
        try:
            message = input(f"{talk.speaker}: ")
        except EOFError:
            return
        if not message.strip():
            return
        try:
            print_reply(talk, message)
        except UsageError as error:
            print(error, file=sys.stderr)
        except KeyboardInterrupt:  # in the middle of a reply: it ends, the conversation goes on
            print()


def print_reply(talk: Conversation, message: str) -> None:
    """Print a reply as it comes, and where it is said if it is a quote."""
    pieces = talk.say(message)
    first = next(pieces, "")  # so that a refused message prints no name
    print(f"{talk.character}: {first}", end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    if talk.turns:
        _print_place(talk.source, talk.character, talk.turns[-1].text)


def _print_place(source: Source, character: str, said: str) -> None:
    """Where a quoted line is said; nothing for other engines."""
    engine = source.engine(character)
    if isinstance(engine, QuotesEngine):
        quote = engine.locate(said)
        if quote:
            before = f", after {quote.said_before}" if quote.said_before else ""
            print(f"  ({quote.place}{before})")
