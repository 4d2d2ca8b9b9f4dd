"""The checkpoints that a study trains and plays; both resume where they were stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.backends.config import BackendConfig
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.studies.playing import play
from si_embodied.studies.settings import Episodes, TrainingRun
from si_embodied.training.export import Story, export
from si_embodied.training.material import Material
from si_embodied.training.nano import STATE, Budget, Training, train
from si_embodied.training.nano_settings import IMAGE_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from si_embodied.evaluation.episode import EpisodeResult
    from si_embodied.studies.results import Say
    from si_embodied.training.examples import Labelled

_SAVE_EVERY_S, _MEASURE_EVERY_S = 60.0, 180.0


def train_checkpoint(
    run: TrainingRun,
    folder: Path,
    start: Callable[[], Training],
    data: Callable[[], tuple[Labelled, Labelled]],
    *,
    notes: str,
    report: Say,
) -> tuple[Training, Path]:
    """Train until the budget of the run is used up, and export the checkpoint.

    Args:
        run: the study's settings.
        folder: of this training; its last saved state is resumed.
        start: makes the training if there is no such state.
        data: loads the training and the held-out images, if they are needed.
        notes: for the model card.
        report: takes lines of progress.
    """
    state = folder / "run" / STATE
    budget = Budget(run.steps, run.minutes, save_every_s=_SAVE_EVERY_S, measure_every_s=_MEASURE_EVERY_S)
    trained = Training.load(state) if state.exists() else start()
    if budget.progress(trained.step, trained.seconds) < 1:
        report(f"{folder.name}: training from step {trained.step}")
        images, held_out = data()
        train(trained, Material(images), Material(held_out), folder / "run", budget, report=report)
    story = Story(
        {}, run.settings()["data"], trained.recipe.seed, trained.step, trained.seconds / 60, prompts=IMAGE_PROMPTS,
        notes=notes,
    )  # fmt: skip
    return trained, export(trained.mean, folder / "checkpoint", story)


def play_checkpoint(
    model: Path,
    episodes: Episodes,
    records: Path,
    *,
    reasoning: bool = False,
    report: Say = lambda _: None,
) -> tuple[EpisodeResult, ...]:
    """Play the episodes that the records lack; returns all of them, by seed.

    Raises:
        ConfigError: the records have other settings or another model.
        KeyboardInterrupt: Ctrl-C; finished episodes are recorded.
    """
    config = EvaluationConfig(
        env=episodes.env, policy="planner", task=episodes.task, backend=BackendConfig(model=str(model)),
        planner=PlannerConfig(Prompts(reasoning=reasoning)),
        episodes=episodes.count, seed=episodes.seed,
    )  # fmt: skip
    return play(config, records, report=report)
