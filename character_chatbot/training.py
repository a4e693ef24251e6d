"""LoRA training of one adapter with TRL and PEFT, resumable at any moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from character_chatbot.checkpoints import newest_checkpoint
from character_chatbot.devices import Device
from character_chatbot.examples import Example, check_labels
from character_chatbot.handover import CheckpointSink, Handover
from character_chatbot.metrics_file import Measured, MetricsFile
from character_chatbot.stopping import StopOnSignal, Stopped
from config import TrainingSettings
from utils.errors import TrainingError

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTConfig

    from character_chatbot.resumable import Resumable

logger = logging.getLogger(__name__)

# Beside the weights, the logits of a batch take the most memory: float32, with a copy for the softmax and a gradient.
LOGITS_COPIES = 3
LOGITS_BUDGET_BYTES = {"cpu": 512 * 2**20, "cuda": 4 * 2**30}
BATCH_TOKENS = 2048  # in memory at once: what a step keeps for its way back grows with them
SMALLEST_MODEL_WITH_CHECKPOINTING = 1_000_000_000  # parameters; below it activations are small beside the weights

HANDOVER_SECONDS, HANDOVER_SECONDS_STOPPED = 30.0, 8.0  # for the last checkpoint; a stopped run has 20 s in all


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
    show: Callable[[Measured], None] = lambda measured: None,
    metrics: MetricsFile | None = None,
    sink: CheckpointSink | None = None,
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
        show: called after each step with what it measured.
        metrics: gets a line for each step.
        sink: gets each new checkpoint, in the background.

    Raises:
        TrainingError: the labels are not what they should be, the loss is no number any more, or the disk is full.
        KeyboardInterrupt, SystemExit: after SIGINT or SIGTERM, with a checkpoint written.
    """
    from transformers import set_seed

    checkpoint = newest_checkpoint(folder)
    settings = replace(settings, sequences_per_step=count_sequences(settings, examples))
    batch = choose_batch(settings, device, model.config.vocab_size, examples)
    settings = replace(settings, sequences_per_batch=batch)
    base_parameters = model.num_parameters()  # counted before the adapter adds its own
    arguments = build_arguments(settings, device, folder, max_steps, base_parameters)
    handover = Handover(sink)
    with StopOnSignal() as stop:
        try:
            with stop.at_once():
                set_seed(settings.seed)  # the adapter's first weights are drawn when the trainer wraps the model
                trainer = _build_trainer(model, tokenizer, examples, lora=build_lora(settings), arguments=arguments)
                check_labels(tokenizer, cast("Iterable[dict[str, list[int]]]", trainer.train_dataset), examples)
            trainer.protect(stop, handover, settings)
            _watch(trainer, show, metrics or MetricsFile())
            resumed = _train(trainer, checkpoint)
            stop.check()
        except Stopped:
            stop.leave()
        finally:
            handover.close(HANDOVER_SECONDS_STOPPED if stop.received else HANDOVER_SECONDS)
    losses = tuple((int(entry["step"]), entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
    if not losses or losses[-1][1] != losses[-1][1]:
        raise TrainingError(
            "the loss is no number any more.",
            remedies=[("Learn more slowly", "training.learning_rate in aws_config.yaml")],
        )
    return TrainingResult(cast("PeftModel", trainer.model), trainer.state.global_step, losses, resumed, base_parameters)


def _train(trainer: Resumable, checkpoint: Path | None) -> int:
    """Run to the end, from the checkpoint if there is one; the step at which it began.

    Raises:
        Stopped: a signal broke a step off; the one before it is saved.
    """
    try:
        return _train_from(trainer, checkpoint)
    except Stopped:
        trainer.save_last_step()
        raise


def _train_from(trainer: Resumable, checkpoint: Path | None) -> int:
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
) -> Resumable:
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback

    from character_chatbot.packing import PackingCollator
    from character_chatbot.reply_trainer import ReplyTrainer
    from character_chatbot.resumable import resumable

    columns = ("input_ids", "labels", "shared")
    trainer: Resumable = resumable(ReplyTrainer)(
        model=model,
        args=arguments,
        data_collator=PackingCollator(),
        train_dataset=Dataset.from_dict({name: [getattr(each, name) for each in examples] for name in columns}),
        processing_class=tokenizer,
        peft_config=lora,
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in cast("PeftModel", trainer.model).parameters():
        if parameter.requires_grad:  # half precision cannot hold the optimizer's small steps
            parameter.data = parameter.data.to(torch.float32)
    return trainer


def _watch(trainer: Resumable, show: Callable[[Measured], None], metrics: MetricsFile) -> None:
    """Let the bar, whoever looks from outside, and the metrics file hear of each step."""
    from character_chatbot.progress import Meter, ProgressBar

    bar = ProgressBar()
    trainer.add_callback(bar)
    trainer.add_callback(Meter(trainer.counts, [bar.show, show], metrics))


def count_sequences(settings: TrainingSettings, examples: Sequence[Example]) -> int:
    """How many sequences hold as many replies as a step is to learn from: fewer where one holds several."""
    replies = sum(len(example.replies()) for example in examples)
    return max(1, round(settings.sequences_per_step * len(examples) / replies)) if replies else 1


def choose_batch(settings: TrainingSettings, device: Device, vocabulary: int, examples: Sequence[Example] = ()) -> int:
    """How many sequences are in memory at once: as set, else so many that their logits and tokens fit the budget."""
    if settings.sequences_per_batch:
        return min(settings.sequences_per_batch, settings.sequences_per_step)
    learnt = max((len(example.reply_ids) for example in examples), default=settings.max_length)
    tokens = max(1, sum(len(example.input_ids) - example.shared for example in examples) // max(1, len(examples)))
    fitting = min(LOGITS_BUDGET_BYTES[device.kind] // (learnt * vocabulary * 4 * LOGITS_COPIES), BATCH_TOKENS // tokens)
    batch = max(
        size
        for size in range(1, settings.sequences_per_step + 1)
        if settings.sequences_per_step % size == 0 and size <= max(1, fitting)
    )
    if batch < settings.sequences_per_step:
        logger.info(
            "%d of the %d sequences of a step at once: %d tokens each, and logits of %d words, need the memory",
            batch,
            settings.sequences_per_step,
            tokens,
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
        save_strategy="no",  # CheckpointClock says when
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        dataloader_pin_memory=device.kind == "cuda",
    )
