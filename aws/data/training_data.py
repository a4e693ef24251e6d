"""The training data in the bucket: the files of a series and a manifest that says what belongs together.

    plan = plan_upload(Path("data"), store)      # what is new, changed, gone; what the loader flagged
    upload(plan)                                 # files first, the manifest last
    download(store, Path("work/data"))           # on an instance: all of it, compared with the manifest, or nothing

    data/training/<name>           as in the series folder, for example transcripts/S01E01.csv
    data/training/manifest.json    sha256 and size of each; what an upload is about to write, until it has written it

An upload that was stopped leaves the names it had begun in the manifest: nobody trusts those, and the next upload
writes them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aws.config import DATA, actor, from_iso, to_iso
from aws.data.data_manifest import (
    UPLOAD,
    DataManifest,
    Progress,
    download,
    find_manifest,
    in_parallel,
    read_manifest,
    report_progress,
    write_manifest,
)
from utils.errors import ConflictError, DataError
from utils.files import MANIFEST, check_key, disk_errors, sha256_file
from utils.stores import Store
from utils.versions import FileSum

if TYPE_CHECKING:
    from utils.lines import LoadReport, Note

__all__ = ["DataManifest", "UploadPlan", "download", "plan_upload", "read_manifest", "upload"]

OWNED = timedelta(minutes=10)  # so long after its start an upload is taken to be under way still


@dataclass(frozen=True)
class UploadPlan:
    """What an upload would do. Names are those of the series folder; ``size_bytes`` is what would be sent."""

    store: Store
    paths: Mapping[str, Path]
    files: Mapping[str, FileSum]
    present: DataManifest
    etag: str | None
    new: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    removed: tuple[str, ...]
    report: LoadReport
    warnings: tuple[str, ...] = ()

    @property
    def to_send(self) -> tuple[str, ...]:
        return (*self.new, *self.changed)

    @property
    def size_bytes(self) -> int:
        return sum(self.files[name].size_bytes for name in self.to_send)

    @property
    def is_done(self) -> bool:
        """Whether the bucket holds just this already."""
        return not (self.to_send or self.removed or self.present.unfinished or self.present.files != self.files)

    @property
    def data_hash(self) -> str:
        return DataManifest(self.files).data_hash

    def flagged(self, most: int = 5) -> list[str]:
        """What the loader repaired, flagged, dropped or skipped: the counts, then the first notes with file and row."""
        counts = [
            f"{count} x {kind}: {reason}"
            for kind, reasons in self.report.counts().items()
            for reason, count in reasons.most_common()
        ]
        notes = [*self.report.skipped, *self.report.notes]
        rest = [f"and {len(notes) - most} more"] if len(notes) > most else []
        return counts + [_sentence(note) for note in notes[:most]] + rest

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        names = {name: list(getattr(self, name)) for name in ("new", "changed", "same", "removed", "warnings")}
        return names | {"size_bytes": self.size_bytes, "data_hash": self.data_hash, "flagged": self.flagged()}


def plan_upload(folder: Path, store: Store) -> UploadPlan:
    """Compare a series folder with the bucket; changes nothing.

    Raises:
        DataError: no series there, nothing said in it, a link that leads out, or a name that S3 cannot hold.
        StoreError: the folder or the bucket cannot be read.
    """
    from utils.series import load_lines, series_files

    paths = series_files(folder)
    for name, path in paths.items():
        _check_inside(folder, name, path)
    _, report = load_lines(folder)
    files = _sums_of(paths)
    present, etag = find_manifest(store)
    sizes = {key.removeprefix(f"{DATA}/"): size_bytes for key, size_bytes in store.list(f"{DATA}/")}
    sizes.pop(MANIFEST, None)

    def is_same(name: str) -> bool:
        trusted = name not in present.unfinished and sizes.get(name) == files[name].size_bytes
        return trusted and present.files.get(name) == files[name]

    return UploadPlan(
        store=store,
        paths=paths,
        files=files,
        present=present,
        etag=etag,
        new=tuple(name for name in files if name not in present.files),
        changed=tuple(name for name in files if name in present.files and not is_same(name)),
        same=tuple(name for name in files if is_same(name)),
        removed=tuple(sorted((sizes.keys() | present.files.keys()) - files.keys())),
        report=report,
        warnings=_warnings(folder),
    )


def upload(plan: UploadPlan, progress: Progress | None = None, now: datetime | None = None) -> DataManifest:
    """Do what the plan says; nothing if the bucket holds it already. Returns the manifest that is there then.

    Raises:
        ConflictError: somebody else uploads at the same time.
        DataError: a file has changed since the plan.
        StoreError: a file or the bucket refuses.
    """
    at = now or datetime.now(UTC)
    if plan.is_done:
        return plan.present
    etag = plan.etag
    _check_owner(plan.present, at)
    if plan.to_send:
        begun = DataManifest(plan.present.files, to_iso(at), actor(), _begun(plan))
        etag = write_manifest(plan.store, begun, etag)
        _send_all(plan, progress)
    manifest = DataManifest(plan.files, to_iso(at), actor())
    write_manifest(plan.store, manifest, etag)
    for name in plan.removed:
        plan.store.delete(f"{DATA}/{name}")
    return manifest


# steps of an upload


def _check_inside(folder: Path, name: str, path: Path) -> None:
    check_key(f"{DATA}/{name}")
    with disk_errors(path, "read"):
        target = path.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise DataError(
            f"{path} leads out of {folder} by a link, to {target}.",
            instead="Only what lies in the series folder is uploaded.",
            remedies=[("Put a copy there", f"cp --remove-destination '{target}' '{path}'")],
        )


def _sums_of(paths: Mapping[str, Path]) -> dict[str, FileSum]:
    sums = {}
    for name, path in paths.items():
        with disk_errors(path, "read"):
            sums[name] = FileSum(sha256_file(path), path.stat().st_size)
    return sums


def _warnings(folder: Path) -> tuple[str, ...]:
    """What would be read differently on an instance, where the folder has another name."""
    from utils.series import open_series

    with suppress(OSError, ValueError, AttributeError):
        if json.loads((folder / "series.json").read_text(encoding="utf-8-sig")).get("title"):
            return ()
    title = open_series(folder).title
    return (f"series.json gives no title: '{title}' is the name of the folder here, and an instance has another one.",)


def _check_owner(present: DataManifest, at: datetime) -> None:
    """Two who upload at once would mix their files."""
    if present.unfinished and present.by != actor() and at - _moment(present.created) < OWNED:
        raise ConflictError(
            f"{present.by} began an upload at {present.created} and has not ended it.",
            instead=f"Whatever has become of it, it stands in nobody's way after {OWNED.seconds // 60} minutes.",
            remedies=[("Then", UPLOAD[1])],
        )


def _begun(plan: UploadPlan) -> tuple[str, ...]:
    return tuple(sorted({*plan.present.unfinished, *plan.to_send}))


def _send_all(plan: UploadPlan, progress: Progress | None) -> None:
    sizes = [plan.files[name].size_bytes for name in plan.to_send]
    report_progress(in_parallel(lambda name: _send(plan, name), plan.to_send), sizes, progress)


def _send(plan: UploadPlan, name: str) -> None:
    path = plan.paths[name]
    with disk_errors(path, "read"):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != plan.files[name].sha256:
        raise DataError(f"{path} has changed while it was uploaded.", remedies=[("Upload again", UPLOAD[1])])
    plan.store.put(f"{DATA}/{name}", content)


def _sentence(note: Note) -> str:
    row = f" row {note.row}" if note.row else ""
    return f"{note.file}{row}: {note.kind}: {note.reason}"


def _moment(text: str) -> datetime:
    try:
        return from_iso(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
