"""Patterns from strangers, run by RE2: time grows with the text and memory is bounded, whatever the pattern.

Python's ``re`` backtracks for hours on ``(a+)+$``, and compiling ``((a{1000}){1000}){1000}`` with ``regex`` takes all
the memory there is. RE2 knows no look-around and no back-references; a pattern with one is not valid, and by the
specification an entry with a pattern that is not valid does not match.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from typing import Protocol

logger = logging.getLogger(__name__)

MAX_PATTERN_CHARACTERS = 500
MAX_MEMORY_BYTES = 1 << 17  # of one compiled pattern
MAX_SEARCHED_CHARACTERS = 8_000  # the last ones of a text
MAX_SECONDS = 0.25  # for all patterns of one scan
MAX_BRACKETS = 50  # the only thing whose cost is not linear

SLASHED = re.compile(r"/((?:[^/\\]|\\.)+)/([gimsuy]*)", re.DOTALL)


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> object | None: ...


@functools.lru_cache(maxsize=1024)
def compile_pattern(pattern: str, case_sensitive: bool) -> Pattern | None:
    """The pattern, or None where it is not valid, too long, or RE2 is not installed."""
    if len(pattern) > MAX_PATTERN_CHARACTERS or pattern.count("(") > MAX_BRACKETS:
        return None
    try:
        import re2
    except ImportError:
        logger.warning("google-re2 is not installed: patterns in lorebooks match nothing")
        return None
    options = re2.Options()
    options.max_mem, options.log_errors, options.case_sensitive = MAX_MEMORY_BYTES, False, case_sensitive
    try:
        compiled: Pattern = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        logger.info("a lorebook has a pattern that is not valid here: %.60r", pattern)
        return None
    return compiled


def split_slashed(key: str) -> tuple[str, bool] | None:
    """The pattern of a key such as ``/clock|watch/i`` and whether case counts; None: the key is plain text."""
    found = SLASHED.fullmatch(key)
    if not found:
        return None
    flags = "".join(flag for flag in "ms" if flag in found[2])
    return (f"(?{flags})" if flags else "") + found[1].replace("\\/", "/"), "i" not in found[2]


class PatternSearch:
    """Looks for patterns until their time is up; from then on nothing is found."""

    def __init__(self, seconds: float = MAX_SECONDS) -> None:
        self.left = seconds

    def found(self, pattern: str, case_sensitive: bool, text: str) -> bool:
        """Whether the pattern is valid and in the last :data:`MAX_SEARCHED_CHARACTERS` of the text."""
        if self.left <= 0:
            return False
        start = time.perf_counter()
        compiled = compile_pattern(pattern, case_sensitive)
        searched = text[-MAX_SEARCHED_CHARACTERS:].encode("utf-8", "ignore").decode()  # RE2 takes no half surrogates
        hit = compiled is not None and compiled.search(searched) is not None
        self.left -= time.perf_counter() - start
        if self.left <= 0:
            logger.warning("the patterns of a lorebook took too long: the rest of them was not looked for")
        return hit
