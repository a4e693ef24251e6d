"""Scores themes by the best means there are: an NLI model, a single-pass label model, or seed words.

classifier = ThemeClassifier(["Hope", "Despair"], folder=Path("data/sample_series"))
classifier.score_texts(["We will find him."])       # a frame: a row for each text, a column for each theme
scores = classifier.score(lines)                    # of scenes, episodes and seasons
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from config import Settings
from theme_classifier.models import LEXICAL, ModelPlace, find_model
from theme_classifier.themes import Theme, choose_themes, without_seeds
from utils.announcements import Announcement, Announcements
from utils.errors import BaseModelError, UsageError, remedied
from utils.hub import HubState, check_hub
from utils.retyping import retype

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from theme_classifier.results import ThemeScores

logger = logging.getLogger(__name__)

FEATURE = "themes"
SEED_WORDS = "seed words"
COMMAND = "python -m theme_classifier"
RESULTS = "results/themes"  # of the command that is told, where nobody has named a folder
Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """What gives logits of entailment and contradiction, shape (texts, themes, 2)."""

    reason: str

    @property
    def method(self) -> str: ...

    def logits(
        self, texts: Sequence[str], themes: Sequence[str], progress: Progress | None = None
    ) -> NDArray[np.float64]: ...


class ThemeClassifier:
    """Cheap to make: a model is found at the first score, and loaded only for what the cache does not know.

    Args:
        themes: names; empty: those of the series' themes.json, else the common ones.
        settings: default: ``Settings()``.
        model: a repository, a folder, or ``lexical``; it must be had. Empty: ``settings.themes.model`` where it can be
            had, else seed words, which is announced.
        folder: series folder, whose themes.json gives seed words.
        announcements: hears of each step down.
        hub: asked whether the hub answers (default: :func:`utils.hub.check_hub`).
        other_model: tells how to have the model of a name instead, where this one fails; default: the command for a
            shell.

    Raises:
        DataError: no such theme can be, or a themes.json is not valid.
        UsageError: the hypothesis template has no single {}.
    """

    def __init__(
        self,
        themes: Sequence[str] = (),
        settings: Settings | None = None,
        *,
        model: str = "",
        folder: Path | None = None,
        announcements: Announcements | None = None,
        hub: Callable[[], HubState] | None = None,
        other_model: Callable[[str], str] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.themes: list[Theme] = choose_themes(themes, folder)
        self.announcements = announcements if announcements is not None else Announcements()
        self._wanted = model
        self._hub = hub or (lambda: check_hub(self.settings.hub.reach_timeout_seconds))
        self._other_model = other_model or self._command
        self._scorer: Scorer | None = None
        self._chosen = False
        _check_template(self.settings.themes.hypothesis_template)

    def for_series(self, themes: Sequence[str], folder: Path) -> ThemeClassifier:
        """Another series and other themes with the same model, which is found and loaded once for all.

        Raises:
            DataError: no such theme can be, or a themes.json is not valid. BaseModelError: as :meth:`score_texts`.
        """
        self._settle_scorer()
        other = ThemeClassifier(themes, self.settings, folder=folder, announcements=Announcements(quiet=True))
        other._scorer, other._chosen, other._other_model = self._scorer, True, self._other_model
        for announcement in self.announcements:
            other.announcements.add(announcement)
        return other

    @property
    def names(self) -> list[str]:
        return [theme.name for theme in self.themes]

    @property
    def method(self) -> str:
        """How scores are made, for people; known after the first ones."""
        if not self._chosen:
            return "not yet chosen"
        return self._scorer.method if self._scorer else SEED_WORDS

    def score_texts(self, texts: Sequence[str], progress: Progress | None = None) -> pd.DataFrame:
        """Scores between 0 and 1: a row for each text, a column for each theme.

        Args:
            progress: told (done, all) after each batch; what it raises stops the work, and what is done stays done.

        Raises:
            BaseModelError: the model that was asked for cannot be had. StoreError: the cache cannot be used.
        """
        import pandas as pd

        self._settle_scorer()
        if self._scorer is None:
            from theme_classifier.lexical import score_by_words

            return pd.DataFrame(score_by_words(list(texts), self.themes), columns=self.names)
        with remedied(BaseModelError, "Go without", self._other_model(LEXICAL)):
            logits = self._scorer.logits(list(texts), self.names, progress)
        return pd.DataFrame(to_scores(logits, self.settings.themes.multi_label), columns=self.names)

    def score(
        self, lines: pd.DataFrame, scenes: Sequence[int] | None = None, progress: Progress | None = None
    ) -> ThemeScores:
        """Scores of every line, scene, episode and season.

        Args:
            lines: a lines frame that has each episode once (:func:`utils.series.spoken_lines`).
            scenes: the scene of each line, found by other means; default: as the files mark them, and stretches of
                ``themes.scene_lines`` lines in episodes that mark none.

        Raises:
            BaseModelError, StoreError: as :meth:`score_texts`.
            ValueError: ``scenes`` has not one number for each line.
        """
        from theme_classifier.results import build_scores
        from utils.scenes import number_scenes

        lines, settings = lines.reset_index(drop=True), self.settings.themes
        notes = []
        if scenes is None:
            found, unmarked = number_scenes(lines, settings.scene_lines)
            numbers = found.tolist()
            if unmarked:
                notes.append(f"{unmarked} episodes mark no scenes: stretches of {settings.scene_lines} lines instead.")
        elif len(scenes) != len(lines):
            raise ValueError(f"{len(scenes)} scenes for {len(lines)} lines")
        else:
            numbers = list(scenes)
        scored = self.score_texts(lines["line"].tolist(), progress)
        notes += [self._scorer.reason] if self._scorer and self._scorer.reason else []
        notes += [str(announcement) for announcement in self.announcements]
        return build_scores(lines.assign(scene=numbers), scored, settings.top_lines, self.method, notes)

    def _settle_scorer(self) -> None:
        if not self._chosen:
            with remedied(BaseModelError, "Go without", self._other_model(LEXICAL)):
                self._scorer, self._chosen = self._choose_scorer(), True

    def _command(self, model: str) -> str:
        return retype(COMMAND, ["--data", str(self.settings.paths.data), "--out", RESULTS], ["--model", model])

    def _choose_scorer(self) -> Scorer | None:
        """What scores; None: seed words."""
        wanted = self._wanted or self.settings.themes.model
        if wanted == LEXICAL:
            self._tell_of_seeds()
            return None
        place = find_model(wanted, self._hub, self.settings.secrets.hf_token.reveal())
        if isinstance(place, HubState):
            self._step_down(wanted, place.why)
            return None
        return self._scorer_of(place)

    def _scorer_of(self, place: ModelPlace) -> Scorer | None:
        from theme_classifier.score_cache import FILE

        cache_file = self.settings.paths.cache / FILE
        if not place.single_pass:
            from theme_classifier.entailment import EntailmentScorer

            return EntailmentScorer(place, self.settings.themes, cache_file)
        from theme_classifier.single_pass import PACKAGE, SinglePassScorer, is_installed

        if not is_installed():
            self._step_down(place.name, f"the package {PACKAGE} is not installed", f"pip install {PACKAGE}")
            return None
        return SinglePassScorer(place, cache_file)

    def _step_down(self, wanted: str, why: str, remedy: str = "") -> None:
        """Go on with seed words, and say so. Raises BaseModelError: the model was asked for by name."""
        remedy = remedy or f"check the connection, or give a folder with the model: {self._other_model('FOLDER')}"
        if self._wanted:
            raise BaseModelError(f"theme model {wanted} cannot be had: {why}.", remedies=[("To have it", remedy)])
        got = f"{SEED_WORDS}, which see words and not what is meant"
        self.announcements.add(Announcement(FEATURE, wanted, got, why, remedy))
        self._tell_of_seeds()

    def _tell_of_seeds(self) -> None:
        if missing := without_seeds(self.themes):
            logger.warning("No seed words for %s: only the name itself counts. Give some in the series' themes.json.",
                           ", ".join(missing))  # fmt: skip


def _check_template(template: str) -> None:
    if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
        raise UsageError(
            f"themes.hypothesis_template is {template!r}; it needs {{}} once, where the theme goes.",
            instead='The default is "This text is about {}."',
        )


def to_scores(logits: NDArray[np.float64], multi_label: bool) -> NDArray[np.float64]:
    """Logits of shape (texts, themes, 2) to scores of shape (texts, themes), as transformers' zero-shot pipeline does.

    ``multi_label``, or one theme alone: entailment against contradiction. Else the entailments against each other.
    """
    import numpy as np

    if multi_label or logits.shape[1] == 1:
        margin: NDArray[np.float64] = logits[..., 0] - logits[..., 1]
        return 1.0 / (1.0 + np.exp(-margin))
    raised = np.exp(logits[..., 0] - logits[..., 0].max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares
