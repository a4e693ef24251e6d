"""Exported models in a registry's store: where they are, which one serves a version, and how much memory that takes.

    models/exported/<family>/<version>/          a version, its adapter merged in
    models/exported/<family>/base-<hash>/        a base, for adapters at run time

name, record = find_version_export(store, "llama", "20261121-074545", "meta-llama/Llama-3.2-3B-Instruct")
read_footprint(record).serving_bytes(16_384)     # of memory, with a cache of so many tokens

A version is never changed once its manifest is written, so an export is an artefact of its own, made later or again,
with a manifest of its own that is written last: an export without one does not exist.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from utils.errors import RegistryError
from utils.files import MANIFEST
from utils.stores import Store
from utils.versions import SHA256, FileSum, check_family

ROOT = "models/exported"
MODEL_FILES = ("openvino_model.xml", "openvino_model.bin", "config.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
RECORD = "export.json"
FILES = (*MODEL_FILES, *TOKENIZER_FILES, RECORD)
NAME = re.compile(r"[0-9]{8}-[0-9]{6}|base-[0-9a-f]{12}")
MIB, GIB = 2**20, 2**30
# Measured on two cores in the 3B shape (docs/serving.md): OpenVINO holds the weights once more in the order in which it
# multiplies them (the file's own pages are the kernel's to drop), the cache as it fills, and 260 MiB beside; 1.4 times
# the weights with an adapter put on.
PROCESS_BYTES = 300 * MIB  # Python, OpenVINO and the activations of a step
ADAPTER_FACTOR = 1.5
SMALLEST_CACHE_TOKENS = 1024


@dataclass(frozen=True)
class Footprint:
    """Bytes: ``weights`` in memory, ``cache_token`` for each token of a conversation, ``program``: all else."""

    weights: int
    cache_token: float
    program: int = PROCESS_BYTES

    def serving_bytes(self, cache_tokens: int) -> int:
        """What the engine's process takes at most."""
        return int(self.weights + self.cache_token * cache_tokens + self.program)

    def least_bytes(self) -> int:
        """With the smallest cache that is worth its while."""
        return self.serving_bytes(SMALLEST_CACHE_TOKENS)

    def with_adapter(self) -> Footprint:
        """With an adapter put on at run time: OpenVINO then keeps some of what it is put on unpacked."""
        return Footprint(int(ADAPTER_FACTOR * self.weights), self.cache_token)

    def fitting_tokens(self, available: int | None, wanted: int) -> int:
        """As many tokens of cache as fit, at most ``wanted``; 0 where not even the weights do."""
        if available is None:
            return wanted
        left = available - self.weights - self.program
        tokens = min(wanted, int(left / self.cache_token)) if left > 0 else 0
        return tokens if tokens >= min(wanted, SMALLEST_CACHE_TOKENS) else 0


def read_footprint(record: Mapping[str, Any]) -> Footprint:
    """What export.json says of an export's size. Raises KeyError, TypeError, ValueError: it does not."""
    return Footprint(int(record["weights_bytes"]), float(record["cache_token_bytes"]))


def base_export_name(base: str) -> str:
    """The name under which a base itself is exported."""
    return f"base-{hashlib.sha256(base.encode()).hexdigest()[:12]}"


def find_export(store: Store, family: str, name: str) -> dict[str, Any] | None:
    """What export.json says of an export; None where there is none.

    Raises:
        RegistryError: it is damaged.
        StoreError: the store cannot be read.
    """
    files = read_export_manifest(store, family, name)
    if files is None:
        return None
    with suppress(KeyError, ValueError, RecursionError):
        record = json.loads(store.get(export_key(family, name, RECORD))[0])
        if isinstance(record, dict):
            return record
    raise damaged_export(family, name, RECORD)


def find_version_export(store: Store, family: str, version: str, base: str) -> tuple[str, dict[str, Any] | None]:
    """Name and record of the export of a version itself, else of its base; ``version`` empty: of the base.

    Raises:
        RegistryError: it is damaged.
        StoreError: the store cannot be read.
    """
    found = find_export(store, family, version) if version else None
    if found is not None:
        return version, found
    name = base_export_name(base)
    return name, find_export(store, family, name)


def read_export_manifest(store: Store, family: str, name: str) -> dict[str, FileSum] | None:
    """The files of an export; None where there is none. Raises RegistryError, StoreError."""
    try:
        content = store.get(export_key(family, name, MANIFEST))[0]
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
        raise damaged_export(family, name, MANIFEST) from None
    return found


def damaged_export(family: str, name: str, file: str) -> RegistryError:
    """What is said of an export of which ``file`` is wrong."""
    return RegistryError(
        f"the export of {family} {name} is damaged: {file}.",
        remedies=[("Make it again", export_command(family, name, True))],
    )


def export_command(family: str, name: str, again: bool = False) -> str:
    """How to make it."""
    version = " --runtime-adapter" if name.startswith("base-") else f" --version {name}"
    return f"python training_pipeline.py export {family}{version}{' --again' if again else ''}"


def export_key(family: str, name: str, file: str) -> str:
    """Where a file of it is in the store. Raises RegistryError: an export cannot have this name."""
    if not NAME.fullmatch(name):
        raise RegistryError(f"{name!r} is not the name of an export.")
    return f"{ROOT}/{check_family(family)}/{name}/{file}"
