"""Confidence intervals of success rates, and whether two policies differ on the same seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from si_embodied.errors import ConfigError, extra

Z_95 = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""
_FLIPS, _ROUNDING = 20_000, 1e-9


def wilson_interval(successes: int, trials: int, *, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a proportion; (0, 1) if there were no trials.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.

    Args:
        successes: trials that succeeded.
        trials: all trials.
        z: quantile of the normal distribution; the default gives 95%.
    """
    if not 0 <= successes <= trials:
        raise ConfigError(f"expected 0 <= successes <= trials, got: {successes} of {trials}")
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # Exact if nothing or everything succeeded; rounding would leave 1e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two policies on the same seeds; only the seeds on which they differ are informative."""

    only_first: int  # seeds on which the first alone succeeded
    only_second: int
    p_value: float  # two-sided; the null hypothesis is that both are equally good


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> PairedComparison:
    """McNemar's exact test of paired successes.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), 153-157; exact form: differing pairs follow a binomial distribution with p = 1/2.

    Args:
        first: successes of the first policy, by episode.
        second: successes of the second, on the same episodes in the same order.
    """
    if len(first) != len(second):
        raise ConfigError(f"a paired test needs the same episodes of both, got: {len(first)} and {len(second)}")
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    return mcnemar_counts(only_first, only_second)


def mcnemar_counts(only_first: int, only_second: int) -> PairedComparison:
    """McNemar's exact test from the numbers of pairs that differ."""
    differing = only_first + only_second
    tail = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1))
    return PairedComparison(only_first, only_second, min(1.0, 2 * tail / 2**differing))


def paired_interval(only_first: int, only_second: int, trials: int, *, z: float = Z_95) -> tuple[float, float]:
    """Tango's score interval of the second success rate less the first, on the same seeds; (-1, 1) without trials.

    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17 (1998), 891-908. Its bounds are the differences that a score test would just reject; at a
    difference of 0 that is McNemar's test. Unlike Wald's, the interval has a width also if no pair differs.

    Args:
        only_first: pairs in which the first alone succeeded.
        only_second: pairs in which the second alone succeeded.
        trials: all pairs.
        z: quantile of the normal distribution; the default gives 95%.

    Raises:
        ConfigError: more pairs differ than there are.
    """
    if only_first < 0 or only_second < 0 or only_first + only_second > trials:
        raise ConfigError(f"expected at most {trials} differing pairs, got: {only_first} and {only_second}")
    if trials == 0:
        return -1.0, 1.0

    def bound(quantile: float) -> float:
        """The difference at which the score equals the quantile. The score falls as the difference grows."""
        low, high = -1.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            above = _tango_score(only_second, only_first, trials, middle) > quantile
            low, high = (middle, high) if above else (low, middle)
        return (low + high) / 2

    return bound(z), bound(-z)


def _tango_score(b: int, c: int, n: int, difference: float) -> float:
    """The score statistic of p12 - p21 = `difference`, for n12 = b and n21 = c of n pairs (Tango 1998, section 3)."""
    # The most likely p21 under that difference is the larger root of A p^2 + B p + C.
    A, B, C = 2 * n, -b - c + (2 * n - b + c) * difference, -c * difference * (1 - difference)
    p21 = (math.sqrt(max(0.0, B * B - 4 * A * C)) - B) / (2 * A)
    variance = n * (2 * p21 + difference * (1 - difference))
    excess = b - c - n * difference
    if excess == 0:
        return 0.0
    return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much a metric of two policies differs on the same seeds."""

    mean: float  # the second policy's less the first's; NaN without episodes
    p_value: float  # two-sided; the null hypothesis is that the sign of each difference is chance


def sign_flip(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """Fisher's permutation test of paired differences: all flips of their signs, or 20,000 drawn ones.

    R. A. Fisher, "The Design of Experiments" (1935), section 21. The observed signs count as one of the drawn flips: B.
    Phipson and G. K. Smyth, "Permutation P-values should never be zero", SAGMB 9 (2010), article 39.

    Args:
        first: the metric of the first policy, by episode.
        second: that of the second, on the same episodes in the same order.
    """
    if len(first) != len(second):
        raise ConfigError(f"a paired test needs the same episodes of both, got: {len(first)} and {len(second)}")
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    changed = differences[np.abs(differences) > _ROUNDING]  # flipping the others changes nothing
    exact = 2 ** len(changed) <= _FLIPS
    if exact:
        signs = 1.0 - 2.0 * (np.arange(2 ** len(changed))[:, None] >> np.arange(len(changed)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (_FLIPS, len(changed)))
    extreme = int(np.sum(np.abs(signs @ changed) >= abs(changed.sum()) - _ROUNDING))
    p_value = extreme / len(signs) if exact else (1 + extreme) / (1 + len(signs))
    return PairedDifference(mean(differences.tolist()), p_value)


def standardised_mean(differences: Sequence[float]) -> float:
    """Cohen's d of paired differences (d_z): their mean in standard deviations; NaN if they do not vary.

    J. Cohen, "Statistical Power Analysis for the Behavioral Sciences" (2nd edition, 1988), section 2.3.5: 0.2 is small,
    0.5 medium, 0.8 large.
    """
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return mean(differences) / spread if spread > _ROUNDING else math.nan


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted for being several: any below 0.05 is a finding, with at most 5% of false ones in all tables.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """The median and the tail, in the unit of the values; NaN if there were none."""

    p50: float
    p99: float


def percentiles(values: Sequence[float]) -> Percentiles:
    """Median and 99th percentile, interpolated linearly."""
    if not values:
        return Percentiles(math.nan, math.nan)
    p50, p99 = np.percentile(np.asarray(values, dtype=np.float64), [50, 99])
    return Percentiles(float(p50), float(p99))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of a median, between two of the values; infinite if there are fewer than six.

    It assumes nothing about the distribution: as many values lie below the median as heads fall in n tosses (W. R.
    Thompson, "On confidence ranges for the median", Annals of Mathematical Statistics 7 (1936), 122-128).
    """
    n, ordered = len(values), sorted(values)
    below, tail = 0, 1  # values left out at either end, and 2^n times the probability of at most so many heads
    while 40 * tail <= 2**n:  # 2 tail <= 5%, in integers: 2^n may be too large for a float
        below += 1
        tail += math.comb(n, below)
    return (ordered[below - 1], ordered[n - below]) if below else (-math.inf, math.inf)


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95% interval of the mean of a few independent values; infinite if there are fewer than two.

    Student, "The probable error of a mean", Biometrika 6 (1908), 1-25.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    if len(values) < 2:
        return -math.inf, math.inf
    with extra("sim"):
        from scipy.stats import t
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def mean(values: Sequence[float]) -> float:
    """The mean; NaN if there are no values."""
    return math.fsum(values) / len(values) if values else math.nan
