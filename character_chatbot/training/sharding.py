"""A base that is too large for one GPU, spread over several: FSDP2, each weight in pieces, gathered layer by layer.

    parallel = choose_parallel(settings.parallel, device.kind, fits=estimate.fits)
    SFTConfig(**fsdp_arguments(parallel, checkpointing), …)
    adapter = gather_adapter(model)                    # in all processes at once

Where the base fits, each process holds all of it and only gradients travel (DDP): that is faster.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.training import processes
from utils.errors import TrainingError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

AUTO, DDP, FSDP = "auto", "ddp", "fsdp"  # as values of training.parallel
SHARDED_WEIGHTS = "pytorch_model_fsdp.bin"  # transformers writes it into the checkpoints of a sharded model


def choose_parallel(wanted: str, device_kind: str, *, fits: bool | None = None) -> str:
    """``ddp`` or ``fsdp``.

    Args:
        wanted: ``training.parallel``; ``auto``: sharded where the base is known not to fit one GPU.
        device_kind: ``cuda`` or ``cpu``.
        fits: whether one GPU holds base, adapter and a batch by the memory estimate; None: not known.

    Raises:
        TrainingError: ``fsdp`` is asked for and there is one process, or no GPU.
    """
    several = processes.count() > 1
    if wanted == FSDP and not (several and device_kind == "cuda"):
        raise TrainingError(
            f"training.parallel is fsdp, which spreads a base over several GPUs: there "
            f"{'is no GPU' if several else 'is one process'}.",
            remedies=[
                ("Start one process for each GPU", "torchrun --nproc-per-node 2 training_pipeline.py train …"),
                ("Or leave it out", "training.parallel: auto"),
            ],
        )
    if wanted == AUTO and several and device_kind == "cuda" and fits is False:
        logger.info("one GPU does not hold the base: it is spread over %d (fsdp)", processes.count())
        return FSDP
    return DDP if wanted == AUTO else wanted


def fsdp_arguments(parallel: str, checkpointing: bool) -> dict[str, Any]:
    """Arguments of ``TrainingArguments``, activation checkpointing among them: FSDP has its own."""
    if parallel != FSDP:
        return {"activation_checkpointing": checkpointing}
    config = {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",  # a layer is gathered, used and let go
        "reshard_after_forward": True,
        "state_dict_type": "FULL_STATE_DICT",
        "activation_checkpointing": checkpointing,
    }
    return {"activation_checkpointing": False, "fsdp": True, "fsdp_config": config}


def is_sharded(model: torch.nn.Module) -> bool:
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


def gather_adapter(model: Any) -> dict[str, torch.Tensor]:
    """The whole adapter of a sharded model on the CPU, for ``save_pretrained(state_dict=…)``.

    All processes call it at once; the first one gets it, the others nothing.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    gathered: dict[str, Any] = get_model_state_dict(model, options=options)
    return {name.replace("._checkpoint_wrapped_module", ""): each for name, each in gathered.items()}


def check_kind(checkpoint: Path, parallel: str) -> None:
    """Raises TrainingError: the checkpoint is of a sharded model and this one is not, or the other way round."""
    written = FSDP if (checkpoint / SHARDED_WEIGHTS).is_file() else DDP
    if written != parallel:
        raise TrainingError(
            f"{checkpoint} was written with training.parallel {written}, and this run has {parallel}.",
            remedies=[("Go on as before", f"training.parallel: {written}"), ("Or begin anew", f"rm -r {checkpoint}")],
        )
