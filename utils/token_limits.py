"""How many tokens a model of transformers reads at once, by its own settings and its tokenizer's.

longest_input(tokenizer, model)     # 512 for DistilBERT, 1024 for BART
"""

from __future__ import annotations

from typing import Any

# Positions of these start after the padding's, so that they read fewer tokens than they have positions.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert"}


def longest_input(tokenizer: Any, model: Any) -> int:
    """Tokens that the model reads at once, those that the tokenizer adds included. Both are of transformers."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    if config.model_type in OFFSET_POSITIONS:
        positions -= config.pad_token_id + 1
    return int(min(positions, tokenizer.model_max_length))
