"""A real training of the smallest size, to be run in a process of its own and killed there.

Imported once by a fork server: a process that is killed after a moment should not spend seconds on imports.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
import trl

from character_chatbot.corpus import load_corpus
from character_chatbot.machine.devices import choose_device
from character_chatbot.monitoring import progress
from character_chatbot.monitoring.metrics_file import METRICS, MetricsFile
from character_chatbot.recovery import resumable
from character_chatbot.recovery.checkpoints import newest_checkpoint
from character_chatbot.recovery.stopping import ending_on_sigterm
from character_chatbot.training import packing, reply_trainer
from character_chatbot.training.adapter import train_adapter
from character_chatbot.training.examples import encode_dialogues
from config import Settings, TrainingSettings, load_settings

PRELOADED = (transformers, trl, packing, progress, reply_trainer, resumable)
CHECKPOINTS, BEGUN, ENDED = "checkpoints", "begun", "ended.json"

SETTINGS = TrainingSettings(
    lora_rank=4, lora_dropout=0.1, learning_rate=5e-3, sequences_per_step=4, sequences_per_batch=2, epochs=4.0,
    checkpoint_minutes=0, checkpoint_steps=1,
)  # fmt: skip


def load(series: Path, base: Path) -> tuple[Any, Any, list[Any]]:
    """Model, tokenizer and examples."""
    settings: Settings = load_settings(env_file=Path("/none"), environment={}, flags={"paths.data": series})
    settings = replace(settings, training=SETTINGS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(base))
    dialogues = load_corpus(series).build_dialogues(settings, ("Ada", "Bo"))
    examples = encode_dialogues(tokenizer, dialogues.training, dialogues, SETTINGS.max_length)
    return transformers.AutoModelForCausalLM.from_pretrained(str(base)), tokenizer, examples


def train(series: Path, base: Path, folder: Path, **changes: Any) -> None:
    """Train to the end, or until this process is killed; ``folder`` tells what came of it."""
    torch.set_num_threads(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stderr.fileno())
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    code: object = 0
    try:
        with ending_on_sigterm():
            _train(series, base, folder, replace(SETTINGS, **changes))
    except KeyboardInterrupt:
        code = 130
    except SystemExit as error:
        code = error.code
    sys.exit(code)


def _train(series: Path, base: Path, folder: Path, settings: TrainingSettings) -> None:
    model, tokenizer, examples = load(series, base)
    (folder / BEGUN).write_text(str(time.time()))
    result = train_adapter(
        model, tokenizer, examples, settings=settings, device=choose_device(), folder=folder / CHECKPOINTS,
        metrics=MetricsFile(folder / METRICS),
    )  # fmt: skip
    weights = {name: float(each.double().sum()) for name, each in result.model.named_parameters() if each.requires_grad}
    ended = {"losses": result.losses, "steps": result.steps, "from": result.resumed_from_step, "weights": weights}
    (folder / ENDED).write_text(json.dumps(ended))


def newest_step(folder: Path) -> int:
    """The step of the newest whole checkpoint; 0 where there is none."""
    found = newest_checkpoint(folder / CHECKPOINTS)
    return int(found.name.rpartition("-")[2]) if found else 0
