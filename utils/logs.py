"""Logging: sentences on standard error, everything with time and module in logs/, secrets in neither."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LARGEST_FILE_BYTES, KEPT_FILES = 5_000_000, 3
CLEAR_LINE = "\r\x1b[K"
QUIET = (
    "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "botocore", "boto3", "paramiko", "filelock", "matplotlib",
    "bm25s", "asyncio", "datasets",
)  # fmt: skip


class SecretFilter(logging.Filter):
    """Replaces secrets that a library or an error text has put into a message or a traceback."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        found = [re.escape(secret) for secret in secrets if len(secret) >= 4]
        self._pattern = re.compile("|".join([*found, r"hf_[A-Za-z0-9]{16,}"]))

    def hide(self, text: str) -> str:
        return self._pattern.sub("********", text)

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if self._pattern.search(message):
            record.msg, record.args = self.hide(message), ()
        if record.exc_info:
            record.exc_text = self.hide(record.exc_text or logging.Formatter().formatException(record.exc_info))
        return True


class ConsoleFormatter(logging.Formatter):
    """The bare sentence; warnings and errors say that they are. ``before``: written before each line."""

    def __init__(self, before: str = "") -> None:
        super().__init__()
        self._before = before

    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.capitalize()}: "
        return self._before + prefix + record.getMessage()


def hide_secrets(text: str) -> str:
    """``text`` with stars for what the log hides."""
    for handler in logging.getLogger().handlers:
        for hidden in handler.filters:
            if isinstance(hidden, SecretFilter):
                text = hidden.hide(text)
    return text


def set_up_logging(folder: Path, program: str, secrets: Iterable[str] = (), debug: bool = False) -> None:
    """Log to standard error and to ``<folder>/<program>.log``. A folder that cannot be written is said, not fatal."""
    hidden = SecretFilter(secrets)
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(ConsoleFormatter(CLEAR_LINE if sys.stderr.isatty() else ""))  # a line may be moving there
    console.setLevel(logging.DEBUG if debug else logging.INFO)
    handlers: list[logging.Handler] = [console]
    problem = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(folder / f"{program}.log", "a", LARGEST_FILE_BYTES, KEPT_FILES, "utf-8")
        file.setFormatter(logging.Formatter(FILE_FORMAT))
        handlers.append(file)
    except OSError as error:
        problem = f"no log file: {error}"
    for handler in handlers:
        handler.addFilter(hidden)
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=handlers, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    if not debug:
        warnings.simplefilter("ignore")  # those of libraries; tests turn them into errors
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if problem:
        logging.getLogger(__name__).warning("%s", problem)
