"""One training run, from a series folder to a published version. The same command goes on where it was stopped."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tqdm import tqdm

from character_chatbot.bases import NANO, Base, choose_base, default_base, load_model, load_tokenizer
from character_chatbot.checkpoint_store import CheckpointStore
from character_chatbot.corpus import Corpus, load_corpus
from character_chatbot.curve import draw_png
from character_chatbot.devices import Device, choose_device, choose_training_device
from character_chatbot.dialogues import DialogueSet
from character_chatbot.evaluation import Perplexity, choose_replies, evaluate_perplexity
from character_chatbot.examples import Example, encode_dialogues
from character_chatbot.handover import CheckpointSink
from character_chatbot.metrics_file import METRICS, MetricsFile
from character_chatbot.nano import NanoRecipe, fetch_nano_base
from character_chatbot.progress_file import BASE, DONE, EVALUATING, PREPARING, PUBLISHING, TRAINING, Progress
from character_chatbot.scenes import encode_scenes
from character_chatbot.stopping import ending_on_sigterm
from character_chatbot.training import TrainingResult, train_adapter
from character_chatbot.version import build_run, write_version
from config import Settings, TrainingSettings
from utils.announcements import Announcements
from utils.errors import RegistryError, TrainingError
from utils.files import write_atomic
from utils.hub import check_hub
from utils.registry import Registry
from utils.stores import Store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SCENES = "scenes"  # as a value of training.format
NOT_IN_NAME = ("checkpoint_minutes", "checkpoint_steps")  # training numbers that do not shape what is learnt
PUBLISHED = "published.json"  # in the run's folder: which version it has become


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
    request: RunRequest,
    settings: Settings,
    registry: Registry,
    announcements: Announcements,
    progress: Progress | None = None,
    *,
    checkpoint_store: Store | None = None,
) -> RunOutcome:
    """Load, train, evaluate, publish.

    Args:
        request: what is asked for.
        settings: of the program.
        registry: where the version goes.
        announcements: hear of each step down.
        progress: hears of each stage and step.
        checkpoint_store: gets a copy of each checkpoint; where this machine has none, the newest comes from there.

    Raises:
        DataError, BaseModelError, TrainingError, RegistryError, StoreError: as their names say.
        KeyboardInterrupt, SystemExit: stopped; the same request goes on from the last checkpoint.
    """
    with ending_on_sigterm():
        run = _prepare(request, settings, announcements, progress or Progress())
        with _locked(run.folder):
            outcome = _published(run, registry)
            if outcome is None:
                version, metrics = _publish(run, registry, *_train(run, _restore(run, checkpoint_store)))
                outcome = RunOutcome(version, metrics, reused=False)
        run.progress.begin(DONE)
    return outcome


@dataclass(frozen=True)
class _Run:
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
            "max_steps": self.request.max_steps,
            "characters": self.dialogues.characters,
            "data": self.dialogues.data_hash(),
            "scenes": self.dialogues.scene_hash() if self.settings.training.format == SCENES else "",
            "held_out": self.dialogues.held_out_episodes,
            "training": {name: value for name, value in training.items() if name not in NOT_IN_NAME},
        }
        name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        return self.settings.paths.runs / self.request.family / name

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


def _prepare(request: RunRequest, settings: Settings, announcements: Announcements, progress: Progress) -> _Run:
    progress.begin(PREPARING)
    corpus = load_corpus(settings.paths.data)
    dialogues = corpus.build_dialogues(settings, request.characters)
    _log_dialogues(dialogues)
    device = choose_device()
    logger.info("%s", device.reason)
    progress.begin(BASE)
    base = choose_base(
        request.base,
        default_base(request.family, device, settings),
        check_hub=lambda: check_hub(settings.hub.reach_timeout_seconds),
        fetch_nano=lambda: _fetch_nano(request.family, corpus, dialogues, settings, progress),
        announcements=announcements,
    )
    logger.info("base model: %s", base.name)
    if base.kind != NANO:  # a nano base gains nothing from a smaller number format
        device = choose_training_device(device)
        logger.info("%s", device.reason)
    settings = replace(settings, training=_training_settings(settings, base))
    return _Run(request, settings, announcements, progress, dialogues, device, base)


def _fetch_nano(family: str, corpus: Corpus, dialogues: DialogueSet, settings: Settings, progress: Progress) -> Path:
    recipe = NanoRecipe(family, corpus.scenes(dialogues.training_episodes), settings.nano, settings.training.seed)
    with tqdm(desc="making the nano base", unit="step", disable=None) as bar:

        def show(step: int, steps: int, loss: float) -> None:
            bar.total = steps
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
            bar.update()
            progress.step(step, steps, loss)

        return fetch_nano_base(recipe, settings.paths.cache, show)


def _restore(run: _Run, store: Store | None) -> CheckpointStore | None:
    """Where the run's checkpoints are copied to; what is there already comes here if this machine has none."""
    if store is None:
        return None
    kept = CheckpointStore(store, f"checkpoints/{run.request.family}/{run.folder.name}")
    kept.restore(run.checkpoints)
    return kept


def _train(run: _Run, sink: CheckpointSink | None) -> tuple[TrainingResult, PreTrainedTokenizerBase, dict[str, Any]]:
    """The trained model, its tokenizer, and the metrics."""
    token = run.settings.secrets.hf_token.reveal()
    tokenizer = load_tokenizer(run.base, token)
    training = _encode_training(tokenizer, run)
    held_out = _encode(tokenizer, run, "held_out")
    if not training:
        raise TrainingError(
            f"no dialogue fits into training.max_length = {run.settings.training.max_length} tokens.",
            remedies=[("Allow longer ones", "training.max_length in aws_config.yaml")],
        )
    started = time.monotonic()
    model = load_model(run.base, run.device, token)
    run.progress.begin(TRAINING)
    result = train_adapter(
        model,
        tokenizer,
        training,
        settings=run.settings.training,
        device=run.device,
        folder=run.checkpoints,
        max_steps=run.request.max_steps,
        show=run.progress.measured,
        metrics=MetricsFile(run.folder / METRICS),
        sink=sink,
    )
    seconds = time.monotonic() - started
    return result, tokenizer, _measure(result, held_out, run, seconds)


def _publish(
    run: _Run,
    registry: Registry,
    result: TrainingResult,
    tokenizer: PreTrainedTokenizerBase,
    metrics: dict[str, Any],
) -> tuple[str, dict[str, Any]]:
    run.progress.begin(PUBLISHING)
    announced = [announcement.to_dict() for announcement in run.announcements]
    record = build_run(
        run.dialogues,
        run.request.family,
        run.base,
        run.settings.to_dict(),
        announced,
        parameters=result.base_parameters,
    )
    folder = run.folder / "version"
    write_version(folder, result.model, tokenizer, base=run.base, dialogues=run.dialogues, run=record, metrics=metrics)
    _draw_curve(folder / "loss.png", result, metrics)
    version = registry.publish(run.request.family, folder, actor=run.request.actor, reason="trained")
    write_atomic(run.folder / PUBLISHED, json.dumps({"version": version}))
    return version, metrics


def _draw_curve(file: Path, result: TrainingResult, metrics: dict[str, Any]) -> None:
    """Put the curve of the loss beside the weights. A version without it is as good."""
    held_out = metrics.get("held_out")
    try:
        loss = math.log(held_out["adapter_perplexity"]) if held_out else None
        write_atomic(file, draw_png(result.losses, result.steps, loss))
    except (ImportError, OSError, ValueError) as error:
        logger.warning("no loss curve is drawn: %s", error)


def _published(run: _Run, registry: Registry) -> RunOutcome | None:
    """The version this run has made before, if the registry still has it."""
    try:
        version = json.loads((run.folder / PUBLISHED).read_text(encoding="utf-8"))["version"]
        shown = registry.show(run.request.family, version)
    except (OSError, ValueError, KeyError, TypeError, RegistryError):
        return None
    return RunOutcome(version, shown["metrics"], reused=True)


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


def _encode_training(tokenizer: PreTrainedTokenizerBase, run: _Run) -> list[Example]:
    """What is learnt from, in the format that is set."""
    if run.settings.training.format != SCENES:
        return _encode(tokenizer, run, "training")
    dialogues, limit = run.dialogues, run.settings.training.max_length
    scenes = encode_scenes(tokenizer, dialogues.training, dialogues, limit, run.settings.dialogues.context_turns)
    replies = sum(len(scene.replies()) for scene in scenes)
    logger.info("%d replies in %d pieces of scenes", replies, len(scenes))
    _warn_of_long(len(dialogues.training) - replies, len(dialogues.training), "training", limit)
    return scenes


def _encode(tokenizer: PreTrainedTokenizerBase, run: _Run, part: str) -> list[Example]:
    """The ``training`` or ``held_out`` dialogues as token ids; says how many are too long."""
    chosen, limit = getattr(run.dialogues, part), run.settings.training.max_length
    examples = encode_dialogues(tokenizer, chosen, run.dialogues, limit)
    _warn_of_long(len(chosen) - len(examples), len(chosen), part, limit)
    return examples


def _warn_of_long(missing: int, count: int, part: str, limit: int) -> None:
    if missing:
        logger.warning(
            "%d of %d %s dialogues are longer than training.max_length = %d tokens and left out.",
            missing,
            count,
            part.replace("_", "-"),
            limit,
        )


def _measure(result: TrainingResult, held_out: Sequence[Example], run: _Run, seconds: float) -> dict[str, Any]:
    """What metrics.json records: nothing that was not measured."""
    adapter, base = _evaluate(result, held_out, run)
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


def _evaluate(
    result: TrainingResult, held_out: Sequence[Example], run: _Run
) -> tuple[Perplexity | None, Perplexity | None]:
    """Perplexity of held-out replies under adapter and base."""
    replies = choose_replies(held_out, run.settings.evaluation.max_replies, run.settings.training.seed)
    count, progress = len(replies), run.progress
    progress.begin(EVALUATING)
    adapter = evaluate_perplexity(
        result.model, replies, "held-out, adapter", lambda done: progress.step(done, 2 * count)
    )
    if adapter:
        progress.held_out(math.log(adapter.value))
    with result.model.disable_adapter():
        base = evaluate_perplexity(
            result.model, replies, "held-out, base", lambda done: progress.step(count + done, 2 * count)
        )
    return adapter, base


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a", encoding="utf-8") as file:
        if not _try_lock(file):
            raise TrainingError(f"this run is being trained by another process: {folder} is locked.")
        yield


def _try_lock(file: IO[str]) -> bool:
    """Take the lock; tries again for half a second, because a page that looks whether it is held holds it a moment."""
    for pause_seconds in (0.1, 0.1, 0.1, 0.1, 0.1, 0.0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(pause_seconds)
    return False


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
