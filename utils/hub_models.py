"""Models of the Hugging Face hub as whole folders on this machine, with weights as safetensors or not at all.

folder = cached_model("valhalla/distilbart-mnli-12-3") or fetch_model("valhalla/distilbart-mnli-12-3")

Older repositories hold their weights as a pickle alone. The hub's own bot offers nearly all of them as safetensors in
a pull request of the repository; then that revision is used, as transformers does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from utils.errors import BaseModelError
from utils.hub import cached_file

logger = logging.getLogger(__name__)

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PATTERNS = ["*.json", "*.txt", "*.model", "model*.safetensors"]  # settings, tokenizer, weights
MAIN, CONVERSIONS = "main", "refs/pr"
# Who converts, and how its pull requests are called (transformers/safetensors_conversion.py).
BOT, TITLE = "SFconvertbot", "Adding `safetensors` variant of this model"


def cached_model(repository: str) -> Path | None:
    """The folder of a whole model in the hub's cache on this machine; the hub is not asked."""
    for revision in (MAIN, *_cached_conversions(repository)):
        config = cached_file(repository, "config.json", revision)
        if config and _has_weights(config.parent):
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
        remedies=[("Have the hub convert it", "https://huggingface.co/spaces/safetensors/convert")],
    )


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


def _has_weights(folder: Path) -> bool:
    """Whether all weights are there: a download may have been stopped between two parts."""
    try:
        parts = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        parts = {WEIGHTS}
    return all((folder / part).is_file() for part in parts)
