"""Scores that were computed before, in one SQLite file: a second run is instant, a killed one loses one batch.

with ScoreCache(settings.paths.cache / FILE) as cache:
    key = cache.scorer("model@3f2a", "This text is about {}.", "int8")
    cache.put(key, [("It is over.", "Hope", (-1.2, 0.7))])
    cache.get(key, ["It is over."], "Hope")
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from utils.errors import StoreError

FILE = "themes.sqlite"
WAIT_SECONDS = 30.0  # for another process that writes
TABLES = """
CREATE TABLE IF NOT EXISTS scorers (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, template TEXT NOT NULL, precision TEXT NOT NULL,
    UNIQUE (model, template, precision)
);
CREATE TABLE IF NOT EXISTS scores (
    scorer INTEGER NOT NULL, theme TEXT NOT NULL, text TEXT NOT NULL, entailment REAL NOT NULL,
    contradiction REAL NOT NULL, PRIMARY KEY (scorer, theme, text)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS precision_checks (
    key TEXT PRIMARY KEY, precision TEXT NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
"""

Logits = tuple[float, float]  # of entailment and of contradiction


class ScoreCache:
    """Keeps no text, only its sum. What is put is on the disk when ``put`` returns.

    Raises:
        StoreError: from any call: the file cannot be opened, read or written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.expanduser()
        with self._errors():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # A page may ask from another thread than the one that opened it, one at a time.
            self._connection = sqlite3.connect(self._file, timeout=WAIT_SECONDS, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(TABLES)

    def __enter__(self) -> ScoreCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def scorer(self, model: str, template: str, precision: str) -> int:
        """The number of what scores; the same for the same three names."""
        names = (model, template, precision)
        with self._errors(), self._connection:
            self._connection.execute(
                "INSERT OR IGNORE INTO scorers (model, template, precision) VALUES (?, ?, ?)", names
            )
            question = "SELECT id FROM scorers WHERE model = ? AND template = ? AND precision = ?"
            return int(self._connection.execute(question, names).fetchone()[0])

    def get(self, scorer: int, texts: Sequence[str], theme: str) -> dict[str, Logits]:
        """What is known of these texts."""
        by_sum = {text_sum(text): text for text in texts}
        question = (
            "SELECT text, entailment, contradiction FROM scores"
            " WHERE scorer = ? AND theme = ? AND text IN (SELECT value FROM json_each(?))"
        )
        with self._errors():
            rows = self._connection.execute(question, (scorer, theme, json.dumps(list(by_sum))))
            return {by_sum[text]: (entailment, contradiction) for text, entailment, contradiction in rows}

    def put(self, scorer: int, rows: Iterable[tuple[str, str, Logits]]) -> None:
        """Keep rows of text, theme and logits."""
        values = [(scorer, theme, text_sum(text), *logits) for text, theme, logits in rows]
        with self._errors(), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", values)

    def precision(self, key: str) -> tuple[str, str] | None:
        """The precision that was found to be good enough for a model on a sample, and what was measured."""
        question = "SELECT precision, reason FROM precision_checks WHERE key = ?"
        with self._errors():
            row = self._connection.execute(question, (key,)).fetchone()
        return (str(row[0]), str(row[1])) if row else None

    def put_precision(self, key: str, precision: str, reason: str) -> None:
        with self._errors(), self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO precision_checks VALUES (?, ?, ?)", (key, precision, reason)
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the scores in {self._file} cannot be used: {error}.",
                remedies=[("Make it anew", f"rm {self._file}"), ("Or another place", "paths.cache in the settings")],
            ) from error


def text_sum(text: str) -> str:
    """32 hex digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
