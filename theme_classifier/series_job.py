"""The themes of one of many series, as a job that any worker can do: plain arguments in, plain values out.

A worker finds and loads the model once, for the first of its series.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from theme_classifier.classifier import COMMAND, ThemeClassifier
from utils.announcements import Announcements
from utils.retyping import retype
from utils.series_jobs import settings_of


def score_series(
    folder: str,
    out: str,
    plain: Mapping[str, object],
    names: Sequence[str],
    model: str,
    *,
    given: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the themes of the series in ``folder`` to ``out``, and give all scores. ``given``: what was typed.

    Raises:
        DataError: the folder cannot be read. BaseModelError, StoreError: as :meth:`ThemeClassifier.score`.
    """
    from utils.series import load_lines, open_series, spoken_lines

    series = open_series(Path(folder))
    first = _first_classifier(json.dumps(plain, sort_keys=True), model, tuple(given))
    classifier = first.for_series(names, series.folder)
    scores = classifier.score(spoken_lines(load_lines(series)[0]))
    scores.save(Path(out))
    line = f"{len(scores.scenes) // len(scores.themes)} scenes, by {scores.method}: {out}"
    result = {"title": series.title, **scores.to_dict()}
    return {"line": line, "said": [str(each) for each in classifier.announcements], "result": result}


@lru_cache(maxsize=1)
def _first_classifier(plain: str, model: str, given: tuple[str, ...]) -> ThemeClassifier:
    """What finds the model; the classifiers of all series share it."""
    return ThemeClassifier(
        (), settings_of(json.loads(plain)), model=model, announcements=Announcements(quiet=True),
        other_model=(lambda name: retype(COMMAND, given, ["--model", name])) if given else None,
    )  # fmt: skip
