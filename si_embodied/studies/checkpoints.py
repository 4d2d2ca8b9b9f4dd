"""The checkpoints that a study trains and plays; both resume where they were stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from si_embodied.config import planner_config_for
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.report import versions
from si_embodied.evaluation.runner import evaluate
from si_embodied.training.export import Story, export
from si_embodied.training.nano import STATE, Budget, Training, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from si_embodied.evaluation.episode import EpisodeResult
    from si_embodied.studies.results import Say
    from si_embodied.training.examples import Labelled

TABLETOP = "si_embodied/Tabletop-v0"
SETTINGS_FILE = "settings.json"  # what the folder's checkpoints were trained with


def train_checkpoint(
    folder: Path,
    start: Callable[[], Training],
    data: Callable[[], tuple[Labelled, Labelled]],
    budget: Budget,
    story: Story,
    *,
    report: Say,
) -> tuple[Training, Path]:
    """Train until the budget is used up, and export the checkpoint.

    Args:
        folder: of this training; its last saved state is resumed.
        start: makes the training if there is no such state.
        data: loads the training and the held-out images, if they are needed.
        budget: when to stop.
        story: for the model card; steps and minutes are filled in.
        report: takes lines of progress.
    """
    state = folder / "run" / STATE
    trained = Training.load(state) if state.exists() else start()
    if budget.progress(trained.step, trained.seconds) < 1:
        report(f"{folder.name}: training from step {trained.step}")
        train(trained, *data(), folder / "run", budget, report=report)
    story = replace(story, seed=trained.recipe.seed, steps=trained.step, minutes=trained.seconds / 60)
    return trained, export(trained.mean, folder / "checkpoint", story)


@dataclass(frozen=True, slots=True)
class Episodes:
    """What to play. Studies use seeds below 100,000, which `si-embodied eval` leaves alone."""

    env: str = TABLETOP
    task: str = "base"
    count: int = 100
    seed: int = 90_000


def play(
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
        env=episodes.env, policy="planner", task=episodes.task, model=model,
        planner=replace(planner_config_for(model, None), reasoning=reasoning),
        episodes=episodes.count, seed=episodes.seed,
    )  # fmt: skip
    run = evaluate(config, RecordFile(records, config.identity(), versions()))
    if run.interrupted:
        raise KeyboardInterrupt
    won = sum(episode.success for episode in run.episodes)
    report(f"{records.stem}: {won} of {len(run.episodes)} episodes succeeded")
    return run.episodes
