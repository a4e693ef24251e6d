"""Texts inside a plot: escaped, because plotly reads some tags, and as short as there is place."""

from __future__ import annotations

import textwrap
from html import escape

LONGEST_NAME = 22


def plain(text: str) -> str:
    """A text that plotly shows as it is."""
    return escape(text, quote=False)


def short(name: str) -> str:
    """A name as it fits beside an axis."""
    return plain(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")


def wrap(text: str, width: int = 48) -> str:
    """A text for a hover label, with line breaks."""
    return "<br>".join(plain(part) for part in textwrap.wrap(text, width))
