"""Chain of thought: the plan with and without a short reasoning before it, on the same seeds.

A checkpoint that was never taught to reason is first trained on a little, twice from the same weights and for as long:
on plans as they are, and on plans that begin with where the things are that they name (`training.reasoning`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from si_embodied.evaluation.config import model_fingerprint
from si_embodied.evaluation.statistics import mean, percentiles
from si_embodied.runs import claim
from si_embodied.studies.episodes import Episodes, play
from si_embodied.studies.results import SETTINGS_FILE, write_results
from si_embodied.studies.tabletops import load_shards
from si_embodied.training.export import Story, export
from si_embodied.training.nano import STATE, Budget, Recipe, Training, train
from si_embodied.training.scenes import digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from si_embodied.evaluation.episode import EpisodeResult
    from si_embodied.training.examples import Labelled

NAME = "reasoning"
WITHOUT, WITH = "without", "with"
_LEARNING_RATE = 5e-4  # a third of the small planner's: what is known is to be kept
_NEVER_S = 1e9


@dataclass(frozen=True, slots=True)
class ReasoningRun:
    """A checkpoint, and whether it is trained on before it is asked."""

    model: Path
    out: Path
    data: Path | None = None  # shards of `train nano` to train on; None changes nothing but what is asked for
    minutes: float | None = 4.0  # of each of the two trainings
    steps: int | None = None  # of each, in place of minutes
    tasks: tuple[str, ...] = ("base", "spatial")
    episodes: Episodes = field(default_factory=Episodes)
    threads: int = 1
    seed: int = 0
    recipe: Recipe | None = None  # by default the small planner's, on tables alone and more gently

    def training_settings(self) -> dict[str, Any]:
        """What the trained models are a function of."""
        return {
            "model": model_fingerprint(self.model), "minutes": self.minutes, "steps": self.steps, "seed": self.seed,
            "threads": self.threads, "data": None if self.data is None else digest(self.data / "train"),
        }  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """What the results are a function of."""
        return {**self.training_settings(), "tasks": list(self.tasks), "episodes": asdict(self.episodes)}


def study(run: ReasoningRun, results: Path, *, report: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Train on where data are given, play, and write `reasoning.json`; what is there already is not done again.

    Raises:
        ConfigError: the folder has trainings of other settings.
    """
    claim(run.out / SETTINGS_FILE, run.training_settings())
    rows = []
    for arm in (WITHOUT, WITH):
        checkpoint, steps = (run.model, 0) if run.data is None else _continued(run, arm, report)
        for task in run.tasks:
            records = run.out / f"{task}-{arm}.jsonl"
            episodes = replace(run.episodes, task=task)
            played = play(checkpoint, episodes, records, reasoning=arm == WITH, report=report)
            rows.append({"arm": arm, "task": task, "steps": steps, **_figures(played)})
            write_results(results / f"{NAME}.json", NAME, run.settings(), rows)
    return write_results(results / f"{NAME}.json", NAME, run.settings(), rows)


def _continued(run: ReasoningRun, arm: str, report: Callable[[str], None]) -> tuple[Path, int]:
    """The checkpoint trained on with or without reasoning in its plans, and how many steps that took."""
    assert run.data is not None
    folder, budget = run.out / arm, Budget(run.steps, run.minutes, 60.0, _NEVER_S)
    state = folder / "run" / STATE
    if state.exists():
        trained = Training.load(state, threads=run.threads)
    else:
        recipe = run.recipe or Recipe(cycle="t", learning_rate=_LEARNING_RATE, seed=run.seed, threads=run.threads)
        trained = Training(replace(recipe, dense_share=0.0))
        trained.start_from(run.model)
    if budget.progress(trained.step, trained.seconds) < 1:
        data, held_out = (replace(pictures, reasoning=arm == WITH) for pictures in _pictures(run.data))
        report(f"{arm} reasoning: training from step {trained.step}")
        train(trained, data, held_out, folder / "run", budget, report=report)
    story = Story(
        {}, digest(run.data / "train"), trained.recipe.seed, trained.step, trained.seconds / 60,
        notes=f"{run.model.name}, trained on {arm} reasoning by `si-embodied study reasoning`: not for use.",
    )  # fmt: skip
    return export(trained.mean, folder / "checkpoint", story), trained.step


@cache
def _pictures(data: Path) -> tuple[Labelled, Labelled]:
    """Tables to train on and held-out ones; loading them takes half a minute."""
    return load_shards(data / "train", "tabletop-*"), load_shards(data / "held_out", "tabletop-*")


def _figures(played: tuple[EpisodeResult, ...]) -> dict[str, Any]:
    """Successes by seed, and what the plans cost."""
    plans = [plan.record for episode in played for plan in episode.plans]
    latency = percentiles([1000 * plan.latency_s["total"] for plan in plans])
    return {
        "seeds": [episode.seed for episode in played],
        "success": [int(episode.success) for episode in played],
        "plans": len(plans),
        "completion_tokens": round(mean([float(plan.completion_tokens) for plan in plans]), 2),
        "plan_ms_p50": round(latency.p50, 1),
        "example": next((plan.raw_text[0] for plan in plans if plan.raw_text), ""),
    }
