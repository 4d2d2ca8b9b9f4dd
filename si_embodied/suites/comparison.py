"""Compares two runs of a suite row by row, on the seeds that both played."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from si_embodied.errors import ConfigError
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.records import Recorded, read_records
from si_embodied.evaluation.report import without_nan
from si_embodied.evaluation.statistics import (
    holm,
    mcnemar,
    mcnemar_counts,
    mean,
    paired_interval,
    sign_flip,
    standardised_mean,
    t_interval,
)
from si_embodied.runs import flat_settings
from si_embodied.suites.run import records_of
from si_embodied.wording import seeds_in_words

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class SuccessDifference:
    """The success rate of B less that of A, on the same seeds."""

    a: float
    b: float
    only_a: int  # seeds on which A alone succeeded
    only_b: int
    difference: float
    low: float  # Tango's 95% interval of the difference
    high: float
    p_value: float  # McNemar's exact test
    effect: float  # Cohen's g: share of the differing seeds that B won, less a half; NaN if none differ


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """A metric of B less that of A, on the same seeds."""

    a: float
    b: float
    difference: float
    low: float  # Student's 95% interval of the mean difference
    high: float
    p_value: float  # sign-flip permutation test
    effect: float  # Cohen's d of paired differences; NaN if they do not vary


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One row of both runs."""

    name: str
    episodes: int  # that both played to the end
    success: SuccessDifference
    spl: MetricDifference | None  # None if the world does not measure it
    p_holm: float  # the success's p-value, adjusted for the number of rows


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """Two runs of a suite."""

    a: str  # their folders
    b: str
    rows: tuple[ComparedRow, ...]
    together: SuccessDifference | None  # all rows; None if there are none
    settings: Mapping[str, tuple[str, str]]  # that differ, by name: A's and B's
    alone: tuple[str, ...]  # rows that only one run has, or whose seeds do not meet

    def verdict(self) -> str:
        """Where B differs from A, with at most 5% of false findings in the whole table."""
        found = [row for row in self.rows if row.p_holm < ALPHA]
        better = [row.name for row in found if row.success.difference > 0]
        worse = [row.name for row in found if row.success.difference < 0]
        if not found:
            return (
                "no row shows a difference of success (Holm-adjusted p < 0.05); the intervals say how large it may be"
            )
        return (
            f"B succeeds more often on {_listed(better)}, and less often on {_listed(worse)} (Holm-adjusted p < 0.05)"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        plain: dict[str, Any] = without_nan({**asdict(self), "verdict": self.verdict()})
        return plain


def compare_suites(a: Path, b: Path) -> SuiteComparison:
    """Compare two suites' folders.

    Raises:
        ConfigError: a folder is not a suite's run, or they have no episode in common.
    """
    first, second = records_of(a), records_of(b)
    compared: list[tuple[str, Recorded, Recorded, list[int]]] = []
    alone = [name for name in {**first, **second} if name not in first or name not in second]
    for name, path in first.items():
        if name not in second:
            continue
        one, other = read_records(path), read_records(second[name])
        shared = sorted(one.episodes.keys() & other.episodes.keys())
        if shared:
            compared.append((name, one, other, shared))
        else:
            alone.append(name)
    if not compared:
        raise ConfigError(
            f"{str(a)!r} and {str(b)!r} have no episode in common: no row of the same name with the same seeds; "
            "compare two runs of one suite"
        )
    successes = [_success(_paired(one, other, seeds)) for _, one, other, seeds in compared]
    adjusted = holm([each.p_value for each in successes])
    rows = tuple(
        ComparedRow(name, len(seeds), success, _spl(_paired(one, other, seeds)), p)
        for (name, one, other, seeds), success, p in zip(compared, successes, adjusted, strict=True)
    )
    everything = [pair for _, one, other, seeds in compared for pair in _paired(one, other, seeds)]
    settings = _differing([(_described(one), _described(other)) for _, one, other, _ in compared])
    return SuiteComparison(str(a), str(b), rows, _success(everything), settings, tuple(alone))


_Pairs = Sequence[tuple[EpisodeResult, EpisodeResult]]


def _paired(one: Recorded, other: Recorded, seeds: Sequence[int]) -> _Pairs:
    return [(one.episodes[seed], other.episodes[seed]) for seed in seeds]


def _success(pairs: _Pairs) -> SuccessDifference:
    found = mcnemar([a.success for a, _ in pairs], [b.success for _, b in pairs])
    differing = found.only_first + found.only_second
    low, high = paired_interval(found.only_first, found.only_second, len(pairs))
    return SuccessDifference(
        a=mean([float(a.success) for a, _ in pairs]),
        b=mean([float(b.success) for _, b in pairs]),
        only_a=found.only_first,
        only_b=found.only_second,
        difference=(found.only_second - found.only_first) / len(pairs),
        low=low,
        high=high,
        p_value=mcnemar_counts(found.only_first, found.only_second).p_value,
        effect=found.only_second / differing - 0.5 if differing else math.nan,
    )


def _spl(pairs: _Pairs) -> MetricDifference | None:
    if not all("spl" in episode.metrics for pair in pairs for episode in pair):
        return None
    a, b = [a.metrics["spl"] for a, _ in pairs], [b.metrics["spl"] for _, b in pairs]
    differences = [second - first for first, second in zip(a, b, strict=True)]
    tested = sign_flip(a, b)
    low, high = t_interval(differences)
    return MetricDifference(mean(a), mean(b), tested.mean, low, high, tested.p_value, standardised_mean(differences))


def _described(run: Recorded) -> dict[str, Any]:
    """A row's settings, with the seeds that it played: those belong to no setting, since a run can be extended."""
    return {**run.settings, "seeds": seeds_in_words(sorted(run.episodes))}


def _differing(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, tuple[str, str]]:
    """Settings that differ in any row: mostly what is compared, sometimes what was overlooked."""
    found: dict[str, tuple[str, str]] = {}
    for one, other in pairs:
        first, second = flat_settings(one), flat_settings(other)
        for name in {**first, **second}:
            if first.get(name) != second.get(name):
                found[name] = str(first.get(name)), str(second.get(name))
    return found


# --- as a table -----------------------------------------------------------------------------------------------------


def table(comparison: SuiteComparison) -> list[str]:
    """The lines of a Markdown table, and below it what it is about."""
    from si_embodied.benchmarking.results import markdown_rows

    head = (
        "row", "n", "A", "B", "B - A, points [95%]", "A / B alone", "p", "p (Holm)", "g",
        "SPL B - A [95%]", "p", "d",
    )  # fmt: skip
    lines = markdown_rows(head, map(_cells, comparison.rows))
    if comparison.together is not None and len(comparison.rows) > 1:
        episodes = sum(row.episodes for row in comparison.rows)
        said = _success_cells(comparison.together)
        lines += markdown_rows(("all rows", str(episodes), *said[:5], "", *said[5:], "", "", ""), ())[:1]
    lines += ["", f"A: {comparison.a}", f"B: {comparison.b}"]
    lines += [f"differs: {name}: {one} / {other}" for name, (one, other) in comparison.settings.items()]
    if comparison.alone:
        lines.append(f"not compared, no episode in common: {'; '.join(comparison.alone)}")
    return [*lines, "", f"{comparison.verdict()}."]


def _cells(row: ComparedRow) -> Sequence[str]:
    said = _success_cells(row.success)
    spl = ("–", "–", "–")
    if row.spl is not None:
        interval = f"[{row.spl.low:+.2f}, {row.spl.high:+.2f}]" if math.isfinite(row.spl.low) else ""
        spl = f"{row.spl.difference:+.2f} {interval}".strip(), f"{row.spl.p_value:.2g}", _effect(row.spl.effect)
    return (row.name, str(row.episodes), *said[:5], f"{row.p_holm:.2g}", *said[5:], *spl)


def _success_cells(found: SuccessDifference) -> tuple[str, ...]:
    """A, B, their difference, who won alone, p, and the effect."""
    return (
        f"{found.a:.2f}", f"{found.b:.2f}",
        f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]",
        f"{found.only_a} / {found.only_b}", f"{found.p_value:.2g}", _effect(found.effect),
    )  # fmt: skip


def _effect(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names) or "no row"
