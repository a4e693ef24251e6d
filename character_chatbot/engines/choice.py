"""Which engine speaks for a model: torch on a GPU, OpenVINO on a CPU where it is exported, else torch.

speaker = version_speaker("llama", trained)
chosen = choose_engine(settings, registry, speaker, cuda=has_cuda)
chosen.engine                  # loaded; None: torch is to speak
chosen.why, chosen.remedy      # why not OpenVINO; worth telling where ``announce`` is true
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_chatbot.engines.base import Engine
from character_chatbot.engines.openvino_engine import EngineOptions, OpenVinoEngine
from character_chatbot.export.packages import INSTALL, missing_package
from character_chatbot.export.shelf import fetch_export
from character_chatbot.load_progress import CHECKING, READING, LoadProgress
from character_chatbot.machine.machine_memory import available_host_bytes, free_host_bytes, own_bytes
from character_chatbot.version import TrainedVersion
from config import Settings
from utils.errors import BaseModelError, RegistryError, StoreError, SuiteError
from utils.exports import GIB, Footprint, find_version_export, read_footprint
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


@dataclass(frozen=True)
class Speaker:
    """What is to speak: a base, with the adapter of a version or as it is. ``parameters``: 0: not known."""

    family: str
    base: str
    version: str = ""
    adapter: Path | None = None
    parameters: int = 0

    @property
    def label(self) -> str:
        return f"{self.family} {self.version}" if self.version else self.base

    @property
    def export_command(self) -> str:
        which = f"--version {self.version}" if self.version else f"--base {self.base}"
        return f"python training_pipeline.py export {self.family} {which}"


def version_speaker(family: str, trained: TrainedVersion) -> Speaker:
    """A version of the registry."""
    parameters = int(trained.run["base"].get("parameters") or 0)
    return Speaker(family, trained.base.name, trained.folder.name, trained.folder, parameters)


def may_have_cuda() -> bool:
    """Whether it is worth to ask torch for a GPU: false spares its import, a second and 200 MB."""
    return any(Path(sign).exists() for sign in CUDA_SIGNS)


def choose_engine(
    settings: Settings,
    registry: Registry,
    speaker: Speaker,
    cuda: Callable[[], bool],
    beside: Engine | None = None,
    *,
    progress: LoadProgress | None = None,
) -> EngineChoice:
    """OpenVINO, loaded, or why it is torch.

    Args:
        cuda: whether torch has a GPU; asked only where the answer matters.
        beside: an engine that is there already: a second version on the same exported base speaks through it.
        progress: is told how far loading is.

    Raises:
        BaseModelError: neither fits into this machine's memory.
    """
    first = _torch_first(settings.chat.engine, cuda)
    if first:
        return EngineChoice(why=first)
    wanted = _Wanted(settings, registry, speaker, beside, progress or LoadProgress())
    try:
        return _open_or_say(wanted)
    except _DoesNotFitError as error:
        _refuse_torch(speaker, error)
        return EngineChoice(None, str(error), error.remedy, True)
    except (RegistryError, StoreError, BaseModelError) as error:
        return EngineChoice(None, error.what.rstrip("."), _remedy(error, speaker.export_command), True)


@dataclass(frozen=True)
class _Wanted:
    settings: Settings
    registry: Registry
    speaker: Speaker
    beside: Engine | None
    progress: LoadProgress


def _torch_first(wanted: str, cuda: Callable[[], bool]) -> str:
    """Why torch speaks without a look at exports; empty where it does not."""
    if wanted == TORCH:
        return "chat.engine is torch"
    return "torch is faster on a GPU" if wanted != OPENVINO and may_have_cuda() and cuda() else ""


def _open_or_say(wanted: _Wanted) -> EngineChoice:
    """OpenVINO, or that there is no export (worth telling where it was asked for) or no package."""
    speaker = wanted.speaker
    name, record = find_version_export(wanted.registry.store, speaker.family, speaker.version, speaker.base)
    if record is None:
        why = f"{speaker.label} is not exported"
        return EngineChoice(None, why, speaker.export_command, wanted.settings.chat.engine == OPENVINO)
    missing = missing_package()
    if missing:
        return EngineChoice(None, f"the package {missing} is not installed", INSTALL, True)
    return EngineChoice(_open(wanted, name, record))


class _DoesNotFitError(Exception):
    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


def can_share(beside: Engine | None, name: str) -> bool:
    """Whether an engine that is there already can speak for a version on the exported base of this name."""
    return isinstance(beside, OpenVinoEngine) and beside.takes_adapters and beside.folder.name == name


def _open(wanted: _Wanted, name: str, record: dict[str, Any]) -> OpenVinoEngine:
    """Loaded. Raises _DoesNotFitError, RegistryError, StoreError, BaseModelError."""
    settings, speaker, beside = wanted.settings, wanted.speaker, wanted.beside
    try:
        footprint = read_footprint(record)
        parameters = int(record["parameters"])
    except (KeyError, TypeError, ValueError):
        raise RegistryError(f"export.json of {speaker.family} {name} does not say how large it is.") from None
    if speaker.adapter and isinstance(beside, OpenVinoEngine) and can_share(beside, name):
        logger.info("%s speaks through the engine that is there, with its own adapter", speaker.label)
        return beside.with_adapter(speaker.version, speaker.adapter)
    plain = name == speaker.version or speaker.adapter is None
    footprint = footprint if plain else footprint.with_adapter()
    tokens = _fit(footprint, settings.chat.cache_tokens)
    wanted.progress.begin(CHECKING, f"the export of {speaker.family} {name}")
    folder = fetch_export(
        wanted.registry.store, speaker.family, name, settings.paths.cache / "exports", wanted.progress
    )
    adapters = {} if plain or speaker.adapter is None else {speaker.version: speaker.adapter}
    options = EngineOptions(tokens, settings.chat.replies_at_once, adapters=adapters)
    engine = OpenVinoEngine(folder, options, speaker.version if adapters else "", parameters)
    engine.load(lambda pid: _watch(wanted, footprint, pid))
    logger.info("OpenVINO speaks for %s: exported in %s bits, %s", speaker.label, record["bits"], _how(speaker, name))
    return engine


def _watch(wanted: _Wanted, footprint: Footprint, pid: int) -> None:
    """OpenVINO says nothing while it loads, but its memory grows steadily: to 99 % of this in the 3B shape."""
    expected = footprint.weights + footprint.program
    what = f"the weights of {wanted.speaker.label}"
    wanted.progress.begin(READING, what, done=lambda: own_bytes(pid=pid), total=expected)


def _how(speaker: Speaker, name: str) -> str:
    if speaker.adapter is None:
        return "as it is"
    return "its adapter merged in" if name == speaker.version else "its adapter put on at run time"


def _fit(footprint: Footprint, wanted: int) -> int:
    """Tokens of cache that fit, with the reason where they are fewer than wanted."""
    available = free_host_bytes()
    tokens = footprint.fitting_tokens(available, wanted)
    needed = footprint.least_bytes() / GIB
    if not tokens:
        raise _DoesNotFitError(
            f"the exported model takes {needed:.1f} GiB, and {(available or 0) / GIB:.1f} GiB are free",
            f"a machine with {needed + 0.5:.1f} GiB, or a smaller base",
        )
    if tokens < wanted:
        logger.info("the cache keeps %d tokens instead of %d: memory is short", tokens, wanted)
    return tokens


def _refuse_torch(speaker: Speaker, error: _DoesNotFitError) -> None:
    """Torch keeps at least two bytes a number on a CPU: where that does not fit, it need not be imported."""
    parameters, available = speaker.parameters, available_host_bytes()
    if parameters and available is not None and 2 * parameters > available:
        raise BaseModelError(
            f"{speaker.base} does not fit into this machine: {error}.",
            instead=f"With torch its weights alone take {2 * parameters / GIB:.1f} GiB.",
            remedies=[("Serve it on", error.remedy)],
        ) from None


def _remedy(error: SuiteError, otherwise: str) -> str:
    return error.remedies[0][1] if error.remedies else otherwise
