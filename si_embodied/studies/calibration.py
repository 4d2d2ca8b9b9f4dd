"""Calibration: is a model right as often as it is sure?

The model plays episodes. At each of its decisions the perfect-pixels planner answers the same prompt, and the simulator
tells whether the model's point lies on the target. The expected calibration error is that of Naeini, Cooper and
Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015, with ten bins of equal width.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from si_embodied.backends.local import LocalBackend
from si_embodied.evaluation.config import EvaluationConfig, model_fingerprint
from si_embodied.evaluation.episode import run_episode
from si_embodied.evaluation.registry import NAMESPACE, beside_perfect_pixels, make_env, observe
from si_embodied.evaluation.statistics import mean
from si_embodied.runs import JsonLines, claim
from si_embodied.studies.plots import BLACK, COLOURS, GREY, bars, percent_axis
from si_embodied.studies.results import Results, Score, markdown
from si_embodied.studies.settings import SETTINGS_FILE, CalibrationRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from si_embodied.backends.base import Backend
    from si_embodied.studies.results import Say

BINS = 10
_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
_SHARES = (1.0, 0.9, 0.75, 0.5, 0.25)
_ANSWERS_FILE = "answers.jsonl"


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers: the probability that the model gave each, and whether each was right (0 or 1)."""

    probability: tuple[float, ...] = ()
    right: tuple[int, ...] = ()

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, bool]]) -> Judged:
        """From pairs of both, with probabilities rounded to four digits."""
        found = list(pairs)
        return cls(tuple(float(f"{p:.4g}") for p, _ in found), tuple(int(right) for _, right in found))

    def __add__(self, other: Judged) -> Judged:
        """Both together."""
        return Judged(self.probability + other.probability, self.right + other.right)

    @property
    def score(self) -> Score:
        """How many were right."""
        return Score.of(self.right)

    @property
    def mean_probability(self) -> float:
        """How sure the model was, on average; NaN without answers."""
        return mean(self.probability)

    def at_least(self, threshold: float) -> Judged:
        """The answers with at least this probability."""
        return Judged.of((p, bool(r)) for p, r in zip(self.probability, self.right, strict=True) if p >= threshold)

    def surest(self, share: float) -> Judged:
        """The given share of the answers with the greatest probability."""
        ranked = sorted(zip(self.probability, self.right, strict=True), key=lambda pair: -pair[0])
        return Judged.of((p, bool(r)) for p, r in ranked[: round(share * len(ranked))])

    def bins(self) -> list[Judged]:
        """The answers by probability, in `BINS` bins of equal width; a probability of 1 is in the last."""
        found: dict[int, list[tuple[float, bool]]] = defaultdict(list)
        for p, right in zip(self.probability, self.right, strict=True):
            found[min(int(p * BINS), BINS - 1)].append((p, bool(right)))
        return [Judged.of(found[number]) for number in range(BINS)]

    def calibration_error(self) -> float:
        """The mean distance between probability and share of right answers over the bins, weighted by their answers."""
        filled = [one for one in self.bins() if one.right]
        gaps = [len(one.right) * abs(one.mean_probability - one.score.mean) for one in filled]
        return sum(gaps) / len(self.right) if self.right else 0.0


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The answers on one task."""

    task: str  # "Tabletop-v0:base"
    success: Score
    decisions: Judged = field(default_factory=Judged)  # right: the same as perfect pixels decides
    points: Judged = field(default_factory=Judged)  # right: on the target; of right decisions with a point


# --- measuring ------------------------------------------------------------------------------------------------------


def study(run: CalibrationRun, results: Path, *, report: Say = lambda _: None) -> CalibrationResults:
    """Play the episodes that were not played before, and write `calibration.json`.

    Raises:
        ConfigError: the folder has another model's answers.
    """
    settings = {"model": model_fingerprint(run.model)}
    claim(run.out / SETTINGS_FILE, settings)
    lines = JsonLines(run.out / _ANSWERS_FILE)
    torch.set_num_threads(run.threads)
    model = cache(lambda: LocalBackend(run.model))
    seeds = range(run.seed, run.seed + run.count)
    rows = []
    for task in run.tasks:
        played = {line["seed"]: line for line in lines.rows if line["task"] == task}
        for line in _play(task, [seed for seed in seeds if seed not in played], model):
            lines.append(line)
            played[line["seed"]] = line
            report(f"{task}, seed {line['seed']}: {len(line['answers'])} answers")
        rows.append(_row(task, [played[seed] for seed in seeds]))
    found = CalibrationResults({**settings, "episodes": run.count, "seed": run.seed}, tuple(rows))
    return found.write(results / "calibration.json")


def _play(task: str, seeds: Sequence[int], model: Callable[[], Backend]) -> Iterator[dict[str, Any]]:
    """Play one task's episodes; a line for each, with its answers."""
    if not seeds:
        return
    world, _, name = task.partition(":")
    env = make_env(EvaluationConfig(env=f"{NAMESPACE}/{world}", policy="planner", task=name))
    for seed in seeds:
        policy, compared = beside_perfect_pixels(model(), env)
        result = run_episode(env, policy, seed, observe=observe)
        answers = [[one.decision, one.agrees, one.point, one.on_target] for one in compared.answers]
        yield {"task": task, "seed": seed, "success": result.success, "answers": answers}
    env.close()


def _row(task: str, episodes: Sequence[Mapping[str, Any]]) -> TaskRow:
    """The row of a task's recorded episodes."""
    answers = [answer for line in episodes for answer in line["answers"]]
    return TaskRow(
        task,
        Score.of(line["success"] for line in episodes),
        Judged.of((decision, agrees) for decision, agrees, _, _ in answers),
        Judged.of((point, on_target) for _, _, point, on_target in answers if on_target is not None),
    )


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CalibrationResults(Results):
    """Rows by task."""

    name: ClassVar[str] = "calibration"
    rows: tuple[TaskRow, ...]

    def decisions(self) -> Judged:
        """Of all tasks."""
        return sum((row.decisions for row in self.rows), Judged())

    def points(self) -> Judged:
        """Of all tasks."""
        return sum((row.points for row in self.rows), Judged())

    def headline(self) -> str:
        """How sure the model was of its decisions, how often it was right, and the error."""
        found, sure = self.decisions(), self.decisions().at_least(0.9)
        return (
            f"Decisions: mean probability {100 * found.mean_probability:.0f}%, right {100 * found.score.mean:.0f}%, "
            f"expected calibration error {100 * found.calibration_error():.1f}%; "
            f"of those with at least 90%, {100 * sure.score.mean:.0f}% are right"
        )

    def table(self) -> list[str]:
        """Reliability of decisions by task, then what a threshold keeps, then points from sure to unsure."""
        groups = [("all", self.decisions()), *((row.task, row.decisions) for row in self.rows)]
        labels = [f"{number / BINS:.1f} to {(number + 1) / BINS:.1f}" for number in range(BINS)]
        reliability = [
            [label, *(_sure_and_right(judged.bins()[number]) for _, judged in groups)]
            for number, label in enumerate(labels)
        ]
        reliability += [
            ["**all**", *(_sure_and_right(judged) for _, judged in groups)],
            ["**expected calibration error**", *(f"{100 * judged.calibration_error():.1f}%" for _, judged in groups)],
            ["**success of episodes**", "", *(str(row.success) for row in self.rows)],
        ]
        head = ["probability of the decision", *(name for name, _ in groups)]
        return [*markdown(head, reliability), "", *_threshold_table(groups), "", *_point_table(self)]

    def draw(self, figure: Any) -> None:
        """Reliability of decisions on the left; on the right, how right the surest decisions and points are."""
        figure.set_size_inches(10, 4.8)
        left, right = figure.subplots(1, 2)
        left.plot([0, 100], [0, 100], color=GREY, linestyle="--")
        for colour, row in zip(COLOURS, self.rows, strict=False):
            _draw_reliability(left, row.decisions, colour, row.task, small=True)
        _draw_reliability(left, self.decisions(), BLACK, "all tasks", small=False)
        left.set_xlim(-2, 102)
        left.set_xlabel("probability of the decision, %")
        percent_axis(left, "right, % (95% interval)")
        shares = [number / 20 for number in range(1, 21)]
        for colour, label, judged in (
            (COLOURS[0], "decisions", self.decisions()),
            (COLOURS[1], "points", self.points()),
        ):
            scores = [100 * judged.surest(share).score.mean for share in shares]
            right.plot([100 * share for share in shares], scores, color=colour, label=label)
        right.set_xlabel("the surest answers, % of all")
        percent_axis(right, "right, %")
        right.legend(loc="lower left")
        left.legend(loc="upper left")


def _sure_and_right(judged: Judged) -> str:
    return f"{100 * judged.mean_probability:.0f}%: {judged.score}" if judged.right else "–"


def _threshold_table(groups: Sequence[tuple[str, Judged]]) -> list[str]:
    """What is left of the decisions above each threshold, and how right it is."""

    def left(judged: Judged, threshold: float) -> str:
        kept = judged.at_least(threshold)
        return f"{100 * len(kept.right) / max(1, len(judged.right)):.0f}% kept: {kept.score}"

    body = [[f"{least:.2f}", *(left(judged, least) for _, judged in groups)] for least in _THRESHOLDS]
    return markdown(["`min_probability`", *(name for name, _ in groups)], body)


def _point_table(results: CalibrationResults) -> list[str]:
    """How right the surest points are."""
    groups = [("all", results.points()), *((row.task, row.points) for row in results.rows)]
    body = []
    for share in _SHARES:
        kept = [judged.surest(share) for _, judged in groups]
        least = min(kept[0].probability, default=0.0)
        body.append([f"surest {100 * share:.0f}%", f"{least:.2g}", *(str(one.score) for one in kept)])
    return markdown(["points", "probability at least", *(name for name, _ in groups)], body)


def _draw_reliability(axes: Any, judged: Judged, colour: str, label: str, *, small: bool) -> None:
    filled = [one for one in judged.bins() if one.right]
    means, reach = bars([one.score for one in filled])
    where = [100 * one.mean_probability for one in filled]
    axes.errorbar(
        where, means, yerr=None if small else reach, color=colour, label=label, capsize=3, marker="o",
        markersize=4 if small else 6, linestyle="" if small else "-", zorder=3 if small else 2,
    )  # fmt: skip
