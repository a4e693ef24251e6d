"""Tells where scenes take place, by the best means there are.

classifier = LocationClassifier(load_places(folder / "locations.jsonl"), settings)
results = classifier.classify(lines, LabelStore(file).list())
classifier.evaluate(lines, labels).table()
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from config import Settings
from text_classification.base_models import find_base
from text_classification.contract import AUTO, DISTILBERT, MAJORITY, MENTIONS, TFIDF
from text_classification.labels import Label, match_labels
from text_classification.scene_texts import Key, Scene, build_scenes
from utils.announcements import Announcement, Announcements
from utils.errors import BaseModelError, DataError, remedied
from utils.hub import HubState, check_hub
from utils.places import EXAMPLE, Places, load_places
from utils.retyping import retype

if TYPE_CHECKING:
    import pandas as pd

    from text_classification.calibration import Calibrated
    from text_classification.evaluation import Evaluation, Fit
    from text_classification.results import LocationResults

logger = logging.getLogger(__name__)

FEATURE = "locations"
COMMAND = "python -m text_classification"
METHODS = {
    MAJORITY: "the place with the most labels",
    MENTIONS: "the places that are named",
    TFIDF: "TF-IDF with logistic regression",
    DISTILBERT: "a DistilBERT",
}
RESULTS = Path("results/locations")  # of the commands that are told, where nobody has named a folder


@dataclass(frozen=True)
class _Known:
    """Scenes of a series, and the place of those that are known."""

    scenes: list[Scene]
    places: dict[int, tuple[str, str]]  # number in scenes: place, source
    lost: list[str]  # labels that fit no scene

    @property
    def numbers(self) -> list[int]:
        return sorted(self.places)

    @property
    def training(self) -> tuple[list[str], list[str], list[object]]:
        """Texts, places and episodes of the known scenes."""
        chosen = [self.scenes[at] for at in self.numbers]
        episodes: list[object] = [(scene.season, scene.episode) for scene in chosen]
        return [scene.text for scene in chosen], [self.places[at][0] for at in self.numbers], episodes


class LocationClassifier:
    """Cheap to make; a model is fitted at the first answer.

    Args:
        locations: the places of the series, or their file; None: those that are marked or labelled.
        settings: default: ``Settings()``.
        model: ``majority``, ``mentions``, ``tfidf``, ``distilbert`` or a folder with a trained model or a base; it must
            be had. Empty: ``settings.locations.model``, and what can be had, which is announced.
        trained: folder where ``auto`` looks for a trained DistilBERT, and where a new one is kept.
        resolve: the name of a speaker (``Cast.resolve``).
        announcements: hears of each step down.
        hub: asked whether the hub answers (default: :func:`utils.hub.check_hub`).
        other_model: tells how to have the model of a name instead, where this one fails; default: the command for a
            shell.

    Raises:
        DataError: the file of places is not valid.
    """

    def __init__(
        self,
        locations: Places | Path | None = None,
        settings: Settings | None = None,
        *,
        model: str = "",
        trained: Path | None = None,
        resolve: Callable[[str], str] = str,
        announcements: Announcements | None = None,
        hub: Callable[[], HubState] | None = None,
        other_model: Callable[[str], str] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.places = load_places(locations) if isinstance(locations, Path) else locations or Places()
        self.announcements = announcements if announcements is not None else Announcements()
        self._wanted, self._trained, self._resolve = model, trained, resolve
        self._other_model = other_model or (lambda name: self._command("--model", name))
        self._hub = hub or (lambda: check_hub(self.settings.hub.reach_timeout_seconds))

    def classify(self, lines: pd.DataFrame, labels: Iterable[Label] = ()) -> LocationResults:
        """The location of every scene.

        Args:
            lines: a lines frame that has each episode once (:func:`utils.series.spoken_lines`).
            labels: where people say that scenes are; they win over the marks of the file.

        Raises:
            BaseModelError: the model that was asked for cannot be had.
            DataError: it needs labels of two places, and there are none.
        """
        import numpy as np

        from text_classification.contract import align
        from text_classification.results import build_results

        known = self._gather(lines, labels)
        with remedied(BaseModelError, "Go without", self._other_model(TFIDF)):
            kind = self._choose(known)
            fitted = self._fit(kind, *known.training)
        placed = {place for place, _ in known.places.values()}
        places = sorted({*self.places.names, *placed, *fitted.classes})
        shares = np.zeros((len(known.scenes), len(places)))
        asked = [at for at in range(len(known.scenes)) if at not in known.places]
        if asked and fitted.classes:
            found = fitted.predict_proba([known.scenes[at].text for at in asked])
            shares[asked] = align(found, fitted.classes, places)
        notes = [*self._notes(known), *fitted.notes, *map(str, self.announcements)]
        method, threshold = METHODS.get(kind, METHODS[DISTILBERT]), self.settings.locations.least_probability
        return build_results(
            known.scenes, known.places, shares, places, threshold=threshold, method=method, notes=notes
        )

    def evaluate(self, lines: pd.DataFrame, labels: Iterable[Label] = (), more: Sequence[str] = ()) -> Evaluation:
        """How good the model is on held-out episodes, beside the base line and the majority class.

        A DistilBERT that is there already is trained anew from its base for each fold, as it knows these episodes.

        Args:
            more: other models to put beside: ``tfidf``, ``tfidf+mentions``, ``tfidf-speakers``.

        Raises:
            DataError: fewer than two episodes have known places. BaseModelError: as :meth:`classify`.
        """
        from text_classification.evaluation import evaluate

        known = self._gather(lines, labels)
        texts, truth, episodes = known.training
        if len(set(episodes)) < 2 or len(set(truth)) < 2:
            raise DataError(
                f"nothing to evaluate on: {len(texts)} scenes in {len(set(episodes))} episodes have a known place.",
                instead="Two episodes at least, and two places.",
                remedies=[
                    ("See which to label", self._command("--label-next", "10")),
                    ("Then", self._command("--labels", "FILE.csv", "--evaluate")),
                    ("Or mark them", "a column location in the transcripts"),
                ],
            )
        settings = self.settings.locations
        with remedied(BaseModelError, "Go without", self._other_model(TFIDF)):
            chosen = self._choose(known)
            kinds = {chosen if chosen in METHODS else DISTILBERT: chosen}
            kinds |= {kind: kind for kind in (*more, MENTIONS, MAJORITY) if kind not in kinds}
            fits: dict[str, Fit] = {name: self._fit_of(kind) for name, kind in kinds.items()}
            return evaluate(
                fits, [known.scenes[at] for at in known.numbers], truth, threshold=settings.least_probability,
                folds=settings.folds, resamples=settings.resamples, seed=settings.seed,
            )  # fmt: skip

    def _gather(self, lines: pd.DataFrame, labels: Iterable[Label]) -> _Known:
        from text_classification.results import LABELLED, MARKED

        scenes, _ = build_scenes(
            lines.reset_index(drop=True), self.places, self.settings.locations.scene_lines, self._resolve
        )
        labelled, lost = match_labels(labels, scenes)
        found: dict[int, tuple[str, str]] = {}
        for at, scene in enumerate(scenes):
            key: Key = scene.key
            if key in labelled:
                found[at] = self.places.resolve(labelled[key]), LABELLED
            elif scene.location:
                found[at] = scene.location, MARKED
        return _Known(scenes, found, lost)

    def _notes(self, known: _Known) -> list[str]:
        stretches = len({scene.key[:2] for scene in known.scenes if not scene.marked})
        length = self.settings.locations.scene_lines
        cut = f"{stretches} episodes mark no scenes: stretches of {length} lines instead."
        told = f"{len(known.places)} of {len(known.scenes)} scenes have a known place."
        notes = [told, *([cut] if stretches else []), *known.lost]
        if not len(self.places) and not known.places:
            notes.append(f"There are no places to choose from: list them in locations.jsonl, one a row, like {EXAMPLE}")
        return notes

    def _choose(self, known: _Known) -> str:
        """Which model answers: one of METHODS, or the folder of a trained model or a base."""
        from text_classification.fine_tuning import is_trained

        wanted = self._wanted or self.settings.locations.model
        if wanted in (MENTIONS, MAJORITY) or (wanted not in (AUTO, *METHODS) and is_trained(Path(wanted))):
            return wanted
        if wanted == AUTO and self._trained and is_trained(self._trained):
            logger.info("Locations by the DistilBERT in %s, trained before.", self._trained)
            return str(self._trained)
        if (reason := self._too_few(known)) is not None:
            return self._without_labels(wanted, reason)
        if wanted in (TFIDF, AUTO):
            if wanted == AUTO:
                self._step_down("a trained DistilBERT", TFIDF, "none has been trained here", self._train_remedy())
            return TFIDF
        name = self.settings.locations.base if wanted == DISTILBERT else wanted
        base = find_base(name, self._hub, self.settings.secrets.hf_token.reveal())
        if not isinstance(base, HubState):
            return wanted
        if self._wanted:
            raise BaseModelError(
                f"{name} cannot be had: {base.why}.",
                instead=f"Models are {', '.join(METHODS)}, a folder, or a repository of the hub.",
                remedies=[("To have it", self._connect())],
            )
        self._step_down("a DistilBERT", TFIDF, base.why, self._connect())
        return TFIDF

    def _too_few(self, known: _Known) -> str | None:
        """Why nothing can be learnt; None where it can."""
        places, least = {place for place, _ in known.places.values()}, self.settings.locations.minimum_labels
        if len(known.places) < least:
            return f"{len(known.places)} scenes have a known place, and {least} are needed (locations.minimum_labels)"
        return "all known scenes are at one place" if len(places) < 2 else None

    def _without_labels(self, wanted: str, reason: str) -> str:
        if self._wanted:
            raise DataError(
                f"{wanted} cannot learn: {reason}.",
                remedies=[
                    ("Label", self._command("--label-next", "10")),
                    ("Or go by names of places", self._other_model(MENTIONS)),
                ],
            )
        remedy = f"{self._command('--label-next', '10')} shows scenes to label; {self._command('--labels', 'FILE.csv')}"
        remedy += " reads the labels"
        self._step_down("a trained model" if wanted == AUTO else METHODS.get(wanted, wanted), MENTIONS, reason, remedy)
        return MENTIONS

    def _connect(self) -> str:
        return f"check the connection, or give a folder with the base: {self._other_model('FOLDER')}"

    def _command(self, *flags: str) -> str:
        """A command to type for the series of the settings."""
        out = self._trained.parent if self._trained else RESULTS
        return retype(COMMAND, ["--data", str(self.settings.paths.data), "--out", str(out)], flags)

    def _train_remedy(self) -> str:
        """How to have a trained model; only the command itself finds it in its folder of results by itself."""
        command = self._command("--model", DISTILBERT)
        return command if self._trained else f"{command}; then set locations.model to {RESULTS / 'model'}"

    def _step_down(self, wanted: str, got: str, why: str, remedy: str) -> None:
        self.announcements.add(Announcement(FEATURE, wanted, METHODS[got], why, remedy))

    def _fit_of(self, kind: str) -> Fit:
        return lambda texts, places, episodes: self._fit(kind, texts, places, episodes, keep=False)

    def _fit(
        self, kind: str, texts: Sequence[str], labels: Sequence[str], groups: Sequence[object], keep: bool = True
    ) -> Calibrated:
        """A model of this kind, fitted and calibrated. ``keep``: a new DistilBERT is saved."""
        from text_classification.calibration import Calibrated, fit_calibrated
        from text_classification.fine_tuning import is_trained, load_trained
        from text_classification.majority import MajorityClassifier
        from text_classification.mentions import MentionClassifier
        from text_classification.tfidf import STRENGTHS, TfidfClassifier

        folds = self.settings.locations.inner_folds
        if kind == MAJORITY:
            return fit_calibrated([MajorityClassifier], texts, labels, groups, folds)
        if kind == MENTIONS:
            if not texts:
                return Calibrated(MentionClassifier(self.places))
            return fit_calibrated([lambda: MentionClassifier(self.places)], texts, labels, groups, folds)
        if kind.startswith(TFIDF):
            mentions = self.places if "+mentions" in kind else None
            speakers = "-speakers" not in kind
            shared = TfidfClassifier(STRENGTHS[0], mentions, speakers).share()
            makers = [partial(TfidfClassifier, each, mentions, speakers, shared) for each in STRENGTHS]
            return fit_calibrated(makers, texts, labels, groups, folds)
        if kind != DISTILBERT and is_trained(Path(kind)) and keep:
            return load_trained(Path(kind), self.settings.locations)
        return self._fine_tune(kind, texts, labels, groups, keep)

    def _fine_tune(
        self, kind: str, texts: Sequence[str], labels: Sequence[str], groups: Sequence[object], keep: bool
    ) -> Calibrated:
        from text_classification.fine_tuning import FineTunedClassifier

        name, base = self._untrained(kind)
        model = FineTunedClassifier(base, self.settings.locations, str(base) if Path(name).exists() else name)
        model.fit(texts, labels, None, groups)
        fitted = model.calibrated()
        if keep and self._trained:
            model.save(self._trained, fitted.temperature)
            fitted.notes.append(f"The model is kept in {self._trained}; later runs use it: --model {self._trained}")
        return fitted

    def _untrained(self, kind: str) -> tuple[str, Path]:
        """The base to train, its name and folder; of a model that is trained already, the one that it began with.

        Raises:
            BaseModelError: it cannot be had.
        """
        from text_classification.fine_tuning import base_of

        wanted = self.settings.locations.base if kind == DISTILBERT else kind
        name = base_of(Path(wanted)) or wanted
        what = name if name == wanted else f"{wanted} knows these scenes already, and its base {name}"
        try:
            base = find_base(name, self._hub, self.settings.secrets.hf_token.reveal())
        except BaseModelError as error:
            if name == wanted:
                raise
            raise BaseModelError(f"{what} cannot be had: {error}") from error
        if isinstance(base, HubState):
            raise BaseModelError(f"{what} cannot be had: {base.why}.", remedies=[("To have it", self._connect())])
        return name, base
