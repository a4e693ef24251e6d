"""LoRA training of one adapter with TRL and PEFT, resumable at any moment."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from character_chatbot.checkpoints import newest_checkpoint
from character_chatbot.devices import Device
from character_chatbot.examples import Example, check_labels
from config import TrainingSettings
from utils.errors import TrainingError

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTConfig, SFTTrainer

    from character_chatbot.progress import StopOnSignal

logger = logging.getLogger(__name__)

# Beside the weights, the logits of a batch take the most memory: float32, with a copy for the softmax and a gradient.
LOGITS_COPIES = 3
LOGITS_BUDGET_BYTES = {"cpu": 512 * 2**20, "cuda": 4 * 2**30}
SMALLEST_MODEL_WITH_CHECKPOINTING = 1_000_000_000  # parameters; below it activations are small beside the weights


@dataclass(frozen=True)
class TrainingResult:
    """The trained model and what was measured on the way.

    ``losses``: (step, mean loss in nats per token). ``base_parameters``: of the base, without the adapter.
    """

    model: PeftModel
    steps: int
    losses: tuple[tuple[int, float], ...]
    resumed_from_step: int
    base_parameters: int


def train_adapter(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    settings: TrainingSettings,
    device: Device,
    folder: Path,
    max_steps: int = 0,
    show: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> TrainingResult:
    """Train a LoRA adapter on ``examples``; goes on from the newest checkpoint in ``folder``.

    Args:
        model: the base; its weights stay as they are.
        tokenizer: of the base.
        examples: encoded dialogues; at least one.
        settings: of the training.
        device: where the model is.
        folder: for checkpoints.
        max_steps: optimizer steps; 0: as ``settings.epochs`` says.
        show: called after each step with step, steps and loss (nats per token).

    Raises:
        TrainingError: the labels are not what they should be, or the loss is no number any more.
        KeyboardInterrupt: after SIGINT or SIGTERM, with a checkpoint written.
    """
    from transformers import set_seed

    from character_chatbot.progress import StepReport, StopOnSignal

    checkpoint = newest_checkpoint(folder)
    settings = replace(settings, sequences_per_batch=choose_batch(settings, device, model.config.vocab_size))
    base_parameters = model.num_parameters()  # counted before the adapter adds its own
    arguments = build_arguments(settings, device, folder, max_steps, base_parameters)
    with StopOnSignal() as stop:
        set_seed(settings.seed)  # the adapter's first weights are drawn when the trainer wraps the model
        lora = build_lora(settings)
        trainer = _build_trainer(model, tokenizer, examples, lora=lora, arguments=arguments, stop=stop)
        trainer.add_callback(StepReport(show))
        check_labels(tokenizer, cast("Iterable[dict[str, list[int]]]", trainer.train_dataset), examples)
        resumed = _train(trainer, checkpoint)
        if stop.received is not None and trainer.state.global_step < trainer.state.max_steps:
            raise KeyboardInterrupt if stop.received == signal.SIGINT else SystemExit(128 + stop.received)
    losses = tuple((int(entry["step"]), entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
    if not losses or losses[-1][1] != losses[-1][1]:
        raise TrainingError(
            "the loss is no number any more.",
            remedies=[("Learn more slowly", "training.learning_rate in aws_config.yaml")],
        )
    return TrainingResult(cast("PeftModel", trainer.model), trainer.state.global_step, losses, resumed, base_parameters)


def _train(trainer: SFTTrainer, checkpoint: Path | None) -> int:
    """Run to the end, from the checkpoint if there is one; the step at which it began."""
    from transformers import TrainerState

    if checkpoint is None:
        trainer.train()
        return 0
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    logger.info("going on from step %d of %d", state.global_step, state.max_steps)
    if state.global_step >= state.max_steps:
        # Resuming a finished run would do one step more: take its weights instead.
        trainer._load_from_checkpoint(str(checkpoint))
        trainer.state = state
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint))
    return int(state.global_step)


def _build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    lora: LoraConfig,
    arguments: SFTConfig,
    stop: StopOnSignal,
) -> SFTTrainer:
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTTrainer

    from character_chatbot.progress import CheckpointMark, ProgressBar

    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(
            {"input_ids": [e.input_ids for e in examples], "labels": [e.labels for e in examples]}
        ),
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[ProgressBar(), CheckpointMark(), stop],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in cast("PeftModel", trainer.model).parameters():
        if parameter.requires_grad:  # half precision cannot hold the optimizer's small steps
            parameter.data = parameter.data.to(torch.float32)
    return trainer


def choose_batch(settings: TrainingSettings, device: Device, vocabulary: int) -> int:
    """How many sequences are in memory at once: as set, else so many that their logits fit the budget."""
    if settings.sequences_per_batch:
        return min(settings.sequences_per_batch, settings.sequences_per_step)
    bytes_each = settings.max_length * vocabulary * 4 * LOGITS_COPIES
    fitting = max(1, LOGITS_BUDGET_BYTES[device.kind] // bytes_each)
    batch = max(
        size
        for size in range(1, settings.sequences_per_step + 1)
        if settings.sequences_per_step % size == 0 and size <= fitting
    )
    if batch < settings.sequences_per_step:
        logger.info(
            "%d of the %d sequences of a step at once: logits of %d words need the memory",
            batch,
            settings.sequences_per_step,
            vocabulary,
        )
    return batch


def build_lora(settings: TrainingSettings) -> LoraConfig:
    """Plain LoRA on all linear layers: any tool that reads PEFT adapters can convert it."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def build_arguments(
    settings: TrainingSettings, device: Device, folder: Path, max_steps: int, parameters: int
) -> SFTConfig:
    """Arguments for TRL's trainer."""
    from trl import SFTConfig

    per_batch = settings.sequences_per_batch
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        max_steps=max_steps or -1,
        per_device_train_batch_size=per_batch,
        gradient_accumulation_steps=max(1, settings.sequences_per_step // per_batch),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_share,
        max_length=settings.max_length,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        activation_checkpointing=parameters >= SMALLEST_MODEL_WITH_CHECKPOINTING,
        use_cpu=device.kind == "cpu",
        bf16=device.dtype_name == "bfloat16",
        fp16=device.dtype_name == "float16",
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=3,  # one may be damaged while the next is being written
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        dataloader_pin_memory=device.kind == "cuda",
    )
