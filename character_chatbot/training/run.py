"""One training run, from a series folder to a published version. The same command goes on where it was stopped."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from character_chatbot.bases import load_config, load_model, load_tokenizer
from character_chatbot.machine.machine_memory import available_bytes
from character_chatbot.machine.memory import Demand, Plan, plan_training
from character_chatbot.monitoring.curve import draw_rates
from character_chatbot.monitoring.metrics_file import METRICS, MetricsFile
from character_chatbot.monitoring.progress_file import DONE, TRAINING, Progress
from character_chatbot.recovery.checkpoint_store import CheckpointStore
from character_chatbot.recovery.handover import CheckpointSink
from character_chatbot.recovery.stopping import ending_on_sigterm
from character_chatbot.training import processes
from character_chatbot.training.adapter import TrainingResult, fit_batch, train_adapter
from character_chatbot.training.encoding import encode_held_out, encode_training
from character_chatbot.training.evaluation import split_held_out
from character_chatbot.training.examples import Example
from character_chatbot.training.lr_finder import RateSearch, find_learning_rate
from character_chatbot.training.outcome import RunOutcome, export_outcome, find_published, measure_run, publish_run
from character_chatbot.training.preparation import PreparedRun, RunRequest, prepare_run
from character_chatbot.training.sharding import FSDP, choose_parallel
from config import Settings
from utils.announcements import Announcements
from utils.errors import TrainingError
from utils.files import write_atomic
from utils.registry import Registry
from utils.stores import Store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

RATES = "learning_rate.png"  # in the run's folder


def run_training(
    request: RunRequest,
    settings: Settings,
    registry: Registry,
    announcements: Announcements,
    progress: Progress | None = None,
    *,
    checkpoint_store: Store | None = None,
) -> RunOutcome:
    """Load, train, evaluate, publish; export, if that is asked for.

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
        with processes.joined():
            heard = progress if progress and processes.is_first() else Progress()
            run = prepare_run(request, settings, announcements, heard)
            outcome = _make_version(run, registry, checkpoint_store)
        if request.export and processes.is_first():
            outcome = export_outcome(run, outcome, registry)
        run.progress.begin(DONE)
    return outcome


def _make_version(run: PreparedRun, registry: Registry, checkpoint_store: Store | None) -> RunOutcome:
    """The version that the run has made before, or makes now; the model is out of memory afterwards."""
    with _locked(run.folder) if processes.is_first() else nullcontext():
        outcome = processes.first_decides(lambda: find_published(run, registry))
        if outcome is not None:
            return outcome
        trained = _train(run, _restore(run, checkpoint_store) if processes.is_first() else None)
        return processes.first_decides(lambda: publish_run(run, registry, *trained))


def search_rate(
    request: RunRequest, settings: Settings, announcements: Announcements, progress: Progress | None = None
) -> tuple[RateSearch, Path]:
    """Try learning rates on what the request would train on; what was found, and a picture of it in the run's folder.

    Nothing is saved beside the picture, nothing is published.

    Raises:
        DataError, BaseModelError, TrainingError: as their names say.
    """
    with ending_on_sigterm():
        run = prepare_run(request, settings, announcements, progress or Progress())
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


def _restore(run: PreparedRun, store: Store | None) -> CheckpointStore | None:
    """Where the run's checkpoints are copied to; what is there already comes here if this machine has none."""
    if store is None:
        return None
    kept = CheckpointStore(store, f"checkpoints/{run.request.family}/{run.folder.name}")
    kept.restore(run.checkpoints)
    return kept


def _train(
    run: PreparedRun, sink: CheckpointSink | None
) -> tuple[TrainingResult, PreTrainedTokenizerBase, dict[str, Any]]:
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
        return result, tokenizer, measure_run(result, reported, run, seconds, same)
    return result, tokenizer, processes.first_decides(lambda: measure_run(result, reported, run, seconds, same))


def _plan_memory(run: PreparedRun, training: Sequence[Example], token: str) -> tuple[Plan, str]:
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
