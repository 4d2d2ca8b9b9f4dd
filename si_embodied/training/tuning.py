"""The training loop of LoRA and full fine-tuning, with transformers' Trainer, in one process or in several.

A run's folder holds `run.json` (its settings), `log.jsonl` (one line per step), `checkpoints/` (to resume from), and
the method's results. Several processes are started with `torchrun`; the first of them writes the folder.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from si_embodied.errors import ConfigError, extra
from si_embodied.models.checkpoints import inspect_checkpoint
from si_embodied.models.hub import model_name
from si_embodied.models.loading import Checkpoint, load_checkpoint, no_progress_bars, resolve_device
from si_embodied.training.conversations import NO_LOSS, Record, fingerprint, read_records
from si_embodied.training.tuning_folder import (
    CHECKPOINTS,
    LOG_FILE,
    STATE_FILE,
    StepLog,
    cannot_write,
    last_checkpoint,
    open_run,
)
from si_embodied.training.tuning_settings import TuningConfig, TuningOutcome, TuningSettings

with extra("train"):
    import accelerate  # noqa: F401  (the Trainer needs it, but complains late)
    from safetensors import SafetensorError
    from torch.nn import functional
    from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch.utils.data import Dataset, Sampler

    from si_embodied.training.tuning_folder import Report

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """What a run trains on."""

    examples: Dataset[Any]
    collate: Callable[[Any], dict[str, Any]]
    order: Sampler[int] | None = None  # random if None


class Method(Protocol):
    """What LoRA and full fine-tuning do differently."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The Trainer's arguments for batches, optimizer and schedule."""
        ...

    def weights_dtype(self, computation: str) -> str:
        """The dtype to load the checkpoint in."""
        ...

    def prepare(self, checkpoint: Checkpoint) -> Any:
        """The model to train: weights that are not trained are frozen."""
        ...

    def data(self, checkpoint: Checkpoint, records: Sequence[Record]) -> TrainingData:
        """The records as the model reads them."""
        ...

    def restore(self, model: Any, checkpoint: Path) -> None:
        """Load the weights of one of the Trainer's checkpoints into the model."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """A finished training."""

    trainer: Trainer
    outcome: TuningOutcome

    @property
    def model(self) -> Any:
        """The trained model."""
        return self.trainer.model

    @property
    def trained_parameters(self) -> int:
        """The number of weights that were trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    @property
    def writes(self) -> bool:
        """Whether this process writes the results."""
        return bool(self.trainer.args.should_save)


def read_inputs(
    model: Path, data: Sequence[Path], config: TuningConfig, image_root: Path | None
) -> tuple[TuningSettings, tuple[Record, ...]]:
    """Check a run's inputs; returns what is to be done, and the data.

    Raises:
        CheckpointError: the checkpoint's files are damaged.
        ConfigError: the checkpoint is in its original format, or there is no such device.
        DataError: the data are empty or malformed, or an image is missing.
    """
    files = inspect_checkpoint(model)
    if files.original:
        raise ConfigError(
            f"{model} is in its family's original format, whose layer names differ from those that are trained: "
            "convert it first with 'si-embodied models convert --model DIR --out DIR'"
        )
    resolve_device(config.device)
    records = read_records(data, image_root)
    names = tuple(path.resolve().name for path in data)
    return TuningSettings(model_name(model), files.model_type, names, fingerprint(data), len(records), config), records


def train(
    method: Method, model: Path, records: Sequence[Record], out: Path, settings: TuningSettings, report: Report,
    *, resume: bool,
) -> Tuned:  # fmt: skip
    """Train, from the last checkpoint in `out` if there is one.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: `out` holds a run with other settings, or one without `resume`.
        BackendError: the loss is no longer finite.
    """
    config = settings.config
    # Before the process group exists, so that the first process alone decides whether the folder is new.
    arguments = _arguments(out, config, method)
    with arguments.main_process_first(local=False):
        last = open_run(out, settings, resume=resume) if arguments.should_save else last_checkpoint(out)
    trainer, checkpoint = _trainer(method, model, records, out, arguments, report)
    losses = tuple(float(entry["loss"]) for entry in _fit(method, trainer, last) if "loss" in entry)
    _LOG.info("%s: %d steps, loss %.4f to %.4f", out, len(losses), losses[0], losses[-1])
    return Tuned(trainer, TuningOutcome(losses, checkpoint.kernel, checkpoint.dtype))


def _trainer(
    method: Method, model: Path, records: Sequence[Record], out: Path, arguments: TrainingArguments, report: Report
) -> tuple[Trainer, Checkpoint]:
    dtype = "bfloat16" if arguments.bf16 else "float16" if arguments.fp16 else "float32"
    checkpoint = load_checkpoint(model, device=str(arguments.device), dtype=method.weights_dtype(dtype))
    if arguments.world_size == 1:
        arguments._n_gpu = 1  # with more, torch's DataParallel would separate images from their conversations
    set_seed(arguments.seed)
    trained = method.prepare(checkpoint)
    data = method.data(checkpoint, records)
    trainer = _Trainer(
        model=trained,
        args=arguments,
        train_dataset=data.examples,
        data_collator=data.collate,
        callbacks=[StepLog(out / LOG_FILE, report)] if arguments.should_save else [],
    )
    trainer.method, trainer.order = method, data.order
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs = True  # makes it pass the step's number of answer tokens to compute_loss
    return trainer, checkpoint


def _fit(method: Method, trainer: Trainer, last: Path | None) -> list[dict[str, Any]]:
    """Train, from the last checkpoint if there is one; returns the Trainer's log, one entry per step."""
    if last is not None:
        state = json.loads((last / STATE_FILE).read_text(encoding="utf-8"))
        if state["global_step"] >= state["max_steps"]:  # the Trainer would take one more step
            method.restore(trainer.model, last)
            return list(state["log_history"])
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return list(trainer.state.log_history)


class _Trainer(Trainer):  # type: ignore[misc]  # transformers' types are not read
    """Trains on the mean loss over a step's answer tokens, however the step is split into batches and processes.

    Qwen-VL's own forward takes the mean of each batch, so one short answer would weigh as much as a batch of long ones.
    The output layer runs only where an answer token comes next, because the logits take most of a prompt's memory.
    """

    method: Method
    order: Sampler[int] | None = None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the weights to resume from.

        The Trainer of transformers 5.23 would leave out all weights that are saved under other names than in memory,
        with no more than a warning: InternVL's and Qwen2.5-VL's.
        """
        if self.is_fsdp_enabled:  # saved under their names in memory, and loaded by shards
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.method.restore(self.model, Path(resume_from_checkpoint))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The order of the data."""
        return super()._get_train_sampler(train_dataset) if self.order is None else self.order

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save a checkpoint. On a full disk, torch.save raises a RuntimeError that does not mention the disk."""
        try:
            with no_progress_bars():
                super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise cannot_write(Path(self.args.output_dir).parent, error) from error

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The batch's contribution to the step's mean loss.

        Processes then average their gradients, so each one's contribution is multiplied by their number.
        """
        following = inputs["labels"][:, 1:]
        positions = (following != NO_LOSS).any(dim=0).nonzero().flatten()
        arguments = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**arguments, logits_to_keep=positions, use_cache=False)
        labels = following[:, positions].flatten()
        total = functional.cross_entropy(
            outputs.logits.flatten(0, 1).float(), labels, ignore_index=NO_LOSS, reduction="sum"
        )
        count = (labels != NO_LOSS).sum() if num_items_in_batch is None else num_items_in_batch
        loss = total / count * self.args.world_size
        return (loss, outputs) if return_outputs else loss


def _arguments(out: Path, config: TuningConfig, method: Method) -> TrainingArguments:
    """The settings as the Trainer expects them."""
    cuda = resolve_device(config.device).type == "cuda"
    dtype = ("bfloat16" if cuda else "float32") if config.dtype == "auto" else config.dtype
    try:
        return TrainingArguments(
            output_dir=str(out / CHECKPOINTS),
            max_steps=config.steps or -1,
            **method.arguments,
            **_checkpointing(config),
            bf16=dtype == "bfloat16",
            fp16=dtype == "float16",
            use_cpu=not cuda,
            seed=config.seed,
            data_seed=config.seed,
            save_steps=config.save_every,
            save_total_limit=2,
            logging_steps=1,
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            label_names=["labels"],
            dataloader_num_workers=config.workers,
            dataloader_pin_memory=cuda,
            disable_tqdm=True,
            report_to="none",
        )
    except ValueError as error:
        raise ConfigError(f"this machine cannot train in {dtype}: {error}; choose another --dtype") from error


def _checkpointing(config: TuningConfig) -> dict[str, Any]:
    """Trading time for memory, under the name that this version of transformers has for it."""
    if not config.gradient_checkpointing:
        return {}
    name = "activation" if hasattr(TrainingArguments, "activation_checkpointing") else "gradient"  # before 5.21
    # The reentrant kind needs inputs with gradients, and the frozen embeddings have none.
    return {f"{name}_checkpointing": True, f"{name}_checkpointing_kwargs": {"use_reentrant": False}}
