"""Chain of thought: planning with and without a short reasoning before the plan, on the same seeds.

A checkpoint that was never taught to reason is first trained further, twice from the same weights and for equally long:
on plans as they are, and on plans that begin with where the objects they name are (`training.reasoning`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from si_embodied.evaluation.statistics import PairedComparison, mcnemar, mean, percentiles
from si_embodied.studies import own_questions as own
from si_embodied.studies.checkpoints import play_checkpoint, train_checkpoint
from si_embodied.studies.plots import COLOURS, grouped_bars, percent_axis
from si_embodied.studies.results import Results, Score, markdown
from si_embodied.studies.settings import ReasoningRun
from si_embodied.training.nano import Recipe, Training
from si_embodied.training.nano_settings import IMAGE_PROMPTS

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.evaluation.episode import EpisodeResult
    from si_embodied.studies.results import Say
    from si_embodied.training.examples import Labelled

WITHOUT, WITH = "without", "with"
_LEARNING_RATE = 5e-4  # a third of the small planner's, so that it keeps what it knows


@dataclass(frozen=True, slots=True)
class ArmRow:
    """How one arm did on one task: successes by seed, and what its plans cost."""

    arm: str  # WITHOUT or WITH reasoning
    task: str
    steps: int  # trained
    seeds: tuple[int, ...]
    success: tuple[int, ...]  # 0 or 1, by seed
    plans: int
    completion_tokens: float  # mean per plan
    plan_ms_p50: float
    example: str  # the first plan's text

    @classmethod
    def of(cls, arm: str, task: str, steps: int, played: tuple[EpisodeResult, ...]) -> ArmRow:
        """The row of the episodes that were played."""
        plans = [plan.record for episode in played for plan in episode.plans]
        return cls(
            arm, task, steps,
            seeds=tuple(episode.seed for episode in played),
            success=tuple(int(episode.success) for episode in played),
            plans=len(plans),
            completion_tokens=round(mean([float(plan.completion_tokens) for plan in plans]), 2),
            plan_ms_p50=round(percentiles([1000 * plan.latency_s["total"] for plan in plans]).p50, 1),
            example=next((plan.raw_text[0] for plan in plans if plan.raw_text), ""),
        )  # fmt: skip

    @property
    def score(self) -> Score:
        """The success rate."""
        return Score.of(self.success)


# --- measuring ------------------------------------------------------------------------------------------------------


def study(run: ReasoningRun, results: Path, *, report: Say = lambda _: None) -> ReasoningResults:
    """Train further if there are data, play, and write `reasoning.json`; what was done before is not repeated.

    Raises:
        ConfigError: the folder holds trainings with other settings.
    """
    run.claim()
    rows: list[ArmRow] = []
    for arm in (WITHOUT, WITH):
        checkpoint, steps = (run.model, 0) if run.data is None else _trained(run, run.data, arm, report)
        for task in run.tasks:
            episodes, records = replace(run.episodes, task=task), run.out / f"{task}-{arm}.jsonl"
            played = play_checkpoint(checkpoint, episodes, records, reasoning=arm == WITH, report=report)
            rows.append(ArmRow.of(arm, task, steps, played))
            ReasoningResults(run.settings(), tuple(rows)).write(results / "reasoning.json")
    return ReasoningResults(run.settings(), tuple(rows))


def _trained(run: ReasoningRun, data: Path, arm: str, report: Say) -> tuple[Path, int]:
    """The checkpoint trained further with or without reasoning in its plans, and for how many steps."""

    def start() -> Training:
        recipe = run.recipe or Recipe(
            cycle="t", prompts=IMAGE_PROMPTS, learning_rate=_LEARNING_RATE, seed=run.seed, threads=run.threads
        )
        training = Training(replace(recipe, dense_share=0.0))
        training.start_from(run.model)
        return training

    def tables() -> tuple[Labelled, Labelled]:
        training, held_out = _tables(data)
        reasoning = arm == WITH
        return replace(training, reasoning=reasoning), replace(held_out, reasoning=reasoning)

    notes = f"{run.model.name}, trained on {arm} reasoning by `si-embodied study reasoning`: not for use."
    trained, checkpoint = train_checkpoint(run, run.out / arm, start, tables, notes=notes, report=report)
    return checkpoint, trained.step


@cache
def _tables(data: Path) -> tuple[Labelled, Labelled]:
    """Training tables and held-out ones; loading them takes half a minute."""
    return own.load_shards(data / "train", "tabletop-*"), own.load_shards(data / "held_out", "tabletop-*")


# --- reporting ------------------------------------------------------------------------------------------------------


def paired(without: ArmRow, with_it: ArmRow) -> PairedComparison:
    """Without against with reasoning, on the seeds that both played."""
    other = dict(zip(with_it.seeds, with_it.success, strict=True))
    first = {seed: won for seed, won in zip(without.seeds, without.success, strict=True) if seed in other}
    return mcnemar([bool(won) for won in first.values()], [bool(other[seed]) for seed in first])


@dataclass(frozen=True, slots=True)
class ReasoningResults(Results):
    """Rows by arm and task."""

    name: ClassVar[str] = "reasoning"
    rows: tuple[ArmRow, ...]

    def pairs(self) -> dict[str, tuple[ArmRow, ArmRow]]:
        """The tasks that both arms played, without and with reasoning."""
        with_it = {row.task: row for row in self.rows if row.arm == WITH}
        return {row.task: (row, with_it[row.task]) for row in self.rows if row.arm == WITHOUT and row.task in with_it}

    def headline(self) -> str:
        """Success without and with reasoning, and what it costs."""
        parts = []
        for task, rows in self.pairs().items():
            without, with_it = (100 * row.score.mean for row in rows)
            parts.append(f"{task} {without:.0f}% to {with_it:.0f}% (p = {paired(*rows).p_value:.2g})")
        few, many = (row.completion_tokens for row in next(iter(self.pairs().values())))
        return f"Reasoning first: {', '.join(parts)}, for {many:.0f} tokens a plan, not {few:.0f}"

    def table(self) -> list[str]:
        """Two lines per task."""
        head = ("task", "reasoning", "success", "seeds won alone", "p (McNemar)", "tokens a plan", "ms a plan",
                "steps trained")  # fmt: skip
        body = []
        for rows in self.pairs().values():
            test = paired(*rows)
            for row, won_alone in zip(rows, (test.only_first, test.only_second), strict=True):
                body.append(
                    [row.task, row.arm, str(row.score), str(won_alone), f"{test.p_value:.2g}",
                     f"{row.completion_tokens:.0f}", f"{row.plan_ms_p50:.0f}", f"{row.steps:,}"]
                )  # fmt: skip
        return markdown(head, body)

    def draw(self, figure: Any) -> None:
        """Success on the left, tokens per plan on the right."""
        figure.set_size_inches(10, 4.4)
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        pairs = self.pairs()
        for number, arm in enumerate((WITHOUT, WITH)):
            scores = [rows[number].score for rows in pairs.values()]
            texts = [f"{score.total:.0f} of {score.count}" for score in scores]
            where = grouped_bars(left, scores, number, f"{arm} reasoning", texts)
            tokens = [rows[number].completion_tokens for rows in pairs.values()]
            right.bar_label(right.bar(where, tokens, 0.36, color=COLOURS[number]), fmt="%.0f", padding=2)
        percent_axis(left, "success, % (95% interval)")
        left.set_xticks(range(len(pairs)), [f"{t}\np = {paired(*rows).p_value:.2g}" for t, rows in pairs.items()])
        left.set_title("Episodes on the same seeds; p by McNemar's test", loc="left")
        figure.legend(loc="outside lower center", ncols=2)
        right.set_xticks(range(len(pairs)), list(pairs))
        right.set_ylabel("tokens a plan (mean)")
        for axes in (left, right):
            axes.grid(axis="x", visible=False)
