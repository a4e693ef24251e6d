"""What a page or a server keeps between messages: the source, loaded once in the background, and replies on their way.

service = Service(settings, find)
service.start()                                      # returns at once
reply = service.begin_answer("Kit", [Turn("Visitor", "Who are you?")], Sampling())
while not reply.finished:
    text += reply.take()                             # never waits
reply.stop()                                         # the engine stops after the token at hand
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from character_chatbot.engines.base import Sampling, build_sampling
from character_chatbot.load_progress import LoadProgress, LoadStoppedError
from character_chatbot.prompts import Turn
from config import Settings
from utils.announcements import Announcements
from utils.errors import SuiteError, UsageError
from utils.next_command import in_use

if TYPE_CHECKING:
    from character_chatbot.corpus import Corpus
    from character_chatbot.engines.base import Tally
    from character_chatbot.engines.fair_queue import FairQueue, Ticket
    from character_chatbot.engines.quotes import Quote
    from character_chatbot.replies.reply_stream import Evidence
    from character_chatbot.sources import Source

logger = logging.getLogger(__name__)

LOADING, READY, FAILED = "loading", "ready", "failed"  # where a service stands
LONGEST_NAME_CHARACTERS = 40
DEFAULT_NAME = "Visitor"
SHOWN_QUOTES = 3
# So many pieces wait for each one shown: a reply that is there at once is written out fast, not dumped.
BACKLOG_PER_PIECE = 8


class Reply:
    """One reply on its way. A thread reads the engine, so that nobody who looks at it ever waits.

    ``queue``: in which the engine lets replies wait, if it does. ``after``: gets the text once nobody waits for it.
    """

    def __init__(
        self,
        open_stream: Callable[[], Iterator[str]],
        queue: FairQueue | None = None,
        after: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._open, self._queue, self._after = open_stream, queue, after
        self._pieces: list[str] = []
        self._taken = 0
        self._stopped, self._ended = threading.Event(), threading.Event()
        self.prompted = threading.Event()  # its prompt was laid out, or cannot be
        self.problem: SuiteError | None = None
        self.evidence: Evidence | None = None  # what was in the prompt, once the engine is at work
        self.tally: Tally | None = None  # of a reply that has ended and is all that the engine drew
        self._thread = threading.Thread(target=self._read, name="reply", daemon=True)
        self._thread.start()

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

    def drain(self) -> str:
        """All that has come since."""
        start, self._taken = self._taken, len(self._pieces)
        return "".join(self._pieces[start : self._taken])

    def stop(self) -> None:
        """End the work behind it, or leave the queue; silent if it has ended."""
        self._stopped.set()
        ticket = self._ticket()
        if ticket:
            ticket.close()

    @property
    def place(self) -> int:
        """In the engine's queue: 1 is next; 0 once it is at work, or where nobody waits."""
        ticket = self._ticket()
        return ticket.place if ticket else 0

    @property
    def expected_wait_seconds(self) -> float | None:
        """Until the engine begins, by its last replies; None: not known."""
        ticket = self._ticket()
        return ticket.expected_wait_seconds if ticket else 0.0

    def _ticket(self) -> Ticket | None:
        return self._queue.find(self._thread.ident) if self._queue else None

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the engine is done with it; whether it is."""
        return self._ended.wait(timeout_seconds)

    def _read(self) -> None:
        try:
            stream = self._open()
            self.evidence = getattr(stream, "evidence", None)
            self.prompted.set()
            with contextlib.closing(_closeable(stream)) as pieces:
                for piece in pieces:
                    if self._stopped.is_set():
                        break
                    self._pieces.append(piece)
            self.tally = stream.tally if getattr(stream, "kept_whole", False) else None  # type: ignore[attr-defined]
        except SuiteError as error:
            self.problem = error
        except Exception as error:
            logger.exception("a reply failed")
            self.problem = SuiteError(f"the reply failed: {type(error).__name__}: {error}")
        finally:
            self._ended.set()
            self.prompted.set()
        if self._pieces:
            self._after("".join(self._pieces))


class Service:
    """The series and its source, loaded once by a thread of its own.

    Args:
        settings: of the program.
        find: gets the corpus (or None and why there is none) and the announcements; loads what answers.
        changed: called with the service before it loads and once it is ready or has failed.
        progress: that ``find`` writes, if it does.
    """

    def __init__(
        self,
        settings: Settings,
        find: Callable[[Corpus | None, str, Announcements], Source],
        changed: Callable[[Service], None] = lambda service: None,
        progress: LoadProgress | None = None,
    ) -> None:
        self.progress = progress or LoadProgress()
        self.settings, self.announcements = settings, Announcements(complete=in_use(settings))
        self.corpus: Corpus | None = None
        self.no_corpus = "the series is being read"
        self._find, self._changed = find, changed
        self._source: Source | None = None
        self._problem: SuiteError | None = None
        self._ready = threading.Event()
        self._replies: weakref.WeakSet[Reply] = weakref.WeakSet()

    def start(self) -> None:
        """Begin to load; returns at once."""
        self._changed(self)
        threading.Thread(target=self.load, name="load", daemon=True).start()

    def load(self) -> None:
        """Load the series and the source; a failure is kept for those who ask for the source."""
        self.progress.start()
        try:
            from character_chatbot.corpus import read_corpus

            self.corpus, self.no_corpus = read_corpus(self.settings.paths.data)
            self._source = self._find(self.corpus, self.no_corpus, self.announcements)
            logger.info("speaking: %s, loaded in %.1f s", self._source.label, self.progress.seconds)
        except LoadStoppedError as error:  # the program ends
            self._problem = error
        except SuiteError as error:
            self._problem = error
            logger.error("%s", error)
        except Exception as error:
            logger.exception("loading failed")
            self._problem = SuiteError(f"what answers could not be loaded: {type(error).__name__}: {error}")
        finally:
            self.progress.end()
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

    def begin_answer(
        self,
        character: str,
        turns: Sequence[Turn],
        sampling: Sampling,
        *,
        note: str = "",
        lore: Sequence[str] = (),
        beginning: str = "",
    ) -> Reply:
        """A reply of ``character`` to ``turns``, drawn as ``sampling`` says.

        Args:
            character: a name or alias.
            turns: all so far, the last one somebody else's.
            sampling: how it is drawn.
            note: what else the character is to know, for its system message.
            lore: entries of a lorebook for this message, most important first.
            beginning: how the reply begins, where one that is there already is to be gone on with.

        Raises:
            SuiteError: nobody can answer, or the character would talk to itself.
            UnknownCharacter: the source has no such character.
        """
        from character_chatbot.replies.conversation import stream_reply

        source = self.source
        name = source.cast.get(character).name
        turns_seen = self.settings.chat.history_turns
        reply = Reply(
            lambda: stream_reply(source, name, turns, sampling, turns_seen, lore=lore, note=note, beginning=beginning),
            getattr(source.engine(name), "queue", None),
            lambda text: self.expect_message(name, [*turns, Turn(name, beginning + text)], note=note),
        )
        self._replies.add(reply)
        return reply

    def expect_message(self, character: str, turns: Sequence[Turn] = (), *, note: str = "") -> None:
        """Somebody may soon say something to ``character``: what comes before it is read as soon as nobody waits.

        Silent where nothing is gained, while all is loaded, and for a character whom the source does not have.

        Args:
            character, note: as for :meth:`begin_answer`.
            turns: all turns so far.
        """
        from character_chatbot.replies.conversation import expect_message

        if self._source is not None:
            chat = self.settings.chat
            with contextlib.suppress(SuiteError):
                expect_message(self._source, character, turns, build_sampling(chat), chat.history_turns, note=note)

    @property
    def replies_in_flight(self) -> int:
        """How many replies wait or are written."""
        return sum(not reply.wait(0) for reply in tuple(self._replies))

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, by the model's tokenizer; by its length where nothing is loaded that has one."""
        return self.source.reader.counter.text(text)

    def find_quotes(self, character: str, message: str, said: Sequence[str]) -> tuple[Quote, ...]:
        """The lines of the series behind a reply that is a quote, the reply first; empty on other rungs.

        Args:
            character: who replied.
            message: to what.
            said: all that the character had said before.
        """
        source = self.source
        if source.rung != "quotes":
            return ()
        engine = source.engine(source.cast.get(character).name)
        return tuple(engine.find(message, SHOWN_QUOTES, unlike=said))  # type: ignore[attr-defined]

    def refresh_cast(self) -> None:
        """Take the characters as the files have them now, after one was edited or imported.

        Raises:
            DataError: characters.jsonl is not valid.
        """
        from character_chatbot.editing.current_cast import with_current_cast

        if self._source is not None:
            now = with_current_cast(self._source, self.corpus, self.settings.paths.data)
            self._source = replace(now.source, cards=now.cards)


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


def _closeable(pieces: Iterator[str]) -> Generator[str]:
    """A generator, whatever kind of iterator the engine gave."""
    try:
        yield from pieces
    finally:
        close = getattr(pieces, "close", None)
        if close:
            close()
