"""Whether two models make the same decisions, and whether there were enough observations to say so. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from si_embodied.evaluation.statistics import Z_95, PairedComparison, paired_interval, wilson_interval

if TYPE_CHECKING:
    from si_embodied.benchmarking.comparison.decisions import Pair
    from si_embodied.benchmarking.comparison.settings import Thresholds
    from si_embodied.embodiment import TaskKind

Outcome: TypeAlias = Literal["the same", "different", "undecided"]

_Z_POWER = 0.8416212335729143
"""The 80% quantile of the standard normal distribution: the power for which `Criterion.needed` plans."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that must be the same: a share of decisions, or the difference of success.

    It passes if its whole 95% interval lies above the limit, which is a test at a one-sided level of 2.5% (ICH E9,
    "Statistical principles for clinical trials", section 3.3.2), and fails if the whole interval lies below.
    """

    name: str
    count: int  # decisions, goals or episodes
    value: float  # NaN if there are none
    low: float  # 95% interval
    high: float
    least: float  # the limit
    variance: float  # of one decision or episode

    @classmethod
    def of_share(cls, name: str, values: Sequence[bool], least: float) -> Criterion:
        """That at least a share `least` is true, with Wilson's interval."""
        count, right = len(values), sum(values)
        share = right / count if count else math.nan
        return cls(name, count, share, *wilson_interval(right, count), least, share * (1 - share))

    @classmethod
    def of_success(cls, paired: PairedComparison, episodes: int, margin: float) -> Criterion:
        """That the second model succeeds at most `margin` less often, with Tango's interval (non-inferiority)."""
        interval = paired_interval(paired.only_first, paired.only_second, episodes)
        difference, variance = math.nan, math.nan
        if episodes:
            difference = (paired.only_second - paired.only_first) / episodes
            variance = (paired.only_first + paired.only_second) / episodes - difference**2
        return cls("success", episodes, difference, *interval, -margin, variance)

    @property
    def outcome(self) -> Outcome:
        """Whether the interval lies above the limit, below it, or across."""
        return "the same" if self.low >= self.least else "different" if self.high < self.least else "undecided"

    @property
    def needed(self) -> int | None:
        """About how many would decide if the value stays as it is; None if it lies at the limit or below.

        With the probability 80%; at least as many as decide if nothing ever differs.
        """
        slack = 1 - self.least if self.least > 0 else -self.least
        fewest = math.ceil(Z_95**2 * (1 - slack) / slack - 1e-9)
        if not self.count:
            return fewest
        if self.value <= self.least:
            return None
        planned = (Z_95 + _Z_POWER) ** 2 * self.variance / (self.value - self.least) ** 2
        return max(fewest, math.ceil(planned - 1e-9))


def criteria_of(pairs: Sequence[Pair], thresholds: Thresholds, kind: TaskKind) -> tuple[Criterion, ...]:
    """What is asked of the decisions; of goals, objects, the rest and certainty only if there are some to compare."""
    objects = [same for pair in pairs if (same := pair.same_object) is not None]
    limit_m, apart = thresholds.goal_of(kind), [far for pair in pairs if (far := pair.distance_m) is not None]
    rest = [same for pair in pairs if (same := pair.same_rest(limit_m)) is not None]
    shifts = [shift for pair in pairs if (shift := pair.certainty_shift) is not None]
    shares: dict[str, list[bool]] = {
        "skill": [pair.same_skill for pair in pairs],
        "object": objects,
        "rest of the plan": rest,
        "done": [pair.same_done for pair in pairs],
        f"goal within {limit_m:g} m": [far <= limit_m for far in apart],
        f"certainty within {thresholds.certainty:g}x": [shift <= math.log(thresholds.certainty) for shift in shifts],
    }
    optional = set(shares) - {"skill", "done"}
    return tuple(
        Criterion.of_share(name, values, thresholds.agreement)
        for name, values in shares.items()
        if values or name not in optional
    )


def verdict_of(criteria: Sequence[Criterion]) -> Outcome:
    """Different if any criterion is, the same if all are, otherwise undecided."""
    outcomes = {criterion.outcome for criterion in criteria}
    return "different" if "different" in outcomes else "undecided" if "undecided" in outcomes else "the same"


def explained(criteria: Sequence[Criterion]) -> str:
    """The verdict in a sentence, with what decided it or what is missing."""
    verdict = verdict_of(criteria)
    reasons = [_reason(each) for each in criteria if each.outcome == verdict]
    if verdict == "the same":
        tested = "" if any(each.name == "success" for each in criteria) else "; success was not compared"
        return f"the same by every threshold{tested}"
    others = {each.outcome for each in criteria} - {verdict}
    rest = "; all else is the same" if others == {"the same"} else ""
    return f"{verdict}: {'; '.join(reasons)}{rest}"


def _reason(criterion: Criterion) -> str:
    unit = "episodes" if criterion.name == "success" else "decisions"
    if criterion.outcome == "different":
        return f"{criterion.name} is at most {_percent(criterion.high)}, expected {_percent(criterion.least)}"
    missing = (
        f"about {criterion.needed} {unit} are needed, {criterion.count} were compared"
        if criterion.needed is not None
        else f"{_percent(criterion.value)} of {criterion.count} {unit} is not above the limit, and more may decide it"
    )
    return f"{criterion.name}: {missing}"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} points" if share < 0 else f"{100 * share:.1f}%"
