"""How fast a character is learnt: the same dialogues, the same replies a step, five ways, each in a process of its own.

    python benchmarks/training.py [--base DIR] [--quick] [--dtype float32] [--data DIR] [--side NAME]

original   padded to 256 tokens, one sequence at a time, loss on all of it, float32
trl        TRL's defaults: 8 sequences padded to the longest, dropout 0.05, checkpointing, float32
packing    TRL's packing, best fit decreasing, rows of 1,024 tokens
pairs      ours, a sequence for each reply, the persona once a row, logits only in replies
scenes     ours, whole scenes, every reply in them learnt

"Reply tokens" are those of the character's turns and their ends. The default base has the shape of SmolLM2-135M and
random weights: speed does not depend on what they say. Nothing is asserted about times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as all programs of the project do
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from config import TrainingSettings  # noqa: E402

if TYPE_CHECKING:
    from character_chatbot.dialogues import DialogueSet
    from character_chatbot.examples import Example

SIDES = ("original", "trl", "packing", "pairs", "scenes")
ALWAYS_FLOAT32 = ("original", "trl")
REPLIES_PER_STEP = 8
CONTEXT_TURNS = 6
PADDED_TOKENS, ROW_TOKENS, LONGEST_TOKENS = 256, 1024, 512
STEPS, STEPS_QUICK = 7, 3  # the first is not counted
# SmolLM2-135M, from its config.json.
SHAPE = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
    "tie_word_embeddings": True, "rope_theta": 100000.0,
}  # fmt: skip


def main() -> int:
    arguments = build_parser().parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments)))
        return 0
    dtype = arguments.dtype or choose_dtype()
    print(f"{STEPS_QUICK if arguments.quick else STEPS} steps of {REPLIES_PER_STEP} replies; {arguments.data}; {dtype}")
    print(
        f"{'':<10}{'dtype':<10}{'reply tok/s':>12}{'tokens/s':>10}{'tokens/reply tok':>18}"
        f"{'peak MB':>9}{'× packing':>11}"
    )
    results = {side: run_side(side, arguments, dtype) for side in SIDES}
    for side, found in results.items():
        ratio = found["reply_tokens_per_second"] / results["packing"]["reply_tokens_per_second"]
        print(
            f"{side:<10}{found['dtype']:<10}{found['reply_tokens_per_second']:>12.1f}{found['tokens_per_second']:>10.0f}"
            f"{found['tokens_per_reply_token']:>18.1f}{found['peak_mb']:>9.0f}{ratio:>11.2f}"
        )
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", default="", metavar="DIR", help="a folder with a model (default: random, 135M)")
    parser.add_argument("--data", default=str(PROJECT / "data" / "sample_series"), metavar="DIR", help="series folder")
    parser.add_argument("--quick", action="store_true", help=f"{STEPS_QUICK} steps instead of {STEPS}")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of packing and ours (default: as measured)")
    parser.add_argument("--side", choices=SIDES, help="measure this one here, print JSON")
    return parser


def choose_dtype() -> str:
    from character_chatbot.devices import Device, choose_training_device

    device = choose_training_device(Device("cpu", "float32", "the benchmark is one of CPUs"))
    print(device.reason)
    return device.dtype_name


def run_side(side: str, arguments: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Measure one side in a process of its own, so that its peak of memory is its own."""
    words = ["--side", side, "--data", arguments.data, "--base", arguments.base]
    words += ["--dtype", "float32" if side in ALWAYS_FLOAT32 else dtype, *(["--quick"] if arguments.quick else [])]
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {side}: done in {found['seconds']:.0f} s", file=sys.stderr)
    return found


def measure(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a few steps and say how fast: median over the steps but the first."""
    import resource

    steps, dtype = STEPS_QUICK if arguments.quick else STEPS, arguments.dtype or "float32"
    dialogues = load_dialogues(arguments.data, steps * REPLIES_PER_STEP)
    tokenizer, model = load_base(arguments, dialogues)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trainer, examples = build_trainer(Side(side, dtype, folder), model, tokenizer, dialogues)
        clock = count_steps(trainer)
        trainer.train()
    learnt, processed = sum(len(each.reply_ids) for each in examples), clock.tokens
    rate = statistics.median(tokens / seconds for tokens, seconds in clock.steps[1:])
    per_reply_token = processed / learnt
    return {
        "dtype": dtype,
        "reply_tokens_per_second": rate / per_reply_token,
        "tokens_per_second": rate,
        "tokens_per_reply_token": per_reply_token,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": time.monotonic() - started,
    }


def load_dialogues(data: str, replies: int) -> DialogueSet:
    """The first training dialogues of the character with the most."""
    from character_chatbot.corpus import load_corpus
    from config import Settings

    corpus = load_corpus(Path(data))
    everybody = corpus.build_dialogues(Settings())
    one = corpus.build_dialogues(Settings(), everybody.characters[:1])
    return replace(one, training=one.training[:replies])


def load_base(arguments: argparse.Namespace, dialogues: DialogueSet) -> tuple[Any, Any]:
    """Tokenizer and model, of the folder or of random weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from character_chatbot.nano import FAMILIES, build_tokenizer
    from character_chatbot.prompts import Turn

    dtype = getattr(torch, arguments.dtype or "float32")
    if arguments.base:
        tokenizer = AutoTokenizer.from_pretrained(arguments.base)
        return tokenizer, AutoModelForCausalLM.from_pretrained(arguments.base, dtype=dtype, use_safetensors=True)
    torch.manual_seed(7)
    personas = [Turn(name, dialogues.cast.get(name).persona) for name in dialogues.characters]
    tokenizer = build_tokenizer(FAMILIES["qwen"], [*dialogues.scenes, personas], 8000)
    return tokenizer, LlamaForCausalLM(LlamaConfig(**SHAPE)).to(dtype)


@dataclass(frozen=True)
class Side:
    """One way of training; ``folder``: for what its trainer may want to write."""

    name: str
    dtype: str
    folder: str


def build_trainer(side: Side, model: Any, tokenizer: Any, dialogues: DialogueSet) -> tuple[Any, list[Example]]:
    """The side's trainer for one epoch, and the dialogues that it learns."""
    from character_chatbot.examples import encode_dialogues
    from character_chatbot.scenes import encode_scenes

    if side.name == "scenes":
        scenes = encode_scenes(tokenizer, dialogues.training, dialogues, LONGEST_TOKENS, CONTEXT_TURNS)
        return build_ours(side, model, tokenizer, scenes), scenes
    pairs = encode_dialogues(tokenizer, dialogues.training, dialogues, LONGEST_TOKENS)
    if side.name == "pairs":
        return build_ours(side, model, tokenizer, pairs), pairs
    return build_theirs(side, model, tokenizer, pairs), pairs


def build_ours(side: Side, model: Any, tokenizer: Any, examples: list[Example]) -> Any:
    from datasets import Dataset

    from character_chatbot.devices import Device
    from character_chatbot.packing import PackingCollator
    from character_chatbot.reply_trainer import ReplyTrainer
    from character_chatbot.training import build_arguments, build_lora, choose_batch, count_sequences

    per_step = count_sequences(TrainingSettings(sequences_per_step=REPLIES_PER_STEP), examples)
    settings = TrainingSettings(sequences_per_step=per_step, epochs=1, lora_dropout=0.0)
    device = Device("cpu", side.dtype, "")
    batch = choose_batch(settings, device, model.config.vocab_size, examples)
    settings = replace(settings, sequences_per_batch=batch)
    columns = ("input_ids", "labels", "shared")
    return ReplyTrainer(
        model=model,
        args=build_arguments(settings, device, Path(side.folder), 0, model.num_parameters()),
        data_collator=PackingCollator(),
        train_dataset=Dataset.from_dict({name: [getattr(each, name) for each in examples] for name in columns}),
        processing_class=tokenizer,
        peft_config=build_lora(settings),
    )


def build_theirs(side: Side, model: Any, tokenizer: Any, examples: list[Example]) -> Any:
    """The original's way, TRL's defaults or TRL's packing."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from character_chatbot.training import build_lora

    batches: dict[str, dict[str, Any]] = {
        "original": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": REPLIES_PER_STEP,
                     "pad_to_multiple_of": PADDED_TOKENS, "max_length": PADDED_TOKENS, "completion_only_loss": False},
        "trl": {"per_device_train_batch_size": REPLIES_PER_STEP, "max_length": ROW_TOKENS,
                "completion_only_loss": True, "activation_checkpointing": True},
        "packing": {"per_device_train_batch_size": 1, "max_length": ROW_TOKENS, "packing": True,
                    "completion_only_loss": True, "activation_checkpointing": False},
    }  # fmt: skip
    a_row = max(1, ROW_TOKENS * len(examples) // sum(len(each.input_ids) for each in examples))
    batches["packing"]["gradient_accumulation_steps"] = max(1, round(REPLIES_PER_STEP / a_row))
    options = {"activation_checkpointing": False} | batches[side.name]
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


def count_steps(trainer: Any) -> Any:
    """A callback that has, for each step, the tokens that went through the model and the seconds it took."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.steps: list[tuple[int, float]] = []
            self.tokens, self._now, self._in_step = 0, 0.0, 0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self._now, self._in_step = time.perf_counter(), 0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.steps.append((self._in_step, time.perf_counter() - self._now))
            self.tokens += self._in_step

        def count(self, tokens: int) -> None:
            self._in_step += tokens

    clock, compute = Clock(), trainer.compute_loss

    def counted(model: Any, inputs: dict[str, Any], *rest: Any, **options: Any) -> Any:
        clock.count(inputs["input_ids"].numel())
        return compute(model, inputs, *rest, **options)

    trainer.compute_loss = counted
    trainer.add_callback(clock)
    return clock


if __name__ == "__main__":
    raise SystemExit(main())
