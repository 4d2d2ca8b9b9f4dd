"""What a comparison found: one table, and a verdict by thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.benchmarking.comparison.verdict import Criterion, Outcome, explained, verdict_of
from si_embodied.benchmarking.results import markdown_rows
from si_embodied.evaluation.report import versions, without_nan
from si_embodied.evaluation.statistics import percentiles, wilson_interval

if TYPE_CHECKING:
    from si_embodied.benchmarking.comparison.decisions import Decided, Pair
    from si_embodied.benchmarking.latency.memory import Memory
    from si_embodied.evaluation.report import Comparison, Report


@dataclass(frozen=True, slots=True)
class Side:
    """One of the models."""

    model: str
    prompt_version: str
    plan_s_p50: float  # median of a whole plan; the first plan, which warms up, is left out
    memory: Memory | None  # peak of a process that has only this model; None if it was not measured


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and tail of differences; NaN if there are none."""

    count: int
    p50: float
    p95: float

    @classmethod
    def of(cls, differences: Sequence[float]) -> Spread:
        """Percentiles, interpolated linearly."""
        p50, p95 = np.percentile(differences, [50, 95]) if differences else (math.nan, math.nan)
        return cls(len(differences), float(p50), float(p95))


@dataclass(frozen=True, slots=True)
class Success:
    """Episodes on the same seeds."""

    episodes: int
    first: float  # success rates
    second: float
    only_first: int
    only_second: int
    mcnemar_p: float

    @classmethod
    def of(cls, first: Report, second: Comparison) -> Success:
        """From the two runs."""
        paired = second.paired
        return cls(
            second.episodes, first.success_rate, second.report.success_rate, paired.only_first, paired.only_second,
            paired.p_value,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """All figures, what they depend on, and the verdict."""

    first: Side
    second: Side
    same_plans: int
    decisions: int
    distance: Spread  # of the goals, metres
    shift: Spread  # of the probabilities of equal plans, in nats
    success: Success | None  # None if the second model played no episodes
    criteria: tuple[Criterion, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def verdict(self) -> Outcome:
        """By the thresholds."""
        return verdict_of(self.criteria)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with null for NaN."""
        row = {"verdict": self.verdict, "explained": explained(self.criteria), **asdict(self)}
        for criterion, each in zip(self.criteria, row["criteria"], strict=True):
            each |= {"outcome": criterion.outcome, "needed": criterion.needed}
        plain: dict[str, Any] = without_nan(row)
        return plain

    def table(self) -> list[str]:
        """A Markdown table, and below it the verdict."""
        head = ("", "n", "measured [95% interval]", "threshold", "")
        rows = [_row(each) for each in self.criteria]
        low, high = wilson_interval(self.same_plans, self.decisions)
        share = self.same_plans / self.decisions if self.decisions else math.nan
        rows.append(["whole plan", str(self.decisions), _share(share, low, high), "", ""])
        apart = f"median {self.distance.p50:.3f} m, 95% within {self.distance.p95:.3f} m"
        rows.append(["distance of goals", str(self.distance.count), apart if self.distance.count else "–", "", ""])
        shift = f"median factor {math.exp(self.shift.p50):.3f}, 95% within {math.exp(self.shift.p95):.3f}"
        rows.append(["certainty", str(self.shift.count), shift if self.shift.count else "–", "", ""])
        if self.success is not None:
            won, p = self.success, self.success.mcnemar_p
            pairs = f"only the first {won.only_first}, only the second {won.only_second}"
            both = f"{100 * won.first:.1f}% and {100 * won.second:.1f}%; {pairs}; McNemar p = {p:.3g}"
            rows.append(["success of each", str(won.episodes), both, "", ""])
        rows.append(["time of a plan", str(max(0, self.decisions - 1)), self._times(), "", ""])
        rows.append(["peak memory", "", self._memory(), "", ""])
        about = [f"{name}: {side.model}, prompt {side.prompt_version}" for name, side in self._sides().items()]
        return [*markdown_rows(head, rows), "", *about, f"verdict: {explained(self.criteria)}"]

    def _sides(self) -> dict[str, Side]:
        return {"first": self.first, "second": self.second}

    def _times(self) -> str:
        first, second = self.first.plan_s_p50, self.second.plan_s_p50
        return f"median {1000 * first:.0f} and {1000 * second:.0f} ms, ratio {second / first:.2f}"

    def _memory(self) -> str:
        """Of both, and their ratio if it is memory of the same kind."""
        first, second = (None if side.memory is None else side.memory.main for side in (self.first, self.second))
        if first is None and second is None:
            return "not measured"
        both = " and ".join(
            "not measured" if each is None else f"{each[0]} {each[1] / 1e6:.0f} MB" for each in (first, second)
        )
        if first is None or second is None or first[0] != second[0]:
            return both
        return f"{both}, ratio {second[1] / first[1]:.2f}"


def side_of(decided: Sequence[Decided], memory: Memory | None) -> Side:
    """A model's name, prompt and speed, from its decisions in order."""
    took_s = [each.seconds for each in decided[1:] or decided]
    return Side(decided[0].model, decided[0].prompt_version, percentiles(took_s).p50, memory)


def distance_of(pairs: Sequence[Pair]) -> Spread:
    """The distances of all goals that can be compared."""
    return Spread.of([far for pair in pairs if (far := pair.distance_m) is not None])


def shift_of(pairs: Sequence[Pair]) -> Spread:
    """The differences of all log-probabilities that can be compared."""
    return Spread.of([shift for pair in pairs if (shift := pair.certainty_shift) is not None])


def _row(criterion: Criterion) -> list[str]:
    success = criterion.name == "success"
    measured = (_points if success else _share)(criterion.value, criterion.low, criterion.high)
    least = f"at least {100 * criterion.least:+.1f} points" if success else f"at least {100 * criterion.least:.1f}%"
    return [f"{criterion.name}{', second less first' * success}", str(criterion.count), measured, least,
            criterion.outcome]  # fmt: skip


def _share(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"


def _points(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
