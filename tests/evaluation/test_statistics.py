from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from si_embodied.errors import ConfigError
from si_embodied.evaluation.statistics import (
    Z_95,
    holm,
    mcnemar,
    mean,
    median_interval,
    paired_interval,
    percentiles,
    sign_flip,
    standardised_mean,
    t_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 100), (1, 1), (3, 10), (50, 100), (97, 100), (100, 100)])
def test_wilson_interval_agrees_with_scipy(successes: int, trials: int) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_without_trials_is_0_to_1() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 of 2"):
        wilson_interval(3, 2)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_the_exact_binomial_test_of_the_differing_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random(40) < 0.7, rng.random(40) < 0.4
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    expected = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
    result = mcnemar(first.tolist(), second.tolist())
    assert (result.only_first, result.only_second) == (only_first, only_second)
    assert result.p_value == pytest.approx(expected)


@pytest.mark.parametrize("trials", [1, 10, 73, 400])
def test_equal_outcomes_leave_a_paired_difference_of_z2_over_n_plus_z2(trials: int) -> None:
    """The score test of 0 differing pairs in n is Wilson's of 0 successes in n."""
    bound = Z_95**2 / (trials + Z_95**2)
    assert paired_interval(0, 0, trials) == pytest.approx((-bound, bound), abs=1e-12)


@pytest.mark.parametrize(("only_first", "only_second", "trials"), [(2, 12, 50), (5, 5, 50), (0, 7, 30), (40, 1, 90)])
def test_a_paired_interval_ends_where_the_score_test_rejects(only_first: int, only_second: int, trials: int) -> None:
    """Against the definition: the likelihood under a difference is maximised numerically, not in closed form."""
    for difference, expected in zip(paired_interval(only_first, only_second, trials), (Z_95, -Z_95), strict=True):
        low = max(0.0, -difference)
        p21 = low + (1 - abs(difference)) / 2 * np.linspace(1e-6, 1 - 1e-6, 400_001)
        p12 = p21 + difference
        likelihood = (
            only_second * np.log(p12)
            + only_first * np.log(p21)
            + (trials - only_first - only_second) * np.log(1 - p12 - p21)
        )
        best = int(np.argmax(likelihood))
        deviation = math.sqrt((p12[best] + p21[best] - difference**2) / trials)
        score = ((only_second - only_first) / trials - difference) / deviation
        assert score == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("only_second", "excluded"), [(11, False), (12, True)])
def test_a_paired_interval_excludes_0_where_mcnemars_statistic_is_significant(only_second: int, excluded: bool) -> None:
    """|b - c| / sqrt(b + c) is 1.81 for 11 and 4, and 2 for 12 and 4."""
    assert (abs(only_second - 4) / math.sqrt(only_second + 4) > Z_95) is excluded
    assert (paired_interval(4, only_second, 100)[0] > 0) is excluded


def test_more_differing_pairs_than_pairs_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 3 differing pairs"):
        paired_interval(2, 2, 3)


def test_without_trials_every_difference_is_possible() -> None:
    assert paired_interval(0, 0, 0) == (-1.0, 1.0)


def test_equal_outcomes_do_not_differ() -> None:
    assert mcnemar([True, False], [True, False]).p_value == 1.0


def test_unpaired_outcomes_are_refused() -> None:
    with pytest.raises(ConfigError, match="same episodes"):
        mcnemar([True], [True, False])
    with pytest.raises(ConfigError, match="same episodes"):
        sign_flip([0.5], [0.5, 0.5])


@pytest.mark.parametrize(("episodes", "tolerance"), [(9, 1e-12), (40, 0.02)])
def test_the_sign_flip_test_agrees_with_scipys_permutation_test(episodes: int, tolerance: float) -> None:
    """Nine episodes are few enough for all flips."""
    rng = np.random.default_rng(episodes)
    first, second = rng.random(episodes), rng.random(episodes) + 0.1
    expected = stats.permutation_test((second - first,), np.mean, permutation_type="samples", n_resamples=20_000)
    result = sign_flip(first.tolist(), second.tolist())
    assert result.mean == pytest.approx((second - first).mean())
    assert result.p_value == pytest.approx(float(expected.pvalue), abs=tolerance)


def test_equal_metrics_do_not_differ() -> None:
    assert sign_flip([0.3, 0.0], [0.3, 0.0]).p_value == 1.0
    assert math.isnan(sign_flip([], []).mean)


def test_the_t_interval_agrees_with_scipy_and_needs_two_values() -> None:
    values = [0.2, 0.5, 0.3]
    assert t_interval(values) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval()))
    assert t_interval([0.5]) == (-math.inf, math.inf)


def test_percentiles_interpolate_and_are_nan_without_values() -> None:
    result = percentiles(list(range(101)))
    assert (result.p50, result.p99) == (50, 99)
    assert math.isnan(percentiles([]).p50)


def test_mean_without_values_is_nan() -> None:
    assert mean([1.0, 2.0]) == 1.5
    assert math.isnan(mean([]))


@pytest.mark.parametrize("count", [6, 10, 20, 101, 2000])
def test_the_interval_of_a_median_leaves_out_as_many_as_the_binomial_distribution_allows(count: int) -> None:
    low, high = median_interval([float(each) for each in range(count, 0, -1)])
    left_out = int(low) - 1
    assert high == count - left_out
    assert stats.binom.cdf(left_out, count, 0.5) <= 0.025 < stats.binom.cdf(left_out + 1, count, 0.5)


def test_five_values_do_not_bound_a_median() -> None:
    """They all lie on one side of it with probability 2 / 2^5 = 6%."""
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == (-math.inf, math.inf)


def test_holm_on_an_example_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, never falling."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx((0.06, 0.04, 0.5, 0.06))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


def test_the_standardised_mean_is_the_t_statistic_over_the_root_of_n() -> None:
    values = [0.5, -0.1, 0.3, 0.0, 0.4]
    assert standardised_mean(values) == pytest.approx(stats.ttest_1samp(values, 0.0).statistic / math.sqrt(5))
    assert math.isnan(standardised_mean([0.2, 0.2]))
    assert math.isnan(standardised_mean([0.2]))
