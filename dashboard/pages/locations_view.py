"""The locations computed for the page, and the labels of the app's series."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from config import CONFIG_FILE_NAME, Settings
from dashboard.computing import Progress
from dashboard.source import AnalysisSource, read_places
from text_classification.labels import Imported, Label, LabelStore, format_labels
from utils.announcements import Announcement, Announcements
from utils.errors import DataError, UsageError
from utils.files import disk_errors
from utils.places import Place, Places
from utils.series import LOCATION_LABELS

if TYPE_CHECKING:
    from text_classification.classifier import LocationClassifier
    from text_classification.evaluation import Evaluation
    from text_classification.results import LocationResults

FOR_UPLOAD = "put the files into a folder and start the page with it: python gradio_app.py --data FOLDER"
QUEUE = 20  # scenes that are shown to label, before the places are computed anew


@dataclass(frozen=True)
class LocationView:
    """Where scenes take place. ``places``: names to choose from. ``announcements``: steps down."""

    source: AnalysisSource
    results: LocationResults
    labels: int
    places: list[str]
    announcements: list[Announcement] = field(default_factory=list)


class SeriesLabels:
    """The labels of the app's series, in its folder; a place may be one that ``locations.jsonl`` does not have."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.file = settings.paths.data / LOCATION_LABELS

    def list(self, places: Places) -> Sequence[Label]:
        """All labels. Raises DataError: the file is not valid."""
        return LabelStore(self.file, places, allow_new=True).list()

    def add(self, label: Label, places: Places) -> Label | None:
        """Add or replace; the one that was there. Raises DataError, StoreError."""
        with disk_errors(self.file, "written"):
            before = [each for each in self.list(places) if each.scene_key == label.scene_key]
            LabelStore(self.file, places, allow_new=True).add(label)
        return before[0] if before else None

    def take_back(self, label: Label, before: Label | None, places: Places) -> None:
        """Put back what was there before a label. Raises DataError, StoreError."""
        store = LabelStore(self.file, places, allow_new=True)
        with disk_errors(self.file, "written"):
            if before is not None:
                store.add(before)
            elif label.scene is not None:
                store.remove(label.season, label.episode, label.scene)

    def take_over(self, content: bytes, name: str, places: Places) -> Imported:
        """The labels of a CSV file that a visitor sends, all or none.

        Raises:
            DataError: it is not valid, with the name and the row; or a place that neither ``locations.jsonl`` nor a
                label has. StoreError: the disk says no.
        """
        labelled = dict.fromkeys(each.location for each in self.list(places) if not places.knows(each.location))
        known = Places([*places, *map(Place, labelled)])
        store = LabelStore(self.file, known, self._settings.locations.allow_new_places)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "labels.csv"  # never by the name that the visitor's file has
            file.write_bytes(content)
            try:
                with disk_errors(self.file, "written"):
                    return store.import_csv(file)
            except DataError as error:
                raise _named(error, str(file), name) from None

    def export(self, places: Places) -> tuple[str, bytes]:
        """Name and content of a file that can be imported. Raises DataError."""
        return LOCATION_LABELS, format_labels(self.list(places)).encode("utf-8")

    def state(self) -> str:
        """Changes with the file."""
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest()
        except OSError:
            return ""


def _named(error: DataError, path: str, name: str) -> DataError:
    """The error with the visitor's name of the file. A command for the shell is no remedy here."""
    what, instead = (text.replace(path, name) for text in (error.what, error.instead))
    return DataError(what, instead=instead)


def build_classifier(
    source: AnalysisSource, settings: Settings, told: Announcements, other_model: Callable[[str], str] | None = None
) -> LocationClassifier:
    """``other_model``: see ``LocationClassifier``; default: what to do on the page.

    Raises:
        DataError: locations.jsonl is not valid.
    """
    from text_classification.classifier import LocationClassifier

    return LocationClassifier(
        read_places(source), settings, resolve=source.cast.resolve, announcements=told,
        other_model=other_model or other_model_of_page,
    )  # fmt: skip


def other_model_of_page(model: str) -> str:
    """How to have another model on the page."""
    return f"set locations.model to {model} in {CONFIG_FILE_NAME}, then start the page again"


def read_labels(source: AnalysisSource, labels: SeriesLabels) -> Sequence[Label]:
    """The labels of a source: an upload has none. Raises DataError."""
    return () if source.folder is None else labels.list(read_places(source))


def locate(
    source: AnalysisSource,
    labels: SeriesLabels,
    settings: Settings,
    progress: Progress,
    other_model: Callable[[str], str] | None = None,
) -> LocationView:
    """Where every scene takes place. Raises DataError, BaseModelError: see ``LocationClassifier.classify``."""
    told = Announcements()
    known = read_labels(source, labels)
    results = build_classifier(source, settings, told, other_model).classify(source.lines, known)
    progress(1, 1)
    announced = [str(each) for each in told]
    results = replace(results, notes=[note for note in results.notes if note not in announced])
    places = list(dict.fromkeys([*read_places(source).names, *results.places]))
    # The commands are for the folder of the app's series: for a visitor's own files they would do something else.
    steps = [replace(each, remedy=FOR_UPLOAD) if source.folder is None else each for each in told]
    return LocationView(source, results, len(known), places, steps)


def measure(source: AnalysisSource, labels: SeriesLabels, settings: Settings) -> Evaluation:
    """How good the answers are on held-out episodes. Raises DataError: there are too few known places."""
    known = read_labels(source, labels)
    try:
        return build_classifier(source, settings, Announcements()).evaluate(source.lines, known)
    except DataError as error:
        raise DataError(error.what, instead=f"{error.instead} Label some scenes below.") from None


RESULT_FILES = {
    "Scenes (CSV)": "locations.csv",
    "Lines (CSV)": "lines.csv",
    "Everything (JSON)": "locations.json",
}


def save_results(view: LocationView, label: str) -> tuple[str, bytes]:
    """One of ``RESULT_FILES``: the name and the content. Raises UsageError: there is no such file."""
    name = RESULT_FILES.get(label)
    if name is None:
        raise UsageError(f"no file '{label}'.", instead=f"There are: {', '.join(RESULT_FILES)}")
    with tempfile.TemporaryDirectory() as folder:
        view.results.save(Path(folder))
        return name, (Path(folder) / name).read_bytes()
