"""The dates that SillyTavern's chats have had over the years, as seconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from character_chatbot.chats.fields import LATEST_SECONDS

# 2024-07-12@01h31m37s123ms, 2024-6-5 @14h 56m 50s 682ms
HUMANIZED = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2}) ?@(\d{1,2})h ?(\d{1,2})m ?(\d{1,2})s(?: ?(\d{1,3})ms)?")
MONTH_FIRST = ("%B %d, %Y %I:%M%p", "%B %d, %Y %I:%M %p")  # July 12, 2024 1:31pm


def read_date(value: Any, default: float) -> float:
    """Seconds since 1970 (times without a zone are taken for UTC); ``default`` where it is no date."""
    try:
        seconds = _read(value)
    except (ValueError, OverflowError, OSError):
        return default
    return seconds if seconds is not None and 0 <= seconds <= LATEST_SECONDS else default


def _read(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int | float) or value.strip().isdecimal():
        return float(value) / 1000
    found = HUMANIZED.fullmatch(value.strip())
    if found:
        year, month, day, hour, minute, second, thousandth = (int(part or 0) for part in found.groups())
        return datetime(year, month, day, hour, minute, second, thousandth * 1000, UTC).timestamp()
    for layout in MONTH_FIRST:
        try:
            return datetime.strptime(value.strip(), layout).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    moment = datetime.fromisoformat(value.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
