"""How far loading what answers has come: the loader writes it; page, /healthz, /metrics, log and terminal read it.

progress.begin(FETCHING, "Qwen/Qwen2.5-0.5B-Instruct", "from the hub")
progress.count(120_000_000, 988_000_000)             # where the loader counts itself
progress.begin(READING, "the weights", done=lambda: memory_of(process), total=2_400_000_000)     # or can be measured
progress.read().sentence                             # "reading the weights, 43%, 12 s"

Nothing runs for it: what is measured is measured when somebody looks.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from character_chatbot.status import seconds_text, size_text
from utils.errors import SuiteError
from utils.fetching import CHECKING, FETCHING, OnFetch
from utils.terminal import Terminal

logger = logging.getLogger(__name__)

SERIES, STARTING, READING, SCENES = "reading the series", "starting", "reading", "learning the scenes"
KINDS = (SERIES, STARTING, FETCHING, CHECKING, READING, SCENES)
TERMINAL_SECONDS = 0.5  # between two looks
ALMOST = 0.99  # what is not over is not whole, whatever an estimate says
WEIGHTS_BAR = "Loading weights"  # transformers' own name of it (core_model_loading.py)
DISK_BAR = "Reconstructing"  # huggingface_hub's (_snapshot_download.py)


class LoadStoppedError(SuiteError):
    """Nobody waits any more for what is being loaded."""


@dataclass(frozen=True)
class Stage:
    """What goes on.

    ``kind``: one of this module's words, which tell nothing of what is loaded. ``what``: of which things. ``share``:
    0 to 0.99, None: not known. ``seconds``: since it began. ``counted``: of how much, where that is known.
    """

    kind: str
    what: str
    seconds: float
    share: float | None = None
    counted: str = ""

    @property
    def title(self) -> str:
        """What goes on, which stays the same until the stage is over."""
        return f"{self.kind} {self.what}".rstrip()

    @property
    def figures(self) -> str:
        """How far it is; changes all the time."""
        share = f"{self.share:.0%}" if self.share is not None else ""
        return ", ".join(part for part in (self.counted, share, seconds_text(self.seconds)) if part)

    @property
    def sentence(self) -> str:
        return f"{self.title}, {self.figures}"


class LoadProgress:
    """Written by one loader, read by anybody.

    ``clock``: seconds, of any beginning. ``beside``: another one, with which this one is stopped.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, beside: LoadProgress | None = None) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._kind, self._what, self._began = SERIES, "", clock()
        self._done: Callable[[], float] | None = None
        self._total, self._is_bytes = 0.0, False
        self._load_began = self._began
        self._load_ended: float | None = None
        self._stopped: threading.Event = beside._stopped if beside else threading.Event()

    def start(self) -> None:
        """Loading begins now."""
        self._load_began, self._load_ended = self._clock(), None
        self.begin(SERIES)

    def begin(self, kind: str, what: str = "", *, done: Callable[[], float] | None = None, total: float = 0) -> None:
        """The next stage.

        Args:
            kind: a word of this module.
            what: is fetched, read, ….
            done: measures how much of ``total`` is done, when somebody looks; raises OSError where it cannot.
            total: in any unit; 0: not known.
        """
        with self._lock:
            self._kind, self._what, self._began = kind, what, self._clock()
            self._done, self._total, self._is_bytes = done, total, False
        logger.info("loading: %s", f"{kind} {what}".rstrip())

    def count(self, done: float, total: float, *, is_bytes: bool = False) -> None:
        """So much of the present stage is done. Raises LoadStoppedError: nobody waits for the rest."""
        if self._stopped.is_set():
            raise LoadStoppedError("loading was stopped.")
        with self._lock:
            self._done, self._total, self._is_bytes = lambda: done, total, is_bytes

    def end(self) -> None:
        """All is loaded, or nothing can be."""
        self._load_ended = self._clock()

    def stop(self) -> None:
        """The program ends: what is being fetched breaks off at its next bytes. Threads that fetch hold up an end."""
        self._stopped.set()

    @property
    def seconds(self) -> float:
        """Since loading began; how long it took, once it is over."""
        return (self._clock() if self._load_ended is None else self._load_ended) - self._load_began

    def read(self) -> Stage:
        """What goes on now."""
        with self._lock:
            kind, what, seconds = self._kind, self._what, self._clock() - self._began
            measure, total, is_bytes = self._done, self._total, self._is_bytes
        try:
            done = measure() if measure and total else None
        except OSError:  # the process that was measured has just ended
            done = None
        if done is None:
            return Stage(kind, what, seconds)
        counted = f"{size_text(done)} of {size_text(total)}" if is_bytes else ""
        return Stage(kind, what, seconds, min(max(done / total, 0.0), ALMOST), counted)


def tell_fetch(progress: LoadProgress, what: str, url: str) -> OnFetch:
    """What tells ``progress`` how far a fetch of ``what`` from the store at ``url`` is."""
    things = {FETCHING: f"{what} from {url}", CHECKING: what}

    def tell(step: str, done: int, total: int) -> None:
        if progress.read().title != f"{step} {things[step]}":
            progress.begin(step, things[step])
        progress.count(done, total, is_bytes=True)

    return tell


@contextmanager
def shown_in_terminal(progress: LoadProgress) -> Iterator[None]:
    """A line that moves while the block works; nothing where the output is no terminal."""
    over, terminal = threading.Event(), Terminal()

    def show() -> None:
        while not over.wait(TERMINAL_SECONDS):
            terminal.move(f"Loading: {progress.read().sentence}")

    showing = threading.Thread(target=show, name="progress", daemon=True)
    if sys.stderr.isatty():
        showing.start()
    try:
        yield
    finally:
        over.set()
        if showing.is_alive():
            showing.join()
        terminal.clear()


def download_bar(progress: LoadProgress) -> type[Any]:
    """A class of bars for huggingface_hub that tells the bytes on the disk of all there are, and shows nothing.

    A snapshot has a bar for bytes of the network, one for bytes on the disk ("Reconstructing") and one for files. Those
    on the disk count: part of them may have been there before. The total grows as files are looked up.
    """
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self._tells = str(options.get("desc")).startswith(DISK_BAR)
            super().__init__(*args, **(options | {"disable": True}))
            self.n: float = 0
            self.total = options.get("total")  # disabled, it has neither

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0  # two threads may lose a piece to each other: it is shown, not reckoned with
            if self._tells and self.total:
                progress.count(self.n, self.total, is_bytes=True)

    return Bar


@contextmanager
def counted_weights(progress: LoadProgress) -> Iterator[None]:
    """Counts the tensors that transformers reads meanwhile."""
    from transformers.utils import logging as transformers_logging

    def make(factory: Callable[..., Any], given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if options.get("desc") == WEIGHTS_BAR and given:
            return _counted(given[0], progress)
        return factory(*given, **options)

    before = transformers_logging.set_tqdm_hook(make)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(before)


def _counted(things: Iterable[Any], progress: LoadProgress) -> Iterator[Any]:
    listed = list(things)
    for number, thing in enumerate(listed):
        progress.count(number, len(listed))
        yield thing
