"""The five ways of training that benchmarks/training.py compares: data, base and trainer of each."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import Settings, TrainingSettings

if TYPE_CHECKING:
    import torch

    from character_chatbot.dialogues import Dialogue, DialogueSet
    from character_chatbot.training.examples import Example

SIDES = ("original", "trl", "packing", "pairs", "scenes")
ALWAYS_FLOAT32 = ("original", "trl")
REPLIES_PER_STEP = 8
CONTEXT_TURNS = 6
PADDED_TOKENS, ROW_TOKENS, LONGEST_TOKENS = 256, 1024, 512
SEED = 7
# SmolLM2-135M, from its config.json.
SHAPE = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
    "tie_word_embeddings": True, "rope_theta": 100000.0,
}  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One way of training.

    ``padded_tokens``: of each sequence in the original's way; what is longer is cut off there.
    ``folder``: for what its trainer may want to write. ``learning_rate``: None: as each side has it by default.
    """

    name: str
    dtype: str
    folder: str
    learning_rate: float | None = None
    padded_tokens: int = PADDED_TOKENS


def load_dialogues(data: str) -> DialogueSet:
    """Those of the character with the most."""
    from character_chatbot.corpus import load_corpus

    corpus = load_corpus(Path(data))
    everybody = corpus.build_dialogues(Settings())
    return corpus.build_dialogues(Settings(), everybody.characters[:1])


def load_base(arguments: argparse.Namespace, dialogues: DialogueSet, dtype: str) -> tuple[Any, Any]:
    """Tokenizer and model, of the folder or of random weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from character_chatbot.nano import FAMILIES, build_tokenizer
    from character_chatbot.prompts import Turn

    if arguments.base:
        tokenizer = AutoTokenizer.from_pretrained(arguments.base)
        options = {"dtype": getattr(torch, dtype), "use_safetensors": True}
        return tokenizer, AutoModelForCausalLM.from_pretrained(arguments.base, **options)
    torch.manual_seed(SEED)
    personas = [Turn(name, dialogues.cast.get(name).persona) for name in dialogues.characters]
    tokenizer = build_tokenizer(FAMILIES["qwen"], [*dialogues.scenes, personas], 8000)
    return tokenizer, LlamaForCausalLM(LlamaConfig(**SHAPE)).to(getattr(torch, dtype))


def choose_training(tokenizer: Any, dialogues: DialogueSet, replies: int, longest: int = PADDED_TOKENS) -> DialogueSet:
    """The first dialogues that all sides can learn whole: the original's way cuts them off."""
    from character_chatbot.training.examples import encode_dialogue

    def fits(dialogue: Dialogue) -> bool:
        found = encode_dialogue(tokenizer, dialogue, dialogues, LONGEST_TOKENS)
        return found is not None and len(found.input_ids) <= longest

    fitting = (each for each in dialogues.training if fits(each))
    chosen = [each for _, each in zip(range(replies), fitting, strict=False)]
    return replace(dialogues, training=tuple(chosen))


def build_trainer(side: Side, model: Any, tokenizer: Any, dialogues: DialogueSet) -> tuple[Any, list[Example]]:
    """The side's trainer for one epoch, and the dialogues that it learns."""
    from character_chatbot.training.examples import encode_dialogues
    from character_chatbot.training.scenes import encode_scenes

    if side.name == "scenes":
        scenes = encode_scenes(tokenizer, dialogues.training, dialogues, LONGEST_TOKENS, CONTEXT_TURNS)
        return build_ours(side, model, tokenizer, scenes), scenes
    pairs = encode_dialogues(tokenizer, dialogues.training, dialogues, LONGEST_TOKENS)
    if side.name == "pairs":
        return build_ours(side, model, tokenizer, pairs), pairs
    return build_theirs(side, model, tokenizer, pairs), pairs


def build_ours(side: Side, model: Any, tokenizer: Any, examples: list[Example]) -> Any:
    from datasets import Dataset

    from character_chatbot.machine.devices import Device
    from character_chatbot.training.adapter import build_arguments, build_lora, choose_batch, count_sequences
    from character_chatbot.training.packing import PackingCollator
    from character_chatbot.training.reply_trainer import ReplyTrainer

    per_step = count_sequences(TrainingSettings(sequences_per_step=REPLIES_PER_STEP), examples)
    settings = TrainingSettings(sequences_per_step=per_step, epochs=1, lora_dropout=0.0)
    if side.learning_rate:
        settings = replace(settings, learning_rate=side.learning_rate)
    device = Device("cpu", side.dtype, "")
    batch = choose_batch(settings, device, model.config.vocab_size, examples)
    settings = replace(settings, sequences_per_batch=batch)
    columns = ("input_ids", "labels", "shared")
    return ReplyTrainer(
        model=model,
        args=build_arguments(settings, device, Path(side.folder)),
        data_collator=PackingCollator(),
        train_dataset=Dataset.from_dict({name: [getattr(each, name) for each in examples] for name in columns}),
        processing_class=tokenizer,
        peft_config=build_lora(settings),
    )


def build_theirs(side: Side, model: Any, tokenizer: Any, examples: list[Example]) -> Any:
    """The original's way, TRL's defaults or TRL's packing."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from character_chatbot.training.adapter import build_lora

    batches: dict[str, dict[str, Any]] = {
        "original": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": REPLIES_PER_STEP,
                     "pad_to_multiple_of": side.padded_tokens, "max_length": side.padded_tokens,
                     "completion_only_loss": False, "activation_checkpointing": True},  # TRL's default
        "trl": {"per_device_train_batch_size": REPLIES_PER_STEP, "max_length": ROW_TOKENS,
                "completion_only_loss": True, "activation_checkpointing": True},
        "packing": {"per_device_train_batch_size": 1, "max_length": ROW_TOKENS, "packing": True,
                    "completion_only_loss": True, "activation_checkpointing": False},
    }  # fmt: skip
    a_row = max(1, ROW_TOKENS * len(examples) // sum(len(each.input_ids) for each in examples))
    batches["packing"]["gradient_accumulation_steps"] = max(1, round(REPLIES_PER_STEP / a_row))
    options = {"activation_checkpointing": False} | batches[side.name]
    if side.learning_rate:  # as ours
        options |= {"learning_rate": side.learning_rate, "lr_scheduler_type": "cosine", "warmup_steps": 0.05}
    masks = [[int(label != -100) for label in each.labels] for each in examples]
    columns = {"input_ids": [list(each.input_ids) for each in examples], "completion_mask": masks}
    if side.name == "original":
        del columns["completion_mask"]
    dropout = 0.0 if side.name == "packing" else 0.05
    return SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=side.folder,
            num_train_epochs=1,
            use_cpu=True,
            bf16=side.dtype == "bfloat16",
            save_strategy="no",
            logging_steps=1000,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **options,
        ),
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        peft_config=build_lora(TrainingSettings(lora_dropout=dropout)),
    )


class Clock:
    """What went through the model in each step, and the seconds that it took; padding counts only in ``processed``."""

    def __init__(self, trainer: Any) -> None:
        self.seconds: list[float] = []
        self.counts: list[Counts] = []
        self.processed = 0
        self._watch(trainer)

    def _watch(self, trainer: Any) -> None:
        from transformers import TrainerCallback

        compute, clock = trainer.compute_loss, self

        class Watch(TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                clock.counts.append(Counts())
                self.began = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.seconds.append(time.perf_counter() - self.began)

        def counted(model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            clock.counts[-1] += count_batch(inputs)
            clock.processed += inputs["input_ids"].numel()
            return compute(model, inputs, *rest, **options)

        trainer.compute_loss = counted
        trainer.add_callback(Watch())


@dataclass(frozen=True)
class Counts:
    """Tokens without padding, those that the loss is of, and pairs of a token and one that it attends to."""

    tokens: int = 0
    supervised: int = 0
    attended: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tokens + other.tokens, self.supervised + other.supervised, self.attended + other.attended)


def count_batch(inputs: dict[str, torch.Tensor]) -> Counts:
    """Of a batch of any side: with a mask, with positions, or with segments."""
    import torch

    from character_chatbot.machine.flops import count_attended
    from character_chatbot.training.packing import NOBODY

    ids = inputs["input_ids"]
    if "segment" in inputs:
        here = inputs["segment"] != NOBODY
    else:
        here = inputs.get("attention_mask", torch.ones_like(ids)).bool()
    positions = inputs.get("position_ids", here.cumsum(1) - 1)
    supervised = int((inputs["labels"] != -100).sum())
    return Counts(int(here.sum()), supervised, count_attended({"position_ids": positions}, here))
