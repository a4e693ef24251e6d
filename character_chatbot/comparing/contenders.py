"""Who can be compared, and the second model that this takes: loaded when it is asked for, kept, and freed for another.

    contenders = Contenders(service, registry, "llama")
    contenders.choices()                       # {"served": "now: llama 20261121-101530 …", "quotes": "…"}
    failed = contenders.prepare("version:llama/20261120-090000", "served")
    contenders.loading                         # "fetching llama 20261120-090000 from …, 35%, 8 s", meanwhile
    source = contenders.open("version:llama/20261120-090000", beside="served")

What the chat speaks with is never loaded twice. Beyond it, only the two that are compared are kept, as long as memory
is enough for both.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.load_progress import STARTING, LoadProgress, Stage
from config import FAMILIES
from utils.announcements import Announcements
from utils.errors import BaseModelError, RegistryError, StoreError, SuiteError, UsageError

if TYPE_CHECKING:
    from character_chatbot.engines.base import Engine
    from character_chatbot.nano import NanoRecipe
    from character_chatbot.service import Service
    from character_chatbot.sources import Source
    from utils.registry import Registry

logger = logging.getLogger(__name__)

SERVED, QUOTES = "served", "quotes"
GIB = 2**30
LOADING_BYTES = GIB // 4  # beside the weights: a tokenizer, and the activations of a reply


class Contenders:
    """Sources by key. Several threads may ask at once; who loads makes the others wait.

    Args:
        service: what the chat speaks with.
        registry: of versions.
        family: of what is served.
        load: finds a source by rung, family and version; default: :func:`find_source`.
        free_bytes: how much memory is left for a model; None: not known.
    """

    def __init__(
        self,
        service: Service,
        registry: Registry,
        family: str,
        *,
        load: Callable[[str, str, str | None], Source] | None = None,
        free_bytes: Callable[[], int | None] | None = None,
    ) -> None:
        self._service, self._registry, self._family = service, registry, family
        self.progress = LoadProgress(beside=service.progress)  # of the one that is loaded now, whoever asked for it
        self._load = load or (lambda *wanted: find_source(service, registry, *wanted, progress=self.progress))
        self._free_bytes = free_bytes or _free_bytes
        self._kept: dict[str, Source] = {}
        self._labels: dict[str, str] = {}  # as they were listed last
        self._recipes: dict[str, NanoRecipe] | None = None
        self._lock = threading.Lock()
        self._at_work = False

    def choices(self) -> dict[str, str]:
        """Labels by key, of what can be had on this machine now; empty while nothing is loaded."""
        service = self._service
        if service.loading or service.problem:
            return {}
        served = service.source
        found = {SERVED: f"now: {served.label}"}
        found |= {key: label for key, label in self._versions() if key != f"version:{self._family}/{served.version}"}
        found |= {key: label for key, label in self._bases() if (served.rung, key) != ("base", f"base:{self._family}")}
        if service.corpus is not None:
            nano = {f"nano:{family}": f"the nano base ({family}), untrained" for family in self._nano_families()}
            found |= {} if served.rung == "nano" else nano
            found |= {} if served.rung == QUOTES else {QUOTES: "quotes: the character's own lines"}
        self._labels = found
        return found

    def open(self, key: str, beside: str = "") -> Source:
        """The source of a key, loaded if need be.

        Args:
            key: of :meth:`choices`.
            beside: the other one of the pair, which is kept if there is room for both.

        Raises:
            UsageError: no such key.
            BaseModelError, RegistryError, StoreError: it cannot be had, or does not fit into memory.
        """
        if key == SERVED:
            return self._service.source
        if key not in self._labels and key not in self.choices():
            raise UsageError(f"'{key[:60]}' cannot be compared.", instead="Choose one of the list.")
        with self._lock:
            return self._open(key, beside)

    def prepare(self, first: str, second: str) -> dict[str, SuiteError]:
        """Load both of a pair, as far as there is room for both; by key why one cannot be had.

        What has no room is loaded by :meth:`open`, in place of the other one.
        """
        failed: dict[str, SuiteError] = {}
        for key, other in ((first, second), (second, first)):
            try:
                if self._has_room(key, other):
                    self.open(key, other)
            except SuiteError as error:
                failed[key] = error
        return failed

    @property
    def loading(self) -> Stage | None:
        """How far loading is; None where nothing is being loaded."""
        return self.progress.read() if self._at_work else None

    def _open(self, key: str, beside: str) -> Source:
        if key in self._kept:
            return self._kept[key]
        self.progress.begin(STARTING, self._labels[key])
        self._at_work = True
        try:
            self._make_room(key, beside)
            kind, _, name = key.partition(":")
            family, _, version = name.partition("/")
            self._kept[key] = self._load(kind, family or self._family, version or None)
        finally:
            self._at_work = False
        return self._kept[key]

    def _has_room(self, key: str, other: str) -> bool:
        """Whether loading ``key`` leaves the other one where it is."""
        with self._lock:
            if key in (SERVED, *self._kept) or other not in self._kept:
                return True
            self._free(each for each in self.kept if each != other)
            return _fits(self._needed_bytes(key), self._free_bytes())

    @property
    def kept(self) -> tuple[str, ...]:
        """The keys that are loaded beside what the chat speaks with."""
        return tuple(self._kept)

    def _make_room(self, key: str, beside: str) -> None:
        """Free what is not compared, and the other of the pair where memory is short. Raises BaseModelError."""
        self._free(other for other in self.kept if other != beside)
        needed = self._needed_bytes(key)
        if not _fits(needed, self._free_bytes()):
            self._free(self.kept)
        free = self._free_bytes()
        if not _fits(needed, free):
            raise BaseModelError(
                f"{self._labels[key]} takes {needed / GIB:.1f} GiB of memory, and {(free or 0) / GIB:.1f} GiB are free "
                "beside what the chat speaks with.",
                instead="Quotes fit on any machine; a smaller base may fit.",
                remedies=[("Or let the chat speak with less", "python gradio_app.py --source quotes")],
            )

    def _free(self, keys: Any) -> None:
        for key in tuple(keys):
            source = self._kept.pop(key)
            close = getattr(source.engine(source.characters[0]), "close", None) if source.characters else None
            if close:
                close()
            del source, close
            logger.info("freed: %s", key)
        gc.collect()
        if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
            sys.modules["torch"].cuda.empty_cache()

    def _needed_bytes(self, key: str) -> int:
        """About what loading it takes; 0 where that is not known."""
        kind, _, name = key.partition(":")
        parameters = 0
        if kind == "version":
            family, _, version = name.partition("/")
            with suppress(RegistryError, StoreError):
                base = self._registry.show(family, version)["run"].get("base") or {}
                exported = self._exported_bytes(family, version, str(base.get("name", "")))
                if exported:
                    return exported
                parameters = int(base.get("parameters") or 0)
        elif kind == "base":
            parameters = count_cached_parameters(_base_name(self._service.settings, name))
        return parameters * _number_bytes() + LOADING_BYTES if parameters else 0

    def _exported_bytes(self, family: str, version: str, base: str) -> int:
        """What a version takes on OpenVINO; 0 where torch will speak for it."""
        from character_chatbot.engines.choice import can_share
        from utils.exports import find_version_export, read_footprint

        if self._service.settings.chat.engine == "torch" or on_gpu():
            return 0
        with suppress(KeyError, TypeError, ValueError, RegistryError, StoreError):
            name, record = find_version_export(self._registry.store, family, version, base)
            size = read_footprint(record or {})
            if name == version:
                return size.least_bytes()
            return (
                LOADING_BYTES if can_share(_served_engine(self._service), name) else size.with_adapter().least_bytes()
            )
        return 0

    def _versions(self) -> Iterator[tuple[str, str]]:
        try:
            for each in self._registry.list():
                latest = ", the latest" if each.is_latest else ""
                yield f"version:{each.family}/{each.version}", f"{each.family} {each.version}{latest}"
        except (RegistryError, StoreError) as error:
            logger.warning("versions cannot be compared: %s", error.what)

    def _bases(self) -> Iterator[tuple[str, str]]:
        """Bases that lie in the hub's cache on this machine: nothing is downloaded for a comparison."""
        from character_chatbot.bases import is_cached

        for family in FAMILIES:
            name = _base_name(self._service.settings, family)
            if is_cached(name):
                yield f"base:{family}", f"{name}, untrained, with the persona"

    def _nano_families(self) -> Iterator[str]:
        """Families whose nano base an earlier run has made from this series."""
        from character_chatbot.nano import NanoRecipe, find_nano_base

        settings, corpus = self._service.settings, self._service.corpus
        if corpus is None or not (settings.paths.cache.expanduser() / "bases").is_dir():
            return
        if self._recipes is None:
            scenes = corpus.scenes(corpus.build_dialogues(settings).training_episodes)
            made = ((name, NanoRecipe(name, scenes, settings.nano, settings.training.seed)) for name in FAMILIES)
            self._recipes = dict(made)
        yield from (name for name, recipe in self._recipes.items() if find_nano_base(recipe, settings.paths.cache))


def find_source(
    service: Service,
    registry: Registry,
    rung: str,
    family: str,
    version: str | None,
    *,
    progress: LoadProgress | None = None,
) -> Source:
    """This rung, loaded, and no other; ``progress`` is told how far that is.

    Raises:
        BaseModelError, RegistryError, StoreError: it cannot be had.
    """
    from character_chatbot.sources import SourceFinder

    made, corpus = Announcements(quiet=True), (service.corpus, service.no_corpus)
    beside = _served_engine(service)
    told = progress or LoadProgress()
    found = SourceFinder(family, service.settings, registry, made, *corpus, beside, told).find(rung, version)
    if found.rung != rung:
        why = "; ".join(each.why for each in made if each.feature == "chat")
        raise BaseModelError(f"{rung} of {family} cannot be had: {why}.")
    return found


def _served_engine(service: Service) -> Engine | None:
    """The one that the chat speaks with: another version on the same base may speak through it."""
    source = service.source
    return source.engine(source.characters[0]) if source.version and source.characters else None


def count_cached_parameters(repository: str) -> int:
    """Numbers in the weights of a repository in the hub's cache, from the headers of its files; 0: not known."""
    from huggingface_hub import try_to_load_from_cache

    from character_chatbot.export.weights import Weights

    config = try_to_load_from_cache(repository, "config.json")
    if not isinstance(config, str):
        return 0
    try:
        return Weights.open(Path(config).parent).count()
    except (BaseModelError, OSError):
        return 0


def _fits(needed: int, free: int | None) -> bool:
    return not needed or free is None or needed <= free


def _base_name(settings: Any, family: str) -> str:
    bases = settings.families[family]
    return str(bases.gpu if on_gpu() else bases.laptop)


def on_gpu() -> bool:
    """Whether models run on a GPU here; asking torch costs its import, and most machines show that they have none."""
    from character_chatbot.engines.choice import may_have_cuda

    if not may_have_cuda():
        return False
    import torch

    return torch.cuda.is_available()


def _number_bytes() -> int:
    """Of one number of the weights: half precision on a GPU, float32 on a CPU."""
    return 2 if on_gpu() else 4


def _free_bytes() -> int | None:
    from character_chatbot.machine.machine_memory import available_bytes, free_host_bytes

    return available_bytes("cuda") if on_gpu() else free_host_bytes()
