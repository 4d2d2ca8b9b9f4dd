"""LoRA fine-tuning of a real checkpoint of any family, with peft and transformers' Trainer.

A run's folder holds `run.json` (its settings), `log.jsonl` (one line per step), `checkpoints/` (to resume from),
`adapter/` in peft's format and, if asked for, `merged/`, a whole checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import BackendError, ConfigError, RecordError, extra

with extra("train"):
    import accelerate  # noqa: F401  (the Trainer needs it, but complains late)
    import peft
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch.nn import functional
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from si_embodied.models.checkpoints import inspect_checkpoint
from si_embodied.models.hub import model_name
from si_embodied.models.loading import Checkpoint, load_checkpoint, resolve_device
from si_embodied.runs import claim
from si_embodied.training.conversations import NO_LOSS, Collator, Examples, Record, fingerprint, read_records
from si_embodied.training.lora_files import save_adapter, save_merged
from si_embodied.training.lora_settings import LoraConfig, LoraOutcome, LoraSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LOG = logging.getLogger(__name__)

RUN_FILE, LOG_FILE, CHECKPOINTS, ADAPTER, MERGED = "run.json", "log.jsonl", "checkpoints", "adapter", "merged"

LANGUAGE_LAYERS = r"(.*\.)?language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
"""Names of all linear layers in the language model's blocks; some vision towers have layers with the same suffixes."""
PROJECTORS = {
    "qwen3_vl": r"(.*\.)?visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
    "qwen2_5_vl": r"(.*\.)?visual\.merger\.mlp\.[02]",
    "internvl": r"(.*\.)?multi_modal_projector\.linear_[12]",
    "bagel": r"(.*\.)?connector\.fc[12]",
}
"""Names of the linear layers between vision tower and language model, by family."""

_STATE = "trainer_state.json"  # the file that the Trainer writes last into a checkpoint
_MAY_CHANGE = ("config.save_every", "config.workers")  # when a run is resumed


@dataclass(frozen=True, slots=True)
class LoraRun:
    """What a run produced."""

    adapter: Path
    merged: Path | None
    losses: tuple[float, ...]  # one per optimizer step, over the whole run
    trained_parameters: int


def tune(
    model: Path,
    data: Sequence[Path],
    out: Path,
    config: LoraConfig | None = None,
    *,
    image_root: Path | None = None,
    merge: bool = False,
    resume: bool = False,
    report: Callable[[int, int, float], None] = lambda *_: None,
) -> LoraRun:
    """Fine-tune a checkpoint on questions and answers.

    Args:
        model: the checkpoint's directory.
        data: folders written by `si-embodied data generate`, or JSONL files in SenseNova-SI's form.
        out: the run's folder, which must be new unless `resume`.
        config: the settings.
        image_root: the folder that image paths are relative to; by default each data set's own.
        merge: also write a whole checkpoint with the update merged into its weights.
        resume: continue from the last checkpoint in `out`.
        report: called after each step with its number, the number of steps, and the loss.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: a setting is not supported, or `out` holds a run with other settings, or one without `resume`.
        DataError: the data are empty or malformed, or an image is missing or unreadable.
        RecordError: the run cannot be written.
        BackendError: the loss is no longer finite, or memory ran out.
    """
    config = config or LoraConfig()
    files = inspect_checkpoint(model)
    if files.original:
        raise ConfigError(
            f"{model} is in its family's original format, whose layer names the adapter would not fit: convert it "
            "first with 'si-embodied models convert --model DIR --out DIR'"
        )
    resolve_device(config.device)
    records = read_records(data, image_root)
    names = tuple(path.resolve().name for path in data)
    settings = LoraSettings(model_name(model), files.model_type, names, fingerprint(data), len(records), config)
    with _own_errors(out):
        last = _open_run(out, settings, resume=resume)
        trainer, checkpoint = _trainer(model, records, out, config, report)
        history, tuned = _train(trainer, last), trainer.model
        losses = tuple(float(entry["loss"]) for entry in history if "loss" in entry)
        _LOG.info("%s: %d steps, loss %.4f to %.4f", out, len(losses), losses[0], losses[-1])
        outcome = LoraOutcome(losses, checkpoint.kernel, checkpoint.dtype)
        trained = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
        save_adapter(tuned, out / ADAPTER, settings, outcome)
        if merge:
            save_merged(tuned, model, out / MERGED, settings, outcome)
    return LoraRun(out / ADAPTER, out / MERGED if merge else None, losses, trained)


def add_lora(checkpoint: Checkpoint, config: LoraConfig) -> Any:
    """The checkpoint's model with LoRA layers that initially change nothing; all other weights are frozen."""
    family = checkpoint.family.model_type
    targets = f"{LANGUAGE_LAYERS}|{PROJECTORS[family]}" if config.projector else LANGUAGE_LAYERS
    wanted = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    set_seed(config.seed)  # half of LoRA's weights are initialised at random
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a deprecated name of transformers
        return peft.get_peft_model(checkpoint.model, wanted)


def _trainer(
    model: Path, records: Sequence[Record], out: Path, config: LoraConfig, report: Callable[[int, int, float], None]
) -> tuple[Trainer, Checkpoint]:
    arguments = _arguments(out, config)
    checkpoint = load_checkpoint(model, device=str(arguments.device), dtype=config.dtype)
    arguments._n_gpu = 1  # with more, torch's DataParallel would separate images from their conversations
    trainer = _Trainer(
        model=add_lora(checkpoint, config),
        args=arguments,
        train_dataset=Examples(records, checkpoint.family, config.max_tokens),
        data_collator=Collator(checkpoint.family.end_token, hasattr(checkpoint.model.model, "get_rope_index")),
        callbacks=[_Log(out / LOG_FILE, report)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs = True  # makes it pass the step's number of answer tokens to compute_loss
    return trainer, checkpoint


def _train(trainer: Trainer, last: Path | None) -> list[dict[str, Any]]:
    """Train, from the last checkpoint if there is one; returns the Trainer's log, one entry per step."""
    if last is not None:
        state = json.loads((last / _STATE).read_text(encoding="utf-8"))
        if state["global_step"] >= state["max_steps"]:  # the Trainer would take one more step
            peft.set_peft_model_state_dict(trainer.model, load_file(last / "adapter_model.safetensors"))
            return list(state["log_history"])
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return list(trainer.state.log_history)


class _Trainer(Trainer):  # type: ignore[misc]  # transformers' types are not read
    """Trains on the mean loss over a step's answer tokens, however the step is split into batches.

    Qwen-VL's own forward takes the mean of each batch, so one short answer would weigh as much as a batch of long ones.
    The output layer runs only where an answer token comes next, because the logits take most of a prompt's memory.
    """

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save a checkpoint. On a full disk, torch.save raises a RuntimeError that does not mention the disk."""
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise _cannot_write(Path(self.args.output_dir).parent, error) from error

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The batch's contribution to the step's mean loss."""
        following = inputs["labels"][:, 1:]
        positions = (following != NO_LOSS).any(dim=0).nonzero().flatten()
        arguments = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**arguments, logits_to_keep=positions, use_cache=False)
        labels = following[:, positions].flatten()
        total = functional.cross_entropy(
            outputs.logits.flatten(0, 1).float(), labels, ignore_index=NO_LOSS, reduction="sum"
        )
        loss = total / ((labels != NO_LOSS).sum() if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def _arguments(out: Path, config: LoraConfig) -> TrainingArguments:
    """The settings as the Trainer expects them."""
    cuda = resolve_device(config.device).type == "cuda"
    dtype = ("bfloat16" if cuda else "float32") if config.dtype == "auto" else config.dtype
    try:
        return TrainingArguments(
            output_dir=str(out / CHECKPOINTS),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulation,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=config.warmup,
            weight_decay=config.weight_decay,
            num_train_epochs=config.epochs,
            max_steps=config.steps or -1,
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


def _checkpointing(config: LoraConfig) -> dict[str, Any]:
    """Trading time for memory, under the name that this version of transformers has for it."""
    if not config.gradient_checkpointing:
        return {}
    name = "activation" if hasattr(TrainingArguments, "activation_checkpointing") else "gradient"  # before 5.21
    # The reentrant kind needs inputs with gradients, and the frozen embeddings have none.
    return {f"{name}_checkpointing": True, f"{name}_checkpointing_kwargs": {"use_reentrant": False}}


class _Log(TrainerCallback):  # type: ignore[misc]  # transformers' types are not read
    """Logs one line per step, and stops a run whose loss is not finite."""

    def __init__(self, file: Path, report: Callable[[int, int, float], None]) -> None:
        self._file, self._report = file, report

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the lines up to the checkpoint; the steps after it are repeated."""
        kept = [entry for entry in state.log_history if "loss" in entry]
        self._file.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Append a line."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**logs, "step": state.global_step}) + "\n")
        if not math.isfinite(loss):
            raise BackendError(f"the loss is {loss} at step {state.global_step}: lower the learning rate")
        self._report(state.global_step, state.max_steps, loss)


# --- the run's folder -----------------------------------------------------------------------------------------------


def _open_run(out: Path, settings: LoraSettings, *, resume: bool) -> Path | None:
    """Start a run's folder, or find the checkpoint to resume from; None if there is none yet."""
    file = out / RUN_FILE
    if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty: give a new folder, or --resume to resume the run in it")
    if resume and not file.is_file():
        raise ConfigError(f"there is no run in {out} to resume: start it without --resume")
    claim(file, asdict(settings), may_change=_MAY_CHANGE)
    found = {
        int(path.name.partition("-")[2]): path
        for path in (out / CHECKPOINTS).glob("checkpoint-*")
        if path.name.partition("-")[2].isdecimal() and _is_whole(path)
    }
    return found[max(found)] if found else None


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written completely."""
    try:
        json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _own_errors(out: Path) -> Iterator[None]:
    """Turn failures of the disk and the device into our own errors."""
    try:
        yield
    except RecordError:
        raise
    except torch.OutOfMemoryError as error:
        raise BackendError(
            f"out of memory: use a smaller --batch-size with more --accumulation, or --gradient-checkpointing ({error})"
        ) from error
    except (OSError, SafetensorError) as error:
        raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: Exception) -> RecordError:
    return RecordError(f"cannot write the run to {str(out)!r} ({error}): free some space, then --resume")
