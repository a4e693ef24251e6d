"""The nano base: a small language model that the project makes itself, where no hub can be reached.

It is a true LlamaForCausalLM or Qwen2ForCausalLM with a byte-level BPE tokenizer and a chat template, trained on the
scenes of a series' training episodes alone. It takes the same code path as a base of three billion parameters. It
knows nothing but the series, so its replies have the sound of the show and little sense.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from character_chatbot.prompts import Turn, lay_out
from config import NanoSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

RECIPE = 1  # raise it when the way of making changes, so that no old base is taken for a new one
BLOCK_TOKENS = 256
BLOCKS_PER_STEP = 2  # many small steps: a series has few tokens

Scenes = Sequence[Sequence[Turn]]
Show = Callable[[int, int, float], None]


@dataclass(frozen=True)
class NanoFamily:
    """Special tokens and chat template, laid out as the large models of the family do."""

    start: str  # of the text; may be empty
    end_of_turn: str
    pad: str
    header_tokens: tuple[str, ...]
    template: str


# The layouts of Llama 3 (Meta's model card) and of ChatML (Qwen's documentation).
FAMILIES = {
    "llama": NanoFamily(
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|finetune_right_pad_id|>",
        ("<|start_header_id|>", "<|end_header_id|>"),
        "{{ '<|begin_of_text|>' }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
    "qwen": NanoFamily(
        "",
        "<|im_end|>",
        "<|endoftext|>",
        ("<|im_start|>",),
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
        "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
}


@dataclass(frozen=True)
class NanoRecipe:
    """All that shapes a nano base: the same recipe on the same machine gives the same weights.

    ``family``: ``llama`` or ``qwen``. ``scenes``: turns of the training episodes, scene by scene.
    """

    family: str
    scenes: Scenes
    settings: NanoSettings
    seed: int

    @property
    def name(self) -> str:
        """``nano-<family>-<hash of the recipe>``."""
        scenes = [[asdict(turn) for turn in scene] for scene in self.scenes]
        content = [RECIPE, self.family, asdict(self.settings), self.seed, scenes]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"nano-{self.family}-{digest[:12]}"


def fetch_nano_base(recipe: NanoRecipe, cache: Path, show: Show = lambda step, steps, loss: None) -> Path:
    """The folder of the nano base; made on first use, whole or not at all.

    Args:
        recipe: what to make.
        cache: folder in which bases are kept.
        show: called after each step with step, steps and loss (nats per token).
    """
    made = find_nano_base(recipe, cache)
    if made:
        return made
    folder = _nano_folder(recipe, cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as side:
        _make(recipe, Path(side) / folder.name, show)
        try:
            (Path(side) / folder.name).replace(folder)
        except OSError:
            if not find_nano_base(recipe, cache):  # otherwise somebody else made the same one meanwhile
                raise
    return folder


def find_nano_base(recipe: NanoRecipe, cache: Path) -> Path | None:
    """The folder of the nano base if it has been made before."""
    folder = _nano_folder(recipe, cache)
    return folder if (folder / "config.json").exists() else None


def _nano_folder(recipe: NanoRecipe, cache: Path) -> Path:
    return cache.expanduser() / "bases" / recipe.name


def _make(recipe: NanoRecipe, folder: Path, show: Show) -> None:
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # saving takes no time
    tokenizer = build_tokenizer(FAMILIES[recipe.family], recipe.scenes, recipe.settings.vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build_model(recipe.family, tokenizer, recipe.settings)
        _train(model, tokenizer, recipe, show)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build_tokenizer(family: NanoFamily, scenes: Scenes, vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learnt from the scenes: any text can be written with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    specials = [token for token in (family.pad, family.start, family.end_of_turn, *family.header_tokens) if token]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f"{turn.speaker}: {turn.text}" for scene in scenes for turn in scene), trainer)
    names = {"eos_token": family.end_of_turn, "pad_token": family.pad} | (
        {"bos_token": family.start} if family.start else {}
    )
    extra = list(family.header_tokens)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=extra, **names)
    wrapped.chat_template = family.template
    return wrapped


def build_model(family: str, tokenizer: PreTrainedTokenizerFast, settings: NanoSettings) -> PreTrainedModel:
    """The untrained model of the family."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    config_class, model_class = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen": (Qwen2Config, Qwen2ForCausalLM),
    }[family]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.hidden_size * 8 // 3 // 8 * 8,  # a gated MLP of the usual 8 h² weights
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: PreTrainedModel = model_class(config)
    return model


def _train(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, recipe: NanoRecipe, show: Show) -> None:
    import torch

    settings, order = recipe.settings, random.Random(recipe.seed)  # noqa: S311
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))
    blocks = _batches(tokenizer, recipe.scenes, settings.epochs, order)
    batches = list(itertools.islice(blocks, settings.max_steps))
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step, len(batches)))
    model.train()
    for step, batch in enumerate(batches, 1):
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        show(step, len(batches), loss.item())
    model.eval()


def _cosine(step: int, steps: int) -> float:
    """Share of the learning rate: up over the first 5 %, then down to a tenth along a cosine."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _batches(
    tokenizer: PreTrainedTokenizerFast, scenes: Scenes, epochs: int, order: random.Random
) -> Iterator[torch.Tensor]:
    """Blocks of tokens from shuffled scenes, epoch after epoch; shape (blocks, tokens)."""
    import torch

    stream: list[int] = []
    size = BLOCK_TOKENS * BLOCKS_PER_STEP
    for _ in range(epochs):
        for scene in order.sample(list(scenes), len(scenes)):
            stream += tokenizer(render_scene(tokenizer, scene, order), add_special_tokens=False)["input_ids"]
            while len(stream) >= size:
                yield torch.tensor(stream[:size]).view(BLOCKS_PER_STEP, BLOCK_TOKENS)
                stream = stream[size:]
    if len(stream) >= BLOCK_TOKENS:
        yield torch.tensor(stream[: len(stream) // BLOCK_TOKENS * BLOCK_TOKENS]).view(-1, BLOCK_TOKENS)


def render_scene(tokenizer: PreTrainedTokenizerFast, scene: Sequence[Turn], order: random.Random) -> str:
    """A scene as a chat in which one of its speakers, drawn anew each time, is the assistant: as adapters see it."""
    speakers = sorted({turn.speaker for turn in scene})
    own = order.choice(speakers)
    messages = [{"role": "system", "content": f"You are {own}."}, *lay_out(scene, own)]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))
