"""Colours of communities, told apart by the colour-blind too (Okabe and Ito 2008). The last one is for all further
ones.
"""

from __future__ import annotations

LIGHT = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#8a94a0")
DARK = ("#4c9fd8", "#e69f00", "#2bc295", "#d990b8", "#8fd0f5", "#ee7a33", "#e3d84a", "#8a94a0")


def colour(community: int, palette: tuple[str, ...] = LIGHT) -> str:
    """The colour of a community; grey for those without one, and after the seventh."""
    return palette[community] if 0 <= community < len(palette) - 1 else palette[-1]
