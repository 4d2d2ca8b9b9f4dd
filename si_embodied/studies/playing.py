"""Episodes of the studies that only play: recorded and resumed, and what they come to by seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from si_embodied.backends.config import BackendConfig
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import NAMESPACE, find_policy
from si_embodied.evaluation.report import versions
from si_embodied.evaluation.runner import evaluate
from si_embodied.evaluation.statistics import PairedComparison, PairedDifference, mcnemar, mean, percentiles, sign_flip
from si_embodied.parallel.placement import Placement
from si_embodied.studies.results import Score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from si_embodied.evaluation.episode import EpisodeResult
    from si_embodied.studies.results import Say
    from si_embodied.studies.settings import PlayingRun


@dataclass(frozen=True, slots=True)
class Played:
    """What the episodes of one condition came to, by seed; episodes whose simulator was lost are not among them."""

    seeds: tuple[int, ...]
    success: tuple[int, ...]  # 0 or 1
    spl: tuple[float, ...]  # 0 to 1; empty if the world does not measure it
    steps: tuple[int, ...]
    plans: tuple[int, ...]
    plan_s_p50: float | None  # the median time that a plan took on the machine; None without plans

    @classmethod
    def of(cls, episodes: Sequence[EpisodeResult]) -> Played:
        """The episodes that were not lost."""
        kept = [episode for episode in episodes if episode.ended != "lost"]
        took_s = [plan.record.latency_s["total"] for episode in kept for plan in episode.plans]
        measured = all("spl" in episode.metrics for episode in kept)
        return cls(
            seeds=tuple(episode.seed for episode in kept),
            success=tuple(int(episode.success) for episode in kept),
            spl=tuple(round(episode.metrics["spl"], 4) for episode in kept) if measured else (),
            steps=tuple(episode.steps for episode in kept),
            plans=tuple(len(episode.plans) for episode in kept),
            plan_s_p50=round(percentiles(took_s).p50, 4) if took_s else None,
        )

    @property
    def score(self) -> Score:
        """The success rate."""
        return Score.of(self.success)

    @property
    def figures(self) -> tuple[str, str, str]:
        """SPL, steps and plans an episode, as tables show them."""
        spl = f"{mean(self.spl):.2f}" if self.spl else "–"
        return spl, f"{mean([float(n) for n in self.steps]):.0f}", f"{mean([float(n) for n in self.plans]):.1f}"

    def on(self, seeds: Sequence[int]) -> Played:
        """Only the episodes of these seeds, in their order."""
        index = [self.seeds.index(seed) for seed in seeds]
        success, steps, plans = (tuple(row[k] for k in index) for row in (self.success, self.steps, self.plans))
        spl = tuple(self.spl[k] for k in index) if self.spl else ()
        return replace(self, seeds=tuple(seeds), success=success, spl=spl, steps=steps, plans=plans)


def paired(first: Played, second: Played) -> tuple[PairedComparison, PairedDifference | None]:
    """McNemar's test of success and the sign-flip test of SPL, on the seeds of both; None if there is no SPL."""
    shared = [seed for seed in first.seeds if seed in second.seeds]
    one, other = first.on(shared), second.on(shared)
    success = mcnemar([bool(won) for won in one.success], [bool(won) for won in other.success])
    return success, sign_flip(one.spl, other.spl) if one.spl and other.spl else None


def evaluation(run: PlayingRun, task: str, policy: str) -> EvaluationConfig:
    """What to play of a task, given as WORLD:TASK; a world of this package needs no namespace.

    Raises:
        ConfigError: the task does not name its world.
        UnknownNameError: there is no such policy.
    """
    world, colon, name = task.rpartition(":")
    if not (world and colon and name):
        raise ConfigError(f"expected a task such as Apartment-v0:objectnav, got: {task!r}")
    backend = BackendConfig(model=str(run.model)) if find_policy(policy).needs_model else None
    return EvaluationConfig(
        world if "/" in world else f"{NAMESPACE}/{world}", policy, name, backend,
        image_size=run.image_size, episodes=run.episodes, seed=run.seed,
    )  # fmt: skip


def play(
    config: EvaluationConfig, records: Path, *, workers: int = 1, report: Say = lambda _: None
) -> tuple[EpisodeResult, ...]:  # fmt: skip
    """Play the episodes that the records lack; returns all of them, by seed.

    Raises:
        ConfigError: the records have other settings or another model.
        KeyboardInterrupt: Ctrl-C; finished episodes are recorded.
    """
    run = evaluate(config, RecordFile(records, config.identity(), versions()), placement=Placement(workers))
    if run.interrupted:
        raise KeyboardInterrupt
    won = sum(episode.success for episode in run.episodes)
    report(f"{records.stem}: {won} of {len(run.episodes)} episodes succeeded")
    return run.episodes
