"""Labels: where people say that a scene takes place, in a CSV file that a spreadsheet opens.

    store = LabelStore(choose_label_file(series.folder, out), places)
    store.add(Label(1, 3, 2, 20, "The Quay"))
    store.import_csv(Path("mine.csv"))

    season,episode,scene,first_position,location
    1,3,2,20,The Quay

Rules. A row needs season, episode and location, and a scene or the position of its first line. A row without a location
is passed over, so a sheet may be half filled; other columns are, too. Two rows of one file that give a scene two places
are an error. An imported row takes the place of a stored one. A label wins over the mark of a transcript.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from text_classification.scene_texts import Key, Scene
from utils.errors import DataError
from utils.files import LOCK, locked, write_atomic
from utils.places import Places
from utils.series import LOCATION_LABELS

ALLOW = ("Or take it as new", "--allow-new-places")
EXAMPLE = "The first row is season,episode,scene,first_position,location; then rows like 1,3,2,20,The Quay"
LARGEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Label:
    """``first_position``: of the scene's first line in its file, from 0. Scene or position may be None, not both."""

    season: int
    episode: int
    scene: int | None
    first_position: int | None
    location: str

    @property
    def scene_key(self) -> tuple[int, int, int | None, int | None]:
        """What it labels: the scene's number where there is one, else its first position."""
        return self.season, self.episode, self.scene, self.first_position if self.scene is None else None


COLUMNS = tuple(each.name for each in fields(Label))


@dataclass(frozen=True)
class Imported:
    """How many labels came in. ``changed``: sentences about those that took the place of another."""

    added: int
    same: int
    changed: tuple[str, ...] = ()


def choose_label_file(series_folder: Path, out: Path) -> Path:
    """The label file in the series' folder where there is one, else that in the folder of results."""
    own = series_folder / LOCATION_LABELS
    return own if own.is_file() else out / LOCATION_LABELS


class LabelStore:
    """The labels of one file. Changes are atomic and hold a lock, so that two programs may label at once.

    Args:
        file: need not be there.
        places: a label must name one of them; where there are none, any place will do.
        allow_new: a label may name a place that is not among them.
    """

    def __init__(self, file: Path, places: Places | None = None, allow_new: bool = False) -> None:
        self.file = file
        self._places = places or Places()
        self._allow_new = allow_new or not len(self._places)

    def list(self) -> Sequence[Label]:
        """All labels, ordered. Raises DataError: the file is not valid."""
        if not self.file.exists():
            return []
        return read_labels(self.file, self._places, self._allow_new)

    def add(self, label: Label) -> None:
        """Add or replace the label of a scene.

        Raises:
            DataError: an unknown place. OSError: the disk says no.
        """
        self._merge([replace(label, location=self._check(label.location, str(self.file)))])

    def remove(self, season: int, episode: int, scene: int) -> bool:
        """Take the label of a scene away; False where it has none. Raises DataError, OSError."""
        with locked(self.file.with_name(LOCK)):
            labels = self.list()
            kept = [each for each in labels if (each.season, each.episode, each.scene) != (season, episode, scene)]
            if len(kept) < len(labels):
                self._write(kept)
        return len(kept) < len(labels)

    def import_csv(self, file: Path) -> Imported:
        """Take over the labels of another file, all or none.

        Raises:
            DataError: the file is not valid, with the row; an unknown place, with the nearest. OSError.
        """
        return self._merge(read_labels(file, self._places, self._allow_new))

    def export(self, file: Path) -> None:
        """Write the labels as a file that :meth:`import_csv` reads. Raises DataError, OSError."""
        write_atomic(file, format_labels(self.list()))

    def _merge(self, new: Iterable[Label]) -> Imported:
        with locked(self.file.with_name(LOCK)):
            stored = {label.scene_key: label for label in self.list()}
            added, same, changed = 0, 0, []
            for label in new:
                before = stored.get(label.scene_key)
                if before is None:
                    added += 1
                elif before.location == label.location:
                    same += 1
                else:
                    changed.append(f"{_where(label)}: {label.location}, before {before.location}")
                stored[label.scene_key] = label
            self._write(stored.values())
        return Imported(added, same, tuple(changed))

    def _check(self, location: str, where: str) -> str:
        return _check_place(location, self._places, self._allow_new, where)

    def _write(self, labels: Iterable[Label]) -> None:
        write_atomic(self.file, format_labels(labels))


def format_labels(labels: Iterable[Label]) -> str:
    """Labels as CSV, ordered by episode and scene."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for label in sorted(labels, key=_order):
        writer.writerow(["" if value is None else value for value in astuple(label)])
    return text.getvalue()


def _order(label: Label) -> tuple[int, ...]:
    scene, position = label.scene, label.first_position
    return label.season, label.episode, -1 if scene is None else scene, -1 if position is None else position


def read_labels(file: Path, places: Places, allow_new: bool = False) -> list[Label]:
    """The labels of a CSV file, under the names of ``places``.

    Raises:
        DataError: it cannot be read, a row is wrong, or two rows do not agree; it names file and row.
    """
    found: dict[tuple[int, int, int | None, int | None], tuple[int, Label]] = {}
    for number, row in _rows(file):
        if not (location := " ".join((row.get("location") or "").split())):
            continue
        where = f"{file}, row {number}"
        season, episode = (_number(row, name, where) for name in ("season", "episode"))
        scene, position = (
            _number(row, name, where) if (row.get(name) or "").strip() else None for name in ("scene", "first_position")
        )
        label = Label(season, episode, scene, position, _check_place(location, places, allow_new, where))
        if label.scene is None and label.first_position is None:
            raise DataError(f"{where}: neither a scene nor a first position.", instead=EXAMPLE)
        first, before = found.setdefault(label.scene_key, (number, label))
        if before.location != label.location:
            raise DataError(
                f"{where}: {_where(label)} is at {label.location}, but row {first} says {before.location}.",
                instead="A scene has one place. Keep one of the two rows.",
            )
    return [label for _, label in found.values()]


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise DataError(f"{file} is larger than {LARGEST_BYTES >> 20} MiB: no file of labels.")
        text = file.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or []]
        missing = [name for name in ("season", "episode", "location") if name not in reader.fieldnames]
        if missing:
            raise DataError(f"{file}, row 1: no column {' and '.join(missing)}.", instead=EXAMPLE)
        return [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise DataError(f"no file {file}.", instead=EXAMPLE) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read: {error}", instead=EXAMPLE) from None


def _number(row: dict[str, str], name: str, where: str) -> int:
    text = (row.get(name) or "").strip()
    digits = text.removesuffix(".0")  # as spreadsheets write whole numbers
    if not digits.isascii() or not digits.isdigit() or len(digits) > 6:
        raise DataError(f"{where}: {name} is {text!r}, which is no whole number.", instead=EXAMPLE)
    return int(digits)


def _check_place(location: str, places: Places, allow_new: bool, where: str) -> str:
    location = " ".join(location.split())
    if not location or len(location) > 100 or not location.isprintable():
        raise DataError(f"{where}: {location[:40]!r} is no name of a place.")
    if allow_new or not len(places) or places.knows(location):
        return places.resolve(location)
    near = places.nearest(location)
    raise DataError(
        f"{where}: no place '{location}' in locations.jsonl.",
        instead=(f"Did you mean {near}? " if near else "") + f"There are: {', '.join(places.names[:12])}"
        + (f" and {len(places) - 12} more" if len(places) > 12 else ""),
        remedies=[ALLOW],
    )  # fmt: skip


def _where(label: Label) -> str:
    at = f"scene {label.scene}" if label.scene is not None else f"the scene at line {label.first_position}"
    return f"S{label.season:02d}E{label.episode:02d} {at}"


def match_labels(labels: Iterable[Label], scenes: Sequence[Scene]) -> tuple[dict[Key, str], list[str]]:
    """The place of each labelled scene, and sentences about labels that fit no scene.

    Where a file marks scenes, their number counts first: it stays when lines are added before. Stretches of lines are
    found by their first line: another length of stretches would give the number to other lines.
    """
    by_number = {scene.key: scene for scene in scenes}
    by_position = {(scene.season, scene.episode, scene.first_position): scene for scene in reversed(scenes)}
    found, lost = {}, []
    for label in labels:
        numbered = None if label.scene is None else by_number.get((label.season, label.episode, label.scene))
        placed = None
        if label.first_position is not None:
            placed = by_position.get((label.season, label.episode, label.first_position))
        if numbered is not None and (numbered.marked or label.first_position is None):
            found[numbered.key] = label.location
        elif placed is not None:
            found[placed.key] = label.location
        else:
            lost.append(f"The label of {_where(label)} ({label.location}) fits no scene.")
    return found, lost
