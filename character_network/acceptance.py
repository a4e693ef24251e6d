"""A suggested name accepted: it becomes a row of ``characters.jsonl``, or an alias of a row that is there.

    done = accept_suggestion(folder, "Bowie", as_new=True)
    done = accept_suggestion(folder, "Dimitri", as_alias_of="Dmitri")
    undo_acceptance(done)                       # the file as it was, if nobody has changed it since

One row changes, the others stay byte for byte, unknown fields and the order included; the file is replaced whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from character_network.name_forms import fold, is_collective
from character_network.places import load_place_names
from utils.character_file import FILE, CharacterFile
from utils.characters import Character
from utils.errors import DataError, UnknownCharacter, UsageError
from utils.files import disk_errors, write_atomic
from utils.series import open_series


@dataclass(frozen=True)
class Acceptance:
    """What was changed. ``before``: the file's content, None where there was no file; ``after``: what it became."""

    file: Path
    name: str
    character: Character
    is_new: bool
    before: bytes | None
    after: bytes

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: the row as it is now."""
        row = {"name": self.character.name, "aliases": list(self.character.aliases)}
        return {"file": str(self.file), "accepted": self.name, "is_new": self.is_new, "character": row}


def accept_suggestion(folder: Path, name: str, *, as_alias_of: str = "", as_new: bool = False) -> Acceptance:
    """Write a name into the series' ``characters.jsonl``.

    Args:
        folder: the series folder; the file is made if there is none.
        name: as suggested.
        as_alias_of: the character whom it names too, by any name; one who only speaks gets a row.
        as_new: it is somebody else.

    Raises:
        UsageError: neither or both ways given, or the name is nobody's: of several at once, or of a place.
        UnknownCharacter: nobody is called ``as_alias_of``.
        DataError: the name belongs to somebody already, or the file is not valid.
        StoreError: the disk says no.
    """
    if bool(as_alias_of) == as_new:
        raise UsageError(f"'{name}' is either somebody new or an alias of a character: say one of them.")
    series = open_series(folder)
    _check_name(name, series.folder)
    path = series.folder / FILE
    before = path.read_bytes() if path.is_file() else None
    file = CharacterFile(path)
    cast = file.cast()
    if as_new:
        if name in cast:
            raise DataError(f"'{name}' is {cast.get(name).name} already.", instead="Nothing was written.")
        written = file.save(file.open(name), Character(name))
    else:
        written = _add_alias(file, series.folder, name, as_alias_of)
    return Acceptance(path, name, written, as_new, before, path.read_bytes())


def _check_name(name: str, folder: Path) -> None:
    if is_collective(name):
        raise UsageError(f"'{name}' is several at once and no character.")
    if fold(name) in {fold(place) for place in load_place_names(folder / "locations.jsonl")}:
        raise UsageError(f"'{name}' is a place of locations.jsonl, and a place is no character.")


def _add_alias(file: CharacterFile, folder: Path, name: str, owner: str) -> Character:
    cast = file.cast()
    row = file.open(cast.get(owner).name if owner in cast else _speaker(folder, owner))
    if name in cast and cast.get(name).name == row.character.name:
        return row.character
    return file.save(row, replace(row.character, aliases=(*row.character.aliases, name)))


def _speaker(folder: Path, name: str) -> str:
    """The speaker of this name, who has no row yet."""
    from utils.series import load_lines

    series = open_series(folder)
    cast = series.characters.with_speakers(load_lines(series)[0]["speaker"].value_counts())
    if name not in cast:
        raise UnknownCharacter(name, cast.names)
    return cast.get(name).name


def undo_acceptance(done: Acceptance) -> None:
    """Put the file back as it was; one that was made is removed.

    Raises:
        DataError: the file has changed since; nothing is written then.
        StoreError: the disk says no.
    """
    with disk_errors(done.file, "written"):
        now = done.file.read_bytes() if done.file.is_file() else None
        if now != done.after:
            raise DataError(
                f"{done.file.name} has changed since '{done.name}' was accepted.", instead="It was left as it is."
            )
        if done.before is None:
            done.file.unlink()
        else:
            write_atomic(done.file.resolve(), done.before)
