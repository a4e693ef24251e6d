"""How well an exported model says what torch says: the same base, adapter and prompts, token by token.

found = measure_agreement(folder, torch_model, examples)
found.problems(settings.export)         # sentences; none where it may be served
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.engines.openvino_pipeline import COMPUTE
from config import ExportSettings

if TYPE_CHECKING:
    import torch

Pair = tuple[Sequence[int], Sequence[int]]  # token ids of a prompt and of the reply to it
GREEDY_TOKENS, GREEDY_PROMPTS = 24, 4


@dataclass(frozen=True)
class Agreement:
    """Over all reply tokens, torch first.

    ``top_share``: of tokens at which both find the same most likely. ``divergence``: mean Kullback-Leibler, nats.
    ``difference``: mean of |log p - log q| of the replies' own tokens. ``greedy_share``: of greedy tokens that are the
    same up to the first other one; None where it was not measured.
    """

    replies: int
    tokens: int
    top_share: float
    divergence: float
    difference: float
    torch_perplexity: float
    perplexity: float
    greedy_share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def problems(self, limits: ExportSettings) -> list[str]:
        """Why it is not to be served."""
        found = []
        if not self.divergence <= limits.max_divergence:  # so that no number is one as well
            found.append(f"the divergence is {self.divergence:.3f} nats a token, allowed {limits.max_divergence:g}")
        rise = self.perplexity / self.torch_perplexity - 1
        if not rise <= limits.max_perplexity_rise:
            found.append(f"the perplexity rises by {rise:.1%}, allowed {limits.max_perplexity_rise:.1%}")
        return found


def measure_agreement(folder: Path, model: Any, pairs: Sequence[Pair]) -> Agreement:
    """Compare the export in ``folder`` with ``model`` of torch on replies to prompts. ValueError: there are none."""
    if not pairs:
        raise ValueError("no replies to compare on")
    read = _open_model(folder)
    sums = [_compare(_torch_logits(model, pair), read(pair), pair[1]) for pair in pairs]
    tokens = sum(len(reply) for _, reply in pairs)
    top, divergence, difference, torch_loss, loss = (sum(each[n] for each in sums) / tokens for n in range(5))
    return Agreement(len(pairs), tokens, top, divergence, difference, _exp(torch_loss), _exp(loss))


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _compare(wanted: torch.Tensor, found: torch.Tensor, reply: Sequence[int]) -> tuple[float, ...]:
    """Sums over the tokens of a reply; both of shape (tokens, vocabulary)."""
    import torch

    one, other = wanted.float().log_softmax(-1), found.float().log_softmax(-1)
    at = torch.tensor(list(reply)).unsqueeze(-1)
    own, engine = one.gather(-1, at), other.gather(-1, at)
    return (
        float((one.argmax(-1) == other.argmax(-1)).sum()),
        float((one.exp() * (one - other)).sum()),
        float((own - engine).abs().sum()),
        float(-own.sum()),
        float(-engine.sum()),
    )


def _torch_logits(model: Any, pair: Pair) -> torch.Tensor:
    import torch

    prompt, reply = pair
    ids = torch.tensor([[*prompt, *reply]], device=model.device)
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, use_cache=False, logits_to_keep=len(reply) + 1).logits
    return logits[0, :-1].cpu()


def _open_model(folder: Path) -> Callable[[Pair], torch.Tensor]:
    """Logits of the exported weights, with OpenVINO alone: GenAI gives none of a prompt."""
    import numpy as np
    import openvino
    import torch

    model = openvino.Core().compile_model(str(folder / "openvino_model.xml"), "CPU", COMPUTE)
    request = model.create_infer_request()

    def read(pair: Pair) -> torch.Tensor:
        prompt, reply = pair
        ids = np.array([[*prompt, *reply]], np.int64)
        request.reset_state()
        inputs = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "position_ids": np.arange(ids.shape[1])[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        logits = request.infer(inputs)["logits"]
        return torch.from_numpy(logits[0, -len(reply) - 1 : -1].copy())

    return read


def measure_greedy(
    replies: Callable[[Sequence[int]], Sequence[int]], model: Any, pairs: Sequence[Pair], ends: Sequence[int]
) -> float:
    """Share of tokens that engine and torch say alike, up to the first that differs, without sampling.

    ``replies``: the engine's greedy reply of at most ``GREEDY_TOKENS`` to a prompt, without those that end it.
    ``ends``: the tokens that end a reply.
    """
    same = wanted = 0
    for prompt, _ in pairs[:GREEDY_PROMPTS]:
        expected, found = _torch_greedy(model, prompt, ends), list(replies(prompt))
        wanted += len(expected)
        same += next((at for at, each in enumerate(expected) if found[at : at + 1] != [each]), len(expected))
    return same / wanted if wanted else 1.0


def _torch_greedy(model: Any, prompt: Sequence[int], ends: Sequence[int]) -> list[int]:
    import torch
    from transformers import GenerationConfig

    ids = torch.tensor([list(prompt)], device=model.device)
    config = GenerationConfig(max_new_tokens=GREEDY_TOKENS, do_sample=False, eos_token_id=list(ends), pad_token_id=0)
    with torch.inference_mode():
        found = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return [int(each) for each in found[0, len(prompt) :] if int(each) not in ends]
