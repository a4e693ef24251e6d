"""Themes scored for the page: by which means, and the scores with all that the tab draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config import CONFIG_FILE_NAME, Settings
from dashboard.computing import Progress
from dashboard.source import AnalysisSource
from dashboard.statistics.speech import count_words
from theme_classifier.classifier import ThemeClassifier
from theme_classifier.models import LEXICAL, find_model
from theme_classifier.themes import choose_themes
from utils.announcements import Announcement, Announcements
from utils.errors import BaseModelError, DataError
from utils.hub import HubState, check_hub

if TYPE_CHECKING:
    import pandas as pd

    from theme_classifier.results import ThemeScores

MODEL = "model"
SEED_WORDS = "Seed words, at once"  # on the page
LONGEST_BOX = 1000  # characters of the box for own themes


@dataclass(frozen=True)
class ThemeView:
    """Scores and what is drawn of them. ``speakers``: speaker, theme, score. ``announcements``: steps down."""

    source: AnalysisSource
    scores: ThemeScores
    speakers: pd.DataFrame
    everybody: pd.Series
    announcements: list[Announcement] = field(default_factory=list)


def read_names(source: AnalysisSource) -> list[str]:
    """Names of the themes to choose from: the series' own, else the common ones. Raises DataError."""
    return [theme.name for theme in choose_themes((), source.folder)]


def read_own(text: str, most: int) -> list[str]:
    """Themes that a visitor has typed, parted by commas or lines.

    Raises:
        DataError: too many, or one that cannot be a theme.
    """
    names = [" ".join(part.split()) for part in text.replace("\n", ",").split(",")]
    names = join_themes([name for name in names if name], ())
    if len(text) > LONGEST_BOX or len(names) > most:
        raise DataError(
            f"{len(names)} own themes in {len(text):,} characters are too many.",
            instead=f"At most {most} themes in {LONGEST_BOX:,} characters can be typed in.",
        )
    choose_themes(names)
    return names


def join_themes(chosen: Sequence[str], own: Sequence[str]) -> list[str]:
    """Chosen and typed themes, each once whatever its case."""
    joined: dict[str, str] = {}
    for name in (*chosen, *own):
        joined.setdefault(name.casefold(), name)
    return list(joined.values())


def check_model(settings: Settings) -> str:
    """Why the model of the settings cannot be had now; empty: it can. May ask the hub, so not for the page's thread."""
    wanted = settings.themes.model
    if wanted == LEXICAL:
        return "themes.model is lexical"
    try:
        found = find_model(
            wanted, lambda: check_hub(settings.hub.reach_timeout_seconds), settings.secrets.hf_token.reveal()
        )
    except BaseModelError as error:
        return error.what
    return found.why if isinstance(found, HubState) else ""


def score_key(source: AnalysisSource, themes: Sequence[str], way: str, settings: Settings) -> str:
    """Changes with whatever changes the scores: lines, themes with their seed words, way, settings."""
    chosen = choose_themes(themes, source.folder)
    text = repr((source.key, chosen, way, settings.themes))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def score_themes(
    source: AnalysisSource,
    themes: Sequence[str],
    way: str,
    settings: Settings,
    progress: Progress,
    *,
    other_model: Callable[[str], str] | None = None,
) -> ThemeView:
    """Score everything. ``way``: ``LEXICAL``, or ``MODEL`` with seed words where it cannot be had, which is announced.

    ``other_model``: see ``ThemeClassifier``; default: what to do on the page.

    Raises:
        DataError: a theme that cannot be. BaseModelError: the model cannot be read. StoreError: the cache cannot.
    """
    told = Announcements()
    model = LEXICAL if way == LEXICAL else ""
    classifier = ThemeClassifier(
        themes, settings, model=model, folder=source.folder, announcements=told,
        other_model=other_model or other_model_of_page,
    )  # fmt: skip
    scores = classifier.score(source.lines, progress=progress)
    return ThemeView(source, scores, scores.by(["speaker"]), mean_by_theme(scores), list(told))


def other_model_of_page(model: str) -> str:
    """How to have another model on the page."""
    if model == LEXICAL:
        return f'choose "{SEED_WORDS}"'
    return f"set themes.model to {model} in {CONFIG_FILE_NAME}, then start the page again"


def mean_by_theme(scores: ThemeScores) -> pd.Series:
    """The score of each theme over all lines, weighted by their words, as that of a season is."""
    weights = count_words(scores.lines).clip(lower=1)
    return scores.line_scores.mul(weights, axis=0).sum() / max(int(weights.sum()), 1)
