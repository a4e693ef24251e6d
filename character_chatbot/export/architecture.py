"""What a base's config.json says of its shape: the Llama architecture, and Qwen2's, which is Llama with biases."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import BaseModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXPORTED = ("llama", "qwen2")  # values of model_type
ROPE_THETA = 10_000.0  # where config.json gives none (Su et al. 2021, "RoFormer", section 3.3)


@dataclass(frozen=True)
class Architecture:
    """Numbers of a decoder; ``rope``: as in config.json, with ``rope_theta`` and ``rope_type``."""

    model_type: str
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    epsilon: float
    tied: bool  # the output layer is the embedding
    context: int  # tokens that a prompt and its reply may have
    rope: dict[str, Any]

    def frequencies(self) -> NDArray[np.float32]:
        """Angles in radians by which one position turns each pair of a head's numbers; shape (head_size / 2,).

        Raises:
            BaseModelError: a kind of scaling that is not exported.
        """
        import numpy as np

        theta, kind = float(self.rope.get("rope_theta", ROPE_THETA)), self.rope.get("rope_type", "default")
        plain = 1.0 / theta ** (np.arange(0, self.head_size, 2) / self.head_size)
        if kind == "linear":
            plain = plain / self.rope["factor"]
        elif kind == "llama3":
            plain = _llama3(plain, self.rope)
        elif kind != "default":
            raise BaseModelError(f"positions scaled by '{kind}' are not exported.")
        return plain.astype(np.float32)

    def key_value_numbers(self) -> int:
        """Numbers that the cache keeps for each token."""
        return 2 * self.layers * self.key_heads * self.head_size


def _llama3(plain: NDArray[np.float64], rope: dict[str, Any]) -> NDArray[np.float64]:
    """Slow turns slower still, fast ones as they are, smooth between: Llama 3.1's rule, as transformers has it."""
    import numpy as np

    length, low, high = (rope[f"{name}"] for name in LLAMA3_NAMES)
    turns = length * plain / (2 * math.pi)  # within the context of the first training
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    mixed: NDArray[np.float64] = (1 - smooth) * plain / rope["factor"] + smooth * plain
    return mixed


LLAMA3_NAMES = ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")


def read_architecture(folder: Path) -> Architecture:
    """The shape of the base in ``folder``. Raises BaseModelError: it is not one that is exported."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
        _check(config, kind)
        return _build(config, kind)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseModelError(f"{folder / 'config.json'} does not describe a base: {error!r}") from None


def _check(config: dict[str, Any], kind: str) -> None:
    if kind not in EXPORTED:
        raise BaseModelError(
            f"a base of the architecture '{kind}' is not exported; torch serves it.",
            instead=f"Exported are: {', '.join(EXPORTED)}",
        )
    odd = [name for name in ("use_sliding_window", "mlp_bias") if config.get(name)]
    if config.get("hidden_act", "silu") != "silu":
        odd.append(f"hidden_act={config['hidden_act']}")
    if odd:
        raise BaseModelError(f"a base with {', '.join(odd)} is not exported; torch serves it.")


def _build(config: dict[str, Any], kind: str) -> Architecture:
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", ROPE_THETA))
    rope.setdefault("rope_type", rope.get("type", "default"))
    return Architecture(
        model_type=kind,
        vocabulary=config["vocab_size"],
        hidden=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        key_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or hidden // heads,
        epsilon=config["rms_norm_eps"],
        tied=bool(config.get("tie_word_embeddings", False)),
        context=config["max_position_embeddings"],
        rope=rope,
    )
