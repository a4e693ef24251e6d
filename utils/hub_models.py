"""Models of the Hugging Face hub as whole folders on this machine, with weights as safetensors or not at all.

folder = cached_model("valhalla/distilbart-mnli-12-3") or fetch_model("valhalla/distilbart-mnli-12-3")

Older repositories hold their weights as a pickle alone. The hub's own bot offers nearly all of them as safetensors in
a pull request of the repository; then that revision is used, as transformers does.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path

from utils.errors import BaseModelError
from utils.hub import cached_file

logger = logging.getLogger(__name__)

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLES = "pytorch_model.bin", "pytorch_model.bin.index.json"
PATTERNS = ["*.json", "*.txt", "*.model", "model*.safetensors"]  # settings, tokenizer, weights
MAIN, CONVERSIONS = "main", "refs/pr"
# Who converts, and how its pull requests are called (transformers/safetensors_conversion.py).
BOT, TITLE = "SFconvertbot", "Adding `safetensors` variant of this model"
CONVERT = ("Have the hub convert it", "https://huggingface.co/spaces/safetensors/convert")
# Reads tensors and nothing else of a pickle (torch.load, weights_only), and writes them beside it.
CONVERSION = (
    "import sys, torch, safetensors.torch as s; "
    "w = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
    "s.save_file({k: v.clone().contiguous() for k, v in w.items()}, sys.argv[2], {'format': 'pt'})"
)


def cached_model(repository: str) -> Path | None:
    """The folder of a whole model in the hub's cache on this machine; the hub is not asked."""
    for revision in (MAIN, *_cached_conversions(repository)):
        config = cached_file(repository, "config.json", revision)
        if config and not missing_weights(config.parent):
            return config.parent
    return None


def fetch_model(repository: str, token: str = "") -> Path:
    """Download what is missing of a model, and give its folder, whose name is the commit.

    Raises:
        BaseModelError: the hub refuses it, or has no safetensors of it.
    """
    from huggingface_hub import snapshot_download

    try:
        revision = _find_revision(repository, token)
        if revision:
            return Path(snapshot_download(repository, revision=revision, allow_patterns=PATTERNS, token=token or None))
    except Exception as error:  # of many kinds, all of which say why in their first line
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BaseModelError(f"{repository} cannot be had: {first}") from error
    raise BaseModelError(
        f"{repository} has no weights as safetensors, and a pickle is not loaded.",
        remedies=[CONVERT],
    )


def check_weights(folder: Path) -> None:
    """Look at a folder of one's own before it is loaded.

    Raises:
        BaseModelError: a part of its weights is missing, or they are a pickle alone, which could run anything.
    """
    missing = missing_weights(folder)
    pickles = [name for name in (PICKLE, PICKLES) if (folder / name).is_file()]
    if missing and missing != [WEIGHTS]:
        raise BaseModelError(f"{folder} lacks parts of its weights: {', '.join(missing)}.")
    if not missing or not pickles:  # whoever loads it misses the weights
        return
    files = shlex.join([str(folder / PICKLE), str(folder / WEIGHTS)])
    own = [("Or convert it here, tensors alone", f'python -c "{CONVERSION}" {files}')] if pickles[0] == PICKLE else []
    raise BaseModelError(
        f"{folder} has its weights as a pickle alone ({pickles[0]}), and a pickle, which could run anything, "
        "is not loaded.",
        remedies=[CONVERT, *own],
    )


def without_pickle(repository: str, why: str) -> str:
    """Why a model cannot be had, ``why`` the hub does not answer, where this machine has it as a pickle alone."""
    for name in (PICKLE, PICKLES):
        if cached_file(repository, name):
            return f"{why}, and this machine has it as a pickle alone ({name}), which is not loaded"
    return why


def _find_revision(repository: str, token: str) -> str:
    """Where the safetensors are; empty where there are none."""
    from huggingface_hub import HfApi, get_repo_discussions

    if {WEIGHTS, INDEX} & set(HfApi(token=token or None).list_repo_files(repository)):
        return MAIN
    offers = get_repo_discussions(
        repository, author=BOT, discussion_type="pull_request", discussion_status="open", token=token or None
    )
    for offer in offers:
        if offer.author == BOT and offer.title == TITLE and offer.git_reference:
            logger.info("%s: weights converted by the hub's bot, %s", repository, offer.git_reference)
            return offer.git_reference
    return ""


def _cached_conversions(repository: str) -> Iterator[str]:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    refs = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"), "refs", CONVERSIONS)
    yield from (f"{CONVERSIONS}/{each.name}" for each in sorted(refs.glob("*")))


def missing_weights(folder: Path) -> list[str]:
    """What is not there of the weights: a download may have been stopped between two parts."""
    try:
        parts = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        parts = {WEIGHTS}
    return sorted(part for part in parts if not (folder / part).is_file())
