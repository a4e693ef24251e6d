"""One training run, from a series folder to a published version. The same command goes on where it was stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from character_chatbot.bases import NANO, Base, choose_base, load_model, load_tokenizer
from character_chatbot.corpus import Corpus, load_corpus
from character_chatbot.devices import Device, choose_device
from character_chatbot.dialogues import DialogueSet
from character_chatbot.evaluation import choose_replies, evaluate_perplexity
from character_chatbot.examples import Example, encode_dialogues
from character_chatbot.nano import fetch_nano_base
from character_chatbot.training import TrainingResult, train_adapter
from character_chatbot.version import build_run, write_version
from config import Settings, TrainingSettings
from utils.announcements import Announcements
from utils.errors import RegistryError, TrainingError
from utils.files import write_atomic
from utils.hub import check_hub
from utils.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRequest:
    """What is asked for. ``base``: repository, folder, ``nano`` or empty. ``max_steps`` 0: as the epochs say."""

    family: str
    characters: tuple[str, ...] = ()
    base: str = ""
    max_steps: int = 0
    actor: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """The version and its metrics. ``reused``: it was there already, made from the same data, base and settings."""

    version: str
    metrics: dict[str, Any]
    reused: bool


def run_training(
    request: RunRequest, settings: Settings, registry: Registry, announcements: Announcements
) -> RunOutcome:
    """Load, train, evaluate, publish.

    Raises:
        DataError, BaseModelError, TrainingError, RegistryError, StoreError: as their names say.
        KeyboardInterrupt: stopped; the same request goes on from the last checkpoint.
    """
    corpus = load_corpus(settings.paths.data)
    dialogues = corpus.build_dialogues(settings, request.characters)
    _log_dialogues(dialogues)
    device = choose_device()
    logger.info("%s", device.reason)
    base = _choose_base(request, settings, corpus, dialogues, device, announcements)
    training = _training_settings(settings, base)
    key = _run_key(request, base, dialogues, training)
    folder = settings.paths.runs / request.family / key
    with _locked(folder):
        published = _published(folder, registry, request.family)
        if published:
            return published
        return _train_and_publish(
            request, replace(settings, training=training), registry, announcements, dialogues, base, device, folder
        )


def _train_and_publish(
    request: RunRequest,
    settings: Settings,
    registry: Registry,
    announcements: Announcements,
    dialogues: DialogueSet,
    base: Base,
    device: Device,
    folder: Path,
) -> RunOutcome:
    token = settings.secrets.hf_token.reveal()
    tokenizer = load_tokenizer(base, token)
    training = _encode(tokenizer, dialogues, settings, "training")
    held_out = _encode(tokenizer, dialogues, settings, "held_out")
    model = load_model(base, device, token)
    started = time.monotonic()
    checkpoints = folder / "checkpoints"
    result = train_adapter(model, tokenizer, training, settings.training, device, checkpoints, request.max_steps)
    seconds = time.monotonic() - started
    metrics = _measure(result, held_out, settings, seconds)
    run = build_run(dialogues, request.family, base, settings.to_dict(), [a.to_dict() for a in announcements])
    write_version(folder / "version", result.model, tokenizer, base, dialogues, run, metrics)
    version = registry.publish(request.family, folder / "version", actor=request.actor, reason="trained")
    write_atomic(folder / "published.json", json.dumps({"version": version}))
    return RunOutcome(version, metrics, reused=False)


def _choose_base(
    request: RunRequest,
    settings: Settings,
    corpus: Corpus,
    dialogues: DialogueSet,
    device: Device,
    announcements: Announcements,
) -> Base:
    def fetch_nano() -> Path:
        scenes = corpus.scenes(dialogues.training_episodes)
        with tqdm(desc="making the nano base", unit="step", disable=None) as bar:

            def show(step: int, steps: int, loss: float) -> None:
                bar.total = steps
                bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
                bar.update()

            return fetch_nano_base(
                request.family, scenes, settings.nano, settings.training.seed, settings.paths.cache, show
            )

    base = choose_base(
        request.family,
        request.base,
        device,
        settings,
        lambda: check_hub(settings.hub.reach_timeout_seconds),
        fetch_nano,
        announcements,
    )
    logger.info("base model: %s", base.name)
    return base


def _training_settings(settings: Settings, base: Base) -> TrainingSettings:
    """The training numbers for this base: a nano base learns faster, and has less to forget, than a large one."""
    if base.kind != NANO:
        return settings.training
    nano = settings.nano
    logger.info(
        "nano base: learning rate %g, %g epochs, dropout %g (nano.lora_* instead of training.*)",
        nano.lora_learning_rate,
        nano.lora_epochs,
        nano.lora_dropout,
    )
    return replace(
        settings.training,
        learning_rate=nano.lora_learning_rate,
        epochs=nano.lora_epochs,
        lora_dropout=nano.lora_dropout,
    )


def _encode(
    tokenizer: PreTrainedTokenizerBase, dialogues: DialogueSet, settings: Settings, part: str
) -> list[Example]:
    chosen = getattr(dialogues, part)
    examples = encode_dialogues(tokenizer, chosen, dialogues, settings.training.max_length)
    if len(examples) < len(chosen):
        logger.warning(
            "%d of %d %s dialogues are longer than training.max_length = %d tokens and left out.",
            len(chosen) - len(examples),
            len(chosen),
            part.replace("_", "-"),
            settings.training.max_length,
        )
    if not examples and part == "training":
        raise TrainingError(
            f"no dialogue fits into training.max_length = {settings.training.max_length} tokens.",
            remedies=[("Allow longer ones", "training.max_length in aws_config.yaml")],
        )
    return examples


def _measure(
    result: TrainingResult, held_out: Sequence[Example], settings: Settings, seconds: float
) -> dict[str, Any]:
    """What metrics.json records: nothing that was not measured."""
    replies = choose_replies(held_out, settings.evaluation.max_replies, settings.training.seed)
    adapter = evaluate_perplexity(result.model, replies, "held-out, adapter")
    with result.model.disable_adapter():
        base = evaluate_perplexity(result.model, replies, "held-out, base")
    metrics: dict[str, Any] = {
        "training": {
            "steps": result.steps,
            "first_loss": result.losses[0][1],
            "last_loss": result.losses[-1][1],
            "losses": [list(point) for point in result.losses],
        }
    }
    if result.resumed_from_step == 0:  # otherwise nobody took the whole time
        metrics["training"]["seconds"] = round(seconds, 1)
    if adapter and base:
        metrics["held_out"] = {
            "replies": adapter.replies,
            "tokens": adapter.tokens,
            "base_perplexity": base.value,
            "adapter_perplexity": adapter.value,
        }
    return metrics


def _run_key(request: RunRequest, base: Base, dialogues: DialogueSet, training: TrainingSettings) -> str:
    """The same request on the same data and base is the same run: its name is a hash of all that shapes it."""
    content = {
        "family": request.family,
        "base": base.name,
        "max_steps": request.max_steps,
        "characters": dialogues.characters,
        "data": dialogues.data_hash(),
        "held_out": dialogues.held_out_episodes,
        "training": asdict(training),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _published(folder: Path, registry: Registry, family: str) -> RunOutcome | None:
    """The version this run has made before, if the registry still has it."""
    try:
        version = json.loads((folder / "published.json").read_text(encoding="utf-8"))["version"]
        shown = registry.show(family, version)
    except (OSError, ValueError, KeyError, TypeError, RegistryError):
        return None
    return RunOutcome(version, shown["metrics"], reused=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"this run is being trained by another process: {folder} is locked.") from None
        yield


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
