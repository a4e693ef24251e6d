"""Words that end and open scenes in dialogue, for ``gap_features``."""

from __future__ import annotations

# Chosen by hand from what ends and opens scenes in dialogue; modern words beside old ones.
PARTING = frozenset(
    [
        "lets",
        "away",
        "go",
        "going",
        "come",
        "along",
        "farewell",
        "adieu",
        "goodbye",
        "bye",
        "goodnight",
        "haste",
        "hence",
        "till",
        "meet",
        "depart",
        "follow",
        "after",
        "lead",
        "tonight",
        "tomorrow",
        "must",
        "leave",
        "off",
        "out",
        "rest",
        "forward",
        "together",
        "hurry",
    ]
)
TOGETHER = frozenset(["we", "us", "our", "lets"])
ANSWERS = frozenset(
    [
        "ay",
        "yes",
        "yeah",
        "no",
        "nay",
        "and",
        "then",
        "but",
        "i",
        "o",
        "why",
        "because",
        "nor",
        "not",
        "tis",
        "thats",
        "well",
        "indeed",
        "okay",
        "ok",
        "sorry",
        "oh",
        "what",
        "thank",
        "thanks",
        "for",
        "to",
        "as",
        "whats",
        "pray",
        "faith",
    ]
)
OPENINGS = frozenset(
    [
        "now",
        "where",
        "wheres",
        "so",
        "these",
        "here",
        "come",
        "welcome",
        "this",
        "good",
        "morning",
        "hello",
        "hi",
        "hey",
        "how",
        "hows",
    ]
)
