"""Runs under the same conditions, side by side: a policy with its figures, and its controls compared with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.failures import FailureKind, failure_counts
from si_embodied.evaluation.page.reading import StoredRun
from si_embodied.evaluation.report import Comparison, Report, conditions, paired_by_seed, summarise
from si_embodied.evaluation.statistics import wilson_interval

REFERENCES = ("random", "oracle", "perfect-pixels")
"""Policies that show what a world allows; a planner is compared with them and not they with it."""
_NEAR_M, _FAR_M = 4.0, 7.0  # bounds of the shortest path, for want of a world's own difficulty


@dataclass(frozen=True, slots=True)
class Share:
    """Successes among some episodes."""

    label: str
    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        """The success rate; NaN without episodes."""
        return self.successes / self.episodes if self.episodes else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its Wilson 95% interval."""
        return wilson_interval(self.successes, self.episodes)


@dataclass(frozen=True, slots=True)
class Row:
    """A run and its figures."""

    run: StoredRun
    report: Report
    comparison: Comparison | None  # the main run against this one; None for the main run itself
    failures: Mapping[FailureKind, int]
    difficulty: tuple[Share, ...]  # easiest first; empty if the world does not tell


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one task under the same conditions, the main run first."""

    title: str  # "Apartment objectnav, noise zed"
    rows: tuple[Row, ...]

    @property
    def main(self) -> Row:
        """The run that the others are controls of."""
        return self.rows[0]


def grouped(runs: Sequence[StoredRun]) -> tuple[Group, ...]:
    """Put the runs that can be compared together, in the order of their first ones."""
    by_conditions: dict[str, list[StoredRun]] = {}
    for run in runs:
        by_conditions.setdefault(run.conditions, []).append(run)
    return tuple(_group(each) for each in by_conditions.values())


def _group(runs: Sequence[StoredRun]) -> Group:
    # A planner before its controls, and those before the references; otherwise as found.
    ordered = sorted(runs, key=lambda run: (run.about.policy in REFERENCES, run.about.control is not None))
    main = ordered[0]
    rows = tuple(_row(run, None if run is main else main) for run in ordered)
    return Group(_title(rows[0].report), rows)


def _title(report: Report) -> str:
    """World and task, and what else sets a group apart."""
    return ", ".join([report.world, *conditions(report)])


def _row(run: StoredRun, main: StoredRun | None) -> Row:
    report = summarise(run.about, run.episodes)
    comparison = None if main is None else paired_by_seed(report.title, main.episodes, run.episodes, report)
    return Row(run, report, comparison, failure_counts(run.episodes), by_difficulty(run.episodes))


def by_difficulty(episodes: Sequence[EpisodeResult]) -> tuple[Share, ...]:
    """Success by the world's own metric `difficulty`, or else by the length of the shortest path; easiest first.

    Empty if the world tells neither, or if all episodes are equally difficult.
    """
    episodes = [episode for episode in episodes if episode.ended != "lost"]
    if all("difficulty" in episode.metrics for episode in episodes):
        levels = sorted({episode.metrics["difficulty"] for episode in episodes})
        parts = {f"difficulty {level:g}": [e for e in episodes if e.metrics["difficulty"] == level] for level in levels}
    elif all("geodesic_distance" in episode.metrics for episode in episodes):
        bounds = ((0.0, _NEAR_M), (_NEAR_M, _FAR_M), (_FAR_M, math.inf))
        labels = (f"path under {_NEAR_M:g} m", f"{_NEAR_M:g} to {_FAR_M:g} m", f"over {_FAR_M:g} m")
        parts = {
            label: [e for e in episodes if low <= e.metrics["geodesic_distance"] < high]
            for label, (low, high) in zip(labels, bounds, strict=True)
        }
    else:
        return ()
    shares = [Share(label, sum(e.success for e in part), len(part)) for label, part in parts.items() if part]
    return tuple(shares) if len(shares) > 1 else ()
