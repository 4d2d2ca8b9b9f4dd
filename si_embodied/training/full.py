"""Full fine-tuning of a checkpoint of any family, as SenseNova-SI was trained. The loop is in `training.tuning`.

The language model is trained, and by the recipe the projector; the vision tower is frozen. Weights, gradients and
AdamW's state are float32, and on CUDA the computation is in bfloat16. Several GPUs share them with FSDP2, and several
processes on a CPU each hold them whole. The result is `checkpoint/`, a whole checkpoint in the base's dtype.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import Doc

from si_embodied.errors import ConfigError, extra
from si_embodied.models.checkpoints import inspect_checkpoint
from si_embodied.models.loading import no_progress_bars, resolve_device
from si_embodied.training.conversations import Examples, Record
from si_embodied.training.packing import Order, Packer, Packs, blank_example, make_plan
from si_embodied.training.recipes import RECIPES, Recipe
from si_embodied.training.tuning import TrainingData, Tuned, read_inputs, train
from si_embodied.training.tuning_files import model_card, save_whole
from si_embodied.training.tuning_folder import only_run, own_errors
from si_embodied.training.tuning_settings import TuningConfig

with extra("train"):
    import torch
    from safetensors import safe_open

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.models.loading import Checkpoint
    from si_embodied.training.tuning_folder import Report

CHECKPOINT, LENGTHS_FILE = "checkpoint", "lengths.json"

_LANGUAGE = ("language_model.", "lm_head.")
_PROJECTORS = {
    "qwen3_vl": ("visual.merger.", "visual.deepstack_merger_list."),
    "qwen2_5_vl": ("visual.merger.",),
    "internvl": ("multi_modal_projector.",),
    "bagel": ("connector.",),
}
_TABLES = ("vit_pos_embed.",)  # BAGEL's fixed sine-cosine table


@dataclass(frozen=True, slots=True)
class FullConfig(TuningConfig):
    """Every setting of a run; together with the data and the checkpoint, they determine the result."""

    recipe: Recipe = field(kw_only=True)
    vision: Annotated[bool, Doc("also train the vision tower")] = False


@dataclass(frozen=True, slots=True)
class FullRun:
    """What a run produced."""

    checkpoint: Path
    losses: tuple[float, ...]  # one per optimizer step, over the whole run
    trained_parameters: int
    writes: bool  # whether this process, of several, wrote the checkpoint


def family_recipe(model: Path) -> Recipe:
    """The recipe of a checkpoint's family.

    Raises:
        CheckpointError: the checkpoint's files are damaged.
    """
    return RECIPES[inspect_checkpoint(model).model_type]


def tune_full(
    model: Path,
    data: Sequence[Path],
    out: Path,
    config: FullConfig | None = None,
    *,
    image_root: Path | None = None,
    resume: bool = False,
    report: Report = lambda *_: None,
) -> FullRun:
    """Fine-tune all weights but the vision tower's on questions and answers; parameters and errors as for `lora.tune`.

    Raises:
        ConfigError: also if a step's packs cannot be divided between the processes.
    """
    config = config or FullConfig(recipe=family_recipe(model))
    settings, records = read_inputs(model, data, config, image_root)
    with own_errors(out), only_run(out):
        tuned = train(_Full(config, out), model, records, out, settings, report, resume=resume)
        trained = tuned.trained_parameters
        state = _whole_state(tuned, _stored_dtype(model))
        if tuned.writes:
            tokens = config.recipe.pack_tokens
            pack = f"packs of at most {tokens} tokens" if tokens else "conversations"
            card = model_card(
                settings,
                tuned.outcome,
                how="fine-tuned",
                what="A whole checkpoint: all weights of the language model were trained.",
                batch=f"{config.recipe.batch} {pack}",
            )
            save_whole(tuned.model, model, out / CHECKPOINT, card, state)
    return FullRun(out / CHECKPOINT, tuned.outcome.losses, trained, tuned.writes)


def leave_group() -> None:
    """Part from the other processes, if there are any: the last step of a program that called `tune_full`."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@dataclass(frozen=True, slots=True)
class _Full:
    """What full fine-tuning trains, and on which packs."""

    config: FullConfig
    out: Path

    @property
    def arguments(self) -> dict[str, Any]:
        """The Trainer's arguments."""
        recipe, processes = self.config.recipe, int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun
        if recipe.batch % processes:
            raise ConfigError(f"expected batch to be a multiple of the {processes} processes, got: {recipe.batch}")
        sharded = processes > 1 and resolve_device(self.config.device).type == "cuda"
        return {
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": recipe.batch // processes,
            "learning_rate": recipe.learning_rate,
            "lr_scheduler_type": recipe.schedule,
            "warmup_steps": recipe.warmup,
            "weight_decay": recipe.weight_decay,
            "adam_beta1": recipe.betas[0],
            "adam_beta2": recipe.betas[1],
            "adam_epsilon": recipe.epsilon,
            "max_grad_norm": recipe.max_gradient_norm,
            "num_train_epochs": recipe.epochs,
            "ddp_find_unused_parameters": self.config.vision,  # InternVL's tower has a mask token
            **({"fsdp": True, "fsdp_config": {"version": 2}} if sharded else {}),
        }

    def weights_dtype(self, computation: str) -> str:
        """AdamW needs float32: a step of 1e-6 is lost in bfloat16."""
        return "float32"

    def prepare(self, checkpoint: Checkpoint) -> Any:
        """The model, with everything frozen that is not trained."""
        model = checkpoint.model
        parts = _LANGUAGE + (_PROJECTORS[checkpoint.family.model_type] if self.config.recipe.projector else ())
        for name, parameter in model.named_parameters():
            inside = name.removeprefix("model.")
            parameter.requires_grad_(
                inside.startswith(parts) or (self.config.vision and not _is_projector(inside, checkpoint))
            )
        # FSDP shards these layers one by one and all else together: the number of images, and so of passes through
        # the vision tower, differs between GPUs.
        model._no_split_modules = [type(model.model.language_model.layers[0]).__name__]
        return model

    def data(self, checkpoint: Checkpoint, records: Sequence[Record]) -> TrainingData:
        """Packed conversations."""
        recipe, config = self.config.recipe, self.config
        examples = Examples(records, checkpoint.family, recipe.max_tokens)
        plan = make_plan(examples, recipe.pack_tokens, config.seed, self.out / LENGTHS_FILE, config.workers)
        packer = Packer(blank_example(checkpoint.family), getattr(checkpoint.model.model, "get_rope_index", None))
        return TrainingData(Packs(examples, plan), packer, Order(len(plan), recipe.batch, config.seed))

    def restore(self, model: Any, checkpoint: Path) -> None:
        """Load all weights."""
        with no_progress_bars():
            saved = type(model).from_pretrained(
                str(checkpoint), dtype=torch.float32, local_files_only=True, use_safetensors=True
            )
        model.load_state_dict(saved.state_dict())


def _is_projector(name: str, checkpoint: Checkpoint) -> bool:
    """Whether a weight is not the vision tower's, or a table."""
    return name.startswith(_PROJECTORS[checkpoint.family.model_type] + _TABLES)


def _stored_dtype(model: Path) -> torch.dtype:
    """The dtype of a checkpoint's files."""
    with safe_open(str(inspect_checkpoint(model).weights[0]), "pt") as file:
        dtype: torch.dtype = file.get_tensor(next(iter(file.keys()))).dtype
    return dtype


def _whole_state(tuned: Tuned, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights in a dtype; on several GPUs they are gathered, and only the first process gets them."""
    state = tuned.trainer.accelerator.get_state_dict(tuned.model)
    return {name: value.to(dtype) for name, value in state.items()}
