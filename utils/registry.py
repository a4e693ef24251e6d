"""The registry: trained adapters as versions, the same in a folder and in a bucket.

    registry = Registry(FolderStore(Path("runs/registry")))
    version = registry.publish("llama", Path("runs/llama/adapter"), actor="ann", reason="more epochs")
    folder = registry.fetch("llama", "latest", Path("~/.cache/versions"))

    models/trained/<family>/<version>/             the files, then manifest.json: sha256 and size of each
    models/trained/<family>/latest.json            a version and the sha256 of its manifest
    models/trained/<family>/history.jsonl          who moved latest, when, from, to, why
    models/trained/<family>/claims/<version>.json  who took this version's name, written before any file

A version without a manifest does not exist. Whatever stops a publish, latest serves what it served before.
"""

from __future__ import annotations

import builtins
import json
import logging
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from utils.errors import ConflictError, RegistryError
from utils.files import MANIFEST, disk_errors, scan_folder, sha256_file
from utils.registry_reader import COMMAND, RegistryReader, problems_of
from utils.stores import Store
from utils.versions import (
    ROOT,
    VERSION_FORMAT,
    Event,
    FileSum,
    Unfinished,
    Version,
    append_line,
    build_manifest,
    check_family,
    check_version,
    claim_key,
    iso,
    served_before,
    split_key,
    to_json,
    version_key,
)

logger = logging.getLogger(__name__)

CLAIM_ATTEMPTS = 100  # publishes in one second
SWAP_ATTEMPTS = 16
LONGEST_PAUSE_SECONDS = 1.0


class Registry(RegistryReader):
    """Versions of adapters in a store. Two who write at once lose nothing of each other's.

    Args:
        store: where the versions are; nothing is read or written before the first call.
        clock: the present time, with a time zone.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(store)
        self._clock = clock

    def publish(
        self,
        family: str,
        folder: Path,
        *,
        version: str | None = None,
        actor: str,
        reason: str = "",
        promote: bool = True,
    ) -> str:
        """Copy an adapter's folder into the registry as a new version, and return its name.

        Takes a free name first, so that two who publish in the same second get two versions; then writes the files,
        the manifest, latest.json and a line of history. ``latest`` moves only forward here: it stays if it is at a
        later version already. Only ``promote`` and ``rollback`` move it back.

        Args:
            family: such as ``llama``.
            folder: adapter_model.safetensors, adapter_config.json and what belongs to them.
            version: ``YYYYMMDD-HHMMSS``; default: the present second, UTC, or the next that is free.
            actor: who publishes.
            reason: for the history.
            promote: whether ``latest`` moves.

        Raises:
            RegistryError: the folder holds what is not published, or the version is taken. If latest.json is
                damaged, the version is published all the same, and the error says how to promote it.
            StoreError: the store cannot be written.
        """
        check_family(family)
        sums = sums_of(scan_folder(folder))
        name, claim = self._claim(family, version, actor)
        self._upload(family, name, folder, sums, claim)

        def choose(present: str | None) -> str | None:
            return None if not promote or (present and present > name) else name

        moved = self._move(family, choose, event="publish", version=name, actor=actor, reason=reason, mend=not promote)
        if promote and moved.moved_to != name:
            logger.warning("%s of %s is published; latest stays at the later %s.", name, family, moved.moved_to)
        return name

    def promote(self, family: str, version: str, *, actor: str, reason: str = "") -> Event:
        """Make a version the latest, be it older or newer; also mends a damaged latest.json.

        Raises:
            RegistryError: no such version, or its files are not all there.
            StoreError: the store cannot be written.
        """
        if version not in self._names(family):
            raise self._unknown(family, version)
        return self._move(
            family, lambda _: version, event="promote", version=version, actor=actor, reason=reason, mend=True
        )

    def rollback(self, family: str, *, actor: str, reason: str = "") -> Event:
        """Make the version the latest that was it before the present one; twice goes back two.

        Raises:
            RegistryError: there was none before.
            StoreError: the store cannot be written.
        """
        return self._move(
            family, lambda present: self._before(family, present), event="rollback", actor=actor, reason=reason
        )

    def previous(self, family: str) -> str:
        """The version that a rollback would make the latest. Raises RegistryError: there was none before."""
        present = self.latest(family)
        return self._before(family, present.version if present else None)

    def unfinished(self, older_than_seconds: float = 86_400.0) -> builtins.list[Unfinished]:
        """Versions that were begun so long ago and have no manifest. Raises StoreError."""
        sizes: dict[tuple[str, str], int] = {}
        published = self._sizes()
        for key, size_bytes in self.store.list(f"{ROOT}/"):
            family, version, name = split_key(key)
            if version and (family, version) not in published:
                sizes[family, version] = sizes.get((family, version), 0) + (size_bytes if name else 0)
        begun = [self._begun(family, version, size_bytes) for (family, version), size_bytes in sorted(sizes.items())]
        before = self._clock() - timedelta(seconds=older_than_seconds)
        return [each for each in begun if each.started <= before]

    def remove_unfinished(self, family: str, version: str) -> None:
        """Delete what a stopped publish left; one that still goes on fails instead of finishing half.

        Raises:
            RegistryError: the version has a manifest: it is published, not left over.
            StoreError: the store cannot be written.
        """
        if self._read(version_key(check_family(family), check_version(version), MANIFEST))[0] is not None:
            raise RegistryError(f"{version} of {family} is published, not left over.")
        self.store.delete(claim_key(family, version))
        for key, _ in tuple(self.store.list(version_key(family, version, ""))):
            self.store.delete(key)

    # steps of a publish

    def _claim(self, family: str, version: str | None, actor: str) -> tuple[str, bytes]:
        """Take the name of a version, so that nobody else writes below it; the name and the claim's content."""
        moment = self._clock().astimezone(UTC)
        if version is not None:
            moment = datetime.strptime(check_version(version), VERSION_FORMAT).replace(tzinfo=UTC)
        at = iso(self._clock())
        for _ in range(CLAIM_ATTEMPTS if version is None else 1):
            name = moment.strftime(VERSION_FORMAT)
            claim = to_json({"actor": actor, "at": at, "token": secrets.token_hex(16)})
            if self._is_free(family, name, claim):
                return name, claim
            moment += timedelta(seconds=1)
        raise RegistryError(
            f"{version or name} of {family} is taken in {self.store.url}.",
            remedies=[("Let the time be its name", "leave the version out")],
        )

    def _is_free(self, family: str, name: str, claim: bytes) -> bool:
        try:
            self.store.compare_and_swap(claim_key(family, name), claim, None)
        except ConflictError:
            return False
        return next(iter(self.store.list(version_key(family, name, ""))), None) is None  # files that nobody claimed

    def _upload(self, family: str, name: str, folder: Path, sums: dict[str, FileSum], claim: bytes) -> None:
        for file in sums:
            self.store.put(version_key(family, name, file), folder / file)
        manifest = build_manifest(family, name, iso(self._clock()), sums)
        problems = problems_of(self.store, version_key(family, name, ""), manifest, contents=False)
        if sums_of(scan_folder(folder)) != sums or problems:
            raise RegistryError(f"{folder} changed while it was published, so {name} of {family} was not finished.")
        if self._read(claim_key(family, name))[0] != claim:
            raise RegistryError(f"{name} of {family} was removed as unfinished while it was published.")
        self.store.compare_and_swap(version_key(family, name, MANIFEST), manifest.content, None)

    def _move(
        self,
        family: str,
        choose: Callable[[str | None], str | None],
        *,
        event: str,
        version: str = "",
        actor: str,
        reason: str,
        mend: bool = False,
    ) -> Event:
        """Move latest to what ``choose`` makes of its present version (None: stay), and write the line of history."""
        moved: tuple[str | None, str | None] = (None, None)

        def change(content: bytes | None) -> bytes | None:
            nonlocal moved
            pointer = self._parse_pointer(family, content, mend)
            present = pointer["version"] if pointer else None
            target = choose(present)
            moved = (present, target or present)
            return self._pointer_to(family, target) if target else None

        self._swap(version_key(check_family(family), "latest.json"), change)
        record = Event(iso(self._clock()), event, version or str(moved[1]), *moved, actor, reason)
        line = json.dumps(record.to_dict(), ensure_ascii=False).encode(errors="replace") + b"\n"
        self._swap(version_key(family, "history.jsonl"), lambda content: append_line(content or b"", line))
        return record

    def _pointer_to(self, family: str, version: str) -> bytes:
        manifest = self._manifest(family, version)
        found = Version(family, version, 0, 0, False)
        self._refuse(found, problems_of(self.store, version_key(family, version, ""), manifest, contents=False))
        return to_json({"version": version, "manifest_sha256": manifest.sha256})

    def _before(self, family: str, present: str | None) -> str:
        served = served_before(self.history(family), present)
        published = self._names(family)
        for version in reversed(served):
            if version in published and version != present:
                return version
        raise RegistryError(
            f"{family} has no version that was served before {present or 'now'}.",
            instead=f"There are: {', '.join(published) or 'none'}.",
            remedies=[("Choose one", f"{COMMAND} promote {family} VERSION")],
        )

    def _swap(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Write what ``change`` makes of the present content, again and again until nobody came between."""
        for attempt in range(SWAP_ATTEMPTS):
            content, etag = self._read(key)
            changed = change(content)
            if changed is None or changed == content:
                return
            try:
                self.store.compare_and_swap(key, changed, etag)
                return
            except ConflictError:
                pause_seconds = min(LONGEST_PAUSE_SECONDS, 0.01 * 2**attempt)
                time.sleep(random.uniform(0, pause_seconds))  # noqa: S311 - spreads writers, guards nothing
        raise ConflictError(f"{key} in {self.store.url} keeps changing.", remedies=[("Try again", "the same command")])

    def _begun(self, family: str, version: str, size_bytes: int) -> Unfinished:
        actor, started = "", datetime.strptime(version, VERSION_FORMAT).replace(tzinfo=UTC)
        with suppress(KeyError, TypeError, ValueError, RecursionError):
            claim = json.loads(self._read(claim_key(family, version))[0] or b"")
            actor, started = str(claim["actor"]), datetime.fromisoformat(claim["at"]).astimezone(UTC)
        return Unfinished(family, version, size_bytes, actor, started)


def sums_of(files: dict[str, Path]) -> dict[str, FileSum]:
    sums = {}
    for name, file in files.items():
        with disk_errors(file, "read"):
            sums[name] = FileSum(sha256_file(file), file.stat().st_size)
    return sums
