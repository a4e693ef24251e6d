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
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tqdm import tqdm

from character_chatbot.bases import (
    NANO,
    Base,
    choose_base,
    default_base,
    load_config,
    load_model,
    load_tokenizer,
    nano_base,
)
from character_chatbot.corpus import Corpus, load_corpus
from character_chatbot.dialogues import DialogueSet
from character_chatbot.machine.devices import Device, choose_device, choose_training_device
from character_chatbot.machine.machine_memory import available_bytes
from character_chatbot.machine.memory import Demand, Plan, plan_training
from character_chatbot.monitoring.curve import draw_png, draw_rates
from character_chatbot.monitoring.metrics_file import METRICS, MetricsFile
from character_chatbot.monitoring.progress_file import BASE, DONE, EVALUATING, PREPARING, PUBLISHING, TRAINING, Progress
from character_chatbot.nano import NanoRecipe, fetch_nano_base
from character_chatbot.recovery.checkpoint_store import CheckpointStore
from character_chatbot.recovery.handover import CheckpointSink
from character_chatbot.recovery.stopping import ending_on_sigterm
from character_chatbot.training import processes
from character_chatbot.training.adapter import TrainingResult, fit_batch, train_adapter
from character_chatbot.training.encoding import encode_held_out, encode_training
from character_chatbot.training.evaluation import Perplexity, choose_replies, evaluate_perplexity, split_held_out
from character_chatbot.training.examples import Example
from character_chatbot.training.lr_finder import RateSearch, find_learning_rate
from character_chatbot.training.sharding import FSDP, choose_parallel
from character_chatbot.version import build_run, write_version
from config import PAIRS, Settings, TrainingSettings
from utils.announcements import Announcements
from utils.errors import RegistryError, TrainingError
from utils.files import write_atomic
from utils.hub import check_hub
from utils.registry import Registry
from utils.stores import Store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Training numbers that do not shape what is learnt.
NOT_IN_NAME = ("parallel", "checkpoint_minutes", "checkpoint_steps", "activation_checkpointing")
RATES = "learning_rate.png"  # in the run's folder
PUBLISHED = "published.json"  # in the run's folder: which version it has become


@dataclass(frozen=True)
class RunRequest:
    """What is asked for. ``base``: repository, folder, ``nano`` or empty."""

    family: str
    characters: tuple[str, ...] = ()
    base: str = ""
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
    with ending_on_sigterm(), processes.joined():
        heard = progress if progress and processes.is_first() else Progress()
        run = _prepare(request, settings, announcements, heard)
        with _locked(run.folder) if processes.is_first() else nullcontext():
            outcome = processes.first_decides(lambda: _published(run, registry))
            if outcome is None:
                trained = _train(run, _restore(run, checkpoint_store) if processes.is_first() else None)
                outcome = processes.first_decides(lambda: RunOutcome(*_publish(run, registry, *trained), reused=False))
        run.progress.begin(DONE)
    return outcome


def search_rate(
    request: RunRequest, settings: Settings, announcements: Announcements, progress: Progress | None = None
) -> tuple[RateSearch, Path]:
    """Try learning rates on what the request would train on; what was found, and a picture of it in the run's folder.

    Nothing is saved beside the picture, nothing is published.

    Raises:
        DataError, BaseModelError, TrainingError: as their names say.
    """
    with ending_on_sigterm():
        run = _prepare(request, settings, announcements, progress or Progress())
        token = run.settings.secrets.hf_token.reveal()
        tokenizer = load_tokenizer(run.base, token)
        training = encode_training(tokenizer, run.dialogues, run.settings, run.announcements)
        plan, _ = _plan_memory(run, training, token)
        model = load_model(run.base, run.device, token, quantised=plan.way.quantised)
        numbers = plan.apply(run.settings.training)
        search = find_learning_rate(model, tokenizer, training, settings=numbers, device=run.device)
        picture = run.folder / RATES
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(picture, draw_rates(search.points, search.smoothed, search.suggestion, search.diverges))
    return search, picture


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


def _prepare(request: RunRequest, settings: Settings, announcements: Announcements, progress: Progress) -> _Run:
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
    with processes.first_of_machine():  # a download: the others find it in the cache
        tokenizer = load_tokenizer(run.base, token)
    training = encode_training(tokenizer, run.dialogues, run.settings, run.announcements)
    numbers = run.settings.training
    held_out = encode_held_out(tokenizer, run.dialogues, run.settings)
    selection, reported = split_held_out(held_out, numbers.evaluation_replies, numbers.seed)
    same = not set(selection).isdisjoint(reported) and (numbers.keep == "best" or numbers.patience > 0)
    plan, parallel = _plan_memory(run, training, token)
    device = replace(run.device, kind="cpu") if parallel == FSDP else run.device  # cut in pieces before a GPU sees it
    started = time.monotonic()
    with processes.first_of_machine():
        model = load_model(run.base, device, token, quantised=plan.way.quantised)
    run.progress.begin(TRAINING)
    result = train_adapter(
        model,
        tokenizer,
        training,
        settings=replace(plan.apply(run.settings.training), parallel=parallel),
        device=run.device,
        folder=run.checkpoints,
        held_out=selection,
        show=run.progress.measured,
        metrics=MetricsFile(run.folder / METRICS),
        sink=sink,
        announcements=run.announcements,
    )
    seconds = time.monotonic() - started
    if parallel == FSDP:  # the base lies in pieces on all of them: all ask it the same
        return result, tokenizer, _measure(result, reported, run, seconds, same)
    return result, tokenizer, processes.first_decides(lambda: _measure(result, reported, run, seconds, same))


def _plan_memory(run: _Run, training: Sequence[Example], token: str) -> tuple[Plan, str]:
    """How the training fits into memory, ``ddp`` or ``fsdp``; all processes do as the first one finds.

    Raises:
        TrainingError: it does not fit, not even spread over all GPUs.
    """
    with processes.first_of_machine():
        config = load_config(run.base, token)
    fitted = fit_batch(run.settings.training, run.device, config.get_text_config().vocab_size, training)
    demand = Demand(config, training, run.settings.training, run.device, fitted.sequences_per_batch)
    kind, wanted = run.device.kind, run.settings.training.parallel

    def fit() -> tuple[Plan, str]:
        available, parallel = available_bytes(kind), choose_parallel(wanted, kind)
        together = available and available * processes.count()
        try:
            return plan_training(demand, together if parallel == FSDP else available), parallel
        except TrainingError:
            if parallel == FSDP or choose_parallel(wanted, kind, fits=False) != FSDP:
                raise
        return plan_training(demand, together), FSDP

    plan, parallel = processes.first_decides(fit)
    for line in (plan.estimate, *plan.reasons):
        if line:
            logger.info("%s", line)
    return plan, parallel


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
        quantised=getattr(result.model, "is_loaded_in_4bit", False),
    )
    folder = run.folder / "version"
    write_version(
        folder,
        result.model,
        tokenizer,
        base=run.base,
        dialogues=run.dialogues,
        run=record,
        metrics=metrics,
        adapter=result.adapter,
    )
    _draw_curve(folder / "loss.png", result, metrics)
    version = registry.publish(run.request.family, folder, actor=run.request.actor, reason="trained")
    write_atomic(run.folder / PUBLISHED, json.dumps({"version": version}))
    return version, metrics


def _draw_curve(file: Path, result: TrainingResult, metrics: dict[str, Any]) -> None:
    """Put the curve of the loss beside the weights. A version without it is as good."""
    held_out = metrics.get("held_out")
    try:
        loss = math.log(held_out["adapter_perplexity"]) if held_out else None
        measured = [(each.step, each.loss) for each in result.evaluations]
        write_atomic(file, draw_png(result.losses, result.steps, loss, measured))
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


def _measure(
    result: TrainingResult, held_out: Sequence[Example], run: _Run, seconds: float, same: bool
) -> dict[str, Any]:
    """What metrics.json records: nothing that was not measured. ``same``: these replies chose the weights as well."""
    adapter, base = _evaluate(result, held_out, run)
    metrics: dict[str, Any] = {"training": result.to_dict()}
    if result.resumed_from_step == 0:  # otherwise nobody took the whole time
        metrics["training"]["seconds"] = round(seconds, 1)
    if adapter and base:
        metrics["held_out"] = {
            "replies": adapter.replies,
            "tokens": adapter.tokens,
            "base_perplexity": base.value,
            "adapter_perplexity": adapter.value,
        }
        if result.evaluations and same:
            metrics["held_out"]["note"] = "the same replies chose the weights, which flatters the adapter a little"
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
