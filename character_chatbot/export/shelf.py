"""Putting exported models on the registry's shelf, and fetching them from there. Where they are: utils/exports.py."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from character_chatbot.load_progress import LoadProgress, tell_fetch
from utils.errors import ConflictError, RegistryError
from utils.exports import FILES, damaged_export, export_command, export_key, read_export_manifest
from utils.fetching import fetch_files, find_right
from utils.files import MANIFEST, disk_errors, sha256_file
from utils.stores import Store
from utils.versions import FileSum, build_manifest, iso


def publish_export(store: Store, family: str, name: str, folder: Path) -> None:
    """Copy an export into the store.

    Raises:
        RegistryError: this one is there already.
        StoreError: the store cannot be written.
    """
    files = {each: folder / each for each in FILES if (folder / each).is_file()}
    sums = {each: FileSum(sha256_file(file), file.stat().st_size) for each, file in files.items()}
    for each, file in files.items():
        store.put(export_key(family, name, each), file)
    manifest = build_manifest(family, name, iso(datetime.now(UTC)), sums)
    try:
        store.compare_and_swap(export_key(family, name, MANIFEST), manifest.content, None)
    except ConflictError:
        raise RegistryError(
            f"an export of {family} {name} is there already.",
            remedies=[("Make it again", f"python training_pipeline.py export {family} --again")],
        ) from None


def remove_export(store: Store, family: str, name: str) -> None:
    """Delete an export, its manifest first; silent if there is none. Raises StoreError."""
    store.delete(export_key(family, name, MANIFEST))
    for key, _ in tuple(store.list(export_key(family, name, ""))):
        store.delete(key)


def fetch_export(store: Store, family: str, name: str, cache: Path, progress: LoadProgress | None = None) -> Path:
    """A folder with the export, every file compared with the manifest.

    A store on this machine answers with its own folder; from a bucket it comes to ``<cache>/<family>/<name>``, and goes
    on where it was stopped. ``progress`` is told the bytes that are fetched and compared.

    Raises:
        RegistryError: there is none, or a file is missing or changed.
        StoreError: the store cannot be read.
    """
    files = read_export_manifest(store, family, name)
    if files is None:
        raise RegistryError(f"{family} {name} is not exported.", remedies=[("Export it", export_command(family, name))])
    prefix = export_key(family, name, "")
    on_fetch = tell_fetch(progress, f"the export of {family} {name}", store.url) if progress else None
    folder = store.local_path(prefix.rstrip("/"))
    if folder is None:
        folder = cache.expanduser() / family / name
        problems = fetch_files(store, prefix, files, folder, on_fetch)
    else:
        with disk_errors(folder, "read"):
            problems = sorted(files.keys() - find_right(folder, files, [*files], on_fetch))
    if problems:
        raise damaged_export(family, name, problems[0].rstrip("."))
    return folder
