"""Where it happens: the location of each scene, from marks, labels and what is said.

    results = LocationClassifier(places).classify(lines)

From the shell:  python -m text_classification --data data/sample_series --out results/locations
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from text_classification.classifier import LocationClassifier
    from text_classification.labels import LabelStore
    from text_classification.uncertainty import most_uncertain

__all__ = ["LabelStore", "LocationClassifier", "most_uncertain"]
HOMES = {"LocationClassifier": "classifier", "LabelStore": "labels", "most_uncertain": "uncertainty"}


def __getattr__(name: str) -> Any:
    """Imported when first asked for: ``--help`` needs neither of them nor pandas."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
