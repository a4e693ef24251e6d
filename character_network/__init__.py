"""Who belongs with whom: people under all their names, scenes, a network of three kinds of edges, and its pictures.

python -m character_network --data data/sample_series --out results/network
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from character_network.network import CharacterNetworkGenerator
    from character_network.recognizer import NamedEntityRecognizer

__all__ = ["CharacterNetworkGenerator", "NamedEntityRecognizer"]


def __getattr__(name: str) -> Any:
    """The two classes, imported when first asked for: ``--help`` needs neither them nor pandas."""
    homes = {"NamedEntityRecognizer": "recognizer", "CharacterNetworkGenerator": "network"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
