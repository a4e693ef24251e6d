"""Search by meaning: texts as vectors of a sentence-embedding model, compared by cosine.

The vector of a text is the mean of the last hidden states of its tokens: "mean pooling" in sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import BaseModelError

if TYPE_CHECKING:
    import numpy as np

BATCH = 32
LONGEST_TOKENS = 256  # what small sentence models were trained on
# Below this nothing fits: unrelated English sentences have cosines around 0 to 0.2 in such models.
LOWEST_COSINE = 0.2

Encoder = Callable[[Sequence[str]], "np.ndarray"]


class EmbeddingIndex:
    """Cosines of texts with a query, each above :data:`LOWEST_COSINE` or 0."""

    def __init__(self, encode: Encoder, texts: Sequence[str]) -> None:
        self._encode, self._vectors = encode, encode(texts)

    def score(self, text: str) -> np.ndarray:
        """Shape (texts,)."""
        import numpy as np

        cosines = self._vectors @ self._encode([text])[0]
        return np.where(cosines > LOWEST_COSINE, cosines, 0.0)


def load_encoder(model: str) -> Encoder:
    """What turns texts into unit vectors, shape (texts, width). On the CPU: it must not take a GPU's memory.

    Args:
        model: a folder, or a repository that is in the hub's cache; nothing is downloaded.

    Raises:
        BaseModelError: there is none, or it cannot be loaded.
    """
    from transformers import AutoModel, AutoTokenizer

    if not (Path(model).expanduser() / "config.json").is_file() and not _is_cached(model):
        raise BaseModelError(f"{model} is neither a folder with a model nor in the hub's cache.")
    location = str(Path(model).expanduser()) if Path(model).expanduser().is_dir() else model
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, local_files_only=True)
        network = AutoModel.from_pretrained(location, local_files_only=True, use_safetensors=True).eval()
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelError(f"{model} cannot be loaded: {str(error).splitlines()[0]}") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return lambda texts: _encode(tokenizer, network, texts)


def _is_cached(model: str) -> bool:
    from huggingface_hub.errors import HFValidationError

    from character_chatbot.bases import is_cached

    try:
        return is_cached(model)
    except HFValidationError:
        return False


def _encode(tokenizer: Callable, network: Callable, texts: Sequence[str]) -> np.ndarray:
    import numpy as np
    import torch

    vectors = []
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(
                list(texts[start : start + BATCH]), return_tensors="pt", padding=True, truncation=True,
                max_length=LONGEST_TOKENS,
            )  # fmt: skip
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            hidden, mask = network(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None]
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            vectors.append(torch.nn.functional.normalize(mean.float(), dim=1).numpy())
    return np.concatenate(vectors)
