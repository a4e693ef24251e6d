"""The models of benchmarks/serving.py: random weights in known shapes, their adapter, and what each engine serves.

    make("base", "0.5b", "DIR")           # DIR/base and DIR/adapter, as transformers and PEFT write them
    make("openvino", "0.5b", "DIR")       # DIR/openvino: the adapter merged in, packed
    make("runtime", "0.5b", "DIR")        # DIR/runtime: the base alone, packed
    make("llama.cpp", "0.5b", "DIR")      # DIR/model.gguf; needs numpy and gguf and no more

What is there already is kept. Speed and memory do not depend on what the weights say.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

# From their config.json: Qwen2.5-0.5B, Llama-3.2-3B.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "qwen2", "vocab_size": 2048, "hidden_size": 256, "intermediate_size": 768,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    "0.5b": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    },
    "3b": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192,
        "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    },
}  # fmt: skip
GGUF = "model.gguf"
CONTEXT = 32_768


def make(step: str, shape: str, folder: str) -> None:
    """One of the models; silent where it is there."""
    place = Path(folder)
    done = {"base": place / "adapter" / "adapter_config.json", "llama.cpp": place / GGUF}
    if done.get(step, place / step / "openvino_model.xml").exists():
        return
    started = time.monotonic()
    if step == "base":
        make_base(place / "base", place / "adapter", SHAPES[shape])
    elif step == "llama.cpp":
        from benchmarks.random_gguf import write_gguf

        write_gguf(place / "unfinished.gguf", SHAPES[shape])
        (place / "unfinished.gguf").rename(place / GGUF)
    else:
        make_export(step, place)
    print(f"{step}: made in {time.monotonic() - started:.0f} s", file=sys.stderr)


def make_export(step: str, place: Path) -> None:
    """As training_pipeline.py export makes it, less the comparison with torch."""
    from character_chatbot.export.architecture import read_architecture
    from character_chatbot.export.exporting import choose_bits, copy_tokenizer, write_model
    from character_chatbot.export.weights import Weights

    base, folder = place / "base", place / f"{step}-unfinished"
    weights = Weights.open(base, place / "adapter" if step == "openvino" else None)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_model(folder, base, read_architecture(base), weights, choose_bits(0, weights.count()))
    copy_tokenizer(base, folder)
    folder.rename(place / step)


def make_base(base: Path, adapter: Path, shape: dict[str, Any]) -> None:
    """Random weights in bfloat16 and a random adapter, r = 16 on all linear layers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from character_chatbot.nano import FAMILIES, build_tokenizer
    from character_chatbot.prompts import Turn

    torch.manual_seed(1)
    numbers = {"max_position_embeddings": CONTEXT, **shape}
    config = AutoConfig.for_model(numbers.pop("model_type"), **numbers, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(base)
    build_tokenizer(FAMILIES["qwen"], [[Turn("Ada", f"Number {n}.") for n in range(99)]], 400).save_pretrained(base)
    lora = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    lora.save_pretrained(adapter)
