"""Finding, checking and fetching versions; nothing here writes to the store. ``Registry`` adds the writing."""

from __future__ import annotations

import builtins
import hashlib
import json
import logging
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from utils.errors import DataError, RegistryError, nearest
from utils.fetching import CHECKING, ByteCount, OnFetch, fetch_files
from utils.files import MANIFEST, disk_errors, sha256_file
from utils.stores import OnBytes, Store
from utils.versions import (
    ROOT,
    SHA256,
    Event,
    FileSum,
    Manifest,
    Version,
    check_family,
    check_version,
    is_about,
    parse_manifest,
    split_key,
    version_key,
)

logger = logging.getLogger(__name__)

COMMAND = "python training_pipeline.py models"


class RegistryReader:
    """The versions in a store, to be read. Nothing is read before the first call."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def list(self, family: str | None = None) -> builtins.list[Version]:
        """The versions that have a manifest, by family and time. Raises RegistryError, StoreError."""
        found = self._sizes(family)
        latest = {owner: self._latest_name(owner) for owner in sorted({owner for owner, _ in found})}
        return [
            Version(owner, version, sum(sizes.values()) - sizes[MANIFEST], len(sizes) - 1, latest[owner] == version)
            for (owner, version), sizes in sorted(found.items())
        ]

    def latest(self, family: str) -> Version | None:
        """The version that is served; None if there is none yet.

        Raises:
            RegistryError: latest.json is damaged or does not match the manifest it names.
            StoreError: the store cannot be read.
        """
        pointer = self._pointer(family)
        if pointer is None:
            return None
        manifest = self._trusted(family, pointer["version"])
        sizes = [file.size_bytes for file in manifest.files.values()]
        return Version(family, pointer["version"], sum(sizes), len(sizes), True)

    def resolve(self, family: str, version: str | None = None) -> Version:
        """The version of this name; None and ``latest`` mean the one that is served.

        Raises:
            RegistryError: there is none; says what there is.
            StoreError: the store cannot be read.
        """
        wanted = None if version == "latest" else version
        if wanted is None:
            found = self.latest(check_family(family))
        else:
            found = next((known for known in self.list(family) if known.version == wanted), None)
        if found is None:
            raise self._unknown(family, wanted)
        return found

    def show(self, family: str, version: str | None = None) -> dict[str, Any]:
        """All about a version, ready for JSON: its fields, ``manifest_sha256``, ``run``, ``metrics`` (both empty if it
        has none), ``files`` (name to sha256 and size_bytes) and ``history`` (the events about it).

        Raises:
            RegistryError: no such version, or one of the two files does not match the manifest.
            StoreError: the store cannot be read.
        """
        found = self.resolve(family, version)
        manifest = self._trusted(family, found.version)
        events = [event.to_dict() for event in self.history(family) if is_about(event, found.version)]
        return found.to_dict() | {
            "manifest_sha256": manifest.sha256,
            "run": self._read_json(found, manifest, "run.json"),
            "metrics": self._read_json(found, manifest, "metrics.json"),
            "files": {name: asdict(file) for name, file in manifest.files.items()},
            "history": events,
        }

    def history(self, family: str) -> builtins.list[Event]:
        """All events, oldest first; a damaged line is skipped and logged as a warning. Raises StoreError."""
        key = version_key(check_family(family), "history.jsonl")
        content = self._read(key)[0] or b""
        events = []
        for number, line in enumerate(content.decode(errors="replace").split("\n"), start=1):
            try:
                events += [Event.from_line(line)] if line.strip() else []
            except (RegistryError, KeyError, TypeError, ValueError, RecursionError):
                logger.warning("line %d of %s in %s is damaged and left out.", number, key, self.store.url)
        return events

    def verify(self, family: str, version: str | None = None, on_fetch: OnFetch | None = None) -> builtins.list[str]:
        """Compare every byte of a version with its manifest: a sentence for each problem, none if all is well.

        ``on_fetch`` hears of the bytes.

        Raises:
            RegistryError: nothing of this version is there.
            StoreError: the store cannot be read.
        """
        problems: builtins.list[str] = []
        name = self._name(family, version)
        if next(iter(self.store.list(version_key(family, name, ""))), None) is None:
            raise self._unknown(family, name)
        try:
            manifest = self._manifest(family, name)
            problems = problems_of(self.store, version_key(family, name, ""), manifest, on_fetch=on_fetch)
            self._trusted(family, name)
        except RegistryError as error:
            return [error.what, *problems]
        return problems

    def fetch(self, family: str, version: str | None, destination: Path, on_fetch: OnFetch | None = None) -> Path:
        """A folder with the files of a version, every one compared with the manifest; None means the latest.

        A store on this machine answers with its own folder, to be read only. From a bucket the files come to
        ``<destination>/<family>/<version>``, and what is there already is compared again before it is used. A fetch
        that was stopped goes on where it was: no whole file comes twice.

        Args:
            on_fetch: hears of the bytes that are fetched and those that are compared, perhaps in another thread.

        Raises:
            RegistryError: no such version, or a file is missing, changed, of a kind that is not loaded, or foreign.
            StoreError: the store cannot be read, or the destination not be written.
        """
        found = self.resolve(family, version)
        manifest = self._trusted(family, found.version)
        prefix = version_key(family, found.version, "")
        folder = self.store.local_path(prefix.rstrip("/"))
        self._refuse(found, problems_of(self.store, prefix, manifest, contents=folder is not None, on_fetch=on_fetch))
        if folder is not None:
            return folder
        return self._copy(found, manifest, destination.expanduser() / family / found.version, on_fetch)

    # steps of a reading

    def _sizes(self, family: str | None = None) -> dict[tuple[str, str], dict[str, int]]:
        """Family and version of all that has a manifest, with the sizes in bytes of the files."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        prefix = f"{ROOT}/{check_family(family)}/" if family is not None else f"{ROOT}/"
        for key, size_bytes in self.store.list(prefix):
            owner, version, name = split_key(key)
            if name:
                found.setdefault((owner, version), {})[name] = size_bytes
        return {owned: sizes for owned, sizes in found.items() if MANIFEST in sizes}

    def _names(self, family: str) -> builtins.list[str]:
        return sorted(version for _, version in self._sizes(family))

    def _read(self, key: str) -> tuple[bytes | None, str | None]:
        try:
            return self.store.get(key)
        except KeyError:
            return None, None

    def _name(self, family: str, version: str | None) -> str:
        if version not in (None, "latest"):
            return check_version(version) if check_family(family) else ""
        pointer = self._pointer(check_family(family))
        if pointer is None:
            raise self._unknown(family, None)
        return pointer["version"]

    def _latest_name(self, family: str) -> str | None:
        try:
            pointer = self._pointer(family)
        except RegistryError as error:
            logger.warning("%s", error.what)
            return None
        return pointer["version"] if pointer else None

    def _pointer(self, family: str) -> dict[str, str] | None:
        return self._parse_pointer(family, self._read(version_key(check_family(family), "latest.json"))[0])

    def _parse_pointer(self, family: str, content: bytes | None, mend: bool = False) -> dict[str, str] | None:
        if content is None:
            return None
        with suppress(RegistryError, KeyError, TypeError, ValueError, RecursionError):
            pointer = json.loads(content)
            if SHA256.fullmatch(pointer["manifest_sha256"]) and check_version(pointer["version"]):
                return {"version": pointer["version"], "manifest_sha256": pointer["manifest_sha256"]}
        if mend:
            return None
        raise self._damaged(f"{version_key(family, 'latest.json')} is damaged", family)

    def _manifest(self, family: str, version: str) -> Manifest:
        key = version_key(family, version, MANIFEST)
        content = self._read(key)[0]
        if content is None:
            raise self._damaged(f"{key} is missing", family)
        try:
            return parse_manifest(content, family, version)
        except (DataError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise self._damaged(f"{key} is damaged ({' '.join(str(error).split()) or 'no JSON'})", family) from None

    def _trusted(self, family: str, version: str) -> Manifest:
        """The manifest; where latest.json names this version, it has to be the manifest that it means."""
        manifest = self._manifest(family, version)
        pointer = self._parse_pointer(family, self._read(version_key(family, "latest.json"))[0], mend=True)
        if pointer and pointer["version"] == version and pointer["manifest_sha256"] != manifest.sha256:
            raise self._damaged(f"{version_key(family, 'latest.json')} does not match the manifest it names", family)
        return manifest

    def _read_json(self, version: Version, manifest: Manifest, name: str) -> dict[str, Any]:
        if name not in manifest.files:
            return {}
        content = self._read(version_key(version.family, version.version, name))[0] or b""
        if hashlib.sha256(content).hexdigest() != manifest.files[name].sha256:
            self._refuse(version, [f"{name} is changed."])
        with suppress(ValueError, RecursionError):
            if isinstance(loaded := json.loads(content), dict):
                return loaded
        return {}

    def _copy(self, version: Version, manifest: Manifest, folder: Path, on_fetch: OnFetch | None) -> Path:
        """The folder with all files and, last, the manifest; nothing stays of a version that is damaged."""
        prefix = version_key(version.family, version.version, "")
        manifest_file = {MANIFEST: FileSum(manifest.sha256, len(manifest.content))}
        problems = fetch_files(self.store, prefix, manifest.files | manifest_file, folder, on_fetch)
        if problems:
            shutil.rmtree(folder, ignore_errors=True)
        self._refuse(version, problems)
        return folder

    # sentences

    def _refuse(self, version: Version, problems: builtins.list[str]) -> None:
        if problems:
            raise RegistryError(
                f"{version.version} of {version.family} in {self.store.url} does not match its manifest: {problems[0]}",
                instead=f"And {len(problems) - 1} more." if len(problems) > 1 else "",
                remedies=[
                    ("See all", f"{COMMAND} verify {version.family} {version.version}"),
                    ("Go back", f"{COMMAND} rollback {version.family}"),
                ],
            )

    def _damaged(self, what: str, family: str) -> RegistryError:
        versions = self._names(family)
        return RegistryError(
            f"{what} in {self.store.url}.",
            instead=f"There are: {', '.join(versions) or 'no versions'}.",
            remedies=[("Choose one", f"{COMMAND} promote {family} {versions[-1] if versions else 'VERSION'}")],
        )

    def _unknown(self, family: str, version: str | None) -> RegistryError:
        versions = self._names(family)
        if not versions:
            return self._none_of(family)
        if version is None:
            what, command = f"no version of {family} is the latest in {self.store.url}.", "promote"
        else:
            what, command = f"no version '{version}' of {family} in {self.store.url}.", "show"
        near = nearest(str(version), versions) or versions[-1]
        return RegistryError(
            what,
            instead=f"The nearest is {near}. There are: {', '.join(versions)}.",
            remedies=[("Take it", f"{COMMAND} {command} {family} {near}")],
        )

    def _none_of(self, family: str) -> RegistryError:
        families = sorted({owner for owner, _ in self._sizes()})
        remedies = [("Train one", f"python training_pipeline.py train {family}")]
        if not self.store.url.startswith("s3://"):
            remedies.append(("Or use the cloud's", "--registry s3://BUCKET"))
        return RegistryError(
            f"no version of {family} in {self.store.url}.",
            instead=f"There are versions of: {', '.join(families)}." if families else "",
            remedies=remedies,
        )


def problems_of(
    store: Store, prefix: str, manifest: Manifest, contents: bool = True, on_fetch: OnFetch | None = None
) -> list[str]:
    """What is missing, foreign or changed below a prefix; without ``contents`` by names and sizes alone.

    ``on_fetch`` hears of the bytes whose contents are compared.
    """
    sizes = {key.removeprefix(prefix): size_bytes for key, size_bytes in store.list(prefix)}
    sizes.pop(MANIFEST, None)
    problems = [f"{name} is not in the manifest." for name in sizes.keys() - manifest.files.keys()]
    total = sum(file.size_bytes for file in manifest.files.values())
    count = ByteCount(CHECKING, total, on_fetch if contents else None)
    for name, file in manifest.files.items():
        if name not in sizes:
            problems.append(f"{name} is missing.")
        elif sizes[name] != file.size_bytes:
            problems.append(f"{name} has {sizes[name]} bytes instead of {file.size_bytes}.")
        elif contents and _sha256(store, prefix + name, count) != file.sha256:
            problems.append(f"{name} is changed: its sha256 differs.")
    return sorted(problems)


def _sha256(store: Store, key: str, on_bytes: OnBytes) -> str:
    """The sha256 of an object; empty if it went away. Bytes are told once, as they come to where they are read."""
    with tempfile.TemporaryDirectory() as folder, suppress(KeyError):
        file = store.local_path(key)
        if file is not None:
            with disk_errors(file, "read"):
                return sha256_file(file, on_bytes)
        file = Path(folder) / "object"
        store.fetch(key, file, on_bytes)
        with disk_errors(file, "read"):
            return sha256_file(file)
    return ""
