"""Colours of all pictures, told apart by the colour-blind too: Okabe and Ito's set (jfly.uni-koeln.de/color, 2008).

``LIGHT[n]`` and ``DARK[n]`` are one colour on a light and on a dark ground. The last of each is for all further ones.
"""

from __future__ import annotations

LIGHT = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#8a94a0")
DARK = ("#4c9fd8", "#e69f00", "#2bc295", "#d990b8", "#8fd0f5", "#ee7a33", "#e3d84a", "#8a94a0")

# From nothing to much: one hue, so that lightness alone tells the order.
LIGHT_SCALE = ("#f1f5f9", "#c4ddf0", "#86bbe0", "#3f8fc5", "#0f62a0", "#083a68")
DARK_SCALE = ("#232a31", "#1d4363", "#22679d", "#3f93cf", "#86c3ef", "#dcf0fd")

# From one side to the other, nothing in the middle: blue and orange, which no colour blindness confuses.
LIGHT_SIDES = ("#b34c00", "#eba25c", "#f1f5f9", "#6fafdc", "#00558a")
DARK_SIDES = ("#ff9a4d", "#a65a1e", "#232a31", "#2a72a8", "#7fc4f4")


def colour(community: int, palette: tuple[str, ...] = LIGHT) -> str:
    """The colour of a community; grey for those without one, and after the seventh."""
    return palette[community] if 0 <= community < len(palette) - 1 else palette[-1]
