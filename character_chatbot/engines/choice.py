"""Which engine speaks for a version: torch on a GPU, OpenVINO on a CPU where the version is exported, else torch.

chosen = choose_engine(settings, registry, "llama", trained, cuda=has_cuda)
chosen.engine                  # loaded; None: torch is to speak
chosen.why, chosen.remedy      # why not OpenVINO; worth telling where ``announce`` is true
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_chatbot.engines.openvino_engine import EngineOptions, OpenVinoEngine
from character_chatbot.export.footprint import GIB, PROCESS_BYTES, Footprint
from character_chatbot.export.packages import INSTALL, missing_package
from character_chatbot.export.shelf import base_export_name, fetch_export, find_export
from character_chatbot.machine.machine_memory import available_host_bytes
from character_chatbot.version import TrainedVersion
from config import Settings
from utils.errors import BaseModelError, RegistryError, StoreError, SuiteError
from utils.registry import Registry

logger = logging.getLogger(__name__)

TORCH, OPENVINO = "torch", "openvino"
# A CUDA device shows as one of these (NVIDIA's driver; the one of WSL), whether or not torch is there to use it.
CUDA_SIGNS = ("/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg")


@dataclass(frozen=True)
class EngineChoice:
    """``engine`` None: torch speaks, because of ``why``. ``announce``: OpenVINO was to be had and is not."""

    engine: OpenVinoEngine | None = None
    why: str = ""
    remedy: str = ""
    announce: bool = False


def may_have_cuda() -> bool:
    """Whether it is worth to ask torch for a GPU: false spares its import, a second and 200 MB."""
    return any(Path(sign).exists() for sign in CUDA_SIGNS)


def choose_engine(
    settings: Settings, registry: Registry, family: str, trained: TrainedVersion, cuda: Callable[[], bool]
) -> EngineChoice:
    """OpenVINO, loaded, or why it is torch.

    Args:
        cuda: whether torch has a GPU; asked only where the answer matters.

    Raises:
        BaseModelError: neither fits into this machine's memory.
    """
    first = _torch_first(settings.chat.engine, cuda)
    if first:
        return EngineChoice(why=first)
    wanted = _Wanted(settings, registry, family, trained)
    try:
        return _open_or_say(wanted)
    except _DoesNotFitError as error:
        _refuse_torch(trained, error)
        return EngineChoice(None, str(error), error.remedy, True)
    except (RegistryError, StoreError, BaseModelError) as error:
        return EngineChoice(None, error.what.rstrip("."), _remedy(error, wanted.export_command), True)


@dataclass(frozen=True)
class _Wanted:
    """A version that is to speak."""

    settings: Settings
    registry: Registry
    family: str
    trained: TrainedVersion

    @property
    def version(self) -> str:
        return self.trained.folder.name

    @property
    def export_command(self) -> str:
        return f"python training_pipeline.py export {self.family} --version {self.version}"


def _torch_first(wanted: str, cuda: Callable[[], bool]) -> str:
    """Why torch speaks without a look at exports; empty where it does not."""
    if wanted == TORCH:
        return "chat.engine is torch"
    return "torch is faster on a GPU" if wanted != OPENVINO and may_have_cuda() and cuda() else ""


def _open_or_say(wanted: _Wanted) -> EngineChoice:
    """OpenVINO, or that there is no export (worth telling where it was asked for) or no package."""
    name, record = _find(wanted)
    if record is None:
        why = f"{wanted.family} {wanted.version} is not exported"
        return EngineChoice(None, why, wanted.export_command, wanted.settings.chat.engine == OPENVINO)
    missing = missing_package()
    if missing:
        return EngineChoice(None, f"the package {missing} is not installed", INSTALL, True)
    return EngineChoice(_open(wanted, name, record))


class _DoesNotFitError(Exception):
    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


def _find(wanted: _Wanted) -> tuple[str, dict[str, Any] | None]:
    """The export of the version itself, else the one of its base."""
    found = find_export(wanted.registry.store, wanted.family, wanted.version)
    if found is not None:
        return wanted.version, found
    name = base_export_name(wanted.trained.base.name)
    return name, find_export(wanted.registry.store, wanted.family, name)


def _open(wanted: _Wanted, name: str, record: dict[str, Any]) -> OpenVinoEngine:
    """Loaded. Raises _DoesNotFitError, RegistryError, StoreError, BaseModelError."""
    settings, version = wanted.settings, wanted.version
    try:
        footprint = Footprint(int(record["weights_bytes"]), float(record["cache_token_bytes"]))
        parameters = int(record["parameters"])
    except (KeyError, TypeError, ValueError):
        raise RegistryError(f"export.json of {wanted.family} {name} does not say how large it is.") from None
    merged = name == version
    tokens = _fit(footprint if merged else footprint.with_adapter(), settings.chat.cache_tokens)
    folder = fetch_export(wanted.registry.store, wanted.family, name, settings.paths.cache / "exports")
    adapters = {} if merged else {version: wanted.trained.folder}
    options = EngineOptions(tokens, settings.chat.replies_at_once, adapters=adapters)
    engine = OpenVinoEngine(folder, options, "" if merged else version, parameters)
    engine.load()
    how = "its adapter merged in" if merged else "its adapter put on at run time"
    logger.info("OpenVINO speaks for %s %s: exported in %s bits, %s", wanted.family, version, record["bits"], how)
    return engine


def _fit(footprint: Footprint, wanted: int) -> int:
    """Tokens of cache that fit, with the reason where they are fewer than wanted."""
    available = available_host_bytes()
    tokens = footprint.fitting_tokens(available, wanted)
    needed = footprint.serving_bytes(min(wanted, 1024)) / GIB
    if not tokens:
        raise _DoesNotFitError(
            f"the exported model takes {needed:.1f} GiB, and {(available or 0) / GIB:.1f} GiB are free",
            f"a machine with {needed + 0.5:.1f} GiB, or a smaller base",
        )
    if tokens < wanted:
        logger.info("the cache keeps %d tokens instead of %d: memory is short", tokens, wanted)
    return tokens


def _refuse_torch(trained: TrainedVersion, error: _DoesNotFitError) -> None:
    """Torch keeps four bytes a number on a CPU: where the packed model does not fit, it hardly does."""
    parameters, available = trained.run["base"].get("parameters"), available_host_bytes()
    if parameters and available is not None and 4 * parameters + PROCESS_BYTES > available:
        raise BaseModelError(
            f"{trained.base.name} does not fit into this machine: {error}.",
            instead=f"With torch it takes {(4 * parameters + PROCESS_BYTES) / GIB:.1f} GiB.",
            remedies=[("Serve it on", error.remedy)],
        ) from None


def _remedy(error: SuiteError, otherwise: str) -> str:
    return error.remedies[0][1] if error.remedies else otherwise
