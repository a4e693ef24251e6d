"""What a training run is, and all that is found out about it before its first step."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from character_chatbot.bases import NANO, Base, choose_base, default_base, nano_base
from character_chatbot.corpus import Corpus, load_corpus
from character_chatbot.dialogues import DialogueSet
from character_chatbot.machine.devices import Device, choose_device, choose_training_device
from character_chatbot.monitoring.progress_file import BASE, PREPARING, Progress
from character_chatbot.nano import NanoRecipe, fetch_nano_base
from character_chatbot.training import processes
from config import PAIRS, Settings, TrainingSettings
from utils.announcements import Announcements
from utils.hub import check_hub

logger = logging.getLogger(__name__)

# Training numbers that do not shape what is learnt.
NOT_IN_NAME = ("parallel", "checkpoint_minutes", "checkpoint_steps", "activation_checkpointing")


@dataclass(frozen=True)
class RunRequest:
    """What is asked for. ``base``: repository, folder, ``nano`` or empty. ``export``: for CPUs as well."""

    family: str
    characters: tuple[str, ...] = ()
    base: str = ""
    actor: str = ""
    export: bool = False


@dataclass(frozen=True)
class PreparedRun:
    """A request with all that was found out about it before the first step."""

    request: RunRequest
    settings: Settings  # with the training numbers that apply to the base
    announcements: Announcements
    progress: Progress
    dialogues: DialogueSet
    device: Device
    base: Base

    @functools.cached_property
    def folder(self) -> Path:
        """The same request on the same data and base is the same run: its name is a hash of all that shapes it."""
        training = asdict(self.settings.training)
        content = {
            "family": self.request.family,
            "base": self.base.name,
            "characters": self.dialogues.characters,
            "data": self.dialogues.data_hash(),
            "scenes": self.dialogues.scene_hash() if self.settings.training.format != PAIRS else "",
            "held_out": self.dialogues.held_out_episodes,
            "training": {name: value for name, value in training.items() if name not in NOT_IN_NAME},
        }
        name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        return self.settings.paths.runs / self.request.family / name

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


def prepare_run(
    request: RunRequest, settings: Settings, announcements: Announcements, progress: Progress
) -> PreparedRun:
    """Read the series, choose device, base and numbers.

    Raises:
        DataError, BaseModelError, TrainingError: as their names say.
    """
    progress.begin(PREPARING)
    corpus = load_corpus(settings.paths.data)
    dialogues = corpus.build_dialogues(settings, request.characters)
    _log_dialogues(dialogues)
    device = processes.first_decides(choose_device)
    logger.info("%s", device.reason)
    progress.begin(BASE)

    def fetch_nano() -> Path:
        return _fetch_nano(request.family, corpus, dialogues, settings, progress)

    base = processes.first_decides(
        lambda: choose_base(
            request.base,
            default_base(request.family, device, settings),
            check_hub=lambda: check_hub(settings.hub.reach_timeout_seconds),
            fetch_nano=fetch_nano,
            announcements=announcements,
        )
    )
    if base.kind == NANO and not Path(base.location).is_dir():  # on another machine than the first process's
        base = nano_base(fetch_nano())
    logger.info("base model: %s", base.name)
    if base.kind != NANO:  # a nano base gains nothing from a smaller number format
        device = processes.first_decides(lambda: choose_training_device(device))
        logger.info("%s", device.reason)
    settings = replace(settings, training=choose_numbers(settings, base))
    return PreparedRun(request, settings, announcements, progress, dialogues, device, base)


def _fetch_nano(family: str, corpus: Corpus, dialogues: DialogueSet, settings: Settings, progress: Progress) -> Path:
    recipe = NanoRecipe(family, corpus.scenes(dialogues.training_episodes), settings.nano, settings.training.seed)
    with tqdm(desc="making the nano base", unit="step", disable=None) as bar:

        def show(step: int, steps: int, loss: float) -> None:
            bar.total = steps
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
            bar.update()
            progress.step(step, steps, loss)

        return fetch_nano_base(recipe, settings.paths.cache, show)


def choose_numbers(settings: Settings, base: Base) -> TrainingSettings:
    """The training numbers for this base: a nano base learns faster, and has less to forget, than a large one.

    A number that a flag or a recipe gives holds for any base.
    """
    if base.kind != NANO:
        return settings.training
    nano = settings.nano
    numbers = (nano.lora_learning_rate, nano.lora_epochs, nano.lora_dropout)
    found = dict(zip(("learning_rate", "epochs", "lora_dropout"), numbers, strict=True))
    asked = ("flag", "recipe")
    own: Any = {name: each for name, each in found.items() if not settings.origin(f"training.{name}").startswith(asked)}
    if own:
        told = ", ".join(f"{name} {value:g}" for name, value in own.items())
        logger.info("nano base: %s (nano.lora_* instead of training.*)", told)
    return replace(settings.training, **own)


def _log_dialogues(dialogues: DialogueSet) -> None:
    held_out = ", ".join(f"S{season:02d}E{episode:02d}" for season, episode in dialogues.held_out_episodes)
    logger.info(
        "%s: %d training dialogues of %d characters; held out: %s (%d dialogues)",
        dialogues.title,
        len(dialogues.training),
        len(dialogues.characters),
        held_out or "no episode, so nothing will be evaluated",
        len(dialogues.held_out),
    )
    for reason, count in dialogues.dropped.items():
        logger.info("%d dialogues left out: %s", count, reason)
