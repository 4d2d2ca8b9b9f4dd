"""`si-embodied train`: train the small planner from scratch, or tune a released checkpoint, with LoRA or in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from si_embodied.cli.options import Checkpoint
from si_embodied.cli.output import say
from si_embodied.cli.parsing import COUNT, all_flags, flags
from si_embodied.errors import ConfigError
from si_embodied.progress import track
from si_embodied.run_lock import locked
from si_embodied.training.lora_settings import LoraConfig
from si_embodied.training.nano_settings import NanoRun
from si_embodied.training.recipes import RECIPES, Recipe
from si_embodied.training.tuning_settings import TuningConfig

_Data = Annotated[tuple[Path, ...], Doc("folders that `si-embodied data generate` wrote, or JSONL files")]
_Out = Annotated[Path, Doc("the run's folder")]
_Images = Annotated[Path | None, Doc("folder of relative image paths; default: each data set's own")]
_TUNING: dict[str, object] = {"steps": COUNT, "save_every": COUNT}
_LORA = all_flags(
    LoraConfig, rank=COUNT, alpha=COUNT, batch_size=COUNT, accumulation=COUNT, max_tokens=COUNT, **_TUNING
)
_Resume = Annotated[bool, Doc("continue from the last checkpoint in --out")]


@dataclass(frozen=True, slots=True)
class Nano:
    """Train the small planner from scratch.

    Renders images, plays episodes to learn from, trains, and writes a checkpoint with its card. With --resume, the
    same command continues after an interruption, or with more steps.
    """

    nano: Annotated[
        NanoRun,
        flags(
            "out", "minutes", "resume", "start", "seed", "rounds", "episodes", steps=COUNT, tabletops=COUNT,
            apartments=COUNT, threads=COUNT,
        ),
    ] = NanoRun(Path("runs/nano"))  # fmt: skip

    def run(self) -> int:
        """Make data, train and export."""
        from si_embodied.training.pipeline import train_nano

        with locked(self.nano.out):
            checkpoint = train_nano(self.nano, report=say)
        say(
            f"wrote {checkpoint}; measure it with: si-embodied eval --env si_embodied/Tabletop-v0 --task base "
            f"--policy planner --model {checkpoint} --episodes 200 --seed 100000 --control blank"
        )
        return 0


@dataclass(frozen=True, slots=True)
class Lora:
    """Train a LoRA adapter for a checkpoint of a supported family.

    The checkpoint is one of qwen3_vl, qwen2_5_vl or internvl; the data are questions and answers in SenseNova-SI's
    JSONL format. The loss is on the answers alone.
    """

    model: Checkpoint
    data: _Data
    out: _Out
    lora: Annotated[LoraConfig, _LORA] = LoraConfig()
    images: _Images = None
    merge: Annotated[bool, Doc("also write a whole checkpoint with the adapter merged")] = False
    resume: _Resume = False

    def run(self) -> int:
        """Tune, with progress."""
        from si_embodied.models.hub import resolve_model
        from si_embodied.training.lora import tune

        model = resolve_model(self.model)
        with _progress() as report:
            run = tune(
                model, self.data, self.out, self.lora, image_root=self.images, merge=self.merge, resume=self.resume,
                report=report,
            )  # fmt: skip
        _say_losses(run.losses, run.trained_parameters, f"the adapter is in {run.adapter}")
        if run.merged:
            say(f"The merged checkpoint is in {run.merged}: give it to --model.")
        return 0


@dataclass(frozen=True, slots=True)
class Full:
    """Fine-tune all weights of a checkpoint's language model, by its family's recipe.

    The recipes are those that SenseNova-SI was trained by (docs/training.md); flags override their constants. Several
    GPUs share the work: torchrun --nproc-per-node 8 --no-python si-embodied train full ...
    """

    model: Checkpoint
    data: _Data
    out: _Out
    tuning: Annotated[TuningConfig, all_flags(TuningConfig, **_TUNING)] = TuningConfig()
    recipe: Annotated[str, Doc(f"auto (the model's family) or one of {', '.join(RECIPES)}")] = "auto"
    learning_rate: Annotated[float | None, Doc("peak; default: the recipe's")] = None
    batch: Annotated[int | None, Doc("packs per optimizer step, over all GPUs; default: the recipe's"), COUNT] = None
    pack_tokens: Annotated[int | None, Doc("tokens of a pack; 0: one example; default: the recipe's")] = None
    max_tokens: Annotated[int | None, Doc("per example; longer ones are an error; default: the recipe's"), COUNT] = None
    epochs: Annotated[float | None, Doc("passes over the data; default: the recipe's")] = None
    warmup: Annotated[float | None, Doc("share of the steps, or their number; default: the recipe's")] = None
    vision: Annotated[bool, Doc("also train the vision tower")] = False
    images: _Images = None
    resume: _Resume = False

    def run(self) -> int:
        """Tune, with progress."""
        from si_embodied.models.hub import resolve_model
        from si_embodied.training.full import FullConfig, leave_group, tune_full

        model = resolve_model(self.model)
        config = FullConfig(**asdict(self.tuning), recipe=self.chosen_recipe(model), vision=self.vision)
        with _progress() as report:
            run = tune_full(
                model, self.data, self.out, config, image_root=self.images, resume=self.resume, report=report
            )
        if run.writes:
            _say_losses(
                run.losses, run.trained_parameters, f"the checkpoint is in {run.checkpoint}: give it to --model"
            )
        leave_group()
        return 0

    def chosen_recipe(self, model: Path) -> Recipe:
        """The recipe, with the constants that were given.

        Raises:
            ConfigError: unknown recipe.
        """
        from si_embodied.training.full import family_recipe

        if self.recipe not in ("auto", *RECIPES):
            raise ConfigError(f"expected --recipe to be auto or one of {', '.join(RECIPES)}, got: {self.recipe!r}")
        recipe = family_recipe(model) if self.recipe == "auto" else RECIPES[self.recipe]
        names = ("learning_rate", "batch", "pack_tokens", "max_tokens", "epochs", "warmup")
        return replace(recipe, **{name: given for name in names if (given := getattr(self, name)) is not None})


@contextmanager
def _progress() -> Iterator[Callable[[int, int, float], None]]:
    """Track the steps; yields what to call after each."""
    with track("training", unit="steps") as work:
        work.reach(0, note="loading")

        def report(step: int, steps: int, loss: float) -> None:
            work.reach(step, total=steps, note=f"loss {loss:.4f}")

        yield report


def _say_losses(losses: tuple[float, ...], weights: int, where: str) -> None:
    say(
        f"{len(losses)} steps, {weights:,} weights trained, loss {losses[0]:.4f} at the first and {losses[-1]:.4f} at "
        f"the last; {where}"
    )


SUBCOMMANDS = {"nano": Nano, "lora": Lora, "full": Full}
