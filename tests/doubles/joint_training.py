"""One of several processes that train a tiny model together, as torchrun would start it; ``sharded`` as on GPUs."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from doubles import killed_training
from peft import get_peft_model_state_dict
from safetensors.torch import save_file

from character_chatbot.machine.devices import choose_device
from character_chatbot.monitoring.metrics_file import METRICS, MetricsFile
from character_chatbot.training import processes, sharding
from character_chatbot.training.adapter import train_adapter

PRELOADED = killed_training.PRELOADED
ADAPTER = "adapter.safetensors"


def start(rank: int, count: int, port: int, local_rank: int, *given: Any, **changes: Any) -> None:
    """Become process ``rank`` of ``count`` and train."""
    if count > 1:
        names = {
            "RANK": rank,
            "LOCAL_RANK": local_rank,
            "WORLD_SIZE": count,
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": port,
        }
        os.environ |= {name: str(value) for name, value in names.items()}
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    with processes.joined():
        train(*given, **changes)


def train(series: Path, base: Path, folder: Path, sharded: bool = False, **changes: Any) -> None:
    """Train to the end; the first process tells in ``folder`` what came of it, and which weights each had."""
    model, tokenizer, examples = killed_training.load(series, base)
    if sharded:
        shard_on_cpu()
    settings = replace(killed_training.SETTINGS, **{"lora_dropout": 0.0, "epochs": 2.0} | changes)
    result = train_adapter(
        model, tokenizer, examples[:19], settings=settings, device=choose_device(), folder=folder / "checkpoints",
        metrics=MetricsFile(folder / METRICS),
    )  # fmt: skip
    trained = [each for each in result.model.parameters() if each.requires_grad]
    sums = processes.gather(sum(float(_whole(each).double().sum()) for each in trained))
    adapter = get_peft_model_state_dict(result.model, state_dict=result.adapter)
    if processes.is_first():
        is_sharded = sharding.is_sharded(result.model)
        ended = {"losses": result.losses, "from": result.resumed_from_step, "weights": sums, "sharded": is_sharded}
        save_file({name: each.contiguous() for name, each in adapter.items()}, folder / ADAPTER)
        (folder / "ended.json").write_text(json.dumps(ended))


def _whole(weight: Any) -> torch.Tensor:
    whole: torch.Tensor = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    return whole


def shard_on_cpu() -> None:
    """Let accelerate take gloo on CPUs for GPUs, and the project with it: by itself it shards on GPUs alone."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    sharding.choose_parallel = lambda *_, **__: sharding.FSDP
