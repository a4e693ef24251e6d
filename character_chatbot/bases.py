"""Base models: which one a run takes, and how it is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from character_chatbot.hub_download import download
from character_chatbot.hub_faults import explain, first_line
from character_chatbot.load_progress import LoadProgress
from character_chatbot.machine.devices import Device
from character_chatbot.training.quantisation import build_quantisation
from config import Settings
from utils.announcements import Announcement, Announcements
from utils.errors import BaseModelError
from utils.hub import HubState, cached_file
from utils.hub_models import PATTERNS, missing_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")

NANO = "nano"  # as a value of --base
HUB, PATH = "hub", "path"
CONNECT = "check the connection, or give a folder: --base PATH"


@dataclass(frozen=True)
class Base:
    """A base model that can be loaded.

    ``kind``: ``hub`` (``location`` is a repository), ``path`` or ``nano`` (``location`` is a folder).
    ``name``: for people and for run.json; the same name means the same weights.
    """

    kind: str
    name: str
    location: str
    only_cached: bool = False


def choose_base(
    wanted: str,
    default: str,
    *,
    check_hub: Callable[[], HubState],
    fetch_nano: Callable[[], Path],
    announcements: Announcements,
) -> Base:
    """The base for a training run.

    Args:
        wanted: a repository, a folder, ``nano``, or empty for ``default``.
        default: the repository to take if none is asked for and it can be had (:func:`default_base`).
        check_hub: asked only where the answer matters.
        fetch_nano: makes the nano base or finds it made.
        announcements: hears of the step down to the nano base.

    Raises:
        BaseModelError: ``wanted`` is neither a folder with a model nor a repository that can be had.
    """
    if wanted == NANO:
        return nano_base(fetch_nano())
    if wanted:
        return find_base(wanted, check_hub)
    if is_cached(default):
        return Base(HUB, default, default, only_cached=not check_hub().reachable)
    hub = check_hub()
    if hub.reachable:
        return Base(HUB, default, default)
    announcements.add(
        Announcement("base model", default, "the nano base, made from this series alone", hub.why, CONNECT)
    )
    return nano_base(fetch_nano())


def default_base(family: str, device: Device, settings: Settings) -> str:
    """The family's repository for this device."""
    bases = settings.families[family]
    return bases.gpu if device.kind == "cuda" else bases.laptop


def nano_base(folder: Path) -> Base:
    return Base(NANO, folder.name, str(folder))


def find_base(wanted: str, check_hub: Callable[[], HubState]) -> Base:
    """A base by folder or repository name. Raises BaseModelError."""
    try:
        folder = Path(wanted).expanduser()
    except RuntimeError:  # ~somebody who has no home here
        folder = Path(wanted)
    if (folder / "config.json").is_file():
        return Base(PATH, str(folder.resolve()), str(folder.resolve()))
    if folder.exists():
        raise BaseModelError(f"{wanted} holds no model: there is no config.json in it.")
    if not _is_repository_name(wanted):
        raise BaseModelError(
            f"no base model '{wanted}'.",
            instead="A base is a folder with config.json, a repository of the hub (owner/name), or nano.",
        )
    hub = HubState(False) if is_cached(wanted) else check_hub()
    if not hub.reachable and not is_cached(wanted):
        raise BaseModelError(
            f"base model {wanted} is not on this machine, and {hub.why}.",
            remedies=[("Go without", "--base nano"), ("Or a folder", "--base PATH")],
        )
    return Base(HUB, wanted, wanted, only_cached=not hub.reachable)


def _is_repository_name(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1


def is_cached(repository: str) -> bool:
    """Whether the hub's cache on this machine has the repository's configuration and all parts of its weights."""
    config = cached_file(repository, "config.json")
    return config is not None and not missing_weights(config.parent)


def load_tokenizer(base: Base, token: str = "") -> PreTrainedTokenizerBase:
    """The tokenizer of a base. Raises BaseModelError: cannot be had, or has no chat template."""
    from transformers import AutoTokenizer

    tokenizer = _load(
        base,
        lambda: AutoTokenizer.from_pretrained(base.location, token=token or None, local_files_only=base.only_cached),
        token,
    )
    if not tokenizer.chat_template:
        raise BaseModelError(
            f"base model {base.name} has no chat template, so it cannot hold a conversation.",
            instead="Bases made for chat are usually named …-Instruct or …-Chat.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # harmless: labels, not padding, decide what is learnt
    return tokenizer


def load_config(base: Base, token: str = "") -> PretrainedConfig:
    """The shape of a base, without its weights. Raises BaseModelError."""
    from transformers import AutoConfig

    config: PretrainedConfig = _load(
        base,
        lambda: AutoConfig.from_pretrained(base.location, token=token or None, local_files_only=base.only_cached),
        token,
    )
    return config


def fetch_base(base: Base, token: str, progress: LoadProgress) -> None:
    """Download what is missing of a base from the hub, and tell how far that is.

    Raises:
        BaseModelError: it cannot be had.
        LoadStoppedError: ``progress`` was stopped.
    """
    if base.kind == HUB and not base.only_cached and not is_cached(base.location):
        download(base.location, [*PATTERNS, "*.jinja"], token, progress)


def load_model(base: Base, device: Device, token: str = "", quantised: bool = False) -> PreTrainedModel:
    """The model of a base, on the device; ``quantised``: in 4 bits. Weights come from safetensors only.

    Raises:
        BaseModelError: it cannot be had.
        TrainingError: it is to be quantised, and bitsandbytes is not installed.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # of reading weights; the page has its own
    quantisation = build_quantisation(device) if quantised else None
    model = _load(
        base,
        lambda: AutoModelForCausalLM.from_pretrained(
            base.location,
            dtype=device.dtype,
            device_map=device.kind if device.kind == "cuda" else None,
            quantization_config=quantisation,
            use_safetensors=True,
            token=token or None,
            local_files_only=base.only_cached,
        ),
        token,
    )
    model.eval()
    return model


def _load(base: Base, load: Callable[[], Loaded], token: str = "") -> Loaded:
    from safetensors import SafetensorError

    try:
        return load()
    except Exception as error:
        if base.kind == HUB and (explained := explain(base.name, base.location, error, token)):
            raise explained from error
        if isinstance(error, OSError | ValueError | KeyError | SafetensorError):
            raise BaseModelError(f"base model {base.name} cannot be loaded: {first_line(error)}") from error
        raise
