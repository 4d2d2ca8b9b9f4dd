"""`si-embodied train`: train the small planner from scratch, or a LoRA adapter for a released checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from si_embodied.cli.options import Checkpoint
from si_embodied.cli.output import progress_bar, say
from si_embodied.cli.parsing import flags
from si_embodied.training.lora_settings import LoraConfig
from si_embodied.training.nano_settings import NanoRun


@dataclass(frozen=True, slots=True)
class Nano:
    """Train the small planner from scratch.

    Renders images, plays episodes to learn from, trains, and writes a checkpoint with its card. With --resume, the
    same command continues after an interruption, or with more steps.
    """

    nano: Annotated[
        NanoRun,
        flags(
            "out", "steps", "minutes", "resume", "start", "seed", "tabletops", "apartments", "rounds", "episodes",
            "threads",
        ),
    ] = NanoRun(Path("runs/nano"))  # fmt: skip

    def run(self) -> int:
        """Make data, train and export."""
        from si_embodied.training.pipeline import train_nano

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
    data: Annotated[tuple[Path, ...], Doc("folders that `si-embodied data generate` wrote, or JSONL files")]
    out: Annotated[Path, Doc("the run's folder")]
    lora: Annotated[LoraConfig, flags()] = LoraConfig()
    images: Annotated[Path | None, Doc("folder of relative image paths; default: each data set's own")] = None
    merge: Annotated[bool, Doc("also write a whole checkpoint with the adapter merged")] = False
    resume: Annotated[bool, Doc("continue from the last checkpoint in --out")] = False

    def run(self) -> int:
        """Tune, with progress."""
        from si_embodied.models.hub import resolve_model
        from si_embodied.training.lora import tune

        model = resolve_model(self.model)
        with progress_bar() as progress:
            bar = progress.add_task("steps", total=None, note="loading")

            def report(step: int, steps: int, loss: float) -> None:
                progress.update(bar, completed=step, total=steps, note=f"loss {loss:.4f}")

            run = tune(
                model, self.data, self.out, self.lora, image_root=self.images, merge=self.merge, resume=self.resume,
                report=report,
            )  # fmt: skip
        say(
            f"{len(run.losses)} steps, {run.trained_parameters:,} weights trained, loss {run.losses[0]:.4f} at the "
            f"first and {run.losses[-1]:.4f} at the last; the adapter is in {run.adapter}"
        )
        if run.merged:
            say(f"The merged checkpoint is in {run.merged}: give it to --model.")
        return 0


SUBCOMMANDS = {"nano": Nano, "lora": Lora}
