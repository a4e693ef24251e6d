"""Which model scores the themes, where it lies, and how it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import BaseModelError
from utils.hub import HubState
from utils.hub_models import cached_model, check_weights, fetch_model, without_pickle

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LEXICAL = "lexical"


@dataclass(frozen=True)
class ModelPlace:
    """A model in the folder ``location``. ``identity``: changes with the weights.

    ``single_pass``: it reads all labels at once.
    """

    name: str
    location: str
    identity: str
    single_pass: bool


def find_model(wanted: str, check_hub: Callable[[], HubState], token: str = "") -> ModelPlace | HubState:
    """A model by folder or repository, from this machine where it is there; else the state of the hub that is not.

    Raises:
        BaseModelError: a folder without a model or its safetensors, a name that is none, or a repository that the hub
            refuses.
    """
    folder = Path(wanted).expanduser()
    if (folder / "config.json").is_file():
        check_weights(folder)
        return _place(str(folder), str(folder.resolve()), folder / "config.json", _weights_sum(folder))
    if folder.exists():
        raise BaseModelError(f"{wanted} holds no model: there is no config.json in it.")
    if wanted.count("/") != 1 or wanted.startswith((".", "/", "~")):
        raise BaseModelError(
            f"no model '{wanted}'.",
            instead="A model is a folder with config.json or a repository of the hub (owner/name).",
        )
    snapshot = cached_model(wanted)
    if not snapshot:
        hub = check_hub()
        if not hub.reachable:
            return HubState(False, without_pickle(wanted, hub.why))
        try:
            snapshot = fetch_model(wanted, token)
        except BaseModelError as error:
            raise cannot_load(wanted, error) from error
    return _place(wanted, str(snapshot), snapshot / "config.json", snapshot.name)


def _place(name: str, location: str, config: Path, version: str) -> ModelPlace:
    try:
        kind = str(json.loads(config.read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError) as error:
        raise BaseModelError(f"{config} does not describe a model: {error}") from None
    identity = f"{Path(name).name}@{version}"
    return ModelPlace(name, location, identity, "gliclass" in kind.casefold())


def _weights_sum(folder: Path) -> str:
    """Stands for the weights and words of a folder: sizes and times of its files, which is quick to find."""
    files = sorted([file for kind in ("safetensors", "json", "txt", "model") for file in folder.glob(f"*.{kind}")])
    parts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((str(folder.resolve()), parts)).encode()).hexdigest()[:16]


def cannot_load(name: str, error: Exception) -> BaseModelError:
    """The sentence for a model that cannot be had or read."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return BaseModelError(f"theme model {name} cannot be loaded: {first}")


def load_model(place: ModelPlace) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Tokenizer and model in float32, ready to score. Weights come from safetensors only.

    Raises:
        BaseModelError: it cannot be had, or is no NLI model.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # of reading weights from disk; downloads keep theirs
    try:
        tokenizer = AutoTokenizer.from_pretrained(place.location, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            place.location, dtype="float32", use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # transformers raises whatever its parts raise
        raise cannot_load(place.name, error) from error
    if not tokenizer.is_fast:
        raise cannot_load(place.name, ValueError("its tokenizer has no fast version"))
    entailment_labels(model.config.label2id or {}, place.name)
    return tokenizer, model.eval()


def entailment_labels(label2id: Mapping[str, Any], name: str = "") -> tuple[int, int]:
    """The positions of entailment and of contradiction: by their names, and where no label is named contradiction as
    transformers' zero-shot pipeline finds it (which takes neutral for it where that is the first or the last label).

    Raises:
        BaseModelError: no label is about entailment.
    """
    found = [at for label, at in label2id.items() if label.lower().startswith("entail")]
    if not found:
        raise BaseModelError(
            f"{name or 'the model'} is no NLI model: none of its labels is entailment.",
            instead=f"Its labels: {', '.join(label2id)}",
        )
    against = [at for label, at in label2id.items() if label.lower().startswith("contradict")]
    return found[0], against[0] if against else (len(label2id) - 1 if found[0] == 0 else 0)
