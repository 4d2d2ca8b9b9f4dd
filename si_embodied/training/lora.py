"""LoRA: a real checkpoint of any family, tuned on questions and answers with peft and transformers' Trainer.

A run's folder has `run.json` (what was asked for), `log.jsonl` (a line a step), `checkpoints/` (to go on from),
`adapter/` in peft's own format, and `merged/`, a whole checkpoint, if one was asked for.
"""

from __future__ import annotations

import json
import logging
import math
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import BackendError, ConfigError, RecordError, extra

with extra("train"):
    import accelerate  # noqa: F401  (the Trainer needs it, and says so late)
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LOG = logging.getLogger(__name__)

RUN_FILE, LOG_FILE, CHECKPOINTS, ADAPTER, MERGED = "run.json", "log.jsonl", "checkpoints", "adapter", "merged"

LANGUAGE_LAYERS = r"(.*\.)?language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
"""Every linear layer of the language model's blocks, by name; vision towers have layers of the same last names."""
PROJECTORS = {
    "qwen3_vl": r"(.*\.)?visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
    "qwen2_5_vl": r"(.*\.)?visual\.merger\.mlp\.[02]",
    "internvl": r"(.*\.)?multi_modal_projector\.linear_[12]",
}
"""The linear layers between vision tower and language model, by family."""

_STATE = "trainer_state.json"  # what the Trainer writes last into a checkpoint
_MAY_CHANGE = ("config.save_every", "config.workers")  # when a run is resumed


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Every choice of a run; with the data and the checkpoint, it decides the result."""

    rank: int = 16
    alpha: int = 32  # the update is scaled by alpha / rank
    dropout: float = 0.05
    projector: bool = False  # tune what joins vision tower and language model, too
    learning_rate: float = 1e-4  # at its peak; cosine to zero
    warmup: float = 0.03  # share of the steps
    weight_decay: float = 0.0
    epochs: float = 1.0
    steps: int | None = None  # optimizer steps, in place of epochs
    batch_size: int = 1
    accumulation: int = 8  # batches an optimizer step
    gradient_checkpointing: bool = False  # less memory, about a third more time
    max_tokens: int = 16384  # of an example; more is an error
    save_every: int = 200  # optimizer steps
    workers: int = 0  # processes that read images
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda; which GPU: CUDA_VISIBLE_DEVICES
    dtype: str = "auto"  # of the checkpoint's own weights: bfloat16 on CUDA, float32 on a CPU

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        counts = ("rank", "batch_size", "accumulation", "max_tokens", "save_every")
        rules = {name: (getattr(self, name) >= 1, "at least 1") for name in counts}
        rules |= {
            name: (0 < getattr(self, name) < math.inf, "above 0") for name in ("alpha", "learning_rate", "epochs")
        }
        rules |= {name: (0 <= getattr(self, name) < 1, "from 0 to below 1") for name in ("dropout", "warmup")}
        rules |= {
            name: (0 <= getattr(self, name) < math.inf, "at least 0") for name in ("weight_decay", "workers", "seed")
        }
        rules["steps"] = (self.steps is None or self.steps >= 1, "at least 1")
        rules["device"] = (
            self.device in ("auto", "cpu", "cuda"),
            "auto, cpu or cuda (choose with CUDA_VISIBLE_DEVICES)",
        )
        for name, (holds, wanted) in rules.items():
            if not holds:
                raise ConfigError(f"expected {name} to be {wanted}, got: {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class LoraRun:
    """What a run made."""

    adapter: Path
    merged: Path | None
    losses: tuple[float, ...]  # one an optimizer step, of the whole run
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
    """Tune a checkpoint on questions and answers.

    Args:
        model: the checkpoint's directory.
        data: folders of `si-embodied data generate` or JSONL files in SenseNova-SI's form.
        out: the run's folder, new unless `resume`.
        config: the settings.
        image_root: what image paths are relative to; by default each data set's folder.
        merge: write a whole checkpoint with the update added in, too.
        resume: go on from the last checkpoint of `out`.
        report: gets the step, how many there are, and the loss.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: a setting cannot be honoured, or `out` holds a run and `resume` was not said (or another run).
        DataError: the data are empty or broken, or an image is missing or unreadable.
        RecordError: something could not be written.
        BackendError: the loss is not a number any more, or memory ran out.
    """
    config = config or LoraConfig()
    files = inspect_checkpoint(model)
    if files.original:
        raise ConfigError(
            f"{model} is in InternVL's original format, and what is tuned would not fit it: convert it first with "
            "'si-embodied models convert --model DIR --out DIR'"
        )
    family = files.model_type
    resolve_device(config.device)
    records = read_records(data, image_root)
    settings = {
        "model": model_name(model), "family": family, "data": [path.resolve().name for path in data],
        "data_sha256": fingerprint(data), "records": len(records), "config": asdict(config),
    }  # fmt: skip
    with _writing(out):
        last = _open_run(out, settings, resume=resume)
        trainer, checkpoint = _trainer(model, records, out, config, report)
        history, tuned = _train(trainer, last), trainer.model
        losses = tuple(float(entry["loss"]) for entry in history if "loss" in entry)
        _LOG.info("%s: %d steps, loss %.4f to %.4f", out, len(losses), losses[0], losses[-1])
        settings |= {"steps": len(losses), "losses": losses, "kernel": checkpoint.kernel, "dtype": checkpoint.dtype}
        trained = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
        save_adapter(tuned, out / ADAPTER, settings)
        if merge:
            save_merged(tuned, model, out / MERGED, settings)
    return LoraRun(out / ADAPTER, out / MERGED if merge else None, losses, trained)


def add_lora(checkpoint: Checkpoint, config: LoraConfig) -> Any:
    """The checkpoint's model with LoRA layers whose update is zero; all else is frozen."""
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
    set_seed(config.seed)  # half of LoRA's weights are drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is going away
        return peft.get_peft_model(checkpoint.model, wanted)


def _trainer(
    model: Path, records: Sequence[Record], out: Path, config: LoraConfig, report: Callable[[int, int, float], None]
) -> tuple[Trainer, Checkpoint]:
    arguments = _arguments(out, config)
    checkpoint = load_checkpoint(model, device=str(arguments.device), dtype=config.dtype)
    arguments._n_gpu = 1  # several would be torch's DataParallel, which deals images out regardless of whose they are
    trainer = _Trainer(
        model=add_lora(checkpoint, config),
        args=arguments,
        train_dataset=Examples(records, checkpoint.family, config.max_tokens),
        data_collator=Collator(checkpoint.family.end_token, hasattr(checkpoint.model.model, "get_rope_index")),
        callbacks=[_Log(out / LOG_FILE, report)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs = True  # count the step's answer tokens, for compute_loss
    return trainer, checkpoint


def _train(trainer: Trainer, last: Path | None) -> list[dict[str, Any]]:
    """Train, from the last checkpoint on if there is one; returns a line a step."""
    if last is not None:
        state = json.loads((last / _STATE).read_text(encoding="utf-8"))
        if state["global_step"] >= state["max_steps"]:  # the Trainer would take one more step
            peft.set_peft_model_state_dict(trainer.model, load_file(last / "adapter_model.safetensors"))
            return list(state["log_history"])
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return list(trainer.state.log_history)


class _Trainer(Trainer):  # type: ignore[misc]  # transformers' types are not read
    """The mean loss of a step's answer tokens, however the step is cut into batches.

    Qwen-VL's own forward takes a mean a batch, so that one short answer would weigh as much as a batch of long ones.
    The output layer runs where an answer's token comes next and nowhere else: most of a prompt's memory is its logits.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The batch's part of the step's mean loss."""
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
    """The settings in the Trainer's words."""
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
            activation_checkpointing=config.gradient_checkpointing,
            # The other kind needs inputs with gradients, and the frozen embeddings have none.
            activation_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
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
        raise ConfigError(f"dtype {dtype} cannot be trained on this machine: {error}") from error


class _Log(TrainerCallback):  # type: ignore[misc]  # transformers' types are not read
    """A line a step, and the end of a run whose loss is not a number."""

    def __init__(self, file: Path, report: Callable[[int, int, float], None]) -> None:
        self._file, self._report = file, report

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the steps that the run goes on from; those after its last checkpoint are taken again."""
        kept = [entry for entry in state.log_history if "loss" in entry]
        self._file.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write it down."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**logs, "step": state.global_step}) + "\n")
        if not math.isfinite(loss):
            raise BackendError(f"the loss is {loss} at step {state.global_step}: lower the learning rate")
        self._report(state.global_step, state.max_steps, loss)


# --- a run on disk --------------------------------------------------------------------------------------------------


def _open_run(out: Path, settings: dict[str, Any], *, resume: bool) -> Path | None:
    """Start a run's folder, or find the checkpoint to resume from; None if there is none yet."""
    file = out / RUN_FILE
    if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty: give a new folder, or --resume to resume the run in it")
    if resume and not file.is_file():
        raise ConfigError(f"there is no run in {out} to resume: start it without --resume")
    claim(file, settings, may_change=_MAY_CHANGE)
    found = {
        int(path.name.partition("-")[2]): path
        for path in (out / CHECKPOINTS).glob("checkpoint-*")
        if path.name.partition("-")[2].isdecimal() and _is_whole(path)
    }
    return found[max(found)] if found else None


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end."""
    try:
        json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """What a disk or a device does to a run, in our words."""
    try:
        yield
    except RecordError:
        raise
    except torch.OutOfMemoryError as error:
        raise BackendError(
            f"out of memory: use a smaller --batch-size with more --accumulation, or --gradient-checkpointing ({error})"
        ) from error
    except (OSError, SafetensorError) as error:
        raise RecordError(f"cannot write the run to {str(out)!r} ({error}): free some space, then --resume") from error
    except RuntimeError as error:
        # On a full disk torch.save has at least three messages, none of which says so: go by where it comes from.
        if not any(frame.f_code is torch.save.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        raise RecordError(f"cannot write the run to {str(out)!r} ({error}): free some space, then --resume") from error
