"""Who answers: the ladder of model sources, from a trained version down to the character's own lines.

version     an adapter from the registry, on the base it was trained on
fine-tuned  a fine-tuned model on the hub, if one is set for the family
base        the family's base model with the persona as its prompt
nano        a nano base that an earlier run has made from this series
quotes      the character's own most fitting lines; needs no model

Each step down is announced with its reason and what to do about it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from character_chatbot.bases import HUB, Base, default_base, is_cached, nano_base
from character_chatbot.cards.card import Card
from character_chatbot.cards.casting import with_cards
from character_chatbot.cards.shelf import FOLDER, CardShelf
from character_chatbot.corpus import Corpus
from character_chatbot.engines.base import Engine
from character_chatbot.engines.choice import Speaker, choose_engine, version_speaker
from character_chatbot.engines.peft_engine import PeftEngine
from character_chatbot.engines.quotes import QuotesEngine
from character_chatbot.engines.torch_memory import plan_torch
from character_chatbot.load_progress import CHECKING, SCENES, STARTING, LoadProgress, tell_fetch
from character_chatbot.machine.devices import Device, choose_device
from character_chatbot.nano import NanoRecipe, find_nano_base
from character_chatbot.recall.counting import Reader
from character_chatbot.recall.serving import Recall, with_recall
from character_chatbot.version import TrainedVersion, open_version
from config import RUNGS, Settings
from utils.announcements import Announcement, Announcements
from utils.characters import Cast
from utils.errors import BaseModelError, DataError, RegistryError, StoreError, SuiteError
from utils.hub import HubState, check_hub
from utils.registry import Registry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What answers. ``characters``: whom one can talk to. ``run``, ``version``: empty on other rungs than version.

    ``base``: the name of the model, empty for quotes. ``reader``: what is known of it. ``recall``: scene memory.
    ``cards``: those of imported characters, by the name in ``cast``.
    """

    rung: str
    label: str
    title: str
    cast: Cast
    characters: tuple[str, ...]
    engine: Callable[[str], Engine]
    trained: tuple[str, ...] = ()
    run: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    base: str = ""
    reader: Reader = field(default_factory=Reader)
    recall: Recall | None = None
    cards: Mapping[str, Card] = field(default_factory=dict)


class _StepDownError(Exception):
    """This rung cannot be had: why, and what to do about it."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why, self.remedy = why, remedy


@dataclass
class SourceFinder:
    """Finds the highest rung that can be had.

    ``corpus``: the series; None where its transcripts are not on this machine, then ``no_corpus`` says why.
    ``beside``: an engine that is there already, with which a version may share the base. ``progress``: is told how far
    it is.
    """

    family: str
    settings: Settings
    registry: Registry
    announcements: Announcements
    corpus: Corpus | None = None
    no_corpus: str = "no series folder was given"
    beside: Engine | None = None
    progress: LoadProgress = field(default_factory=LoadProgress)

    def find(self, start: str = RUNGS[0], version: str | None = None) -> Source:
        """The first source from ``start`` down whose model can be loaded; loads it.

        Args:
            start: a name of ``RUNGS``.
            version: of the registry; None: the latest. A version asked for by name is not stepped down from.

        Raises:
            RegistryError, StoreError, BaseModelError: the version asked for by name cannot be had.
            DataError: not even quotes can be had.
        """
        steps: list[tuple[str, _StepDownError]] = []
        for rung in RUNGS[RUNGS.index(start) :]:
            try:
                source = self._open(rung, version)
            except _StepDownError as step:
                steps.append((rung, step))
                continue
            self._announce(steps, source)
            self.progress.begin(SCENES)
            return with_recall(source, self.settings.recall, self.corpus, self.announcements)
        raise DataError(
            f"nobody can answer: {steps[-1][1].why}.",
            remedies=[("Another series", "--data DIR"), ("The sample", "--data data/sample_series")],
        )

    def _announce(self, steps: list[tuple[str, _StepDownError]], source: Source) -> None:
        for rung, step in steps:
            wanted = self._wanted(rung)
            self.announcements.add(Announcement("chat", wanted, source.label, step.why, step.remedy))
        for made in source.run.get("announcements", ()):  # what the version had to do without
            why = f"when it was trained, {made['why']}"
            remedy = f"python training_pipeline.py train {self.family}"
            self.announcements.add(Announcement("chat", made["wanted"], made["got"], why, remedy))

    def _wanted(self, rung: str) -> str:
        return {
            "version": f"a trained version of {self.family}",
            "fine-tuned": f"a fine-tuned {self.family} model from the hub",
            "base": f"{default_base(self.family, self._device, self.settings)} with the persona as its prompt",
            "nano": "the nano base of this series",
        }[rung]

    def _open(self, rung: str, version: str | None) -> Source:
        openers: dict[str, Callable[[], Source]] = {
            "version": lambda: self._open_version(version),
            "fine-tuned": self._open_fine_tuned,
            "base": self._open_base,
            "nano": self._open_nano,
            "quotes": self._open_quotes,
        }
        return openers[rung]()

    @functools.cached_property
    def _device(self) -> Device:
        return choose_device()

    @functools.cached_property
    def _hub(self) -> HubState:
        return check_hub(self.settings.hub.reach_timeout_seconds)

    def _open_version(self, name: str | None) -> Source:
        try:
            found = self.registry.resolve(self.family, name)
            told = f"{self.family} {found.version}"
            self.progress.begin(CHECKING, told)
            on_fetch = tell_fetch(self.progress, told, self.registry.store.url)
            folder = self.registry.fetch(self.family, found.version, self.settings.paths.cache / "versions", on_fetch)
            trained = open_version(folder)
            engine, how = self._open_engine(version_speaker(self.family, trained), trained.base)
        except (RegistryError, StoreError, BaseModelError) as error:
            if name not in (None, "latest"):
                raise
            raise _step_down(error, f"python training_pipeline.py train {self.family}") from None
        label = f"{self.family} {found.version} (adapter on {trained.base.name}{how})"
        source = self._source("version", label, engine, trained=trained)
        return replace(source, version=found.version, base=trained.base.name)

    def _open_fine_tuned(self) -> Source:
        wanted = self.settings.families[self.family].fine_tuned
        if not wanted:
            raise _StepDownError(
                "none is set", f"set families.{self.family}.fine_tuned in aws_config.yaml to a repository of the hub"
            )
        return self._open_hub("fine-tuned", wanted, f"{wanted} from the hub")

    def _open_base(self) -> Source:
        wanted = default_base(self.family, self._device, self.settings)
        return self._open_hub("base", wanted, f"{wanted}, untrained, with the persona as its prompt")

    def _open_hub(self, rung: str, repository: str, label: str) -> Source:
        speaker = Speaker(self.family, repository)
        try:
            engine, how = self._open_engine(speaker, Base(HUB, repository, repository))
        except BaseModelError as error:
            raise _step_down(error, "check the connection to the hub") from None
        return replace(self._source(rung, f"{label}{how}", engine), base=repository)

    def _open_nano(self) -> Source:
        if self.corpus is None:
            raise _StepDownError(self.no_corpus, "give the series folder: --data DIR")
        dialogues = self.corpus.build_dialogues(self.settings)
        scenes = self.corpus.scenes(dialogues.training_episodes)
        recipe = NanoRecipe(self.family, scenes, self.settings.nano, self.settings.training.seed)
        folder = find_nano_base(recipe, self.settings.paths.cache)
        if folder is None:
            raise _StepDownError(
                "none has been made yet", f"python training_pipeline.py train {self.family} --base nano"
            )
        source = self._source("nano", f"{folder.name}, untrained as a character", self._load(nano_base(folder)))
        return replace(source, base=folder.name)

    def _open_quotes(self) -> Source:
        if self.corpus is None:
            raise _StepDownError(self.no_corpus, "give the series folder: --data DIR")
        corpus = self.corpus

        @functools.cache
        def engine(character: str) -> Engine:
            return QuotesEngine(corpus.spoken, corpus.cast, character)

        return self._source("quotes", "quotes: the character's own lines", engine)

    def _usable(self, base: Base) -> Base:
        """The base, to be loaded from the cache alone if the hub is not there. Raises BaseModelError."""
        if base.kind == HUB:
            if not is_cached(base.location) and not self._hub.reachable:
                remedies = [("See what answers", self._hub.remedy)] if self._hub.remedy else []
                raise BaseModelError(f"{base.name} is not on this machine, and {self._hub.why}", remedies=remedies)
            return Base(base.kind, base.name, base.location, only_cached=not self._hub.reachable)
        if not (Path(base.location) / "config.json").is_file():
            raise BaseModelError(f"{base.name} is not on this machine")
        return base

    def _open_engine(self, speaker: Speaker, base: Base) -> tuple[Callable[[str], Engine], str]:
        """The engine of a model, and its name for people. Raises BaseModelError."""
        on_gpu, told = lambda: self._device.kind == "cuda", self.progress
        chosen = choose_engine(self.settings, self.registry, speaker, on_gpu, self.beside, progress=told)
        engine = chosen.engine
        if engine is not None:
            return lambda character: engine, ", on OpenVINO"
        logger.info("torch speaks: %s", chosen.why)
        loaded = self._load(self._usable(base), speaker.adapter)
        if chosen.announce:
            self.announcements.add(
                Announcement("chat", "the exported model on OpenVINO", "torch", chosen.why, chosen.remedy)
            )
        return loaded, ""

    def _load(self, base: Base, adapter: Path | None = None) -> Callable[[str], Engine]:
        token = self.settings.secrets.hf_token.reveal()
        self.progress.begin(STARTING, "torch")
        plan = plan_torch(base, self._device, self.settings.chat.cache_tokens, adapter, token)
        engine = PeftEngine(base, plan.device, adapter, token, plan.cache_tokens)
        engine.load(self.progress)
        return lambda character: engine

    def _source(
        self, rung: str, label: str, engine: Callable[[str], Engine], trained: TrainedVersion | None = None
    ) -> Source:
        cast, title, names = self._cast(trained, 1 if rung == "quotes" else self.settings.dialogues.minimum_replies)
        run = trained.run if trained else {}
        cards: Mapping[str, Card] = {}
        if rung != "quotes":  # an imported character has said nothing that could be quoted
            cast, cards = with_cards(cast, CardShelf(self.settings.paths.data / FOLDER))
        characters = trained.characters if trained else ()
        return Source(rung, label, title, cast, (*names, *cards), engine, characters, run, cards=cards)

    def _cast(self, trained: TrainedVersion | None, minimum_lines: int) -> tuple[Cast, str, tuple[str, ...]]:
        """Personas as trained; where the series is at hand, its other speakers with enough lines as well."""
        if self.corpus is None:
            if trained is None:
                raise _StepDownError(self.no_corpus, "give the series folder: --data DIR")
            return trained.cast, trained.title, trained.characters
        speakers = self.corpus.speakers(minimum_lines)
        if trained is None:
            return self.corpus.cast, self.corpus.series.title, speakers
        others = tuple(name for name in speakers if name not in trained.characters)
        missing = [self.corpus.cast.get(name) for name in others if name not in trained.cast]
        return Cast([*trained.cast, *missing]), trained.title, (*trained.characters, *others)


def _step_down(error: SuiteError, default_remedy: str) -> _StepDownError:
    """The first of the error's remedies is the one to type."""
    return _StepDownError(error.what.rstrip("."), error.remedies[0][1] if error.remedies else default_remedy)


def announce_untrained(source: Source, character: str, announcements: Announcements) -> None:
    """Say so where a version speaks for a character that it was not trained on."""
    if source.rung == "version" and character not in (*source.trained, *source.cards):
        announcements.add(
            Announcement(
                f"chat with {character}",
                f"an adapter trained on {character}",
                f"one trained on {', '.join(source.trained)}",
                f"{source.label} has not learnt this character",
                f"python training_pipeline.py train {source.run['family']} --character '{character}'",
            )
        )
