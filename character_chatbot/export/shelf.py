"""Where exported models are: beside the versions in the registry's store, each with a manifest of its own.

    models/exported/<family>/<version>/          a version, its adapter merged in
    models/exported/<family>/base-<hash>/        a base, for adapters at run time

A version is never changed once its manifest is written, so an export is an artefact of its own, made later or again.
Files first, then the manifest: an export without one does not exist.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from character_chatbot.load_progress import LoadProgress, tell_fetch
from utils.errors import ConflictError, RegistryError
from utils.fetching import fetch_files, find_right
from utils.files import MANIFEST, disk_errors, sha256_file
from utils.stores import Store
from utils.versions import SHA256, FileSum, build_manifest, check_family, iso

ROOT = "models/exported"
MODEL_FILES = ("openvino_model.xml", "openvino_model.bin", "config.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
RECORD = "export.json"
FILES = (*MODEL_FILES, *TOKENIZER_FILES, RECORD)
NAME = re.compile(r"[0-9]{8}-[0-9]{6}|base-[0-9a-f]{12}")


def base_export_name(base: str) -> str:
    """The name under which a base itself is exported."""
    return f"base-{hashlib.sha256(base.encode()).hexdigest()[:12]}"


def publish_export(store: Store, family: str, name: str, folder: Path) -> None:
    """Copy an export into the store.

    Raises:
        RegistryError: this one is there already.
        StoreError: the store cannot be written.
    """
    files = {each: folder / each for each in FILES if (folder / each).is_file()}
    sums = {each: FileSum(sha256_file(file), file.stat().st_size) for each, file in files.items()}
    for each, file in files.items():
        store.put(_key(family, name, each), file)
    manifest = build_manifest(family, name, iso(datetime.now(UTC)), sums)
    try:
        store.compare_and_swap(_key(family, name, MANIFEST), manifest.content, None)
    except ConflictError:
        raise RegistryError(
            f"an export of {family} {name} is there already.",
            remedies=[("Make it again", f"python training_pipeline.py export {family} --again")],
        ) from None


def remove_export(store: Store, family: str, name: str) -> None:
    """Delete an export, its manifest first; silent if there is none. Raises StoreError."""
    store.delete(_key(family, name, MANIFEST))
    for key, _ in tuple(store.list(_key(family, name, ""))):
        store.delete(key)


def find_export(store: Store, family: str, name: str) -> dict[str, Any] | None:
    """What export.json says of an export; None where there is none.

    Raises:
        RegistryError: it is damaged.
        StoreError: the store cannot be read.
    """
    files = _read_manifest(store, family, name)
    if files is None:
        return None
    with suppress(KeyError, ValueError, RecursionError):
        record = json.loads(store.get(_key(family, name, RECORD))[0])
        if isinstance(record, dict):
            return record
    raise _damaged(family, name, RECORD)


def fetch_export(store: Store, family: str, name: str, cache: Path, progress: LoadProgress | None = None) -> Path:
    """A folder with the export, every file compared with the manifest.

    A store on this machine answers with its own folder; from a bucket it comes to ``<cache>/<family>/<name>``, and goes
    on where it was stopped. ``progress`` is told the bytes that are fetched and compared.

    Raises:
        RegistryError: there is none, or a file is missing or changed.
        StoreError: the store cannot be read.
    """
    files = _read_manifest(store, family, name)
    if files is None:
        raise RegistryError(f"{family} {name} is not exported.", remedies=[("Export it", _command(family, name))])
    prefix = _key(family, name, "")
    on_fetch = tell_fetch(progress, f"the export of {family} {name}", store.url) if progress else None
    folder = store.local_path(prefix.rstrip("/"))
    if folder is None:
        folder = cache.expanduser() / family / name
        problems = fetch_files(store, prefix, files, folder, on_fetch)
    else:
        with disk_errors(folder, "read"):
            problems = sorted(files.keys() - find_right(folder, files, [*files], on_fetch))
    if problems:
        raise _damaged(family, name, problems[0].rstrip("."))
    return folder


def _read_manifest(store: Store, family: str, name: str) -> dict[str, FileSum] | None:
    try:
        content = store.get(_key(family, name, MANIFEST))[0]
    except KeyError:
        return None
    try:
        loaded = json.loads(content)
        found = {each: FileSum(file["sha256"], file["size_bytes"]) for each, file in loaded["files"].items()}
        if (loaded["family"], loaded["version"]) != (family, name) or not set(found) <= set(FILES):
            raise ValueError("it is of another export")
        sums = [SHA256.fullmatch(file.sha256) for file in found.values()]
        if not all(sums) or not {*MODEL_FILES, RECORD} <= set(found):
            raise ValueError("it is not whole")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise _damaged(family, name, MANIFEST) from None
    return found


def _damaged(family: str, name: str, file: str) -> RegistryError:
    return RegistryError(
        f"the export of {family} {name} is damaged: {file}.", remedies=[("Make it again", _command(family, name, True))]
    )


def _command(family: str, name: str, again: bool = False) -> str:
    version = " --runtime-adapter" if name.startswith("base-") else f" --version {name}"
    return f"python training_pipeline.py export {family}{version}{' --again' if again else ''}"


def _key(family: str, name: str, file: str) -> str:
    if not NAME.fullmatch(name):
        raise RegistryError(f"{name!r} is not the name of an export.")
    return f"{ROOT}/{check_family(family)}/{name}/{file}"
