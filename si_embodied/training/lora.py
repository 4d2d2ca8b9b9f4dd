"""LoRA fine-tuning of a real checkpoint of any family, with peft. The loop is in `training.tuning`.

A run's results are `adapter/` in peft's format and, if asked for, `merged/`, a whole checkpoint.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra

with extra("train"):
    import peft
    from safetensors.torch import load_file

from si_embodied.training.conversations import Collator, Examples, Record
from si_embodied.training.lora_settings import LoraConfig
from si_embodied.training.tuning import TrainingData, read_inputs, train
from si_embodied.training.tuning_files import model_card, save_adapter, save_whole
from si_embodied.training.tuning_folder import only_run, own_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.models.loading import Checkpoint
    from si_embodied.training.tuning_folder import Report

ADAPTER, MERGED = "adapter", "merged"
_ADAPTER_USE = (
    "A peft adapter: give it to `si-embodied` with its base (`--model BASE --adapter DIR`), or load the base, "
    f"then `peft.PeftModel.from_pretrained(model, {ADAPTER!r})`."
)

LANGUAGE_LAYERS = r"(.*\.)?language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
"""Names of all linear layers in the language model's blocks; some vision towers have layers with the same suffixes."""
PROJECTORS = {
    "qwen3_vl": r"(.*\.)?visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
    "qwen2_5_vl": r"(.*\.)?visual\.merger\.mlp\.[02]",
    "internvl": r"(.*\.)?multi_modal_projector\.linear_[12]",
    "bagel": r"(.*\.)?connector\.fc[12]",
}
"""Names of the linear layers between vision tower and language model, by family."""


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
    report: Report = lambda *_: None,
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
        ConfigError: a setting is not supported, or `out` holds a run with other settings, or one without `resume`, or
            another run writes into it.
        DataError: the data are empty or malformed, or an image is missing or unreadable.
        RecordError: the run cannot be written.
        BackendError: the loss is no longer finite, or memory ran out.
    """
    config = config or LoraConfig()
    settings, records = read_inputs(model, data, config, image_root)
    with own_errors(out), only_run(out):
        tuned = train(_Lora(config), model, records, out, settings, report, resume=resume)
        trained = tuned.trained_parameters
        batch = f"{config.batch_size * config.accumulation} conversations"
        card = partial(model_card, settings, tuned.outcome, how="tuned with LoRA", batch=batch)
        save_adapter(tuned.model, out / ADAPTER, card(what=_ADAPTER_USE, library="peft"))
        if merge:
            whole = card(what="A whole checkpoint: the base with the update merged in.")
            save_whole(tuned.model.merge_and_unload(), model, out / MERGED, whole)
    return LoraRun(out / ADAPTER, out / MERGED if merge else None, tuned.outcome.losses, trained)


@dataclass(frozen=True, slots=True)
class _Lora:
    """What LoRA trains, and on which batches."""

    config: LoraConfig

    @property
    def arguments(self) -> dict[str, Any]:
        """The Trainer's arguments."""
        config = self.config
        return {
            "per_device_train_batch_size": config.batch_size,
            "gradient_accumulation_steps": config.accumulation,
            "learning_rate": config.learning_rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": config.warmup,
            "weight_decay": config.weight_decay,
            "num_train_epochs": config.epochs,
        }

    def weights_dtype(self, computation: str) -> str:
        """The base is frozen, so it is kept in the dtype that it is multiplied in."""
        return self.config.dtype

    def prepare(self, checkpoint: Checkpoint) -> Any:
        """The base with an adapter."""
        return add_lora(checkpoint, self.config)

    def data(self, checkpoint: Checkpoint, records: Sequence[Record]) -> TrainingData:
        """One conversation per row, padded."""
        family, network = checkpoint.family, checkpoint.model.model
        return TrainingData(
            Examples(records, family, self.config.max_tokens),
            Collator(family.end_token, hasattr(network, "get_rope_index")),
        )

    def restore(self, model: Any, checkpoint: Path) -> None:
        """Load the adapter."""
        peft.set_peft_model_state_dict(model, load_file(checkpoint / "adapter_model.safetensors"))


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a deprecated name of transformers
        return peft.get_peft_model(checkpoint.model, wanted)
