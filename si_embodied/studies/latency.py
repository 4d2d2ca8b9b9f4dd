"""Latency as part of success: how often tasks succeed if the world goes on while the planner thinks.

A plan takes some time on the world's clock, in which the robot waits; its waiting counts as steps of the episode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from si_embodied.studies.playing import Played, evaluation, play
from si_embodied.studies.plots import COLOURS, GREY, bars, percent_axis
from si_embodied.studies.results import Results, markdown
from si_embodied.studies.settings import LatencyRun
from si_embodied.types import Latency

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.studies.results import Say


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """The episodes of one task with one latency."""

    task: str  # "Apartment-v0:objectnav"
    latency: Latency
    played: Played

    @property
    def seconds(self) -> float:
        """Simulated time per plan; for measured latency, the median."""
        return (self.played.plan_s_p50 or 0.0) if self.latency == "measured" else float(self.latency)

    @property
    def words(self) -> str:
        """The latency as tables show it: "0.5 s" or "measured (0.12 s)"."""
        return f"measured ({self.seconds:.2f} s)" if self.latency == "measured" else f"{self.seconds:g} s"


# --- measuring ------------------------------------------------------------------------------------------------------


def study(run: LatencyRun, results: Path, *, report: Say = lambda _: None) -> LatencyResults:
    """Play what was not played before, and write `latency.json` after every latency.

    Measured latency is played in one process, whatever `workers` says, because workers slow each other down.

    Raises:
        ConfigError: a task does not name its world, a robot cannot wait, or the folder has records with other settings.
        UnknownNameError: there is no such world, task or policy.
    """
    rows: list[LatencyRow] = []
    for task in run.tasks:
        for latency in run.latencies:
            config = replace(evaluation(run, task, run.policy), latency=latency)
            took = latency if latency == "measured" else f"{latency:g}s"
            records = run.out / f"{config.world}-{config.task}-{run.policy}-{took}.jsonl"
            workers = 1 if latency == "measured" else run.workers
            rows.append(LatencyRow(task, latency, Played.of(play(config, records, workers=workers, report=report))))
            LatencyResults(run.settings(), tuple(rows)).write(results / "latency.json")
    return LatencyResults(run.settings(), tuple(rows))


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LatencyResults(Results):
    """Rows by task and latency."""

    name: ClassVar[str] = "latency"
    rows: tuple[LatencyRow, ...]

    def headline(self) -> str:
        """Success with the shortest and the longest latency."""
        parts = []
        for task, rows in self._by_task().items():
            first, last = rows[0], rows[-1]
            before, after = (100 * row.played.score.mean for row in (first, last))
            parts.append(f"{task} {before:.0f}% at {first.seconds:g} s a plan, {after:.0f}% at {last.seconds:g} s")
        return f"Success: {'; '.join(parts)}"

    def table(self) -> list[str]:
        """A line per task and latency, by length."""
        head = ("task", "latency of a plan", "success", "SPL", "steps", "plans an episode")
        rows = [row for ordered in self._by_task().values() for row in ordered]
        return markdown(head, [[row.task, row.words, str(row.played.score), *row.played.figures] for row in rows])

    def draw(self, figure: Any) -> None:
        """Success over latency: a line with a band per task, and a star where the latency was measured."""
        figure.set_size_inches(8, 4.8)
        axes = figure.subplots()
        for number, (task, rows) in enumerate(self._by_task().items()):
            colour = COLOURS[number % len(COLOURS)]
            fixed = [row for row in rows if row.latency != "measured"]
            means, (low, high) = bars([row.played.score for row in fixed])
            seconds = [row.seconds for row in fixed]
            axes.plot(seconds, means, marker="o^sDvP*"[number % 7], color=colour, label=task)
            lower, upper = ([m - d for m, d in zip(means, low, strict=True)],
                            [m + d for m, d in zip(means, high, strict=True)])  # fmt: skip
            axes.fill_between(seconds, lower, upper, color=colour, alpha=0.15, linewidth=0)
            for row in rows:
                if row.latency == "measured":
                    means, reach = bars([row.played.score])
                    axes.errorbar([row.seconds], means, reach, marker="*", markersize=13, color=colour, capsize=3,
                                  markeredgecolor="white")  # fmt: skip
        axes.plot([], [], marker="*", markersize=12, color=GREY, linestyle="", label="measured, at its median")
        axes.set_xticks(sorted({row.seconds for row in self.rows if row.latency != "measured"}))
        axes.set_xlabel("simulated time per plan, s")
        percent_axis(axes, "success, % (95% interval)")
        figure.legend(loc="outside lower center", ncols=3)

    def _by_task(self) -> dict[str, list[LatencyRow]]:
        """The rows of each task, by length of the latency."""
        found: dict[str, list[LatencyRow]] = {}
        for row in self.rows:
            found.setdefault(row.task, []).append(row)
        return {task: sorted(rows, key=lambda row: row.seconds) for task, rows in found.items()}
