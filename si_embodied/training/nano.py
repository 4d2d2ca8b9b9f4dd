"""Train the small model from scratch: first the vision tower on labelled cells, then questions and plans as well.

All randomness is a function of the seed and the step, so a resumed run continues exactly as an uninterrupted one.
"""

from __future__ import annotations

import copy
import io
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from si_embodied.config import Prompts
from si_embodied.errors import ConfigError, extra
from si_embodied.progress import track
from si_embodied.runs import replacing
from si_embodied.training.architecture import Sizes, make_model
from si_embodied.training.forward import CELLS
from si_embodied.training.losses import CellReaders, losses
from si_embodied.training.material import draw_step
from si_embodied.training.measure import measure
from si_embodied.training.measure_decisions import measure_decisions
from si_embodied.training.nano_settings import IMAGE_PROMPTS, NANO_PROMPTS
from si_embodied.training.scenes import WORLDS

with extra("models"):
    import torch
    from safetensors.torch import load_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from si_embodied.training.examples import Labelled
    from si_embodied.training.material import Material

STATE, LOG = "state.pt", "log.jsonl"


def fast_in_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 faster than in float32.

    Without AVX-512, PyTorch emulates it: with AVX2 a step on decisions took 18 s instead of 2.4.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every setting of a training run."""

    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0
    batch_images: int = 8
    fragments: tuple[int, ...] = (3, 2, 6)  # pointing questions of an image of each world, in the order of `WORLDS`
    plans: tuple[int, ...] = (6, 4, 0)  # whole plans
    glances: tuple[int, ...] = (0, 10, 0)  # instructions without a plan: whether the target is in view is hard
    cycle: str = "aatabaatad"  # the kinds of step in turn, see `material.STEPS`
    decisions: int = 12  # decisions of whole episodes in a step that trains them
    decisions_from: float = 0.3  # share of the budget from which they are trained; before, single images teach to point
    decisions_cycle: str = "qtphqapaqt"  # the kinds of step from then on
    kept_cells: tuple[int, ...] = (32, 64, 64)  # cells of an image of each world that the model sees
    late_cells: tuple[int, ...] = (CELLS, CELLS, CELLS)  # the same during `late_share`
    learning_rate: float = 1.5e-3
    warmup_steps: int = 50
    weight_decay: float = 0.02
    cell_weight: float = 0.5  # weight of the cell loss relative to the answer loss
    camera_share: float = 0.25  # share of the images that look as if a real camera had taken them
    prompts: Prompts = NANO_PROMPTS  # of the questions about single images
    average: float = 0.995  # decay of the weights' running mean, which is measured and exported
    dense_share: float = 0.2  # share of the budget at the start that trains cells only
    late_share: float = 0.4  # share at the end with `late_cells` and a learning rate that falls to a tenth
    bfloat16: bool = field(default_factory=fast_in_bfloat16)  # of the layers; weights, logits and losses are float32
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: after a number of steps or minutes of training in total, whichever comes first.

    Only a budget in steps can be reproduced: a number of minutes buys different steps on each machine, and the learning
    rate follows the budget.
    """

    steps: int | None = None
    minutes: float | None = None
    until: float = 1.0  # share of the budget at which to pause
    save_every_s: float = 120.0
    measure_every_s: float = 240.0

    def progress(self, steps: int, seconds: float) -> float:
        """The share of the budget that is spent."""
        by_steps = 0.0 if self.steps is None else steps / self.steps
        return max(by_steps, 0.0 if self.minutes is None else seconds / (60 * self.minutes))


class Training:
    """The state of one run: model, optimizer and progress."""

    def __init__(self, recipe: Recipe) -> None:
        """Start from random weights."""
        torch.set_num_threads(recipe.threads)
        self.recipe, self.step, self.seconds = recipe, 0, 0.0
        self.model = make_model(recipe.sizes, recipe.seed).train()
        self.mean = copy.deepcopy(self.model).eval()
        self.readers = CellReaders(recipe.sizes.text_width, recipe.seed)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=recipe.learning_rate, betas=(0.9, 0.98))

    def _groups(self) -> list[dict[str, Any]]:
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for name, parameter in [*self.model.named_parameters(), *self.readers.named_parameters()]:
            plain = parameter.ndim < 2 or "embed" in name
            (others if plain else matrices).append(parameter)
        decay = self.recipe.weight_decay
        return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]

    def save(self, file: Path) -> None:
        """Write everything needed to resume, atomically.

        Raises:
            RecordError: the file cannot be written.
        """
        state = {
            "recipe": asdict(self.recipe), "step": self.step, "seconds": self.seconds,
            "model": self.model.state_dict(), "mean": self.mean.state_dict(), "readers": self.readers.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with replacing(file) as part:
            part.write_bytes(buffer.getvalue())  # a full disk is an OSError here; torch.save would hide it

    @classmethod
    def load(cls, file: Path, **changes: Any) -> Training:
        """Resume from a saved state, with its recipe except for `changes`.

        Raises:
            ConfigError: the file does not exist.
        """
        if not file.is_file():
            raise ConfigError(f"no training state at {file}: start without --resume")
        state = torch.load(file, weights_only=True)
        recipe = {**state["recipe"], "sizes": Sizes(**state["recipe"]["sizes"])}
        recipe["prompts"] = Prompts(**recipe["prompts"]) if "prompts" in recipe else IMAGE_PROMPTS
        recipe["late_share"] = recipe.pop("whole_share", recipe.get("late_share"))  # its name in older states
        run = cls(replace(Recipe(**recipe), **changes))
        for name in ("model", "mean", "readers", "optimizer"):
            getattr(run, name).load_state_dict(state[name])
        run.step, run.seconds = int(state["step"]), float(state["seconds"])
        return run

    def start_from(self, directory: Path) -> None:
        """Load the weights of a checkpoint of this architecture; the optimizer and the step count start afresh.

        Raises:
            ConfigError: the weights do not fit the recipe's sizes.
        """
        weights = load_file(str(directory / "model.safetensors"))
        weights = {name: tensor.float() for name, tensor in weights.items()}
        words = "model.language_model.embed_tokens.weight"
        try:
            for model in (self.model, self.mean):
                model.load_state_dict({**weights, "lm_head.weight": weights[words]})
        except (KeyError, RuntimeError) as error:
            raise ConfigError(f"the checkpoint {directory} does not fit the recipe's sizes: {error}") from error

    def advance(self, material: Material, progress: float) -> dict[str, float]:
        """Take one step; returns the values to log."""
        recipe = self.recipe
        rate = recipe.learning_rate * learning_factor(self.step, progress, recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch, decisions = draw_step(material, self.step, progress, recipe)
        found = losses(
            self.model, self.readers, batch, decisions, cell_weight=recipe.cell_weight, bfloat16=recipe.bfloat16
        )
        self.optimizer.zero_grad(set_to_none=True)
        found.total.backward()  # type: ignore[no-untyped-call]
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], 1.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {
            "loss": float(found.total.detach()), "cells": found.cells, "answers": found.answers,
            "decisions": found.decisions, "cell_accuracy": found.cell_accuracy, "rate": rate,
        }  # fmt: skip

    def _average(self) -> None:
        keep = min(self.recipe.average, 1 - 1 / (self.step + 1))  # at first, the plain mean of all steps
        with torch.no_grad():
            pairs = zip(self.mean.parameters(), self.model.parameters(), strict=True)
            for mean, parameter in pairs:
                mean.lerp_(parameter, 1 - keep)


def learning_factor(step: int, progress: float, recipe: Recipe) -> float:
    """The learning rate's factor: a warm-up, a plateau, and a linear fall to a tenth over `late_share`."""
    factor = min(1.0, (step + 1) / recipe.warmup_steps)
    falling = (progress - (1 - recipe.late_share)) / recipe.late_share
    return factor * (1.0 - 0.9 * min(max(falling, 0.0), 1.0))


def train(
    run: Training,
    material: Material,
    held_out: Material,
    out: Path,
    budget: Budget,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> list[float]:
    """Train until the budget is spent or a pause is due, saving and measuring on the way; returns this call's losses.

    Writes `state.pt`, from which a run resumes, and `log.jsonl`, one line per step or measurement, into `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    saved = measured = time.monotonic()
    history: list[float] = []
    spent = round(100 * budget.progress(run.step, run.seconds))
    with (
        (out / LOG).open("a", encoding="utf-8") as log,
        track("training", 100, done=spent, unit="percent of the budget") as work,
    ):

        def write(**entry: Any) -> None:
            log.write(json.dumps(entry) + "\n")
            log.flush()

        def evaluate() -> None:
            scores = measure(run.mean, held_out.images, prompts=run.recipe.prompts)
            if held_out.decisions is not None:
                scores |= measure_decisions(run.mean, held_out.decisions)
            write(step=run.step, minutes=round(run.seconds / 60, 2), held_out=scores)
            listed = ", ".join(f"{kind} {value:.2f}" for kind, value in scores.items())
            report(f"step {run.step}, {run.seconds / 60:.1f} min: {listed}")

        while (progress := budget.progress(run.step, run.seconds)) < budget.until:
            began = time.monotonic()
            entry = run.advance(material, progress)
            took = time.monotonic() - began
            run.seconds += took
            history.append(entry["loss"])
            work.reach(round(100 * progress), note=f"step {run.step}, loss {entry['loss']:.3f}")
            write(step=run.step, minutes=round(run.seconds / 60, 3), took_s=round(took, 3), **entry)
            if time.monotonic() - saved > budget.save_every_s:
                run.save(out / STATE)
                saved = time.monotonic()
            if time.monotonic() - measured > budget.measure_every_s:
                evaluate()
                measured = time.monotonic()
        run.save(out / STATE)
        evaluate()
    return history


def world_counts(data: Labelled) -> Counter[str]:
    """The number of images of each world, for the model card."""
    return Counter(WORLDS[world] for world in data.world)
