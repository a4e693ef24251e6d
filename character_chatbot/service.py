"""What a page or a server keeps between messages: the source, loaded once in the background, and replies on their way.

service = Service(settings, find)
service.start()                                      # returns at once
reply = service.begin_reply("Kit", [Turn("Visitor", "Who are you?")])
while not reply.finished:
    text += reply.take()                             # never waits
reply.stop()                                         # the engine stops after the token at hand
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from character_chatbot.engines.base import build_sampling
from character_chatbot.prompts import Turn
from config import Settings
from utils.announcements import Announcements
from utils.errors import SuiteError, UsageError

if TYPE_CHECKING:
    from character_chatbot.corpus import Corpus
    from character_chatbot.engines.quotes import Quote
    from character_chatbot.sources import Source

logger = logging.getLogger(__name__)

LOADING, READY, FAILED = "loading", "ready", "failed"  # where a service stands
LONGEST_NAME_CHARACTERS = 40
DEFAULT_NAME = "Visitor"
SHOWN_QUOTES = 3
# So many pieces wait for each one shown: a reply that is there at once is written out fast, not dumped.
BACKLOG_PER_PIECE = 8


class Reply:
    """One reply on its way. A thread reads the engine, so that nobody who looks at it ever waits."""

    def __init__(self, open_stream: Callable[[], Iterator[str]]) -> None:
        self._open = open_stream
        self._pieces: list[str] = []
        self._taken = 0
        self._stopped, self._ended = threading.Event(), threading.Event()
        self.problem: SuiteError | None = None
        threading.Thread(target=self._read, name="reply", daemon=True).start()

    @property
    def finished(self) -> bool:
        """Nothing more comes."""
        return self._ended.is_set() and self._taken == len(self._pieces)

    @property
    def stopped(self) -> bool:
        """Somebody has stopped it."""
        return self._stopped.is_set()

    def take(self) -> str:
        """Some of what has come since, possibly nothing."""
        ahead = len(self._pieces) - self._taken
        if not ahead:
            return ""
        start, self._taken = self._taken, self._taken + 1 + ahead // BACKLOG_PER_PIECE
        return "".join(self._pieces[start : self._taken])

    def stop(self) -> None:
        """End the work behind it; silent if it has ended."""
        self._stopped.set()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the engine is done with it; whether it is."""
        return self._ended.wait(timeout_seconds)

    def _read(self) -> None:
        try:
            with contextlib.closing(_closeable(self._open())) as pieces:
                for piece in pieces:
                    if self._stopped.is_set():
                        break
                    self._pieces.append(piece)
        except SuiteError as error:
            self.problem = error
        except Exception as error:
            logger.exception("a reply failed")
            self.problem = SuiteError(f"the reply failed: {type(error).__name__}: {error}")
        finally:
            self._ended.set()


@dataclass(frozen=True)
class Exchange:
    """What a visitor said and what came back. ``rejected``: earlier replies to the same words."""

    speaker: str
    message: str
    reply: str = ""
    rejected: tuple[str, ...] = ()
    quotes: tuple[Quote, ...] = ()
    notice: str = ""  # why there is no reply, or no whole one
    on_its_way: Reply | None = field(default=None, compare=False, repr=False)

    @property
    def pending(self) -> bool:
        """Whether more of the reply is to come."""
        return self.on_its_way is not None and not (self.on_its_way.stopped or self.on_its_way.finished)


class Service:
    """The series and its source, loaded once by a thread of its own.

    Args:
        settings: of the program.
        find: gets the corpus (or None and why there is none) and the announcements; loads what answers.
        changed: called with the service before it loads and once it is ready or has failed.
    """

    def __init__(
        self,
        settings: Settings,
        find: Callable[[Corpus | None, str, Announcements], Source],
        changed: Callable[[Service], None] = lambda service: None,
    ) -> None:
        self.settings, self.announcements = settings, Announcements()
        self.corpus: Corpus | None = None
        self.no_corpus = "the series is being read"
        self._find, self._changed = find, changed
        self._source: Source | None = None
        self._problem: SuiteError | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Begin to load; returns at once."""
        self._changed(self)
        threading.Thread(target=self.load, name="load", daemon=True).start()

    def load(self) -> None:
        """Load the series and the source; a failure is kept for those who ask for the source."""
        try:
            from character_chatbot.corpus import read_corpus

            self.corpus, self.no_corpus = read_corpus(self.settings.paths.data)
            self._source = self._find(self.corpus, self.no_corpus, self.announcements)
            logger.info("speaking: %s", self._source.label)
        except SuiteError as error:
            self._problem = error
            logger.error("%s", error)
        except Exception as error:
            logger.exception("loading failed")
            self._problem = SuiteError(f"what answers could not be loaded: {type(error).__name__}: {error}")
        finally:
            self._ready.set()
            self._changed(self)

    @property
    def state(self) -> str:
        """``loading``, ``ready`` or ``failed``."""
        if self.loading:
            return LOADING
        return READY if self._source else FAILED

    @property
    def loading(self) -> bool:
        return not self._ready.is_set()

    @property
    def problem(self) -> SuiteError | None:
        """Why there is no source; None while it is loading, or where there is one."""
        return self._problem

    @property
    def source(self) -> Source:
        """What answers; waits while it is being loaded. Raises SuiteError: there is nothing."""
        self._ready.wait()
        if self._source is None:
            raise self._problem or SuiteError("nobody can answer.")
        return self._source

    @property
    def characters(self) -> tuple[str, ...]:
        """Whom one can talk to, as far as that is known by now."""
        if self._source:
            return self._source.characters
        return self.corpus.speakers(self.settings.dialogues.minimum_replies) if self.corpus else ()

    def begin_reply(self, character: str, history: Sequence[Exchange]) -> Reply:
        """A reply of ``character`` to the last message of ``history``.

        Raises:
            SuiteError: nobody can answer.
            UnknownCharacter: the source has no such character.
        """
        source = self.source
        name = source.cast.get(character).name
        turns = list_turns(name, history, source.rung == "quotes")
        return Reply(lambda: _stream(source, name, turns, self.settings))

    def find_quotes(self, character: str, history: Sequence[Exchange]) -> tuple[Quote, ...]:
        """The lines of the series behind a reply that is a quote, best first; empty on other rungs."""
        source = self.source
        if source.rung != "quotes":
            return ()
        name = source.cast.get(character).name
        said = [turn.text for turn in list_turns(name, history, True) if turn.speaker == name]
        found = source.engine(name).find(history[-1].message, SHOWN_QUOTES, unlike=said)  # type: ignore[attr-defined]
        return tuple(found)


def list_turns(character: str, history: Sequence[Exchange], with_rejected: bool) -> list[Turn]:
    """A conversation as turns, up to the message that waits for its reply.

    ``with_rejected``: rejected replies are turns as well, so that an engine which never repeats itself finds another.
    """
    turns: list[Turn] = []
    for exchange in history:
        replies = [*(exchange.rejected if with_rejected else ()), exchange.reply]
        if exchange is history[-1]:
            replies[-1] = ""
        for reply in replies:
            turns.append(Turn(exchange.speaker, exchange.message))
            turns += [Turn(character, reply)] if reply else []
    return turns


def take_back(history: Sequence[Exchange]) -> tuple[list[Exchange], str]:
    """The conversation without its last exchange, and what the visitor had said in it."""
    return list(history[:-1]), history[-1].message if history else ""


def ask_again(history: Sequence[Exchange]) -> list[Exchange]:
    """The conversation with the last message waiting for another reply. Raises UsageError: there is none."""
    if not history:
        raise UsageError("there is no message to reply to yet.")
    last = history[-1]
    rejected = (*last.rejected, last.reply) if last.reply else last.rejected
    return [*history[:-1], Exchange(last.speaker, last.message, rejected=rejected)]


def settle(history: Sequence[Exchange]) -> list[Exchange]:
    """The conversation after its reply was stopped, if one was on its way; what had come of it stays."""
    reply = history[-1].on_its_way if history else None
    if reply is None:
        return list(history)
    reply.stop()
    return [*history[:-1], replace(history[-1], on_its_way=None, notice="stopped")]


def read_name(text: str, character: str, source: Source) -> str:
    """Under which name a visitor speaks: one line, no colon, at most 40 characters.

    Raises:
        UsageError: it is a name of the character who is spoken to.
    """
    printable = "".join(sign if sign.isprintable() else " " for sign in text.replace(":", " "))
    name = " ".join(printable.split())[:LONGEST_NAME_CHARACTERS].strip() or DEFAULT_NAME
    if source.cast.resolve(name) == source.cast.resolve(character):
        raise UsageError(f"{name} cannot talk to themselves: speak as somebody else, or choose another character.")
    return name


def _stream(source: Source, character: str, turns: Sequence[Turn], settings: Settings) -> Iterator[str]:
    from character_chatbot.conversation import stream_reply

    return stream_reply(source, character, turns, build_sampling(settings.chat), settings.chat.history_turns)


def _closeable(pieces: Iterator[str]) -> Generator[str]:
    """A generator, whatever kind of iterator the engine gave."""
    try:
        yield from pieces
    finally:
        close = getattr(pieces, "close", None)
        if close:
            close()
