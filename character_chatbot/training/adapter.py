"""LoRA training of one adapter with TRL and PEFT, resumable at any moment."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from character_chatbot.machine.devices import Device
from character_chatbot.machine.machine_memory import hand_back_freed_memory
from character_chatbot.monitoring.metrics_file import Measured, MetricsFile
from character_chatbot.recovery.handover import CheckpointSink, Handover
from character_chatbot.recovery.shared_checkpoints import agree_on_checkpoint
from character_chatbot.recovery.stopping import StopOnSignal, Stopped
from character_chatbot.training import processes, sharding
from character_chatbot.training.early_stopping import Evaluation, read_evaluations
from character_chatbot.training.examples import Example, check_labels
from config import TrainingSettings
from utils.announcements import Announcements
from utils.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTConfig

    from character_chatbot.recovery.out_of_memory import InHalves
    from character_chatbot.recovery.resumable import Resumable
    from character_chatbot.training.held_out import HeldOutTrainer

    class SafeTrainer(Resumable, InHalves, HeldOutTrainer):
        """What :func:`build_trainer` makes."""


logger = logging.getLogger(__name__)

# Beside the weights, the logits of a batch take the most memory: float32, with a copy for the softmax and a gradient.
LOGITS_COPIES = 3
LOGITS_BUDGET_BYTES = {"cpu": 512 * 2**20, "cuda": 4 * 2**30}
BATCH_TOKENS = 2048  # in memory at once: what a step keeps for its way back grows with them

HANDOVER_SECONDS, HANDOVER_SECONDS_STOPPED = 30.0, 8.0  # for the last checkpoint; a stopped run has 20 s in all


@dataclass(frozen=True)
class TrainingResult:
    """The trained model and what was measured on the way.

    ``losses``: (step, mean loss in nats per token). ``base_parameters``: of the base, without the adapter.
    ``evaluations``: the held-out loss, where it was measured. ``kept_step``: whose weights the model has.
    ``stopped_early``: more steps were planned. ``adapter``: its weights, where the model lies in pieces on many GPUs.
    """

    model: PeftModel
    steps: int
    losses: tuple[tuple[int, float], ...]
    resumed_from_step: int
    base_parameters: int
    evaluations: tuple[Evaluation, ...] = ()
    kept_step: int = 0
    stopped_early: bool = False
    adapter: dict[str, torch.Tensor] | None = None

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json records of it; ``kept_step`` and what chose it only where something was measured."""
        found: dict[str, Any] = {
            "steps": self.steps,
            "first_loss": self.losses[0][1],
            "last_loss": self.losses[-1][1],
            "losses": [list(point) for point in self.losses],
        }
        if self.evaluations:
            found["held_out_losses"] = [[each.step, each.loss] for each in self.evaluations]
            found["kept_step"] = self.kept_step
            found["kept_held_out_loss"] = next(e.loss for e in self.evaluations if e.step == self.kept_step)
            found["stopped_early"] = self.stopped_early
        return found


def train_adapter(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    settings: TrainingSettings,
    device: Device,
    folder: Path,
    held_out: Sequence[Example] = (),
    show: Callable[[Measured], None] = lambda measured: None,
    metrics: MetricsFile | None = None,
    sink: CheckpointSink | None = None,
    announcements: Announcements | None = None,
    fits: bool | None = None,
) -> TrainingResult:
    """Train a LoRA adapter on ``examples``; goes on from the newest checkpoint in ``folder``.

    Args:
        model: the base; its weights stay as they are.
        tokenizer: of the base.
        examples: encoded dialogues; at least one.
        settings: of the training.
        device: where the model is.
        folder: for checkpoints.
        held_out: encoded dialogues that choose the weights and end the training early; none: neither happens.
        show: called after each step with what it measured.
        metrics: gets a line for each step.
        sink: gets each new checkpoint, in the background.
        announcements: hear of smaller batches where the memory runs out.
        fits: whether one GPU holds the base and a batch; None: not known.

    Raises:
        TrainingError: the labels are not what they should be, the loss is no number, or memory or disk is full.
        KeyboardInterrupt, SystemExit: after SIGINT or SIGTERM, with a checkpoint written.
    """
    from transformers import set_seed

    checkpoint = agree_on_checkpoint(folder)
    settings = fit_batch(settings, device, model.config.vocab_size, examples)
    settings = replace(settings, parallel=sharding.choose_parallel(settings.parallel, device.kind, fits=fits))
    _prepare(settings, device, checkpoint)
    base_parameters = model.num_parameters()  # counted before the adapter adds its own
    arguments = build_arguments(settings, device, folder)
    handover = Handover(sink if processes.is_first() else None)
    with StopOnSignal(together=processes.count() > 1) as stop:
        try:
            with stop.at_once():
                set_seed(settings.seed)  # the adapter's first weights are drawn when the trainer wraps the model
                trainer = build_trainer(model, tokenizer, examples, lora=build_lora(settings), arguments=arguments)
                check_labels(tokenizer, cast("Iterable[dict[str, list[int]]]", trainer.train_dataset), examples)
            trainer.protect(stop, handover, settings)
            trainer.tell_of_memory(announcements)
            _watch(trainer, show, metrics or MetricsFile(), device)
            trainer.watch_held_out(held_out, settings, math.ceil(len(examples) / settings.sequences_per_step))
            resumed = _train(trainer, checkpoint)
            stop.check()
        except Stopped:
            stop.leave()
        finally:
            handover.close(HANDOVER_SECONDS_STOPPED if stop.received else HANDOVER_SECONDS)
    return _finish(trainer, settings, resumed, base_parameters)


def _prepare(settings: TrainingSettings, device: Device, checkpoint: Path | None) -> None:
    """Raises TrainingError: the checkpoint is of another way to share the base among processes."""
    if checkpoint:
        sharding.check_kind(checkpoint, settings.parallel)
    if settings.activation_checkpointing == "on" and device.kind == "cpu":
        hand_back_freed_memory()


def _finish(trainer: SafeTrainer, settings: TrainingSettings, resumed: int, base_parameters: int) -> TrainingResult:
    """What came of it, with the weights that are to be kept. Raises TrainingError: the loss is no number."""
    losses = tuple((int(entry["step"]), entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
    if not losses or losses[-1][1] != losses[-1][1]:
        raise TrainingError(
            "the loss is no number any more.",
            remedies=[("Learn more slowly", "training.learning_rate in aws_config.yaml")],
        )
    kept_step = trainer.take_best() if settings.keep == "best" else trainer.state.global_step
    return TrainingResult(
        cast("PeftModel", trainer.model),
        trainer.state.global_step,
        losses,
        resumed,
        base_parameters,
        tuple(read_evaluations(trainer.state.log_history)),
        kept_step,
        trainer.state.global_step < trainer.state.max_steps,
        sharding.gather_adapter(trainer.model) if settings.parallel == sharding.FSDP else None,
    )


def _train(trainer: SafeTrainer, checkpoint: Path | None) -> int:
    """Run to the end, from the checkpoint if there is one; the step at which it began.

    Raises:
        Stopped: a signal broke a step off; the one before it is saved.
    """
    from character_chatbot.recovery.out_of_memory import is_out_of_memory, out_of_memory

    try:
        return _train_from(trainer, checkpoint)
    except Stopped:
        trainer.save_last_step()
        raise
    except Exception as error:  # between two steps: the optimizer's own, a checkpoint, the held-out loss
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(str(error), trainer.args.per_device_train_batch_size) from error


def _train_from(trainer: SafeTrainer, checkpoint: Path | None) -> int:
    from transformers import TrainerState

    if checkpoint is None:
        trainer.train()
        return 0
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    logger.info("going on from step %d of %d", state.global_step, state.max_steps)
    if state.global_step >= state.max_steps or trainer.is_no_use(state):
        # Resuming a finished run would do one step more: take its weights instead.
        trainer._load_from_checkpoint(str(checkpoint))
        trainer.state = state
        trainer.make_up()
    else:
        trainer.go_on(checkpoint)
    return int(state.global_step)


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    lora: LoraConfig,
    arguments: SFTConfig,
    kind: type[Any] | None = None,
) -> SafeTrainer:
    """TRL's trainer with an adapter; ``kind``: another class than the one that loses no work."""
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback

    from character_chatbot.recovery.out_of_memory import Divisible, careful
    from character_chatbot.recovery.resumable import resumable
    from character_chatbot.training.held_out import HeldOutTrainer
    from character_chatbot.training.packing import PackingCollator

    columns = ("input_ids", "labels", "shared")
    trainer: SafeTrainer = (kind or resumable(careful(HeldOutTrainer)))(
        model=model,
        args=arguments,
        data_collator=Divisible(PackingCollator()),
        train_dataset=Dataset.from_dict({name: [getattr(each, name) for each in examples] for name in columns}),
        processing_class=tokenizer,
        peft_config=lora,
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in cast("PeftModel", trainer.model).parameters():
        if parameter.requires_grad:  # half precision cannot hold the optimizer's small steps
            parameter.data = parameter.data.to(torch.float32)
    return trainer


def _watch(trainer: SafeTrainer, show: Callable[[Measured], None], metrics: MetricsFile, device: Device) -> None:
    """Let the bar, whoever looks from outside, and the metrics file hear of each step."""
    if not processes.is_first():
        return
    from character_chatbot.machine.flops import measure_utilisation
    from character_chatbot.monitoring.progress import Meter, ProgressBar

    bar = ProgressBar()
    trainer.add_callback(bar)
    utilisation = measure_utilisation(trainer.model, device, processes.count())
    trainer.add_callback(Meter(trainer.counts, [bar.show, show], metrics, utilisation))


def fit_batch(
    settings: TrainingSettings, device: Device, vocabulary: int, examples: Sequence[Example]
) -> TrainingSettings:
    """The settings, with the sequences of a step for these examples and how many of them are in memory at once."""
    settings = replace(settings, sequences_per_step=count_sequences(settings, examples))
    batch = choose_batch(settings, device, vocabulary, examples)
    batch = min(batch, math.ceil(settings.sequences_per_step / processes.count()))
    return replace(settings, sequences_per_batch=batch)


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


def build_arguments(settings: TrainingSettings, device: Device, folder: Path) -> SFTConfig:
    """Arguments for TRL's trainer."""
    from trl import SFTConfig

    per_batch = settings.sequences_per_batch
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=per_batch,
        gradient_accumulation_steps=math.ceil(settings.sequences_per_step / (per_batch * processes.count())),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_share,
        max_length=settings.max_length,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        **sharding.fsdp_arguments(settings.parallel, settings.activation_checkpointing == "on"),
        use_cpu=device.kind == "cpu",
        ddp_find_unused_parameters=False,  # each weight of the adapter takes part in each batch
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
