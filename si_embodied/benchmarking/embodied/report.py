"""EmbodiedBench's metrics of a run: a row for each subset and each who answered, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.benchmarking.results import markdown_rows
from si_embodied.wording import seeds_in_words

if TYPE_CHECKING:
    from si_embodied.evaluation.report import Report
    from si_embodied.evaluation.statistics import PairedComparison


@dataclass(frozen=True, slots=True)
class ProtocolRow:
    """How one subset went. Means are over episodes, shares over all actions or answers."""

    subset: str
    answered_by: str  # the model, "… (blank images)", or "oracle"
    episodes: int
    success: float
    low: float  # Wilson's 95% interval
    high: float
    progress: float  # of the task's conditions; EB-Habitat's task progress
    planner_steps: float  # answers
    environment_steps: float
    invalid_actions: float  # share of actions
    output_errors: float  # share of answers that are no plan
    empty_plans: float  # share of episodes that an empty plan ended
    seconds_p50: float  # per answer
    completion_tokens: float
    prompt: str
    kernel: str | None
    dtype: str | None
    p_value: float | None = None  # of equal success, on the same seeds, against the model; None for the model itself


def make_row(subset: str, report: Report, paired: PairedComparison | None = None) -> ProtocolRow:
    """The row of a run."""
    plans, episodes, means = max(report.plans, 1), max(report.episodes, 1), report.metrics
    low, high = report.wilson95
    return ProtocolRow(
        subset, str(report.model), report.episodes, report.success_rate, low, high,
        progress=means.get("progress", 0.0),
        planner_steps=report.plans / episodes,
        environment_steps=means.get("environment_steps", 0.0),
        invalid_actions=means.get("invalid_actions", 0.0) / max(means.get("actions", 0.0), 1e-9),
        output_errors=report.holds.get("PLAN_INVALID", 0) / plans,
        empty_plans=means.get("empty_plan", 0.0),
        seconds_p50=report.plan_latency_ms.p50 / 1000,
        completion_tokens=report.completion_tokens,
        prompt=", ".join(report.prompt_versions),
        kernel=report.kernel,
        dtype=report.dtype,
        p_value=None if paired is None else paired.p_value,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProtocolReport:
    """All rows, and what they depend on."""

    env: str
    seed: int  # of the first episode of each subset
    asked: int  # episodes of each subset
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    rows: tuple[ProtocolRow, ...]
    interrupted: bool

    def table(self) -> list[str]:
        """A Markdown table, and below it what the figures depend on."""
        head = (
            "subset", "answered by", "n", "success [95%]", "p", "progress", "planner steps", "environment steps",
            "invalid actions", "output errors", "empty plans", "s per answer",
        )  # fmt: skip
        lines = markdown_rows(head, map(_cells, self.rows))
        prompts = dict.fromkeys(f"{row.prompt}, {row.kernel}, {row.dtype}" for row in self.rows)
        seeds = f"seeds {seeds_in_words(range(self.seed, self.seed + self.asked))}"
        about = f"{self.env}, {seeds}; prompt, kernel, dtype: {'; '.join(prompts)}"
        more = ["interrupted: repeat the command to continue"] if self.interrupted else []
        return [*lines, "", about, *more]


def _cells(row: ProtocolRow) -> Sequence[str]:
    return (
        row.subset, row.answered_by, str(row.episodes), f"{row.success:.2f} [{row.low:.2f}, {row.high:.2f}]",
        "" if row.p_value is None else f"{row.p_value:.3g}", f"{row.progress:.2f}", f"{row.planner_steps:.1f}",
        f"{row.environment_steps:.1f}", f"{row.invalid_actions:.0%}", f"{row.output_errors:.0%}",
        f"{row.empty_plans:.0%}", f"{row.seconds_p50:.2f}",
    )  # fmt: skip
