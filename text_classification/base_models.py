"""Where a DistilBERT comes from: a folder, this machine's cache of the hub, or the hub; and where it is trained."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import BaseModelError
from utils.hub import HubState
from utils.hub_models import cached_model, check_weights, fetch_model, without_pickle

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def find_base(wanted: str, check_hub: Callable[[], HubState], token: str = "") -> Path | HubState:
    """The folder of a base, fetched from the hub if need be; the state of a hub that has to be asked and is not there.

    Raises:
        BaseModelError: a folder without a model or its safetensors, a name that is none, or a repository that the hub
            refuses.
    """
    folder = Path(wanted).expanduser()
    if (folder / "config.json").is_file():
        check_weights(folder)
        return folder.resolve()
    if folder.exists():
        raise BaseModelError(f"{wanted} holds no model: there is no config.json in it.")
    if wanted.count("/") > 1 or wanted.startswith((".", "/", "~")):
        raise BaseModelError(
            f"no model '{wanted}'.",
            instead="A base is a folder with config.json or a repository of the hub.",
        )
    cached = cached_model(wanted)
    if cached:
        return cached
    hub = check_hub()
    if not hub.reachable:
        return HubState(False, without_pickle(wanted, hub.why))
    try:
        return fetch_model(wanted, token)
    except BaseModelError as error:
        raise cannot_load(wanted, error) from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Raises BaseModelError: it cannot be had."""
    from transformers import AutoTokenizer

    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises whatever its parts raise
        raise cannot_load(str(folder), error) from error
    if not found.is_fast:  # the others do not tell the parts of a long scene
        raise cannot_load(str(folder), ValueError("its tokenizer has no fast version"))
    return found


def load_classifier(folder: Path, **config: Any) -> PreTrainedModel:
    """The model in float32; weights from safetensors only. ``config``: such as the labels of a new head.

    Raises:
        BaseModelError: it cannot be had.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        found: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype="float32", use_safetensors=True, local_files_only=True, **config
        )
    except Exception as error:
        raise cannot_load(str(folder), error) from error
    return found


def cannot_load(name: str, error: Exception) -> BaseModelError:
    """The sentence for a model that cannot be had or read."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return BaseModelError(f"location model {name} cannot be loaded: {first}")


def choose_device() -> tuple[str, str]:
    """``cuda`` where there is one, else ``cpu``; and the reason. Both in float32: the model is small."""
    import torch

    if torch.cuda.is_available():
        return "cuda", f"{torch.cuda.get_device_name()}: float32 there"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "cpu", f"no CUDA: float32 on {cores} cores"
