"""Planner success: episodes of a checkpoint, recorded as they end, so that a study goes on where it was stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from si_embodied.config import planner_config_for
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.report import versions
from si_embodied.evaluation.runner import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from si_embodied.evaluation.config import Control
    from si_embodied.evaluation.episode import EpisodeResult

TABLETOP = "si_embodied/Tabletop-v0"


@dataclass(frozen=True, slots=True)
class Episodes:
    """What to play: the studies' seeds are below 100,000, so that `eval`'s stay untouched."""

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
    control: Control | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[EpisodeResult, ...]:
    """Play the episodes that the records lack; returns all of them, by seed.

    Raises:
        ConfigError: the records are of other settings or of another model.
        KeyboardInterrupt: Ctrl-C; what was played is recorded.
    """
    config = EvaluationConfig(
        env=episodes.env, policy="planner", task=episodes.task, model=model, control=control,
        planner=replace(planner_config_for(model, None), reasoning=reasoning),
        episodes=episodes.count, seed=episodes.seed,
    )  # fmt: skip
    run = evaluate(config, RecordFile(records, config.identity(), versions()))
    if run.interrupted:
        raise KeyboardInterrupt
    won = sum(episode.success for episode in run.episodes)
    report(f"{records.stem}: {won} of {len(run.episodes)} episodes succeeded")
    return run.episodes
