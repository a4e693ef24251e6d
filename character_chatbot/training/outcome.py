"""What came of a training run: measured on held-out replies, published as a version, found again, exported."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.monitoring.curve import draw_png
from character_chatbot.monitoring.progress_file import EVALUATING, EXPORTING, PUBLISHING
from character_chatbot.training.adapter import TrainingResult
from character_chatbot.training.evaluation import Perplexity, choose_replies, evaluate_perplexity
from character_chatbot.training.examples import Example
from character_chatbot.training.preparation import PreparedRun
from character_chatbot.version import build_run, write_version
from utils.errors import RegistryError, SuiteError
from utils.files import write_atomic
from utils.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PUBLISHED = "published.json"  # in the run's folder: which version it has become


@dataclass(frozen=True)
class RunOutcome:
    """The version and its metrics. ``reused``: it was there already, made from the same data, base and settings.

    ``export``: what export.json says, or ``problem``: why there is none; None where none was asked for.
    """

    version: str
    metrics: dict[str, Any]
    reused: bool
    export: dict[str, Any] | None = None


def measure_run(
    result: TrainingResult, held_out: Sequence[Example], run: PreparedRun, seconds: float, same: bool
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
    result: TrainingResult, held_out: Sequence[Example], run: PreparedRun
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


def publish_run(
    run: PreparedRun,
    registry: Registry,
    result: TrainingResult,
    tokenizer: PreTrainedTokenizerBase,
    metrics: dict[str, Any],
) -> RunOutcome:
    """Write the version's files, publish it, and note in the run's folder which one it has become.

    Raises:
        RegistryError, StoreError: as :meth:`utils.registry.Registry.publish`.
    """
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
    return RunOutcome(version, metrics, reused=False)


def _draw_curve(file: Path, result: TrainingResult, metrics: dict[str, Any]) -> None:
    """Put the curve of the loss beside the weights. A version without it is as good."""
    held_out = metrics.get("held_out")
    try:
        loss = math.log(held_out["adapter_perplexity"]) if held_out else None
        measured = [(each.step, each.loss) for each in result.evaluations]
        write_atomic(file, draw_png(result.losses, result.steps, loss, measured))
    except (ImportError, OSError, ValueError) as error:
        logger.warning("no loss curve is drawn: %s", error)


def find_published(run: PreparedRun, registry: Registry) -> RunOutcome | None:
    """The version this run has made before, if the registry still has it."""
    try:
        version = json.loads((run.folder / PUBLISHED).read_text(encoding="utf-8"))["version"]
        shown = registry.show(run.request.family, version)
    except (OSError, ValueError, KeyError, TypeError, RegistryError):
        return None
    return RunOutcome(version, shown["metrics"], reused=True)


def export_outcome(run: PreparedRun, outcome: RunOutcome, registry: Registry) -> RunOutcome:
    """The outcome with an int4 model for CPUs beside the version. Where none can be made the version is as good."""
    from character_chatbot.export.exporting import ExportRequest, export_version

    run.progress.begin(EXPORTING)
    try:
        exported = export_version(ExportRequest(run.request.family, outcome.version), run.settings, registry)
    except Exception as error:  # the version is published, and torch can serve it
        logger.debug("the export failed", exc_info=True)
        problem = error.what if isinstance(error, SuiteError) else f"{type(error).__name__}: {error}"
        logger.warning("%s %s is not exported for CPUs: %s", run.request.family, outcome.version, problem)
        return replace(outcome, export={"problem": problem})
    return replace(outcome, export=exported.record)
